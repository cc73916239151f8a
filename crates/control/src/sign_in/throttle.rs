//! How often somebody may try to sign in.
//!
//! A try is counted as a failure and written down before its password is looked at, and taken back if it was right. So
//! tries at the same moment do not slip through together, a restart forgets none, and where nothing can be written
//! nobody gets in.
//!
//! What is counted is a bucket, by a keyed hash of the name or the address: there is a bounded number of them, whatever
//! names are tried, and nobody outside can tell which names share one.

use std::net::IpAddr;

use alcove_domain::{AttemptPolicy, Attempts};
use alcove_store::Tx;
use aws_lc_rs::hmac;
use jiff::Timestamp;

use crate::Error;
use crate::shared::Shared;

/// Bits of a network that is one customer's, where addresses have 128.
const NETWORK_BITS: u32 = 64;

/// What a try counts against.
#[derive(Debug)]
pub(crate) struct Try {
    account: String,
    address: String,
}

impl Shared {
    pub(crate) fn try_of(&self, name: &str, address: Option<IpAddr>) -> Try {
        Try {
            account: self.account_bucket(name),
            address: self.bucket("address", &network_of(address)),
        }
    }

    /// Names that differ in case alone are one account's, where they are addresses.
    pub(super) fn account_bucket(&self, name: &str) -> String {
        self.bucket("account", &name.trim().to_lowercase())
    }

    fn bucket(&self, kind: &str, of: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secrets.sign_in);
        let tag = hmac::sign(&key, format!("{kind}:{of}").as_bytes());
        // 65,536 of each kind: few enough to keep for ever, many enough that strangers seldom share one.
        format!("{kind}:{}", hex::encode(&tag.as_ref()[..2]))
    }

    /// Counts a try as a failure, unless there were too many.
    pub(crate) async fn begin_try(&self, attempt: &Try) -> Result<(), Error> {
        let failed = |error| Error::store("counting a try to sign in", error);
        let now = self.clock.now();
        let tx = self.store.begin().await.map_err(failed)?;
        let tx = tx.beside_the_action();
        let mut counted = Vec::new();
        for (bucket, policy) in [
            (&attempt.account, AttemptPolicy::ACCOUNT),
            (&attempt.address, AttemptPolicy::ADDRESS),
        ] {
            let before = tx.login_attempts_find(bucket).await.map_err(failed)?;
            let until = before.and_then(|before| before.waits_until(policy, now));
            if let Some(until) = until {
                return Err(too_many(until, now));
            }
            counted.push((bucket, Attempts::failed(before, now)));
        }
        for (bucket, attempts) in counted {
            let put = tx.login_attempts_put(bucket, &attempts).await;
            put.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    /// The try was no failure, and no success either.
    pub(super) async fn undo_try(&self, tx: &Tx, attempt: &Try) -> Result<(), Error> {
        for bucket in [&attempt.account, &attempt.address] {
            take_back(tx, bucket).await?;
        }
        Ok(())
    }

    /// The try was right: the account begins anew, and the address has one failure fewer.
    pub(crate) async fn end_try(&self, tx: &Tx, attempt: &Try) -> Result<(), Error> {
        let failed = |error| Error::store("counting a try to sign in", error);
        let delete = tx.login_attempts_delete(&attempt.account).await;
        delete.map_err(failed)?;
        take_back(tx, &attempt.address).await
    }
}

async fn take_back(tx: &Tx, bucket: &str) -> Result<(), Error> {
    let failed = |error| Error::store("counting a try to sign in", error);
    let found = tx.login_attempts_find(bucket).await.map_err(failed)?;
    if let Some(attempts) = found {
        let fewer = attempts.taken_back();
        let put = tx.login_attempts_put(bucket, &fewer).await;
        put.map_err(failed)?;
    }
    Ok(())
}

fn too_many(until: Timestamp, now: Timestamp) -> Error {
    let wait = until.duration_since(now);
    Error::TooManyRequests {
        message: "Too many failed tries to sign in; try again later",
        retry_after: wait.try_into().unwrap_or_default(),
    }
}

/// Where a try comes from. Those of which nobody knows count together.
fn network_of(address: Option<IpAddr>) -> String {
    match address.map(|address| address.to_canonical()) {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => {
            let network = address.to_bits() >> (u128::BITS - NETWORK_BITS);
            format!("{network:x}/{NETWORK_BITS}")
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn addresses_of_one_network_count_together() {
        let network = |text: &str| network_of(Some(text.parse().unwrap()));
        assert_eq!(network("1.2.3.4"), network("::ffff:1.2.3.4"));
        assert_ne!(network("1.2.3.4"), network("1.2.3.5"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("1.2.3.4"), network_of(None));
    }
}
