//! Instructions, read from their words. Nothing is expanded yet.

use crate::evaluate::{NOT_BY_COPY, is_remote};
use crate::raw::{Heredoc, Raw};
use crate::refusal::Refusal;
use crate::words;

/// One instruction of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    pub line: usize,
    /// As it was written, in one line.
    pub text: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Run(RunWords),
    Copy(CopyWords),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Arg(Vec<(String, Option<String>)>),
    Workdir(String),
    User(String),
    Entrypoint(Command),
    Cmd(Command),
    Expose(String),
    Volume(Vec<String>),
    Shell(Vec<String>),
    StopSignal(String),
    /// Flags, and `None` for `NONE`.
    Healthcheck(Vec<Flag>, Option<Command>),
    OnBuild(String),
    /// Kept as a label by nobody; the reference calls it deprecated.
    Maintainer,
}

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Exec(Vec<String>),
    Shell(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunWords {
    pub flags: Vec<Flag>,
    pub command: Command,
    pub heredocs: Vec<Heredoc>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyWords {
    pub is_add: bool,
    pub flags: Vec<Flag>,
    /// The last one is the target.
    pub words: Vec<String>,
    pub heredocs: Vec<Heredoc>,
}

/// `--name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    pub name: String,
    pub value: Option<String>,
}

/// What `FROM` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    pub line: usize,
    pub platform: Option<String>,
    pub image: String,
    pub name: Option<String>,
}

const COPY_FLAGS: &[&str] = &["from", "chown", "chmod", "link", "parents", "exclude"];
const ADD_FLAGS: &[&str] = &[
    "from",
    "chown",
    "chmod",
    "link",
    "parents",
    "exclude",
    "checksum",
    "keep-git-dir",
    "unpack",
];
/// Those that mean something without a value, and those that may come several times.
const SWITCHES: &[&str] = &["link", "parents", "keep-git-dir", "unpack"];
const REPEATED: &[&str] = &["mount", "exclude"];
const RUN_FLAGS: &[&str] = &["mount", "network", "security"];
const HEALTH_FLAGS: &[&str] = &[
    "interval",
    "timeout",
    "start-period",
    "start-interval",
    "retries",
];

/// What may not stand behind `ONBUILD`.
const NO_TRIGGERS: &[&str] = &["ONBUILD", "FROM", "MAINTAINER"];

pub fn from(raw: &Raw, escape: char) -> Result<From, Refusal> {
    let refuse = |reason: &str| Refusal::new(raw.line, reason);
    let (flags, rest) = take_flags(&raw.rest, escape);
    check_flags(raw, &flags, &["platform"])?;
    let platform = flags.into_iter().find_map(|flag| flag.value);
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (image, name) = match words[..] {
        [image] => (image, None),
        [image, r#as, name] if r#as.eq_ignore_ascii_case("as") => {
            (image, Some(name.to_lowercase()))
        }
        _ => return Err(refuse("FROM needs an image, and may have AS and a name")),
    };
    if let Some(name) = &name {
        let is_fit = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
        if !is_fit {
            return Err(Refusal::new(
                raw.line,
                format!("{name:?} is no name for a stage"),
            ));
        }
        if name == "scratch" || name == "context" {
            return Err(Refusal::new(
                raw.line,
                format!("the name {name:?} is reserved"),
            ));
        }
    }
    Ok(From {
        line: raw.line,
        platform,
        image: image.to_owned(),
        name,
    })
}

/// Reads everything but `FROM`.
pub fn read(raw: &Raw, escape: char) -> Result<Instruction, Refusal> {
    let refuse = |reason: String| Refusal::new(raw.line, reason);
    let needs = |what: &str| refuse(format!("{} needs {what}", raw.keyword));
    let (flags, rest) = match raw.keyword.as_str() {
        "RUN" | "COPY" | "ADD" | "HEALTHCHECK" => take_flags(&raw.rest, escape),
        _ => (Vec::new(), raw.rest.trim()),
    };
    let has_heredocs = !raw.heredocs.is_empty();
    if has_heredocs && !matches!(raw.keyword.as_str(), "RUN" | "COPY" | "ADD") {
        return Err(refuse(format!("{} takes no heredoc", raw.keyword)));
    }
    if rest.is_empty() {
        return Err(needs("an argument"));
    }
    let kind = match raw.keyword.as_str() {
        "RUN" => {
            check_flags(raw, &flags, RUN_FLAGS)?;
            Kind::Run(RunWords {
                flags,
                command: command(rest),
                heredocs: raw.heredocs.clone(),
            })
        }
        keyword @ ("COPY" | "ADD") => {
            let is_add = keyword == "ADD";
            check_flags(raw, &flags, if is_add { ADD_FLAGS } else { COPY_FLAGS })?;
            let words: Vec<String> = match json_list(rest) {
                Some(list) => list,
                None => rest.split_whitespace().map(str::to_owned).collect(),
            };
            if words.len() < 2 {
                return Err(needs("at least one source, and a target"));
            }
            if !is_add && words.iter().any(|word| is_remote(word)) {
                return Err(refuse(NOT_BY_COPY.to_owned()));
            }
            Kind::Copy(CopyWords {
                is_add,
                flags,
                words,
                heredocs: raw.heredocs.clone(),
            })
        }
        "ENV" => Kind::Env(words::pairs(rest, escape).map_err(refuse)?),
        "LABEL" => Kind::Label(words::pairs(rest, escape).map_err(refuse)?),
        "ARG" => Kind::Arg(arguments(raw, rest, escape)?),
        "WORKDIR" => Kind::Workdir(rest.to_owned()),
        "USER" => Kind::User(rest.to_owned()),
        "ENTRYPOINT" => Kind::Entrypoint(command(rest)),
        "CMD" => Kind::Cmd(command(rest)),
        "EXPOSE" => Kind::Expose(rest.to_owned()),
        "VOLUME" => Kind::Volume(match json_list(rest) {
            Some(list) => list,
            None => rest.split_whitespace().map(str::to_owned).collect(),
        }),
        "SHELL" => match json_list(rest) {
            Some(list) if !list.is_empty() => Kind::Shell(list),
            _ => return Err(needs("a list such as [\"/bin/sh\", \"-c\"]")),
        },
        "STOPSIGNAL" => Kind::StopSignal(rest.to_owned()),
        "HEALTHCHECK" => {
            check_flags(raw, &flags, HEALTH_FLAGS)?;
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            match word.to_ascii_uppercase().as_str() {
                "NONE" if after.trim().is_empty() && flags.is_empty() => {
                    Kind::Healthcheck(flags, None)
                }
                "CMD" if !after.trim().is_empty() => {
                    Kind::Healthcheck(flags, Some(command(after.trim())))
                }
                _ => return Err(needs("NONE, or CMD and a command")),
            }
        }
        "ONBUILD" => {
            let word = rest.split_whitespace().next().unwrap_or_default();
            if NO_TRIGGERS.contains(&word.to_ascii_uppercase().as_str()) {
                return Err(refuse(format!("{word} is not allowed behind ONBUILD")));
            }
            // What is wrong with it is said now, and not to whoever builds on this image.
            trigger(raw.line, rest, escape)?;
            Kind::OnBuild(rest.to_owned())
        }
        "MAINTAINER" => Kind::Maintainer,
        other => return Err(refuse(format!("the instruction {other} is not known"))),
    };
    Ok(Instruction {
        line: raw.line,
        text: raw.text(),
        kind,
    })
}

/// An instruction that an image has for those that are built on it.
pub fn trigger(line: usize, text: &str, escape: char) -> Result<Instruction, Refusal> {
    let (keyword, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let raw = Raw {
        line,
        keyword: keyword.to_ascii_uppercase(),
        rest: rest.trim().to_owned(),
        heredocs: Vec::new(),
    };
    let instruction = read(&raw, escape)?;
    let flags = match &instruction.kind {
        Kind::Copy(copy) => &copy.flags[..],
        Kind::Run(run) => &run.flags[..],
        _ => &[],
    };
    // A stage of one Dockerfile means nothing in another.
    if let Some(flag) = flags
        .iter()
        .find(|flag| matches!(flag.name.as_str(), "from" | "mount"))
    {
        let reason = format!("--{} behind ONBUILD is not supported", flag.name);
        return Err(Refusal::new(line, reason));
    }
    Ok(instruction)
}

fn arguments(
    raw: &Raw,
    rest: &str,
    escape: char,
) -> Result<Vec<(String, Option<String>)>, Refusal> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
            && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
    };
    words::split(rest, escape)
        .into_iter()
        .map(|word| {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            if is_name(name) {
                Ok((name.to_owned(), value))
            } else {
                Err(Refusal::new(
                    raw.line,
                    format!("{name:?} is no name for an argument"),
                ))
            }
        })
        .collect()
}

fn command(text: &str) -> Command {
    match json_list(text) {
        Some(list) => Command::Exec(list),
        None => Command::Shell(text.to_owned()),
    }
}

/// A JSON list of texts. Anything else is the shell form, as the reference has it.
fn json_list(text: &str) -> Option<Vec<String>> {
    if !text.starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// The flags in front, and what follows them.
fn take_flags(text: &str, escape: char) -> (Vec<Flag>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim();
    while rest.starts_with("--") {
        let end = word_end(rest, escape);
        let word = &rest[2..end];
        rest = rest[end..].trim_start();
        if word.is_empty() {
            // Two dashes alone end the flags.
            break;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        flags.push(Flag {
            name: name.to_owned(),
            value,
        });
    }
    (flags, rest)
}

fn word_end(text: &str, escape: char) -> usize {
    let mut quote = None;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        if letter == escape && quote != Some('\'') {
            letters.next();
            continue;
        }
        match quote {
            Some(open) if letter == open => quote = None,
            None if letter == '"' || letter == '\'' => quote = Some(letter),
            None if letter.is_whitespace() => return at,
            Some(_) | None => {}
        }
    }
    text.len()
}

fn check_flags(raw: &Raw, flags: &[Flag], known: &[&str]) -> Result<(), Refusal> {
    for (number, flag) in flags.iter().enumerate() {
        if !known.contains(&flag.name.as_str()) {
            return Err(Refusal::new(
                raw.line,
                format!("{} --{} is not supported", raw.keyword, flag.name),
            ));
        }
        let comes_twice = flags[..number].iter().any(|other| other.name == flag.name);
        if comes_twice && !REPEATED.contains(&flag.name.as_str()) {
            return Err(Refusal::new(
                raw.line,
                format!("--{} is given twice", flag.name),
            ));
        }
        if flag.value.is_none() && !SWITCHES.contains(&flag.name.as_str()) {
            return Err(Refusal::new(
                raw.line,
                format!("--{} needs a value", flag.name),
            ));
        }
    }
    Ok(())
}
