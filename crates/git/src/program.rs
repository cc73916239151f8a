//! Addresses that take ssh: the image's own git, for the part that is the network's.
//!
//! Names and refspecs are checked before they come here, and nothing of a request can become an option. Hooks,
//! prompts and credential helpers are off; ssh uses the keys and the known hosts of the sandbox's user.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use alcove_agent_api::ErrorCode;
use git2::{Oid, Repository};

use crate::Fault;
use crate::network::{Depth, Heads, Tags, refused};
use crate::url::Url;

/// What of the program's words becomes part of a message.
const MAX_WORDS: usize = 16 << 10;

pub struct Program {
    git_dir: PathBuf,
    url: String,
    has_ssh_command: bool,
}

impl Program {
    pub fn new(repository: &Repository, url: &Url) -> Result<Self, Fault> {
        let config = repository.config()?;
        let has_ssh_command = config.get_entry("core.sshCommand").is_ok()
            || ["GIT_SSH", "GIT_SSH_COMMAND"]
                .iter()
                .any(|name| std::env::var_os(name).is_some());
        Ok(Self {
            git_dir: repository.path().to_path_buf(),
            url: url.text.clone(),
            has_ssh_command,
        })
    }

    pub fn list(&self) -> Result<Heads, Fault> {
        let output = self.run(&["ls-remote", "--symref"], &[])?;
        let mut heads = Heads::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some((what, name)) = line.split_once('\t') else {
                continue;
            };
            if let Some(target) = what.strip_prefix("ref: ") {
                if name == "HEAD" {
                    heads.default_branch = Some(target.to_owned());
                }
            } else if let Ok(id) = Oid::from_str(what) {
                heads.references.push((name.to_owned(), id));
            }
        }
        Ok(heads)
    }

    pub fn fetch(&self, specs: &[String], depth: Depth, tags: Tags) -> Result<(), Fault> {
        let mut options = vec![
            "fetch",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--quiet",
        ];
        match tags {
            Tags::Reached => {}
            Tags::All => options.push("--tags"),
        }
        let depth = match depth {
            Depth::Commits(count) => Some(format!("--depth={count}")),
            Depth::Whole if self.git_dir.join("shallow").exists() => Some("--unshallow".to_owned()),
            Depth::All | Depth::Whole => None,
        };
        options.extend(depth.as_deref());
        self.run(&options, specs).map(|_| ())
    }

    pub fn push(&self, spec: &str) -> Result<(), Fault> {
        self.run(&["push", "--no-verify", "--porcelain"], &[spec.to_owned()])
            .map(|_| ())
    }

    fn run(&self, subcommand: &[&str], specs: &[String]) -> Result<Output, Fault> {
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(&self.git_dir);
        for setting in [
            "core.hooksPath=/dev/null",
            "credential.helper=",
            "core.askPass=",
            "gc.auto=0",
        ] {
            command.args(["-c", setting]);
        }
        // Who owns the repository does not matter: the caller has named it.
        command
            .arg("-c")
            .arg(format!("safe.directory={}", self.git_dir.display()));
        command
            .args(subcommand)
            .arg("--end-of-options")
            .arg(&self.url)
            .args(specs);
        command
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS", "")
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        if !self.has_ssh_command {
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        }
        let output = command.output().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Fault::new(
                ErrorCode::UnprocessableEntity,
                "this address needs git and ssh, and this sandbox has no git program; use https, or an image with git",
            ),
            _ => Fault::of_file("git", &error),
        })?;
        if output.status.success() {
            return Ok(output);
        }
        let mut words = String::from_utf8_lossy(&output.stderr).into_owned();
        words.push_str(&String::from_utf8_lossy(&output.stdout));
        Err(classify(tail(words.trim())))
    }
}

fn tail(words: &str) -> &str {
    let mut start = words.len().saturating_sub(MAX_WORDS);
    while !words.is_char_boundary(start) {
        start += 1;
    }
    &words[start..]
}

/// What git's words mean.
fn classify(words: &str) -> Fault {
    let lower = words.to_ascii_lowercase();
    let has = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    let code = if has(&["[rejected]", "[remote rejected]"]) {
        let reason = words
            .rsplit_once("rejected]")
            .and_then(|(_, rest)| rest.split_once('('))
            .and_then(|(_, rest)| rest.split_once(')'))
            .map_or("rejected", |(reason, _)| reason);
        return refused(reason, words);
    } else if has(&[
        "permission denied (",
        "authentication failed",
        "could not read username",
        "terminal prompts disabled",
    ]) {
        ErrorCode::GitAuthFailed
    } else if has(&["returned error: 403", "remote: permission"]) {
        ErrorCode::Forbidden
    } else if has(&[
        "repository not found",
        "remote: not found",
        "does not appear to be a git repository",
        "returned error: 404",
    ]) {
        ErrorCode::GitRepoNotFound
    } else if has(&[
        "couldn't find remote ref",
        "does not match any",
        "unknown revision",
    ]) {
        ErrorCode::GitBranchNotFound
    } else if has(&["cannot run ssh", "ssh: not found", "ssh: command not found"]) {
        ErrorCode::UnprocessableEntity
    } else {
        ErrorCode::GitTransportFailed
    };
    Fault::new(code, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_git_are_understood() {
        for (words, code) in [
            (
                "git@host: Permission denied (publickey).",
                ErrorCode::GitAuthFailed,
            ),
            ("ERROR: Repository not found.", ErrorCode::GitRepoNotFound),
            (
                "! refs/heads/a:refs/heads/a [rejected] (fetch first)",
                ErrorCode::GitPushRejected,
            ),
            (
                "! a:a [remote rejected] (pre-receive hook declined)",
                ErrorCode::GitRemoteRejected,
            ),
            (
                "ssh: Could not resolve hostname x",
                ErrorCode::GitTransportFailed,
            ),
            (
                "error: cannot run ssh: No such file or directory",
                ErrorCode::UnprocessableEntity,
            ),
        ] {
            assert_eq!(classify(words).code, code, "{words}");
        }
    }
}
