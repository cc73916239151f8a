//! Listeners that come back, and listeners whose key ends.

use std::time::Duration;

use alcove_control::{Clock as _, ResumedEvents};
use alcove_domain::{ApiKey, ApiKeyHash};
use alcove_testkit::{TestControl, eventually, within};
use futures_util::{FutureExt as _, StreamExt as _};
use sha2::{Digest as _, Sha256};

use crate::support::*;

async fn resume(kit: &TestControl, cursor: i64) -> ResumedEvents {
    let organization = &kit.caller.organization;
    let resumed = kit.control.resume_events(organization, Some(cursor));
    resumed.await.unwrap()
}

/// Sequences of the events that are there already, up to `last`.
async fn sequences(resumed: &mut ResumedEvents, last: i64) -> Vec<i64> {
    let mut sequences = Vec::new();
    while sequences.last().is_none_or(|sequence| *sequence < last) {
        let event = within("an event", resumed.stream.next()).await.unwrap();
        sequences.push(event.sequence);
    }
    sequences
}

#[tokio::test]
async fn who_comes_back_gets_what_came_meanwhile_and_then_what_comes() {
    let kit = TestControl::open().await;
    make(&kit, "one").await;
    let reader = kit.store.reader();
    let before = reader.outbox_last_sequence().await.unwrap();
    make(&kit, "two").await;
    let middle = reader.outbox_last_sequence().await.unwrap();
    let mut resumed = resume(&kit, before).await;
    assert_eq!((resumed.after, resumed.has_gap), (before, false));
    make(&kit, "three").await;
    let last = reader.outbox_last_sequence().await.unwrap();
    let expected: Vec<i64> = (before + 1..=last).collect();
    assert_eq!(sequences(&mut resumed, last).await, expected);

    // Who names no place begins now.
    let from_now = kit.control.resume_events(&kit.caller.organization, None);
    let mut from_now = from_now.await.unwrap();
    assert_eq!((from_now.after, from_now.has_gap), (last, false));
    assert!(from_now.stream.next().now_or_never().is_none());
    assert!(middle > before);
}

#[tokio::test]
async fn nobody_gets_the_past_of_another_organization() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let other = "other".parse().unwrap();
    let mut resumed = kit.control.resume_events(&other, Some(0)).await.unwrap();
    make(&kit, "two").await;
    assert!(resumed.stream.next().now_or_never().is_none());
}

#[tokio::test]
async fn a_gap_is_told_where_the_past_is_gone_or_is_another_ones() {
    let kit = TestControl::open().await;
    make(&kit, "old").await;
    let reader = kit.store.reader();
    let old = reader.outbox_last_sequence().await.unwrap();
    kit.clock.advance_minutes(10);
    let tx = kit.store.begin().await.unwrap();
    let now = kit.clock.now();
    tx.outbox_prune(now, i64::MAX).await.unwrap();
    tx.commit().await.unwrap();
    // All is gone, and nothing came since.
    assert!(resume(&kit, old - 1).await.has_gap);
    assert!(!resume(&kit, old).await.has_gap);
    make(&kit, "new").await;
    let last = reader.outbox_last_sequence().await.unwrap();
    let mut resumed = resume(&kit, old - 1).await;
    assert_eq!((resumed.after, resumed.has_gap), (old, true));
    let expected: Vec<i64> = (old + 1..=last).collect();
    assert_eq!(sequences(&mut resumed, last).await, expected);
    assert!(!resume(&kit, old).await.has_gap);
    // Of another database.
    assert!(resume(&kit, last + 100).await.has_gap);
    assert!(resume(&kit, -1).await.has_gap);
}

#[tokio::test]
async fn a_key_ends_when_it_is_revoked_and_when_it_expires() {
    let kit = TestControl::open().await;
    let text = "dtn_of_a_guest";
    let key = ApiKey {
        hash: ApiKeyHash(Sha256::digest(text).into()),
        name: "guest".to_owned(),
        expires_at: kit.clock.now().checked_add(Duration::from_mins(5)).ok(),
        ..kit.control.current_api_key(&kit.caller).await.unwrap()
    };
    let tx = kit.store.begin().await.unwrap();
    tx.api_key_replace(&key).await.unwrap();
    tx.commit().await.unwrap();
    let guest = kit.control.authenticate(text).await.unwrap();

    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let mut revoked = tokio::spawn(async move { control.key_ended(&caller).await });
    let control = kit.control.clone();
    let expired = tokio::spawn(async move { control.key_ended(&guest).await });
    kit.clock.advance_minutes(4);
    tokio::task::yield_now().await;
    assert!(!expired.is_finished() && !revoked.is_finished());
    // Time passes until all who sleep by it have seen it.
    eventually("the end of the key", async || {
        kit.clock.advance_minutes(1);
        expired.is_finished()
    })
    .await;
    assert!((&mut revoked).now_or_never().is_none());
    kit.control.bootstrap("dtn_another").await.unwrap();
    within("the end of a revoked key", revoked).await.unwrap();
}
