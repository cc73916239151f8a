use alcove_domain::{ApiKey, ApiKeyHash, Organization, Permissions, User, UserId};
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    a_key_is_found_by_its_hash_and_replaced_by_its_name,
}

async fn a_key_is_found_by_its_hash_and_replaced_by_its_name(place: Place) {
    let store = place.open().await;
    let user = User {
        id: UserId::from_uuid(Uuid::from_u128(1)),
        name: "admin".to_owned(),
        email: "admin@localhost".to_owned(),
        is_email_verified: true,
        is_admin: true,
        created_at: at(1),
    };
    let personal = Organization {
        id: org(),
        name: "Personal".to_owned(),
        created_by: user.id.clone(),
        is_personal: true,
        is_egress_limited: false,
        suspension: None,
        closing_since: None,
        created_at: at(1),
    };
    let key = |byte: u8| ApiKey {
        hash: ApiKeyHash([byte; 32]),
        organization_id: org(),
        user_id: user.id.clone(),
        name: "bootstrap".to_owned(),
        prefix: "dtn".to_owned(),
        suffix: "abc".to_owned(),
        permissions: Permissions::all(),
        created_at: at(1),
        expires_at: Some(at(9)),
        last_used_at: None,
    };
    let tx = store.begin().await.unwrap();
    tx.user_insert(&user).await.unwrap();
    tx.organization_insert(&personal).await.unwrap();
    tx.api_key_replace(&key(1)).await.unwrap();
    tx.api_key_replace(&key(2)).await.unwrap();
    tx.commit().await.unwrap();
    let reader = store.reader();
    assert_eq!(reader.user_find_admin().await.unwrap(), Some(user.clone()));
    let found = reader.organization_find_personal(&user.id).await.unwrap();
    assert_eq!(found, Some(personal));
    assert_eq!(
        reader.api_key_find(ApiKeyHash([1; 32])).await.unwrap(),
        None
    );
    assert_eq!(
        reader.api_key_find(ApiKeyHash([2; 32])).await.unwrap(),
        Some(key(2))
    );
}
