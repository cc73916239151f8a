//! A Dockerfile as stages.

use std::collections::BTreeMap;

use crate::instruction::{self, From, Instruction, Kind};
use crate::raw;
use crate::refusal::Refusal;
use crate::step::{Base, Source};
use crate::words::Words;

/// Longest Dockerfile.
pub const DOCKERFILE_MAX_BYTES: usize = 1 << 20;

/// Most instructions.
pub const INSTRUCTIONS_MAX: usize = 2000;

/// What an operating system and a processor are called in the platform that is built for.
const PLATFORM: &str = "linux/amd64";

/// A Dockerfile that was read. Values are not expanded yet, but for the names of base images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    pub(crate) escape: char,
    /// Arguments from before the first stage, with their values.
    pub(crate) globals: BTreeMap<String, String>,
    pub(crate) stages: Vec<Stage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    pub line: usize,
    pub name: Option<String>,
    pub base: Base,
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// # Errors
    /// The first line that is wrong, or that asks for something that is not supported.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > DOCKERFILE_MAX_BYTES {
            let reason = format!("the Dockerfile is longer than {DOCKERFILE_MAX_BYTES} bytes");
            return Err(Refusal::new(1, reason));
        }
        let raw::Lines { escape, lines } = raw::split(text)?;
        if lines.len() > INSTRUCTIONS_MAX {
            let reason = format!("the Dockerfile has more than {INSTRUCTIONS_MAX} instructions");
            return Err(Refusal::new(lines[INSTRUCTIONS_MAX].line, reason));
        }
        let mut globals = platform_arguments();
        let mut stages: Vec<Stage> = Vec::new();
        for line in &lines {
            if line.keyword == "FROM" {
                let from = instruction::from(line, escape)?;
                let stage = begin(from, escape, &globals, &stages)?;
                stages.push(stage);
                continue;
            }
            let instruction = instruction::read(line, escape)?;
            match (stages.last_mut(), instruction.kind) {
                (Some(stage), kind) => stage.instructions.push(Instruction {
                    kind,
                    ..instruction
                }),
                (None, Kind::Arg(arguments)) => {
                    for (name, value) in arguments {
                        let value = value.unwrap_or_default();
                        let value = expand(&value, escape, &globals)
                            .map_err(|reason| Refusal::new(line.line, reason))?;
                        globals.insert(name, value);
                    }
                }
                (None, _) => {
                    return Err(Refusal::new(
                        line.line,
                        "the first instruction must be FROM, or ARG",
                    ));
                }
            }
        }
        if stages.is_empty() {
            return Err(Refusal::new(1, "the Dockerfile has no FROM"));
        }
        let file = Self {
            escape,
            globals,
            stages,
        };
        // Names of stages are looked up now, so that a wrong one is told before anything runs.
        for index in 0..file.stages.len() {
            file.needs(index)?;
        }
        Ok(file)
    }

    /// The only thing that it says is which image to start from, and no name of a stage.
    pub fn lone_image(&self) -> Option<&str> {
        match &self.stages[..] {
            [
                Stage {
                    base: Base::Image(image),
                    instructions,
                    ..
                },
            ] if instructions.is_empty() => Some(image),
            _ => None,
        }
    }

    /// The images that must be at hand, each once.
    pub fn images(&self) -> Vec<String> {
        let mut images: Vec<String> = Vec::new();
        let wanted = self.wanted();
        for (index, stage) in self.stages.iter().enumerate() {
            if !wanted.contains(&index) {
                continue;
            }
            let of_base = match &stage.base {
                Base::Image(image) => Some(image.clone()),
                Base::Scratch | Base::Stage(_) => None,
            };
            let sources = self.needs(index).unwrap_or_default();
            let of_sources = sources.into_iter().filter_map(|source| match source {
                Source::Image(image) => Some(image),
                Source::Context | Source::Stage(_) => None,
            });
            for image in of_base.into_iter().chain(of_sources) {
                if !images.contains(&image) {
                    images.push(image);
                }
            }
        }
        images
    }

    /// The stages that the last one needs, and itself, in order.
    pub(crate) fn wanted(&self) -> Vec<usize> {
        let mut wanted = vec![self.stages.len() - 1];
        let mut at = 0;
        while let Some(index) = wanted.get(at).copied() {
            at += 1;
            let mut more = Vec::new();
            if let Base::Stage(base) = self.stages[index].base {
                more.push(base);
            }
            for source in self.needs(index).unwrap_or_default() {
                if let Source::Stage(stage) = source {
                    more.push(stage);
                }
            }
            more.retain(|stage| !wanted.contains(stage));
            more.dedup();
            wanted.extend(more);
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// What a stage takes files from.
    fn needs(&self, index: usize) -> Result<Vec<Source>, Refusal> {
        let mut sources = Vec::new();
        for instruction in &self.stages[index].instructions {
            match &instruction.kind {
                Kind::Copy(copy) => {
                    let from = copy.flags.iter().find(|flag| flag.name == "from");
                    if let Some(name) = from.and_then(|flag| flag.value.as_deref()) {
                        sources.push(self.source(index, name, instruction.line)?);
                    }
                }
                Kind::Run(run) => {
                    for flag in run.flags.iter().filter(|flag| flag.name == "mount") {
                        let options = flag.value.as_deref().unwrap_or_default();
                        let from = options
                            .split(',')
                            .find_map(|option| option.strip_prefix("from="));
                        if let Some(name) = from {
                            sources.push(self.source(index, name, instruction.line)?);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(sources)
    }

    /// What `--from` means in a stage.
    pub(crate) fn source(&self, stage: usize, name: &str, line: usize) -> Result<Source, Refusal> {
        let lower = name.to_lowercase();
        let named = |stages: &[Stage]| stages.iter().rposition(|s| s.name.as_ref() == Some(&lower));
        if let Some(found) = named(&self.stages[..stage]) {
            return Ok(Source::Stage(found));
        }
        if let Ok(number) = name.parse::<usize>() {
            if number < stage {
                return Ok(Source::Stage(number));
            }
            return Err(Refusal::new(
                line,
                format!("there is no stage {number} before this one"),
            ));
        }
        if named(&self.stages[stage..]).is_some() {
            let reason = format!("the stage {name:?} does not come before this one");
            return Err(Refusal::new(line, reason));
        }
        if name.is_empty() || name.contains('$') {
            return Err(Refusal::new(
                line,
                "--from needs a stage or an image, without variables",
            ));
        }
        if lower == "scratch" {
            return Err(Refusal::new(line, "there is nothing to copy from scratch"));
        }
        Ok(Source::Image(name.to_owned()))
    }
}

fn begin(
    from: From,
    escape: char,
    globals: &BTreeMap<String, String>,
    before: &[Stage],
) -> Result<Stage, Refusal> {
    let refuse = |reason: String| Refusal::new(from.line, reason);
    if let Some(platform) = &from.platform {
        let platform = expand(platform, escape, globals).map_err(refuse)?;
        if !matches!(platform.as_str(), PLATFORM | "amd64" | "linux/x86_64" | "") {
            return Err(refuse(format!(
                "the platform {platform:?} is not {PLATFORM}"
            )));
        }
    }
    let image = expand(&from.image, escape, globals).map_err(refuse)?;
    if image.is_empty() {
        return Err(refuse(format!(
            "the name of the image, {:?}, is empty",
            from.image
        )));
    }
    let lower = image.to_lowercase();
    let base = match before
        .iter()
        .rposition(|stage| stage.name.as_ref() == Some(&lower))
    {
        Some(stage) => Base::Stage(stage),
        None if image == "scratch" => Base::Scratch,
        None => Base::Image(image),
    };
    Ok(Stage {
        line: from.line,
        name: from.name,
        base,
        instructions: Vec::new(),
    })
}

fn expand(text: &str, escape: char, values: &BTreeMap<String, String>) -> Result<String, String> {
    let lookup = |name: &str| values.get(name).cloned();
    let words = Words {
        escape,
        lookup: &lookup,
    };
    words.expand(text)
}

/// What the reference promises of platforms.
fn platform_arguments() -> BTreeMap<String, String> {
    let (system, processor) = PLATFORM.split_once('/').unwrap_or((PLATFORM, ""));
    let mut arguments = BTreeMap::new();
    for side in ["BUILD", "TARGET"] {
        for (name, value) in [
            ("PLATFORM", PLATFORM),
            ("OS", system),
            ("ARCH", processor),
            ("VARIANT", ""),
        ] {
            arguments.insert(format!("{side}{name}"), value.to_owned());
        }
    }
    arguments
}
