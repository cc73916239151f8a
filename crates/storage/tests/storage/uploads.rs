//! Uploads in parts.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use alcove_storage::{
    Key, Limits, ObjectStore as _, Part, PutOptions, StorageError, UploadId, body_of,
};

use crate::support::{TestFolder, key};

static A: LazyLock<Key> = LazyLock::new(|| key("org/a"));
static B: LazyLock<Key> = LazyLock::new(|| key("org/b"));

async fn begin(test: &TestFolder, path: &str) -> UploadId {
    let options = PutOptions {
        content_type: Some("text/plain".to_owned()),
        ..PutOptions::default()
    };
    test.store.upload_begin(&key(path), options).await.unwrap()
}

async fn part(test: &TestFolder, path: &str, id: &UploadId, number: u32, content: &str) -> Part {
    let body = body_of(content.to_owned());
    test.store
        .upload_part(&key(path), id, number, body, PutOptions::default())
        .await
        .unwrap()
}

async fn finish(
    test: &TestFolder,
    path: &str,
    id: &UploadId,
    parts: &[&Part],
) -> Result<alcove_storage::Object, StorageError> {
    let parts: Vec<(u32, [u8; 32])> = parts
        .iter()
        .map(|part| (part.number, part.object.sha256))
        .collect();
    test.store
        .upload_finish(&key(path), id, &key(path), &parts, PutOptions::default())
        .await
}

#[tokio::test]
async fn parts_of_any_order_become_an_object_across_a_restart() {
    let test = TestFolder::open().await;
    let id = begin(&test, "org/a").await;
    let third = part(&test, "org/a", &id, 30, "fghi").await;
    let first = part(&test, "org/a", &id, 1, "abc").await;
    part(&test, "org/a", &id, 2, "wrong").await;
    let test = test.reopen().await;
    let second = part(&test, "org/a", &id, 2, "de").await;
    assert_eq!(test.used(), 9);
    assert_eq!(test.text("org/a").await, None);
    let there = test.store.upload_parts(&A, &id).await.unwrap();
    assert_eq!(there, [first.clone(), second.clone(), third.clone()]);

    let whole = finish(&test, "org/a", &id, &[&first, &second, &third])
        .await
        .unwrap();
    assert_eq!(test.text("org/a").await.as_deref(), Some("abcdefghi"));
    assert_eq!(whole.content_type.as_deref(), Some("text/plain"));
    assert_eq!(whole.sha256, test.put("org/same", "abcdefghi").await.sha256);
    assert_eq!(test.used(), 18);
    assert!(test.left("uploads").is_empty());
    assert!(test.left("drafts").is_empty());
    let again = finish(&test, "org/a", &id, &[&first]).await;
    assert!(matches!(again, Err(StorageError::NoSuchUpload)));
}

#[tokio::test]
async fn a_part_that_is_not_the_named_one_stops_the_end_and_not_the_upload() {
    let test = TestFolder::open().await;
    let id = begin(&test, "org/a").await;
    let first = part(&test, "org/a", &id, 1, "abc").await;
    let second = part(&test, "org/a", &id, 2, "de").await;
    let mut other = second.clone();
    other.object.sha256 = [0; 32];
    let ended = finish(&test, "org/a", &id, &[&first, &other]).await;
    assert!(matches!(ended, Err(StorageError::BadPart { number: 2 })));
    let ended = finish(&test, "org/a", &id, &[&second, &first]).await;
    assert!(matches!(ended, Err(StorageError::PartOrder)));
    let ended = finish(&test, "org/a", &id, &[&first, &first]).await;
    assert!(matches!(ended, Err(StorageError::PartOrder)));
    assert_eq!(test.text("org/a").await, None);
    finish(&test, "org/a", &id, &[&first, &second])
        .await
        .unwrap();
    assert_eq!(test.text("org/a").await.as_deref(), Some("abcde"));
}

#[tokio::test]
async fn an_upload_is_known_under_its_own_key_only() {
    let test = TestFolder::open().await;
    let id = begin(&test, "org/a").await;
    let stranger = key("other/a");
    let (body, options) = (body_of("x"), PutOptions::default());
    let added = test
        .store
        .upload_part(&stranger, &id, 1, body, options.clone());
    assert!(matches!(added.await, Err(StorageError::NoSuchUpload)));
    let ended = test
        .store
        .upload_finish(&stranger, &id, &stranger, &[], options);
    assert!(matches!(ended.await, Err(StorageError::NoSuchUpload)));
    let aborted = test.store.upload_abort(&stranger, &id).await;
    assert!(matches!(aborted, Err(StorageError::NoSuchUpload)));
    let listed = test.store.upload_parts(&stranger, &id).await;
    assert!(matches!(listed, Err(StorageError::NoSuchUpload)));
    test.store.upload_abort(&A, &id).await.unwrap();
    for odd in ["", "..", "../drafts", "A".repeat(32).as_str()] {
        assert!(odd.parse::<UploadId>().is_err(), "{odd}");
    }
}

#[tokio::test]
async fn an_aborted_upload_is_gone_with_its_bytes() {
    let test = TestFolder::open().await;
    let id = begin(&test, "org/a").await;
    part(&test, "org/a", &id, 1, "abc").await;
    test.store.upload_abort(&A, &id).await.unwrap();
    assert_eq!(test.used(), 0);
    assert!(test.left("uploads").is_empty());
    assert!(test.left("drafts").is_empty());
    let (body, options) = (body_of("x"), PutOptions::default());
    let late = test.store.upload_part(&A, &id, 2, body, options);
    assert!(matches!(late.await, Err(StorageError::NoSuchUpload)));
}

#[tokio::test]
async fn uploads_that_nobody_adds_to_go() {
    let test = TestFolder::open().await;
    let old = begin(&test, "org/a").await;
    part(&test, "org/a", &old, 1, "abc").await;
    let past = SystemTime::UNIX_EPOCH;
    assert_eq!(test.store.remove_stale_uploads(past).await.unwrap(), 0);
    let future = std::fs::metadata(&test.left("uploads")[0])
        .unwrap()
        .modified()
        .unwrap()
        + Duration::from_mins(1);
    assert_eq!(test.store.remove_stale_uploads(future).await.unwrap(), 1);
    assert_eq!(test.used(), 0);
    assert!(test.left("uploads").is_empty());
}

#[tokio::test]
async fn an_owner_has_a_number_of_open_uploads() {
    let test = TestFolder::with_limits(Limits {
        uploads_per_owner: 2,
        bytes_per_owner: 10,
        ..Limits::default()
    })
    .await;
    let first = begin(&test, "org/a").await;
    let second = begin(&test, "org/a").await;
    let test = test.reopen().await;
    let third = test.store.upload_begin(&A, PutOptions::default()).await;
    assert!(matches!(
        third,
        Err(StorageError::TooManyUploads { max: 2 })
    ));
    test.store.upload_abort(&A, &first).await.unwrap();
    begin(&test, "org/a").await;
    // Parts count as objects do.
    part(&test, "org/a", &second, 1, "1234567").await;
    let (body, options) = (body_of("1234"), PutOptions::default());
    let over = test.store.upload_part(&A, &second, 2, body, options);
    assert!(matches!(
        over.await,
        Err(StorageError::OverQuota { max: 10 })
    ));
}

#[tokio::test]
async fn a_whole_that_is_not_what_its_hash_says_leaves_the_upload() {
    let test = TestFolder::open().await;
    let id = begin(&test, "org/a").await;
    let only = part(&test, "org/a", &id, 1, "abc").await;
    let wanted = |sha256| PutOptions {
        sha256: Some(sha256),
        ..PutOptions::default()
    };
    let parts = [(1, only.object.sha256)];
    let wrong = test
        .store
        .upload_finish(&A, &id, &A, &parts, wanted([0; 32]));
    assert!(matches!(wrong.await, Err(StorageError::WrongHash)));
    let right = wanted(only.object.sha256);
    let whole = test.store.upload_finish(&A, &id, &B, &parts, right);
    assert_eq!(whole.await.unwrap().size, 3);
    assert_eq!(test.text("org/b").await.as_deref(), Some("abc"));
    assert_eq!(test.text("org/a").await, None);
    assert_eq!(test.used(), 3);
    assert!(test.left("drafts").is_empty());
}

#[tokio::test]
async fn what_comes_of_an_upload_stays_with_its_owner() {
    let test = TestFolder::open().await;
    let id = begin(&test, "org/a").await;
    let only = part(&test, "org/a", &id, 1, "abc").await;
    let parts = [(1, only.object.sha256)];
    let options = PutOptions::default();
    let into = key("other/a");
    let ended = test.store.upload_finish(&A, &id, &into, &parts, options);
    assert!(matches!(ended.await, Err(StorageError::NoSuchUpload)));
    assert_eq!(test.text("other/a").await, None);
}
