//! A second factor beside the password, for whoever wants one: an authenticator, and codes for the day on which it is lost.
//!
//! The secret is sealed; the codes are random and kept as hashes. Each code, of either kind, is good once: that it was used is
//! written in the transaction that it opens.

use std::net::IpAddr;
use std::sync::Arc;

use alcove_domain::{Reason, RecoveryHash, SealedTotp, UserId};
use alcove_store::{SealedPlace, Tx};
use data_encoding::BASE32_NOPAD;
use sha2::{Digest as _, Sha256};

use crate::shared::Shared;
use crate::sign_in::{change, prove};
use crate::{Caller, Error, SealingKeys, totp};

const RECOVERY_CODES: usize = 10;
/// 80 bits: nobody guesses one, and it can be written down by hand.
const RECOVERY_BYTES: usize = 10;
/// Longest code that is looked at, with the spaces and dashes that people type.
const CODE_MAX_BYTES: usize = 64;

/// An authenticator that is to be confirmed by a code of it.
#[derive(Debug)]
pub struct NewTotp {
    /// In base 32, as people type it.
    pub secret: String,
    /// The same as authenticators read it.
    pub url: String,
}

fn sealing_key(shared: &Shared) -> Result<&SealingKeys, Error> {
    let key = shared.settings.sealing_key.as_ref();
    key.ok_or_else(|| {
        Error::refused(vec![Reason::unsupported(
            "This server has no key to seal secrets with",
        )])
    })
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Internal {
        doing: "opening the secret of an authenticator",
        cause: Some(Box::new(error)),
    }
}

/// What the user typed, without what is only for the eye.
fn plain(code: &str) -> String {
    let is_meant = |character: &char| !character.is_whitespace() && *character != '-';
    let plain = code.chars().filter(is_meant);
    plain.collect::<String>().to_ascii_uppercase()
}

fn recovery_hash(user: &UserId, plain: &str) -> RecoveryHash {
    RecoveryHash(Sha256::digest(format!("{user}:{plain}")).into())
}

/// Looks at the code of who has shown the right password, and uses it up.
pub(crate) async fn take(
    shared: &Shared,
    tx: &Tx,
    user: &UserId,
    code: Option<&str>,
) -> Result<Taken, Error> {
    let failed = |error| Error::store("looking at a code", error);
    let totp = tx.totp_find(user).await.map_err(failed)?;
    let Some(totp) = totp.filter(|totp| totp.is_confirmed) else {
        return match code {
            None => Ok(Taken::NotNeeded),
            Some(_) => Err(Error::refused(vec![Reason::invalid(
                "code must not be given, as there is no authenticator",
            )])),
        };
    };
    let Some(code) = code else {
        return Ok(Taken::Missing);
    };
    if code.len() > CODE_MAX_BYTES {
        return Ok(Taken::Wrong);
    }
    let code = plain(code);
    if let Some(step) = step_of(shared, user, &totp, &code)? {
        let spent = SealedTotp {
            last_step: step,
            ..totp
        };
        tx.totp_put(user, &spent).await.map_err(failed)?;
        return Ok(Taken::Right);
    }
    let taken = tx.recovery_code_take(user, recovery_hash(user, &code));
    if taken.await.map_err(failed)? {
        tracing::info!(user.id = %user, "user {user} used a recovery code");
        return Ok(Taken::Right);
    }
    Ok(Taken::Wrong)
}

/// What came of looking at a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The user has no authenticator.
    NotNeeded,
    /// There was none.
    Missing,
    Right,
    Wrong,
}

fn step_of(
    shared: &Shared,
    user: &UserId,
    totp: &SealedTotp,
    code: &str,
) -> Result<Option<i64>, Error> {
    let key = sealing_key(shared)?;
    let text = key
        .open(SealedPlace::Totp, user.as_str(), &totp.sealed)
        .map_err(broken)?;
    let secret = totp::from_text(&text).unwrap_or_default();
    Ok(totp::step_of(
        &secret,
        code,
        shared.clock.now(),
        totp.last_step,
    ))
}

/// Whether a user has an authenticator that is asked for.
pub(crate) async fn is_on(shared: &Shared, user: &UserId) -> Result<bool, Error> {
    let found = shared.store.reader().totp_find(user).await;
    let found = found.map_err(|error| Error::store("looking for an authenticator", error))?;
    Ok(found.is_some_and(|totp| totp.is_confirmed))
}

fn already_on() -> Error {
    Error::conflict("TOTP_ENABLED", "There is an authenticator already")
}

/// Begins with an authenticator, for who shows the password. It is not asked for until it is confirmed.
pub(crate) async fn begin(
    shared: &Arc<Shared>,
    caller: &Caller,
    password: &str,
    address: Option<IpAddr>,
) -> Result<NewTotp, Error> {
    let proof = prove(shared, caller, "password", password, address).await?;
    let mut secret = [0; totp::SECRET_BYTES];
    shared.rng.fill(&mut secret);
    let secret = totp::to_text(&secret);
    let user = proof.user.id.clone();
    let keys = sealing_key(shared)?;
    let url = totp::url(user.as_str(), &secret);
    let failed = |error| Error::store("beginning with an authenticator", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    let sealed = keys
        .seal(&tx, &*shared.rng, SealedPlace::Totp, user.as_str(), &secret)
        .map_err(broken)?;
    let before = tx.totp_find(&user).await.map_err(failed)?;
    if before.is_some_and(|totp| totp.is_confirmed) {
        return Err(already_on());
    }
    let totp = SealedTotp {
        sealed,
        last_step: 0,
        is_confirmed: false,
    };
    tx.totp_put(&user, &totp).await.map_err(failed)?;
    shared.end_try(&tx, &proof.attempt).await?;
    tx.commit().await.map_err(failed)?;
    Ok(NewTotp { secret, url })
}

/// Confirms an authenticator by a code of it. From then on it is asked for; the codes for its loss are told this once.
pub(crate) async fn confirm(
    shared: &Shared,
    caller: &Caller,
    code: &str,
) -> Result<Vec<String>, Error> {
    caller.require_user()?;
    crate::sign_in::session_of(caller)?;
    let user = &caller.user;
    let failed = |error| Error::store("confirming an authenticator", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    let totp = tx.totp_find(user).await.map_err(failed)?;
    let totp = match totp {
        Some(totp) if totp.is_confirmed => return Err(already_on()),
        Some(totp) => totp,
        None => {
            return Err(Error::conflict(
                "TOTP_NOT_BEGUN",
                "There is no authenticator to confirm",
            ));
        }
    };
    let Some(step) = step_of(shared, user, &totp, &plain(code))? else {
        return Err(Error::refused(vec![Reason::invalid(
            "code must be what the authenticator shows now",
        )]));
    };
    let confirmed = SealedTotp {
        last_step: step,
        is_confirmed: true,
        ..totp
    };
    tx.totp_put(user, &confirmed).await.map_err(failed)?;
    let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| new_code(shared)).collect();
    let hashes: Vec<_> = codes.iter().map(|code| recovery_hash(user, code)).collect();
    let replaced = tx.recovery_code_replace(user, &hashes).await;
    replaced.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    tracing::info!(user.id = %user, "user {user} has an authenticator");
    Ok(codes.iter().map(|code| in_groups(code)).collect())
}

fn new_code(shared: &Shared) -> String {
    let mut bytes = [0; RECOVERY_BYTES];
    shared.rng.fill(&mut bytes);
    BASE32_NOPAD.encode(&bytes)
}

/// `AAAA-BBBB-…`, for the eye.
fn in_groups(code: &str) -> String {
    let mut text = String::new();
    for (place, character) in code.chars().enumerate() {
        if place > 0 && place.is_multiple_of(4) {
            text.push('-');
        }
        text.push(character);
    }
    text
}

/// Removes the authenticator of who shows the password and a code.
pub(crate) async fn remove(
    shared: &Arc<Shared>,
    caller: &Caller,
    password: &str,
    code: &str,
    address: Option<IpAddr>,
) -> Result<(), Error> {
    let proof = prove(shared, caller, "password", password, address).await?;
    let code = code.to_owned();
    change(
        shared,
        "removing an authenticator",
        move |shared, tx| async move {
            let failed = |error| Error::store("removing an authenticator", error);
            let user = &proof.user.id;
            match take(&shared, &tx, user, Some(&code)).await? {
                Taken::Right => {}
                Taken::NotNeeded | Taken::Missing | Taken::Wrong => {
                    return Err(Error::forbidden("The code is wrong"));
                }
            }
            tx.totp_delete(user).await.map_err(failed)?;
            shared.end_try(&tx, &proof.attempt).await?;
            Ok((tx, ()))
        },
    )
    .await?;
    tracing::info!(user.id = %caller.user, "user {} has no authenticator any more", caller.user);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_the_eye_does_not_count() {
        assert_eq!(in_groups("ABCDEFGHIJ"), "ABCD-EFGH-IJ");
        assert_eq!(plain(" abcd-efgh ij\n"), "ABCDEFGHIJ");
        assert_eq!(plain("123 456"), "123456");
    }
}
