use alcove_domain::{
    Command, DesiredState, Fault, FaultCode, Intervals, NetworkPolicy, OrganizationId, Phase,
    Resources, SandboxId, SandboxNetwork, SnapshotId,
};
use alcove_store::StoreError;
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    a_sandbox_comes_back_as_it_was_written,
    a_name_is_unique_among_live_sandboxes_only,
    a_stale_version_is_not_written,
    a_transaction_that_is_dropped_leaves_nothing,
    readers_cannot_write_and_see_what_is_committed,
    destroyed_rows_are_pruned_after_a_while_and_live_ones_never,
    what_is_being_made_of_a_sandbox_and_where_it_comes_from_is_kept,
}

async fn a_sandbox_comes_back_as_it_was_written(place: Place) {
    let written = {
        let store = place.open().await;
        let mut first = sandbox(1, "Über %_\\ 'x'");
        first.lifecycle.phase = Phase::Error {
            fault: Fault::new(FaultCode::OutOfMemory, "no memory"),
            has_disk: true,
        };
        first.intervals = Intervals {
            auto_stop_minutes: 0,
            auto_archive_minutes: 7,
            auto_pause_minutes: 4,
            auto_delete_minutes: Some(0),
            ttl_minutes: Some(9),
        };
        first.network = SandboxNetwork {
            policy: NetworkPolicy {
                block_all: true,
                allow_networks: vec!["1.0.0.0/8".parse().unwrap(), "2.2.2.2/32".parse().unwrap()],
                allow_domains: vec!["*.example.com".parse().unwrap()],
            },
            version: 5,
            applied: Some(4),
        };
        insert(&store, &first).await.unwrap();
        store.close().await;
        first
    };
    let store = place.open().await;
    let read = store.reader().sandbox_find(&written.id).await.unwrap();
    assert_eq!(read, Some(written));
}

async fn a_name_is_unique_among_live_sandboxes_only(place: Place) {
    let store = place.open().await;
    let mut first = sandbox(1, "box");
    insert(&store, &first).await.unwrap();
    let refused = insert(&store, &sandbox(2, "box")).await;
    assert!(matches!(refused, Err(StoreError::NameTaken)), "{refused:?}");
    let mut foreign = sandbox(3, "box");
    foreign.organization_id = OrganizationId::from_uuid(Uuid::from_u128(8));
    insert(&store, &foreign).await.unwrap();

    first.lifecycle = first
        .lifecycle
        .command(Command::Delete, at(11))
        .unwrap()
        .lifecycle;
    first.version += 1;
    let tx = store.begin().await.unwrap();
    tx.sandbox_update(&first).await.unwrap();
    tx.commit().await.unwrap();
    insert(&store, &sandbox(2, "box")).await.unwrap();
}

async fn a_stale_version_is_not_written(place: Place) {
    let store = place.open().await;
    let first = sandbox(1, "box");
    insert(&store, &first).await.unwrap();
    let mut second = first.clone();
    second.version = 2;
    second.is_public = true;
    let tx = store.begin().await.unwrap();
    tx.sandbox_update(&second).await.unwrap();
    tx.commit().await.unwrap();
    let tx = store.begin().await.unwrap();
    let refused = tx.sandbox_update(&second).await;
    assert!(matches!(refused, Err(StoreError::Changed { .. })));
}

async fn a_transaction_that_is_dropped_leaves_nothing(place: Place) {
    let store = place.open().await;
    let tx = store.begin().await.unwrap();
    tx.sandbox_insert(&sandbox(1, "box")).await.unwrap();
    drop(tx);
    insert(&store, &sandbox(2, "box")).await.unwrap();
    assert_eq!(store.reader().sandbox_list_live().await.unwrap().len(), 1);
}

async fn readers_cannot_write_and_see_what_is_committed(place: Place) {
    let store = place.open().await;
    let tx = store.begin().await.unwrap();
    tx.sandbox_insert(&sandbox(1, "box")).await.unwrap();
    assert!(store.reader().sandbox_list_live().await.unwrap().is_empty());
    tx.commit().await.unwrap();
    assert_eq!(store.reader().sandbox_list_live().await.unwrap().len(), 1);
}

async fn destroyed_rows_are_pruned_after_a_while_and_live_ones_never(place: Place) {
    let store = place.open().await;
    let mut gone = sandbox(1, "gone");
    gone.lifecycle.phase = Phase::Destroyed;
    gone.lifecycle.desired = DesiredState::Destroyed;
    insert(&store, &gone).await.unwrap();
    insert(&store, &sandbox(2, "live")).await.unwrap();
    let tx = store.begin().await.unwrap();
    assert_eq!(tx.sandbox_prune(at(10), 100).await.unwrap(), 0);
    assert_eq!(tx.sandbox_prune(at(11), 100).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(store.reader().sandbox_list_live().await.unwrap().len(), 1);
}

async fn what_is_being_made_of_a_sandbox_and_where_it_comes_from_is_kept(place: Place) {
    let store = place.open().await;
    let phases = [
        Phase::Resizing {
            to: Resources {
                memory_gib: 7,
                ..Resources::DEFAULT
            },
        },
        Phase::Snapshotting {
            snapshot: SnapshotId::from_uuid(Uuid::from_u128(8)),
        },
        Phase::Forking {
            child: SandboxId::from_uuid(Uuid::from_u128(9)),
        },
        Phase::Paused,
        Phase::Archived,
    ];
    for (number, phase) in (10..).zip(phases) {
        let mut wanted = sandbox(number, &format!("box-{number}"));
        wanted.parent_id = Some(SandboxId::from_uuid(Uuid::from_u128(1)));
        wanted.linked_to = Some(SandboxId::from_uuid(Uuid::from_u128(2)));
        wanted.lifecycle.phase = phase;
        insert(&store, &wanted).await.unwrap();
        let found = store.reader().sandbox_find(&wanted.id).await.unwrap();
        assert_eq!(found, Some(wanted));
    }
    let parent = SandboxId::from_uuid(Uuid::from_u128(1));
    let reader = store.reader();
    let forks = reader.sandbox_list_forks(&org(), &parent, false, 3).await;
    assert_eq!(forks.unwrap().len(), 3);
}
