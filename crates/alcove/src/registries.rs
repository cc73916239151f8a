//! What the operator says about registries of images: one file, for runner and control plane.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use alcove_control::ConfiguredCredentials;
use alcove_runner::registry::{HostSettings, RegistrySettings};
use alcove_runner_api::RegistryCredentials;
use anyhow::{Context, bail};
use serde::Deserialize;

/// The file, as `docs/registries.md` describes it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default)]
    registries: BTreeMap<String, Registry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Registry {
    #[serde(default)]
    insecure: bool,
    ca: Option<PathBuf>,
    #[serde(default)]
    mirrors: Vec<String>,
    username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
}

/// The two halves of the file.
#[derive(Debug, Default)]
pub struct Registries {
    pub settings: RegistrySettings,
    pub credentials: ConfiguredCredentials,
}

impl Registries {
    /// Reads the file, and the files that it names; paths are relative to its folder.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder)
            .with_context(|| format!("the file of registries {} is wrong", path.display()))
    }

    fn parse(text: &[u8], folder: &Path) -> anyhow::Result<Self> {
        let file: File = serde_json::from_slice(text)?;
        let mut found = Self::default();
        for (host, registry) in file.registries {
            check_host(&host)?;
            registry
                .mirrors
                .iter()
                .try_for_each(|mirror| check_host(mirror))?;
            if registry.insecure && registry.ca.is_some() {
                bail!("{host}: insecure is plain HTTP, which has no use for a ca");
            }
            let ca = registry.ca.map(|ca| folder.join(ca));
            if let Some(ca) = &ca {
                fs::metadata(ca).with_context(|| format!("{host}: no file {}", ca.display()))?;
            }
            let password = match (registry.password, registry.password_file) {
                (Some(_), Some(_)) => bail!("{host}: give password or passwordFile, not both"),
                (Some(password), None) => Some(password),
                (None, Some(file)) => {
                    let file = folder.join(file);
                    let text = fs::read_to_string(&file)
                        .with_context(|| format!("{host}: cannot read {}", file.display()))?;
                    Some(text.trim_end_matches(['\r', '\n']).to_owned())
                }
                (None, None) => None,
            };
            let credentials = match (registry.username, password) {
                (Some(username), Some(password)) => {
                    Some(RegistryCredentials { username, password })
                }
                (None, None) => None,
                _ => bail!("{host}: username and password belong together"),
            };
            if let Some(credentials) = &credentials {
                found
                    .credentials
                    .0
                    .insert(host.clone(), credentials.clone());
            }
            let settings = HostSettings {
                is_insecure: registry.insecure,
                ca,
                mirrors: registry.mirrors,
                credentials,
            };
            found.settings.hosts.insert(host, settings);
        }
        Ok(found)
    }
}

/// A host with perhaps a port, and nothing else: a scheme or a path would never match a reference.
fn check_host(host: &str) -> anyhow::Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(is_plain) {
        bail!("{host:?} is not a host, such as registry.example:5000");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn parse(text: &str) -> anyhow::Result<Registries> {
        Registries::parse(text.as_bytes(), Path::new("/nowhere"))
    }

    #[test]
    fn a_registry_has_its_way_and_its_credentials() {
        let found = parse(
            r#"{"registries": {
                "docker.io": {"mirrors": ["mirror.example:5000"]},
                "mirror.example:5000": {"insecure": true, "username": "u", "password": "p"},
                "plain.example": {}
            }}"#,
        )
        .unwrap();
        assert_eq!(found.settings.hosts.len(), 3);
        assert!(found.settings.hosts["mirror.example:5000"].is_insecure);
        assert_eq!(
            found.settings.hosts["docker.io"].mirrors,
            ["mirror.example:5000"]
        );
        let names: Vec<&String> = found.credentials.0.keys().collect();
        assert_eq!(names, ["mirror.example:5000"]);
    }

    #[test]
    fn a_password_may_stand_in_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "p\n").unwrap();
        let text = br#"{"registries": {"a.example": {"username": "u", "passwordFile": "secret"}}}"#;
        let found = Registries::parse(text, folder.path()).unwrap();
        assert_eq!(found.credentials.0["a.example"].password, "p");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, part) in [
            ("{", "EOF"),
            (r#"{"registry": {}}"#, "unknown field"),
            (r#"{"registries": {"a": {"tls": 1}}}"#, "unknown field"),
            (r#"{"registries": {"https://a": {}}}"#, "not a host"),
            (
                r#"{"registries": {"a": {"mirrors": ["a/b"]}}}"#,
                "not a host",
            ),
            (
                r#"{"registries": {"a": {"username": "u"}}}"#,
                "belong together",
            ),
            (
                r#"{"registries": {"a": {"insecure": true, "ca": "x"}}}"#,
                "no use",
            ),
            (r#"{"registries": {"a": {"ca": "x"}}}"#, "no file"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
