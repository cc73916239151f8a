//! Passwords, as they are kept: argon2id with a salt of its own each.
//!
//! Hashing takes memory and a processor's time on purpose. A few at once are worked on, apart from the threads that serve
//! requests; who has to wait too long is told to come again.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OnceCell, Semaphore};

use crate::{Error, Rng};

/// Hashes at once. Each takes the memory of its cost.
const AT_ONCE: usize = 2;
/// How long somebody waits for a turn.
const TURN_LIMIT: Duration = Duration::from_secs(10);
const SALT_BYTES: usize = 16;

/// What a guess at a password costs whoever has stolen its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost {
    pub memory_kib: u32,
    pub passes: u32,
}

impl Default for PasswordCost {
    /// What OWASP's cheat sheet on storing passwords asks for with one lane.
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            passes: 2,
        }
    }
}

impl PasswordCost {
    /// The least that argon2 takes. For tests.
    pub const LEAST: Self = Self {
        memory_kib: 8,
        passes: 1,
    };
}

/// Makes and checks hashes.
#[derive(Debug)]
pub(crate) struct Passwords {
    cost: PasswordCost,
    turns: Arc<Semaphore>,
    /// The hash that a password is compared with where there is no account, so that it takes as long.
    nobodys: OnceCell<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot hash a password: {0}")]
struct HashError(argon2::password_hash::Error);

impl Passwords {
    pub fn new(cost: PasswordCost) -> Self {
        Self {
            cost,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            nobodys: OnceCell::new(),
        }
    }

    /// The hash of a password, as it is kept.
    pub async fn hash(&self, rng: &dyn Rng, password: &str) -> Result<String, Error> {
        let mut salt = [0; SALT_BYTES];
        rng.fill(&mut salt);
        let password = password.to_owned();
        let cost = self.cost;
        let hashed = self
            .in_turn(move || {
                let params = Params::new(cost.memory_kib, cost.passes, 1, None)
                    .map_err(argon2::password_hash::Error::from)?;
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                let hash: PasswordHash =
                    argon2.hash_password_with_salt(password.as_bytes(), &salt)?;
                Ok(hash.to_string())
            })
            .await?;
        hashed.map_err(|error| internal(HashError(error)))
    }

    /// Whether it is the password of this hash; of none where there is no account, which takes as long.
    pub async fn verify(
        &self,
        rng: &dyn Rng,
        hash: Option<String>,
        password: &str,
    ) -> Result<bool, Error> {
        let nobodys = self
            .nobodys
            .get_or_try_init(|| self.hash(rng, "nobody's password"))
            .await?;
        let is_somebodys = hash.is_some();
        let hash = hash.unwrap_or_else(|| nobodys.clone());
        let password = password.to_owned();
        let verified = self
            .in_turn(move || Argon2::default().verify_password(password.as_bytes(), hash.as_str()))
            .await?;
        match verified {
            Ok(()) => Ok(is_somebodys),
            Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(internal(HashError(error))),
        }
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(TURN_LIMIT, turn).await else {
            return Err(Error::Unavailable {
                message: "Too many sign in at once",
                retry_after: Some(TURN_LIMIT),
                cause: None,
            });
        };
        // The turn goes with the work: a caller that goes away does not make room for another.
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(internal)
    }
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Internal {
        doing: "hashing a password",
        cause: Some(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::SystemRng;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_and_no_other() {
        let passwords = Passwords::new(PasswordCost::LEAST);
        let hash = passwords.hash(&SystemRng, "correct horse").await.unwrap();
        let again = passwords.hash(&SystemRng, "correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        assert_ne!(hash, again, "each has a salt of its own");
        for (hash, password, fits) in [
            (Some(hash.clone()), "correct horse", true),
            (Some(hash.clone()), "correct hors", false),
            (Some(hash), "", false),
            (None, "correct horse", false),
            (None, "nobody's password", false),
        ] {
            let verified = passwords.verify(&SystemRng, hash, password).await;
            assert_eq!(verified.unwrap(), fits, "{password}");
        }
    }

    #[tokio::test]
    async fn a_hash_that_cannot_be_read_is_our_fault_and_lets_nobody_in() {
        let passwords = Passwords::new(PasswordCost::LEAST);
        let verified = passwords.verify(&SystemRng, Some("x".to_owned()), "x");
        assert!(verified.await.is_err());
    }

    /// What is kept today must be understood by every later version.
    #[tokio::test]
    async fn a_hash_of_the_default_cost_that_was_kept_fits_its_password() {
        let passwords = Passwords::new(PasswordCost::default());
        let hash = passwords.hash(&SystemRng, "correct horse").await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        let verified = passwords.verify(&SystemRng, Some(hash), "correct horse");
        assert!(verified.await.unwrap());
    }
}
