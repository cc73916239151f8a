//! What an image says about itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The configuration of an image, as far as a Dockerfile can set it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Each name once, in the order in which they were first set.
    pub env: Vec<(String, String)>,
    /// A name or a number, perhaps with a group after a colon; empty for root.
    pub user: String,
    pub workdir: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// `80/tcp` and the like.
    pub exposed_ports: BTreeSet<String>,
    pub volumes: BTreeSet<String>,
    pub stop_signal: String,
    pub healthcheck: Option<Healthcheck>,
    /// The shell of the shell form; empty for `/bin/sh -c`.
    pub shell: Vec<String>,
    /// Instructions for the images that are built on this one.
    pub on_build: Vec<String>,
}

/// Recorded for whoever runs the image elsewhere; nothing here checks it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, or `CMD` or `CMD-SHELL` and the command.
    pub test: Vec<String>,
    /// Nanoseconds, as the OCI configuration has them; 0 for the default.
    pub interval: u64,
    pub timeout: u64,
    pub start_period: u64,
    pub start_interval: u64,
    pub retries: u64,
}

impl Config {
    pub fn variable(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn set_variable(&mut self, name: &str, value: String) {
        match self.env.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.env.push((name.to_owned(), value)),
        }
    }

    /// The command line of a command in shell form.
    pub fn shell_form(&self, text: &str) -> Vec<String> {
        let mut argv = if self.shell.is_empty() {
            vec!["/bin/sh".to_owned(), "-c".to_owned()]
        } else {
            self.shell.clone()
        };
        argv.push(text.to_owned());
        argv
    }

    /// A path as it is meant in the working folder: absolute, without `.` and `..`.
    pub fn resolve(&self, path: &str) -> String {
        let base = if path.starts_with('/') {
            ""
        } else {
            &self.workdir
        };
        let parts = alcove_glob::clean(&format!("{base}/{path}"));
        format!("/{}", parts.join("/"))
    }
}
