use alcove_control::{Event, EventBody, EventStream};
use alcove_domain::{MountRequest, NewSandbox, NewSnapshot};
use alcove_testkit::{TestControl, within};
use futures_util::{FutureExt as _, StreamExt as _};

use crate::support::*;

async fn next(events: &mut EventStream) -> Event {
    within("an event", events.next()).await.unwrap()
}

fn describe(event: &Event) -> String {
    match &event.body {
        EventBody::SandboxCreated { sandbox } => format!("{} created", sandbox.name),
        EventBody::SandboxStateUpdated {
            sandbox,
            old_state,
            new_state,
        } => {
            assert_eq!(sandbox.state(), *new_state);
            format!("{} {old_state} -> {new_state}", sandbox.name)
        }
        EventBody::SandboxDesiredStateUpdated {
            sandbox,
            old_desired_state,
            new_desired_state,
        } => format!(
            "{} should be {new_desired_state}, not {old_desired_state}",
            sandbox.name
        ),
        EventBody::SnapshotCreated { snapshot } => format!("{} created", snapshot.name),
        EventBody::SnapshotStateUpdated {
            snapshot,
            old_state,
            new_state,
        } => {
            assert_eq!(snapshot.state, *new_state);
            let (old, new) = (old_state.as_str(), new_state.as_str());
            format!("{} {old} -> {new}", snapshot.name)
        }
        EventBody::SnapshotRemoved { snapshot } => format!("{} removed", snapshot.name),
        EventBody::VolumeCreated { volume } => format!("{} created", volume.name),
        EventBody::VolumeStateUpdated {
            volume,
            old_state,
            new_state,
        } => {
            assert_eq!(volume.state(), *new_state);
            format!("{} {old_state} -> {new_state}", volume.name)
        }
        EventBody::VolumeLastUsedAtUpdated { volume } => {
            assert!(volume.last_used_at.is_some());
            format!("{} used", volume.name)
        }
    }
}

#[tokio::test]
async fn an_answer_comes_behind_its_events() {
    let kit = TestControl::open().await;
    let mut events = kit.control.subscribe_events(&kit.caller.organization);
    let mut told = move || {
        let told = std::iter::from_fn(|| events.next().now_or_never().flatten());
        told.map(|event| describe(&event)).collect::<Vec<_>>()
    };
    for round in 0..20 {
        let name = format!("box-{round}");
        make(&kit, &name).await;
        assert_eq!(
            told(),
            [
                format!("{name} created"),
                format!("{name} creating -> started")
            ]
        );
        let control = &kit.control;
        control
            .stop_sandbox(&kit.caller, &name, false)
            .await
            .unwrap();
        assert_eq!(
            told().last().unwrap(),
            &format!("{name} stopping -> stopped")
        );
        control.start_sandbox(&kit.caller, &name).await.unwrap();
        assert_eq!(
            told().last().unwrap(),
            &format!("{name} starting -> started")
        );
    }
}

#[tokio::test]
async fn a_listener_hears_everything_of_its_organization_in_order() {
    let kit = TestControl::open().await;
    make(&kit, "before").await;
    let mut events = kit.control.subscribe_events(&kit.caller.organization);
    let mut foreign = kit.control.subscribe_events(&"other".parse().unwrap());
    make(&kit, "box").await;
    kit.control
        .stop_sandbox(&kit.caller, "box", false)
        .await
        .unwrap();
    kit.control
        .delete_sandbox(&kit.caller, "box")
        .await
        .unwrap();
    let expected = [
        "box created",
        "box creating -> started",
        "box should be stopped, not started",
        "box started -> stopping",
        "box stopping -> stopped",
        "box should be destroyed, not stopped",
        "box stopped -> destroying",
        "box destroying -> destroyed",
    ];
    let mut last = 0;
    for expected in expected {
        let event = next(&mut events).await;
        assert_eq!(describe(&event), expected);
        assert!(event.sequence > last);
        last = event.sequence;
    }
    tokio::select! {
        biased;
        event = foreign.next() => panic!("not theirs: {event:?}"),
        () = tokio::task::yield_now() => {}
    }
}

#[tokio::test]
async fn a_listener_that_falls_far_behind_misses_nothing() {
    const ROUNDS: usize = 300;
    let kit = TestControl::open().await;
    let mut events = kit.control.subscribe_events(&kit.caller.organization);
    let id = make(&kit, "box").await.id.clone();
    // Three events a stop and three a start: more than the buffer of listeners holds, by more than is read at once.
    for _ in 0..ROUNDS {
        kit.control
            .stop_sandbox(&kit.caller, id.as_str(), true)
            .await
            .unwrap();
        kit.control
            .start_sandbox(&kit.caller, id.as_str())
            .await
            .unwrap();
    }
    let written = kit.store.reader().outbox_last_sequence().await.unwrap();
    let mut last = 0;
    while last < written {
        let event = next(&mut events).await;
        assert_eq!(event.sequence, last + 1, "none is missed, none comes twice");
        last = event.sequence;
    }
}

#[tokio::test]
async fn listeners_end_with_the_control_plane() {
    let kit = TestControl::open().await;
    let mut events = kit.control.subscribe_events(&kit.caller.organization);
    let _parts = kit.kill().await;
    assert_eq!(within("the end", events.next()).await, None);
}

async fn hears(events: &mut EventStream, expected: &[&str]) {
    for expected in expected {
        assert_eq!(describe(&next(events).await), *expected);
    }
}

#[tokio::test]
async fn the_life_of_a_snapshot_is_told() {
    let kit = TestControl::open().await;
    let mut events = kit.control.subscribe_events(&kit.caller.organization);
    let request = NewSnapshot {
        name: "mine".to_owned(),
        image_name: Some("host:5000/a/b:1".to_owned()),
        ..NewSnapshot::default()
    };
    let made = kit.control.create_snapshot(&kit.caller, request);
    made.await.unwrap();
    hears(
        &mut events,
        &[
            "mine created",
            "mine pending -> pulling",
            "mine pulling -> active",
        ],
    )
    .await;
    let gone = kit.control.delete_snapshot(&kit.caller, "mine");
    gone.await.unwrap();
    hears(&mut events, &["mine active -> removing", "mine removed"]).await;

    // One that is made of a sandbox.
    make(&kit, "box").await;
    hears(&mut events, &["box created", "box creating -> started"]).await;
    let made = kit
        .control
        .snapshot_sandbox(&kit.caller, "box", "ours".to_owned(), false);
    made.await.unwrap();
    hears(
        &mut events,
        &[
            "ours created",
            "box started -> snapshotting",
            "ours snapshotting -> active",
            "box snapshotting -> started",
        ],
    )
    .await;
}

#[tokio::test]
async fn the_life_of_a_volume_is_told() {
    let kit = TestControl::open().await;
    let mut events = kit.control.subscribe_events(&kit.caller.organization);
    let made = kit
        .control
        .create_volume(&kit.caller, Some("data".to_owned()));
    let volume = made.await.unwrap();
    hears(
        &mut events,
        &[
            "data created",
            "data pending_create -> creating",
            "data creating -> ready",
        ],
    )
    .await;
    let request = NewSandbox {
        volumes: vec![MountRequest {
            volume: "data".to_owned(),
            mount_path: "/data".to_owned(),
            subpath: None,
            is_read_only: false,
        }],
        ..named("box")
    };
    create(&kit, request).await.unwrap();
    hears(
        &mut events,
        &["data used", "box created", "box creating -> started"],
    )
    .await;
    let id = get(&kit, "box").await.unwrap().id.clone();
    kit.control
        .delete_sandbox(&kit.caller, "box")
        .await
        .unwrap();
    vanishes(&kit, &id).await;
    while describe(&next(&mut events).await) != "box destroying -> destroyed" {}
    let gone = kit.control.delete_volume(&kit.caller, volume.id.as_str());
    gone.await.unwrap();
    hears(
        &mut events,
        &[
            "data-deleted ready -> pending_delete",
            "data-deleted pending_delete -> deleting",
            "data-deleted deleting -> deleted",
        ],
    )
    .await;
}
