use alcove_domain::{
    DesiredState, Phase, Sandbox, Volume, VolumeEvent, VolumeId, VolumeMount, VolumePhase,
    VolumeState,
};
use alcove_store::{OutboxEvent, Store, StoreError, VolumeChange};
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    a_volume_comes_back_as_it_was_written_in_every_state,
    a_name_is_taken_until_its_volume_is_being_deleted,
    a_stale_version_of_a_volume_is_not_written,
    another_organization_finds_and_counts_nothing,
    a_volume_has_users_until_they_are_deleted,
    a_sandbox_keeps_its_mounts,
    deleted_volumes_go_after_a_while,
    the_number_of_volumes_is_set_and_counted,
    what_happens_to_a_volume_is_told_in_the_same_transaction,
}

fn volume(number: u128, name: &str) -> Volume {
    let id = VolumeId::from_uuid(Uuid::from_u128(number));
    Volume::new(id, org(), name.to_owned(), 1 << 30, at(10))
}

async fn put(store: &Store, volume: &Volume) -> Result<(), StoreError> {
    let tx = store.begin().await?;
    tx.volume_insert(volume).await?;
    tx.commit().await
}

async fn write(store: &Store, volume: &Volume) -> Result<(), StoreError> {
    let tx = store.begin().await?;
    tx.volume_update(volume).await?;
    tx.commit().await
}

async fn go_on(store: &Store, volume: Volume, event: VolumeEvent) -> Volume {
    let next = volume.apply(event, at(20)).unwrap();
    write(store, &next).await.unwrap();
    next
}

fn with_volumes(number: u128, volumes: &[(&Volume, &str)]) -> Sandbox {
    let volumes = volumes.iter().map(|(volume, path)| VolumeMount {
        volume: volume.id.clone(),
        mount_path: (*path).to_owned(),
        subpath: (*path == "/b").then(|| "deep/er".to_owned()),
        is_read_only: *path == "/b",
    });
    Sandbox {
        volumes: volumes.collect(),
        ..sandbox(number, &format!("box-{number}"))
    }
}

async fn a_volume_comes_back_as_it_was_written_in_every_state(place: Place) {
    let store = place.open().await;
    let reason = "no\0room".to_owned();
    let phases = [
        VolumePhase::PendingCreate,
        VolumePhase::Creating,
        VolumePhase::Ready,
        VolumePhase::PendingDelete,
        VolumePhase::Deleting,
        VolumePhase::Deleted,
        VolumePhase::Error { reason },
    ];
    assert_eq!(phases.len(), VolumeState::ALL.len());
    for (number, phase) in (1..).zip(phases) {
        let first = volume(number, &format!("v{number}"));
        put(&store, &first).await.unwrap();
        let next = Volume {
            phase,
            updated_at: at(30),
            version: 2,
            ..first
        };
        write(&store, &next).await.unwrap();
        let found = store.reader().volume_find(&org(), &next.id).await.unwrap();
        let expected = Volume {
            phase: match next.phase {
                VolumePhase::Error { .. } => VolumePhase::Error {
                    reason: "noroom".to_owned(),
                },
                phase => phase,
            },
            ..next
        };
        assert_eq!(found, Some(expected));
    }
    let reader = store.reader();
    assert_eq!(reader.volume_list(&org(), true).await.unwrap().len(), 7);
    assert_eq!(reader.volume_list(&org(), false).await.unwrap().len(), 6);
    assert_eq!(reader.volume_list_unsettled().await.unwrap().len(), 4);
    assert_eq!(reader.volume_count(&org()).await.unwrap(), 5);
}

async fn a_name_is_taken_until_its_volume_is_being_deleted(place: Place) {
    let store = place.open().await;
    let first = volume(1, "data");
    put(&store, &first).await.unwrap();
    let taken = put(&store, &volume(2, "data")).await;
    assert!(matches!(taken, Err(StoreError::NameTaken)), "{taken:?}");
    let first = go_on(&store, first, VolumeEvent::Begin).await;
    let first = go_on(&store, first, VolumeEvent::Made).await;
    let by_name = store.reader().volume_find_by_name(&org(), "data").await;
    assert_eq!(by_name.unwrap(), Some(first.clone()));
    go_on(&store, first, VolumeEvent::Delete).await;
    let deleted = "data-deleted";
    let by_name = store.reader().volume_find_by_name(&org(), deleted).await;
    assert_eq!(by_name.unwrap(), None);
    for number in [3, 4] {
        let again = volume(number, "data");
        put(&store, &again).await.unwrap();
        let again = go_on(&store, again, VolumeEvent::Begin).await;
        let again = go_on(&store, again, VolumeEvent::Made).await;
        go_on(&store, again, VolumeEvent::Delete).await;
    }
}

async fn a_stale_version_of_a_volume_is_not_written(place: Place) {
    let store = place.open().await;
    let first = volume(1, "data");
    put(&store, &first).await.unwrap();
    go_on(&store, first.clone(), VolumeEvent::Begin).await;
    let stale = first.apply(VolumeEvent::Begin, at(40)).unwrap();
    let error = write(&store, &stale).await;
    assert!(
        matches!(error, Err(StoreError::Changed { .. })),
        "{error:?}"
    );
}

async fn another_organization_finds_and_counts_nothing(place: Place) {
    let store = place.open().await;
    let first = volume(1, "data");
    put(&store, &first).await.unwrap();
    let stranger = alcove_domain::OrganizationId::from_uuid(Uuid::from_u128(8));
    let reader = store.reader();
    assert_eq!(
        reader.volume_find(&stranger, &first.id).await.unwrap(),
        None
    );
    let by_name = reader.volume_find_by_name(&stranger, "data").await.unwrap();
    assert_eq!(by_name, None);
    assert!(
        reader
            .volume_list(&stranger, true)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(reader.volume_count(&stranger).await.unwrap(), 0);
    assert!(
        reader
            .volume_find(&org(), &first.id)
            .await
            .unwrap()
            .is_some()
    );
    let theirs = Volume {
        organization_id: stranger,
        ..volume(2, "data")
    };
    put(&store, &theirs).await.unwrap();
}

async fn user(store: &Store, volume: &Volume) -> Option<String> {
    let tx = store.begin().await.unwrap();
    let user = tx.volume_user(&volume.id).await.unwrap();
    user.map(|(_, name)| name)
}

async fn a_volume_has_users_until_they_are_deleted(place: Place) {
    let store = place.open().await;
    let (used, unused) = (volume(1, "used"), volume(2, "unused"));
    put(&store, &used).await.unwrap();
    put(&store, &unused).await.unwrap();
    let mut one = with_volumes(11, &[(&used, "/a"), (&used, "/b")]);
    insert(&store, &one).await.unwrap();
    assert_eq!(user(&store, &used).await.as_deref(), Some("box-11"));
    assert_eq!(user(&store, &unused).await, None);

    let tx = store.begin().await.unwrap();
    tx.volume_touch(&one, at(99)).await.unwrap();
    tx.commit().await.unwrap();
    let found = store.reader().volume_find(&org(), &used.id).await.unwrap();
    assert_eq!(found.unwrap().last_used_at, Some(at(99)));

    // Going: it is the host's business to let go of the volume, and nobody else's.
    one.lifecycle.desired = DesiredState::Destroyed;
    one.lifecycle.phase = Phase::Destroyed;
    one.version += 1;
    let tx = store.begin().await.unwrap();
    tx.sandbox_update(&one).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(user(&store, &used).await, None);
    let tx = store.begin().await.unwrap();
    assert_eq!(tx.sandbox_prune(at(100), 9).await.unwrap(), 1);
    tx.commit().await.unwrap();
}

async fn a_sandbox_keeps_its_mounts(place: Place) {
    let store = place.open().await;
    let data = volume(1, "data");
    put(&store, &data).await.unwrap();
    let mut one = with_volumes(11, &[(&data, "/a"), (&data, "/b")]);
    insert(&store, &one).await.unwrap();
    let reader = store.reader();
    assert_eq!(
        reader.sandbox_find(&one.id).await.unwrap(),
        Some(one.clone())
    );
    one.version += 1;
    let written = Sandbox {
        volumes: Vec::new(),
        ..one.clone()
    };
    let tx = store.begin().await.unwrap();
    tx.sandbox_update(&written).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(reader.sandbox_find(&one.id).await.unwrap(), Some(one));
}

async fn deleted_volumes_go_after_a_while(place: Place) {
    let store = place.open().await;
    let first = volume(1, "data");
    put(&store, &first).await.unwrap();
    let mut now = first;
    for event in [
        VolumeEvent::Begin,
        VolumeEvent::Made,
        VolumeEvent::Delete,
        VolumeEvent::Begin,
        VolumeEvent::Gone,
    ] {
        now = go_on(&store, now, event).await;
    }
    put(&store, &volume(2, "data")).await.unwrap();
    for (before, gone) in [(at(20), 0), (at(21), 1)] {
        let tx = store.begin().await.unwrap();
        assert_eq!(tx.volume_prune(before, 9).await.unwrap(), gone);
        tx.commit().await.unwrap();
    }
    let left = store.reader().volume_list(&org(), true).await.unwrap();
    assert_eq!(left.len(), 1);
}

async fn the_number_of_volumes_is_set_and_counted(place: Place) {
    let store = place.open().await;
    let known = alcove_domain::Organization {
        id: org(),
        name: "Personal".to_owned(),
        created_by: alcove_domain::UserId::from_uuid(Uuid::from_u128(4)),
        is_personal: true,
        is_egress_limited: false,
        suspension: None,
        closing_since: None,
        created_at: at(1),
    };
    let tx = store.begin().await.unwrap();
    tx.organization_insert(&known).await.unwrap();
    assert_eq!(tx.volume_quota(&org()).await.unwrap(), None);
    assert!(tx.volume_quota_put(&org(), Some(7)).await.unwrap());
    tx.volume_insert(&volume(1, "data")).await.unwrap();
    assert_eq!(tx.volume_count(&org()).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(store.reader().volume_quota(&org()).await.unwrap(), Some(7));
    let tx = store.begin().await.unwrap();
    assert!(tx.volume_quota_put(&org(), None).await.unwrap());
    let stranger = alcove_domain::OrganizationId::from_uuid(Uuid::from_u128(8));
    assert!(!tx.volume_quota_put(&stranger, Some(1)).await.unwrap());
}

async fn what_happens_to_a_volume_is_told_in_the_same_transaction(place: Place) {
    let store = place.open().await;
    let first = volume(1, "data");
    // Taken back: nothing was told.
    let tx = store.begin().await.unwrap();
    tx.volume_insert(&first).await.unwrap();
    drop(tx);
    put(&store, &first).await.unwrap();
    let next = go_on(&store, first.clone(), VolumeEvent::Begin).await;
    // The same state once more is no news, and neither is a stale version.
    let same = Volume {
        version: next.version + 1,
        ..next.clone()
    };
    write(&store, &same).await.unwrap();
    assert!(write(&store, &same).await.is_err());
    let user = with_volumes(1, &[(&first, "/a"), (&first, "/b")]);
    let tx = store.begin().await.unwrap();
    tx.volume_touch(&user, at(40)).await.unwrap();
    let sequence = tx.commit_events().await.unwrap();

    let told = store.reader().outbox_list_after(0, 10).await.unwrap();
    assert_eq!(told.last().map(|entry| entry.sequence), sequence);
    assert!(told.iter().all(|entry| entry.organization == org()));
    let after = Volume {
        last_used_at: Some(at(40)),
        ..same
    };
    let (old, new) = (first.state(), next.state());
    let wanted = [
        (VolumeChange::Created, first),
        (VolumeChange::State { old, new }, next),
        (VolumeChange::LastUsed, after),
    ];
    let wanted = wanted.map(|(change, volume)| OutboxEvent::Volume {
        change,
        volume: Box::new(volume),
    });
    let told: Vec<_> = told.into_iter().map(|entry| entry.event).collect();
    assert_eq!(told, wanted);
}
