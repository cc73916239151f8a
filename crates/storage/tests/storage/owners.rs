//! The end of an owner.

use alcove_storage::remove_all_of;

use crate::support::*;

#[tokio::test]
async fn all_objects_of_an_owner_go_and_nobody_elses() {
    let folder = TestFolder::open().await;
    for path in ["org/a", "org/deep/er/b", "org/c"] {
        folder.put(path, "theirs").await;
    }
    for path in ["org-2/a", "or/a"] {
        folder.put(path, "others").await;
    }
    assert_eq!(remove_all_of(&folder.store, "org").await.unwrap(), 3);
    assert_eq!(remove_all_of(&folder.store, "org").await.unwrap(), 0);
    let folder = folder.reopen().await;
    assert_eq!(folder.text("org/deep/er/b").await, None);
    for path in ["org-2/a", "or/a"] {
        assert_eq!(folder.text(path).await.as_deref(), Some("others"), "{path}");
    }
}

#[tokio::test]
async fn an_owner_of_more_than_a_page_goes_as_well() {
    let folder = TestFolder::open().await;
    for number in 0..520 {
        folder.put(&format!("org/{number}"), "x").await;
    }
    assert_eq!(remove_all_of(&folder.store, "org").await.unwrap(), 520);
    assert_eq!(folder.text("org/7").await, None);
}
