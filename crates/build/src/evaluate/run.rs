//! `RUN`: the command line, its variables, its mounts.

use std::collections::BTreeMap;

use super::Evaluation;
use crate::instruction::{Command, Flag, RunWords};
use crate::refusal::Refusal;
use crate::step::{InlineFile, Mount, MountKind, Run, Sharing, Source};

/// Where a cache of a size that nobody names ends is the disk of the step.
const MOUNTS_MAX: usize = 32;

impl Evaluation<'_> {
    pub(super) fn run(&self, words: &RunWords) -> Result<Run, String> {
        let mut has_network = true;
        for flag in &words.flags {
            let value = flag.value.as_deref().unwrap_or_default();
            match (flag.name.as_str(), value) {
                ("network", "default") | ("security", "sandbox") => {}
                ("network", "none") => has_network = false,
                ("network" | "security", other) => {
                    return Err(format!("--{}={other} is not supported", flag.name));
                }
                _ => {}
            }
        }
        let mut env: BTreeMap<String, String> = self.arguments.clone();
        env.extend(self.config.env.iter().cloned());
        let script = script(words);
        Ok(Run {
            argv: match script {
                Some(_) => Vec::new(),
                None => self.argv(words)?,
            },
            script,
            env,
            user: self.config.user.clone(),
            workdir: if self.config.workdir.is_empty() {
                "/".to_owned()
            } else {
                self.config.workdir.clone()
            },
            mounts: Vec::new(),
            has_network,
        })
    }

    fn argv(&self, words: &RunWords) -> Result<Vec<String>, String> {
        let text = match &words.command {
            Command::Exec(list) if list.is_empty() => return Err("the command is empty".to_owned()),
            Command::Exec(list) => return Ok(list.clone()),
            Command::Shell(text) => text,
        };
        match &words.heredocs[..] {
            [] => Ok(self.config.shell_form(text)),
            [script] if text.trim() == script.word => Ok(self.config.shell_form(&script.content)),
            heredocs => {
                // The shell reads them itself.
                let mut script = text.clone();
                for heredoc in heredocs {
                    script.push('\n');
                    script.push_str(&heredoc.source);
                    script.push_str(&heredoc.name);
                }
                script.push('\n');
                Ok(self.config.shell_form(&script))
            }
        }
    }

    /// Adds the mounts, which need to know the stages.
    pub(super) fn with_sources(
        &self,
        mut run: Run,
        words: &RunWords,
        line: usize,
    ) -> Result<Run, Refusal> {
        for flag in words.flags.iter().filter(|flag| flag.name == "mount") {
            if let Some(mount) = self.mount(flag, line)? {
                run.mounts.push(mount);
            }
        }
        if run.mounts.len() > MOUNTS_MAX {
            return Err(Refusal::new(
                line,
                format!("RUN has more than {MOUNTS_MAX} mounts"),
            ));
        }
        Ok(run)
    }

    /// One `--mount`; none for a secret that may be missing.
    fn mount(&self, flag: &Flag, line: usize) -> Result<Option<Mount>, Refusal> {
        let refuse = |reason: String| Refusal::new(line, format!("--mount: {reason}"));
        let text = flag.value.as_deref().unwrap_or_default();
        let mut options: BTreeMap<&str, String> = BTreeMap::new();
        for option in text.split(',') {
            let (name, value) = option.split_once('=').unwrap_or((option, "true"));
            let name = match name {
                "dst" | "destination" => "target",
                "src" => "source",
                "ro" => "readonly",
                "rw" => "readwrite",
                name => name,
            };
            let value = self.expand(value).map_err(refuse)?;
            if options.insert(name, value).is_some() {
                return Err(refuse(format!("{name} is given twice")));
            }
        }
        let kind = options.remove("type").unwrap_or_else(|| "bind".to_owned());
        let target = options.remove("target");
        let mut take = |name: &str| options.remove(name);
        let is_true =
            |value: Option<String>| value.is_some_and(|value| value == "true" || value == "1");
        let mount = match kind.as_str() {
            "bind" => {
                let source = match take("from") {
                    Some(name) => self.file.source(self.index, &name, line)?,
                    None => Source::Context,
                };
                let path = take("source").unwrap_or_default();
                let is_read_only = take("readonly");
                let is_writable = is_true(take("readwrite"));
                if is_writable && is_true(is_read_only) {
                    return Err(refuse("a bind is readonly or readwrite".to_owned()));
                }
                MountKind::Bind {
                    source,
                    is_writable,
                    path: format!("/{}", alcove_glob::clean(&path).join("/")),
                }
            }
            "cache" => {
                if take("from").is_some() || take("source").is_some() {
                    return Err(refuse(
                        "a cache that starts from files is not supported".to_owned(),
                    ));
                }
                let sharing = match take("sharing").as_deref() {
                    None | Some("shared") => Sharing::Shared,
                    Some("private") => Sharing::Private,
                    Some("locked") => Sharing::Locked,
                    Some(other) => return Err(refuse(format!("sharing={other} is not known"))),
                };
                take("readwrite");
                let number = |value: Option<String>, radix, otherwise| match value {
                    None => Ok(otherwise),
                    Some(value) => u32::from_str_radix(&value, radix)
                        .map_err(|_| refuse(format!("{value:?} is no number"))),
                };
                MountKind::Cache {
                    // Without one it is known by where it is mounted.
                    id: take("id").filter(|id| !id.is_empty()).unwrap_or_else(|| {
                        self.config.resolve(target.as_deref().unwrap_or_default())
                    }),
                    sharing,
                    is_read_only: is_true(take("readonly")),
                    mode: number(take("mode"), 8, 0o755)? & 0o7777,
                    uid: number(take("uid"), 10, 0)?,
                    gid: number(take("gid"), 10, 0)?,
                }
            }
            "tmpfs" => MountKind::Tmpfs {
                size_bytes: match take("size") {
                    Some(size) => {
                        Some(bytes(&size).ok_or_else(|| refuse(format!("{size:?} is no size")))?)
                    }
                    None => None,
                },
            },
            "secret" | "ssh" => {
                for name in ["id", "source", "mode", "uid", "gid", "env"] {
                    take(name);
                }
                if is_true(take("required")) {
                    return Err(refuse(format!("there is no {kind} to mount")));
                }
                if let Some(name) = options.keys().next() {
                    return Err(refuse(format!("{name} is not known")));
                }
                // Optional, and there is none.
                return Ok(None);
            }
            other => return Err(refuse(format!("type={other} is not supported"))),
        };
        if let Some(name) = options.keys().next() {
            return Err(refuse(format!("{name} is not known for type={kind}")));
        }
        let target = target.filter(|target| !target.is_empty());
        let target = target.ok_or_else(|| refuse("the target is missing".to_owned()))?;
        let target = self.config.resolve(&target);
        if target == "/" {
            return Err(refuse("the target cannot be /".to_owned()));
        }
        Ok(Some(Mount {
            target,
            kind: mount,
        }))
    }
}

/// A heredoc that is the whole command, and says itself what reads it. Nothing in it is expanded.
fn script(words: &RunWords) -> Option<InlineFile> {
    match (&words.command, &words.heredocs[..]) {
        (Command::Shell(text), [script])
            if text.trim() == script.word && script.content.starts_with("#!") =>
        {
            Some(InlineFile {
                name: script.name.clone(),
                content: script.content.clone(),
            })
        }
        _ => None,
    }
}

/// `64m`, `1g`, or bytes.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let (number, shift) = match lower.chars().last()? {
        'k' => (&lower[..lower.len() - 1], 10),
        'm' => (&lower[..lower.len() - 1], 20),
        'g' => (&lower[..lower.len() - 1], 30),
        _ => (lower, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}
