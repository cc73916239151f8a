use alcove_domain::{SshKey, SshKeyFingerprint, SshKeyId, SshPublicKey};
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    a_key_is_listed_by_its_owner_found_by_its_fingerprint_and_removed_by_its_owner,
}

const LINE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEl1lrEVneRQJCdiInsfJGRYdjC78dwfSnbPt8o6fwcL";

fn key(number: u8, org: &str, user: &str, fingerprint: u8) -> SshKey {
    SshKey {
        id: SshKeyId::from_uuid(Uuid::from_u128(number.into())),
        organization_id: org.parse().unwrap(),
        user_id: user.parse().unwrap(),
        name: format!("key {number}"),
        public: SshPublicKey::parse(LINE).unwrap().0,
        fingerprint: SshKeyFingerprint([fingerprint; 32]),
        created_at: at(number.into()),
    }
}

async fn a_key_is_listed_by_its_owner_found_by_its_fingerprint_and_removed_by_its_owner(
    place: Place,
) {
    let store = place.open().await;
    let first = key(1, "one", "ann", 7);
    let (second, third, fourth) = (
        key(2, "one", "ann", 8),
        key(3, "one", "bob", 7),
        key(4, "two", "ann", 7),
    );
    let tx = store.begin().await.unwrap();
    for key in [&fourth, &third, &second, &first] {
        assert!(
            !tx.ssh_key_holds(&key.organization_id, &key.user_id, key.fingerprint)
                .await
                .unwrap()
        );
        tx.ssh_key_insert(key).await.unwrap();
        assert!(
            tx.ssh_key_holds(&key.organization_id, &key.user_id, key.fingerprint)
                .await
                .unwrap()
        );
    }
    let (org, user) = (&first.organization_id, &first.user_id);
    assert_eq!(tx.ssh_key_count(org, user).await.unwrap(), 2);
    tx.commit().await.unwrap();
    // The same key twice of one owner is one too many.
    let tx = store.begin().await.unwrap();
    assert!(tx.ssh_key_insert(&key(9, "one", "ann", 7)).await.is_err());
    drop(tx);

    let reader = store.reader();
    let listed = reader.ssh_key_list(org, user).await.unwrap();
    assert_eq!(listed, [first.clone(), second.clone()]);
    let find = async |most| reader.ssh_key_find(first.fingerprint, most).await.unwrap();
    assert_eq!(
        find(9).await,
        [first.clone(), third.clone(), fourth.clone()]
    );
    assert_eq!(find(2).await.len(), 2);

    let tx = store.begin().await.unwrap();
    for (deleted, org, user) in [
        (false, "two", "ann"),
        (false, "one", "bob"),
        (true, "one", "ann"),
        (false, "one", "ann"),
    ] {
        let (org, user) = (org.parse().unwrap(), user.parse().unwrap());
        assert_eq!(
            tx.ssh_key_delete(&org, &user, &first.id).await.unwrap(),
            deleted
        );
    }
    tx.commit().await.unwrap();
    assert!(!reader.ssh_key_exists(&first.id).await.unwrap());
    assert!(reader.ssh_key_exists(&third.id).await.unwrap());
    assert_eq!(find(9).await, [third, fourth]);
}
