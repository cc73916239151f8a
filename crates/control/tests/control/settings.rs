use std::collections::BTreeMap;

use alcove_control::{Error, ListSandboxes};
use alcove_domain::{NewSandbox, SandboxFilter};
use alcove_testkit::TestControl;

use crate::support::*;

#[tokio::test]
async fn labels_are_replaced_as_a_whole_and_found_by() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    let labels = |key: &str| BTreeMap::from([(key.to_owned(), "v".to_owned())]);
    let (control, caller) = (&kit.control, &kit.caller);
    control
        .replace_labels(caller, "box", labels("a"))
        .await
        .unwrap();
    let changed = control
        .replace_labels(caller, "box", labels("b"))
        .await
        .unwrap();
    assert_eq!(changed.labels, labels("b"));
    let count = async |key: &str| {
        let list = ListSandboxes {
            filter: SandboxFilter {
                labels: labels(key),
                ..SandboxFilter::default()
            },
            ..ListSandboxes::default()
        };
        control
            .list_sandboxes(caller, list)
            .await
            .unwrap()
            .items
            .len()
    };
    assert_eq!((count("a").await, count("b").await), (0, 1));
    let refused = control.replace_labels(caller, "box", labels("")).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    let kit = kit.restart().await;
    assert_eq!(get(&kit, id.as_str()).await.unwrap().labels, labels("b"));
}

#[tokio::test]
async fn intervals_are_checked_set_and_kept() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let (control, caller) = (&kit.control, &kit.caller);
    assert!(control.set_auto_stop(caller, "box", -1).await.is_err());
    assert!(control.set_auto_archive(caller, "box", -1).await.is_err());
    assert!(control.set_ttl(caller, "box", -1).await.is_err());
    assert!(control.set_auto_pause(caller, "box", -1).await.is_err());
    let idle = async || {
        let sandbox = get(&kit, "box").await.unwrap();
        let intervals = sandbox.intervals;
        (intervals.auto_stop_minutes, intervals.auto_pause_minutes)
    };
    control.set_auto_pause(caller, "box", 5).await.unwrap();
    assert_eq!(idle().await, (0, 5), "it is not stopped before it pauses");
    control.set_auto_stop(caller, "box", 7).await.unwrap();
    assert_eq!(idle().await, (7, 0), "the last one counts");
    control.set_auto_pause(caller, "box", 0).await.unwrap();
    assert_eq!(idle().await, (7, 0));
    control.set_auto_archive(caller, "box", 0).await.unwrap();
    control.set_auto_delete(caller, "box", 9).await.unwrap();
    control.set_ttl(caller, "box", 11).await.unwrap();
    control.set_public(caller, "box", true).await.unwrap();
    let kit = kit.restart().await;
    let sandbox = get(&kit, "box").await.unwrap();
    assert_eq!(sandbox.intervals.auto_stop_minutes, 7);
    assert_eq!(sandbox.intervals.auto_pause_minutes, 0);
    assert_eq!(sandbox.intervals.auto_archive_minutes, 43_200);
    assert_eq!(sandbox.intervals.auto_delete_minutes, Some(9));
    assert_eq!(sandbox.intervals.ttl_minutes, Some(11));
    assert!(sandbox.is_public);
}

#[tokio::test]
async fn a_pause_by_itself_stands_alone_from_the_beginning() {
    let kit = TestControl::open().await;
    let pausing = |name: &str| NewSandbox {
        auto_pause_interval: Some(60),
        ..named(name)
    };
    let sandbox = create(&kit, pausing("box")).await.unwrap();
    let intervals = sandbox.intervals;
    assert_eq!(
        (intervals.auto_stop_minutes, intervals.auto_pause_minutes),
        (0, 60)
    );
    let both = NewSandbox {
        auto_stop_interval: Some(15),
        ..pausing("both")
    };
    let ephemeral = NewSandbox {
        auto_delete_interval: Some(0),
        ..pausing("ephemeral")
    };
    for refused in [both, ephemeral] {
        let refused = create(&kit, refused).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    }
    let neither = NewSandbox {
        auto_stop_interval: Some(0),
        ..pausing("neither")
    };
    create(&kit, neither).await.unwrap();
}

#[tokio::test]
async fn a_setting_that_is_changed_while_the_sandbox_starts_is_not_lost() {
    let kit = TestControl::open().await;
    kit.runner.hold_work();
    let (control, caller) = (kit.control.clone(), kit.caller.clone());
    let creating = tokio::spawn(async move { control.create_sandbox(&caller, named("box")).await });
    alcove_testkit::eventually("the order is out", async || !kit.runner.orders().is_empty()).await;
    kit.control
        .set_public(&kit.caller, "box", true)
        .await
        .unwrap();
    kit.runner.resume_work();
    assert!(creating.await.unwrap().unwrap().is_public);
}
