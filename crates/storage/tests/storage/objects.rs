//! Writing, reading, removing.

use std::io;

use alcove_storage::{Bucket, ByteRange, Key, ObjectStore as _, PutOptions, StorageError, body_of};
use futures_util::{StreamExt as _, stream};

use crate::support::{TestFolder, bytes_of, key, text_of};

#[tokio::test]
async fn an_object_comes_back_as_it_was_written() {
    let test = TestFolder::open().await;
    // Longer than what is written at once, in pieces of odd lengths.
    let content: Vec<u8> = (0..3_000_001_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    let pieces: Vec<_> = content
        .chunks(70_001)
        .map(|piece| Ok(bytes::Bytes::copy_from_slice(piece)))
        .collect();
    let options = PutOptions {
        content_type: Some("application/x-tar".to_owned()),
        metadata: [("who".to_owned(), "mé".to_owned())].into(),
        ..PutOptions::default()
    };
    let key = key("org/a b/ü%2F");
    let put = test
        .store
        .put(&key, stream::iter(pieces).boxed(), options)
        .await
        .unwrap();
    assert_eq!(put.size, 3_000_001);
    let got = test.store.get(&key, None).await.unwrap().unwrap();
    assert_eq!(got.object, put);
    assert_eq!(got.range, (0, 3_000_001));
    assert!(bytes_of(got.body).await == content);
    assert_eq!(test.store.head(&key).await.unwrap(), Some(put.clone()));
    assert_eq!(put.content_type.as_deref(), Some("application/x-tar"));
    assert_eq!(put.metadata["who"], "mé");

    let range = ByteRange::Between(70_000, 70_003);
    let got = test.store.get(&key, Some(range)).await.unwrap().unwrap();
    assert_eq!(got.range, (70_000, 70_004));
    assert_eq!(bytes_of(got.body).await, &content[70_000..70_004]);
    let outside = test.store.get(&key, Some(ByteRange::From(3_000_001))).await;
    assert!(matches!(
        outside,
        Err(StorageError::BadRange { size: 3_000_001 })
    ));
}

#[tokio::test]
async fn the_hash_is_that_of_the_content() {
    let test = TestFolder::open().await;
    let put = test.put("org/a", "abc").await;
    assert_eq!(
        put.sha256_hex(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(
        test.put("org/empty", "").await.sha256_hex(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(test.text("org/empty").await.as_deref(), Some(""));
}

#[tokio::test]
async fn a_reader_keeps_the_object_that_it_opened() {
    let test = TestFolder::open().await;
    let old = "old ".repeat(200_000);
    test.put("org/a", &old).await;
    let replaced = test.store.get(&key("org/a"), None).await.unwrap().unwrap();
    test.put("org/a", "new").await;
    let deleted = test.store.get(&key("org/a"), None).await.unwrap().unwrap();
    assert!(test.store.delete(&key("org/a")).await.unwrap());
    assert!(text_of(replaced.body).await == old);
    assert_eq!(text_of(deleted.body).await, "new");
    assert_eq!(test.text("org/a").await, None);
}

#[tokio::test]
async fn an_object_and_a_folder_may_have_the_same_name() {
    let test = TestFolder::open().await;
    test.put("org/a", "object").await;
    test.put("org/a/b", "inner").await;
    assert_eq!(test.text("org/a").await.as_deref(), Some("object"));
    assert_eq!(test.text("org/a/b").await.as_deref(), Some("inner"));
}

#[tokio::test]
async fn the_same_path_in_another_bucket_is_another_object() {
    let test = TestFolder::open().await;
    test.put("org/a", "context").await;
    let other = Key::new(Bucket::BUILD_LOGS, "org/a").unwrap();
    assert_eq!(test.store.head(&other).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_deleted_leaves_nothing_behind() {
    let test = TestFolder::open().await;
    test.put("org/a/b/c", "123").await;
    test.put("org/a/d", "45").await;
    assert_eq!(test.used(), 5);
    assert!(test.store.delete(&key("org/a/b/c")).await.unwrap());
    assert!(!test.store.delete(&key("org/a/b/c")).await.unwrap());
    assert_eq!(test.used(), 2);
    assert!(test.store.delete(&key("org/a/d")).await.unwrap());
    assert_eq!(test.used(), 0);
    assert!(test.left("objects/contexts").is_empty());
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_the_old_object() {
    let test = TestFolder::open().await;
    test.put("org/a", "old").await;
    let broken = stream::iter([
        Ok("new".into()),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ]);
    let put = test
        .store
        .put(&key("org/a"), broken.boxed(), PutOptions::default())
        .await;
    assert!(matches!(put, Err(StorageError::Body { .. })));
    assert_eq!(test.text("org/a").await.as_deref(), Some("old"));
    assert!(test.left("drafts").is_empty());
    assert_eq!(test.used(), 3);
}

#[tokio::test]
async fn a_writer_that_is_given_up_leaves_nothing() {
    let test = TestFolder::open().await;
    let (told, mut writes) = tokio::sync::mpsc::channel(1);
    let body = stream::iter([Ok(vec![0; 2 << 20].into())])
        .chain(stream::once(async move {
            // Asked for only once the first piece is on the disk.
            let _ = told.send(()).await;
            std::future::pending().await
        }))
        .boxed();
    let store = test.store.clone();
    let put =
        tokio::spawn(async move { store.put(&key("org/a"), body, PutOptions::default()).await });
    writes.recv().await.unwrap();
    assert_eq!(test.left("drafts").len(), 1);
    assert!(test.used() >= 2 << 20);
    put.abort();
    assert!(put.await.unwrap_err().is_cancelled());
    assert!(test.left("drafts").is_empty());
    assert_eq!(test.used(), 0);
    assert_eq!(test.text("org/a").await, None);
}

#[tokio::test]
async fn content_with_another_hash_is_refused() {
    let test = TestFolder::open().await;
    let put = async |sha256| {
        let options = PutOptions {
            sha256: Some(sha256),
            ..PutOptions::default()
        };
        test.store.put(&key("org/a"), body_of("abc"), options).await
    };
    assert!(matches!(put([1; 32]).await, Err(StorageError::WrongHash)));
    assert_eq!(test.text("org/a").await, None);
    let right = test.put("org/b", "abc").await.sha256;
    assert!(put(right).await.is_ok());
}

#[tokio::test]
async fn what_must_be_new_takes_no_place() {
    let test = TestFolder::open().await;
    let put = async |content: &'static str| {
        let options = PutOptions {
            only_new: true,
            ..PutOptions::default()
        };
        test.store
            .put(&key("org/a"), body_of(content), options)
            .await
    };
    assert!(put("first").await.is_ok());
    assert!(matches!(put("second").await, Err(StorageError::Exists)));
    assert_eq!(test.text("org/a").await.as_deref(), Some("first"));
    assert_eq!(test.used(), 5);
}

#[tokio::test]
async fn a_damaged_file_is_told_and_not_given_out() {
    let test = TestFolder::open().await;
    test.put("org/a", "abc").await;
    let file = test
        .left("objects")
        .into_iter()
        .find(|path| path.ends_with("oa"))
        .unwrap();
    let opened = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    opened.set_len(4097).unwrap();
    let got = test.store.get(&key("org/a"), None).await;
    assert!(matches!(got, Err(StorageError::Damaged { .. })));
    // It can be replaced.
    test.put("org/a", "abcd").await;
    assert_eq!(test.text("org/a").await.as_deref(), Some("abcd"));
}

#[tokio::test]
async fn the_next_process_finds_objects_and_counts_and_no_drafts() {
    let test = TestFolder::open().await;
    test.put("org/a", "12345").await;
    test.put("org/b/c", "678").await;
    let before = test.store.head(&key("org/a")).await.unwrap();
    std::fs::write(test.path().join("drafts/left"), "x").unwrap();
    std::fs::create_dir(test.path().join("uploads").join("0".repeat(32))).unwrap();
    let test = test.reopen().await;
    assert_eq!(test.store.head(&key("org/a")).await.unwrap(), before);
    assert_eq!(test.used(), 8);
    assert!(test.left("drafts").is_empty());
    assert!(test.left("uploads").is_empty());
}
