//! Invitations into an organization.

use std::time::Duration;

use alcove_control::{Clock as _, Error, InvitationView};
use alcove_domain::{MemberRole, UserRequest};
use alcove_testkit::TestControl;

use crate::support::*;

#[tokio::test]
async fn an_invitation_is_for_the_holder_of_its_address_alone() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let (by, _) = lab(&kit).await;
    let (ann, _) = kit.add_stranger("ann").await;
    let (eve, _) = kit.add_stranger("eve").await;
    let offer = ("member", &*words(&[DEVELOPER, AUDITOR]));
    let invite = async |email: &str| {
        let made = control.create_invitation(&by, org(&by), email, offer, None);
        made.await
    };
    let invited = invite(" Ann@Example.com ").await.unwrap();
    assert_eq!(invited.invitation.email, "ann@example.com");
    assert_eq!(invited.organization_name, "Lab");
    assert_eq!(invited.roles.len(), 2);
    let again = invite("ann@example.com").await.unwrap_err();
    assert_eq!(again.code(), "ALREADY_INVITED");
    let id = invited.invitation.id.as_str();
    assert_eq!(control.own_invitations(&eve).await.unwrap(), []);
    missing(control.accept_invitation(&eve, id).await);
    missing(control.decline_invitation(&eve, id).await);
    let own = control.own_invitations(&ann).await.unwrap();
    // The link is for who decides on members.
    let seen = InvitationView {
        link: None,
        ..invited.clone()
    };
    assert_eq!(own, [seen]);
    assert!(invited.link.is_some());

    // A user who only says that the address is his is not believed.
    let liar = UserRequest {
        id: "liar".to_owned(),
        name: "Liar".to_owned(),
        email: Some("ann@example.com".to_owned()),
        ..UserRequest::default()
    };
    let liar = control
        .create_user(&kit.caller, liar, None, false)
        .await
        .unwrap()
        .0;
    let home = kit
        .store
        .reader()
        .organization_find_personal(&liar.id)
        .await;
    let key = kit.add_key(&liar.id, &home.unwrap().unwrap().id).await;
    let liar = control.authenticate(&key).await.unwrap();
    forbidden(control.accept_invitation(&liar, id).await);
    assert_eq!(control.own_invitations(&liar).await.unwrap(), []);

    let accepted = control.accept_invitation(&ann, id).await.unwrap();
    assert_eq!(accepted.invitation.status.as_str(), "accepted");
    forbidden(control.accept_invitation(&ann, id).await);
    let members = control.list_members(&by, org(&by)).await.unwrap();
    assert_eq!(members.len(), 2);
    assert_eq!(members[1].user.id, ann.user);
    assert_eq!(members[1].roles, invited.roles);
    let member = invite("ann@example.com").await.unwrap_err();
    assert_eq!(member.code(), "ALREADY_A_MEMBER");
    // Nobody is invited to be part of a person.
    let home = control.create_invitation(&ann, org(&ann), "eve@example.com", offer, None);
    forbidden(home.await);
}

#[tokio::test]
async fn invitations_end_by_time_by_their_owner_and_by_no() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let (by, _) = lab(&kit).await;
    let (ann, _) = kit.add_stranger("ann").await;
    let offer = ("member", &*words(&[DEVELOPER]));
    let invite = async |expires_at| {
        let email = "ann@example.com";
        let made = control.create_invitation(&by, org(&by), email, offer, expires_at);
        made.await
    };
    let past = invite(Some(kit.clock.now())).await;
    assert!(matches!(past, Err(Error::Invalid { .. })), "{past:?}");
    let hour = kit
        .clock
        .now()
        .checked_add(Duration::from_hours(1))
        .unwrap();
    let first = invite(Some(hour)).await.unwrap().invitation.id;
    let to_owner = ("owner", &*words(&[]));
    let updated = control.update_invitation(&by, org(&by), first.as_str(), to_owner, None);
    let updated = updated.await.unwrap().invitation;
    assert_eq!(
        (updated.access.role, updated.expires_at),
        (MemberRole::Owner, hour)
    );
    kit.clock.advance_minutes(60);
    forbidden(control.accept_invitation(&ann, first.as_str()).await);
    assert_eq!(control.own_invitations(&ann).await.unwrap(), []);
    let late = control.update_invitation(&by, org(&by), first.as_str(), offer, None);
    forbidden(late.await);

    // One whose time is up makes room for the next.
    let second = invite(None).await.unwrap().invitation;
    assert!(
        control
            .decline_invitation(&ann, second.id.as_str())
            .await
            .is_ok()
    );
    forbidden(control.accept_invitation(&ann, second.id.as_str()).await);
    let third = invite(None).await.unwrap().invitation.id;
    // Nobody else's owner can take it back.
    let other = control.cancel_invitation(&kit.caller, org(&kit.caller), third.as_str());
    missing(other.await);
    let cancelled = control.cancel_invitation(&by, org(&by), third.as_str());
    cancelled.await.unwrap();
    forbidden(control.accept_invitation(&ann, third.as_str()).await);
    let pending = control.list_invitations(&by, org(&by)).await.unwrap();
    assert_eq!(pending, []);
}
