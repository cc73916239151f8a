//! The lines of a Dockerfile: joined, without comments, with the heredocs that belong to them.

use std::iter::Peekable;
use std::str::Lines as TextLines;

use crate::refusal::Refusal;
use crate::words;

/// Longest instruction with all the lines that are joined to it.
const INSTRUCTION_MAX_BYTES: usize = 256 << 10;

/// Most heredocs of one instruction.
const HEREDOCS_MAX: usize = 100;

/// Words by which a parser is chosen that means the same as ours.
const SYNTAX: &str = "docker/dockerfile";

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    pub escape: char,
    pub lines: Vec<Raw>,
}

/// One instruction, whatever it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// Of its first word, counted from 1.
    pub line: usize,
    /// In capital letters.
    pub keyword: String,
    /// Everything behind the keyword, in one line.
    pub rest: String,
    pub heredocs: Vec<Heredoc>,
}

impl Raw {
    /// For people.
    pub fn text(&self) -> String {
        format!("{} {}", self.keyword, self.rest)
    }
}

/// A text that follows its instruction, up to a line with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// As it stands in the instruction.
    pub word: String,
    pub name: String,
    /// Whether variables in it are replaced: its name was not quoted.
    pub is_expanded: bool,
    /// Without the tabs at the beginnings of lines, where the instruction asks for that.
    pub content: String,
    /// As it was written, for a shell to read it.
    pub source: String,
}

pub fn split(text: &str) -> Result<Lines, Refusal> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = directives(text)?;
    let mut reader = Reader {
        lines: text.lines().peekable(),
        number: 0,
        escape,
    };
    let mut lines = Vec::new();
    while let Some(raw) = reader.instruction()? {
        lines.push(raw);
    }
    Ok(Lines { escape, lines })
}

/// Comments at the very beginning that mean something.
fn directives(text: &str) -> Result<char, Refusal> {
    let mut escape = '\\';
    let mut seen: Vec<String> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some((name, value)) = line.strip_prefix('#').and_then(|rest| rest.split_once('='))
        else {
            break;
        };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        let refuse = |reason: String| Err(Refusal::new(index + 1, reason));
        match (name.as_str(), value) {
            ("escape" | "syntax" | "check", _) if seen.contains(&name) => {
                return refuse(format!("the directive {name} comes twice"));
            }
            ("check", _) | ("escape", "\\") => {}
            ("escape", "`") => escape = '`',
            ("escape", _) => return refuse("the escape character must be \\ or `".to_owned()),
            ("syntax", value) => {
                let image = value.strip_prefix("docker.io/").unwrap_or(value);
                let tail = image.strip_prefix(SYNTAX);
                if !tail.is_some_and(|tail| tail.is_empty() || tail.starts_with([':', '@'])) {
                    return refuse(format!("the syntax {value:?} is not supported"));
                }
            }
            // Any other comment ends them.
            _ => break,
        }
        seen.push(name);
    }
    Ok(escape)
}

struct Reader<'a> {
    lines: Peekable<TextLines<'a>>,
    number: usize,
    escape: char,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.number += 1;
        self.lines.next()
    }

    fn instruction(&mut self) -> Result<Option<Raw>, Refusal> {
        let first = loop {
            match self.next() {
                None => return Ok(None),
                Some(line) if is_nothing(line) => {}
                Some(line) => break line.trim_start(),
            }
        };
        let line = self.number;
        let (mut text, mut goes_on) = self.joined(first);
        while goes_on {
            let Some(next) = self.next() else { break };
            if is_nothing(next) {
                continue;
            }
            let (more, again) = self.joined(next);
            text.push_str(&more);
            goes_on = again;
            if text.len() > INSTRUCTION_MAX_BYTES {
                let reason =
                    format!("the instruction is longer than {INSTRUCTION_MAX_BYTES} bytes");
                return Err(Refusal::new(line, reason));
            }
        }
        let (keyword, rest) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
        let (keyword, rest) = (keyword.to_ascii_uppercase(), rest.trim().to_owned());
        let mut heredocs = Vec::new();
        if matches!(keyword.as_str(), "RUN" | "COPY" | "ADD") && !rest.starts_with('[') {
            let words = words::split(&rest, self.escape);
            for (name, is_expanded, strips_tabs, word) in
                words.iter().filter_map(|word| beginning(word))
            {
                if heredocs.len() == HEREDOCS_MAX {
                    let reason = format!("there are more than {HEREDOCS_MAX} heredocs");
                    return Err(Refusal::new(line, reason));
                }
                heredocs.push(self.heredoc(line, name, is_expanded, strips_tabs, word)?);
            }
        }
        Ok(Some(Raw {
            line,
            keyword,
            rest,
            heredocs,
        }))
    }

    /// A line without the mark that joins the next one to it, and whether it had one.
    fn joined(&self, line: &str) -> (String, bool) {
        let trimmed = line.trim_end_matches([' ', '\t', '\r']);
        match trimmed.strip_suffix(self.escape) {
            // An escaped escape is one that stays.
            Some(start) if !start.ends_with(self.escape) => (start.to_owned(), true),
            _ => (line.trim_end_matches('\r').to_owned(), false),
        }
    }

    fn heredoc(
        &mut self,
        line: usize,
        name: String,
        is_expanded: bool,
        strips_tabs: bool,
        word: &str,
    ) -> Result<Heredoc, Refusal> {
        let mut heredoc = Heredoc {
            word: word.to_owned(),
            name,
            is_expanded,
            content: String::new(),
            source: String::new(),
        };
        while let Some(text) = self.next() {
            let bare = if strips_tabs {
                text.trim_start_matches('\t')
            } else {
                text
            };
            if bare.trim_end_matches('\r') == heredoc.name {
                return Ok(heredoc);
            }
            heredoc.source.push_str(text);
            heredoc.source.push('\n');
            heredoc.content.push_str(bare);
            heredoc.content.push('\n');
        }
        let name = heredoc.name;
        Err(Refusal::new(line, format!("the heredoc {name} has no end")))
    }
}

fn is_nothing(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// What a word that begins a heredoc says: its name, whether it is expanded, whether tabs go.
fn beginning(word: &str) -> Option<(String, bool, bool, &str)> {
    let rest = word
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .strip_prefix("<<")?;
    let (rest, strips_tabs) = match rest.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name: String = rest
        .chars()
        .filter(|c| !matches!(c, '"' | '\'' | '\\'))
        .collect();
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(is_plain) {
        return None;
    }
    let is_expanded = name.len() == rest.len();
    Some((name, is_expanded, strips_tabs, word))
}
