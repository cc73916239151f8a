//! A commit whose answer is lost.

use alcove_store::StoreError;
use alcove_testkit::{LossyPostgres, within};

use crate::support::Place;

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_in_doubt_and_nothing_is_written_after_it() {
    let Place::Postgres(url) = Place::postgres().await else {
        panic!("it is PostgreSQL");
    };
    let lossy = LossyPostgres::start(&url);
    let place = Place::Postgres(lossy.url().to_owned());
    let store = place.open().await;
    let tx = store.begin().await.unwrap();
    tx.secret_put("first", b"1").await.unwrap();
    tx.commit().await.unwrap();

    let tx = store.begin().await.unwrap();
    tx.secret_put("second", b"2").await.unwrap();
    lossy.lose_next_commit();
    let lost = within("the end of the connection", tx.commit()).await;
    assert!(matches!(lost, Err(StoreError::InDoubt { .. })), "{lost:?}");
    assert!(store.is_in_doubt());
    within("all are told", store.in_doubt()).await;
    // Clones are the same store.
    let refused = store.clone().begin().await;
    assert!(
        matches!(refused, Err(StoreError::Stopped)),
        "{:?}",
        refused.err()
    );
    drop(store);

    // This one was written, as another might not have been. The next process begins with what is there.
    let store = place.open().await;
    let found = store.begin().await.unwrap().secret_find("second").await;
    assert_eq!(found.unwrap().as_deref(), Some(b"2".as_slice()));
    assert!(!store.is_in_doubt());
}

#[tokio::test]
async fn a_connection_that_ends_before_the_commit_leaves_no_doubt() {
    let place = Place::postgres().await;
    let store = place.open().await;
    let tx = store.begin().await.unwrap();
    place
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    let refused = tx.secret_put("first", b"1").await;
    assert!(
        matches!(refused, Err(StoreError::Write { .. })),
        "{refused:?}"
    );
    drop(tx);
    assert!(!store.is_in_doubt());
    let tx = within("another connection", store.begin()).await.unwrap();
    tx.secret_put("first", b"1").await.unwrap();
    tx.commit().await.unwrap();
}
