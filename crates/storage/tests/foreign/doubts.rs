//! Objects that did come into the bucket though nobody heard so, or did not though it seemed so: what an owner has is
//! counted as the bucket has it.

use std::time::{Duration, Instant};

use alcove_storage::{ObjectStore as _, PutOptions, StorageError, body_of};

use crate::support::{OtherStore, Ours, Passes, Way, key};

const IN_BUCKET: &str = "alcove/test/objects/contexts/=org/=new";

/// Two stores on one bucket: ours with a way that can be cut.
async fn start() -> (OtherStore, Way, Ours) {
    let other = OtherStore::start();
    let way = Way::to(&other.settings).await;
    let mut settings = other.settings.clone();
    settings.endpoint.clone_from(&way.endpoint);
    let ours = Ours::on(&settings).await;
    ours.put("org/old", "old").await;
    (other, way, ours)
}

/// What a process that starts now counts.
async fn recount(other: &OtherStore) -> u64 {
    let fresh = Ours::on(&other.settings).await;
    // Before a change, all is counted.
    assert!(!fresh.store.delete(&key("org/none")).await.unwrap());
    fresh.used()
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_object_whose_sender_goes_away_before_the_answer_counts() {
    let (mut other, way, ours) = start().await;
    way.set(Passes::HoldsAnswersToPuts);
    let store = ours.store.clone();
    let put = tokio::spawn(async move {
        let (key, options) = (key("org/new"), PutOptions::default());
        store.put(&key, body_of("newer"), options).await.map(drop)
    });
    eventually("the bucket has it", || {
        other.names().iter().any(|name| name == IN_BUCKET)
    })
    .await;
    put.abort();
    assert!(put.await.unwrap_err().is_cancelled());
    way.open();
    eventually("nothing is on its way", || ours.left("drafts") == 0).await;
    assert_eq!(ours.used(), 3 + 5);
    assert_eq!(recount(&other).await, 3 + 5);
    // Its count goes with it.
    assert!(ours.store.delete(&key("org/new")).await.unwrap());
    assert_eq!(ours.used(), 3);
}

#[tokio::test]
async fn an_object_of_which_only_the_answer_is_lost_is_there_and_is_acknowledged() {
    let (other, way, ours) = start().await;
    way.set(Passes::LosesAnswersToPuts);
    let put = ours.put("org/new", "newer").await;
    assert_eq!(put.size, 5);
    assert_eq!((ours.used(), recount(&other).await), (3 + 5, 3 + 5));
    assert_eq!(ours.bytes("org/new").await.unwrap(), b"newer");
}

#[tokio::test]
async fn an_object_that_came_before_the_store_went_away_counts() {
    let (mut other, way, ours) = start().await;
    way.set(Passes::HoldsAnswersToPuts);
    let (path, options) = (key("org/new"), PutOptions::default());
    let put = ours.store.put(&path, body_of("newer"), options);
    let cut = async {
        eventually("the bucket has it", || {
            other.names().iter().any(|name| name == IN_BUCKET)
        })
        .await;
        way.close();
    };
    let (put, ()) = tokio::join!(put, cut);
    assert!(matches!(put, Err(StorageError::Foreign { .. })), "{put:?}");
    way.open();
    assert_eq!((ours.used(), recount(&other).await), (3 + 5, 3 + 5));
    ours.put("org/third", "third").await;
    assert_eq!((ours.used(), recount(&other).await), (13, 13));
}

#[tokio::test]
async fn an_object_that_did_not_come_counts_no_more_at_the_next_change() {
    let (other, way, ours) = start().await;
    for path in ["org/new", "org/old"] {
        way.set(Passes::EndsAtPut);
        let (path, options) = (key(path), PutOptions::default());
        let put = ours.store.put(&path, body_of("newer"), options).await;
        assert!(matches!(put, Err(StorageError::Foreign { .. })), "{put:?}");
        way.open();
        assert!(!ours.store.delete(&key("org/none")).await.unwrap());
        assert_eq!((ours.used(), recount(&other).await), (3, 3), "{path:?}");
    }
}
