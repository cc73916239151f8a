//! Objects one by one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alcove_storage::faults::{Faults, Step};
use alcove_storage::{
    Bucket, ByteRange, FolderStore, ForeignStore, Limits, List, ObjectStore as _, PutOptions,
    StorageError, body_of,
};

use crate::support::{OtherStore, Ours, bytes_of, key};

/// More than is sent in one request.
const LARGE: usize = (33 << 20) + 5;

fn large(seed: u8) -> Vec<u8> {
    let pattern: Vec<u8> = (0..=250).map(|byte: u8| byte ^ seed).collect();
    pattern.into_iter().cycle().take(LARGE).collect()
}

#[tokio::test]
async fn an_object_is_read_back_with_all_that_was_said_of_it() {
    let mut other = OtherStore::start();
    let ours = Ours::on(&other.settings).await;
    let options = PutOptions {
        content_type: Some("text/plain".to_owned()),
        metadata: [("größe".to_owned(), "voll".to_owned())].into(),
        ..PutOptions::default()
    };
    let path = key("org/some folder/ä object");
    let put = ours.store.put(&path, body_of("0123456789"), options);
    let put = put.await.unwrap();
    assert_eq!(ours.store.head(&path).await.unwrap().as_ref(), Some(&put));
    assert_eq!(
        (put.size, put.content_type.as_deref()),
        (10, Some("text/plain"))
    );
    let range = ByteRange::parse("bytes=2-4");
    let got = ours.store.get(&path, range).await.unwrap().unwrap();
    assert_eq!((got.range, &got.object), ((2, 5), &put));
    assert_eq!(bytes_of(got.body).await, b"234");
    assert_eq!(ours.bytes(path.path()).await.unwrap(), b"0123456789");
    let names = other.names();
    assert_eq!(
        names,
        ["alcove/test/objects/contexts/=org/=some folder/=ä object"]
    );
    assert_eq!(ours.left("drafts"), 0);
    assert!(ours.store.delete(&path).await.unwrap());
    assert!(!ours.store.delete(&path).await.unwrap());
    assert_eq!((ours.used(), other.names().len()), (0, 0));
    assert!(ours.store.get(&path, None).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_there_counts_after_a_restart_and_with_what_takes_its_place() {
    let other = OtherStore::start();
    let limits = Limits {
        bytes_per_owner: 100,
        ..Limits::default()
    };
    let ours = Ours::with(&other.settings, limits.clone()).await;
    ours.put("org/one", vec![1; 40]).await;
    let ours = Ours::with(&other.settings, limits).await;
    ours.put("org/two", vec![2; 30]).await;
    assert_eq!(ours.used(), 70);
    ours.put("org/one", vec![1; 10]).await;
    assert_eq!(ours.used(), 40);
    let refused = ours
        .store
        .put(
            &key("org/three"),
            body_of(vec![3; 61]),
            PutOptions::default(),
        )
        .await;
    assert!(
        matches!(refused, Err(StorageError::OverQuota { max: 100 })),
        "{refused:?}"
    );
    let only_new = PutOptions {
        only_new: true,
        ..PutOptions::default()
    };
    let refused = ours
        .store
        .put(&key("org/two"), body_of("2"), only_new)
        .await;
    assert!(matches!(refused, Err(StorageError::Exists)), "{refused:?}");
    assert_eq!(ours.used(), 40);
    assert_eq!(ours.bytes("org/two").await.unwrap(), [2; 30]);
}

/// Ends the process's part at a step, once.
#[derive(Debug)]
struct FailAt(Step);

impl Faults for FailAt {
    fn at(&self, step: Step) -> std::io::Result<()> {
        if step == self.0 {
            return Err(std::io::Error::other("on purpose"));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_large_object_goes_in_parts_of_which_none_is_left_when_that_fails() {
    let mut other = OtherStore::start();
    let ours = Ours::on(&other.settings).await;
    ours.put("org/large", large(1)).await;
    assert!(ours.bytes("org/large").await.unwrap() == large(1));
    for step in [Step::PushBegun, Step::PartPushed] {
        let folder = tempfile::tempdir().unwrap();
        let failing = ForeignStore::open_with_faults(
            other.settings.clone(),
            folder.path(),
            Limits::default(),
            Arc::new(FailAt(step)),
        );
        let failing = failing.await.unwrap();
        let path = key("org/large");
        let put = failing.put(&path, body_of(large(2)), PutOptions::default());
        put.await.unwrap_err();
        assert_eq!(other.uploads(), [""; 0], "after {step:?}");
        assert_eq!(
            failing.used_bytes(key("org/large").bucket(), "org"),
            LARGE as u64
        );
        let notes = std::fs::read_dir(folder.path().join("pushes")).unwrap();
        assert_eq!(notes.count(), 0);
    }
    assert!(ours.bytes("org/large").await.unwrap() == large(1));
    assert_eq!((ours.left("drafts"), ours.left("pushes")), (0, 0));
}

#[tokio::test]
async fn an_upload_in_parts_is_finished_by_the_next_process() {
    let other = OtherStore::start();
    let ours = Ours::on(&other.settings).await;
    let path = key("org/joined");
    let upload = ours.store.upload_begin(&path, PutOptions::default());
    let upload = upload.await.unwrap();
    let mut parts = Vec::new();
    for (number, piece) in [(1, large(1)), (2, b"end".to_vec())] {
        let part = ours
            .store
            .upload_part(
                &path,
                &upload,
                number,
                body_of(piece),
                PutOptions::default(),
            )
            .await
            .unwrap();
        parts.push((number, part.object.sha256));
    }
    let ours = ours.reopen().await;
    assert_eq!(
        ours.store.upload_parts(&path, &upload).await.unwrap().len(),
        2
    );
    let finish = || {
        let options = PutOptions::default();
        ours.store
            .upload_finish(&path, &upload, &path, &parts, options)
    };
    let object = finish().await.unwrap();
    assert_eq!(object.size, LARGE as u64 + 3);
    assert!(ours.bytes("org/joined").await.unwrap() == [large(1), b"end".to_vec()].concat());
    assert!(matches!(finish().await, Err(StorageError::NoSuchUpload)));
    assert_eq!((ours.used(), ours.left("uploads")), (LARGE as u64 + 3, 0));
}

#[tokio::test]
async fn what_was_refreshed_is_not_old() {
    let mut other = OtherStore::start();
    let ours = Ours::on(&other.settings).await;
    let (kept, let_go) = (key("org/kept"), key("org/let go"));
    ours.put(kept.path(), "1").await;
    ours.put(let_go.path(), "2").await;
    other.age();
    assert!(ours.store.refresh(&kept).await.unwrap());
    assert!(!ours.store.refresh(&key("org/none")).await.unwrap());
    #[expect(
        clippy::disallowed_methods,
        reason = "the other store has the same clock"
    )]
    let yesterday = SystemTime::now() - Duration::from_hours(24);
    assert!(!ours.store.delete_older(&kept, yesterday).await.unwrap());
    assert!(ours.store.delete_older(&let_go, yesterday).await.unwrap());
    other.age();
    assert!(ours.store.delete_older(&kept, yesterday).await.unwrap());
    // The note of when it was refreshed went with it.
    assert_eq!(other.names(), [""; 0]);
    assert_eq!(ours.used(), 0);
}

#[tokio::test]
async fn what_somebody_else_put_there_ends_no_list() {
    let mut other = OtherStore::start();
    let ours = Ours::on(&other.settings).await;
    ours.put("org/good", "good").await;
    other.put("alcove/test/objects/contexts/=org/=alien");
    other.put("alcove/test/objects/contexts/not marked");
    other.put("elsewhere");
    let listing = ours.list(all()).await;
    assert_eq!(listing.entries.len(), 1);
    assert_eq!(
        (listing.entries[0].path.as_str(), listing.damaged),
        ("org/good", 1)
    );
    let got = ours.store.get(&key("org/alien"), None).await;
    assert!(matches!(got, Err(StorageError::Damaged { .. })), "{got:?}");
}

#[tokio::test]
async fn what_the_folder_holds_goes_into_the_bucket_once() {
    let mut other = OtherStore::start();
    let folder = tempfile::tempdir().unwrap();
    let before = FolderStore::open(folder.path(), Limits::default());
    let before = before.await.unwrap();
    let large = large(1);
    for (path, content) in [("org/a", b"a".as_slice()), ("org2/large", &large)] {
        let options = PutOptions {
            content_type: Some("text/plain".to_owned()),
            ..PutOptions::default()
        };
        let key = key(path);
        let put = before.put(&key, body_of(content.to_vec()), options);
        put.await.unwrap();
    }
    drop(before);
    for moved in [2, 0] {
        let ours = ForeignStore::open(other.settings.clone(), folder.path(), Limits::default());
        let ours = ours.await.unwrap();
        assert_eq!(ours.move_in().await.unwrap(), moved);
        let read = ours.get(&key("org2/large"), None).await.unwrap().unwrap();
        assert_eq!(read.object.content_type.as_deref(), Some("text/plain"));
        assert!(bytes_of(read.body).await == large);
        // The first counts what it has moved, the second has not looked yet.
        let used = if moved > 0 { LARGE as u64 } else { 0 };
        assert_eq!(ours.used_bytes(Bucket::CONTEXTS, "org2"), used);
    }
    assert_eq!(other.names().len(), 2);
    let left = FolderStore::open(folder.path(), Limits::default());
    let left = left.await.unwrap().list(Bucket::CONTEXTS, all()).await;
    assert_eq!(left.unwrap().entries, []);
}

fn all() -> List {
    List {
        max: 10,
        ..List::default()
    }
}
