//! A store that is away for a while, or does not let us in.

use std::io;

use alcove_storage::{ObjectStore as _, PutOptions, StorageError, body_of};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::support::{OtherStore, Ours, Way, bytes_of, key, told};

#[tokio::test]
async fn a_store_that_is_away_is_named_as_the_cause_and_nothing_is_lost() {
    let other = OtherStore::start();
    let way = Way::to(&other.settings).await;
    let mut settings = other.settings.clone();
    settings.endpoint.clone_from(&way.endpoint);
    let ours = Ours::on(&settings).await;
    ours.put("org/old", "old").await;
    let joined = key("org/joined");
    let upload = ours.store.upload_begin(&joined, PutOptions::default());
    let upload = upload.await.unwrap();
    let part = ours
        .store
        .upload_part(&joined, &upload, 1, body_of("part"), PutOptions::default());
    let parts = [(1, part.await.unwrap().object.sha256)];

    way.close();
    let options = PutOptions::default;
    let failures = [
        ours.store
            .put(&key("org/old"), body_of("new"), options())
            .await
            .unwrap_err(),
        ours.store
            .put(&key("other/new"), body_of("new"), options())
            .await
            .unwrap_err(),
        ours.store.get(&key("org/old"), None).await.unwrap_err(),
        ours.store.head(&key("org/old")).await.unwrap_err(),
        ours.store.delete(&key("org/old")).await.unwrap_err(),
        ours.store.refresh(&key("org/old")).await.unwrap_err(),
        ours.store
            .upload_finish(&joined, &upload, &joined, &parts, options())
            .await
            .unwrap_err(),
    ];
    for failure in failures {
        assert!(
            matches!(failure, StorageError::Foreign { .. }),
            "{failure:?}"
        );
        let text = told(&failure);
        assert!(!text.contains(&settings.secret_key), "{text}");
    }
    // The next process starts all the same.
    let ours = ours.reopen().await;

    way.open();
    assert_eq!(ours.bytes("org/old").await.unwrap(), b"old");
    let finished = ours
        .store
        .upload_finish(&joined, &upload, &joined, &parts, options());
    assert_eq!(finished.await.unwrap().size, 4);
    ours.put("org/old", "newer").await;
    assert_eq!(ours.used(), 4 + 5);
    assert_eq!(
        (
            ours.left("drafts"),
            ours.left("uploads"),
            ours.left("pushes")
        ),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_store_that_goes_away_while_much_is_written_keeps_the_old_object() {
    let mut other = OtherStore::start();
    let way = Way::to(&other.settings).await;
    let mut settings = other.settings.clone();
    settings.endpoint.clone_from(&way.endpoint);
    let ours = Ours::on(&settings).await;
    ours.put("org/object", "old").await;
    let path = key("org/object");
    // All of it has come in when the store goes.
    let pieces = stream::iter((0..40).map(|_| io::Result::Ok(Bytes::from(vec![7; 1 << 20]))));
    let body = pieces
        .chain(stream::once(async {
            way.close();
            Ok(Bytes::from_static(b"end"))
        }))
        .collect::<Vec<_>>()
        .await;
    let put = ours
        .store
        .put(&path, stream::iter(body).boxed(), PutOptions::default())
        .await;
    assert!(matches!(put, Err(StorageError::Foreign { .. })), "{put:?}");
    way.open();
    assert_eq!(ours.bytes("org/object").await.unwrap(), b"old");
    let before = std::time::SystemTime::UNIX_EPOCH;
    ours.store.remove_stale_uploads(before).await.unwrap();
    assert_eq!(other.uploads(), [""; 0]);
    assert_eq!(
        (ours.used(), ours.left("drafts"), ours.left("pushes")),
        (3, 0, 0)
    );
}

#[tokio::test]
async fn a_reader_is_told_when_the_store_goes_away_in_between() {
    let other = OtherStore::start();
    let way = Way::to(&other.settings).await;
    let mut settings = other.settings.clone();
    settings.endpoint.clone_from(&way.endpoint);
    let ours = Ours::on(&settings).await;
    ours.put("org/large", vec![1; 40 << 20]).await;
    let content = ours
        .store
        .get(&key("org/large"), None)
        .await
        .unwrap()
        .unwrap();
    way.close();
    let read: Result<Vec<Bytes>, _> = content.body.try_collect().await;
    assert!(read.is_err());
    way.open();
    let content = ours
        .store
        .get(&key("org/large"), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(bytes_of(content.body).await.len(), 40 << 20);
}

#[tokio::test]
async fn a_store_that_does_not_let_us_in_is_told_of_without_the_keys() {
    let other = OtherStore::start();
    let mut settings = other.settings.clone();
    settings.secret_key = "not/the/secret/of/this/key".to_owned();
    let ours = Ours::on(&settings).await;
    let path = key("org/a");
    let put = ours.store.put(&path, body_of("a"), PutOptions::default());
    let failure = put.await.unwrap_err();
    assert!(
        matches!(failure, StorageError::Foreign { .. }),
        "{failure:?}"
    );
    let text = told(&failure);
    for key in [&settings.secret_key, &settings.access_key] {
        assert!(!text.contains(key.as_str()), "{text}");
    }
}
