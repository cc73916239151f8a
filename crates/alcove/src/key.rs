//! Keys that are kept in files of the data folder: the administrator's API key, given by the operator or made at the
//! first start, and the key that seals other people's passwords.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alcove_control::{KeyKeeper, SealingKey, SealingKeys};
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

/// The keys that seal what the store keeps of others: those in the file, one a line and the one that seals first. Where
/// there is no file, a key is made. They are not in the store, so that a copy of the database gives nothing away.
pub fn sealing(path: &Path) -> anyhow::Result<SealingKeys> {
    let keeper = KeyFile(path.to_owned());
    let keys = match fs::read_to_string(path) {
        Ok(text) => read(&text)
            .with_context(|| format!("{} does not hold 64 hex digits a line", path.display()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0_u8; 32];
            rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
                .context("cannot draw a key")?;
            let keys = vec![SealingKey::new(bytes)];
            keeper
                .keep(&keys)
                .with_context(|| format!("cannot write {}", path.display()))?;
            keys
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    let mut keys = keys.into_iter();
    let current = keys
        .next()
        .with_context(|| format!("{} is empty", path.display()))?;
    Ok(SealingKeys::new(current, keys.collect(), Arc::new(keeper)))
}

fn read(text: &str) -> anyhow::Result<Vec<SealingKey>> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut bytes = [0_u8; 32];
            hex::decode_to_slice(line, &mut bytes)?;
            Ok(SealingKey::new(bytes))
        })
        .collect()
}

/// The file that keeps the keys.
#[derive(Debug)]
struct KeyFile(PathBuf);

impl KeyKeeper for KeyFile {
    fn keep(&self, keys: &[SealingKey]) -> io::Result<()> {
        let lines: Vec<String> = keys.iter().map(|key| hex::encode(key.bytes())).collect();
        save(&self.0, &lines.join("\n"))
    }
}

fn write(path: &Path, value: &str) -> anyhow::Result<()> {
    save(path, value).with_context(|| format!("cannot write {}", path.display()))
}

/// Puts a file in the place of the one before, for good.
fn save(path: &Path, value: &str) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    writeln!(file, "{value}")?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
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
    fn sealing_keys_come_back_as_they_were_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealing.key");
        let first = sealing(&path).unwrap().status();
        assert_eq!(sealing(&path).unwrap().status(), first);
        let text = fs::read_to_string(&path).unwrap();
        let two = [SealingKey::new([1; 32]), read(&text).unwrap().remove(0)];
        KeyFile(path.clone()).keep(&two).unwrap();
        let both = sealing(&path).unwrap().status();
        assert_eq!(both.older, [first.current]);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for broken in ["", "0", &text[..63], "secret"] {
            fs::write(&path, broken).unwrap();
            sealing(&path).unwrap_err();
        }
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
