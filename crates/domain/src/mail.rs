//! Mail that waits to be sent, and how long it is tried.

use jiff::{SignedDuration, Timestamp};

use crate::{MailId, OrganizationId};

/// How long after each failure the next try comes. After the last, the mail is given up: some two days after the first.
const GAPS: [SignedDuration; 8] = [
    SignedDuration::from_mins(1),
    SignedDuration::from_mins(5),
    SignedDuration::from_mins(30),
    SignedDuration::from_hours(2),
    SignedDuration::from_hours(5),
    SignedDuration::from_hours(10),
    SignedDuration::from_hours(14),
    SignedDuration::from_hours(20),
];

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailKind {
    /// An invitation, to whom it is for.
    Invitation,
    /// An endpoint of webhooks that was disabled, to an owner of its organization.
    WebhookDisabled,
}

impl MailKind {
    const ALL: [Self; 2] = [Self::Invitation, Self::WebhookDisabled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::WebhookDisabled => "webhook_disabled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A mail that waits. What it says is looked up when it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedMail {
    pub id: MailId,
    pub organization_id: OrganizationId,
    pub kind: MailKind,
    /// Id of what it is about.
    pub about: String,
    /// An address in lower case.
    pub recipient: String,
    pub failures: u32,
    pub created_at: Timestamp,
    /// When it is tried next.
    pub next_at: Timestamp,
}

impl QueuedMail {
    /// The same after one more failure; None if it is given up.
    #[must_use]
    pub fn after_failure(self, now: Timestamp) -> Option<Self> {
        let gap = GAPS.get(usize::try_from(self.failures).ok()?)?;
        Some(Self {
            failures: self.failures + 1,
            next_at: now.saturating_add(*gap).unwrap_or(now),
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn gaps_grow_and_then_a_mail_is_given_up() {
        let mut mail = QueuedMail {
            id: MailId::from_uuid(Uuid::nil()),
            organization_id: OrganizationId::from_uuid(Uuid::nil()),
            kind: MailKind::Invitation,
            about: String::new(),
            recipient: "ann@example.com".to_owned(),
            failures: 0,
            created_at: Timestamp::UNIX_EPOCH,
            next_at: Timestamp::UNIX_EPOCH,
        };
        let mut last = SignedDuration::ZERO;
        let mut tries = 1;
        while let Some(next) = mail.clone().after_failure(mail.next_at) {
            let gap = next.next_at.duration_since(mail.next_at);
            assert!(gap > last, "{gap}");
            last = gap;
            mail = next;
            tries += 1;
        }
        assert_eq!(tries, GAPS.len() + 1);
        let took = mail.next_at.duration_since(Timestamp::UNIX_EPOCH);
        assert!(took > SignedDuration::from_hours(48), "{took}");
        assert!(took < SignedDuration::from_hours(72), "{took}");
    }
}
