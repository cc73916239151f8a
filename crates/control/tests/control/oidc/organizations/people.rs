//! People of an organization's provider, and the users that they may be.

use super::*;

#[tokio::test]
async fn a_user_of_the_same_address_is_asked_and_takes_the_membership_over() {
    let place = Place::open().await;
    let (kit, control) = (&place.kit, &place.kit.control);
    let zoe = links::signed_in(kit, "zoe").await;
    let sven = links::signed_in(kit, "sven").await;
    let provider = place.provider().await;
    let made = place.come(&provider, said(kit, "zoe")).await.unwrap();
    assert_ne!(made.user.id, zoe.user, "nobody learns whose address it is");
    assert!(control.pending_sso_links(&sven).await.unwrap().is_empty());
    let pending = control.pending_sso_links(&zoe).await.unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!(
        (
            pending[0].provider.as_str(),
            &pending[0].link.organization_id
        ),
        ("Okta", place.org())
    );
    let id = pending[0].link.id.as_str();
    let (key, _) = kit.add_stranger("kim").await;
    assert_eq!(
        code(control.confirm_pending_sso_link(&key, id).await),
        "FORBIDDEN"
    );
    assert_eq!(
        code(control.confirm_pending_sso_link(&sven, id).await),
        "NOT_FOUND"
    );
    assert_eq!(
        code(control.dismiss_pending_sso_link(&sven, id).await),
        "NOT_FOUND"
    );

    let made_caller = place.caller(&made).await.unwrap();
    let made_key = control
        .create_api_key(&made_caller, "key".to_owned(), &[], None, None)
        .await;
    let made_key = made_key.unwrap().text;
    control.confirm_pending_sso_link(&zoe, id).await.unwrap();
    assert_eq!(
        code(control.confirm_pending_sso_link(&zoe, id).await),
        "NOT_FOUND"
    );
    assert!(
        place.caller(&made).await.is_err(),
        "the made user's session has ended"
    );
    assert!(come(kit, &made_key).await.is_err());
    let members = control
        .list_members(&place.owner, place.org().as_str())
        .await
        .unwrap();
    let ids: Vec<_> = members
        .iter()
        .map(|view| view.member.user_id.clone())
        .collect();
    assert_eq!(ids, [place.owner.user.clone(), zoe.user.clone()]);
    let again = place.come(&provider, said(kit, "zoe")).await.unwrap();
    assert_eq!(again.user.id, zoe.user);
    let caller = place.caller(&again).await.unwrap();
    assert!(!caller.is_whole_user && caller.organization == *place.org());

    // What was linked can be unlinked, and the person is somebody else again.
    let providers = control.list_account_providers(&zoe).await.unwrap();
    assert_eq!(
        (providers.len(), providers[0].id.as_str()),
        (1, provider.id.as_str())
    );
    control
        .unlink_account(&zoe, provider.id.as_str(), "zoe")
        .await
        .unwrap();
    assert!(place.caller(&again).await.is_err());
    let other = place.come(&provider, said(kit, "zoe")).await.unwrap();
    assert_ne!(other.user.id, zoe.user);
    let pending = control.pending_sso_links(&zoe).await.unwrap();
    let id = pending[0].link.id.as_str();
    control.dismiss_pending_sso_link(&zoe, id).await.unwrap();
    assert!(control.pending_sso_links(&zoe).await.unwrap().is_empty());
    place.caller(&other).await.unwrap();
}

#[tokio::test]
async fn a_pending_link_is_forgotten_after_a_week() {
    let place = Place::open().await;
    let zoe = links::signed_in(&place.kit, "zoe").await;
    let provider = place.provider().await;
    place
        .come(&provider, said(&place.kit, "zoe"))
        .await
        .unwrap();
    let pending = place.kit.control.pending_sso_links(&zoe).await.unwrap();
    place.kit.clock.advance(Duration::from_hours(7 * 24));
    let control = &place.kit.control;
    let late = control.confirm_pending_sso_link(&zoe, pending[0].link.id.as_str());
    assert_eq!(code(late.await), "NOT_FOUND");
    assert!(control.pending_sso_links(&zoe).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_members_are_taken_for_people_of_a_provider_whose_word_is_trusted() {
    let place = Place::open().await;
    let kit = &place.kit;
    let (mia, _) = kit.add_stranger("mia").await;
    let tx = kit.store.begin().await.unwrap();
    let member = Member {
        organization_id: place.org().clone(),
        user_id: mia.user.clone(),
        access: Access {
            role: MemberRole::Member,
            assigned: Vec::new(),
        },
        created_at: kit.clock.now(),
        updated_at: kit.clock.now(),
    };
    tx.member_put(&member).await.unwrap();
    tx.commit().await.unwrap();
    let (ines, _) = kit.add_stranger("ines").await;
    let trusts = |it: &mut SsoProviderRequest| it.trusts_addresses = Some(true);
    let provider = place.name_provider(&place.owner, trusts).await;
    let unverified = with(said(kit, "mia"), "email_verified", json!(false));
    let unverified = with(unverified, "sub", json!("other"));
    let came = place.come(&provider, unverified).await.unwrap();
    assert_ne!(came.user.id, mia.user);
    let came = place.come(&provider, said(kit, "mia")).await.unwrap();
    assert_eq!(came.user.id, mia.user);
    assert!(!place.caller(&came).await.unwrap().is_whole_user);
    let came = place.come(&provider, said(kit, "ines")).await.unwrap();
    assert_ne!(came.user.id, ines.user);
    // Nobody becomes the administrator, who is a member here.
    let admin = kit.control.current_user(&place.owner).await.unwrap();
    let any = SsoProviderRequest {
        allows_any_domain: Some(true),
        ..SsoProviderRequest::default()
    };
    let provider = place.update(&provider, any).await;
    let claims = with(said(kit, "root"), "email", json!(admin.email));
    let came = place.come(&provider, claims).await.unwrap();
    assert_ne!(came.user.id, admin.id);
}

#[tokio::test]
async fn one_issuers_people_are_others_in_each_organization() {
    let place = Place::open().await;
    let kit = &place.kit;
    let here = place.provider().await;
    let (sven, _) = kit.add_stranger("sven").await;
    let sven = lab(kit, &sven).await;
    let there = place.name_provider(&sven, |_| {}).await;
    let one = place.come(&here, said(kit, "p1")).await.unwrap();
    let other = place.come(&there, said(kit, "p1")).await.unwrap();
    assert_ne!(one.user.id, other.user.id);
    assert_eq!(
        place.caller(&other).await.unwrap().organization,
        sven.organization
    );
    let foreign =
        kit.control
            .get_identity_provider(&sven, sven.organization.as_str(), here.id.as_str());
    assert_eq!(code(foreign.await), "NOT_FOUND");
}
