use alcove_control::{Error, ListSandboxes, ListSnapshots, PageSandboxes};
use alcove_domain::{SandboxFilter, SandboxSort, SandboxState, SortOrder};
use alcove_testkit::{TestControl, TestStore};

use crate::support::*;

fn by_name(cursor: Option<String>) -> ListSandboxes {
    ListSandboxes {
        sort: Some(SandboxSort::Name),
        order: Some(SortOrder::Ascending),
        limit: Some(2),
        cursor,
        ..ListSandboxes::default()
    }
}

#[tokio::test]
async fn a_list_goes_on_at_its_cursor_and_ends_with_none() {
    let kit = TestControl::open().await;
    for name in ["c", "a", "e", "b", "d"] {
        make(&kit, name).await;
    }
    let mut names = Vec::new();
    let mut cursor = None;
    let mut pages = 0;
    loop {
        let list = kit.control.list_sandboxes(&kit.caller, by_name(cursor));
        let page = list.await.unwrap();
        names.extend(page.items.into_iter().map(|sandbox| sandbox.name));
        pages += 1;
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(names.concat(), "abcde");
    assert_eq!(pages, 3);
}

#[tokio::test]
async fn a_cursor_of_another_question_or_made_up_is_refused() {
    let kit = TestControl::open().await;
    for name in ["a", "b", "c"] {
        make(&kit, name).await;
    }
    let list = kit.control.list_sandboxes(&kit.caller, by_name(None));
    let cursor = list.await.unwrap().next_cursor.unwrap();
    let turned = ListSandboxes {
        order: Some(SortOrder::Descending),
        ..by_name(Some(cursor.clone()))
    };
    let filtered = ListSandboxes {
        filter: SandboxFilter {
            name_prefix: Some("a".to_owned()),
            ..SandboxFilter::default()
        },
        ..by_name(Some(cursor.clone()))
    };
    for list in [turned, filtered, by_name(Some("made-up".to_owned()))] {
        let refused = kit.control.list_sandboxes(&kit.caller, list).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })));
    }
    // The key that signs outlives a restart.
    let kit = kit.restart().await;
    let list = kit
        .control
        .list_sandboxes(&kit.caller, by_name(Some(cursor)));
    assert_eq!(list.await.unwrap().items[0].name, "c");
}

#[tokio::test]
async fn bounds_of_lists_are_checked_together() {
    let kit = TestControl::open().await;
    let list = ListSandboxes {
        limit: Some(201),
        sort: Some(SandboxSort::State),
        filter: SandboxFilter {
            states: vec![SandboxState::Destroyed],
            ..SandboxFilter::default()
        },
        ..ListSandboxes::default()
    };
    let error = kit
        .control
        .list_sandboxes(&kit.caller, list)
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::Invalid { reasons, .. } if reasons.len() == 3));
    let page = PageSandboxes {
        page: Some(0),
        limit: Some(0),
        ..PageSandboxes::default()
    };
    let error = kit
        .control
        .list_sandboxes_page(&kit.caller, page)
        .await
        .unwrap_err();
    assert_eq!(
        error.public_message(),
        "page must not be less than 1, limit must not be less than 1"
    );
}

#[tokio::test]
async fn pages_tell_how_many_there_are() {
    let kit = TestControl::open().await;
    for name in ["a", "b", "c"] {
        make(&kit, name).await;
        kit.clock.advance_minutes(1);
    }
    let list = |page| PageSandboxes {
        page: Some(page),
        limit: Some(2),
        ..PageSandboxes::default()
    };
    let first = kit
        .control
        .list_sandboxes_page(&kit.caller, list(1))
        .await
        .unwrap();
    assert_eq!((first.total, first.page, first.total_pages), (3, 1, 2));
    let names: Vec<&str> = first.items.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["c", "b"], "newest first");
    let past = kit
        .control
        .list_sandboxes_page(&kit.caller, list(i64::MAX))
        .await
        .unwrap();
    assert!(past.items.is_empty());
}

#[tokio::test]
async fn the_runners_images_are_snapshots_from_the_start_and_keep_their_ids() {
    let store = TestStore::default();
    store.runner.add_image("tiny", "");
    let kit = store.open().await;
    let (control, caller) = (&kit.control, &kit.caller);
    let all = control
        .list_snapshots(caller, ListSnapshots::default())
        .await
        .unwrap();
    assert_eq!(all.total, 2);
    let tiny = control.get_snapshot(caller, "tiny").await.unwrap();
    assert_eq!(
        control
            .get_snapshot(caller, tiny.id.as_str())
            .await
            .unwrap(),
        tiny
    );
    let named = ListSnapshots {
        name: Some("in".to_owned()),
        ..ListSnapshots::default()
    };
    assert_eq!(
        control.list_snapshots(caller, named).await.unwrap().items,
        std::slice::from_ref(&tiny)
    );
    let missing = control.get_snapshot(caller, "nope").await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    let request = alcove_domain::NewSandbox {
        snapshot: Some("tiny".to_owned()),
        ..alcove_domain::NewSandbox::default()
    };
    assert_eq!(create(&kit, request).await.unwrap().user, "root");
    let kit = kit.restart().await;
    let again = kit.control.get_snapshot(&kit.caller, "tiny").await.unwrap();
    assert_eq!(again.id, tiny.id);
}
