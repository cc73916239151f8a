//! Sandboxes that are made ahead of need, from the control plane's side.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use alcove_control::{
    Error, EventBody, EventStream, ListSandboxes, NewWarmPool, RunnerClient as _, Step,
};
use alcove_domain::{
    MountRequest, NewSandbox, Quota, Sandbox, SandboxId, SandboxState, WarmPoolView,
};
use alcove_runner_api::{FaultCode, Generation, Observed, Order};
use alcove_testkit::{HoldAt, TestControl, TestStore, eventually, within};
use futures_util::{FutureExt as _, StreamExt as _};

use crate::support::*;
use crate::telemetry::log_bodies;

/// Room for this many members.
pub const CAPACITY: u64 = 8;

pub fn warm_store() -> TestStore {
    let mut store = TestStore::default();
    store.settings.warm_pool_bytes = CAPACITY * alcove_domain::warm_pool::MEMBER_BYTES;
    store
}

pub async fn pool(kit: &TestControl, size: i64) -> WarmPoolView {
    let request = NewWarmPool {
        snapshot: "default".to_owned(),
        size: Some(size),
        target: None,
    };
    let made = kit.control.create_warm_pool(&kit.caller, request);
    made.await.unwrap()
}

async fn only_pool(kit: &TestControl) -> WarmPoolView {
    let pools = kit.control.list_warm_pools(&kit.caller).await.unwrap();
    assert_eq!(pools.len(), 1, "{pools:?}");
    pools[0].clone()
}

/// Two kits whose clocks and chances are the same: with members, and without any.
async fn both() -> (TestControl, TestControl) {
    let warm = warm_store().open().await;
    pool(&warm, 2).await;
    (warm, TestControl::open().await)
}

fn full_request() -> NewSandbox {
    NewSandbox {
        name: Some("box".to_owned()),
        user: Some("somebody".to_owned()),
        env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
        labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        is_public: Some(true),
        auto_stop_interval: Some(7),
        auto_archive_interval: Some(60),
        auto_delete_interval: Some(90),
        ttl_minutes: Some(600),
        ..NewSandbox::default()
    }
}

/// All that differs between two sandboxes by chance.
fn plain(sandbox: &Sandbox) -> Sandbox {
    let id: SandboxId = "x".parse().unwrap();
    let name = if sandbox.name == sandbox.id.as_str() {
        "x".to_owned()
    } else {
        sandbox.name.clone()
    };
    Sandbox {
        id,
        name,
        organization_id: "o".parse().unwrap(),
        snapshot_id: "s".parse().unwrap(),
        ..sandbox.clone()
    }
}

fn told(events: &mut EventStream) -> Vec<EventBody> {
    let told = std::iter::from_fn(|| events.next().now_or_never().flatten());
    told.map(|event| event.body).collect()
}

fn plain_event(event: &EventBody) -> EventBody {
    let plain = |sandbox: &Arc<Sandbox>| Arc::new(plain(sandbox));
    match event {
        EventBody::SandboxCreated { sandbox } => EventBody::SandboxCreated {
            sandbox: plain(sandbox),
        },
        EventBody::SandboxStateUpdated {
            sandbox,
            old_state,
            new_state,
        } => EventBody::SandboxStateUpdated {
            sandbox: plain(sandbox),
            old_state: *old_state,
            new_state: *new_state,
        },
        other => {
            panic!("a create tells nothing of {other:?}")
        }
    }
}

#[tokio::test]
async fn a_create_from_the_pool_is_a_create_in_all_that_can_be_seen() {
    for request in [NewSandbox::default(), full_request()] {
        let (warm, usual) = both().await;
        let mut seen = Vec::new();
        for kit in [&warm, &usual] {
            let mut events = kit.control.subscribe_events(&kit.caller.organization);
            let sandbox = create(kit, request.clone()).await.unwrap();
            assert_eq!(row(kit, &sandbox.id).await, *sandbox);
            assert_eq!(sandbox.state(), SandboxState::Started);
            let events: Vec<EventBody> = told(&mut events).iter().map(plain_event).collect();
            let spec = kit.runner.spec(&sandbox.id).unwrap();
            let mut env = spec.env.clone();
            for own in ["DAYTONA_SANDBOX_ID", "DAYTONA_ORGANIZATION_ID"] {
                assert!(env.remove(own).is_some(), "{own}");
            }
            let usage = kit.control.quota_use(&kit.caller).await.unwrap()[0].usage;
            assert!(kit.store.reader().usage_is_exact().await.unwrap());
            no_open_orders(kit).await;
            let logs = log_bodies(kit, sandbox.id.as_str()).await;
            assert!(logs.contains(&"started".to_owned()), "{logs:?}");
            let generation = kit.runner.generation(&sandbox.id);
            let image = (spec.image, spec.resources, spec.user, spec.disk, env);
            seen.push((plain(&sandbox), events, image, usage, generation));
        }
        assert_eq!(seen[0], seen[1]);
        // The one did come from the pool, and the other did not.
        assert_eq!(warm.runner.handed_over().len(), 1);
        assert!(usual.runner.handed_over().is_empty());
        // Nothing that comes later tells them apart.
        for kit in [&warm, &usual] {
            let list = kit
                .control
                .list_sandboxes(&kit.caller, ListSandboxes::default());
            let id = list.await.unwrap().items[0].id.clone();
            let (control, caller) = (&kit.control, &kit.caller);
            control
                .stop_sandbox(caller, id.as_str(), false)
                .await
                .unwrap();
            control.start_sandbox(caller, id.as_str()).await.unwrap();
            control.delete_sandbox(caller, id.as_str()).await.unwrap();
            vanishes(kit, &id).await;
            assert!(kit.store.reader().usage_is_exact().await.unwrap());
        }
    }
}

#[tokio::test]
async fn demand_makes_members_and_their_absence_costs_a_usual_create() {
    let kit = warm_store().open().await;
    let first = make(&kit, "first").await;
    assert!(kit.runner.handed_over().is_empty());
    eventually("a member waits", async || !kit.runner.members().is_empty()).await;
    let second = make(&kit, "second").await;
    assert_eq!(kit.runner.handed_over(), std::slice::from_ref(&second.id));
    assert_ne!(first.id, second.id);

    kit.runner.fail_members(FaultCode::ImageMissing);
    let third = make(&kit, "third").await;
    assert_eq!(third.state(), SandboxState::Started);
    assert_eq!(kit.runner.handed_over().len(), 1);
}

#[tokio::test]
async fn a_pool_that_nobody_takes_from_shrinks_to_nothing() {
    let kit = warm_store().open().await;
    make(&kit, "box").await;
    eventually("a member waits", async || !kit.runner.members().is_empty()).await;
    kit.clock.advance_minutes(16);
    eventually("no member waits", async || kit.runner.members().is_empty()).await;
}

#[tokio::test]
async fn a_sandbox_with_a_volume_is_made_the_usual_way() {
    let kit = warm_store().open().await;
    pool(&kit, 1).await;
    let volume = kit.control.create_volume(&kit.caller, None).await.unwrap();
    let request = NewSandbox {
        volumes: vec![MountRequest {
            volume: volume.id.to_string(),
            mount_path: "/data".to_owned(),
            subpath: None,
            is_read_only: false,
        }],
        ..NewSandbox::default()
    };
    create(&kit, request).await.unwrap();
    assert!(kit.runner.handed_over().is_empty());
    // The positive control.
    create(&kit, NewSandbox::default()).await.unwrap();
    assert_eq!(kit.runner.handed_over().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_creates_at_once_get_a_member_each_or_none_and_no_limit_is_passed() {
    let mut store = warm_store();
    store.settings.default_quota = Quota {
        total_sandboxes: Some(20),
        ..Quota::default()
    };
    let kit = store.open().await;
    pool(&kit, 8).await;
    let creates: Vec<_> = (0..100)
        .map(|_| {
            let (control, caller) = (kit.control.clone(), kit.caller.clone());
            tokio::spawn(
                async move { control.create_sandbox(&caller, NewSandbox::default()).await },
            )
        })
        .collect();
    let mut ids = HashSet::new();
    for create in creates {
        match create.await.unwrap() {
            Ok(sandbox) => assert!(ids.insert(sandbox.id.clone()), "handed out twice"),
            Err(Error::QuotaExceeded { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(ids.len(), 20);
    assert!(!kit.runner.handed_over().is_empty());
    eventually("what was refused late is gone", async || {
        kit.runner.sandbox_count() == 20
    })
    .await;
    assert!(kit.store.reader().usage_is_exact().await.unwrap());
}

#[tokio::test]
async fn a_claim_that_was_killed_anywhere_leaves_one_sandbox_or_none_and_no_trace() {
    for step in Step::CLAIM {
        let probe = Arc::new(HoldAt::new(step, 0));
        let kit = warm_store().open_probed(probe.clone()).await;
        pool(&kit, 2).await;
        tokio::select! {
            () = within("the step", probe.held()) => {}
            made = create(&kit, named("box")) => panic!("{step:?} was not reached: {made:?}"),
        }
        let kit = kit.restart().await;
        let is_written = step == Step::OutcomeWritten;
        eventually("host and store agree", async || {
            kit.runner.sandbox_count() == usize::from(is_written)
        })
        .await;
        let live = kit.store.reader().sandbox_list_live().await.unwrap();
        assert_eq!(live.len(), usize::from(is_written), "{step:?}");
        if is_written {
            becomes(&kit, &live[0].id, SandboxState::Started).await;
            assert!(kit.runner.is_running(&live[0].id));
        } else {
            // The name is free, and so is the room.
            make(&kit, "box").await;
        }
        no_open_orders(&kit).await;
        assert_eq!(kit.runner.taken_members(), 0, "{step:?}");
        assert!(kit.store.reader().usage_is_exact().await.unwrap());
        // The pool is filled again.
        eventually("members wait", async || only_pool(&kit).await.ready == 2).await;
    }
}

#[tokio::test]
async fn a_comparison_in_the_middle_of_a_claim_takes_nothing_away() {
    let probe = Arc::new(HoldAt::new(Step::HandedOver, 0));
    let kit = warm_store().open_probed(probe.clone()).await;
    pool(&kit, 1).await;
    let member = kit.runner.members().into_iter().next().unwrap();
    tokio::select! {
        () = within("the step", probe.held()) => {}
        made = create(&kit, named("box")) => panic!("it was not held: {made:?}"),
    }
    assert!(kit.runner.is_running(&member));
    // A stranger shows that the comparison has come by.
    let stranger: SandboxId = "stranger".parse().unwrap();
    kit.runner.plant(&stranger, 1);
    kit.clock.advance_minutes(2);
    eventually("the stranger is gone", async || {
        kit.runner.observed(&stranger).is_none()
    })
    .await;
    assert!(kit.runner.is_running(&member));
}

#[tokio::test]
async fn a_member_that_cannot_be_handed_over_is_no_error() {
    let kit = warm_store().open().await;
    pool(&kit, 1).await;
    kit.runner.fail_next(FaultCode::AgentSilent, false);
    let sandbox = make(&kit, "box").await;
    assert_eq!(sandbox.state(), SandboxState::Started);
    no_open_orders(&kit).await;
    // The answer of the hand-over is lost: it is found done.
    kit.runner.lose_answers(1);
    let sandbox = make(&kit, "second").await;
    assert_eq!(sandbox.state(), SandboxState::Started);
    assert_eq!(kit.runner.sandbox_count(), 2);
    let order = Order {
        sandbox: sandbox.id.clone(),
        generation: Generation(1),
        goal: alcove_runner_api::Goal::Stopped {
            grace: std::time::Duration::ZERO,
        },
    };
    // It is a sandbox like any other to the host.
    let report = kit.runner.apply(order).await.unwrap();
    assert!(matches!(report.observed, Observed::Stopped { .. }));
}

#[tokio::test]
async fn members_of_a_snapshot_go_with_it_and_follow_its_name() {
    let kit = warm_store().open().await;
    make(&kit, "box").await;
    let control = &kit.control;
    let captured = control.snapshot_sandbox(&kit.caller, "box", "own".to_owned(), false);
    captured.await.unwrap();
    let is_active = async || {
        let found = control.get_snapshot(&kit.caller, "own").await;
        found.is_ok_and(|found| found.state == alcove_domain::SnapshotState::Active)
    };
    eventually("the snapshot is active", is_active).await;
    let request = NewWarmPool {
        snapshot: "own".to_owned(),
        size: Some(2),
        target: None,
    };
    let made = control
        .create_warm_pool(&kit.caller, request)
        .await
        .unwrap();
    assert_eq!((made.ready, made.error_reason), (2, None));
    let found = control.get_snapshot(&kit.caller, "own").await.unwrap();
    control
        .delete_snapshot(&kit.caller, found.id.as_str())
        .await
        .unwrap();
    eventually("its members are gone", async || {
        let view = only_pool(&kit).await;
        view.ready == 0 && view.error_reason.is_some()
    })
    .await;
    let id = only_pool(&kit).await.pool.id;
    assert!(
        kit.runner
            .warm_wishes()
            .iter()
            .all(|wish| wish.kind.pool != id.as_str())
    );
}

#[tokio::test]
async fn pools_outlive_the_process_and_their_members_do_not() {
    let kit = warm_store().open().await;
    pool(&kit, 3).await;
    let before = kit.runner.members();
    let kit = kit.restart().await;
    eventually("members wait", async || only_pool(&kit).await.ready == 3).await;
    let after = kit.runner.members();
    assert!(before.is_disjoint(&after));
}
