use alcove_domain::{OrganizationId, Resources, WarmPool, WarmPoolId};
use alcove_store::StoreError;
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    a_warm_pool_is_kept_for_its_organization,
    an_organization_has_one_pool_of_a_snapshot,
}

fn pool(number: u128, snapshot: &str) -> WarmPool {
    WarmPool {
        id: WarmPoolId::from_uuid(Uuid::from_u128(number)),
        organization_id: org(),
        snapshot: snapshot.to_owned(),
        region: "us".to_owned(),
        size: 3,
        resources: Resources {
            cpu_cores: 1,
            memory_gib: 2,
            disk_gib: 3,
            gpu: 0,
        },
        user: "daytona".to_owned(),
        created_at: at(5),
        updated_at: at(6),
    }
}

fn other() -> OrganizationId {
    OrganizationId::from_uuid(Uuid::from_u128(8))
}

async fn a_warm_pool_is_kept_for_its_organization(place: Place) {
    let store = place.open().await;
    let (first, second) = (pool(1, "a"), pool(2, "b"));
    let tx = store.begin().await.unwrap();
    tx.warm_pool_insert(&second).await.unwrap();
    tx.warm_pool_insert(&first).await.unwrap();
    assert_eq!(tx.warm_pool_count(&org()).await.unwrap(), 2);
    assert_eq!(tx.warm_pool_count(&other()).await.unwrap(), 0);
    tx.commit().await.unwrap();
    let all = async || store.reader().warm_pool_list_all().await.unwrap();
    assert_eq!(all().await, [first.clone(), second.clone()]);

    let changed = WarmPool {
        size: 0,
        updated_at: at(7),
        ..first.clone()
    };
    let tx = store.begin().await.unwrap();
    assert_eq!(
        tx.warm_pool_find(&org(), &first.id).await.unwrap(),
        Some(first.clone())
    );
    assert_eq!(tx.warm_pool_find(&other(), &first.id).await.unwrap(), None);
    assert!(tx.warm_pool_update(&changed).await.unwrap());
    assert!(!tx.warm_pool_update(&pool(3, "c")).await.unwrap());
    assert!(!tx.warm_pool_delete(&other(), &first.id).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(all().await, [changed, second.clone()]);

    let tx = store.begin().await.unwrap();
    assert!(tx.warm_pool_delete(&org(), &first.id).await.unwrap());
    assert!(!tx.warm_pool_delete(&org(), &first.id).await.unwrap());
    tx.commit().await.unwrap();
    store.close().await;
    drop(store);
    let reopened = place.open().await;
    let kept = reopened.reader().warm_pool_list_all().await.unwrap();
    assert_eq!(kept, [second]);
}

async fn an_organization_has_one_pool_of_a_snapshot(place: Place) {
    let store = place.open().await;
    let tx = store.begin().await.unwrap();
    tx.warm_pool_insert(&pool(1, "a")).await.unwrap();
    tx.commit().await.unwrap();
    let tx = store.begin().await.unwrap();
    let taken = tx.warm_pool_insert(&pool(2, "a")).await;
    assert!(matches!(taken, Err(StoreError::NameTaken)), "{taken:?}");
    drop(tx);
    for free in [
        WarmPool {
            organization_id: other(),
            ..pool(3, "a")
        },
        WarmPool {
            region: "eu".to_owned(),
            ..pool(4, "a")
        },
    ] {
        let tx = store.begin().await.unwrap();
        tx.warm_pool_insert(&free).await.unwrap();
        tx.commit().await.unwrap();
    }
}
