//! What an image says about itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What a text takes in memory beside its bytes.
pub(crate) const TEXT_BYTES: usize = 48;

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
    /// What its texts take in memory, about.
    pub fn bytes(&self) -> usize {
        let Self {
            env,
            user,
            workdir,
            entrypoint,
            cmd,
            labels,
            exposed_ports,
            volumes,
            stop_signal,
            healthcheck,
            shell,
            on_build,
        } = self;
        let lists = [entrypoint, cmd, shell, on_build].into_iter().flatten();
        let sets = exposed_ports.iter().chain(volumes);
        let pairs = env.iter().map(|(name, value)| (name, value));
        let pairs = pairs.chain(labels).flat_map(|(name, value)| [name, value]);
        let test = healthcheck.iter().flat_map(|check| &check.test);
        let texts = lists.chain(sets).chain(pairs).chain(test);
        let texts = texts.chain([user, workdir, stop_signal]);
        texts.map(|text| text.len() + TEXT_BYTES).sum()
    }

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
