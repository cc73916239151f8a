//! Invitations into an organization, and how they end.
//!
//! ```text
//! pending ──accept──► accepted        only before its time is up; only for whom it is meant
//!    ├─────decline──► declined
//!    └─────cancel───► cancelled       by an owner; a pending one whose time is up can still be cancelled
//! ```

use jiff::{SignedDuration, Timestamp};

use crate::{Access, InvitationId, OrganizationId, Reason, User};

/// How long an invitation is good where nobody says.
pub const LASTS: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Invitations of an organization that are pending at once.
pub const PENDING_MAX: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvitationStatus {
    Pending,
    Accepted,
    Declined,
    Cancelled,
}

impl InvitationStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Declined => "declined",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "pending" => Some(Self::Pending),
            "accepted" => Some(Self::Accepted),
            "declined" => Some(Self::Declined),
            "cancelled" => Some(Self::Cancelled),
            _ => None,
        }
    }
}

/// What becomes of an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvitationEvent {
    /// An owner offers something else.
    Offer {
        access: Access,
        expires_at: Option<Timestamp>,
    },
    Accept,
    Decline,
    Cancel,
}

/// Why an invitation stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvitationRefusal {
    #[error("The invitation is not pending any more: it is {}", .0.as_str())]
    NotPending(InvitationStatus),
    #[error("The invitation has expired")]
    Expired,
}

/// An offer to the holder of a mail address to become a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    pub id: InvitationId,
    pub organization_id: OrganizationId,
    /// In lower case.
    pub email: String,
    /// The address of the owner who invites, or the name where there is none.
    pub invited_by: String,
    pub access: Access,
    pub status: InvitationStatus,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Invitation {
    /// Whether it can be accepted.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.status == InvitationStatus::Pending && now < self.expires_at
    }

    /// Whether the user is the one who is invited. An address that nobody trusts is nobody's.
    pub fn is_for(&self, user: &User) -> bool {
        user.is_email_verified && user.email == self.email
    }

    /// # Errors
    /// Which rule stands against it.
    pub fn apply(&self, event: InvitationEvent, now: Timestamp) -> Result<Self, InvitationRefusal> {
        if self.status != InvitationStatus::Pending {
            return Err(InvitationRefusal::NotPending(self.status));
        }
        let mut next = Self {
            updated_at: now,
            ..self.clone()
        };
        match event {
            InvitationEvent::Cancel => {
                next.status = InvitationStatus::Cancelled;
                return Ok(next);
            }
            _ if !self.is_open(now) => return Err(InvitationRefusal::Expired),
            InvitationEvent::Offer { access, expires_at } => {
                next.access = access;
                next.expires_at = expires_at.unwrap_or(self.expires_at);
            }
            InvitationEvent::Accept => next.status = InvitationStatus::Accepted,
            InvitationEvent::Decline => next.status = InvitationStatus::Declined,
        }
        Ok(next)
    }
}

/// When an invitation ends, as its owner says it.
///
/// # Errors
/// An end that has passed.
pub fn parse_end(end: Option<Timestamp>, now: Timestamp) -> Result<Option<Timestamp>, Reason> {
    if end.is_some_and(|end| end <= now) {
        return Err(Reason::invalid("expiresAt must be in the future"));
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{MemberRole, UserId};

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
    }

    fn access(role: MemberRole) -> Access {
        Access {
            role,
            assigned: Vec::new(),
        }
    }

    fn invitation(status: InvitationStatus) -> Invitation {
        Invitation {
            id: InvitationId::from_uuid(Uuid::nil()),
            organization_id: OrganizationId::from_uuid(Uuid::nil()),
            email: "ann@example.com".to_owned(),
            invited_by: "bob@example.com".to_owned(),
            access: access(MemberRole::Member),
            status,
            expires_at: at(10),
            created_at: at(0),
            updated_at: at(0),
        }
    }

    #[test]
    fn every_status_meets_every_event() {
        use InvitationStatus::{Accepted, Cancelled, Declined, Pending};
        let offer = || InvitationEvent::Offer {
            access: access(MemberRole::Owner),
            expires_at: Some(at(20)),
        };
        let events = [
            (offer(), Pending),
            (InvitationEvent::Accept, Accepted),
            (InvitationEvent::Decline, Declined),
            (InvitationEvent::Cancel, Cancelled),
        ];
        for status in [Pending, Accepted, Declined, Cancelled] {
            for (event, becomes) in &events {
                for now in [at(9), at(10)] {
                    let next = invitation(status).apply(event.clone(), now);
                    let is_late = now == at(10) && *becomes != Cancelled;
                    let wanted = match status {
                        Pending if is_late => Err(InvitationRefusal::Expired),
                        Pending => Ok(*becomes),
                        ended => Err(InvitationRefusal::NotPending(ended)),
                    };
                    let case = format!("{status:?} {event:?} {now}");
                    assert_eq!(next.map(|next| next.status), wanted, "{case}");
                }
            }
        }
        let offered = invitation(Pending).apply(offer(), at(5)).expect("an offer");
        assert_eq!(offered.access.role, MemberRole::Owner);
        assert_eq!((offered.expires_at, offered.updated_at), (at(20), at(5)));
    }

    #[test]
    fn an_address_that_nobody_trusts_is_nobodys() {
        let invited = invitation(InvitationStatus::Pending);
        let user = |email: &str, is_email_verified| User {
            id: UserId::from_uuid(Uuid::nil()),
            name: "Ann".to_owned(),
            email: email.to_owned(),
            is_email_verified,
            is_admin: true,
            created_at: at(0),
        };
        assert!(invited.is_for(&user("ann@example.com", true)));
        assert!(!invited.is_for(&user("ann@example.com", false)));
        assert!(!invited.is_for(&user("bob@example.com", true)));
    }
}
