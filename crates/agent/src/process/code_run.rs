//! Runs source text with its interpreter, without a shell in between.
//!
//! Arguments arrive as they were given, and the interpreter is found on the sandbox's search path; nothing is fetched
//! from elsewhere. What a program makes besides its output (charts) reaches the agent by a file of its own, not as
//! lines of the output.

use std::ffi::CString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use alcove_agent_api::Chart;

use crate::agent::Agent;
use crate::process::capture::{Capture, CaptureLimits};
use crate::process::charts::{self, ChartFile, may_draw};
use crate::process::execute::{self, Invocation, Outcome, Terms, memory_file};
use crate::process::spawn::{EnvBlock, c_path, find_program};
use crate::sys::ExitStatus;

/// What a shell answers for a program that does not exist.
const NOT_FOUND: ExitStatus = ExitStatus::Code(127);

/// A language that the sandbox can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    JavaScript,
    TypeScript,
}

impl Language {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "python" => Some(Self::Python),
            "javascript" => Some(Self::JavaScript),
            "typescript" => Some(Self::TypeScript),
            _ => None,
        }
    }
}

/// Runs to the end, as [`execute::run`] does; the charts are what the program has shown.
pub async fn run(
    agent: &Agent,
    language: Language,
    code: &str,
    arguments: Vec<String>,
    mut terms: Terms,
) -> (Outcome, Vec<Chart>) {
    let of_terms = terms.env.get("PATH").map(str::to_owned);
    let search_path = of_terms.unwrap_or_else(|| agent.home.search_path());
    let plan = match language {
        Language::Python if may_draw(code) => drawing_python(&search_path, code, arguments),
        Language::Python => from_stdin(&search_path, &PYTHON, &["-u", "-"], code, arguments),
        Language::JavaScript => from_stdin(&search_path, &["node"], &["-"], code, arguments),
        Language::TypeScript => {
            typescript(agent, &search_path, code, arguments, &mut terms.env).await
        }
    };
    match plan {
        // The temporary file, where there is one, must live as long as the run.
        Ok(Plan::Run(invocation, beside)) => {
            let outcome = execute::run(agent, invocation, terms).await;
            (outcome, charts_of(beside).await)
        }
        Ok(Plan::Missing(message)) => {
            let mut capture = Capture::new(CaptureLimits::default());
            capture.push(format!("{message}\n").as_bytes());
            (Outcome::Exited(NOT_FOUND, capture.finish()), Vec::new())
        }
        Err(error) => (Outcome::NotStarted(error.to_string()), Vec::new()),
    }
}

const PYTHON: [&str; 2] = ["python3", "python"];

enum Plan {
    Run(Invocation, Beside),
    /// The sandbox has nothing that runs it; what to say.
    Missing(String),
}

/// What belongs to a run besides its program.
enum Beside {
    Nothing,
    Source(#[expect(dead_code, reason = "goes when the run is over")] SourceFile),
    Charts(ChartFile),
}

async fn charts_of(beside: Beside) -> Vec<Chart> {
    let Beside::Charts(file) = beside else {
        return Vec::new();
    };
    // Megabytes of numbers are not for the thread that answers everybody.
    let read = tokio::task::spawn_blocking(move || file.read()).await;
    read.unwrap_or_default()
}

fn missing(program: &str) -> Plan {
    Plan::Missing(format!("{program}: not found in this sandbox"))
}

/// Below the script that describes charts.
fn drawing_python(search_path: &str, code: &str, arguments: Vec<String>) -> io::Result<Plan> {
    let Some(path) = PYTHON
        .iter()
        .find_map(|name| find_program(name, search_path))
    else {
        return Ok(missing(PYTHON[0]));
    };
    let (file, passed) = ChartFile::make(code)?;
    let flags = ["-u", "-c", charts::START].map(str::to_owned).into_iter();
    let invocation = Invocation {
        argv: argv(&path, flags.chain(arguments))?,
        path: c_path(&path)?,
        stdin: None,
        passed,
    };
    Ok(Plan::Run(invocation, Beside::Charts(file)))
}

/// The interpreter reads the code as its standard input, so that tracebacks say `<stdin>` and `[stdin]`, and a
/// program that reads its own input finds the end of it.
fn from_stdin(
    search_path: &str,
    names: &[&'static str],
    flags: &[&str],
    code: &str,
    arguments: Vec<String>,
) -> io::Result<Plan> {
    let Some(path) = names
        .iter()
        .find_map(|name| find_program(name, search_path))
    else {
        return Ok(missing(names[0]));
    };
    let flags = flags.iter().map(|flag| (*flag).to_owned());
    Ok(Plan::Run(
        Invocation {
            argv: argv(&path, flags.chain(arguments))?,
            path: c_path(&path)?,
            stdin: Some(memory_file(code.as_bytes())?),
            passed: Vec::new(),
        },
        Beside::Nothing,
    ))
}

/// Programs that run TypeScript, best first, with the flags that make them take off types without checking them, as
/// CommonJS.
const TYPESCRIPT_RUNNERS: [(&str, &[&str]); 3] = [
    ("ts-node", &["-T", "-O", r#"{"module":"CommonJS"}"#]),
    ("tsx", &[]),
    (
        NODE,
        &[STRIP_TYPES, "--disable-warning=ExperimentalWarning"],
    ),
];

const NODE: &str = "node";

/// Node.js knows this since 22.6.
const STRIP_TYPES: &str = "--experimental-strip-types";

/// By a runner of the work dir's packages or of the sandbox. All of them need a file by name.
async fn typescript(
    agent: &Agent,
    search_path: &str,
    code: &str,
    arguments: Vec<String>,
    env: &mut EnvBlock,
) -> io::Result<Plan> {
    let modules = agent.home.work_dir.join("node_modules");
    let search_path = format!("{}:{search_path}", modules.join(".bin").display());
    let found = TYPESCRIPT_RUNNERS
        .iter()
        .find_map(|(name, flags)| Some((*name, find_program(name, &search_path)?, *flags)));
    let found = match found {
        Some((NODE, program, _)) if !strips_types(agent, &program).await? => None,
        found => found,
    };
    let Some((_, program, flags)) = found else {
        let message = "TypeScript needs ts-node, tsx or Node.js 22.6: not found in this sandbox";
        return Ok(Plan::Missing(message.to_owned()));
    };
    // The file is elsewhere, but packages are looked for beside it.
    if env.get("NODE_PATH").is_none() && agent.home.env.get("NODE_PATH").is_none() {
        env.set("NODE_PATH", &modules.to_string_lossy())?;
    }
    let source = SourceFile::new(code)?;
    let flags = flags.iter().map(|flag| (*flag).to_owned());
    let flags = flags.chain([source.0.to_string_lossy().into_owned()]);
    let invocation = Invocation {
        argv: argv(&program, flags.chain(arguments))?,
        path: c_path(&program)?,
        stdin: None,
        passed: Vec::new(),
    };
    Ok(Plan::Run(invocation, Beside::Source(source)))
}

/// Asks a Node.js whether it can take off types.
async fn strips_types(agent: &Agent, node: &Path) -> io::Result<bool> {
    let flags = [STRIP_TYPES, "-e", "0"].map(str::to_owned).into_iter();
    let invocation = Invocation {
        argv: argv(node, flags)?,
        path: c_path(node)?,
        stdin: None,
        passed: Vec::new(),
    };
    let outcome = execute::run(agent, invocation, Terms::default()).await;
    Ok(matches!(outcome, Outcome::Exited(ExitStatus::Code(0), _)))
}

fn argv(program: &Path, rest: impl Iterator<Item = String>) -> io::Result<Vec<CString>> {
    let mut argv = vec![c_path(program)?];
    for argument in rest {
        argv.push(CString::new(argument)?);
    }
    Ok(argv)
}

/// A source file that goes when the run is over.
struct SourceFile(PathBuf);

impl SourceFile {
    fn new(code: &str) -> io::Result<Self> {
        let path = PathBuf::from(format!("/tmp/dtn_{}.ts", uuid::Uuid::new_v4().simple()));
        let mut file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .open(&path)?;
        let source = Self(path);
        file.write_all(code.as_bytes())?;
        Ok(source)
    }
}

impl Drop for SourceFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
