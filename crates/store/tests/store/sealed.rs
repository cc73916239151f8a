//! Sealed secrets, found by what they begin with.

use alcove_domain::{Registry, RegistryId, RegistryUrl, SealedTotp};
use alcove_store::{SealedPlace, SealedRegistry, SealedRow};
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    secrets_under_another_key_are_found_page_by_page_and_replaced,
    every_place_can_be_looked_at,
    a_change_of_a_sandbox_leaves_its_sealed_proxy_alone,
}

fn registry(number: u128, password: &[u8]) -> SealedRegistry {
    SealedRegistry {
        registry: Registry {
            id: RegistryId::from_uuid(Uuid::from_u128(number)),
            organization_id: org(),
            name: format!("r{number}"),
            url: RegistryUrl::parse("http://a.com/b").unwrap(),
            username: "me".to_owned(),
            project: String::new(),
            is_default: false,
            created_at: at(5),
            updated_at: at(6),
        },
        password: password.to_vec(),
    }
}

async fn secrets_under_another_key_are_found_page_by_page_and_replaced(place: Place) {
    let store = place.open().await;
    let tx = store.begin().await.unwrap();
    for (number, password) in [(1, [1, 9]), (2, [2, 9]), (3, [1, 8]), (4, [1, 7])] {
        let sealed = registry(number, &password);
        tx.registry_insert(&sealed).await.unwrap();
    }
    let list = async |after: &str, limit| {
        let place = SealedPlace::RegistryPassword;
        let found = tx.sealed_list_foreign(place, &[2], after, limit).await;
        found.unwrap()
    };
    let id = |number| Uuid::from_u128(number).to_string();
    let first = SealedRow {
        id: id(1),
        owner: id(1),
        bytes: vec![1, 9],
    };
    let page = list("", 2).await;
    assert_eq!(page.len(), 2);
    assert_eq!(page[0], first);
    let next = list(&page[1].id, 2).await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].id, id(4));
    for row in page.iter().chain(&next) {
        let place = SealedPlace::RegistryPassword;
        let replaced = tx.sealed_replace(place, &row.id, &[2, 0]).await;
        replaced.unwrap();
    }
    assert!(list("", 9).await.is_empty());
    tx.commit().await.unwrap();
    let all = store.reader().registry_list(&org()).await.unwrap();
    let passwords: Vec<_> = all.into_iter().map(|sealed| sealed.password).collect();
    assert_eq!(passwords, [[2, 0], [2, 9], [2, 0], [2, 0]]);
}

async fn every_place_can_be_looked_at(place: Place) {
    let store = place.open().await;
    let tx = store.begin().await.unwrap();
    let totp = SealedTotp {
        sealed: vec![5],
        last_step: 0,
        is_confirmed: true,
    };
    let user = "u".parse().unwrap();
    tx.totp_put(&user, &totp).await.unwrap();
    for place in SealedPlace::ALL {
        let found = tx.sealed_list_foreign(place, &[1], "", 9).await.unwrap();
        assert_eq!(found.len(), usize::from(place == SealedPlace::Totp));
        tx.sealed_replace(place, "u", &[1]).await.unwrap();
    }
    let found = tx.totp_find(&user).await.unwrap().unwrap();
    assert_eq!(found.sealed, [1]);
}

async fn a_change_of_a_sandbox_leaves_its_sealed_proxy_alone(place: Place) {
    let store = place.open().await;
    let mut sandbox = sandbox(1, "a");
    sandbox.outbound_proxy = Some(alcove_domain::SealedProxy(vec![1, 2]));
    let tx = store.begin().await.unwrap();
    tx.sandbox_insert(&sandbox).await.unwrap();
    let (place, id) = (SealedPlace::SandboxProxy, sandbox.id.as_str());
    tx.sealed_replace(place, id, &[3, 4]).await.unwrap();
    // Whoever changes it may still have the bytes of before.
    sandbox.version += 1;
    tx.sandbox_update(&sandbox).await.unwrap();
    tx.commit().await.unwrap();
    let found = store.reader().sandbox_find(&sandbox.id).await.unwrap();
    let found = found.unwrap().outbound_proxy.unwrap();
    assert_eq!(found.0, [3, 4]);
}
