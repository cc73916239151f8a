//! How providers are kept, and what ends with them.

use super::*;

#[tokio::test]
async fn sessions_end_with_what_let_them_in() {
    let place = Place::open().await;
    let (kit, control) = (&place.kit, &place.kit.control);
    let provider = place.provider().await;
    let (org, id) = (place.org().as_str().to_owned(), provider.id.as_str());
    let first = place.come(&provider, said(kit, "p1")).await.unwrap();
    let enabled = |is_enabled| SsoProviderRequest {
        is_enabled: Some(is_enabled),
        ..SsoProviderRequest::default()
    };
    let departure = place.depart(&provider).await;
    place.update(&provider, enabled(false)).await;
    assert!(!control.has_sso(place.org()));
    assert!(place.caller(&first).await.is_err());
    assert_eq!(code(control.depart_by_sso(id, BACK).await), "SSO_UNKNOWN");
    assert_eq!(
        code(place.arrive(&departure, said(kit, "p1")).await),
        "SSO_UNKNOWN"
    );
    let provider = place.update(&provider, enabled(true)).await;
    let again = place.come(&provider, said(kit, "p1")).await.unwrap();
    assert_eq!(again.user.id, first.user.id);

    // Who was removed is not made a member again by coming.
    let user = again.user.id.as_str();
    control
        .remove_member(&place.owner, &org, user)
        .await
        .unwrap();
    assert!(place.caller(&again).await.is_err());
    assert_eq!(
        code(place.come(&provider, said(kit, "p1")).await),
        "FORBIDDEN"
    );
    invite(&place, "p2@example.com").await;
    assert_eq!(
        code(place.come(&provider, said(kit, "p1")).await),
        "FORBIDDEN"
    );
    invite(&place, "p1@example.com").await;
    let back = place.come(&provider, said(kit, "p1")).await.unwrap();
    assert_eq!(back.user.id, first.user.id);
    let left = control.list_invitations(&place.owner, &org).await.unwrap();
    assert_eq!(left.len(), 1, "the one to the other person");

    // Of another issuer, the same subject is somebody else.
    let second = place.come(&provider, said(kit, "p2")).await.unwrap();
    let moved = SsoProviderRequest {
        issuer: Some(ISSUER.to_owned()),
        client_secret: Some("another".to_owned()),
        ..SsoProviderRequest::default()
    };
    let provider = place.update(&provider, moved).await;
    assert!(place.caller(&second).await.is_err());
    let third = place.come(&provider, said(kit, "p2")).await.unwrap();
    assert_ne!(third.user.id, second.user.id);
    control
        .delete_identity_provider(&place.owner, &org, id)
        .await
        .unwrap();
    assert!(place.caller(&third).await.is_err());
    assert!(!control.has_sso(place.org()));
}

#[tokio::test]
async fn what_is_one_users_alone_has_no_provider() {
    let place = Place::open().await;
    let caller = &place.kit.caller;
    let request = SsoProviderRequest::default();
    let made =
        place
            .kit
            .control
            .create_identity_provider(caller, caller.organization.as_str(), request);
    assert_eq!(code(made.await), "FORBIDDEN");
}

#[tokio::test]
async fn an_issuer_is_tried_before_anybody_comes_by_it() {
    let place = Place::open().await;
    let control = &place.kit.control;
    let org = place.org().as_str();
    let tried = control
        .test_identity_provider(&place.owner, org, ISSUER)
        .await
        .unwrap();
    assert_eq!(tried, Ok(ISSUER.to_owned()));
    place.web.provider.publish(&[place.signer.public()]);
    let tried = control
        .test_identity_provider(&place.owner, org, ISSUER)
        .await
        .unwrap();
    assert!(tried.unwrap_err().contains("authorization_endpoint"));
    place.web.provider.go_away();
    let tried = control
        .test_identity_provider(&place.owner, org, ISSUER)
        .await
        .unwrap();
    assert!(tried.unwrap_err().ends_with("nobody is there"));
    let closed = control
        .test_identity_provider(&place.owner, org, "https://10.0.0.1")
        .await;
    assert_eq!(code(closed), "BAD_REQUEST");
}

#[tokio::test]
async fn a_role_that_a_provider_gives_stays_and_organizations_have_so_many_providers() {
    let place = Place::open().await;
    let (kit, control) = (&place.kit, &place.kit.control);
    let org = place.org().as_str();
    let words = ["write:sandboxes".to_owned()];
    let role = control.create_role(
        &place.owner,
        org,
        "Guests".to_owned(),
        String::new(),
        &words,
    );
    let role = role.await.unwrap().id.to_string();
    let ids = vec![role.clone()];
    let provider = place
        .name_provider(&place.owner, |it| it.role_ids = Some(ids))
        .await;
    let deleted = control.delete_role(&place.owner, org, &role).await;
    assert_eq!(code(deleted), "ROLE_IN_USE");
    let came = place.come(&provider, said(kit, "p1")).await.unwrap();
    let caller = place.caller(&came).await.unwrap();
    let mut reasons = Vec::new();
    assert_eq!(
        *caller.permissions,
        Permissions::parse(&words, &mut reasons)
    );
    for _ in 1..10 {
        place.provider().await;
    }
    let request = SsoProviderRequest {
        name: Some("One more".to_owned()),
        issuer: Some(ISSUER.to_owned()),
        client_id: Some("x".to_owned()),
        client_secret: Some("x".to_owned()),
        allows_any_domain: Some(true),
        ..SsoProviderRequest::default()
    };
    let made = control
        .create_identity_provider(&place.owner, org, request)
        .await;
    assert!(matches!(made, Err(Error::QuotaExceeded { .. })), "{made:?}");
}

#[tokio::test]
async fn the_clients_secret_is_kept_sealed_and_outlives_a_new_key_and_a_restart() {
    let place = Place::open().await;
    let provider = place.provider().await;
    place.kit.control.rotate_sealing_key().await.unwrap();
    place.kit.control.sealing_settled().await;
    let Place {
        kit,
        owner,
        web,
        signer,
    } = place;
    let store = kit.kill_and_read_keys().await;
    let bytes = std::fs::read(store.path()).unwrap();
    let has = |secret: &str| {
        bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes())
    };
    assert!(has("id.example.com"), "the positive control");
    assert!(!has(SECRET) && !has(&encode(SECRET)));
    let kit = store.open().await;
    assert_eq!(kit.keys().count(), 1);
    let place = Place {
        kit,
        owner,
        web,
        signer,
    };
    assert!(place.kit.control.has_sso(place.org()));
    place.come(&provider, said(&place.kit, "p1")).await.unwrap();
    let exchanged = place.web.exchanged.lock().unwrap().pop().unwrap();
    assert_eq!(exchanged.basic.unwrap().1, SECRET);
}

#[tokio::test]
async fn a_provider_goes_with_its_organization() {
    let place = Place::open().await;
    let (kit, control) = (&place.kit, &place.kit.control);
    let (owner, lab) = (&place.owner, place.org());
    let provider = place.provider().await;
    let zoe = links::signed_in(kit, "zoe").await;
    let begun = place.come(&provider, said(kit, "zoe")).await.unwrap();
    place.caller(&begun).await.unwrap();
    control
        .delete_organization(owner, lab.as_str())
        .await
        .unwrap();
    assert!(place.caller(&begun).await.is_err());
    assert!(!control.has_sso(lab));
    assert!(control.pending_sso_links(&zoe).await.unwrap().is_empty());
    let departed = control.depart_by_sso(provider.id.as_str(), BACK).await;
    assert_eq!(code(departed), "SSO_UNKNOWN");
    let left = kit.store.reader().identity_list_of(&begun.user.id).await;
    assert!(left.unwrap().is_empty());
}
