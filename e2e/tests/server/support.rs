//! Short words for what most tests do.

use std::collections::BTreeMap;
use std::time::Duration;

use alcove_agent_api::{ExecuteRequest, ExecuteResponse};
use alcove_api_types::daytona::{CreateSandbox, Sandbox, SandboxState};
use alcove_client::{Client, ClientError};
use alcove_e2e::wait;
use http::StatusCode;

pub fn named(name: &str) -> CreateSandbox {
    CreateSandbox {
        name: Some(name.to_owned()),
        ..CreateSandbox::default()
    }
}

/// Makes a sandbox that must run.
pub async fn make(client: &Client, name: &str) -> Sandbox {
    let sandbox = client.create(&named(name)).await.unwrap();
    assert_eq!(sandbox.state, Some(SandboxState::Started), "{sandbox:?}");
    sandbox
}

/// Runs a shell command that must succeed, and returns what it printed.
pub async fn run(client: &Client, sandbox: &str, command: &str) -> String {
    let answer = execute(client, sandbox, command).await.unwrap();
    assert_eq!(answer.exit_code, 0, "{command}: {}", answer.result);
    answer.result
}

/// For a command that must end by itself.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);

pub async fn execute(
    client: &Client,
    sandbox: &str,
    command: &str,
) -> Result<ExecuteResponse, ClientError> {
    // Asked for anew each time: the address of the toolbox may have changed with a restart.
    let sandbox = client.get(sandbox).await?;
    let request = ExecuteRequest {
        command: command.to_owned(),
        timeout: Some(alcove_e2e::wait::patience(COMMAND_LIMIT).as_secs()),
        ..ExecuteRequest::default()
    };
    client.toolbox(&sandbox)?.execute(&request).await
}

/// None where the sandbox is not seen.
pub async fn state(client: &Client, sandbox: &str) -> Option<SandboxState> {
    match client.get(sandbox).await {
        Ok(sandbox) => sandbox.state,
        Err(error) => {
            assert_eq!(error.status(), Some(StatusCode::NOT_FOUND), "{error:?}");
            None
        }
    }
}

pub async fn becomes(client: &Client, sandbox: &str, wanted: SandboxState) -> Sandbox {
    let mut found = None;
    wait::until(&format!("{sandbox} becomes {wanted:?}"), async || {
        let now = client
            .get(sandbox)
            .await
            .map_err(|error| error.to_string())?;
        if now.state == Some(wanted) {
            found = Some(now);
            Ok(())
        } else {
            Err(format!("{:?}", now.state))
        }
    })
    .await;
    found.unwrap()
}

/// Starts a program inside that counts up in a file, and returns its process number inside.
pub async fn start_counter(client: &Client, sandbox: &str) -> String {
    let command = "sh -c 'n=0; while :; do n=$((n+1)); echo $n > count; sleep 0.05; done' \
                   </dev/null >/dev/null 2>&1 & echo $!";
    run(client, sandbox, command).await.trim().to_owned()
}

/// Whether the very same counter still counts.
pub async fn counter_goes_on(client: &Client, sandbox: &str, pid: &str) {
    let look = "cat count";
    let before = run(client, sandbox, look).await;
    run(client, sandbox, &format!("kill -0 {pid}")).await;
    wait::until("the counter goes on", async || {
        let now = run(client, sandbox, look).await;
        if now.trim().is_empty() || now == before {
            Err(now)
        } else {
            Ok(())
        }
    })
    .await;
}

pub fn labels(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let entries = entries.iter();
    entries
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// A refusal's status and code.
pub fn refusal(error: &ClientError) -> (u16, &str) {
    let refusal = error.refusal();
    let refusal = refusal.unwrap_or_else(|| panic!("not a refusal: {error:?}"));
    (refusal.status.as_u16(), &refusal.code)
}

/// Bounds a call that must not hang.
pub async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = T>) -> T {
    let limit = alcove_e2e::wait::patience(limit);
    let done = tokio::time::timeout(limit, work).await;
    done.unwrap_or_else(|_| panic!("{what} took longer than {limit:?}"))
}

/// Waits until a snapshot has come to this state.
pub async fn snapshot_is(client: &Client, name: &str, wanted: &str) {
    wait::until(&format!("snapshot {name} is {wanted}"), async || {
        let page = client.snapshots().await.unwrap();
        let found = page.items.iter().find(|snapshot| snapshot.name == name);
        match found {
            Some(snapshot) if snapshot.state.as_str() == wanted => Ok(()),
            found => Err(format!("{found:?}")),
        }
    })
    .await;
}

/// What only runners and proxies can ask, or is about sandboxes of everybody.
pub fn is_for_machines(path: &str) -> bool {
    let is_proxys = path.starts_with("/api/preview/") && !path.ends_with("/access");
    is_proxys || path.starts_with("/api/runners/by-sandbox/") || path.ends_with("/state")
}
