//! Copies of the whole database.

use alcove_domain::{Registry, RegistryId, RegistryUrl, User, UserId};
use alcove_store::{NewOutboxEntry, OutboxChange, SealedRegistry, Store, StoreError};
use alcove_testkit::Postgres;
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    a_copy_has_what_was_committed_and_goes_on_counting_where_it_was,
    a_copy_is_of_one_moment_while_others_write,
}

async fn a_copy_has_what_was_committed_and_goes_on_counting_where_it_was(place: Place) {
    let store = place.open().await;
    let tx = store.begin().await.unwrap();
    let event = |sandbox| NewOutboxEntry {
        change: OutboxChange::Created,
        sandbox,
        at: at(10),
    };
    let kept = sandbox(1, "kept");
    tx.sandbox_insert(&kept).await.unwrap();
    let last = tx.outbox_append(&[event(&kept), event(&kept)]).await;
    let last = last.unwrap().unwrap();
    tx.outbox_prune(at(99), last).await.unwrap();
    let sealed = SealedRegistry {
        registry: Registry {
            id: RegistryId::from_uuid(Uuid::from_u128(1)),
            organization_id: org(),
            name: "r".to_owned(),
            url: RegistryUrl::parse("a.com").unwrap(),
            username: "mé".to_owned(),
            project: String::new(),
            is_default: true,
            created_at: at(5),
            updated_at: at(6),
        },
        password: vec![0, 255],
    };
    tx.registry_insert(&sealed).await.unwrap();
    tx.commit().await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    store.copy_to(&copy).await.unwrap();
    let url = Postgres::new_database();
    Store::fill(&url, &copy).await.unwrap();
    let again = Store::fill(&url, &copy).await;
    let filled = Store::connect(&url).await.unwrap();
    for copied in [filled, Store::open(&copy).await.unwrap()] {
        let reader = copied.reader();
        let found = reader.sandbox_find(&kept.id).await.unwrap();
        assert_eq!(found.as_ref(), Some(&kept));
        let found = reader.registry_list(&org()).await.unwrap();
        assert_eq!(found, std::slice::from_ref(&sealed));
        assert!(reader.usage_is_exact().await.unwrap());
        let tx = copied.begin().await.unwrap();
        let next = tx.outbox_append(&[event(&kept)]).await.unwrap();
        assert_eq!(next, Some(last + 1), "nobody who has seen {last} misses it");
        tx.commit().await.unwrap();
        copied.close().await;
    }
    // Users are what every server has; this one has none, so it was taken twice. With one it is refused.
    again.unwrap();
    let store = Store::connect(&url).await.unwrap();
    let tx = store.begin().await.unwrap();
    let user = User {
        id: UserId::from_uuid(Uuid::from_u128(1)),
        name: "u".to_owned(),
        email: "u@localhost".to_owned(),
        is_email_verified: true,
        is_admin: true,
        created_at: at(1),
    };
    tx.user_insert(&user).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    let refused = Store::fill(&url, &copy).await;
    assert!(matches!(refused, Err(StoreError::NotEmpty)), "{refused:?}");
}

async fn a_copy_is_of_one_moment_while_others_write(place: Place) {
    let store = place.open().await;
    for number in 1..=300 {
        let made = sandbox(number, &format!("s{number}"));
        insert(&store, &made).await.unwrap();
    }
    let writing = {
        let store = store.clone();
        async move {
            for number in 301..=400 {
                let made = sandbox(number, &format!("s{number}"));
                insert(&store, &made).await.unwrap();
            }
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.db");
    let (copied, ()) = tokio::join!(store.copy_to(&path), writing);
    copied.unwrap();
    let copy = Store::open(&path).await.unwrap();
    let live = copy.reader().sandbox_list_live().await.unwrap();
    assert!((300..=400).contains(&live.len()), "{}", live.len());
    // Rows, labels and what is counted are of the same moment.
    assert!(copy.reader().usage_is_exact().await.unwrap());
}
