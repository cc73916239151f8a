use alcove_domain::{OrganizationId, Registry, RegistryId, RegistryUrl};
use alcove_store::SealedRegistry;
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    a_registry_is_kept_for_its_organization,
    one_registry_is_the_default_one,
}

fn registry(number: u128) -> SealedRegistry {
    SealedRegistry {
        registry: Registry {
            id: RegistryId::from_uuid(Uuid::from_u128(number)),
            organization_id: org(),
            name: format!("r{number}"),
            url: RegistryUrl::parse("http://a.com/b").unwrap(),
            username: "mé".to_owned(),
            project: "p".to_owned(),
            is_default: false,
            created_at: at(5),
            updated_at: at(6),
        },
        password: vec![0, 1, 255],
    }
}

async fn a_registry_is_kept_for_its_organization(place: Place) {
    let store = place.open().await;
    let (first, second) = (registry(1), registry(2));
    let tx = store.begin().await.unwrap();
    tx.registry_insert(&second).await.unwrap();
    tx.registry_insert(&first).await.unwrap();
    assert_eq!(tx.registry_count(&org()).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let reader = store.reader();
    let (id, other) = (
        &first.registry.id,
        OrganizationId::from_uuid(Uuid::from_u128(8)),
    );
    assert_eq!(
        reader.registry_list(&org()).await.unwrap(),
        [first.clone(), second]
    );
    assert!(reader.registry_list(&other).await.unwrap().is_empty());
    assert_eq!(
        reader.registry_find(&org(), id).await.unwrap(),
        Some(first.clone())
    );
    assert_eq!(reader.registry_find(&other, id).await.unwrap(), None);
    assert_eq!(
        reader.registry_find_any(id).await.unwrap(),
        Some(first.clone())
    );

    let mut changed = first.clone();
    "new".clone_into(&mut changed.registry.name);
    changed.password = Vec::new();
    let tx = store.begin().await.unwrap();
    assert!(tx.registry_update(&changed).await.unwrap());
    assert!(!tx.registry_update(&registry(3)).await.unwrap());
    assert!(!tx.registry_delete(&other, id).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(
        reader.registry_find(&org(), id).await.unwrap(),
        Some(changed)
    );
    let tx = store.begin().await.unwrap();
    assert!(tx.registry_delete(&org(), id).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(reader.registry_find(&org(), id).await.unwrap(), None);
}

async fn one_registry_is_the_default_one(place: Place) {
    let store = place.open().await;
    let mut default = registry(1);
    default.registry.is_default = true;
    let tx = store.begin().await.unwrap();
    tx.registry_insert(&default).await.unwrap();
    tx.registry_insert(&registry(2)).await.unwrap();
    tx.registry_clear_default(&OrganizationId::from_uuid(Uuid::from_u128(8)))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let defaults = async || {
        let all = store.reader().registry_list(&org()).await.unwrap();
        all.iter()
            .filter(|sealed| sealed.registry.is_default)
            .count()
    };
    assert_eq!(defaults().await, 1);
    let tx = store.begin().await.unwrap();
    tx.registry_clear_default(&org()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(defaults().await, 0);
}
