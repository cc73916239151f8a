use alcove_domain::{OrganizationId, VaultSecret, VaultSecretId};
use alcove_store::{SealedVaultSecret, StoreError};
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    a_secret_is_kept_for_its_organization,
    a_name_is_one_secrets_of_an_organization,
}

fn secret(number: u128) -> SealedVaultSecret {
    SealedVaultSecret {
        secret: VaultSecret {
            id: VaultSecretId::from_uuid(Uuid::from_u128(number)),
            organization_id: org(),
            name: format!("s{number}"),
            description: "für é".to_owned(),
            placeholder: format!("dtn_secret_{number}"),
            hosts: vec!["a.example".parse().unwrap(), "*.b.example".parse().unwrap()],
            created_at: at(5),
            updated_at: at(6),
        },
        value: vec![0, 1, 255],
    }
}

fn other() -> OrganizationId {
    OrganizationId::from_uuid(Uuid::from_u128(8))
}

async fn a_secret_is_kept_for_its_organization(place: Place) {
    let store = place.open().await;
    let (first, second) = (secret(1), secret(2));
    let tx = store.begin().await.unwrap();
    tx.vault_secret_insert(&second).await.unwrap();
    tx.vault_secret_insert(&first).await.unwrap();
    assert_eq!(tx.vault_secret_count(&org()).await.unwrap(), 2);
    assert_eq!(tx.vault_secret_count(&other()).await.unwrap(), 0);
    tx.commit().await.unwrap();
    let reader = store.reader();
    let id = &first.secret.id;
    let listed = reader.vault_secret_list(&org()).await.unwrap();
    assert_eq!(listed, [first.clone(), second]);
    assert_eq!(reader.vault_secret_list(&other()).await.unwrap(), []);
    let found = reader.vault_secret_find(&org(), id).await.unwrap();
    assert_eq!(found, Some(first.clone()));
    assert_eq!(reader.vault_secret_find(&other(), id).await.unwrap(), None);

    let mut changed = first.clone();
    changed.secret.hosts.clear();
    changed.secret.description.clear();
    changed.value = vec![7];
    let tx = store.begin().await.unwrap();
    assert!(tx.vault_secret_update(&changed).await.unwrap());
    assert!(!tx.vault_secret_update(&secret(3)).await.unwrap());
    assert!(!tx.vault_secret_delete(&other(), id).await.unwrap());
    tx.commit().await.unwrap();
    let found = reader.vault_secret_find(&org(), id).await.unwrap();
    assert_eq!(found, Some(changed));
    let tx = store.begin().await.unwrap();
    assert!(tx.vault_secret_delete(&org(), id).await.unwrap());
    assert!(!tx.vault_secret_delete(&org(), id).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(reader.vault_secret_find(&org(), id).await.unwrap(), None);
}

async fn a_name_is_one_secrets_of_an_organization(place: Place) {
    let store = place.open().await;
    let first = secret(1);
    let tx = store.begin().await.unwrap();
    tx.vault_secret_insert(&first).await.unwrap();
    tx.commit().await.unwrap();
    let mut second = secret(2);
    second.secret.name.clone_from(&first.secret.name);
    let tx = store.begin().await.unwrap();
    let taken = tx.vault_secret_insert(&second).await;
    assert!(matches!(taken, Err(StoreError::NameTaken)), "{taken:?}");
    drop(tx);
    second.secret.organization_id = other();
    let tx = store.begin().await.unwrap();
    tx.vault_secret_insert(&second).await.unwrap();
    tx.commit().await.unwrap();
}
