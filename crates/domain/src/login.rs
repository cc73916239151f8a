//! How people come in with a password: sessions, links that set a password, and how often one may try.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::{Reason, SsoOrigin, UserId};

/// Shortest password, in characters: long enough that the bound on tries keeps guesses hopeless (NIST SP 800-63B asks for 8).
pub const PASSWORD_MIN_CHARS: usize = 12;
/// Longest password, in bytes. Nobody types more, and more would only be work for the server.
pub const PASSWORD_MAX_BYTES: usize = 1_024;

/// A session that is not used for so long has ended.
pub const SESSION_IDLE: SignedDuration = SignedDuration::from_hours(12);
/// A session ends so long after its beginning, whatever its use.
pub const SESSION_LASTS: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Sessions that one user can have at once; the one that was used least recently makes room.
pub const SESSIONS_MAX: usize = 100;
/// A link that sets a password is good for so long.
pub const LINK_LASTS: SignedDuration = SignedDuration::from_hours(24);

macro_rules! secret_hash {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// The text is random and long, so a plain SHA-256 is enough, and looking one up by its hash tells an attacker
        /// nothing by its timing.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

secret_hash!(
    /// What is kept of a session's text.
    SessionHash
);
secret_hash!(
    /// What is kept of the text of a link that sets a password.
    LinkHash
);

secret_hash!(
    /// What is kept of a code that stands for one of an authenticator, once. It has 80 random bits.
    RecoveryHash
);

/// A user's authenticator, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedTotp {
    pub sealed: Vec<u8>,
    /// The step of the last code that was used: none is good twice.
    pub last_step: i64,
    /// Whether the user has shown a code of it. It is asked for from then on.
    pub is_confirmed: bool,
}

/// Somebody who came in with a password, and stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSession {
    pub hash: SessionHash,
    pub user_id: UserId,
    pub created_at: Timestamp,
    /// Written down now and then; a use of the last seconds may be missing.
    pub last_used_at: Timestamp,
    /// However much it is used.
    pub expires_at: Timestamp,
    /// The provider of an organization that let its user in, if one did: the session is of that organization alone.
    pub came_by: Option<SsoOrigin>,
}

impl LoginSession {
    /// One that begins now.
    pub fn begin(hash: SessionHash, user_id: UserId, now: Timestamp) -> Self {
        Self {
            hash,
            user_id,
            created_at: now,
            last_used_at: now,
            expires_at: after(now, SESSION_LASTS),
            came_by: None,
        }
    }

    /// When it ends, unless it is used again.
    pub fn ends_at(&self) -> Timestamp {
        ends_at(self.last_used_at, self.expires_at)
    }
}

/// When a session ends that was last used then, and ends at the latest then.
pub fn ends_at(last_used_at: Timestamp, expires_at: Timestamp) -> Timestamp {
    after(last_used_at, SESSION_IDLE).min(expires_at)
}

/// Lets its holder set the password of a user, once. A user has at most one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordLink {
    pub hash: LinkHash,
    pub user_id: UserId,
    pub expires_at: Timestamp,
    /// Whether the user's authenticator goes with the password.
    pub removes_totp: bool,
}

impl PasswordLink {
    pub fn begin(hash: LinkHash, user_id: UserId, removes_totp: bool, now: Timestamp) -> Self {
        Self {
            hash,
            user_id,
            expires_at: after(now, LINK_LASTS),
            removes_totp,
        }
    }
}

/// # Errors
/// A password that is too short to be one, or longer than anybody types.
pub fn check_password(field: &str, password: &str) -> Result<(), Reason> {
    if password.len() > PASSWORD_MAX_BYTES {
        return Err(Reason::invalid(format!(
            "{field} must be shorter than or equal to {PASSWORD_MAX_BYTES} bytes"
        )));
    }
    if password.chars().count() < PASSWORD_MIN_CHARS {
        return Err(Reason::invalid(format!(
            "{field} must be longer than or equal to {PASSWORD_MIN_CHARS} characters"
        )));
    }
    Ok(())
}

/// How often one may fail, and what comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptPolicy {
    /// So many failures; the next try waits.
    pub free: u32,
}

impl AttemptPolicy {
    /// For one account, from wherever: some slips of a person, and then about a hundred guesses a day.
    pub const ACCOUNT: Self = Self { free: 10 };
    /// For one address, at whichever accounts: an office may be behind one.
    pub const ADDRESS: Self = Self { free: 50 };
}

/// The first wait; each further failure doubles it.
pub const WAIT_MIN: SignedDuration = SignedDuration::from_secs(30);
/// The longest wait.
pub const WAIT_MAX: SignedDuration = SignedDuration::from_mins(15);
/// Failures are forgotten after so long without another one.
pub const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Failures to sign in so far, by one account or from one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    pub failures: u32,
    pub last_at: Timestamp,
}

impl Attempts {
    /// Until when nothing is tried, if that is not over now.
    pub fn waits_until(&self, policy: AttemptPolicy, now: Timestamp) -> Option<Timestamp> {
        let beyond = self.failures.checked_sub(policy.free)?;
        // Ten doublings are beyond the longest wait.
        let wait = WAIT_MIN.saturating_mul(1 << beyond.min(10)).min(WAIT_MAX);
        let until = after(self.last_at, wait);
        (now < until).then_some(until)
    }

    /// With one more failure.
    #[must_use]
    pub fn failed(before: Option<Self>, now: Timestamp) -> Self {
        let known = before.filter(|before| !before.is_forgotten(now));
        Self {
            failures: known.map_or(0, |known| known.failures).saturating_add(1),
            last_at: now,
        }
    }

    /// With one failure fewer: what was counted ahead turned out to be none.
    #[must_use]
    pub fn taken_back(self) -> Self {
        Self {
            failures: self.failures.saturating_sub(1),
            ..self
        }
    }

    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        after(self.last_at, FORGOTTEN_AFTER) <= now
    }
}

fn after(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use uuid::Uuid;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_session_ends_when_it_is_not_used_and_at_its_end_whatever_its_use() {
        let mut session = LoginSession::begin(
            SessionHash([1; 32]),
            UserId::from_uuid(Uuid::nil()),
            at(1_000),
        );
        assert_eq!(session.ends_at(), at(1_000 + 12 * 3_600));
        session.last_used_at = at(1_000 + 7 * 24 * 3_600 - 1);
        assert_eq!(session.ends_at(), at(1_000 + 7 * 24 * 3_600));
        assert_eq!(format!("{:?}", session.hash), "SessionHash(..)");
    }

    #[test]
    fn passwords_are_neither_short_nor_endless() {
        assert!(check_password("password", "twelve chars").is_ok());
        assert!(check_password("password", "ää ää ää ää ä").is_ok());
        assert!(check_password("password", "eleven char").is_err());
        assert!(check_password("password", &"x".repeat(1_024)).is_ok());
        assert!(check_password("password", &"x".repeat(1_025)).is_err());
    }

    #[test]
    fn after_some_failures_each_further_one_waits_longer_up_to_a_bound() {
        let policy = AttemptPolicy { free: 2 };
        let mut attempts = None;
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..10 {
            let failed = Attempts::failed(attempts, now);
            let until = failed.waits_until(policy, now).unwrap_or(now);
            assert_eq!(failed.waits_until(policy, until), None);
            waits.push(until.as_second() - now.as_second());
            (attempts, now) = (Some(failed), until);
        }
        assert_eq!(waits, [0, 30, 60, 120, 240, 480, 900, 900, 900, 900]);
        let many = Attempts {
            failures: u32::MAX,
            last_at: now,
        };
        let until = many.waits_until(policy, now).unwrap();
        assert_eq!(until.as_second() - now.as_second(), 900);
        assert_eq!(Attempts::failed(Some(many), now).failures, u32::MAX);
    }

    #[test]
    fn failures_are_forgotten_after_a_day_without_any_and_can_be_taken_back() {
        let one = Attempts::failed(None, at(0));
        let two = Attempts::failed(Some(one), at(86_399));
        assert_eq!((one.failures, two.failures), (1, 2));
        assert_eq!(two.taken_back(), Attempts { failures: 1, ..two });
        let anew = Attempts::failed(Some(two), at(86_399 + 86_400));
        assert_eq!(anew.failures, 1);
    }
}
