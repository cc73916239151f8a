//! What the host may promise to all organizations together. Sandboxes have 1 GiB of memory and 3 GiB of disk, volumes
//! 10 GiB, unless they say otherwise.

use std::sync::Arc;

use alcove_control::{Caller, Error};
use alcove_domain::{HostBound, NewSandbox, ResizeRequest, Sandbox, SandboxState};
use alcove_testkit::{TestControl, TestStore};

use crate::support::*;

const GIB: u64 = 1 << 30;

async fn bounded(memory_gib: Option<u64>, disk_gib: Option<u64>) -> TestControl {
    let mut store = TestStore::default();
    store.settings.host_bound = HostBound {
        memory_bytes: memory_gib.map(|gib| gib * GIB),
        disk_bytes: disk_gib.map(|gib| gib * GIB),
    };
    store.open().await
}

/// Fails unless this was refused for want of a host, for these words.
fn is_refused<T: std::fmt::Debug>(result: &Result<T, Error>, words: &str) {
    let error = result.as_ref().expect_err(words);
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert_eq!(error.code(), "NO_AVAILABLE_RUNNERS", "{error:?}");
    let said = error.public_message();
    assert!(said.contains(words), "{said}");
}

async fn create_as(kit: &TestControl, caller: &Caller, name: &str) -> Result<Arc<Sandbox>, Error> {
    kit.control.create_sandbox(caller, named(name)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_of_all_organizations_at_once_stop_at_the_bound() {
    let kit = bounded(None, Some(9)).await;
    let (stranger, _) = kit.add_stranger("another").await;
    let creates: Vec<_> = (0..40)
        .map(|number| {
            let caller = if number % 2 == 0 {
                &kit.caller
            } else {
                &stranger
            };
            let (control, caller) = (kit.control.clone(), caller.clone());
            tokio::spawn(
                async move { control.create_sandbox(&caller, NewSandbox::default()).await },
            )
        })
        .collect();
    let mut made = 0;
    for create in creates {
        let result = create.await.unwrap();
        match &result {
            Ok(_) => made += 1,
            Err(_) => is_refused(
                &result,
                "12 GiB of disk would be promised, and the host promises 9 GiB at most",
            ),
        }
    }
    assert_eq!(made, 3);
    assert_eq!(kit.runner.sandbox_count(), 3);
    assert!(kit.store.reader().usage_is_exact().await.unwrap());
}

#[tokio::test]
async fn a_stop_gives_memory_back_and_a_start_without_it_is_refused_and_changes_nothing() {
    let kit = bounded(Some(1), None).await;
    let (stranger, _) = kit.add_stranger("another").await;
    let box_a = make(&kit, "a").await;
    is_refused(&create_as(&kit, &stranger, "b").await, "2 GiB of memory");
    let (control, caller) = (&kit.control, &kit.caller);
    control.stop_sandbox(caller, "a", false).await.unwrap();
    create_as(&kit, &stranger, "b").await.unwrap();
    is_refused(&control.start_sandbox(caller, "a").await, "2 GiB of memory");
    assert_eq!(state(&kit, &box_a.id).await, Some(SandboxState::Stopped));
    control.delete_sandbox(&stranger, "b").await.unwrap();
    control.start_sandbox(caller, "a").await.unwrap();
}

#[tokio::test]
async fn a_fork_a_resize_and_a_volume_beyond_the_bound_are_refused_and_change_nothing() {
    let kit = bounded(None, Some(14)).await;
    let (control, caller) = (&kit.control, &kit.caller);
    let made = make(&kit, "box").await;
    control.create_volume(caller, None).await.unwrap();
    let volume = control.create_volume(caller, Some("more".to_owned())).await;
    is_refused(&volume, "23 GiB of disk");
    assert_eq!(control.list_volumes(caller, true).await.unwrap().len(), 1);
    let fork = control
        .fork_sandbox(caller, "box", Some("fork".to_owned()))
        .await;
    is_refused(&fork, "16 GiB of disk");
    assert!(get(&kit, "fork").await.is_err());
    control.stop_sandbox(caller, "box", false).await.unwrap();
    let disk = |gib| ResizeRequest {
        disk: Some(gib),
        ..ResizeRequest::default()
    };
    let resize = control.resize_sandbox(caller, "box", disk(5)).await;
    is_refused(&resize, "15 GiB of disk");
    assert_eq!(get(&kit, "box").await.unwrap().resources, made.resources);
    // All of it may be promised.
    control
        .resize_sandbox(caller, "box", disk(4))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_archive_makes_room_and_its_restore_needs_some() {
    let kit = bounded(None, Some(3)).await;
    let (control, caller) = (&kit.control, &kit.caller);
    let first = make(&kit, "a").await;
    control.stop_sandbox(caller, "a", false).await.unwrap();
    is_refused(&create(&kit, named("b")).await, "6 GiB of disk");
    control.archive_sandbox(caller, "a").await.unwrap();
    becomes(&kit, &first.id, SandboxState::Archived).await;
    make(&kit, "b").await;
    is_refused(&control.start_sandbox(caller, "a").await, "6 GiB of disk");
    assert_eq!(state(&kit, &first.id).await, Some(SandboxState::Archived));
    control.delete_sandbox(caller, "b").await.unwrap();
    control.start_sandbox(caller, "a").await.unwrap();
}
