//! SSH access: tokens that open sessions in one sandbox until a time.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::{Phase, Reason, SandboxId, SshAccessId};

/// Characters of a token: 160 random bits in BASE32.
pub const TOKEN_CHARACTERS: usize = 32;
/// How long a token is good where its caller does not say.
pub const DEFAULT_LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// Longest time that a token is good for.
pub const MAX_LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 24);
/// An ended token is remembered for so long after its time, so that who comes with it can be told what it was.
pub const REMEMBERED_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// SHA-256 of a token. The token itself is shown once and kept nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SshTokenHash(pub [u8; 32]);

impl fmt::Debug for SshTokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SshTokenHash(..)")
    }
}

/// One token's access to one sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAccess {
    pub id: SshAccessId,
    pub sandbox_id: SandboxId,
    pub token: SshTokenHash,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// What ended it before its time.
    pub end: Option<SshAccessEnd>,
}

/// What ends a token before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SshAccessEnd {
    /// Somebody ended it. Sessions that it opened end too.
    Revoked,
    /// The sandbox got another one. Sessions that it opened go on.
    Replaced,
}

impl SshAccessEnd {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Replaced => "replaced",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Revoked, Self::Replaced]
            .into_iter()
            .find(|end| end.as_str() == text)
    }
}

/// Why a token opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SshTokenRefusal {
    #[error("this token has been revoked")]
    Revoked,
    #[error("a newer token of the sandbox has replaced this one")]
    Replaced,
    #[error("this token has expired")]
    Expired,
}

impl SshAccess {
    /// Whether the token opens a session now.
    pub fn check(&self, now: Timestamp) -> Result<(), SshTokenRefusal> {
        match self.end {
            Some(SshAccessEnd::Revoked) => Err(SshTokenRefusal::Revoked),
            _ if self.expires_at <= now => Err(SshTokenRefusal::Expired),
            Some(SshAccessEnd::Replaced) => Err(SshTokenRefusal::Replaced),
            None => Ok(()),
        }
    }
}

/// How long a token is to be good, from the minutes that a caller names. Fractions count.
pub fn lifetime(minutes: Option<f64>) -> Result<SignedDuration, Reason> {
    let Some(minutes) = minutes else {
        return Ok(DEFAULT_LIFETIME);
    };
    let lifetime = SignedDuration::try_from_secs_f64(minutes * 60.0).ok();
    lifetime
        .filter(|lifetime| *lifetime > SignedDuration::ZERO && *lifetime <= MAX_LIFETIME)
        .ok_or_else(|| {
            Reason::invalid(format!(
                "expiresInMinutes must be more than 0 and at most {}",
                MAX_LIFETIME.as_mins()
            ))
        })
}

impl Phase {
    /// Whether programs of the sandbox that were running may run still, so that who is connected to one stays so.
    pub fn keeps_programs(&self) -> bool {
        match self {
            Self::Started
            | Self::Resizing { .. }
            | Self::Snapshotting { .. }
            | Self::Forking { .. }
            | Self::Pausing
            | Self::Paused
            | Self::Resuming => true,
            Self::Creating
            | Self::Restoring
            | Self::Destroyed
            | Self::Destroying
            | Self::Stopped { .. }
            | Self::Starting
            | Self::Stopping
            | Self::Error { .. }
            | Self::BuildFailed { .. }
            | Self::PendingBuild
            | Self::BuildingSnapshot
            | Self::Unknown
            | Self::PullingSnapshot
            | Self::Archived
            | Self::Archiving => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn access(end: Option<SshAccessEnd>) -> SshAccess {
        let at = |second| Timestamp::from_second(second).unwrap();
        SshAccess {
            id: "a".parse().unwrap(),
            sandbox_id: "b".parse().unwrap(),
            token: SshTokenHash([0; 32]),
            expires_at: at(100),
            created_at: at(1),
            updated_at: at(1),
            end,
        }
    }

    #[test]
    fn a_token_is_good_until_its_time_unless_it_was_ended() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(access(None).check(at(99)), Ok(()));
        assert_eq!(access(None).check(at(100)), Err(SshTokenRefusal::Expired));
        let revoked = access(Some(SshAccessEnd::Revoked));
        assert_eq!(revoked.check(at(99)), Err(SshTokenRefusal::Revoked));
        assert_eq!(revoked.check(at(100)), Err(SshTokenRefusal::Revoked));
        let replaced = access(Some(SshAccessEnd::Replaced));
        assert_eq!(replaced.check(at(99)), Err(SshTokenRefusal::Replaced));
        assert_eq!(replaced.check(at(100)), Err(SshTokenRefusal::Expired));
    }

    #[test]
    fn a_lifetime_is_an_hour_or_what_the_caller_says_within_bounds() {
        assert_eq!(lifetime(None), Ok(SignedDuration::from_hours(1)));
        assert_eq!(lifetime(Some(1.5)), Ok(SignedDuration::from_secs(90)));
        assert_eq!(lifetime(Some(43_200.0)), Ok(MAX_LIFETIME));
        for bad in [0.0, -1.0, 43_200.1, f64::NAN, f64::INFINITY, 1e300] {
            assert!(lifetime(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_words_of_ends_are_read_back() {
        for end in [SshAccessEnd::Revoked, SshAccessEnd::Replaced] {
            assert_eq!(SshAccessEnd::parse(end.as_str()), Some(end));
        }
        assert_eq!(SshAccessEnd::parse("x"), None);
    }
}
