//! Webhooks, at endpoints that the test plays.

use std::time::Duration;

use alcove_control::{Error, Replay, WebhookManager};
use alcove_domain::{EndpointRequest, WebhookEndpoint};
use alcove_testkit::{TestControl, eventually};

use crate::support::*;

const A: &str = "https://a.example.com/";
const B: &str = "https://b.example.com/";

pub(crate) fn manager(kit: &TestControl) -> WebhookManager {
    let caller = &kit.caller;
    kit.control.webhook_manager(caller, org(caller)).unwrap()
}

fn asked(url: &str, events: &[&str]) -> EndpointRequest {
    EndpointRequest {
        url: Some(url.to_owned()),
        events: Some(words(events)),
        ..EndpointRequest::default()
    }
}

/// An endpoint that is told of new volumes only, which have one event each.
async fn endpoint(kit: &TestControl, url: &str) -> WebhookEndpoint {
    let request = asked(url, &["volume.created", "webhook.endpoint.disabled"]);
    let made = kit.control.create_endpoint(&manager(kit), request).await;
    made.unwrap().endpoint
}

async fn volume(kit: &TestControl, name: &str) {
    let made = kit
        .control
        .create_volume(&kit.caller, Some(name.to_owned()))
        .await;
    made.unwrap();
}

/// Lets every worker look at the clock. One that had just looked when the test moved it would sleep on.
async fn poke(kit: &TestControl) {
    let who = manager(kit);
    for endpoint in kit.control.list_endpoints(&who).await.unwrap() {
        let same = EndpointRequest::default();
        let id = endpoint.id.as_str();
        kit.control.update_endpoint(&who, id, same).await.unwrap();
    }
}

async fn comes(kit: &TestControl, url: &str, bodies: &[&str]) {
    eventually(&format!("{bodies:?} at {url}"), async || {
        poke(kit).await;
        kit.webhooks.bodies(url).len() >= bodies.len()
    })
    .await;
    assert_eq!(kit.webhooks.bodies(url), bodies);
}

async fn attempts(kit: &TestControl, id: &str) -> usize {
    let found = kit.control.list_endpoint_attempts(&manager(kit), id).await;
    found.unwrap().len()
}

/// Waits until so many tries are written down.
async fn tried(kit: &TestControl, endpoint: &WebhookEndpoint, count: usize) {
    eventually(&format!("{count} tries"), async || {
        poke(kit).await;
        attempts(kit, endpoint.id.as_str()).await >= count
    })
    .await;
}

async fn shown(kit: &TestControl, endpoint: &WebhookEndpoint) -> WebhookEndpoint {
    let who = manager(kit);
    let found = kit.control.get_endpoint(&who, endpoint.id.as_str()).await;
    found.unwrap()
}

async fn change(kit: &TestControl, endpoint: &WebhookEndpoint, is_disabled: bool) {
    let request = EndpointRequest {
        is_disabled: Some(is_disabled),
        ..EndpointRequest::default()
    };
    let id = endpoint.id.as_str();
    let who = manager(kit);
    let changed = kit.control.update_endpoint(&who, id, request).await;
    changed.unwrap();
}

#[tokio::test]
async fn an_endpoint_is_told_in_order_of_what_it_wants_and_only_from_its_creation_on() {
    let kit = TestControl::open().await;
    volume(&kit, "before").await;
    let made = endpoint(&kit, A).await;
    let names = ["v1", "v2", "v3", "v4", "v5"];
    for name in names {
        volume(&kit, name).await;
    }
    comes(&kit, A, &names).await;
    tried(&kit, &made, 5).await;
    let messages = kit.control.list_webhook_messages(&manager(&kit)).await;
    // What it did not want is kept too, for endpoints that are told of more; what was before it is not.
    let messages = messages.unwrap();
    assert!(messages.iter().all(|message| message.payload != "before"));
}

#[tokio::test]
async fn an_endpoint_that_fails_is_tried_again_with_growing_gaps_while_what_is_behind_waits() {
    let kit = TestControl::open().await;
    kit.webhooks.answer(A, 500);
    let made = endpoint(&kit, A).await;
    volume(&kit, "v1").await;
    volume(&kit, "v2").await;
    tried(&kit, &made, 1).await;
    kit.clock.advance(Duration::from_secs(5));
    tried(&kit, &made, 2).await;
    // The second gap is longer than the first.
    kit.clock.advance(Duration::from_secs(6));
    assert_eq!(kit.webhooks.bodies(A), ["v1", "v1"]);
    kit.webhooks.answer(A, 204);
    kit.clock.advance(Duration::from_mins(5));
    comes(&kit, A, &["v1", "v1", "v1", "v2"]).await;
    let sent = kit.webhooks.sent();
    assert!(sent[..3].iter().all(|it| it.id == sent[0].id));
    assert_ne!(sent[3].id, sent[0].id);
    tried(&kit, &made, 4).await;
    let (who, id) = (manager(&kit), made.id.as_str());
    let found = kit.control.list_endpoint_attempts(&who, id);
    let seen: Vec<_> = found
        .await
        .unwrap()
        .iter()
        .map(|attempt| (attempt.number, attempt.outcome.status()))
        .collect();
    let wanted = [
        (1, Some(204)),
        (3, Some(204)),
        (2, Some(500)),
        (1, Some(500)),
    ];
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn gaps_outlast_a_restart() {
    let kit = TestControl::open().await;
    kit.webhooks.answer(A, 500);
    let made = endpoint(&kit, A).await;
    volume(&kit, "v1").await;
    tried(&kit, &made, 1).await;
    kit.clock.advance(Duration::from_secs(5));
    tried(&kit, &made, 2).await;
    let kit = kit.restart().await;
    kit.webhooks.answer(A, 200);
    kit.clock.advance(Duration::from_mins(4));
    // A message for another endpoint shows that the server is at work.
    endpoint(&kit, B).await;
    volume(&kit, "v2").await;
    comes(&kit, B, &["v2"]).await;
    assert_eq!(kit.webhooks.bodies(A), ["v1", "v1"]);
    kit.clock.advance(Duration::from_mins(1));
    comes(&kit, A, &["v1", "v1", "v1", "v2"]).await;
}

#[tokio::test]
async fn a_server_that_is_killed_before_it_notes_a_delivery_sends_the_same_again() {
    let kit = TestControl::open().await;
    let made = endpoint(&kit, A).await;
    kit.webhooks.hold(&[A]);
    volume(&kit, "v1").await;
    volume(&kit, "v2").await;
    comes(&kit, A, &["v1"]).await;
    let kit = kit.restart().await;
    kit.webhooks.hold(&[]);
    comes(&kit, A, &["v1", "v1", "v2"]).await;
    let sent = kit.webhooks.sent();
    assert_eq!(sent[0].id, sent[1].id);
    // And then it is done with: nothing comes after the next start.
    tried(&kit, &made, 2).await;
    let kit = kit.restart().await;
    volume(&kit, "v3").await;
    comes(&kit, A, &["v1", "v1", "v2", "v3"]).await;
}

#[tokio::test]
async fn what_was_written_while_nobody_spread_it_is_sent_after_the_start() {
    let kit = TestControl::open().await;
    endpoint(&kit, A).await;
    volume(&kit, "v1").await;
    // Killed as soon as the volume is written, whether its message is or not, or has been sent already.
    let kit = kit.restart().await;
    volume(&kit, "v2").await;
    eventually("the message behind it", async || {
        kit.webhooks.bodies(A).contains(&"v2".to_owned())
    })
    .await;
    let sent = kit.webhooks.sent();
    let firsts = sent.iter().take_while(|it| it.body == "v1");
    let ids: Vec<&str> = firsts.map(|it| it.id.as_str()).collect();
    assert!(!ids.is_empty(), "{sent:?}");
    assert!(ids.iter().all(|id| *id == ids[0]), "{sent:?}");
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_holds_up_no_other() {
    let kit = TestControl::open().await;
    endpoint(&kit, A).await;
    endpoint(&kit, B).await;
    kit.webhooks.hold(&[A]);
    for name in ["v1", "v2", "v3"] {
        volume(&kit, name).await;
    }
    comes(&kit, B, &["v1", "v2", "v3"]).await;
    assert_eq!(kit.webhooks.bodies(A), ["v1"]);
    kit.webhooks.hold(&[]);
    comes(&kit, A, &["v1", "v2", "v3"]).await;
}

#[tokio::test]
async fn an_endpoint_that_fails_for_more_than_a_day_is_disabled_and_the_others_are_told() {
    let kit = TestControl::open().await;
    kit.webhooks.answer(A, 500);
    let made = endpoint(&kit, A).await;
    endpoint(&kit, B).await;
    volume(&kit, "v1").await;
    volume(&kit, "v2").await;
    for count in 1..=7 {
        tried(&kit, &made, count).await;
        kit.clock.advance(Duration::from_hours(10));
    }
    tried(&kit, &made, 8).await;
    let disabled = shown(&kit, &made).await.disabled.unwrap();
    assert!(disabled.reason.contains("it answered 500"), "{disabled:?}");
    comes(&kit, B, &["v1", "v2", &format!("disabled {A}")]).await;
    let status = kit.control.webhook_status(&kit.caller, org(&kit.caller));
    assert_eq!(status.await.unwrap().last_error, Some(disabled.reason));
    // It is told nothing more, until it is enabled and asks for what it has missed.
    volume(&kit, "v3").await;
    comes(&kit, B, &["v1", "v2", &format!("disabled {A}"), "v3"]).await;
    assert_eq!(kit.webhooks.bodies(A).len(), 8);
    kit.webhooks.answer(A, 200);
    let (who, id) = (manager(&kit), made.id.as_str());
    let since = Replay::Since(made.created_at);
    let refused = kit.control.replay(&who, id, since.clone()).await;
    assert!(
        matches!(refused, Err(Error::Conflict { .. })),
        "{refused:?}"
    );
    change(&kit, &made, false).await;
    assert_eq!(
        kit.control.replay(&who, id, since.clone()).await.unwrap(),
        4
    );
    eventually("all that was missed", async || {
        poke(&kit).await;
        kit.webhooks.bodies(A).len() == 12
    })
    .await;
    let missed = &kit.webhooks.bodies(A)[8..];
    assert_eq!(missed, ["v1", "v2", &format!("disabled {A}"), "v3"]);
    // What has been delivered is not missed.
    tried(&kit, &made, 12).await;
    assert_eq!(kit.control.replay(&who, id, since).await.unwrap(), 0);
}

#[tokio::test]
async fn one_message_is_sent_again_by_its_id_whatever_became_of_it() {
    let kit = TestControl::open().await;
    let made = endpoint(&kit, A).await;
    volume(&kit, "v1").await;
    tried(&kit, &made, 1).await;
    let id = kit.webhooks.sent()[0].id.clone();
    let (who, endpoint) = (manager(&kit), made.id.as_str());
    let again = kit
        .control
        .replay(&who, endpoint, Replay::Message(id.clone()));
    assert_eq!(again.await.unwrap(), 1);
    comes(&kit, A, &["v1", "v1"]).await;
    assert_eq!(kit.webhooks.sent()[1].id, id);
    let unknown = Replay::Message("msg_unknown".to_owned());
    let refused = kit.control.replay(&who, endpoint, unknown).await;
    assert!(
        matches!(refused, Err(Error::NotFound { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_endpoint_that_is_changed_or_gone_gets_nothing_of_what_waited() {
    let kit = TestControl::open().await;
    kit.webhooks.answer(A, 503);
    kit.webhooks.answer(B, 503);
    let (first, second) = (endpoint(&kit, A).await, endpoint(&kit, B).await);
    volume(&kit, "v1").await;
    tried(&kit, &first, 1).await;
    tried(&kit, &second, 1).await;
    change(&kit, &first, true).await;
    let (who, id) = (manager(&kit), second.id.as_str());
    kit.control.delete_endpoint(&who, id).await.unwrap();
    let third = endpoint(&kit, "https://c.example.com/").await;
    kit.clock.advance_minutes(10);
    change(&kit, &first, false).await;
    volume(&kit, "v2").await;
    tried(&kit, &third, 1).await;
    tried(&kit, &first, 2).await;
    assert_eq!(kit.webhooks.bodies(A), ["v1", "v2"]);
    assert_eq!(kit.webhooks.bodies(B), ["v1"]);
}

#[tokio::test]
async fn only_owners_with_a_whole_key_manage_endpoints_and_only_their_own() {
    let kit = TestControl::open().await;
    let made = endpoint(&kit, A).await;
    let member = kit.add_member("ann", &[5]).await;
    forbidden(kit.control.webhook_manager(&member, org(&member)));
    let (stranger, _) = kit.add_stranger("eve").await;
    let theirs = kit
        .control
        .webhook_manager(&stranger, org(&stranger))
        .unwrap();
    let elsewhere = kit.control.webhook_manager(&stranger, org(&kit.caller));
    assert!(matches!(elsewhere, Err(Error::NotFound { .. })));
    let found = kit.control.get_endpoint(&theirs, made.id.as_str()).await;
    assert!(matches!(found, Err(Error::NotFound { .. })), "{found:?}");
    let admin = kit
        .control
        .webhook_manager_as_admin(&stranger, org(&kit.caller));
    forbidden(admin.await);
    // What happens in one organization is told to its own endpoints only.
    let request = asked(B, &["volume.created"]);
    kit.control.create_endpoint(&theirs, request).await.unwrap();
    volume(&kit, "v1").await;
    let name = Some("theirs".to_owned());
    kit.control.create_volume(&stranger, name).await.unwrap();
    comes(&kit, A, &["v1"]).await;
    comes(&kit, B, &["theirs"]).await;
}

#[tokio::test]
async fn a_token_of_the_page_is_good_for_its_organization_and_an_hour() {
    let kit = TestControl::open().await;
    let id = org(&kit.caller).to_owned();
    let token = kit.control.webhook_token(&manager(&kit)).0;
    let by_token = async |token: &str, id: &str| {
        let found = kit.control.webhook_manager_by_token(token, id).await;
        found.map(drop)
    };
    by_token(&token, &id).await.unwrap();
    let elsewhere = by_token(&token, "other").await;
    assert!(matches!(elsewhere, Err(Error::NotFound { .. })));
    let forged = by_token(&format!("{token}0"), &id).await;
    assert!(matches!(forged, Err(Error::Unauthenticated { .. })));
    kit.clock.advance_minutes(60);
    let late = by_token(&token, &id).await;
    assert!(matches!(late, Err(Error::Unauthenticated { .. })));
}

#[tokio::test]
async fn nothing_is_left_of_messages_and_tries_after_a_week() {
    let kit = TestControl::open().await;
    let made = endpoint(&kit, A).await;
    volume(&kit, "v1").await;
    tried(&kit, &made, 1).await;
    kit.clock.advance(Duration::from_hours(7 * 24));
    eventually("old messages are gone", async || {
        kit.clock.advance_minutes(1);
        let found = kit.control.list_webhook_messages(&manager(&kit)).await;
        found.unwrap().is_empty() && attempts(&kit, made.id.as_str()).await == 0
    })
    .await;
}
