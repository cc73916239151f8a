//! Keys that are kept in files of the data folder: the administrator's API key, given by the operator or made at the
//! first start, and the key that seals other people's passwords.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use alcove_control::SealingKey;
use anyhow::Context;

/// The key, and whether this call made it.
#[derive(Debug)]
pub struct AdminKey {
    pub value: String,
    pub is_new: bool,
}

/// Takes the operator's key, else the one in the file, else makes one and writes the file.
pub fn ensure(path: &Path, given: Option<&str>) -> anyhow::Result<AdminKey> {
    if let Some(value) = given.filter(|value| !value.is_empty()) {
        write(path, value)?;
        return Ok(AdminKey {
            value: value.to_owned(),
            is_new: false,
        });
    }
    match fs::read_to_string(path) {
        Ok(text) => Ok(AdminKey {
            value: text.trim().to_owned(),
            is_new: false,
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0_u8; 32];
            rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
                .context("cannot draw a key")?;
            // The form of the original's keys: some programs check it before they send anything.
            let value = format!("dtn_{}", hex::encode(bytes));
            write(path, &value)?;
            Ok(AdminKey {
                value,
                is_new: true,
            })
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The key that seals what the store keeps of passwords: the one in the file, which is made where it is not there.
/// It is not in the store, so that a copy of the database gives nothing away.
pub fn sealing(path: &Path) -> anyhow::Result<SealingKey> {
    let mut bytes = [0_u8; 32];
    match fs::read_to_string(path) {
        Ok(text) => hex::decode_to_slice(text.trim(), &mut bytes)
            .with_context(|| format!("{} does not hold 64 hex digits", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
                .context("cannot draw a key")?;
            write(path, &hex::encode(bytes))?;
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    }
    Ok(SealingKey::new(bytes))
}

fn write(path: &Path, value: &str) -> anyhow::Result<()> {
    let draft = path.with_extension("draft");
    let save = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        writeln!(file, "{value}")?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    save().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_the_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.key");
        let first = ensure(&path, None).unwrap();
        let second = ensure(&path, None).unwrap();
        assert!(first.is_new && !second.is_new);
        assert_eq!(first.value, second.value);
        assert_eq!(first.value.len(), "dtn_".len() + 64);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn the_operators_key_wins_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.key");
        ensure(&path, None).unwrap();
        assert_eq!(ensure(&path, Some("dtn_mine")).unwrap().value, "dtn_mine");
        assert_eq!(ensure(&path, None).unwrap().value, "dtn_mine");
    }
}
