//! Sandboxes with sessions, until they have all that they begin with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alcove_control::{Error, Filling, NewSession, NewWarmPool, Session, SessionChange, Step};
use alcove_domain::SandboxState;
use alcove_domain::session::DriveMount;
use alcove_runner_api as runner_api;
use alcove_testkit::{TestControl, TestStore, eventually, within};
use tokio::sync::Semaphore;

use crate::kills::killed_at;
use crate::runners::{there, with_runner};
use crate::support::*;

fn asked(name: &str) -> NewSession {
    NewSession {
        name: Some(name.to_owned()),
        vcpus: Some(2),
        ..NewSession::default()
    }
}

/// Something that is there at once.
#[expect(clippy::unnecessary_wraps, reason = "as a create takes it")]
fn at_once() -> Option<Filling<Error>> {
    Some(Box::new(|_| Box::pin(async { Ok(()) })))
}

/// Something that is there when a permit is given.
#[expect(clippy::unnecessary_wraps, reason = "as a create takes it")]
fn when_let(gate: &Arc<Semaphore>) -> Option<Filling<Error>> {
    let gate = Arc::clone(gate);
    Some(Box::new(move |_| {
        Box::pin(async move {
            let _permit = gate.acquire().await.expect("it stays open");
            Ok(())
        })
    }))
}

async fn begin(
    kit: &TestControl,
    name: &str,
    filling: Option<Filling<Error>>,
) -> Result<Session, Error> {
    let created = kit
        .control
        .create_session(&kit.caller, asked(name), filling);
    within("a create", created).await
}

async fn fork(kit: &TestControl) -> Result<Session, Error> {
    let (caller, name) = (&kit.caller, Some("copy".to_owned()));
    let change = SessionChange {
        timeout_ms: Some(7000),
        ..SessionChange::default()
    };
    let forked = kit.control.fork_session(caller, None, "box", name, change);
    within("a fork", forked).await
}

async fn resume(kit: &TestControl) -> Result<(Session, bool), Error> {
    let resumed = kit.control.resume_session(&kit.caller, None, "box");
    within("a resume", resumed).await
}

fn every_step() -> Vec<Step> {
    [&Step::ALL[..], &Step::BEGINNING].concat()
}

#[tokio::test]
async fn a_create_with_a_source_that_was_killed_anywhere_leaves_nothing_and_its_name_is_free() {
    for step in every_step() {
        let kit = killed_at(TestStore::default(), step, async |kit| {
            let _ = begin(kit, "box", at_once()).await;
        })
        .await;
        let found = kit.control.find_session_sandbox(&kit.caller, None, "box");
        assert!(matches!(found, Err(Error::NotFound { .. })), "{step:?}");
        let made = begin(&kit, "box", at_once()).await.unwrap();
        assert_eq!(made.status(), "running", "{step:?}");
        eventually("only that is on the host", async || {
            kit.runner.sandbox_count() == 1
        })
        .await;
        no_open_orders(&kit).await;
        let kit = kit.restart().await;
        let found = kit.control.find_session_sandbox(&kit.caller, None, "box");
        let left = found.unwrap();
        assert_eq!((left.id(), left.status()), (made.id(), "running"));
    }
}

#[tokio::test]
async fn a_fork_that_was_killed_anywhere_leaves_nothing_or_ends_by_the_clock() {
    for step in every_step() {
        let kit = TestControl::open().await;
        begin(&kit, "box", None).await.unwrap();
        let kit = killed_at(kit.kill().await, step, async |kit| {
            let _ = fork(kit).await;
        })
        .await;
        let found = kit.control.find_session_sandbox(&kit.caller, None, "copy");
        assert!(matches!(found, Err(Error::NotFound { .. })), "{step:?}");
        eventually("the source runs on", async || {
            let source = get(&kit, "box").await.unwrap();
            source.state() == SandboxState::Started
        })
        .await;
        let copy = fork(&kit).await.unwrap();
        assert_eq!(copy.sandbox.stop_at, Some(copy.record.ends_at()));
        assert_eq!((copy.record.lasts_ms, copy.status()), (7000, "running"));
        eventually("only two are on the host", async || {
            kit.runner.sandbox_count() == 2
        })
        .await;
    }
}

#[tokio::test]
async fn a_session_that_was_cut_short_anywhere_as_it_began_again_ends_by_the_clock() {
    for step in [&Step::ALL[..], &Step::RESUMING].concat() {
        let kit = TestControl::open().await;
        let first = begin(&kit, "box", None).await.unwrap();
        let stopped = kit.control.stop_session(&kit.caller, "box").await.unwrap();
        assert_eq!(
            stopped.sandbox.stop_at, None,
            "what has ended has no end to come"
        );
        let kit = killed_at(kit.kill().await, step, async |kit| {
            let _ = resume(kit).await;
        })
        .await;
        let id = first.sandbox.id.clone();
        becomes(&kit, &id, SandboxState::Started).await;
        let (again, is_new) = resume(&kit).await.unwrap();
        assert_eq!(again.id().number, 2, "{step:?}: the one that was asked for");
        assert!(!is_new, "{step:?}");
        let ends_at = again.record.ends_at();
        assert_eq!(again.sandbox.stop_at, Some(ends_at), "{step:?}");
        assert_eq!(again.record.stopped_at, None, "{step:?}");
        kit.clock.advance_minutes(5);
        becomes(&kit, &id, SandboxState::Stopped).await;
        no_open_orders(&kit).await;
    }
}

#[tokio::test]
async fn a_start_by_another_client_begins_a_session_that_ends_by_the_clock() {
    let kit = TestControl::open().await;
    let first = begin(&kit, "box", None).await.unwrap();
    kit.control.stop_session(&kit.caller, "box").await.unwrap();
    let started = kit.control.start_sandbox(&kit.caller, "box").await.unwrap();
    let (found, is_new) = resume(&kit).await.unwrap();
    assert_eq!((found.id().number, is_new), (2, false));
    assert_eq!(started.stop_at, Some(found.record.ends_at()));
    let again = kit.control.start_sandbox(&kit.caller, "box").await;
    assert_eq!(
        again.map_or(started.stop_at, |again| again.stop_at),
        started.stop_at,
        "one that runs goes on"
    );
    let over = kit
        .control
        .find_session(&kit.caller, &first.id().to_string());
    assert_eq!(over.unwrap_err().code(), "SANDBOX_STOPPED");
    kit.clock.advance_minutes(5);
    becomes(&kit, &first.sandbox.id, SandboxState::Stopped).await;

    // One that no client of sessions knows is its own.
    make(&kit, "plain").await;
    kit.control
        .stop_sandbox(&kit.caller, "plain", false)
        .await
        .unwrap();
    let started = kit.control.start_sandbox(&kit.caller, "plain").await;
    assert_eq!(started.unwrap().stop_at, None);
}

fn used(cpu_ms: u64, received_bytes: u64, sent_bytes: u64) -> runner_api::RunUsage {
    runner_api::RunUsage {
        cpu_used: Some(Duration::from_millis(cpu_ms)),
        network: Some(runner_api::NetworkUsage {
            received_bytes,
            sent_bytes,
        }),
    }
}

#[tokio::test]
async fn what_a_session_used_is_kept_when_it_ends_whoever_ends_it() {
    let kit = TestControl::open().await;
    begin(&kit, "box", None).await.unwrap();
    kit.runner.set_used(used(40, 500, 60));
    let running = kit.control.find_session(&kit.caller, "box").unwrap();
    assert_eq!((running.record.used, running.record.total), (None, None));
    kit.clock.advance_minutes(1);
    let ended = kit.control.stop_session(&kit.caller, "box").await.unwrap();
    let first = ended.record.used.unwrap();
    assert_eq!(first.cpu_ms, Some(40));
    let total = ended.record.total.unwrap();
    assert_eq!((total.duration_ms, total.used), (60_000, first));
    let again = kit.control.stop_session(&kit.caller, "box").await.unwrap();
    assert_eq!(again.record, ended.record, "it ends once");

    let (resumed, _) = resume(&kit).await.unwrap();
    assert_eq!(resumed.record.used, None);
    assert_eq!(resumed.record.total, Some(total));
    kit.runner.set_used(used(2, 1, 1));
    // The clock ends it: nobody asks.
    kit.clock.advance_minutes(5);
    becomes(&kit, &resumed.sandbox.id, SandboxState::Stopped).await;
    let ended = kit.control.find_session(&kit.caller, "box").unwrap();
    assert!(ended.record.stopped_at.is_some());
    let total = ended.record.total.unwrap();
    assert_eq!(total.duration_ms, 360_000);
    assert_eq!(total.used.cpu_ms, Some(42));
    let traffic = total.used.traffic.unwrap();
    assert_eq!((traffic.received_bytes, traffic.sent_bytes), (501, 61));

    let kit = kit.restart().await;
    let kept = kit.control.find_session(&kit.caller, "box").unwrap();
    assert_eq!(kept.record, ended.record);
}

#[tokio::test]
async fn whoever_looks_for_a_sandbox_that_is_being_made_waits_until_it_is_whole() {
    let kit = TestControl::open().await;
    let gate = Arc::new(Semaphore::new(0));
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let filling = when_let(&gate);
    let task = tokio::spawn(async move {
        let created = control.create_session(&caller, asked("box"), filling);
        created.await
    });
    let find = || kit.control.find_session_sandbox(&kit.caller, None, "box");
    eventually("it runs and is not whole", async || {
        find().is_ok_and(|found| {
            found.sandbox.state() == SandboxState::Started && found.status() == "pending"
        })
    })
    .await;
    let refused = kit.control.session_sandbox(&kit.caller, "box").unwrap_err();
    assert_eq!(refused.code(), "SANDBOX_STOPPED", "nothing is done in it");
    let (control, caller) = (&kit.control, &kit.caller);
    let looks = async {
        tokio::join!(
            control.whole_session_sandbox(caller, None, "box"),
            control.resume_session(caller, None, "box"),
            control.create_session::<Error>(caller, asked("box"), None),
        )
    };
    tokio::pin!(looks);
    for _ in 0..20 {
        tokio::select! {
            biased;
            _ = &mut looks => panic!("it is not whole yet"),
            () = tokio::task::yield_now() => {}
        }
    }
    gate.add_permits(1);
    let made = within("the create", task).await.unwrap().unwrap();
    let (looked, resumed, created) = within("the looks", looks).await;
    assert_eq!(looked.unwrap().status(), "running");
    let (resumed, is_new) = resumed.unwrap();
    assert_eq!((resumed.id(), is_new), (made.id(), false));
    assert_eq!(created.unwrap_err().code(), "SANDBOX_NAME_TAKEN");
    assert!(control.session_sandbox(caller, "box").is_ok());
}

#[tokio::test]
async fn labels_that_are_replaced_while_a_source_is_placed_lift_no_mark() {
    let kit = TestControl::open().await;
    let gate = Arc::new(Semaphore::new(0));
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let filling = when_let(&gate);
    tokio::spawn(async move {
        let created = control.create_session(&caller, asked("box"), filling);
        created.await
    });
    eventually("it runs", async || {
        let found = get(&kit, "box").await;
        found.is_ok_and(|found| found.state() == SandboxState::Started)
    })
    .await;
    let (control, caller) = (&kit.control, &kit.caller);
    let replaced = control.replace_labels(caller, "box", BTreeMap::new());
    replaced.await.unwrap();
    let found = control.find_session_sandbox(caller, None, "box").unwrap();
    assert_eq!(found.status(), "pending");
    let refused = control.session_sandbox(caller, "box").unwrap_err();
    assert_eq!(refused.code(), "SANDBOX_STOPPED");
    let kit = kit.restart().await;
    let found = kit.control.find_session_sandbox(&kit.caller, None, "box");
    assert!(matches!(found, Err(Error::NotFound { .. })), "{found:?}");
    begin(&kit, "box", at_once()).await.unwrap();
}

#[tokio::test]
async fn a_label_that_says_unfinished_makes_nothing_so() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let label = ("vercel.unfinished".to_owned(), "true".to_owned());
    let labels = BTreeMap::from([label]);
    let replaced = kit.control.replace_labels(&kit.caller, "box", labels);
    replaced.await.unwrap();
    let kit = kit.restart().await;
    let found = kit.control.find_session_sandbox(&kit.caller, None, "box");
    assert_eq!(found.unwrap().status(), "running");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_sandbox_without_its_source() {
    let kit = TestControl::open().await;
    let gate = Arc::new(Semaphore::new(0));
    {
        let created = kit
            .control
            .create_session(&kit.caller, asked("box"), when_let(&gate));
        tokio::pin!(created);
        eventually("it runs", async || {
            tokio::select! {
                biased;
                _ = &mut created => panic!("it cannot be done yet"),
                () = tokio::task::yield_now() => {}
            }
            get(&kit, "box")
                .await
                .is_ok_and(|found| found.state() == SandboxState::Started)
        })
        .await;
    }
    gate.add_permits(1);
    eventually("it is whole", async || {
        let found = kit.control.find_session_sandbox(&kit.caller, None, "box");
        found.is_ok_and(|found| found.status() == "running")
    })
    .await;
}

#[tokio::test]
async fn a_sandbox_that_is_not_whole_at_once_is_none_that_waited_in_a_pool() {
    let mut store = TestStore::default();
    store.settings.warm_pool_bytes = 2 * alcove_domain::warm_pool::MEMBER_BYTES;
    let kit = store.open().await;
    let pool = NewWarmPool {
        snapshot: "default".to_owned(),
        size: Some(1),
        target: None,
    };
    let made = kit.control.create_warm_pool(&kit.caller, pool).await;
    made.unwrap();
    eventually("a member waits", async || {
        let pools = kit.control.list_warm_pools(&kit.caller).await.unwrap();
        pools[0].ready == 1
    })
    .await;
    let made = begin(&kit, "box", at_once()).await.unwrap();
    assert_eq!(made.status(), "running");
    let found = kit.control.find_session_sandbox(&kit.caller, None, "box");
    assert_eq!(found.unwrap().id(), made.id());
    let plain = kit.control.create_session::<Error>(
        &kit.caller,
        NewSession {
            name: Some("plain".to_owned()),
            ..NewSession::default()
        },
        None,
    );
    assert_eq!(plain.await.unwrap().status(), "running");
}

#[tokio::test]
async fn a_source_that_does_not_come_leaves_no_sandbox() {
    let kit = TestControl::open().await;
    let failing: Filling<Error> = Box::new(|_| {
        Box::pin(async {
            Err(Error::NotFound {
                message: "no such source".to_owned(),
            })
        })
    });
    let refused = begin(&kit, "box", Some(failing)).await.unwrap_err();
    assert!(matches!(refused, Error::NotFound { .. }), "{refused}");
    assert!(get(&kit, "box").await.is_err());
    eventually("nothing is on the host", async || {
        kit.runner.sandbox_count() == 0
    })
    .await;
    begin(&kit, "box", at_once()).await.unwrap();
}

#[tokio::test]
async fn an_update_writes_what_is_mounted_and_what_is_told_of_it_at_once() {
    let kit = TestControl::open().await;
    let (control, caller) = (&kit.control, &kit.caller);
    control
        .get_or_create_drive(caller, String::new(), "data", None, None)
        .await
        .unwrap();
    begin(&kit, "box", None).await.unwrap();
    let stopped = control.stop_session(caller, "box").await.unwrap();
    let change = SessionChange {
        timeout_ms: Some(7000),
        ..mounting("data")
    };
    let changed = control.update_session(caller, None, "box", change);
    let changed = within("an update", changed).await.unwrap();
    assert_eq!(changed.sandbox.volumes[0].mount_path, "/data");
    assert_eq!(changed.record.terms.drives["/data"], "data");
    assert_eq!(changed.record.terms.timeout_ms, 7000);
    // One change is one version: a kill leaves all of it or nothing.
    assert_eq!(changed.sandbox.version, stopped.sandbox.version + 1);
}

#[tokio::test]
async fn a_drive_that_the_host_cannot_mount_is_refused_in_an_update_too() {
    let (kit, _joined) = with_runner().await;
    let (control, caller) = (&kit.control, &kit.caller);
    control
        .get_or_create_drive(caller, String::new(), "data", None, None)
        .await
        .unwrap();
    let request = NewSession {
        region: there("box").target,
        ..asked("box")
    };
    control
        .create_session::<Error>(caller, request, None)
        .await
        .unwrap();
    let stopped = control.stop_session(caller, "box").await.unwrap();
    let refused = control
        .update_session(caller, None, "box", mounting("data"))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Unprocessable { .. }), "{refused}");
    assert!(refused.to_string().contains("cannot be had"), "{refused}");
    let left = control.find_session_sandbox(caller, None, "box").unwrap();
    assert_eq!(left.sandbox.version, stopped.sandbox.version);
    assert!(left.record.terms.drives.is_empty());
}

fn mounting(drive: &str) -> SessionChange {
    let mount = DriveMount {
        name: drive.to_owned(),
        is_read_only: false,
    };
    SessionChange {
        drives: Some([("/data".to_owned(), mount)].into()),
        ..SessionChange::default()
    }
}
