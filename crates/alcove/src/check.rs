//! The first sandbox: made through the public API, before anybody is told that the server is ready.
//!
//! A server that listens has shown little. This makes a sandbox as any client would, runs a program in it and
//! removes it. Ctrl-C breaks nothing off: it is looked at between two calls, each of which has a limit.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use alcove_agent_api::{CodeRunRequest, ExecuteRequest};
use alcove_api_types::daytona::{CreateSandbox, Sandbox};
use alcove_client::{Client, ClientError};
use http::StatusCode;
use tokio_util::sync::CancellationToken;

/// The snapshot of creates that name none.
const DEFAULT_SNAPSHOT: &str = "default";

/// Longer than the server holds a create.
const CALL_LIMIT: Duration = Duration::from_secs(45);

/// How long the program may run.
const RUN_LIMIT_S: u64 = 30;

/// How long the sandbox may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(20);

const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// Should the server be killed meanwhile, the next one removes the sandbox after so many idle minutes.
const ORPHAN_MINUTES: i64 = 1;

/// What a shell, and code-run, say of a program that is not there.
const NOT_FOUND: i32 = 127;

const OUTPUT: &str = "hello\n";

#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("there is no image to make a sandbox from; give one with --default-image")]
    NoSnapshot,
    #[error("cannot {doing}")]
    Call {
        doing: &'static str,
        #[source]
        source: ClientError,
    },
    #[error("`{program}` ended with code {exit_code} and said {output:?} instead of \"hello\"")]
    WrongOutput {
        program: &'static str,
        exit_code: i32,
        output: String,
    },
    #[error("the sandbox {id} was deleted but does not go")]
    Stays { id: String },
}

fn call(doing: &'static str) -> impl FnOnce(ClientError) -> CheckError {
    move |source| CheckError::Call { doing, source }
}

/// How the check ended, where nothing went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed(Passed),
    /// There was a Ctrl-C; nothing is left of the sandbox.
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    snapshot: String,
    program: &'static str,
    has_python: bool,
    /// From sending the create to having read the output.
    took: Duration,
}

impl std::fmt::Display for Passed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (program, ms) = (self.program, self.took.as_millis());
        writeln!(
            f,
            "\n  First sandbox: created, ran `{program}`, answered \"hello\" after {ms} ms; deleted again."
        )?;
        if !self.has_python {
            writeln!(
                f,
                "  The snapshot {} has no Python, so its shell had to do; code_run in Python will not work in it.",
                self.snapshot
            )?;
        }
        Ok(())
    }
}

/// Where a server that listens on `address` can be reached from its own host.
pub fn own_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

/// Makes the sandbox, runs the program, removes the sandbox: on every path, and waits until it is gone.
///
/// # Errors
/// [`CheckError`], which names the step.
pub async fn run(url: &str, key: &str, stop: &CancellationToken) -> Result<Outcome, CheckError> {
    let client = Client::new(&format!("{url}/api"), key)
        .map_err(call("speak to the own server"))?
        .with_timeout(Some(CALL_LIMIT));
    let snapshot = find_snapshot(&client).await?;
    if stop.is_cancelled() {
        return Ok(Outcome::Stopped);
    }
    let create = CreateSandbox {
        snapshot: Some(snapshot.clone()),
        auto_stop_interval: Some(ORPHAN_MINUTES),
        auto_delete_interval: Some(0),
        ..CreateSandbox::default()
    };
    let began = Instant::now();
    let mut sandbox = match client.create(&create).await {
        Ok(sandbox) => sandbox,
        Err(error) => {
            // A sandbox that did not start is kept for its owner to look at; here there is nothing to see.
            if let Some(id) = sandbox_of(&error) {
                let _ = remove(&client, &id).await;
            }
            return Err(call("make a sandbox")(error));
        }
    };
    // What the server calls itself may only be reachable from elsewhere.
    sandbox.toolbox_proxy_url = format!("{url}/toolbox");
    let ran = run_program(&client, &sandbox, stop).await;
    let took = began.elapsed();
    let removed = remove(&client, &sandbox.id).await;
    let ran = ran?;
    removed?;
    Ok(match ran {
        None => Outcome::Stopped,
        Some((program, has_python)) => Outcome::Passed(Passed {
            snapshot,
            program,
            has_python,
            took,
        }),
    })
}

/// The default one, else the first.
async fn find_snapshot(client: &Client) -> Result<String, CheckError> {
    let page = client.snapshots().await.map_err(call("list snapshots"))?;
    let names: Vec<String> = page.items.into_iter().map(|s| s.name).collect();
    names
        .iter()
        .find(|name| *name == DEFAULT_SNAPSHOT)
        .or(names.first())
        .cloned()
        .ok_or(CheckError::NoSnapshot)
}

fn sandbox_of(error: &ClientError) -> Option<String> {
    let id = error.refusal()?.details.get("sandboxId")?;
    id.as_str().map(str::to_owned)
}

/// The program that was run, and whether it was Python. `None` after a Ctrl-C.
async fn run_program(
    client: &Client,
    sandbox: &Sandbox,
    stop: &CancellationToken,
) -> Result<Option<(&'static str, bool)>, CheckError> {
    const PYTHON: &str = "print(\"hello\")";
    const SHELL: &str = "echo hello";
    let toolbox = client
        .toolbox(sandbox)
        .map_err(call("speak to the sandbox"))?;
    if stop.is_cancelled() {
        return Ok(None);
    }
    let python = CodeRunRequest {
        code: PYTHON.to_owned(),
        language: "python".to_owned(),
        timeout: Some(RUN_LIMIT_S),
        ..CodeRunRequest::default()
    };
    let answer = toolbox
        .code_run(&python)
        .await
        .map_err(call("run Python in the sandbox"))?;
    if answer.exit_code != NOT_FOUND {
        return expect_hello(PYTHON, answer.exit_code, answer.result).map(|p| Some((p, true)));
    }
    let shell = ExecuteRequest {
        command: SHELL.to_owned(),
        timeout: Some(RUN_LIMIT_S),
        ..ExecuteRequest::default()
    };
    let answer = toolbox
        .execute(&shell)
        .await
        .map_err(call("run a command in the sandbox"))?;
    expect_hello(SHELL, answer.exit_code, answer.result).map(|p| Some((p, false)))
}

fn expect_hello(
    program: &'static str,
    exit_code: i32,
    output: String,
) -> Result<&'static str, CheckError> {
    if exit_code == 0 && output == OUTPUT {
        return Ok(program);
    }
    Err(CheckError::WrongOutput {
        program,
        exit_code,
        output,
    })
}

async fn remove(client: &Client, id: &str) -> Result<(), CheckError> {
    let is_gone = |error: &ClientError| error.status() == Some(StatusCode::NOT_FOUND);
    match client.delete(id).await {
        Err(error) if !is_gone(&error) => return Err(call("delete the sandbox")(error)),
        _ => {}
    }
    let deadline = Instant::now() + GONE_LIMIT;
    loop {
        match client.get(id).await {
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(call("look after the deleted sandbox")(error)),
            Ok(_) if Instant::now() > deadline => {
                return Err(CheckError::Stays { id: id.to_owned() });
            }
            Ok(_) => tokio::time::sleep(LOOK_PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_reached_through_the_loopback() {
        for (listens, url) in [
            ("0.0.0.0:3000", "http://127.0.0.1:3000"),
            ("[::]:3000", "http://[::1]:3000"),
            ("192.0.2.7:80", "http://192.0.2.7:80"),
        ] {
            let address = listens.parse().expect("an address");
            assert_eq!(own_url(address), url);
        }
    }

    #[test]
    fn another_output_is_no_hello() {
        assert!(expect_hello("p", 0, OUTPUT.to_owned()).is_ok());
        for (code, output) in [(1, OUTPUT), (0, "hello"), (0, "")] {
            let result = expect_hello("p", code, output.to_owned());
            assert!(
                matches!(result, Err(CheckError::WrongOutput { .. })),
                "{code} {output:?}"
            );
        }
    }

    #[test]
    fn a_snapshot_without_python_is_said_to_be_one() {
        let passed = |has_python| Passed {
            snapshot: "tiny".to_owned(),
            program: "echo hello",
            has_python,
            took: Duration::from_millis(12),
        };
        assert!(passed(false).to_string().contains("tiny has no Python"));
        assert!(!passed(true).to_string().contains("Python"));
    }
}
