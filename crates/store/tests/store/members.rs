//! Members, roles and invitations of organizations.

use alcove_domain::{
    Access, Invitation, InvitationId, InvitationStatus, Member, MemberRole, Organization,
    OrganizationId, Permission, Role, RoleId, Suspension, User, UserId,
};
use alcove_store::{Store, StoreError};
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    a_membership_is_written_anew_with_its_roles_and_ends_with_them,
    roles_belong_to_one_organization_and_their_names_are_unique_there,
    an_address_is_invited_once_at_a_time,
    an_organization_is_suspended_closed_and_held,
    users_are_found_by_their_address,
    an_organization_leaves_no_row_but_the_note_that_it_has_gone,
}

fn user(number: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(number))
}

fn role_id(number: u128) -> RoleId {
    RoleId::from_uuid(Uuid::from_u128(number))
}

fn other_org() -> OrganizationId {
    OrganizationId::from_uuid(Uuid::from_u128(8))
}

fn member(number: u128, role: MemberRole, roles: &[u128]) -> Member {
    Member {
        organization_id: org(),
        user_id: user(number),
        access: Access {
            role,
            assigned: roles.iter().map(|number| role_id(*number)).collect(),
        },
        created_at: at(i64::try_from(number).unwrap()),
        updated_at: at(1),
    }
}

async fn put(store: &Store, member: &Member) {
    let tx = store.begin().await.unwrap();
    tx.member_put(member).await.unwrap();
    tx.commit().await.unwrap();
}

async fn a_membership_is_written_anew_with_its_roles_and_ends_with_them(place: Place) {
    let store = place.open().await;
    let owner = member(1, MemberRole::Owner, &[]);
    let before = member(2, MemberRole::Member, &[5, 6]);
    for member in [&owner, &before] {
        put(&store, member).await;
    }
    let elsewhere = Member {
        organization_id: other_org(),
        ..member(2, MemberRole::Owner, &[5])
    };
    put(&store, &elsewhere).await;
    let after = Member {
        updated_at: at(9),
        ..member(2, MemberRole::Member, &[6, 7])
    };
    put(&store, &after).await;
    let reader = store.reader();
    let found = reader.member_find(&org(), &user(2)).await.unwrap();
    assert_eq!(found, Some(after.clone()));
    let all = reader.member_list(&org()).await.unwrap();
    assert_eq!(all, [owner.clone(), after.clone()]);
    let theirs = reader.member_list_of_user(&user(2)).await.unwrap();
    assert_eq!(theirs, [after, elsewhere.clone()]);

    let tx = store.begin().await.unwrap();
    assert_eq!(tx.member_count_owners(&org()).await.unwrap(), 1);
    assert_eq!(tx.member_count_with(&role_id(5)).await.unwrap(), 1);
    assert_eq!(tx.member_count_with(&role_id(7)).await.unwrap(), 1);
    assert!(tx.member_delete(&org(), &user(2)).await.unwrap());
    assert!(!tx.member_delete(&org(), &user(2)).await.unwrap());
    assert_eq!(tx.member_count_with(&role_id(7)).await.unwrap(), 0);
    assert_eq!(tx.member_find(&org(), &user(2)).await.unwrap(), None);
    tx.commit().await.unwrap();
    let theirs = reader.member_list_of_user(&user(2)).await.unwrap();
    assert_eq!(theirs, [elsewhere]);
    assert_eq!(reader.member_list(&org()).await.unwrap(), [owner]);
}

fn role(number: u128, org: OrganizationId, name: &str) -> Role {
    Role {
        id: role_id(number),
        organization_id: Some(org),
        name: name.to_owned(),
        description: "what it is for".to_owned(),
        permissions: [Permission::ReadVolumes, Permission::WriteVolumes]
            .into_iter()
            .collect(),
        created_at: at(i64::try_from(number).unwrap()),
        updated_at: at(2),
    }
}

async fn roles_belong_to_one_organization_and_their_names_are_unique_there(place: Place) {
    let store = place.open().await;
    let (one, two) = (role(1, org(), "one"), role(2, org(), "two"));
    let elsewhere = role(3, other_org(), "one");
    let tx = store.begin().await.unwrap();
    for role in [&one, &two, &elsewhere] {
        let org = role.organization_id.as_ref().unwrap();
        tx.role_insert(org, role).await.unwrap();
    }
    assert_eq!(tx.role_count(&org()).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let reader = store.reader();
    assert_eq!(
        reader.role_list(&org()).await.unwrap(),
        [one.clone(), two.clone()]
    );

    let tx = store.begin().await.unwrap();
    let taken = tx.role_insert(&org(), &role(4, org(), "one")).await;
    assert!(matches!(taken, Err(StoreError::NameTaken)), "{taken:?}");
    drop(tx);
    let tx = store.begin().await.unwrap();
    let renamed = Role {
        name: "one".to_owned(),
        ..two.clone()
    };
    let taken = tx.role_update(&org(), &renamed).await;
    assert!(matches!(taken, Err(StoreError::NameTaken)), "{taken:?}");
    drop(tx);

    let tx = store.begin().await.unwrap();
    let changed = Role {
        permissions: [Permission::ReadAuditLogs].into_iter().collect(),
        updated_at: at(8),
        ..two
    };
    assert!(tx.role_update(&org(), &changed).await.unwrap());
    // Of another organization it is not there.
    assert!(!tx.role_update(&other_org(), &changed).await.unwrap());
    assert!(!tx.role_delete(&other_org(), &one.id).await.unwrap());
    assert!(tx.role_delete(&org(), &one.id).await.unwrap());
    assert_eq!(tx.role_list(&org()).await.unwrap(), [changed]);
    tx.commit().await.unwrap();
    assert_eq!(reader.role_list(&other_org()).await.unwrap(), [elsewhere]);
}

async fn an_address_is_invited_once_at_a_time(place: Place) {
    let store = place.open().await;
    let invitation = |number: u128, org: OrganizationId| Invitation {
        id: InvitationId::from_uuid(Uuid::from_u128(number)),
        organization_id: org,
        email: "ann@example.com".to_owned(),
        invited_by: "bob@example.com".to_owned(),
        access: member(1, MemberRole::Member, &[1, 5]).access,
        status: InvitationStatus::Pending,
        expires_at: at(99),
        created_at: at(1),
        updated_at: at(1),
    };
    let (first, elsewhere) = (invitation(1, org()), invitation(2, other_org()));
    let tx = store.begin().await.unwrap();
    tx.invitation_insert(&first).await.unwrap();
    tx.invitation_insert(&elsewhere).await.unwrap();
    tx.commit().await.unwrap();
    let tx = store.begin().await.unwrap();
    let twice = tx.invitation_insert(&invitation(3, org())).await;
    assert!(matches!(twice, Err(StoreError::NameTaken)), "{twice:?}");
    drop(tx);
    let reader = store.reader();
    let theirs = reader.invitation_list_pending_to("ann@example.com").await;
    assert_eq!(theirs.unwrap(), [first.clone(), elsewhere.clone()]);
    let tx = store.begin().await.unwrap();
    let declined = Invitation {
        status: InvitationStatus::Declined,
        updated_at: at(5),
        ..first.clone()
    };
    tx.invitation_update(&declined).await.unwrap();
    // Who has declined can be asked again.
    let again = invitation(3, org());
    tx.invitation_insert(&again).await.unwrap();
    assert_eq!(tx.invitation_count_pending(&org()).await.unwrap(), 1);
    tx.commit().await.unwrap();
    let found = reader.invitation_find(&first.id).await.unwrap();
    assert_eq!(found, Some(declined));
    let pending = reader.invitation_list_pending(&org()).await.unwrap();
    assert_eq!(pending, [again]);
}

async fn an_organization_is_suspended_closed_and_held(place: Place) {
    let store = place.open().await;
    let plain = Organization {
        id: org(),
        name: "Lab".to_owned(),
        created_by: user(1),
        is_personal: false,
        is_egress_limited: false,
        suspension: None,
        closing_since: None,
        created_at: at(1),
    };
    let suspension = Suspension {
        since: at(3),
        reason: Some("unpaid".to_owned()),
        until: Some(at(7)),
        grace_hours: 5,
    };
    let tx = store.begin().await.unwrap();
    tx.organization_insert(&plain).await.unwrap();
    let suspended = Organization {
        id: other_org(),
        suspension: Some(suspension.clone()),
        ..plain.clone()
    };
    tx.organization_insert(&suspended).await.unwrap();
    assert_eq!(tx.organization_count_made_by(&user(1)).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let reader = store.reader();
    let barred = reader.organization_list_barred().await.unwrap();
    assert_eq!(barred, std::slice::from_ref(&suspended));

    let tx = store.begin().await.unwrap();
    let here = org();
    let suspend = tx.organization_suspend(&here, Some(&suspension));
    assert!(suspend.await.unwrap());
    assert!(tx.organization_suspend(&other_org(), None).await.unwrap());
    let nowhere = "nowhere".parse().unwrap();
    assert!(!tx.organization_suspend(&nowhere, None).await.unwrap());
    tx.organization_hold(&org()).await.unwrap();
    assert!(tx.organization_close(&org(), at(9)).await.unwrap());
    assert!(!tx.organization_close(&org(), at(9)).await.unwrap());
    for gone in [&org(), &nowhere] {
        let held = tx.organization_hold(gone).await;
        assert!(matches!(held, Err(StoreError::OrganizationClosed)));
    }
    assert_eq!(tx.organization_count_made_by(&user(1)).await.unwrap(), 1);
    tx.commit().await.unwrap();
    let found = reader.organization_find(&org()).await.unwrap();
    let closing = Organization {
        suspension: Some(suspension),
        closing_since: Some(at(9)),
        ..plain
    };
    assert_eq!(found, Some(closing));
    let both = [org(), other_org()];
    assert_eq!(reader.organization_list_in(&both).await.unwrap().len(), 2);
}

async fn users_are_found_by_their_address(place: Place) {
    let store = place.open().await;
    let user = |number: u128, email: &str, is_email_verified| User {
        id: user(number),
        name: "Ann".to_owned(),
        email: email.to_owned(),
        is_email_verified,
        is_admin: number < 3,
        created_at: at(i64::try_from(number).unwrap()),
    };
    let (ann, bob) = (user(2, "ann@x", true), user(1, "bob@x", false));
    let tx = store.begin().await.unwrap();
    tx.user_insert(&ann).await.unwrap();
    tx.user_insert(&bob).await.unwrap();
    assert_eq!(
        tx.user_list_by_email("ann@x").await.unwrap(),
        std::slice::from_ref(&ann)
    );
    tx.commit().await.unwrap();
    let tx = store.begin().await.unwrap();
    let taken = tx.user_insert(&user(2, "other@x", false)).await;
    assert!(matches!(taken, Err(StoreError::NameTaken)), "{taken:?}");
    drop(tx);
    let reader = store.reader();
    let found = reader.user_list_in(std::slice::from_ref(&bob.id)).await;
    assert_eq!(found.unwrap(), std::slice::from_ref(&bob));
    assert_eq!(reader.user_list().await.unwrap(), [bob.clone(), ann]);
    // Of two administrators, the one who set the server up.
    assert_eq!(reader.user_find_admin().await.unwrap(), Some(bob));
}

/// Rows of any table that name the organization.
async fn rows_of(place: &Place, org: &OrganizationId) -> Vec<(String, i64)> {
    let tables = match place {
        Place::Sqlite(_) => {
            "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND c.name = 'organization_id'"
        }
        Place::Postgres(_) => {
            "SELECT table_name FROM information_schema.columns \
             WHERE column_name = 'organization_id' AND table_schema = 'public'"
        }
    };
    let mut found = Vec::new();
    for row in place.query(tables).await {
        let table = row.try_get_by_index::<String>(0).unwrap();
        let count = format!("SELECT count(*) FROM {table} WHERE organization_id = '{org}'");
        let count = place.query(&count).await[0].try_get_by_index::<i64>(0);
        let count = count.unwrap();
        if count > 0 {
            found.push((table, count));
        }
    }
    found.sort();
    found
}

async fn an_organization_leaves_no_row_but_the_note_that_it_has_gone(place: Place) {
    let store = place.open().await;
    let here = org();
    let organization = |org: &OrganizationId| Organization {
        id: org.clone(),
        name: "Lab".to_owned(),
        created_by: user(1),
        is_personal: false,
        is_egress_limited: false,
        suspension: None,
        closing_since: None,
        created_at: at(1),
    };
    let tx = store.begin().await.unwrap();
    for org in [&here, &other_org()] {
        tx.organization_insert(&organization(org)).await.unwrap();
        let member = Member {
            organization_id: org.clone(),
            ..member(1, MemberRole::Owner, &[5])
        };
        tx.member_put(&member).await.unwrap();
        let number = if *org == here { 1 } else { 2 };
        let role = role(number, org.clone(), "one");
        tx.role_insert(org, &role).await.unwrap();
    }
    tx.commit().await.unwrap();
    insert(&store, &sandbox(1, "box")).await.unwrap();
    let others = rows_of(&place, &other_org()).await;
    assert_eq!(others.len(), 3);
    assert!(rows_of(&place, &here).await.len() > 3);

    let tx = store.begin().await.unwrap();
    assert!(!tx.organization_delete(&here, at(9)).await.unwrap());
    drop(tx);
    place
        .execute("UPDATE sandboxes SET state = 'destroyed', desired_state = 'destroyed'")
        .await;
    let tx = store.begin().await.unwrap();
    assert!(tx.organization_delete(&here, at(9)).await.unwrap());
    tx.commit().await.unwrap();
    let left = rows_of(&place, &here).await;
    assert_eq!(left, [("departed_organizations".to_owned(), 1)]);
    assert_eq!(place.query("SELECT * FROM sandbox_labels").await.len(), 0);
    let reader = store.reader();
    assert_eq!(reader.organization_find(&here).await.unwrap(), None);
    let departed = reader.organization_list_departed().await.unwrap();
    assert_eq!(departed, [(here.clone(), at(9))]);
    let tx = store.begin().await.unwrap();
    tx.organization_forget(&here).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(rows_of(&place, &here).await, []);
    assert_eq!(rows_of(&place, &other_org()).await, others);
}
