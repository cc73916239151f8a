//! Lists, against a map in memory.

use std::collections::{BTreeMap, BTreeSet};

use alcove_storage::{Bucket, List, ObjectStore as _};
use proptest::prelude::*;

use crate::support::TestFolder;

/// What a list must hold, by the definition.
fn expected(paths: &BTreeMap<String, u64>, list: &List) -> Vec<String> {
    let mut found = BTreeSet::new();
    for path in paths.keys() {
        let Some(rest) = path.strip_prefix(&list.prefix) else {
            continue;
        };
        let name = match rest.find('/') {
            Some(slash) if list.by_folder => {
                format!("{}{}", list.prefix, &rest[..=slash])
            }
            _ => path.clone(),
        };
        found.insert(name);
    }
    found.into_iter().collect()
}

async fn pages(test: &TestFolder, mut list: List) -> Vec<String> {
    let mut found = Vec::new();
    // Each page has something on it, so that there are no more than this.
    for _ in 0..100 {
        let page = test
            .store
            .list(Bucket::CONTEXTS, list.clone())
            .await
            .unwrap();
        let mut names: Vec<String> = page.entries.into_iter().map(|entry| entry.path).collect();
        names.extend(page.folders);
        names.sort();
        assert!(names.len() <= list.max);
        found.extend(names);
        match page.next {
            Some(next) => list.after = Some(next),
            None => return found,
        }
    }
    panic!("the list does not end: {found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn pages_hold_all_of_a_prefix_once_and_in_order(
        names in proptest::collection::vec("[ab]{1,2}(/[ab!~]{0,2}){1,3}", 1..12),
        prefix in "([ab]{0,2}(/[ab!]{0,1}){0,2})",
        max in 1_usize..5,
        by_folder: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let test = TestFolder::open().await;
            let mut paths = BTreeMap::new();
            for name in names {
                test.put(&name, "x").await;
                paths.insert(name, 1);
            }
            let list = List { prefix, after: None, max, by_folder };
            assert_eq!(pages(&test, list.clone()).await, expected(&paths, &list), "{list:?} of {paths:?}");
        });
    }
}

#[tokio::test]
async fn a_list_may_begin_behind_a_path_that_is_not_there() {
    let test = TestFolder::open().await;
    for path in ["org/a", "org/b/1", "org/b/2", "org/c"] {
        test.put(path, "x").await;
    }
    let list = |after: &str, by_folder| List {
        prefix: "org/".to_owned(),
        after: Some(after.to_owned()),
        max: 10,
        by_folder,
    };
    let found = pages(&test, list("org/b/1x", false)).await;
    assert_eq!(found, ["org/b/2", "org/c"]);
    let found = pages(&test, list("org/b/", true)).await;
    assert_eq!(found, ["org/c"]);
    let nothing = List {
        max: 0,
        ..List::default()
    };
    assert!(pages(&test, nothing).await.is_empty());
}
