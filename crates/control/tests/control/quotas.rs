use std::sync::Arc;

use alcove_control::{Error, ListSandboxes};
use alcove_domain::{NewSandbox, Quota, ResizeRequest, SandboxClass, Usage};
use alcove_testkit::{TestControl, TestStore, eventually};

use crate::support::*;

const LIMIT: usize = 10;

async fn limited(quota: Quota) -> TestControl {
    let mut store = TestStore::default();
    store.settings.default_quota = quota;
    store.open().await
}

async fn usage(kit: &TestControl) -> Usage {
    kit.control.quota_use(&kit.caller).await.unwrap()[0].usage
}

async fn ledger_is_exact(kit: &TestControl) -> bool {
    kit.store.reader().usage_is_exact().await.unwrap()
}

fn is_over(result: &Result<Arc<alcove_domain::Sandbox>, Error>) -> bool {
    matches!(result, Err(Error::QuotaExceeded { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_creates_at_once_at_a_limit_of_ten_give_exactly_ten() {
    let kit = limited(Quota {
        total_cpu_cores: Some(LIMIT as u64),
        ..Quota::default()
    })
    .await;
    let creates: Vec<_> = (0..1000)
        .map(|_| {
            let (control, caller) = (kit.control.clone(), kit.caller.clone());
            tokio::spawn(
                async move { control.create_sandbox(&caller, NewSandbox::default()).await },
            )
        })
        .collect();
    let (mut made, mut refused) = (0, 0);
    for create in creates {
        let result = create.await.unwrap();
        match &result {
            Ok(_) => made += 1,
            Err(Error::QuotaExceeded { message }) => {
                assert_eq!(message, "Total CPU limit exceeded. Maximum allowed: 10.");
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((made, refused), (LIMIT, 1000 - LIMIT));
    assert_eq!(kit.runner.sandbox_count(), LIMIT);
    let listed = kit
        .control
        .list_sandboxes(&kit.caller, ListSandboxes::default())
        .await
        .unwrap();
    assert_eq!(listed.items.len(), LIMIT);
    assert_eq!(usage(&kit).await.cpu_cores, LIMIT as u64);
    assert!(ledger_is_exact(&kit).await);
}

#[tokio::test]
async fn a_stop_gives_back_what_runs_and_a_start_at_the_limit_is_refused() {
    let kit = limited(Quota {
        total_memory_gib: Some(1),
        ..Quota::default()
    })
    .await;
    make(&kit, "a").await;
    assert!(is_over(&create(&kit, named("b")).await));
    let (control, caller) = (&kit.control, &kit.caller);
    control.stop_sandbox(caller, "a", false).await.unwrap();
    make(&kit, "b").await;
    let refused = control.start_sandbox(caller, "a").await;
    assert!(is_over(&refused), "{refused:?}");
    let stopped = get(&kit, "a").await.unwrap();
    assert_eq!(stopped.state(), alcove_domain::SandboxState::Stopped);
    control.delete_sandbox(caller, "b").await.unwrap();
    control.start_sandbox(caller, "a").await.unwrap();
    assert!(ledger_is_exact(&kit).await);
}

#[tokio::test]
async fn a_name_is_free_again_after_a_create_that_was_refused() {
    let kit = limited(Quota {
        total_sandboxes: Some(1),
        ..Quota::default()
    })
    .await;
    make(&kit, "a").await;
    assert!(is_over(&create(&kit, named("b")).await));
    kit.control.delete_sandbox(&kit.caller, "a").await.unwrap();
    make(&kit, "b").await;
}

#[tokio::test]
async fn a_sandbox_larger_than_any_may_be_is_refused_with_both_numbers() {
    let kit = limited(Quota {
        sandbox_disk_gib: Some(2),
        ..Quota::default()
    })
    .await;
    let error = create(&kit, named("a")).await.unwrap_err();
    let expected = "Disk request 3GiB exceeds maximum allowed per sandbox (2GiB).";
    assert_eq!(error.public_message(), expected);
    assert_eq!(usage(&kit).await, Usage::default());
}

#[tokio::test]
async fn the_administrator_sets_limits_that_outlive_a_restart() {
    let kit = TestControl::open().await;
    let set = async |kit: &TestControl, region: &str| {
        let org = &kit.caller.organization;
        let change = |quota: &mut Quota| quota.total_sandboxes = Some(1);
        kit.control
            .set_quota(&kit.caller, org, region, SandboxClass::Container, change)
            .await
    };
    assert!(matches!(
        set(&kit, "mars").await,
        Err(Error::NotFound { .. })
    ));
    set(&kit, "us").await.unwrap();
    let kit = kit.restart().await;
    make(&kit, "a").await;
    assert!(is_over(&create(&kit, named("b")).await));
}

#[tokio::test]
async fn the_ledger_is_counted_anew_at_the_start_and_is_right_after_a_kill() {
    let kit = TestControl::open().await;
    make(&kit, "a").await;
    kit.runner.hold_work();
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let creating = tokio::spawn(async move { control.create_sandbox(&caller, named("b")).await });
    eventually("the order is out", async || kit.runner.orders().len() == 2).await;
    let runner = kit.runner.clone();
    let kit = kit.kill().await;
    // As the caller of a server that is killed.
    creating.abort();
    assert!(creating.await.unwrap_err().is_cancelled());
    runner.resume_work();
    let kit = kit.open().await;
    assert!(ledger_is_exact(&kit).await);
    assert_eq!(usage(&kit).await.sandboxes, 2);
}

#[tokio::test]
async fn a_fork_and_a_resize_at_the_limit_are_refused_and_change_nothing() {
    let kit = limited(Quota {
        total_memory_gib: Some(3),
        ..Quota::default()
    })
    .await;
    let (control, caller) = (&kit.control, &kit.caller);
    make(&kit, "box").await;
    let memory = |gib| ResizeRequest {
        memory: Some(gib),
        ..ResizeRequest::default()
    };
    let too_much = control.resize_sandbox(caller, "box", memory(4)).await;
    assert!(is_over(&too_much), "{too_much:?}");
    assert_eq!(usage(&kit).await.memory_gib, 1);
    control
        .resize_sandbox(caller, "box", memory(2))
        .await
        .unwrap();
    assert_eq!(usage(&kit).await.memory_gib, 2);
    let name = |name: &str| Some(name.to_owned());
    let one_too_many = control.fork_sandbox(caller, "box", name("fork")).await;
    assert!(is_over(&one_too_many), "{one_too_many:?}");
    assert!(get(&kit, "fork").await.is_err());
    assert_eq!(usage(&kit).await.sandboxes, 1);
    assert!(ledger_is_exact(&kit).await);
}
