//! Webhooks: what an organization is told, at addresses of its own, of what happens.
//!
//! ```text
//!  event ──> message ──> delivery, one for each endpoint ──> attempt, attempt, …
//! ```
//!
//! An endpoint gets its messages in order: while one is tried again, those behind it wait. When the last try has failed, or the
//! endpoint says that it is gone, it is disabled, and its owners are told.

pub(crate) mod url;

use std::time::Duration;

use jiff::Timestamp;

use crate::{OrganizationId, Reason, WebhookEndpointId, WebhookMessageId};

pub use url::WebhookUrl;

/// Endpoints of one organization.
pub const ENDPOINTS_MAX: u64 = 20;
/// Longest description, in characters.
const DESCRIPTION_MAX_CHARS: usize = 1000;
/// What may wait for one endpoint. Behind it is one that fails, or takes longer than the organization makes news.
pub const PENDING_MAX: u64 = 100_000;
/// How long messages are kept, and what came of them. What an organization was not told within it, it is not told.
pub const MESSAGES_KEPT: Duration = Duration::from_hours(7 * 24);
/// How long the secret before the last one signs too, so that receivers can change over.
pub const OLD_SECRET_LASTS: Duration = Duration::from_hours(24);
/// Waits after each failure, those of Svix's clients' service: 27 hours and a half in all.
const GAPS: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(10),
];
/// What an endpoint answers that wants nothing any more (410, Gone).
const GONE: u16 = 410;

/// What endpoints are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WebhookEvent {
    SandboxCreated,
    SandboxStateUpdated,
    SandboxDeleted,
    SandboxError,
    SnapshotCreated,
    SnapshotStateUpdated,
    SnapshotRemoved,
    VolumeCreated,
    VolumeStateUpdated,
    /// Another endpoint of the organization was disabled since it failed for long.
    EndpointDisabled,
}

impl WebhookEvent {
    pub const ALL: [Self; 10] = [
        Self::SandboxCreated,
        Self::SandboxStateUpdated,
        Self::SandboxDeleted,
        Self::SandboxError,
        Self::SnapshotCreated,
        Self::SnapshotStateUpdated,
        Self::SnapshotRemoved,
        Self::VolumeCreated,
        Self::VolumeStateUpdated,
        Self::EndpointDisabled,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SandboxCreated => "sandbox.created",
            Self::SandboxStateUpdated => "sandbox.state.updated",
            Self::SandboxDeleted => "sandbox.deleted",
            Self::SandboxError => "sandbox.error",
            Self::SnapshotCreated => "snapshot.created",
            Self::SnapshotStateUpdated => "snapshot.state.updated",
            Self::SnapshotRemoved => "snapshot.removed",
            Self::VolumeCreated => "volume.created",
            Self::VolumeStateUpdated => "volume.state.updated",
            Self::EndpointDisabled => "webhook.endpoint.disabled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == text)
    }
}

/// Where an organization is told of what happens. Its secrets are kept apart, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookEndpoint {
    pub id: WebhookEndpointId,
    pub organization_id: OrganizationId,
    pub url: WebhookUrl,
    pub description: String,
    /// What it is told of; empty for everything.
    pub events: Vec<WebhookEvent>,
    pub disabled: Option<Disabled>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Since when an endpoint is told nothing, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    pub at: Timestamp,
    /// A sentence for its owners. Empty where they have done it themselves.
    pub reason: String,
}

impl WebhookEndpoint {
    /// Whether it wants to hear of this, enabled or not.
    pub fn wants(&self, event: WebhookEvent) -> bool {
        self.events.is_empty() || self.events.contains(&event)
    }
}

/// What a caller says of an endpoint. Absent fields stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointRequest {
    pub url: Option<String>,
    pub description: Option<String>,
    pub events: Option<Vec<String>>,
    pub is_disabled: Option<bool>,
}

impl EndpointRequest {
    /// The endpoint with these changes, or everything that is wrong with them. `is_known` tells which hosts the operator has
    /// named.
    pub fn apply(
        &self,
        mut endpoint: WebhookEndpoint,
        now: Timestamp,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<WebhookEndpoint, Vec<Reason>> {
        let mut reasons = Vec::new();
        match self
            .url
            .as_deref()
            .map(|url| WebhookUrl::plan(url, is_known))
        {
            Some(Ok(url)) => endpoint.url = url,
            Some(Err(reason)) => reasons.push(reason),
            None => {}
        }
        if let Some(description) = &self.description {
            if description.chars().count() > DESCRIPTION_MAX_CHARS {
                reasons.push(Reason::invalid(format!(
                    "description must have at most {DESCRIPTION_MAX_CHARS} characters"
                )));
            }
            endpoint.description.clone_from(description);
        }
        if let Some(words) = &self.events {
            match parse_events(words) {
                Ok(events) => endpoint.events = events,
                Err(reason) => reasons.push(reason),
            }
        }
        match self.is_disabled {
            Some(true) if endpoint.disabled.is_none() => {
                let reason = String::new();
                endpoint.disabled = Some(Disabled { at: now, reason });
            }
            Some(false) => endpoint.disabled = None,
            Some(true) | None => {}
        }
        endpoint.updated_at = now;
        if reasons.is_empty() {
            Ok(endpoint)
        } else {
            Err(reasons)
        }
    }
}

fn parse_events(words: &[String]) -> Result<Vec<WebhookEvent>, Reason> {
    let mut events = Vec::new();
    for word in words {
        let event = WebhookEvent::parse(word).ok_or_else(|| {
            let known = WebhookEvent::ALL.map(WebhookEvent::as_str).join(", ");
            Reason::invalid(format!("eventTypes must be of: {known}"))
        })?;
        events.push(event);
    }
    events.sort_unstable();
    events.dedup();
    Ok(events)
}

/// Something that an organization is told, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookMessage {
    pub id: WebhookMessageId,
    pub organization_id: OrganizationId,
    pub event: WebhookEvent,
    /// The body, byte for byte: the signature is over it.
    pub payload: String,
    pub created_at: Timestamp,
}

/// One try to deliver a message to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookAttempt {
    pub message_id: WebhookMessageId,
    pub endpoint_id: WebhookEndpointId,
    /// Which try of this message there it is, from 1 on. Begins anew with a replay.
    pub number: u32,
    pub at: Timestamp,
    pub took: Duration,
    pub outcome: Outcome,
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint has answered.
    Answered { status: u16 },
    /// It has not, and why: a sentence for its owners.
    Failed { reason: String },
}

impl Outcome {
    /// Only an answer of 2xx is a yes: a receiver that sends its clients elsewhere has not taken the message.
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Answered { status: 200..=299 })
    }

    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered { status } => Some(*status),
            Self::Failed { .. } => None,
        }
    }

    fn said(&self) -> String {
        match self {
            Self::Answered { status } => format!("it answered {status}"),
            Self::Failed { reason } => reason.clone(),
        }
    }
}

/// What follows from a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Delivered,
    Again {
        at: Timestamp,
    },
    /// The endpoint is told nothing any more.
    Disable {
        reason: String,
    },
}

/// What follows from the try of this number, which was over at `now`, while `pending` messages wait.
pub fn after_attempt(outcome: &Outcome, number: u32, pending: u64, now: Timestamp) -> Next {
    if pending > PENDING_MAX {
        let reason = format!("More than {PENDING_MAX} messages waited for it");
        return Next::Disable { reason };
    }
    if outcome.is_delivered() {
        return Next::Delivered;
    }
    if outcome.status() == Some(GONE) {
        let reason = format!("It answered {GONE}: it is gone");
        return Next::Disable { reason };
    }
    let failures = usize::try_from(number).unwrap_or(usize::MAX).max(1);
    match GAPS.get(failures - 1) {
        Some(gap) => Next::Again { at: now + *gap },
        None => Next::Disable {
            reason: format!(
                "A message failed {number} times in more than a day, the last time since {}",
                outcome.said()
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn failed() -> Outcome {
        Outcome::Answered { status: 500 }
    }

    #[test]
    fn gaps_grow_to_a_day_and_then_the_endpoint_is_disabled() {
        let start = Timestamp::from_second(0).unwrap();
        let mut now = start;
        let mut last = Duration::ZERO;
        for number in 1..=7 {
            let Next::Again { at } = after_attempt(&failed(), number, 1, now) else {
                panic!("given up at {number}");
            };
            let gap = at.duration_since(now).unsigned_abs();
            assert!(gap >= last, "{number}");
            (now, last) = (at, gap);
        }
        let all = now.duration_since(start).unsigned_abs();
        let day = Duration::from_hours(24);
        assert!((day..2 * day).contains(&all), "{all:?}");
        let end = after_attempt(&failed(), 8, 1, now);
        assert!(matches!(end, Next::Disable { .. }), "{end:?}");
    }

    #[test]
    fn an_endpoint_that_is_gone_is_not_asked_again() {
        let now = Timestamp::from_second(0).unwrap();
        let next = after_attempt(&Outcome::Answered { status: 410 }, 1, 1, now);
        assert!(matches!(next, Next::Disable { .. }), "{next:?}");
    }

    proptest! {
        #[test]
        fn every_try_ends_in_a_delivery_a_later_try_or_the_end(
            status in 100u16..600, number in 0u32..20, pending in 0..2 * PENDING_MAX
        ) {
            let now = Timestamp::from_second(1000).unwrap();
            let outcome = Outcome::Answered { status };
            match after_attempt(&outcome, number, pending, now) {
                Next::Delivered => prop_assert!((200..300).contains(&status)),
                Next::Again { at } => prop_assert!(at > now && !outcome.is_delivered()),
                Next::Disable { reason } => prop_assert!(!reason.is_empty()),
            }
        }
    }

    #[test]
    fn each_event_has_a_name_of_its_own() {
        for event in WebhookEvent::ALL {
            assert_eq!(WebhookEvent::parse(event.as_str()), Some(event));
        }
        assert_eq!(WebhookEvent::parse("sandbox"), None);
    }
}
