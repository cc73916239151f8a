use alcove_domain::{SandboxId, SshAccess, SshAccessEnd, SshAccessId, SshTokenHash};
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    an_ssh_access_is_found_by_its_hash_and_ended_by_its_sandbox,
    ssh_accesses_are_forgotten_after_their_time,
}

fn access(number: u8, sandbox: &SandboxId, expires_at: i64) -> SshAccess {
    SshAccess {
        id: SshAccessId::from_uuid(Uuid::from_u128(number.into())),
        sandbox_id: sandbox.clone(),
        token: SshTokenHash([number; 32]),
        expires_at: at(expires_at),
        created_at: at(5),
        updated_at: at(6),
        end: None,
    }
}

async fn an_ssh_access_is_found_by_its_hash_and_ended_by_its_sandbox(place: Place) {
    let store = place.open().await;
    let (one, other) = ("one".parse().unwrap(), "other".parse().unwrap());
    let (first, second) = (access(1, &one, 100), access(2, &one, 100));
    let third = access(3, &other, 100);
    let tx = store.begin().await.unwrap();
    for access in [&first, &second, &third] {
        tx.ssh_access_insert(access).await.unwrap();
    }
    tx.commit().await.unwrap();
    let reader = store.reader();
    let find = async |access: &SshAccess| reader.ssh_access_find(access.token).await.unwrap();
    assert_eq!(find(&first).await, Some(first.clone()));
    assert_eq!(find(&access(9, &one, 100)).await, None);

    let end = async |sandbox: &SandboxId, token, end, when| {
        let tx = store.begin().await.unwrap();
        tx.ssh_access_end(sandbox, token, end, at(when))
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    // The token of another sandbox is not this one's to end.
    end(&other, Some(first.token), SshAccessEnd::Revoked, 7).await;
    assert_eq!(find(&first).await.unwrap().end, None);
    end(&one, Some(first.token), SshAccessEnd::Revoked, 7).await;
    end(&one, None, SshAccessEnd::Replaced, 8).await;
    let (first, second) = (find(&first).await.unwrap(), find(&second).await.unwrap());
    assert_eq!(
        (first.end, first.updated_at),
        (Some(SshAccessEnd::Revoked), at(7))
    );
    assert_eq!(
        (second.end, second.updated_at),
        (Some(SshAccessEnd::Replaced), at(8))
    );
    end(&one, None, SshAccessEnd::Revoked, 9).await;
    assert_eq!(
        find(&second).await.unwrap().end,
        Some(SshAccessEnd::Revoked)
    );
    assert_eq!(find(&third).await, Some(third));
}

async fn ssh_accesses_are_forgotten_after_their_time(place: Place) {
    let store = place.open().await;
    let sandbox = "one".parse().unwrap();
    let (old, new) = (access(1, &sandbox, 100), access(2, &sandbox, 101));
    let tx = store.begin().await.unwrap();
    tx.ssh_access_insert(&old).await.unwrap();
    tx.ssh_access_insert(&new).await.unwrap();
    tx.ssh_access_forget(at(101)).await.unwrap();
    tx.commit().await.unwrap();
    let find = async |token| store.reader().ssh_access_find(token).await.unwrap();
    assert_eq!(find(old.token).await, None);
    assert_eq!(find(new.token).await, Some(new));
}
