//! Volumes over the fake runner: made, mounted, refused, deleted, and killed at every step.
//!
//! Long because each thing that is done with a volume is also killed at every step.

use std::sync::Arc;

use alcove_control::{Caller, Error, Step};
use alcove_domain::{
    MountRequest, NewSandbox, Permission, Permissions, Sandbox, SandboxState, Volume, VolumeState,
};
use alcove_runner_api::{FaultCode, VolumeGoal};
use alcove_testkit::{HoldAt, TestControl, TestStore, eventually, within};

use crate::support::*;

async fn create_volume(kit: &TestControl, name: &str) -> Result<Volume, Error> {
    let created = kit
        .control
        .create_volume(&kit.caller, Some(name.to_owned()));
    within("a volume", created).await
}

async fn make_volume(kit: &TestControl, name: &str) -> Volume {
    let volume = create_volume(kit, name).await.unwrap();
    assert_eq!(volume.state(), VolumeState::Ready);
    volume
}

async fn delete_volume(kit: &TestControl, volume: &Volume) -> Result<(), Error> {
    let deleted = kit.control.delete_volume(&kit.caller, volume.id.as_str());
    within("a delete", deleted).await
}

async fn now(kit: &TestControl, volume: &Volume) -> Volume {
    let id = volume.id.as_str();
    kit.control.get_volume(&kit.caller, id).await.unwrap()
}

fn mounting(name: &str, volume: &str) -> NewSandbox {
    NewSandbox {
        volumes: vec![MountRequest {
            volume: volume.to_owned(),
            mount_path: "/data/".to_owned(),
            subpath: Some("deep/er".to_owned()),
            is_read_only: false,
        }],
        ..named(name)
    }
}

fn stranger(kit: &TestControl) -> Caller {
    Caller {
        organization: "another-org".parse().unwrap(),
        ..kit.caller.clone()
    }
}

fn ids(sandbox: &Sandbox) -> Vec<String> {
    let volumes = sandbox.volumes.iter();
    volumes.map(|mount| mount.volume.to_string()).collect()
}

#[tokio::test]
async fn a_volume_is_ready_when_its_create_answers_and_gone_when_its_delete_does() {
    let kit = TestControl::open().await;
    let volume = make_volume(&kit, "data").await;
    assert_eq!(
        kit.runner.volumes()[&volume.id],
        kit.control.settings().volume_bytes
    );
    let by_name = kit.control.get_volume_by_name(&kit.caller, "data").await;
    assert_eq!(by_name.unwrap(), volume);
    assert_eq!(kit.control.volume_use(&kit.caller).await.unwrap(), (100, 1));

    let unnamed = kit.control.create_volume(&kit.caller, None).await.unwrap();
    assert_eq!(unnamed.name, unnamed.id.as_str());
    let listed = kit.control.list_volumes(&kit.caller, false).await.unwrap();
    assert_eq!(listed.len(), 2);

    delete_volume(&kit, &volume).await.unwrap();
    assert!(!kit.runner.volumes().contains_key(&volume.id));
    let gone = now(&kit, &volume).await;
    assert_eq!(
        (gone.state(), gone.name.as_str()),
        (VolumeState::Deleted, "data-deleted")
    );
    let listed = kit.control.list_volumes(&kit.caller, false).await.unwrap();
    assert_eq!(listed.len(), 1);
    let listed = kit.control.list_volumes(&kit.caller, true).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(
        kit.control
            .get_volume_by_name(&kit.caller, "data")
            .await
            .is_err()
    );
    let again = delete_volume(&kit, &volume).await.unwrap_err();
    assert_eq!(again.code(), "VOLUME_NOT_DELETABLE");
    make_volume(&kit, "data").await;
}

#[tokio::test]
async fn names_are_checked_and_taken_once() {
    let kit = TestControl::open().await;
    make_volume(&kit, "data").await;
    let taken = create_volume(&kit, "data").await.unwrap_err();
    assert!(
        matches!(taken, Error::Invalid { .. }),
        "400, as the contract has it"
    );
    assert_eq!(
        taken.public_message(),
        "Volume with name data already exists"
    );
    for bad in ["<b>x</b>", "see http://x", "bell\u{7}", &"x".repeat(256)] {
        assert!(create_volume(&kit, bad).await.is_err(), "{bad:?}");
    }
    let (stranger, _) = kit.add_stranger("stranger").await;
    let theirs = kit
        .control
        .create_volume(&stranger, Some("data".to_owned()));
    assert_eq!(theirs.await.unwrap().name, "data");
}

#[tokio::test]
async fn many_creates_at_once_stop_at_the_quota_and_those_in_error_do_not_count() {
    let mut store = TestStore::default();
    store.settings.volume_quota = 3;
    let kit = store.open().await;
    let creates: Vec<_> = (0..50)
        .map(|number| {
            let (control, caller) = (kit.control.clone(), kit.caller.clone());
            tokio::spawn(async move {
                let name = Some(format!("v{number}"));
                control.create_volume(&caller, name).await
            })
        })
        .collect();
    let mut made = 0;
    for create in creates {
        match create.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => {
                assert!(matches!(error, Error::QuotaExceeded { .. }));
                let words = "Volume quota exceeded. Maximum allowed: 3";
                assert_eq!(error.public_message(), words);
            }
        }
    }
    assert_eq!((made, kit.runner.volumes().len()), (3, 3));
    let (control, caller) = (&kit.control, &kit.caller);
    let org = &caller.organization;
    let set = async |quota| {
        let change = move |own: &mut Option<u64>| *own = quota;
        control.set_volume_quota(caller, org, change).await.unwrap();
    };
    set(Some(4)).await;
    kit.runner.fail_next_volume(FaultCode::HostDiskFull);
    let failed = create_volume(&kit, "failed").await.unwrap_err();
    assert_eq!(failed.code(), "VOLUME_CREATE_FAILED");
    assert_eq!(control.volume_use(caller).await.unwrap(), (4, 3));
    make_volume(&kit, "fourth").await;
    let over = create_volume(&kit, "fifth").await;
    assert!(matches!(over, Err(Error::QuotaExceeded { .. })));
    set(None).await;
    assert_eq!(control.volume_use(caller).await.unwrap(), (3, 4));
}

#[tokio::test]
async fn a_volume_that_could_not_be_made_says_why_and_can_be_deleted() {
    let kit = TestControl::open().await;
    kit.runner.fail_next_volume(FaultCode::HostDiskFull);
    assert!(create_volume(&kit, "data").await.is_err());
    let found = kit.control.get_volume_by_name(&kit.caller, "data").await;
    let volume = found.unwrap();
    assert_eq!(volume.state(), VolumeState::Error);
    assert_eq!(volume.error_reason(), Some("HostDiskFull"));
    let refused = create(&kit, mounting("box", "data")).await.unwrap_err();
    assert_eq!(refused.code(), "VOLUME_NOT_READY");
    delete_volume(&kit, &volume).await.unwrap();
    make_volume(&kit, "data").await;
}

#[tokio::test]
async fn a_sandbox_mounts_volumes_by_id_or_name_and_shows_their_ids() {
    let kit = TestControl::open().await;
    let volume = make_volume(&kit, "data").await;
    assert_eq!(volume.last_used_at, None);
    kit.clock.advance_minutes(1);
    for (name, asked) in [("one", "data"), ("two", volume.id.as_str())] {
        let sandbox = create(&kit, mounting(name, asked)).await.unwrap();
        assert_eq!(ids(&sandbox), [volume.id.to_string()]);
        assert_eq!(sandbox.volumes[0].mount_path, "/data");
        let spec = kit.runner.spec(&sandbox.id).unwrap();
        assert_eq!(spec.volumes.len(), 1);
        assert_eq!(spec.volumes[0].volume, volume.id);
        assert_eq!(spec.volumes[0].subpath.as_deref(), Some("deep/er"));
    }
    let used = now(&kit, &volume).await.last_used_at.unwrap();
    assert!(used > volume.created_at);
    kit.clock.advance_minutes(1);
    let (control, caller) = (&kit.control, &kit.caller);
    control.stop_sandbox(caller, "one", false).await.unwrap();
    control.start_sandbox(caller, "one").await.unwrap();
    assert!(now(&kit, &volume).await.last_used_at.unwrap() > used);
}

#[tokio::test]
async fn what_a_create_cannot_mount_is_refused_and_nothing_is_made() {
    let kit = TestControl::open().await;
    let volume = make_volume(&kit, "data").await;
    let unknown = create(&kit, mounting("box", "nope")).await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound { .. }), "{unknown:?}");
    let gone = make_volume(&kit, "gone").await;
    delete_volume(&kit, &gone).await.unwrap();
    for name in ["gone", "gone-deleted", gone.id.as_str()] {
        let unknown = create(&kit, mounting("box", name)).await.unwrap_err();
        assert!(matches!(unknown, Error::NotFound { .. }), "{unknown:?}");
    }
    // The name of one is the id of another.
    make_volume(&kit, volume.id.as_str()).await;
    let both = create(&kit, mounting("box", volume.id.as_str())).await;
    assert_eq!(both.unwrap_err().code(), "VOLUME_AMBIGUOUS");
    for (mount_path, subpath) in [("/etc/x", None), ("data", None), ("/x", Some("../y"))] {
        let mut request = mounting("box", "data");
        request.volumes[0].mount_path = mount_path.to_owned();
        request.volumes[0].subpath = subpath.map(str::to_owned);
        let refused = create(&kit, request).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid { .. }), "{refused:?}");
    }
    assert_eq!(kit.runner.sandbox_count(), 0);
    assert!(get(&kit, "box").await.is_err());
    create(&kit, mounting("box", "data")).await.unwrap();
}

#[tokio::test]
async fn a_volume_of_another_organization_does_not_exist() {
    let kit = TestControl::open().await;
    let volume = make_volume(&kit, "data").await;
    let (control, stranger) = (&kit.control, stranger(&kit));
    let id = volume.id.as_str();
    let outcomes = [
        control.get_volume(&stranger, id).await.map(drop),
        control
            .get_volume_by_name(&stranger, "data")
            .await
            .map(drop),
        control.delete_volume(&stranger, id).await,
        control
            .create_sandbox(&stranger, mounting("a", id))
            .await
            .map(drop),
        control
            .create_sandbox(&stranger, mounting("b", "data"))
            .await
            .map(drop),
    ];
    for outcome in outcomes {
        assert!(
            matches!(outcome, Err(Error::NotFound { .. })),
            "{outcome:?}"
        );
    }
    assert!(
        control
            .list_volumes(&stranger, true)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(kit.runner.sandbox_count(), 0);
    // The control: its own organization finds and mounts it.
    create(&kit, mounting("box", id)).await.unwrap();
}

#[tokio::test]
async fn each_right_opens_its_own_operations_only() {
    let kit = TestControl::open().await;
    let volume = make_volume(&kit, "data").await;
    let with = |permission| Caller {
        permissions: Arc::new(Permissions::from_iter([permission])),
        ..kit.caller.clone()
    };
    let control = &kit.control;
    let id = volume.id.as_str();
    let (reader, writer) = (
        with(Permission::ReadVolumes),
        with(Permission::WriteVolumes),
    );
    let deleter = with(Permission::DeleteVolumes);
    let is_denied = |outcome: Result<(), Error>| matches!(outcome, Err(Error::Forbidden { .. }));
    for (caller, may) in [
        (&reader, [true, false, false]),
        (&writer, [false, true, false]),
    ] {
        let outcomes = [
            control.list_volumes(caller, false).await.map(drop),
            control.create_volume(caller, None).await.map(drop),
            control.delete_volume(caller, id).await,
        ];
        for (outcome, may) in outcomes.into_iter().zip(may) {
            assert_eq!(is_denied(outcome), !may);
        }
        assert_eq!(
            is_denied(control.get_volume(caller, id).await.map(drop)),
            !may[0]
        );
        let by_name = control.get_volume_by_name(caller, "data").await.map(drop);
        assert_eq!(is_denied(by_name), !may[0]);
    }
    control.delete_volume(&deleter, id).await.unwrap();
}

#[tokio::test]
async fn a_volume_is_in_use_in_every_state_of_its_sandbox_until_that_is_deleted() {
    let kit = TestControl::open().await;
    let volume = make_volume(&kit, "data").await;
    let id = create(&kit, mounting("box", "data"))
        .await
        .unwrap()
        .id
        .clone();
    let (control, caller) = (&kit.control, &kit.caller);
    let refused = async || {
        let refused = delete_volume(&kit, &volume).await.unwrap_err();
        assert_eq!(refused.code(), "VOLUME_IN_USE");
        assert!(refused.public_message().contains("box"), "{refused}");
    };
    refused().await;
    control.stop_sandbox(caller, "box", false).await.unwrap();
    refused().await;
    control.archive_sandbox(caller, "box").await.unwrap();
    becomes(&kit, &id, SandboxState::Archived).await;
    refused().await;
    control.start_sandbox(caller, "box").await.unwrap();
    becomes(&kit, &id, SandboxState::Started).await;
    let spec = kit.runner.spec(&id).unwrap();
    assert_eq!(
        spec.volumes[0].volume, volume.id,
        "it is brought back with it"
    );
    let fork = Some("fork".to_owned());
    let fork = control.fork_sandbox(caller, "box", fork).await.unwrap();
    assert_eq!(ids(&fork), [volume.id.to_string()]);
    let spec = kit.runner.spec(&fork.id).unwrap();
    assert_eq!(spec.volumes[0].volume, volume.id);
    control.delete_sandbox(caller, "box").await.unwrap();
    let refused = delete_volume(&kit, &volume).await.unwrap_err();
    assert!(refused.public_message().contains("fork"), "{refused}");
    control.delete_sandbox(caller, "fork").await.unwrap();
    delete_volume(&kit, &volume).await.unwrap();
}

#[tokio::test]
async fn a_failed_start_with_a_volume_is_recovered_with_it() {
    let kit = TestControl::open().await;
    let volume = make_volume(&kit, "data").await;
    let id = create(&kit, mounting("box", "data"))
        .await
        .unwrap()
        .id
        .clone();
    let (control, caller) = (&kit.control, &kit.caller);
    control.stop_sandbox(caller, "box", false).await.unwrap();
    kit.runner.fail_next(FaultCode::VolumeUnusable, true);
    let failed = control.start_sandbox(caller, "box").await.unwrap_err();
    assert_eq!(failed.code(), "SANDBOX_START_FAILED");
    assert_eq!(
        delete_volume(&kit, &volume).await.unwrap_err().code(),
        "VOLUME_IN_USE"
    );
    control.recover_sandbox(caller, "box", false).await.unwrap();
    becomes(&kit, &id, SandboxState::Started).await;
    assert_eq!(kit.runner.spec(&id).unwrap().volumes[0].volume, volume.id);
}

#[tokio::test]
async fn creates_and_the_delete_of_their_volume_at_once_leave_no_sandbox_without_it() {
    for round in 0..10 {
        let kit = TestControl::open().await;
        let volume = make_volume(&kit, "data").await;
        let creates: Vec<_> = (0..4)
            .map(|number| {
                let (control, caller) = (kit.control.clone(), kit.caller.clone());
                let request = mounting(&format!("box-{number}"), "data");
                tokio::spawn(async move { control.create_sandbox(&caller, request).await })
            })
            .collect();
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        let deleted = delete_volume(&kit, &volume).await;
        let mut made = 0;
        for create in creates {
            made += usize::from(create.await.unwrap().is_ok());
        }
        assert_eq!(deleted.is_ok(), made == 0, "{deleted:?} {made}");
        assert_eq!(kit.runner.volumes().len(), usize::from(deleted.is_err()));
        assert_eq!(kit.runner.sandbox_count(), made);
    }
}

/// Held at a step and killed there; what comes up next.
async fn killed_at(
    store: TestStore,
    step: Step,
    wished: impl AsyncFnOnce(&TestControl),
) -> TestControl {
    let probe = Arc::new(HoldAt::new(step, 0));
    let kit = store.open_probed(probe.clone()).await;
    tokio::select! {
        () = within("the step", probe.held()) => {}
        () = wished(&kit) => panic!("it passed {step:?}"),
    }
    kit.restart().await
}

#[tokio::test]
async fn a_create_and_a_delete_that_were_killed_anywhere_are_done_by_the_next_server() {
    for step in Step::ALL {
        let kit = killed_at(TestStore::default(), step, async |kit| {
            let _ = create_volume(kit, "data").await;
        })
        .await;
        let found = kit.control.get_volume_by_name(&kit.caller, "data").await;
        let volume = found.unwrap();
        eventually("the volume is ready", async || {
            now(&kit, &volume).await.state() == VolumeState::Ready
        })
        .await;
        assert_eq!(kit.runner.volumes().len(), 1, "{step:?}");
        let id = create(&kit, mounting("box", "data"))
            .await
            .unwrap()
            .id
            .clone();
        kit.control
            .delete_sandbox(&kit.caller, "box")
            .await
            .unwrap();
        vanishes(&kit, &id).await;

        let kit = killed_at(kit.kill().await, step, async |kit| {
            let _ = delete_volume(kit, &volume).await;
        })
        .await;
        eventually("the volume is gone", async || {
            now(&kit, &volume).await.state() == VolumeState::Deleted
        })
        .await;
        assert!(kit.runner.volumes().is_empty(), "{step:?}");
        make_volume(&kit, "data").await;
    }
}

#[tokio::test]
async fn a_runner_that_dies_or_refuses_is_asked_until_the_volume_is_gone() {
    let kit = TestControl::open().await;
    let volume = make_volume(&kit, "data").await;
    kit.runner.lose_answers(2);
    kit.runner.fail_next_volume(FaultCode::Internal);
    let (control, caller, id) = (kit.control.clone(), kit.caller.clone(), volume.id.clone());
    let deleting = tokio::spawn(async move { control.delete_volume(&caller, id.as_str()).await });
    eventually("the delete is accepted", async || {
        now(&kit, &volume).await.state() == VolumeState::Deleting
    })
    .await;
    eventually("the volume is gone", async || {
        kit.clock.advance(std::time::Duration::from_secs(1));
        now(&kit, &volume).await.state() == VolumeState::Deleted
    })
    .await;
    deleting.await.unwrap().unwrap();
    let orders = kit.runner.volume_orders();
    let absent = orders
        .iter()
        .filter(|order| order.goal == VolumeGoal::Absent);
    assert!(absent.count() >= 3, "{orders:?}");
    assert!(kit.runner.volumes().is_empty());
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_a_volume_that_is_made() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    {
        let creating = kit
            .control
            .create_volume(&kit.caller, Some("data".to_owned()));
        tokio::pin!(creating);
        eventually("the order is out", async || {
            tokio::select! {
                biased;
                _ = &mut creating => panic!("it cannot be done yet"),
                () = tokio::task::yield_now() => {}
            }
            !kit.runner.volume_orders().is_empty()
        })
        .await;
    }
    let found = kit.control.get_volume_by_name(&kit.caller, "data").await;
    assert_eq!(found.unwrap().state(), VolumeState::Creating);
    let early = create(&kit, mounting("box", "data")).await.unwrap_err();
    assert_eq!(early.code(), "VOLUME_NOT_READY");
    kit.runner.resume_work();
    eventually("the volume is ready", async || {
        let found = kit.control.get_volume_by_name(&kit.caller, "data").await;
        found.unwrap().state() == VolumeState::Ready
    })
    .await;
}

async fn fork_drive(kit: &TestControl) -> Result<Volume, Error> {
    let forked = kit.control.fork_drive(&kit.caller, None, "data", "copy");
    within("a fork", forked).await.map(|drive| drive.volume)
}

#[tokio::test]
async fn a_fork_of_a_volume_that_was_killed_anywhere_is_made_of_its_source() {
    for step in Step::ALL {
        let kit = TestControl::open().await;
        let source = make_volume(&kit, "data").await;
        let kit = killed_at(kit.kill().await, step, async |kit| {
            let _ = fork_drive(kit).await;
        })
        .await;
        eventually("the fork is ready", async || {
            let found = kit.control.get_volume_by_name(&kit.caller, "copy").await;
            found.is_ok_and(|found| found.state() == VolumeState::Ready)
        })
        .await;
        let orders = kit.runner.volume_orders();
        let wanted = VolumeGoal::Present {
            bytes: source.size_bytes,
            source: Some(source.id.clone()),
        };
        assert!(orders.iter().any(|order| order.goal == wanted), "{step:?}");
        assert_eq!(kit.runner.volumes().len(), 2, "{step:?}");
        delete_volume(&kit, &source).await.unwrap();
    }
}

#[tokio::test]
async fn a_volume_stays_while_it_is_copied_and_one_that_goes_is_not() {
    let kit = TestControl::open().await;
    let source = make_volume(&kit, "data").await;
    kit.runner.hold_work();
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let forking =
        tokio::spawn(async move { control.fork_drive(&caller, None, "data", "copy").await });
    eventually("the copy is ordered", async || {
        kit.runner.volume_orders().len() == 2
    })
    .await;
    let refused = delete_volume(&kit, &source).await.unwrap_err();
    assert_eq!(refused.code(), "VOLUME_IN_USE");
    kit.runner.resume_work();
    let forked = within("the fork", forking).await.unwrap().unwrap().volume;
    assert_eq!(forked.source, Some(source.id.clone()));
    assert_eq!(forked.state(), VolumeState::Ready);
    delete_volume(&kit, &source).await.unwrap();
    let gone = fork_drive(&kit).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
}
