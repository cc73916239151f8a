//! URLs of files that carry their own credential.
//!
//! Whoever may write a sandbox can ask for its signing key and make such URLs without asking again. The key follows from
//! the server's secret, the sandbox, and how often it was changed; only that number is written down.

use alcove_domain::{Permission, SandboxId};
use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;

use crate::control::ToolboxTarget;
use crate::preview::anybodys;
use crate::sandboxes;
use crate::shared::Shared;
use crate::{Caller, Error};

/// What a signature begins with: its form.
const SIGNATURE_PREFIX: &str = "v1_";

/// What a signed URL can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileUse {
    Download,
    Upload,
}

impl FileUse {
    /// The method that is signed.
    fn method(self) -> &'static str {
        match self {
            Self::Download => "GET",
            Self::Upload => "POST",
        }
    }
}

/// What a visitor brings who came by a signed URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFile {
    pub use_of: FileUse,
    /// As signed: decoded once, and not tidied.
    pub path: String,
    /// Seconds since 1970; 0 is never.
    pub expires: i64,
    pub signature: String,
}

/// The sandbox's signing key.
pub(crate) async fn key(
    shared: &Shared,
    caller: &Caller,
    id_or_name: &str,
) -> Result<String, Error> {
    let id = sandbox(shared, caller, id_or_name)?;
    key_of(shared, &id).await
}

/// Changes the key, written down before this returns: no URL that was signed before is good any more.
pub(crate) async fn rotate(
    shared: &Shared,
    caller: &Caller,
    id_or_name: &str,
) -> Result<String, Error> {
    let id = sandbox(shared, caller, id_or_name)?;
    let failed = |error| Error::store("changing a signing key", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    tx.signing_key_rotate(&id).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    key_of(shared, &id).await
}

/// Lets in whoever came by a signed URL.
///
/// # Errors
/// [`Error::Unauthenticated`] whether there is no such sandbox or the signature is not of its key.
pub(crate) async fn admit(
    shared: &Shared,
    id_or_name: &str,
    file: &SignedFile,
) -> Result<ToolboxTarget, Error> {
    let entry = anybodys(shared, id_or_name).ok_or_else(Error::bad_credentials)?;
    let key = key_of(shared, &entry.id).await?;
    if !is_signed(&key, file) {
        return Err(Error::bad_credentials());
    }
    if has_expired(file, shared.clock.now()) {
        return Err(Error::Unauthenticated {
            message: "This URL has expired",
            code: "SIGNED_URL_EXPIRED",
        });
    }
    sandboxes::running(&entry.sandbox())
}

fn sandbox(shared: &Shared, caller: &Caller, id_or_name: &str) -> Result<SandboxId, Error> {
    let entry = sandboxes::find(shared, caller, id_or_name)?;
    // With the key every file of the sandbox can be read and written.
    caller.require(Permission::WriteSandboxes)?;
    Ok(entry.id.clone())
}

pub(crate) async fn key_of(shared: &Shared, sandbox: &SandboxId) -> Result<String, Error> {
    let rotations = shared.store.reader().signing_key_rotations(sandbox).await;
    let rotations = rotations.map_err(|error| Error::store("reading a signing key", error))?;
    let secret = &shared.secrets.previews;
    Ok(secret.derive(&format!("files:{sandbox}:{rotations}")))
}

fn is_signed(key: &str, file: &SignedFile) -> bool {
    let words = format!(
        "v1:files:{}:{}:{}",
        file.use_of.method(),
        file.path,
        file.expires
    );
    let given = file.signature.strip_prefix(SIGNATURE_PREFIX);
    let given = given.and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok());
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    given.is_some_and(|given| hmac::verify(&key, words.as_bytes(), &given).is_ok())
}

fn has_expired(file: &SignedFile, now: Timestamp) -> bool {
    file.expires != 0 && file.expires <= now.as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signed by the official client's own function.
    #[test]
    fn what_the_official_client_signs_is_good_and_nothing_else_is() {
        let file = SignedFile {
            use_of: FileUse::Download,
            path: "/home/daytona/a b é.txt".to_owned(),
            expires: 1_800_000_000,
            signature: "v1_tRtP2olAfAY6Llk92xEd89Si44rhxon4-Wspt-KeGuE".to_owned(),
        };
        assert!(is_signed("key", &file));
        let others = [
            SignedFile {
                use_of: FileUse::Upload,
                ..file.clone()
            },
            SignedFile {
                path: "/home/daytona/a+b é.txt".to_owned(),
                ..file.clone()
            },
            SignedFile {
                expires: 0,
                ..file.clone()
            },
            SignedFile {
                signature: file.signature[3..].to_owned(),
                ..file.clone()
            },
            SignedFile {
                signature: format!("{}=", file.signature),
                ..file.clone()
            },
            SignedFile {
                signature: "v1_".to_owned(),
                ..file.clone()
            },
            SignedFile {
                signature: String::new(),
                ..file.clone()
            },
        ];
        for other in others {
            assert!(!is_signed("key", &other), "{other:?}");
        }
        assert!(!is_signed("key2", &file));
    }

    #[test]
    fn a_url_ends_at_its_second_and_one_of_zero_never() {
        let file = |expires| SignedFile {
            use_of: FileUse::Download,
            path: String::new(),
            expires,
            signature: String::new(),
        };
        let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(100);
        assert!(has_expired(&file(100), now) && has_expired(&file(-1), now));
        assert!(!has_expired(&file(101), now) && !has_expired(&file(0), now));
    }
}
