//! The end of an organization.

use std::time::Duration;

use alcove_control::{Caller, CreateRegistry, Error};
use alcove_domain::{NewSandbox, OrganizationId, RegistryRequest};
use alcove_testkit::{TestControl, eventually, within};

use crate::support::*;

/// An organization with one of everything, and its owner's key.
async fn filled(kit: &TestControl) -> (Caller, String) {
    let control = &kit.control;
    let made = control.create_organization(&kit.caller, "Lab".to_owned(), None);
    let org = made.await.unwrap().id;
    let key = kit.add_key(&kit.caller.user, &org).await;
    let owner = control.authenticate(&key).await.unwrap();
    let volume = control.create_volume(&owner, Some("data".to_owned())).await;
    let volume = volume.unwrap();
    let mounts = alcove_domain::MountRequest {
        volume: volume.id.to_string(),
        mount_path: "/d".to_owned(),
        subpath: None,
        is_read_only: false,
    };
    let request = NewSandbox {
        volumes: vec![mounts],
        ..named("box")
    };
    control.create_sandbox(&owner, request).await.unwrap();
    control.create_sandbox(&owner, named("idle")).await.unwrap();
    control.stop_sandbox(&owner, "idle", true).await.unwrap();
    let snapshot = control.snapshot_sandbox(&owner, "idle", "kept".to_owned(), false);
    snapshot.await.unwrap();
    let registry = CreateRegistry {
        request: RegistryRequest {
            name: "r".to_owned(),
            url: "a.com".to_owned(),
            username: String::new(),
            password: None,
            project: None,
        },
        kind: None,
        is_default: false,
    };
    control.create_registry(&owner, registry).await.unwrap();
    (owner, key)
}

async fn is_gone(kit: &TestControl, org: &OrganizationId) -> bool {
    // The task looks again once in a while.
    kit.clock.advance(Duration::from_secs(1));
    let found = kit.store.reader().organization_find(org).await.unwrap();
    found.is_none()
}

async fn nothing_left(kit: &TestControl, org: &OrganizationId) {
    let reader = kit.store.reader();
    assert_eq!(reader.member_list(org).await.unwrap(), []);
    assert_eq!(reader.volume_list(org, true).await.unwrap(), []);
    assert!(reader.snapshot_list_of(org).await.unwrap().is_empty());
    assert!(reader.registry_list(org).await.unwrap().is_empty());
    assert_eq!(reader.api_key_list(org, None).await.unwrap(), []);
    assert!(kit.runner.volumes().is_empty());
    let live = reader.sandbox_list_live().await.unwrap();
    assert!(live.iter().all(|sandbox| sandbox.organization_id != *org));
    let departed = kit.control.departed_organizations().await.unwrap();
    assert_eq!(departed.len(), 1);
    assert_eq!(departed[0].organization, *org);
}

#[tokio::test]
async fn nobody_acts_for_a_deleted_organization_and_nothing_of_it_stays() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let (owner, key) = filled(&kit).await;
    make(&kit, "mine").await;
    let id = owner.organization.as_str();
    let stream = {
        let (control, owner) = (control.clone(), owner.clone());
        tokio::spawn(async move { control.key_ended(&owner).await })
    };
    let member = kit.add_member("all", &[5]).await;
    let home = kit.caller.organization.as_str();
    for (caller, org) in [(&member, home), (&kit.caller, home)] {
        // A member cannot, and nobody can delete a person.
        let refused = control.delete_organization(caller, org).await;
        assert!(
            matches!(refused, Err(Error::Forbidden { .. })),
            "{refused:?}"
        );
    }
    let foreign = control.delete_organization(&kit.caller, id).await;
    assert!(
        matches!(foreign, Err(Error::NotFound { .. })),
        "{foreign:?}"
    );

    control.delete_organization(&owner, id).await.unwrap();
    within("the end of what stays", stream).await.unwrap();
    assert!(control.authenticate(&key).await.is_err());
    // A request that was let in before makes nothing any more.
    let late = control.create_sandbox(&owner, NewSandbox::default()).await;
    assert!(matches!(late, Err(Error::NotFound { .. })), "{late:?}");
    assert!(control.create_volume(&owner, None).await.is_err());
    eventually("the organization is gone", async || {
        is_gone(&kit, &owner.organization).await
    })
    .await;
    nothing_left(&kit, &owner.organization).await;
    // The control: what is another's stays.
    assert!(control.get_sandbox(&kit.caller, "mine").await.is_ok());

    // Its objects may go as soon as nobody can put any there.
    let departed = control.departed_organizations().await.unwrap();
    assert!(!departed[0].can_be_forgotten);
    kit.clock.advance_minutes(120);
    let departed = control.departed_organizations().await.unwrap();
    assert!(departed[0].can_be_forgotten);
    control.forget_departed(&owner.organization).await.unwrap();
    assert!(control.departed_organizations().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_deletion_goes_on_after_a_kill() {
    let kit = TestControl::open().await;
    let (owner, key) = filled(&kit).await;
    let id = owner.organization.clone();
    kit.control
        .delete_organization(&owner, id.as_str())
        .await
        .unwrap();
    let kit = kit.restart().await;
    assert!(kit.control.authenticate(&key).await.is_err());
    eventually("the organization is gone", async || {
        is_gone(&kit, &id).await
    })
    .await;
    nothing_left(&kit, &id).await;
}
