//! Runs source text with its interpreter, without a shell in between.
//!
//! Arguments arrive as they were given, and the interpreter is found on the sandbox's search path. What a
//! program makes besides its output (charts) will reach the agent by a descriptor of its own, not as lines
//! of the output.

use std::ffi::CString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::agent::Agent;
use crate::process::capture::{Capture, CaptureLimits};
use crate::process::execute::{self, Invocation, Outcome, Terms, memory_file};
use crate::process::spawn::{c_path, find_program};
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

/// Runs to the end, as [`execute::run`] does.
pub async fn run(
    agent: &Agent,
    language: Language,
    code: &str,
    arguments: Vec<String>,
    terms: Terms,
) -> Outcome {
    let search_path = terms.env.get("PATH").unwrap_or(&agent.home.search_path);
    let plan = match language {
        Language::Python => from_stdin(
            search_path,
            &["python3", "python"],
            &["-u", "-"],
            code,
            arguments,
        ),
        Language::JavaScript => from_stdin(search_path, &["node"], &["-"], code, arguments),
        Language::TypeScript => typescript(search_path, code, arguments),
    };
    match plan {
        // The temporary file, where there is one, must live as long as the run.
        Ok(Plan::Run(invocation, _source)) => execute::run(agent, invocation, terms).await,
        Ok(Plan::Missing(program)) => {
            let mut capture = Capture::new(CaptureLimits::default());
            capture.push(format!("{program}: not found in this sandbox\n").as_bytes());
            Outcome::Exited(NOT_FOUND, capture.finish())
        }
        Err(error) => Outcome::NotStarted(error.to_string()),
    }
}

enum Plan {
    Run(Invocation, Option<SourceFile>),
    Missing(&'static str),
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
        return Ok(Plan::Missing(names[0]));
    };
    let flags = flags.iter().map(|flag| (*flag).to_owned());
    Ok(Plan::Run(
        Invocation {
            argv: argv(&path, flags.chain(arguments))?,
            path: c_path(&path)?,
            stdin: Some(memory_file(code.as_bytes())?),
            passed: Vec::new(),
        },
        None,
    ))
}

/// By a local `ts-node`, or one that `npx` finds. Both need a file by name.
fn typescript(search_path: &str, code: &str, arguments: Vec<String>) -> io::Result<Plan> {
    let (program, runner): (PathBuf, &[&str]) =
        if let Some(path) = find_program("ts-node", search_path) {
            (path, &[])
        } else if let Some(path) = find_program("npx", search_path) {
            (path, &["--loglevel=error", "ts-node"])
        } else {
            return Ok(Plan::Missing("ts-node"));
        };
    let source = SourceFile::new(code)?;
    let options = ["-T", "-O", r#"{"module":"CommonJS"}"#];
    let flags = runner.iter().chain(&options).map(|flag| (*flag).to_owned());
    let flags = flags.chain([source.0.to_string_lossy().into_owned()]);
    let invocation = Invocation {
        argv: argv(&program, flags.chain(arguments))?,
        path: c_path(&program)?,
        stdin: None,
        passed: Vec::new(),
    };
    Ok(Plan::Run(invocation, Some(source)))
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
