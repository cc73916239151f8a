use alcove_domain::{HostBound, Phase, RunnerId, Sandbox, Volume, VolumeEvent, VolumeId};
use alcove_store::{Store, StoreError};
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    sandboxes_and_volumes_are_held_against_the_bound_together,
    what_is_not_on_the_host_any_more_is_not_promised,
    sandboxes_on_other_hosts_are_left_alone,
}

fn disk(gib: u64) -> HostBound {
    HostBound {
        memory_bytes: None,
        disk_bytes: Some(gib << 30),
    }
}

fn volume(number: u128, gib: u64) -> Volume {
    let id = VolumeId::from_uuid(Uuid::from_u128(number));
    Volume::new(id, org(), format!("volume-{number}"), gib << 30, at(10))
}

async fn put(store: &Store, volume: &Volume, bound: &HostBound) -> Result<(), StoreError> {
    let tx = store.begin().await?;
    tx.volume_insert(volume).await?;
    tx.host_hold_volume(volume.size_bytes, "us", bound).await?;
    tx.commit().await
}

async fn add(store: &Store, sandbox: &Sandbox, bound: &HostBound) -> Result<(), StoreError> {
    let tx = store.begin().await?;
    tx.sandbox_insert(sandbox).await?;
    tx.host_hold(None, sandbox, bound).await?;
    tx.commit().await
}

fn promised(result: Result<(), StoreError>) -> u64 {
    match result {
        Err(StoreError::HostIsPromised(over)) => over.promised >> 30,
        other => panic!("not refused for the bound: {other:?}"),
    }
}

async fn sandboxes_and_volumes_are_held_against_the_bound_together(place: Place) {
    let store = place.open().await;
    let bound = disk(8);
    add(&store, &sandbox(1, "a"), &bound).await.unwrap();
    put(&store, &volume(1, 2), &bound).await.unwrap();
    assert_eq!(promised(put(&store, &volume(2, 4), &bound).await), 9);
    let (second, third) = (sandbox(2, "b"), sandbox(3, "c"));
    let reader = store.reader();
    reader.host_fits(&second, &bound).await.unwrap();
    add(&store, &second, &bound).await.unwrap();
    assert_eq!(promised(reader.host_fits(&third, &bound).await), 11);
    assert_eq!(promised(add(&store, &third, &bound).await), 11);
    // Nothing of what was refused is left to count.
    assert_eq!(promised(put(&store, &volume(3, 1), &bound).await), 9);
}

async fn what_is_not_on_the_host_any_more_is_not_promised(place: Place) {
    let store = place.open().await;
    let bound = disk(3);
    let mut first = sandbox(1, "a");
    add(&store, &first, &bound).await.unwrap();
    let before = first.clone();
    first.lifecycle.phase = Phase::Destroying;
    first.version += 1;
    let tx = store.begin().await.unwrap();
    tx.sandbox_update(&first).await.unwrap();
    tx.host_hold(Some(&before), &first, &bound).await.unwrap();
    tx.commit().await.unwrap();

    let mut gone = volume(1, 3);
    put(&store, &gone, &bound).await.unwrap();
    assert_eq!(promised(add(&store, &sandbox(2, "b"), &bound).await), 6);
    let ways = [
        VolumeEvent::Begin,
        VolumeEvent::Made,
        VolumeEvent::Delete,
        VolumeEvent::Begin,
        VolumeEvent::Gone,
    ];
    for event in ways {
        gone = gone.apply(event, at(20)).unwrap();
        let tx = store.begin().await.unwrap();
        tx.volume_update(&gone).await.unwrap();
        tx.commit().await.unwrap();
    }
    add(&store, &sandbox(2, "b"), &bound).await.unwrap();
}

async fn sandboxes_on_other_hosts_are_left_alone(place: Place) {
    let store = place.open().await;
    let bound = disk(1);
    let elsewhere = Sandbox {
        runner: Some(RunnerId::from_uuid(Uuid::from_u128(9))),
        region: "elsewhere".to_owned(),
        ..sandbox(1, "a")
    };
    add(&store, &elsewhere, &bound).await.unwrap();
    // The positive control.
    assert_eq!(promised(add(&store, &sandbox(2, "b"), &bound).await), 3);
}
