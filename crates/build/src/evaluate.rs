//! From instructions to steps: variables, working folders, users, shells.

mod copy;
mod fetch;
mod run;

pub use self::fetch::is_commit;
pub(crate) use self::fetch::{NOT_BY_COPY, is_remote};

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::config::{Config, Healthcheck, TEXT_BYTES};
use crate::dockerfile::Dockerfile;
use crate::instruction::{self, Command, Flag, Instruction, Kind};
use crate::refusal::Refusal;
use crate::step::{Action, Base, Plan, StagePlan, Step};
use crate::words::{self, Words};

/// Most steps of a plan that change files. Each is a layer, and layers of the base come on top.
pub const STEPS_MAX: usize = 200;

/// Where programs are looked for in what has no base.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Most bytes of all variables of a stage.
const VARIABLES_MAX_BYTES: usize = 512 << 10;

/// Most bytes of a plan: of values, and of what stages take over from others and steps from their stage. One line can name a value of many
/// kilobytes many thousand times.
pub const PLAN_MAX_BYTES: usize = 32 << 20;

impl Dockerfile {
    /// Spells out what is to be done. `base` gives the configuration of an image by its name; `None` means that there is
    /// no such image.
    ///
    /// # Errors
    /// The first line that is wrong, or that asks for something that is not supported.
    pub fn plan(&self, base: impl Fn(&str) -> Option<Config>) -> Result<Plan, Refusal> {
        let mut ends: BTreeMap<usize, End> = BTreeMap::new();
        let mut stages = Vec::new();
        let mut steps = 0;
        let spent = Cell::new(0);
        for index in self.wanted() {
            let stage = &self.stages[index];
            let start = match &stage.base {
                Base::Scratch => End {
                    config: Config {
                        env: vec![("PATH".to_owned(), DEFAULT_PATH.to_owned())],
                        ..Config::default()
                    },
                    arguments: BTreeMap::new(),
                },
                Base::Stage(earlier) => ends.get(earlier).cloned().unwrap_or_default(),
                Base::Image(image) => End {
                    config: base(image).ok_or_else(|| {
                        let reason = format!("there is no image {image:?} on this server");
                        Refusal::new(stage.line, reason)
                    })?,
                    arguments: BTreeMap::new(),
                },
            };
            let mut evaluation = Evaluation {
                file: self,
                index,
                spent: &spent,
                config: start.config,
                arguments: start.arguments,
                steps: Vec::new(),
                has_own_command: false,
            };
            let inherited = evaluation.config.bytes() + evaluation.arguments_bytes();
            evaluation
                .spend(inherited)
                .map_err(|reason| Refusal::new(stage.line, reason))?;
            let triggers = std::mem::take(&mut evaluation.config.on_build);
            for text in triggers {
                let trigger = instruction::trigger(stage.line, &text, self.escape)?;
                evaluation.take(&trigger)?;
            }
            for instruction in &stage.instructions {
                evaluation.take(instruction)?;
                if steps + evaluation.steps.len() > STEPS_MAX {
                    let reason =
                        format!("the build has more than {STEPS_MAX} steps that change files");
                    return Err(Refusal::new(stage.line, reason));
                }
            }
            steps += evaluation.steps.len();
            let Evaluation {
                config,
                arguments,
                steps,
                ..
            } = evaluation;
            stages.push(StagePlan {
                index,
                base: stage.base.clone(),
                steps,
                config: config.clone(),
            });
            ends.insert(index, End { config, arguments });
        }
        Ok(Plan { stages })
    }
}

/// What a stage leaves to those that start from it.
#[derive(Debug, Clone, Default)]
struct End {
    config: Config,
    arguments: BTreeMap<String, String>,
}

struct Evaluation<'a> {
    file: &'a Dockerfile,
    index: usize,
    /// Bytes of the whole plan so far.
    spent: &'a Cell<usize>,
    config: Config,
    /// Declared in this stage, or in the one that it starts from.
    arguments: BTreeMap<String, String>,
    steps: Vec<Step>,
    /// A command that was inherited goes with a new entrypoint.
    has_own_command: bool,
}

impl Evaluation<'_> {
    fn take(&mut self, instruction: &Instruction) -> Result<(), Refusal> {
        let refuse = |reason: String| Refusal::new(instruction.line, reason);
        match &instruction.kind {
            Kind::Run(words) => {
                // Its variables.
                let bytes = self.config.bytes() + self.arguments_bytes();
                self.spend(bytes).map_err(refuse)?;
                let run = self.run(words).map_err(refuse)?;
                let run = self.with_sources(run, words, instruction.line)?;
                self.push(instruction, Action::Run(run));
            }
            Kind::Copy(words) => {
                let copy = self.copy(words, instruction.line)?;
                self.push(instruction, Action::Copy(copy));
            }
            Kind::Env(pairs) => {
                // All of one instruction see what was set before it.
                let values = self.expand_pairs(pairs).map_err(refuse)?;
                for (name, value) in values {
                    if name.contains(['\0', '=']) || value.contains('\0') {
                        return Err(refuse(format!("{name:?} cannot be a variable")));
                    }
                    self.config.set_variable(&name, value);
                }
                let bytes: usize = self.config.env.iter().map(|(n, v)| n.len() + v.len()).sum();
                if bytes > VARIABLES_MAX_BYTES {
                    let reason =
                        format!("the variables take more than {VARIABLES_MAX_BYTES} bytes");
                    return Err(refuse(reason));
                }
            }
            Kind::Label(pairs) => {
                let values = self.expand_pairs(pairs).map_err(refuse)?;
                self.config.labels.extend(values);
            }
            Kind::Arg(arguments) => {
                for (name, value) in arguments {
                    let value = match value {
                        Some(value) => Some(self.expand(value).map_err(refuse)?),
                        None => self.file.globals.get(name).cloned(),
                    };
                    if let Some(value) = value {
                        self.arguments.insert(name.clone(), value);
                    }
                }
            }
            Kind::Workdir(path) => {
                let path = self.expand(path).map_err(refuse)?;
                if path.is_empty() {
                    return Err(refuse("the working folder is empty".to_owned()));
                }
                let path = self.config.resolve(&path);
                self.config.workdir.clone_from(&path);
                if path != "/" {
                    self.push(instruction, Action::Folder { path });
                }
            }
            Kind::User(user) => {
                let user = self.expand(user).map_err(refuse)?;
                if user.is_empty() || user.contains(char::is_whitespace) {
                    return Err(refuse(format!("{user:?} is no user")));
                }
                self.config.user = user;
            }
            Kind::Entrypoint(command) => {
                self.config.entrypoint = self.command_line(command);
                if !self.has_own_command {
                    self.config.cmd.clear();
                }
            }
            Kind::Cmd(command) => {
                self.config.cmd = self.command_line(command);
                self.has_own_command = true;
            }
            Kind::Expose(text) => {
                let text = self.expand_list(text).map_err(refuse)?;
                for word in text {
                    self.config
                        .exposed_ports
                        .extend(ports(&word).map_err(refuse)?);
                }
            }
            Kind::Volume(paths) => {
                for path in paths {
                    let path = self.expand(path).map_err(refuse)?;
                    if path.is_empty() {
                        return Err(refuse("the path of a volume is empty".to_owned()));
                    }
                    self.config.volumes.insert(path);
                }
            }
            Kind::Shell(shell) => self.config.shell.clone_from(shell),
            Kind::StopSignal(signal) => {
                self.config.stop_signal = self.expand(signal).map_err(refuse)?;
            }
            Kind::Healthcheck(flags, command) => {
                self.config.healthcheck =
                    Some(self.healthcheck(flags, command.as_ref()).map_err(refuse)?);
            }
            Kind::OnBuild(text) => self.config.on_build.push(text.clone()),
            Kind::Maintainer => {}
        }
        Ok(())
    }

    fn push(&mut self, instruction: &Instruction, action: Action) {
        self.steps.push(Step {
            line: instruction.line,
            text: instruction.text.clone(),
            action,
        });
    }

    /// A variable wins over an argument of the same name.
    fn value(&self, name: &str) -> Option<String> {
        self.config
            .variable(name)
            .map(str::to_owned)
            .or_else(|| self.arguments.get(name).cloned())
    }

    fn with_words<T>(&self, work: impl FnOnce(&Words<'_>) -> T) -> T {
        let lookup = |name: &str| self.value(name);
        work(&Words {
            escape: self.file.escape,
            lookup: &lookup,
        })
    }

    fn expand(&self, text: &str) -> Result<String, String> {
        let text = self.with_words(|words| words.expand(text))?;
        self.spend(text.len() + TEXT_BYTES)?;
        Ok(text)
    }

    fn spend(&self, bytes: usize) -> Result<(), String> {
        self.spent.set(self.spent.get().saturating_add(bytes));
        if self.spent.get() > PLAN_MAX_BYTES {
            return Err(format!(
                "the values of the Dockerfile take more than {PLAN_MAX_BYTES} bytes"
            ));
        }
        Ok(())
    }

    fn arguments_bytes(&self) -> usize {
        let texts = self.arguments.iter();
        texts
            .map(|(name, value)| name.len() + value.len() + 2 * TEXT_BYTES)
            .sum()
    }

    fn expand_list(&self, text: &str) -> Result<Vec<String>, String> {
        let mut list = Vec::new();
        for word in words::split(text, self.file.escape) {
            let word = self.expand(&word)?;
            list.extend(word.split_whitespace().map(str::to_owned));
        }
        Ok(list)
    }

    fn expand_pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>, String> {
        pairs
            .iter()
            .map(|(name, value)| Ok((self.expand(name)?, self.expand(value)?)))
            .collect()
    }

    fn command_line(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(list) => list.clone(),
            Command::Shell(text) => self.config.shell_form(text),
        }
    }

    fn healthcheck(
        &self,
        flags: &[Flag],
        command: Option<&Command>,
    ) -> Result<Healthcheck, String> {
        let Some(command) = command else {
            return Ok(Healthcheck {
                test: vec!["NONE".to_owned()],
                ..Healthcheck::default()
            });
        };
        let test = match command {
            Command::Exec(list) => std::iter::once("CMD".to_owned())
                .chain(list.iter().cloned())
                .collect(),
            Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
        };
        let mut check = Healthcheck {
            test,
            ..Healthcheck::default()
        };
        for flag in flags {
            let value = self.expand(flag.value.as_deref().unwrap_or_default())?;
            match flag.name.as_str() {
                "interval" => check.interval = nanoseconds(&value)?,
                "timeout" => check.timeout = nanoseconds(&value)?,
                "start-period" => check.start_period = nanoseconds(&value)?,
                "start-interval" => check.start_interval = nanoseconds(&value)?,
                _ => {
                    check.retries = value
                        .parse()
                        .map_err(|_| format!("--retries {value:?} is no number"))?;
                }
            }
        }
        Ok(check)
    }
}

/// A duration such as `1m30s` or `500ms`.
fn nanoseconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no duration");
    let mut total = 0_u64;
    let mut rest = text;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        total = number
            .checked_mul(unit)
            .and_then(|n| total.checked_add(n))
            .ok_or_else(wrong)?;
    }
    Ok(total)
}

/// `80`, `80/udp` or `8000-8010/tcp`, each port for itself.
fn ports(text: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("{text:?} is no port");
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (low, high) = (number(low)?, number(high)?);
    if low > high {
        return Err(wrong());
    }
    Ok((low..=high)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}
