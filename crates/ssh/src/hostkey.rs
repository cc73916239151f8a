//! The key by which clients know the server. It is made once and kept in the data folder: clients remember it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};

/// Why there is no host key.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    #[error("cannot read the host key {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is no private key of OpenSSH's form without a passphrase")]
    Parse {
        path: PathBuf,
        source: russh::keys::ssh_key::Error,
    },
    #[error("cannot write the host key {path}")]
    Write { path: PathBuf, source: io::Error },
}

/// The server's own key.
#[derive(Clone)]
pub struct HostKey(pub(crate) PrivateKey);

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.fingerprint())
    }
}

impl HostKey {
    /// Reads the key, or makes it where there is no file.
    ///
    /// # Errors
    /// The file is there and is not a key, or cannot be written.
    pub fn ensure(path: &Path) -> Result<Self, HostKeyError> {
        match fs::read(path) {
            Ok(text) => {
                let parsed = PrivateKey::from_openssh(&text).and_then(|key| {
                    if key.is_encrypted() {
                        Err(russh::keys::ssh_key::Error::Encrypted)
                    } else {
                        Ok(key)
                    }
                });
                parsed.map(Self).map_err(|source| HostKeyError::Parse {
                    path: path.to_owned(),
                    source,
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(source) => Err(HostKeyError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn make(path: &Path) -> Result<Self, HostKeyError> {
        let failed = |source| HostKeyError::Write {
            path: path.to_owned(),
            source,
        };
        let mut seed = [0; 32];
        rand::fill(&mut seed);
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        let text = key
            .to_openssh(LineEnding::LF)
            .map_err(|error| failed(io::Error::other(error)))?;
        // Whole or not at all under its name: half a key would keep the server from starting.
        let draft = path.with_extension("new");
        let _ = fs::remove_file(&draft);
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&draft, path).map_err(failed)?;
        Ok(Self(key))
    }

    /// The public half, as a line that clients keep.
    pub fn line(&self) -> String {
        self.0.public_key().to_openssh().unwrap_or_default()
    }

    /// By which people compare it, such as `SHA256:...`.
    pub fn fingerprint(&self) -> String {
        self.0.public_key().fingerprint(HashAlg::Sha256).to_string()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_the_owner_alone_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ssh_host_ed25519_key");
        let made = HostKey::ensure(&path).unwrap();
        assert!(made.fingerprint().starts_with("SHA256:"));
        assert!(
            made.line().starts_with("ssh-ed25519 AAAA"),
            "{}",
            made.line()
        );
        let permissions = fs::metadata(&path).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600);
        let found = HostKey::ensure(&path).unwrap();
        assert_eq!(found.fingerprint(), made.fingerprint());
        assert!(!format!("{found:?}").contains("PRIVATE"));

        let other = HostKey::ensure(&folder.path().join("other")).unwrap();
        assert_ne!(other.fingerprint(), made.fingerprint());
        fs::write(&path, "no key").unwrap();
        assert!(matches!(
            HostKey::ensure(&path),
            Err(HostKeyError::Parse { .. })
        ));
    }
}
