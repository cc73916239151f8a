//! What a socket need not show: states that are over before anybody could act on them.
//!
//! Answers to create, start and stop come when the work is done, and clients take what a socket tells them for newer than
//! an answer. One whose socket is read late would hear of the beginning after the end was answered, and show for a moment a
//! sandbox as one that is being made while it runs. So the word of a passing state waits a little. If the end of it comes
//! meanwhile, both are told at once, and both with the sandbox as it is then: that is what clients go by. The changes
//! themselves are told as they were.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alcove_control::{Event, EventBody};
use alcove_domain::{Sandbox, SandboxId, SandboxState};
use tokio::time::Instant;

/// How long the word of a passing state waits. Most creates, starts and stops are over by then; who waits for a longer
/// one is told in good time.
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);

/// Takes events and gives out those to tell. The order of one sandbox's events stays.
#[derive(Default)]
pub(crate) struct Hold {
    held: HashMap<SandboxId, Held>,
}

struct Held {
    until: Instant,
    events: Vec<Event>,
}

impl Hold {
    /// Takes the next event, and gives what is to be told now.
    pub(crate) fn take(&mut self, event: Event, now: Instant) -> Vec<Event> {
        let Some(sandbox) = sandbox_of(&event.body).cloned() else {
            return vec![event];
        };
        if is_passing(sandbox.state()) {
            let held = self.held.entry(sandbox.id.clone());
            let held = held.or_insert_with(|| Held {
                until: now + PATIENCE,
                events: Vec::new(),
            });
            held.events.push(event);
            return Vec::new();
        }
        let held = self.held.remove(&sandbox.id);
        let mut told: Vec<Event> = held
            .into_iter()
            .flat_map(|held| held.events)
            .map(|event| overtaken(event, &sandbox))
            .collect();
        told.push(event);
        told
    }

    /// When something has waited long enough.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.held.values().map(|held| held.until).min()
    }

    /// What has waited long enough.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Event> {
        let due = self.held.extract_if(|_, held| held.until <= now);
        let mut told: Vec<Event> = due.flat_map(|(_, held)| held.events).collect();
        told.sort_by_key(|event| event.sequence);
        told
    }
}

/// The word of a passing state, with the sandbox as it is by now.
fn overtaken(mut event: Event, now: &Arc<Sandbox>) -> Event {
    if let Some(sandbox) = sandbox_of_mut(&mut event.body) {
        *sandbox = Arc::clone(now);
    }
    event
}

fn sandbox_of(body: &EventBody) -> Option<&Arc<Sandbox>> {
    match body {
        EventBody::SandboxCreated { sandbox }
        | EventBody::SandboxStateUpdated { sandbox, .. }
        | EventBody::SandboxDesiredStateUpdated { sandbox, .. } => Some(sandbox),
        _ => None,
    }
}

fn sandbox_of_mut(body: &mut EventBody) -> Option<&mut Arc<Sandbox>> {
    match body {
        EventBody::SandboxCreated { sandbox }
        | EventBody::SandboxStateUpdated { sandbox, .. }
        | EventBody::SandboxDesiredStateUpdated { sandbox, .. } => Some(sandbox),
        _ => None,
    }
}

/// Whether work is done that ends in another state.
fn is_passing(state: SandboxState) -> bool {
    use SandboxState as S;
    match state {
        S::Creating
        | S::Restoring
        | S::Destroying
        | S::Starting
        | S::Stopping
        | S::PendingBuild
        | S::BuildingSnapshot
        | S::Unknown
        | S::PullingSnapshot
        | S::Archiving
        | S::Resizing
        | S::Snapshotting
        | S::Forking
        | S::Pausing
        | S::Resuming => true,
        S::Destroyed
        | S::Started
        | S::Stopped
        | S::Error
        | S::BuildFailed
        | S::Archived
        | S::Paused => false,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use alcove_domain::NewSandbox;
    use alcove_testkit::TestControl;
    use futures_util::StreamExt;

    use super::*;

    /// What the life of a sandbox says: made, stopped, deleted.
    async fn life(kit: &TestControl, name: &str) -> Vec<Event> {
        let (control, caller) = (&kit.control, &kit.caller);
        let events = control.subscribe_events(&caller.organization);
        let request = NewSandbox {
            name: Some(name.to_owned()),
            ..NewSandbox::default()
        };
        control.create_sandbox(caller, request).await.unwrap();
        control.stop_sandbox(caller, name, false).await.unwrap();
        control.delete_sandbox(caller, name).await.unwrap();
        events.take(8).collect().await
    }

    fn describe(event: &Event) -> String {
        match &event.body {
            EventBody::SandboxCreated { sandbox } => format!("created {}", sandbox.state()),
            EventBody::SandboxStateUpdated {
                sandbox,
                old_state,
                new_state,
            } => format!("{old_state} -> {new_state}, is {}", sandbox.state()),
            EventBody::SandboxDesiredStateUpdated {
                sandbox,
                new_desired_state,
                ..
            } => format!("should be {new_desired_state}, is {}", sandbox.state()),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_state_that_is_over_in_time_is_told_with_what_came_of_it() {
        let kit = TestControl::open().await;
        let (mut hold, now) = (Hold::default(), Instant::now());
        let events = life(&kit, "box").await.into_iter();
        let told = events.flat_map(|event| hold.take(event, now));
        let told: Vec<String> = told.map(|event| describe(&event)).collect();
        assert_eq!(
            told,
            [
                "created started",
                "creating -> started, is started",
                "should be stopped, is stopped",
                "started -> stopping, is stopped",
                "stopping -> stopped, is stopped",
                "should be destroyed, is destroyed",
                "stopped -> destroying, is destroyed",
                "destroying -> destroyed, is destroyed",
            ]
        );
        assert_eq!(hold.due(), None);
    }

    #[tokio::test]
    async fn a_state_that_lasts_is_told_once_it_has_waited() {
        let kit = TestControl::open().await;
        let (mut hold, mut now) = (Hold::default(), Instant::now());
        let (mut told, mut all) = (Vec::new(), Vec::new());
        for event in life(&kit, "box").await {
            all.push(describe(&event));
            told.extend(hold.take(event, now));
            now += PATIENCE.saturating_sub(Duration::from_millis(1));
            told.extend(hold.take_due(now));
            now += Duration::from_millis(1);
            told.extend(hold.take_due(now));
        }
        let told: Vec<String> = told.iter().map(describe).collect();
        assert_eq!(told, all);
    }

    #[tokio::test]
    async fn what_waits_holds_up_nothing_else_and_keeps_its_order() {
        let kit = TestControl::open().await;
        let (mut hold, now) = (Hold::default(), Instant::now());
        let (first, second) = (life(&kit, "first").await, life(&kit, "second").await);
        // Both are being made, then one runs.
        assert!(hold.take(first[0].clone(), now).is_empty());
        assert!(hold.take(second[0].clone(), now + PATIENCE / 2).is_empty());
        assert_eq!(hold.take(second[1].clone(), now + PATIENCE / 2).len(), 2);
        assert_eq!(hold.due(), Some(now + PATIENCE));
        // What passes on from one state to the next waits as long as its first word.
        for event in &second[2..4] {
            assert!(hold.take(event.clone(), now + PATIENCE / 2).is_empty());
        }
        let told = hold.take_due(now + PATIENCE * 2);
        let told: Vec<i64> = told.iter().map(|event| event.sequence).collect();
        assert!(told.is_sorted() && told.len() == 3, "{told:?}");
    }
}
