//! What every sandbox is held to after a reboot of the host: nothing of the kernel's is left of the server then, and all of
//! its data folder.

use alcove_agent_api::ExecuteRequest;
use alcove_api_types::daytona::{
    CreateSandbox, Sandbox, SandboxState, UpdateSandboxNetworkSettings,
};
use alcove_client::Client;
use alcove_e2e::server::{Port, TestServer};
use alcove_e2e::wait;
use http::StatusCode;
use serde_json::json;

use crate::support::on_host;
use crate::world::{ELSEWHERE, INTERNET, in_world};

const ANOTHER_BOOT: &str = "00000000-0000-4000-8000-000000000000";

/// Ends all that runs for the server, takes away its control groups, namespaces and tables, and leaves its folder as one
/// of another boot.
fn reboot(server: &mut TestServer) {
    assert!(!server.instance.standing_parts().is_empty(), "the control");
    server.kill();
    server.instance.clear();
    assert_eq!(server.instance.standing_parts(), [].into());
    assert!(server.traces().cgroups.is_empty(), "{:?}", server.traces());
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let journal = server.instance.data_dir().join("runner/journal");
    let mut count = 0;
    for file in std::fs::read_dir(journal).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = text.replace(boot.trim(), ANOTHER_BOOT);
        count += usize::from(changed != text);
        std::fs::write(path, changed).unwrap();
    }
    assert_eq!(count, 3, "each sandbox has a record that names its boot");
}

async fn execute(client: &Client, name: &str, command: &str) -> String {
    let sandbox = client.get(name).await.unwrap();
    let request = ExecuteRequest {
        command: command.to_owned(),
        ..ExecuteRequest::default()
    };
    let toolbox = client.toolbox(&sandbox).unwrap();
    toolbox.execute(&request).await.unwrap().result
}

/// What the first process of the image got from outside, before anybody else did anything in the sandbox.
async fn first_words(client: &Client, name: &str) -> String {
    let mut words = String::new();
    wait::until("the first process has tried", async || {
        words = execute(client, name, "cat /tmp/first 2>/dev/null").await;
        if words.contains("done") {
            Ok(())
        } else {
            Err(words.clone())
        }
    })
    .await;
    words
}

/// Whether the first process reached the internet's server, and the other machine.
async fn reached(client: &Client, name: &str) -> (bool, bool) {
    let words = first_words(client, name).await;
    let found = |place: &str| words.contains(&format!("{place}: hello"));
    (found("internet"), found("elsewhere"))
}

async fn make(client: &Client, name: &str, change: impl FnOnce(&mut CreateSandbox)) -> Sandbox {
    let mut request = CreateSandbox {
        name: Some(name.to_owned()),
        snapshot: Some("eager".to_owned()),
        ..CreateSandbox::default()
    };
    change(&mut request);
    let sandbox = client.create(&request).await.unwrap();
    assert_eq!(sandbox.state, Some(SandboxState::Started), "{sandbox:?}");
    sandbox
}

/// A snapshot whose first process looks what it reaches.
async fn make_snapshot(server: &TestServer) {
    let tries = format!(
        "cd /tmp; (echo internet: $(nc -w 2 {INTERNET} 8080 </dev/null); \
         echo elsewhere: $(nc -w 2 {ELSEWHERE} 8080 </dev/null); echo done) >.first 2>&1; mv .first first; sleep 1000"
    );
    let entrypoint = json!(["/bin/sh", "-c", tries]);
    let dockerfile = format!("FROM default\nENTRYPOINT {entrypoint}\n");
    let body = json!({"name": "eager", "buildInfo": {"dockerfileContent": dockerfile}}).to_string();
    let answer = server.raw().ask("POST", "/api/snapshots", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    wait::until("the snapshot is built", async || {
        let answer = server.raw().ask("GET", "/api/snapshots/eager", "").await;
        let found = answer.json();
        if found["state"] == "active" {
            Ok(())
        } else {
            Err(found.to_string())
        }
    })
    .await;
}

#[test]
fn after_a_reboot_every_policy_stands_before_the_first_process() {
    in_world(|| async move {
        let mut server = TestServer::start().await;
        make_snapshot(&server).await;
        let client = server.client();
        make(&client, "open", |_| {}).await;
        make(&client, "blocked", |request| {
            request.network_block_all = Some(true);
        })
        .await;
        // One whose policy was changed while it ran.
        make(&client, "listed", |_| {}).await;
        let settings = UpdateSandboxNetworkSettings {
            network_allow_list: Some(format!("{ELSEWHERE}/32")),
            ..UpdateSandboxNetworkSettings::default()
        };
        client.set_network("listed", &settings).await.unwrap();
        assert_eq!(reached(&client, "open").await, (true, true), "the control");
        assert_eq!(reached(&client, "blocked").await, (false, false));
        let before = reached(&client, "listed").await;
        assert_eq!(before, (true, true), "the control: it was open then");

        for _ in 0..2 {
            reboot(&mut server);
            server.restart(Port::Same).await;
            let client = server.client();
            for name in ["open", "blocked", "listed"] {
                wait::until(&format!("{name} is known to have ended"), async || {
                    let found = client.get(name).await.unwrap();
                    let reason = found.error_reason.unwrap_or_default();
                    if found.state == Some(SandboxState::Stopped)
                        && reason.contains("the host was rebooted")
                    {
                        Ok(())
                    } else {
                        Err(format!("{:?} {reason}", found.state))
                    }
                })
                .await;
                client.start(name).await.unwrap();
            }
            assert_eq!(reached(&client, "open").await, (true, true), "the control");
            assert_eq!(reached(&client, "blocked").await, (false, false));
            assert_eq!(reached(&client, "listed").await, (false, true));
            let outcome = on_host(&format!("tcp {INTERNET}:8080"));
            assert_eq!(outcome, "ok hello", "the control");
        }
        server.finish().await;
    });
}
