//! What only one kind of database has.

use alcove_store::{Store, StoreError};
use alcove_testkit::Postgres;

use crate::support::*;

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alcove.db");
    let _store = Store::open(&path).await.unwrap();
    let refused = Store::open(&path).await;
    assert!(matches!(refused, Err(StoreError::Lock { .. })));
}

#[tokio::test]
async fn a_second_server_on_the_same_database_is_refused_until_the_first_is_gone() {
    let url = Postgres::new_database();
    let store = Store::connect(&url).await.unwrap();
    let refused = Store::connect(&url).await;
    assert!(matches!(refused, Err(StoreError::InUse)), "{refused:?}");
    // The first is none the worse for it.
    insert(&store, &sandbox(1, "box")).await.unwrap();
    store.close().await;
    let next = Store::connect(&url).await.unwrap();
    assert_eq!(next.reader().sandbox_list_live().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_told_without_its_password() {
    let refused = Store::connect("postgres://alcove:secret@127.0.0.1:1/none").await;
    let error = refused.unwrap_err();
    assert!(matches!(error, StoreError::Connect { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"));
}
