//! Lists are the same as those of the folder, whatever is asked for.

use alcove_storage::{
    Bucket, FolderStore, Limits, List, Listing, ObjectStore, PutOptions, body_of,
};

use crate::support::{OtherStore, Ours, key};

const PATHS: &[&str] = &[
    "org/",
    "org//",
    "org//a",
    "org/a",
    "org/a b",
    "org/a!",
    "org/a-b",
    "org/a/",
    "org/a/b",
    "org/a/b/c",
    "org/a=/b",
    "org/a%2Fb",
    "org/b+c&d?e",
    "org/é/ü",
    "org/😀",
    "org2/a",
    "other/a/b",
];

/// Of a listing, what does not depend on when an object was written.
fn told(listing: &Listing) -> (Vec<(String, String)>, Vec<String>) {
    let entries = listing.entries.iter();
    let entries = entries.map(|entry| (entry.path.clone(), entry.object.sha256_hex()));
    (entries.collect(), listing.folders.clone())
}

/// All pages one after another.
async fn all(store: &dyn ObjectStore, list: &List) -> (Vec<(String, String)>, Vec<String>) {
    let (mut entries, mut folders) = (Vec::new(), Vec::new());
    let mut list = list.clone();
    // No page is told twice.
    for _ in 0..=PATHS.len() {
        let page = store.list(Bucket::CONTEXTS, list.clone()).await.unwrap();
        assert!(page.entries.len() + page.folders.len() <= list.max);
        let (more_entries, more_folders) = told(&page);
        entries.extend(more_entries);
        folders.extend(more_folders);
        match page.next {
            Some(next) => {
                list.after = Some(next);
            }
            None => return (entries, folders),
        }
    }
    panic!("{list:?} has no end");
}

#[tokio::test]
async fn lists_tell_what_those_of_a_folder_tell() {
    let other = OtherStore::start();
    let ours = Ours::on(&other.settings).await;
    let folder = tempfile::tempdir().unwrap();
    let theirs = FolderStore::open(folder.path(), Limits::default())
        .await
        .unwrap();
    for path in PATHS {
        ours.put(path, *path).await;
        let key = key(path);
        let put = theirs.put(&key, body_of(*path), PutOptions::default());
        put.await.unwrap();
    }
    let beginnings = [
        "", "o", "org/", "org", "org/a", "org/a/", "org//", "org/é", "none",
    ];
    let ends = [
        None,
        Some("org/"),
        Some("org/a"),
        Some("org/a/"),
        Some("org/a/b"),
        Some("org0"),
    ];
    for prefix in beginnings {
        for after in ends {
            for by_folder in [false, true] {
                for max in [1, 1000] {
                    let list = List {
                        prefix: prefix.to_owned(),
                        after: after.map(str::to_owned),
                        max,
                        by_folder,
                    };
                    let found = all(&ours.store, &list).await;
                    assert_eq!(found, all(&theirs, &list).await, "{list:?}");
                }
            }
        }
    }
}
