use std::time::Duration;

use alcove_domain::webhook::{Disabled, Outcome};
use alcove_domain::{
    WebhookAttempt, WebhookEndpoint, WebhookEndpointId, WebhookEvent, WebhookMessage, WebhookUrl,
};
use alcove_store::{SealedEndpoint, Store};
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    an_endpoint_is_kept_with_its_secrets,
    a_queue_gives_its_messages_in_order_and_keeps_what_became_of_them,
    what_was_missed_is_found_again,
    old_messages_go_with_all_that_is_known_of_them,
}

fn endpoint(number: u128) -> SealedEndpoint {
    SealedEndpoint {
        endpoint: WebhookEndpoint {
            id: WebhookEndpointId::from_uuid(Uuid::from_u128(number)),
            organization_id: org(),
            url: WebhookUrl::parse("https://a.com/b").unwrap(),
            description: "d\u{e9}".to_owned(),
            events: vec![WebhookEvent::SandboxCreated, WebhookEvent::VolumeCreated],
            disabled: None,
            created_at: at(5),
            updated_at: at(6),
        },
        secret: vec![0, 1, 255],
        old_secret: None,
        after: 7,
    }
}

fn message(number: u32, event: WebhookEvent, second: i64) -> WebhookMessage {
    WebhookMessage {
        id: format!("msg_{number}").parse().unwrap(),
        organization_id: org(),
        event,
        payload: format!("{{\"n\": {number}}}"),
        created_at: at(second),
    }
}

/// Two endpoints, and three messages for the first.
async fn filled(place: &Place) -> (Store, WebhookEndpointId, WebhookEndpointId) {
    let store = place.open().await;
    let (first, second) = (endpoint(1), endpoint(2));
    let ids = (first.endpoint.id.clone(), second.endpoint.id.clone());
    let tx = store.begin().await.unwrap();
    tx.webhook_endpoint_insert(&first).await.unwrap();
    tx.webhook_endpoint_insert(&second).await.unwrap();
    for (number, event) in [
        (1, WebhookEvent::SandboxCreated),
        (2, WebhookEvent::VolumeCreated),
        (3, WebhookEvent::SandboxError),
    ] {
        let message = message(number, event, 10 * i64::from(number));
        tx.webhook_message_insert(&message, std::slice::from_ref(&ids.0))
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    (store, ids.0, ids.1)
}

async fn an_endpoint_is_kept_with_its_secrets(place: Place) {
    let org = org();
    let store = place.open().await;
    let (mut first, second) = (endpoint(1), endpoint(2));
    let tx = store.begin().await.unwrap();
    tx.webhook_application_put(&org, at(1)).await.unwrap();
    tx.webhook_application_put(&org, at(2)).await.unwrap();
    tx.webhook_endpoint_insert(&second).await.unwrap();
    tx.webhook_endpoint_insert(&first).await.unwrap();
    tx.webhook_cursor_set(4).await.unwrap();
    tx.webhook_cursor_set(9).await.unwrap();
    assert_eq!(tx.webhook_endpoint_count(&org).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let reader = store.reader();
    let application = reader.webhook_application_find(&org).await.unwrap();
    let application = application.unwrap();
    assert_eq!(
        (application.created_at, application.updated_at),
        (at(1), at(2))
    );
    assert_eq!(reader.webhook_cursor().await.unwrap(), Some(9));
    let listed = reader.webhook_endpoint_list(&org).await.unwrap();
    assert_eq!(listed, [first.clone(), second.clone()]);
    assert_eq!(
        reader.webhook_organizations().await.unwrap(),
        std::slice::from_ref(&org)
    );

    first.old_secret = Some((vec![3], at(99)));
    first.endpoint.events = Vec::new();
    first.endpoint.disabled = Some(Disabled {
        at: at(50),
        reason: "r".to_owned(),
    });
    let tx = store.begin().await.unwrap();
    assert!(tx.webhook_endpoint_update(&first).await.unwrap());
    let deleted = tx.webhook_endpoint_delete(&org, &second.endpoint.id);
    assert!(deleted.await.unwrap());
    assert!(!tx.webhook_endpoint_update(&second).await.unwrap());
    tx.commit().await.unwrap();
    let found = reader.webhook_endpoint_find(&first.endpoint.id).await;
    assert_eq!(found.unwrap(), Some(first));
}

async fn a_queue_gives_its_messages_in_order_and_keeps_what_became_of_them(place: Place) {
    let (store, first, second) = filled(&place).await;
    let reader = store.reader();
    let pending = reader.webhook_endpoint_list_pending().await.unwrap();
    assert_eq!(pending, std::slice::from_ref(&first));
    assert_eq!(reader.webhook_next(&second).await.unwrap(), None);
    let next = reader.webhook_next(&first).await.unwrap().unwrap();
    assert_eq!(next.message, message(1, WebhookEvent::SandboxCreated, 10));
    assert_eq!((next.failures, next.next_at), (0, at(10)));

    let failed = Outcome::Failed {
        reason: "no".to_owned(),
    };
    let attempt = |number, outcome| WebhookAttempt {
        message_id: next.message.id.clone(),
        endpoint_id: first.clone(),
        number,
        at: at(60 + i64::from(number)),
        took: Duration::from_millis(42),
        outcome,
    };
    let tries = [
        attempt(1, failed),
        attempt(2, Outcome::Answered { status: 204 }),
    ];
    let tx = store.begin().await.unwrap();
    tx.webhook_attempt_insert(&org(), &tries[0]).await.unwrap();
    tx.webhook_again(&first, next.sequence, 1, at(70))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let same = reader.webhook_next(&first).await.unwrap().unwrap();
    assert_eq!((same.failures, same.next_at), (1, at(70)));
    let tx = store.begin().await.unwrap();
    tx.webhook_hurry(&org(), at(65)).await.unwrap();
    tx.commit().await.unwrap();
    let same = reader.webhook_next(&first).await.unwrap().unwrap();
    assert_eq!((same.failures, same.next_at), (1, at(65)));
    let tx = store.begin().await.unwrap();
    tx.webhook_attempt_insert(&org(), &tries[1]).await.unwrap();
    tx.webhook_delivered(&first, next.sequence).await.unwrap();
    tx.commit().await.unwrap();
    let behind = reader.webhook_next(&first).await.unwrap().unwrap();
    assert_eq!(behind.message.id.as_str(), "msg_2");
    assert_eq!(reader.webhook_pending_count(&first).await.unwrap(), 2);
    let [older, newer] = tries;
    let wanted = [newer, older];
    let of_message = reader.webhook_attempt_list(&next.message.id, 9).await;
    assert_eq!(of_message.unwrap(), wanted);
    let at_endpoint = reader.webhook_attempt_list_at(&first, 1).await.unwrap();
    assert_eq!(at_endpoint, wanted[..1]);
    let listed = reader.webhook_message_list(&org(), 2).await.unwrap();
    let ids: Vec<&str> = listed.iter().map(|message| message.id.as_str()).collect();
    assert_eq!(ids, ["msg_3", "msg_2"]);
}

async fn what_was_missed_is_found_again(place: Place) {
    let org = org();
    let (store, first, second) = filled(&place).await;
    let reader = store.reader();
    let wanted = [WebhookEvent::SandboxCreated, WebhookEvent::VolumeCreated];
    let next = reader.webhook_next(&first).await.unwrap().unwrap();
    let tx = store.begin().await.unwrap();
    tx.webhook_delivered(&first, next.sequence).await.unwrap();
    tx.webhook_give_up(&first).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(reader.webhook_next(&first).await.unwrap(), None);
    let tx = store.begin().await.unwrap();
    let replay = async |endpoint, since, limit| {
        let bound = (at(80), limit);
        let count = tx.webhook_replay_since(&org, endpoint, &wanted, at(since), bound);
        count.await.unwrap()
    };
    // The first has the one, and does not want the other.
    assert_eq!(replay(&first, 0, 9).await, 1);
    assert_eq!(replay(&first, 0, 9).await, 0);
    assert_eq!(replay(&second, 15, 9).await, 1);
    assert_eq!(replay(&second, 0, 1).await, 1);
    let message = next.message.id;
    let again = tx.webhook_replay_message(&org, &first, &message, at(90));
    assert!(again.await.unwrap());
    let unknown = "msg_x".parse().unwrap();
    let none = tx.webhook_replay_message(&org, &first, &unknown, at(90));
    assert!(!none.await.unwrap());
    tx.commit().await.unwrap();
    let next = reader.webhook_next(&first).await.unwrap().unwrap();
    assert_eq!((next.message.id, next.next_at), (message, at(90)));
    assert_eq!(reader.webhook_pending_count(&first).await.unwrap(), 2);
    assert_eq!(reader.webhook_pending_count(&second).await.unwrap(), 2);
}

async fn old_messages_go_with_all_that_is_known_of_them(place: Place) {
    let (store, first, _) = filled(&place).await;
    let reader = store.reader();
    let tx = store.begin().await.unwrap();
    tx.webhook_prune(at(25), 100).await.unwrap();
    tx.commit().await.unwrap();
    let left = reader.webhook_message_list(&org(), 9).await.unwrap();
    assert_eq!(left, [message(3, WebhookEvent::SandboxError, 30)]);
    assert_eq!(reader.webhook_pending_count(&first).await.unwrap(), 1);
    let tx = store.begin().await.unwrap();
    assert!(tx.webhook_message_is_there(&left[0].id).await.unwrap());
    tx.webhook_endpoint_delete(&org(), &first).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(reader.webhook_pending_count(&first).await.unwrap(), 0);
    assert!(reader.webhook_organizations().await.unwrap().len() == 1);
}
