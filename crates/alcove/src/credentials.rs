//! Keys that `alcove login` was given, in a file of its user.
//!
//! One key a server. Nobody else may read the file: it is written as a draft with mode 0600 and then takes its place.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// What the operator says about where it is.
#[derive(Debug, Clone, clap::Args)]
pub struct CredentialsArguments {
    /// The file that `alcove login` keeps keys in; alcove/credentials.json in the folder for configuration where it is not
    /// given.
    #[arg(long = "credentials", env = "ALCOVE_CREDENTIALS", value_name = "FILE")]
    path: Option<PathBuf>,
}

/// A key and how it is ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    pub key: String,
    /// The key's name on the server.
    pub name: String,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// The server that was logged in to last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By the address of the API, without a slash at the end.
    #[serde(default)]
    pub servers: BTreeMap<String, Login>,
}

impl CredentialsArguments {
    pub fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.path {
            return Ok(path.clone());
        }
        let folder = match std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => std::env::home_dir()
                .context("there is no home folder; give --credentials FILE")?
                .join(".config"),
        };
        Ok(folder.join("alcove").join("credentials.json"))
    }
}

/// An address as it is kept.
pub fn plain(url: &str) -> &str {
    url.trim_end_matches('/')
}

impl Credentials {
    /// None are there where there is no file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("cannot read {}", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let failed = || format!("cannot write {}", path.display());
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(folder).with_context(failed)?;
        }
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| {
                file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&draft, path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written.with_context(failed)
    }

    pub fn of(&self, url: &str) -> Option<&Login> {
        self.servers.get(plain(url))
    }

    /// The server that was logged in to last, and its key.
    pub fn current(&self) -> Option<(&str, &Login)> {
        let url = self.current.as_deref()?;
        Some((url, self.of(url)?))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_kept_where_nobody_else_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("credentials.json");
        assert_eq!(Credentials::read(&path).unwrap(), Credentials::default());
        let mut kept = Credentials {
            current: Some("http://a/api".to_owned()),
            ..Credentials::default()
        };
        let login = Login {
            key: "dtn_1".to_owned(),
            name: "login-1".to_owned(),
        };
        kept.servers
            .insert("http://a/api".to_owned(), login.clone());
        for _ in 0..2 {
            kept.write(&path).unwrap();
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = Credentials::read(&path).unwrap();
        assert_eq!(read, kept);
        assert_eq!(read.of("http://a/api/"), Some(&login));
        assert_eq!(read.current(), Some(("http://a/api", &login)));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
