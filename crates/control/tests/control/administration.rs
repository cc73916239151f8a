//! What the administrator of the server does with what is of any organization.

use alcove_control::{Error, ListAllSandboxes, ListOrganizations, ListSnapshots, WorkKind};
use alcove_domain::{
    BuildInfo, NewBuiltSnapshot, NewSandbox, NewSnapshot, OrganizationState, SandboxState,
    SnapshotState,
};
use alcove_runner_api::FaultCode as RunnerFault;
use alcove_testkit::{TestControl, TestStore, eventually};

use crate::support::*;

fn code<T>(result: Result<T, Error>) -> &'static str {
    match result {
        Ok(_) => "OK",
        Err(error) => error.code(),
    }
}

fn of(snapshot: &str) -> NewSandbox {
    NewSandbox {
        snapshot: Some(snapshot.to_owned()),
        ..NewSandbox::default()
    }
}

#[tokio::test]
async fn a_general_snapshot_of_one_organization_is_everybodys_to_use_and_nobodys_to_change() {
    let mut store = TestStore::default();
    store.settings.snapshots.quota = Some(1);
    let kit = store.open().await;
    let control = &kit.control;
    let (ann, _) = kit.add_stranger("ann").await;
    let (bob, _) = kit.add_stranger("bob").await;
    let base = control
        .create_sandbox(&ann, NewSandbox::default())
        .await
        .unwrap();
    let made = control.snapshot_sandbox(&ann, base.id.as_str(), "tools".to_owned(), false);
    made.await.unwrap();
    let tools = control.get_snapshot(&ann, "tools").await.unwrap();
    let id = tools.id.as_str();
    assert_eq!(code(control.get_snapshot(&bob, "tools").await), "NOT_FOUND");
    for by in [&ann, &bob] {
        let refused = control.set_snapshot_general(by, id, true).await;
        assert_eq!(code(refused), "FORBIDDEN");
    }
    let set = async |general| control.set_snapshot_general(&kit.caller, id, general).await;
    assert!(set(true).await.unwrap().is_general());
    // Once more is no mistake.
    assert!(set(true).await.unwrap().is_general());

    let seen = control.get_snapshot(&bob, "tools").await.unwrap();
    assert!(seen.is_general());
    assert_eq!((seen.organization_id, seen.source_sandbox_id), (None, None));
    let own = control.get_snapshot(&ann, id).await.unwrap();
    assert_eq!(own.organization_id, Some(ann.organization.clone()));
    let list = control.list_snapshots(&bob, ListSnapshots::default()).await;
    let names: Vec<_> = list.unwrap().items.into_iter().map(|it| it.name).collect();
    assert!(names.contains(&"tools".to_owned()), "{names:?}");
    assert_eq!(control.snapshot_use(&bob).await.unwrap().0, 0);
    assert_eq!(control.snapshot_use(&ann).await.unwrap().0, 1);
    let used = control.create_sandbox(&bob, of("tools")).await.unwrap();
    assert_eq!(used.snapshot_id, tools.id);
    for by in [&ann, &bob] {
        assert_eq!(
            code(control.delete_snapshot(by, "tools").await),
            "FORBIDDEN"
        );
        let refused = control.deactivate_snapshot(by, "tools").await;
        assert_eq!(code(refused), "FORBIDDEN");
        assert_eq!(
            code(control.get_built_snapshot(by, "tools").await),
            "NOT_FOUND"
        );
    }
    // Who has one of the name means that, and it does not become a second general one.
    let made = control.snapshot_sandbox(&bob, used.id.as_str(), "tools".to_owned(), false);
    made.await.unwrap();
    let bobs = control.get_snapshot(&bob, "tools").await.unwrap();
    assert_eq!(bobs.organization_id, Some(bob.organization.clone()));
    let taken = control.set_snapshot_general(&kit.caller, bobs.id.as_str(), true);
    assert_eq!(code(taken.await), "SNAPSHOT_NAME_TAKEN");

    set(false).await.unwrap();
    assert_eq!(code(control.get_snapshot(&bob, id).await), "NOT_FOUND");
    control
        .stop_sandbox(&bob, used.id.as_str(), true)
        .await
        .unwrap();
    control.start_sandbox(&bob, used.id.as_str()).await.unwrap();
    control.delete_snapshot(&ann, "tools").await.unwrap();
}

#[tokio::test]
async fn an_image_of_the_server_stays_general() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let default = control.get_snapshot(&kit.caller, "default").await.unwrap();
    let set = control.set_snapshot_general(&kit.caller, default.id.as_str(), false);
    assert!(matches!(set.await, Err(Error::Unprocessable { .. })));
    let set = control.set_snapshot_general(&kit.caller, "nope", true);
    assert_eq!(code(set.await), "NOT_FOUND");
}

#[tokio::test]
async fn a_failed_general_image_of_others_does_not_keep_anybody_from_pulling_it() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let (ann, _) = kit.add_stranger("ann").await;
    let request = || NewSnapshot {
        name: "a:1".to_owned(),
        image_name: Some("a:1".to_owned()),
        ..NewSnapshot::default()
    };
    kit.runner.hold_work();
    let waiting = control.create_snapshot(&ann, request()).await.unwrap();
    let set = control.set_snapshot_general(&kit.caller, waiting.id.as_str(), true);
    set.await.unwrap();
    let works = control.list_work(&kit.caller).await.unwrap();
    control
        .cancel_work(&kit.caller, &works[0].id)
        .await
        .unwrap();
    kit.runner.resume_work();
    let by_image = NewSandbox {
        image: Some("a:1".to_owned()),
        ..NewSandbox::default()
    };
    let made = control.create_sandbox(&kit.caller, by_image).await.unwrap();
    assert_ne!(made.snapshot_id, waiting.id);
    let failed = control
        .get_snapshot(&ann, waiting.id.as_str())
        .await
        .unwrap();
    assert_eq!(failed.state, SnapshotState::Error, "it is still there");
}

#[tokio::test]
async fn the_administrator_lists_everything_a_page_at_a_time() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    kit.clock.advance_minutes(1);
    let (ann, _) = kit.add_stranger("ann").await;
    let mut made = Vec::new();
    for by in [&kit.caller, &ann, &ann] {
        let sandbox = control.create_sandbox(by, NewSandbox::default()).await;
        made.push(sandbox.unwrap().id.clone());
        kit.clock.advance_minutes(1);
    }
    control
        .stop_sandbox(&ann, made[2].as_str(), true)
        .await
        .unwrap();
    let refused = control.list_all_sandboxes(&ann, ListAllSandboxes::default());
    assert_eq!(code(refused.await), "FORBIDDEN");
    let refused = control.list_all_organizations(&ann, ListOrganizations::default());
    assert_eq!(code(refused.await), "FORBIDDEN");
    assert_eq!(code(control.list_work(&ann).await), "FORBIDDEN");

    let ids = async |list| {
        let page = control.list_all_sandboxes(&kit.caller, list).await.unwrap();
        let ids: Vec<_> = page.items.into_iter().map(|it| it.id).collect();
        (ids, page.next_cursor)
    };
    let (first, cursor) = ids(ListAllSandboxes {
        limit: Some(2),
        ..ListAllSandboxes::default()
    })
    .await;
    assert_eq!(first, [made[2].clone(), made[1].clone()]);
    let rest = ListAllSandboxes {
        limit: Some(2),
        cursor: cursor.clone(),
        ..ListAllSandboxes::default()
    };
    assert_eq!(ids(rest).await, (vec![made[0].clone()], None));
    let of_ann = ListAllSandboxes {
        organization: Some(ann.organization.to_string()),
        states: vec![SandboxState::Started],
        ..ListAllSandboxes::default()
    };
    assert_eq!(ids(of_ann).await.0, [made[1].clone()]);
    // A cursor of another question means nothing.
    let other = ListAllSandboxes {
        states: vec![SandboxState::Started],
        cursor,
        ..ListAllSandboxes::default()
    };
    let refused = control.list_all_sandboxes(&kit.caller, other).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })));

    let suspend =
        control.suspend_organization(&kit.caller, ann.organization.as_str(), None, None, None);
    suspend.await.unwrap();
    for (state, expected) in [
        (None, vec![&ann.organization, &kit.caller.organization]),
        (Some(OrganizationState::Suspended), vec![&ann.organization]),
        (
            Some(OrganizationState::Active),
            vec![&kit.caller.organization],
        ),
        (Some(OrganizationState::Deleting), vec![]),
    ] {
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let list = ListOrganizations {
                state,
                limit: Some(1),
                cursor,
            };
            let page = control.list_all_organizations(&kit.caller, list).await;
            let page = page.unwrap();
            found.extend(page.items.into_iter().map(|it| it.id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{state:?}");
    }
}

#[tokio::test]
async fn the_administrator_recovers_and_deletes_the_sandbox_of_any_organization() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let (ann, _) = kit.add_stranger("ann").await;
    let sandbox = control
        .create_sandbox(&ann, NewSandbox::default())
        .await
        .unwrap();
    let id = sandbox.id.as_str();
    assert_eq!(
        code(control.recover_any_sandbox(&ann, id).await),
        "FORBIDDEN"
    );
    assert_eq!(
        code(control.destroy_any_sandbox(&ann, id).await),
        "FORBIDDEN"
    );
    let unknown = control.recover_any_sandbox(&kit.caller, "no-such-sandbox");
    assert_eq!(code(unknown.await), "NOT_FOUND");
    control.stop_sandbox(&ann, id, true).await.unwrap();
    kit.runner.fail_next(RunnerFault::AgentSilent, true);
    control.start_sandbox(&ann, id).await.unwrap_err();
    let recovered = control.recover_any_sandbox(&kit.caller, id).await.unwrap();
    assert_eq!(recovered.state(), SandboxState::Started);
    control.destroy_any_sandbox(&kit.caller, id).await.unwrap();
    vanishes(&kit, &sandbox.id).await;
    let gone = control.destroy_any_sandbox(&kit.caller, id).await;
    assert_eq!(code(gone), "NOT_FOUND");
}

#[tokio::test]
async fn the_administrator_ends_builds_and_pulls() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let (ann, _) = kit.add_stranger("ann").await;
    kit.runner.hold_work();
    let pulled = NewSnapshot {
        name: "pulled".to_owned(),
        image_name: Some("a:1".to_owned()),
        ..NewSnapshot::default()
    };
    control.create_snapshot(&ann, pulled).await.unwrap();
    let built = NewBuiltSnapshot {
        name: "built".to_owned(),
        info: BuildInfo {
            dockerfile: "FROM default\nRUN true\n".to_owned(),
            context_hashes: Vec::new(),
        },
        ..NewBuiltSnapshot::default()
    };
    control.build_snapshot(&ann, built).await.unwrap();
    eventually("the runner has both", async || {
        !kit.runner.builds().is_empty() && !kit.runner.pulls().is_empty()
    })
    .await;
    let works = control.list_work(&kit.caller).await.unwrap();
    let mut told: Vec<_> = works
        .iter()
        .map(|work| (work.snapshot_name.as_deref().unwrap(), work.kind))
        .collect();
    told.sort_by_key(|(name, _)| *name);
    assert_eq!(
        told,
        [("built", WorkKind::Build), ("pulled", WorkKind::Pull)]
    );
    assert_eq!(
        code(control.cancel_work(&ann, &works[0].id).await),
        "FORBIDDEN"
    );
    for work in &works {
        assert_eq!(work.organization.as_ref(), Some(&ann.organization));
        control.cancel_work(&kit.caller, &work.id).await.unwrap();
        let again = control.cancel_work(&kit.caller, &work.id).await;
        assert_eq!(code(again), "NOT_FOUND");
    }
    assert_eq!(kit.runner.cancelled_builds().len(), 1);
    assert_eq!(kit.runner.released().len(), 2);
    kit.runner.resume_work();
    for (name, state) in [
        ("built", SnapshotState::BuildFailed),
        ("pulled", SnapshotState::Error),
    ] {
        let found = control.get_snapshot(&ann, name).await.unwrap();
        assert_eq!(found.state, state, "{name}");
        let reason = found.error_reason.unwrap();
        assert!(reason.contains("administrator"), "{reason}");
    }
    assert!(control.list_work(&kit.caller).await.unwrap().is_empty());
}
