//! What is not taken.

use alcove_storage::{Limits, ObjectStore as _, PutOptions, StorageError, body_of};

use crate::support::{TestFolder, key};

async fn put(test: &TestFolder, path: &str, bytes: usize) -> Result<(), StorageError> {
    let body = body_of(vec![0; bytes]);
    test.store
        .put(&key(path), body, PutOptions::default())
        .await
        .map(|_| ())
}

#[tokio::test]
async fn an_object_has_a_largest_size() {
    let test = TestFolder::with_limits(Limits {
        object_bytes: 1000,
        ..Limits::default()
    })
    .await;
    put(&test, "org/a", 1000).await.unwrap();
    let refused = put(&test, "org/b", 1001).await;
    assert!(matches!(refused, Err(StorageError::TooLarge { max: 1000 })));
    let options = PutOptions {
        max_bytes: Some(10),
        ..PutOptions::default()
    };
    let b = key("org/b");
    let refused = test.store.put(&b, body_of(vec![0; 11]), options);
    assert!(matches!(
        refused.await,
        Err(StorageError::TooLarge { max: 10 })
    ));
    assert_eq!(test.used(), 1000);
}

#[tokio::test]
async fn an_owner_has_a_sum_of_bytes_and_others_have_theirs() {
    let test = TestFolder::with_limits(Limits {
        bytes_per_owner: 1000,
        ..Limits::default()
    })
    .await;
    put(&test, "org/a", 600).await.unwrap();
    let refused = put(&test, "org/b", 401).await;
    assert!(matches!(
        refused,
        Err(StorageError::OverQuota { max: 1000 })
    ));
    put(&test, "org/b", 400).await.unwrap();
    assert_eq!(test.used(), 1000);
    put(&test, "other/a", 1000).await.unwrap();
    // What is deleted is free again, across a restart too.
    test.store.delete(&key("org/a")).await.unwrap();
    let test = test.reopen().await;
    assert!(put(&test, "org/c", 601).await.is_err());
    put(&test, "org/c", 600).await.unwrap();
}

#[tokio::test]
async fn an_object_is_replaced_by_one_of_another_size() {
    let test = TestFolder::open().await;
    put(&test, "org/a", 600).await.unwrap();
    put(&test, "org/a", 700).await.unwrap();
    assert_eq!(test.used(), 700);
    put(&test, "org/a", 1).await.unwrap();
    assert_eq!(test.used(), 1);
}

#[tokio::test]
async fn an_owner_has_a_number_of_objects() {
    let test = TestFolder::with_limits(Limits {
        objects_per_owner: 2,
        ..Limits::default()
    })
    .await;
    put(&test, "org/a", 1).await.unwrap();
    put(&test, "org/b", 1).await.unwrap();
    assert!(matches!(
        put(&test, "org/c", 1).await,
        Err(StorageError::TooMany { max: 2 })
    ));
    put(&test, "org/b", 2).await.unwrap();
    assert_eq!(test.used(), 3);
    assert!(test.left("drafts").is_empty());
}

#[tokio::test]
async fn the_host_keeps_some_of_its_disk() {
    let test = TestFolder::with_limits(Limits {
        disk_reserve_bytes: u64::MAX,
        ..Limits::default()
    })
    .await;
    assert!(matches!(
        put(&test, "org/a", 1).await,
        Err(StorageError::DiskFull)
    ));
    assert_eq!(test.used(), 0);
}
