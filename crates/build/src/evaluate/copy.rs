//! `COPY` and `ADD`.

use alcove_glob::PathPattern;

use super::Evaluation;
use super::fetch::{self, NOT_BY_COPY, Wishes, is_remote};
use crate::instruction::CopyWords;
use crate::refusal::Refusal;
use crate::step::{Copy, InlineFile, Source};

impl Evaluation<'_> {
    pub(super) fn copy(&self, words: &CopyWords, line: usize) -> Result<Copy, Refusal> {
        let refuse = |reason: String| Refusal::new(line, reason);
        let flag = |name: &str| {
            let found = words.flags.iter().find(|flag| flag.name == name);
            found.and_then(|flag| flag.value.as_deref())
        };
        let source = match flag("from") {
            Some(_) if words.is_add => {
                return Err(refuse(
                    "ADD --from is not supported: COPY has it".to_owned(),
                ));
            }
            Some(name) => self.file.source(self.index, name, line)?,
            None => Source::Context,
        };
        let owner = flag("chown")
            .map(|text| self.expand(text))
            .transpose()
            .map_err(refuse)?;
        let mode = flag("chmod")
            .map(|text| self.expand(text))
            .transpose()
            .map_err(refuse)?;
        let mode = mode.map(|text| match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(mode),
            _ => Err(refuse(format!(
                "--chmod={text} is not supported: give the mode in octal digits"
            ))),
        });
        let switch = |name: &str| {
            let Some(flag) = words.flags.iter().find(|flag| flag.name == name) else {
                return Ok(None);
            };
            match flag.value.as_deref() {
                None | Some("true" | "1") => Ok(Some(true)),
                Some("false" | "0") => Ok(Some(false)),
                Some(other) => Err(refuse(format!("--{name}={other} is not supported"))),
            }
        };
        let keeps_path = switch("parents")?.unwrap_or(false);
        if keeps_path && words.is_add {
            return Err(refuse(
                "ADD --parents is not supported: COPY has it".to_owned(),
            ));
        }
        let excludes = words.flags.iter().filter(|flag| flag.name == "exclude");
        let excludes = excludes
            .map(|flag| {
                let pattern = self.expand(flag.value.as_deref().unwrap_or_default())?;
                match PathPattern::parse(&pattern) {
                    Some(parsed) if !parsed.is_empty() => Ok(pattern),
                    _ => Err(format!("--exclude={pattern} is no pattern")),
                }
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(refuse)?;
        let Some((target, sources)) = words.words.split_last() else {
            return Err(refuse("the target is missing".to_owned()));
        };
        let target = self.expand(target).map_err(refuse)?;
        if target.is_empty() {
            return Err(refuse("the target is empty".to_owned()));
        }
        let is_written_as_folder =
            keeps_path || target.ends_with('/') || target == "." || target.ends_with("/.");
        let checksum = flag("checksum")
            .map(|text| self.expand(text))
            .transpose()
            .map_err(refuse)?;
        let unpacks = switch("unpack")?;
        let wishes = Wishes {
            checksum: checksum.as_deref(),
            keeps_git_dir: switch("keep-git-dir")?.unwrap_or(false),
            unpacks: unpacks.unwrap_or(false),
            is_folder: is_written_as_folder,
        };
        let mut paths = Vec::new();
        let mut inline = Vec::new();
        let mut fetched = Vec::new();
        for word in sources {
            if let Some(heredoc) = words.heredocs.iter().find(|heredoc| heredoc.word == *word) {
                let content = if heredoc.is_expanded {
                    self.with_words(|words| words.expand_text(&heredoc.content))
                        .map_err(refuse)?
                } else {
                    heredoc.content.clone()
                };
                let name = heredoc.name.clone();
                inline.push(InlineFile { name, content });
                continue;
            }
            let path = self.expand(word).map_err(refuse)?;
            if is_remote(&path) {
                if !words.is_add {
                    return Err(refuse(NOT_BY_COPY.to_owned()));
                }
                fetched.push(fetch::read(&path, &wishes).map_err(refuse)?);
                continue;
            }
            if path.is_empty() {
                return Err(refuse(format!("the source {word:?} is empty")));
            }
            paths.push(match path.split_once("/./").filter(|_| keeps_path) {
                Some((base, kept)) => format!("{}/./{}", clean(base), clean(kept)),
                None => clean(&path),
            });
        }
        let count = paths.len() + inline.len() + fetched.len();
        if count > 1 && !is_written_as_folder {
            let reason = "with several sources, the target must be a folder and end with a slash";
            return Err(refuse(reason.to_owned()));
        }
        if checksum.is_some() && (count > 1 || fetched.is_empty()) {
            let reason = "--checksum is for one address that is the only source";
            return Err(refuse(reason.to_owned()));
        }
        Ok(Copy {
            source,
            paths,
            inline,
            fetched,
            target: self.config.resolve(&target),
            is_folder: is_written_as_folder,
            owner: owner.filter(|owner| !owner.is_empty()),
            mode: mode.transpose()?,
            unpacks: words.is_add && unpacks.unwrap_or(true),
            keeps_path,
            excludes,
        })
    }
}

/// The folder itself means what is in it, and a slash at the end that it must be one.
pub(super) fn clean(path: &str) -> String {
    let clean = alcove_glob::clean(path).join("/");
    if clean.is_empty() {
        ".".to_owned()
    } else {
        clean
    }
}
