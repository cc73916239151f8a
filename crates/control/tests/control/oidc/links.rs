//! Users who link themselves with a person of the provider.

use alcove_control::{Entrance, SignedIn};
use alcove_domain::UserId;

use super::*;

const PASSWORD: &str = "correct horse battery";

/// A user with a password, who has signed in.
pub async fn signed_in(kit: &TestControl, id: &str) -> Caller {
    let control = &kit.control;
    let (_, _) = kit.add_stranger(id).await;
    let link = control.create_password_link(&kit.caller, id, false).await;
    let text = link.unwrap().text;
    control.use_password_link(&text, PASSWORD).await.unwrap();
    let shown = Entrance {
        username: id,
        password: PASSWORD,
        code: None,
        address: None,
    };
    let SignedIn { text, .. } = control.sign_in(shown).await.unwrap();
    let choice = OrganizationChoice::default();
    let caller = control.authenticate_session(&text, choice);
    caller.await.unwrap()
}

fn code<T>(outcome: Result<T, Error>) -> &'static str {
    match outcome {
        Ok(_) => "OK",
        Err(error) => error.code(),
    }
}

#[tokio::test]
async fn a_user_who_shows_both_is_let_in_by_the_providers_tokens_from_then_on() {
    let (kit, _provider, signer) = with_signer().await;
    let control = &kit.control;
    let zoe = signed_in(&kit, "zoe").await;
    let providers = control.list_account_providers(&zoe).await.unwrap();
    assert_eq!(providers.len(), 1);
    assert!(!providers[0].is_linked);
    let token = signer.sign(&claims(&kit, "person-1"));
    let link = async |subject: &str, token: Option<&str>| {
        control.link_account(&zoe, "oidc", subject, token).await
    };
    // Nobody is linked by a word.
    assert_eq!(code(link("person-1", None).await), "BAD_REQUEST");
    assert_eq!(
        code(link("person-1", Some("nonsense")).await),
        "BAD_REQUEST"
    );
    assert_eq!(code(link("person-2", Some(&token)).await), "BAD_REQUEST");
    let elsewhere = control.link_account(&zoe, "github", "person-1", Some(&token));
    assert_eq!(code(elsewhere.await), "NOT_FOUND");
    link("person-1", Some(&token)).await.unwrap();
    // Once more is no mistake.
    link("person-1", Some(&token)).await.unwrap();
    assert!(control.list_account_providers(&zoe).await.unwrap()[0].is_linked);

    let before = control.current_user(&zoe).await.unwrap();
    let came = come(&kit, &token).await.unwrap();
    assert_eq!(came.user, zoe.user);
    let after = control.current_user(&came).await.unwrap();
    assert_eq!(after, before, "the token changes nothing of the user");

    control
        .unlink_account(&zoe, "oidc", "person-1")
        .await
        .unwrap();
    let again = control.unlink_account(&zoe, "oidc", "person-1").await;
    assert_eq!(code(again), "NOT_FOUND");
    let came = come(&kit, &token).await.unwrap();
    assert_ne!(came.user, zoe.user, "the person is somebody else now");
    assert_eq!(came.user, "person-1".parse::<UserId>().unwrap());
    // Who is a user is not taken over.
    assert_eq!(code(link("person-1", Some(&token)).await), "BAD_REQUEST");
}

#[tokio::test]
async fn neither_a_key_nor_an_administrator_is_linked_and_nobody_is_locked_out() {
    let (kit, _provider, signer) = with_signer().await;
    let control = &kit.control;
    let token = signer.sign(&claims(&kit, "person-1"));
    let (yan, _) = kit.add_stranger("yan").await;
    let by_key = control.link_account(&yan, "oidc", "person-1", Some(&token));
    assert_eq!(code(by_key.await), "FORBIDDEN");
    let admin = crate::second_factor::sign_in(&kit).await;
    let linked = control.link_account(&admin, "oidc", "person-1", Some(&token));
    assert_eq!(code(linked.await), "FORBIDDEN");
    // Whom only tokens let in does not cut that off: such a caller has no session.
    let came = come(&kit, &token).await.unwrap();
    let cut = control.unlink_account(&came, "oidc", "person-1").await;
    assert_eq!(code(cut), "FORBIDDEN");
}
