use alcove_control::{Event, EventBody, EventStream};
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
    const ROUNDS: usize = 200;
    let kit = TestControl::open().await;
    let mut events = kit.control.subscribe_events(&kit.caller.organization);
    let id = make(&kit, "box").await.id.clone();
    // Three events a stop and three a start: more than the listeners' buffer holds.
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
