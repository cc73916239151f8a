//! Who is let in to ports of sandboxes.

use std::sync::Arc;
use std::time::Duration;

use alcove_control::{Caller, Credential, Error, Visitor};
use alcove_domain::{Permission, Permissions, Port, SandboxId, SandboxState};
use alcove_testkit::{TestControl, TestStore};

use crate::support::{make, state, vanishes};

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn with_token(token: &str) -> Visitor<'_> {
    Visitor {
        preview_token: Some(token),
        ..Visitor::default()
    }
}

async fn visit(
    kit: &TestControl,
    visitor: Visitor<'_>,
    place: &str,
    number: u16,
) -> Result<Credential, Error> {
    let admitted = kit.control.admit_port(&visitor, place, port(number)).await;
    admitted.map(|admission| admission.by)
}

fn reader(kit: &TestControl, permissions: &[Permission]) -> Caller {
    Caller {
        permissions: Arc::new(permissions.iter().copied().collect::<Permissions>()),
        ..kit.caller.clone()
    }
}

fn is_unknown<T>(outcome: Result<T, Error>) -> bool {
    outcome.is_err_and(|error| matches!(error, Error::Unauthenticated { .. }))
}

#[tokio::test]
async fn a_private_port_opens_for_a_key_a_token_and_a_pass_and_for_nothing_else() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.to_string();
    let (_, token) = kit.control.preview_token(&kit.caller, "box").unwrap();
    let key = Visitor {
        bearer: Some(&kit.key),
        ..Visitor::default()
    };
    for place in [id.as_str(), "box"] {
        assert!(is_unknown(
            visit(&kit, Visitor::default(), place, 3000).await
        ));
        assert!(is_unknown(
            visit(&kit, with_token("guess"), place, 3000).await
        ));
        let by_key = visit(&kit, key, place, 3000).await.unwrap();
        assert_eq!(by_key, Credential::Bearer);
        let admitted = kit
            .control
            .admit_port(&with_token(&token), place, port(3000))
            .await;
        let pass = admitted.unwrap().pass.unwrap().value;
        let visitor = Visitor {
            pass: Some(&pass),
            ..Visitor::default()
        };
        let by_pass = visit(&kit, visitor, place, 3000).await.unwrap();
        assert_eq!(by_pass, Credential::Pass);
        assert!(is_unknown(visit(&kit, visitor, place, 3001).await));
        kit.clock.advance(Duration::from_hours(1));
        assert!(is_unknown(visit(&kit, visitor, place, 3000).await));
        assert!(visit(&kit, with_token(&token), place, 3000).await.is_ok());
    }
    // Who may not see it is not told whether there is one.
    assert!(is_unknown(
        visit(&kit, Visitor::default(), "none", 3000).await
    ));
    let missing = visit(&kit, key, "none", 3000).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_public_sandbox_is_public_but_for_what_runs_programs() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    kit.control
        .set_public(&kit.caller, "box", true)
        .await
        .unwrap();
    let by = visit(&kit, Visitor::default(), "box", 3000).await.unwrap();
    assert_eq!(by, Credential::Public);
    for reserved in [2280, 22222, 33333] {
        assert!(is_unknown(
            visit(&kit, Visitor::default(), "box", reserved).await
        ));
    }
    // A key of ours is known as such on a public port too, so that it is not sent on.
    let bearer = |bearer| Visitor {
        bearer: Some(bearer),
        ..Visitor::default()
    };
    let admit = async |visitor| {
        kit.control
            .admit_port(&visitor, "box", port(80))
            .await
            .unwrap()
    };
    assert!(admit(bearer(kit.key.as_str())).await.has_our_bearer);
    assert!(!admit(bearer("of-the-program")).await.has_our_bearer);
    kit.control
        .set_public(&kit.caller, "box", false)
        .await
        .unwrap();
    assert!(is_unknown(
        visit(&kit, Visitor::default(), "box", 3000).await
    ));
}

#[tokio::test]
async fn a_token_opens_no_more_than_its_receiver_was_allowed() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let caller = reader(&kit, &[]);
    let (_, ports) = kit.control.preview_token(&caller, "box").unwrap();
    let (_, all) = kit.control.preview_token(&kit.caller, "box").unwrap();
    assert!(visit(&kit, with_token(&ports), "box", 3000).await.is_ok());
    for number in [2280, 22222, 33333] {
        assert!(is_unknown(
            visit(&kit, with_token(&ports), "box", number).await
        ));
        assert!(visit(&kit, with_token(&all), "box", number).await.is_ok());
        let signed = kit.control.sign_preview(&caller, "box", port(number), None);
        assert!(matches!(signed, Err(Error::Forbidden { .. })));
    }
    let toolbox = async |visitor| kit.control.admit_toolbox(&visitor, "box").await;
    assert!(is_unknown(toolbox(with_token(&ports)).await));
    assert!(toolbox(with_token(&all)).await.is_ok());
    assert!(is_unknown(toolbox(Visitor::default()).await));
    // A token of one sandbox opens no other.
    make(&kit, "other").await;
    assert!(is_unknown(
        visit(&kit, with_token(&all), "other", 3000).await
    ));
}

#[tokio::test]
async fn a_signed_url_is_good_for_its_port_and_its_time_and_survives_a_restart() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let sign = |kit: &TestControl, seconds| {
        kit.control
            .sign_preview(&kit.caller, "box", port(3000), Some(seconds))
    };
    for seconds in [0, -1, 86_401] {
        assert!(matches!(sign(&kit, seconds), Err(Error::Invalid { .. })));
    }
    let short = sign(&kit, 60).unwrap().label;
    let long = sign(&kit, 86_400).unwrap().label;
    let ended = sign(&kit, 86_400 - 1).unwrap().label;
    let end = kit
        .control
        .end_preview(&kit.caller, "box", port(3000), &ended);
    end.await.unwrap();

    let kit = kit.restart().await;
    let nobody = Visitor::default();
    assert_eq!(
        visit(&kit, nobody, &short, 3000).await.unwrap(),
        Credential::Label
    );
    assert!(is_unknown(visit(&kit, nobody, &short, 3001).await));
    assert!(is_unknown(visit(&kit, nobody, &ended, 3000).await));
    kit.clock.advance(Duration::from_mins(1));
    assert!(is_unknown(visit(&kit, nobody, &short, 3000).await));
    assert!(visit(&kit, nobody, &long, 3000).await.is_ok());
}

#[tokio::test]
async fn a_signed_url_is_ended_by_its_own_sandbox_alone() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    make(&kit, "other").await;
    let signed = kit.control.sign_preview(&kit.caller, "box", port(80), None);
    let label = signed.unwrap().label;
    let end = async |sandbox, number, label| {
        let caller = &kit.caller;
        kit.control
            .end_preview(caller, sandbox, port(number), label)
            .await
    };
    for refused in [
        end("other", 80, label.as_str()).await,
        end("box", 81, &label).await,
        end("box", 80, "guess").await,
    ] {
        assert!(
            matches!(refused, Err(Error::NotFound { .. })),
            "{refused:?}"
        );
    }
    assert!(visit(&kit, Visitor::default(), &label, 80).await.is_ok());
    // Twice is the same as once.
    end("box", 80, &label).await.unwrap();
    end("box", 80, &label).await.unwrap();
    assert!(is_unknown(
        visit(&kit, Visitor::default(), &label, 80).await
    ));
}

#[tokio::test]
async fn what_a_visitor_was_told_is_true_no_longer_than_it_is() {
    let kit = TestControl::open().await;
    // A proxy that remembered an unknown name, or who is public, would be wrong in each of these steps.
    let anonymous = async || visit(&kit, Visitor::default(), "box", 80).await;
    assert!(is_unknown(anonymous().await));
    make(&kit, "box").await;
    assert!(is_unknown(anonymous().await));
    for is_public in [true, false, true] {
        let turned = kit.control.set_public(&kit.caller, "box", is_public);
        turned.await.unwrap();
        assert_eq!(anonymous().await.is_ok(), is_public);
    }
    let deleted = kit.control.delete_sandbox(&kit.caller, "box");
    deleted.await.unwrap();
    assert!(is_unknown(anonymous().await));
}

#[tokio::test]
async fn a_visitor_with_a_credential_starts_a_stopped_sandbox_where_the_operator_lets_it() {
    let mut store = TestStore::default();
    store.settings.visitors_start = true;
    let kit = store.open().await;
    let id: SandboxId = make(&kit, "box").await.id.clone();
    let (_, token) = kit.control.preview_token(&kit.caller, "box").unwrap();
    let stop = async || {
        let stopped = kit.control.stop_sandbox(&kit.caller, "box", false);
        stopped.await.unwrap();
    };
    stop().await;
    // Everybody who knows its name might otherwise start a public one.
    let is_public = kit.control.set_public(&kit.caller, "box", true);
    is_public.await.unwrap();
    let anonymous = visit(&kit, Visitor::default(), id.as_str(), 80).await;
    assert_eq!(anonymous.unwrap_err().code(), "SANDBOX_NOT_STARTED");
    let is_private = kit.control.set_public(&kit.caller, "box", false);
    is_private.await.unwrap();
    assert!(is_unknown(
        visit(&kit, with_token("guess"), id.as_str(), 80).await
    ));
    assert_eq!(state(&kit, &id).await, Some(SandboxState::Stopped));

    // Several at once are one start.
    let (one, two) = tokio::join!(
        visit(&kit, with_token(&token), id.as_str(), 80),
        visit(&kit, with_token(&token), id.as_str(), 81),
    );
    assert_eq!(
        (one.unwrap(), two.unwrap()),
        (Credential::PreviewToken, Credential::PreviewToken)
    );
    stop().await;
    let signed = kit.control.sign_preview(&kit.caller, "box", port(80), None);
    let label = signed.unwrap().label;
    let by_label = visit(&kit, Visitor::default(), &label, 80).await;
    assert_eq!(by_label.unwrap(), Credential::Label);
}

#[tokio::test]
async fn a_sandbox_that_does_not_run_is_named_to_those_who_may_see_it() {
    let kit = TestControl::open().await;
    let id: SandboxId = make(&kit, "box").await.id.clone();
    let (_, token) = kit.control.preview_token(&kit.caller, "box").unwrap();
    let signed = kit.control.sign_preview(&kit.caller, "box", port(80), None);
    let label = signed.unwrap().label;
    kit.control
        .stop_sandbox(&kit.caller, "box", false)
        .await
        .unwrap();
    for outcome in [
        visit(&kit, with_token(&token), id.as_str(), 80).await,
        visit(&kit, Visitor::default(), &label, 80).await,
    ] {
        assert_eq!(outcome.unwrap_err().code(), "SANDBOX_NOT_STARTED");
    }
    assert!(is_unknown(
        visit(&kit, Visitor::default(), id.as_str(), 80).await
    ));
    kit.control
        .delete_sandbox(&kit.caller, "box")
        .await
        .unwrap();
    vanishes(&kit, &id).await;
    assert!(is_unknown(
        visit(&kit, with_token(&token), id.as_str(), 80).await
    ));
    assert!(is_unknown(
        visit(&kit, Visitor::default(), &label, 80).await
    ));
}
