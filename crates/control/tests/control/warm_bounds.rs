//! What pools may take of the host, and who may have them, from the control plane's side.

use std::collections::HashSet;
use std::sync::Arc;

use alcove_control::{Caller, Error, NewWarmPool};
use alcove_domain::{NewSandbox, Permission, Permissions, Quota, SandboxId, SandboxState};
use alcove_testkit::{TestControl, TestStore, eventually};

use crate::support::*;
use crate::warm::{CAPACITY, pool, warm_store};

#[tokio::test]
async fn a_server_without_memory_for_them_makes_none() {
    let kit = TestControl::open().await;
    for name in ["a", "b", "c"] {
        make(&kit, name).await;
    }
    kit.clock.advance_minutes(1);
    assert!(kit.runner.warm_wishes().is_empty());
    assert!(kit.runner.handed_over().is_empty());
}

/// An image that the runner has becomes a snapshot by the next look.
async fn add_image(kit: &TestControl, name: &str) {
    kit.runner.add_image(name, "");
    eventually("the image is a snapshot", async || {
        kit.clock.advance_minutes(2);
        let found = kit.control.get_snapshot(&kit.caller, name).await;
        found.is_ok()
    })
    .await;
}

#[tokio::test]
async fn all_pools_together_stay_within_the_memory() {
    let kit = warm_store().open().await;
    add_image(&kit, "other").await;
    pool(&kit, 6).await;
    for _ in 0..20 {
        let other = NewSandbox {
            snapshot: Some("other".to_owned()),
            ..NewSandbox::default()
        };
        create(&kit, other).await.unwrap();
        create(&kit, NewSandbox::default()).await.unwrap();
    }
    let sum = || {
        let wishes = kit.runner.warm_wishes();
        let sum: u32 = wishes.iter().map(|wish| wish.size).sum();
        assert!(u64::from(sum) <= CAPACITY, "{wishes:?}");
        u64::from(sum)
    };
    eventually("what is left is shared", async || sum() == CAPACITY).await;
    let request = NewWarmPool {
        snapshot: "other".to_owned(),
        size: Some(8),
        target: None,
    };
    let second = kit.control.create_warm_pool(&kit.caller, request);
    let second = second.await.unwrap();
    assert_eq!(second.ready, 4);
    let reason = second.error_reason.unwrap();
    assert!(reason.ends_with("there is room for 4 of 8"), "{reason}");
    assert_eq!(only_ready(&kit).await, [4, 4]);
}

async fn only_ready(kit: &TestControl) -> Vec<u32> {
    let pools = kit.control.list_warm_pools(&kit.caller).await.unwrap();
    pools.iter().map(|view| view.ready).collect()
}

#[tokio::test]
async fn a_create_that_is_refused_costs_no_member() {
    let mut store = warm_store();
    store.settings.default_quota = Quota {
        total_sandboxes: Some(1),
        ..Quota::default()
    };
    let kit = store.open().await;
    pool(&kit, 1).await;
    let members = kit.runner.members();
    make(&kit, "box").await;
    let handed_over: HashSet<SandboxId> = kit.runner.handed_over().into_iter().collect();
    assert_eq!(handed_over, members);
    let members = kit.runner.members();
    for request in [
        named("box"),
        NewSandbox::default(),
        NewSandbox {
            auto_stop_interval: Some(-1),
            ..NewSandbox::default()
        },
    ] {
        create(&kit, request).await.unwrap_err();
        assert_eq!(kit.runner.members(), members);
        assert_eq!(kit.runner.taken_members(), 0);
        assert_eq!(kit.runner.handed_over().len(), 1);
    }
    let over = create(&kit, NewSandbox::default()).await;
    assert!(matches!(over, Err(Error::QuotaExceeded { .. })), "{over:?}");
}

#[tokio::test]
async fn a_create_beyond_what_the_host_may_promise_costs_no_member() {
    let mut store = warm_store();
    store.settings.host_bound.memory_bytes = Some(1 << 30);
    let kit = store.open().await;
    pool(&kit, 2).await;
    make(&kit, "box").await;
    assert_eq!(kit.runner.handed_over().len(), 1, "the control");
    let members = kit.runner.members();
    assert!(!members.is_empty());
    let refused = create(&kit, NewSandbox::default()).await.unwrap_err();
    assert_eq!(refused.code(), "NO_AVAILABLE_RUNNERS");
    assert_eq!(kit.runner.members(), members);
    assert_eq!(kit.runner.taken_members(), 0);
    assert_eq!(kit.runner.handed_over().len(), 1);
}

#[tokio::test]
async fn each_use_of_pools_needs_its_right_and_a_foreign_pool_does_not_exist() {
    let kit = warm_store().open().await;
    let id = pool(&kit, 2).await.pool.id;
    let (control, id) = (&kit.control, id.as_str());
    let with = |permissions: &[Permission]| Caller {
        permissions: Arc::new(permissions.iter().copied().collect::<Permissions>()),
        ..kit.caller.clone()
    };
    let (reader, writer) = (with(&[]), with(&[Permission::WriteSandboxes]));
    assert_eq!(control.list_warm_pools(&reader).await.unwrap().len(), 1);
    let denied = [
        control
            .create_warm_pool(&reader, NewWarmPool::default())
            .await
            .map(drop),
        control
            .update_warm_pool(&reader, id, Some(1))
            .await
            .map(drop),
        control.delete_warm_pool(&reader, id).await,
        control.delete_warm_pool(&writer, id).await,
    ];
    for outcome in denied {
        assert!(
            matches!(outcome, Err(Error::Forbidden { .. })),
            "{outcome:?}"
        );
    }
    let (stranger, _) = kit.add_stranger("stranger").await;
    assert!(control.list_warm_pools(&stranger).await.unwrap().is_empty());
    let missing = [
        control
            .update_warm_pool(&stranger, id, Some(1))
            .await
            .map(drop),
        control.delete_warm_pool(&stranger, id).await,
    ];
    for outcome in missing {
        assert!(
            matches!(outcome, Err(Error::NotFound { .. })),
            "{outcome:?}"
        );
    }
    // The members of a pool are for its organization alone.
    let sandbox = control.create_sandbox(&stranger, NewSandbox::default());
    sandbox.await.unwrap();
    assert!(kit.runner.handed_over().is_empty());
    assert!(control.update_warm_pool(&writer, id, Some(1)).await.is_ok());
    create(&kit, NewSandbox::default()).await.unwrap();
    assert_eq!(kit.runner.handed_over().len(), 1);
}

#[tokio::test]
async fn an_organization_has_no_more_pools_than_it_may() {
    let kit = warm_store().open().await;
    let mut made = 0;
    for number in 0..=alcove_domain::warm_pool::POOLS_MAX {
        let name = format!("image-{number}");
        add_image(&kit, &name).await;
        let request = NewWarmPool {
            snapshot: name,
            size: Some(1),
            target: None,
        };
        match kit.control.create_warm_pool(&kit.caller, request).await {
            Ok(_) => made += 1,
            Err(Error::QuotaExceeded { message }) => {
                assert_eq!(message, "Warm pool quota exceeded. Maximum allowed: 20");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(made, 20);
}

#[tokio::test]
async fn a_claim_in_doubt_leaves_its_sandbox_on_the_host_for_the_next_server() {
    let (mut store, lossy) = TestStore::on_lossy_postgres().await;
    store.settings.warm_pool_bytes = warm_store().settings.warm_pool_bytes;
    let kit = store.open().await;
    pool(&kit, 1).await;
    let member = kit.runner.members().into_iter().next().unwrap();
    lossy.lose_next_commit();
    let lost = create(&kit, named("box")).await;
    assert!(lost.is_err(), "{lost:?}");
    assert!(kit.store.is_in_doubt());
    // All that is under way ends with it, so nobody compares the host with what is remembered.
    let other = create(&kit, named("other")).await;
    assert!(other.is_err(), "{other:?}");
    let kit = kit.restart().await;
    becomes(&kit, &member, SandboxState::Started).await;
    assert!(kit.runner.is_running(&member));
    assert_eq!(get(&kit, "box").await.unwrap().id, member);
}
