//! Kills during calls into a sandbox: commands and sessions go on, files are whole or not there.

use std::collections::BTreeMap;

use alcove_agent_api::SessionExecRequest;
use alcove_api_types::daytona::SandboxState;
use alcove_e2e::wait;

use super::{Ground, ROUNDS, measured};
use crate::support::{execute, make, run, state};

#[tokio::test]
async fn a_command_goes_on_and_its_sandbox_with_it() {
    let mut ground = Ground::lay("execute").await;
    let client = ground.server.client();
    make(&client, "box").await;
    let command = |round: u32| format!("echo {round} >> log; sleep 0.2; echo done");
    let measure = "echo measured >> log; sleep 0.2; echo done";
    let (_, span) = measured(run(&client, "box", measure)).await;
    for round in 0..ROUNDS {
        let client = ground.server.client();
        let text = command(round);
        let call = execute(&client, "box", &text);
        let answer = ground.kill_during(round, span, call).await;
        let client = ground.server.client();
        assert_eq!(state(&client, "box").await, Some(SandboxState::Started));
        let log = run(&client, "box", "cat log").await;
        let times = log
            .lines()
            .filter(|line| *line == round.to_string())
            .count();
        match answer {
            Some(answer) => {
                assert_eq!((answer.exit_code, answer.result.as_str()), (0, "done\n"));
                assert_eq!(times, 1, "round {round}: {log}");
            }
            None => assert!(times <= 1, "round {round}: run twice: {log}"),
        }
    }
    ground.finish().await;
}

#[tokio::test]
async fn a_session_keeps_what_it_ran_and_runs_on() {
    let mut ground = Ground::lay("session").await;
    let client = ground.server.client();
    let made = make(&client, "box").await;
    client
        .toolbox(&made)
        .unwrap()
        .create_session("s")
        .await
        .unwrap();
    let request = |command: String, is_async: bool| SessionExecRequest {
        command,
        run_async: Some(is_async),
        ..SessionExecRequest::default()
    };
    let toolbox = client.toolbox(&made).unwrap();
    let measure = request("sleep 0.1; echo measured".to_owned(), false);
    let (_, span) = measured(toolbox.session_execute("s", &measure)).await;
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let client = ground.server.client();
        let toolbox = client.toolbox(&client.get("box").await.unwrap()).unwrap();
        let command = request(format!("sleep 0.1; echo out-{round}"), round % 2 == 1);
        let call = toolbox.session_execute("s", &command);
        let answer = ground.kill_during(round, span, call).await;
        if let Some(answer) = answer {
            acknowledged.insert(round, answer.cmd_id);
        }
    }
    let client = ground.server.client();
    let toolbox = client.toolbox(&client.get("box").await.unwrap()).unwrap();
    let sessions = toolbox.sessions().await.unwrap();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    assert!(!acknowledged.is_empty(), "no command was acknowledged");
    for (round, command) in &acknowledged {
        wait::until("the command is through", async || {
            let command = toolbox.session_command("s", command).await.unwrap();
            if command.exit_code == Some(0) {
                Ok(())
            } else {
                Err(command)
            }
        })
        .await;
        let logs = toolbox.session_logs("s", command).await.unwrap();
        assert_eq!(logs.stdout, format!("out-{round}\n"));
    }
    // The shell is the same, and takes more.
    let more = request("echo more".to_owned(), false);
    let answer = toolbox.session_execute("s", &more).await.unwrap();
    assert_eq!(answer.exit_code, Some(0), "{answer:?}");
    ground.finish().await;
}

/// Long enough that an upload takes some time; every byte tells its place.
fn content(round: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 << 20);
    let mut number = round;
    while bytes.len() < 8 << 20 {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes
}

#[tokio::test]
async fn an_uploaded_file_is_whole_or_not_there() {
    let mut ground = Ground::lay("upload").await;
    let client = ground.server.client();
    let made = make(&client, "box").await;
    let toolbox = client.toolbox(&made).unwrap();
    let old = content(99);
    let (uploaded, span) = measured(toolbox.upload("file", &old)).await;
    uploaded.unwrap();
    let mut before = old;
    for round in 0..ROUNDS {
        let client = ground.server.client();
        let toolbox = client.toolbox(&client.get("box").await.unwrap()).unwrap();
        let (new, fresh) = (content(round), format!("dir-{round}/fresh"));
        let call = async {
            toolbox.upload("file", &new).await?;
            toolbox.upload(&fresh, &new).await
        };
        let done = ground.kill_during(round, span * 2, call).await.is_some();

        let client = ground.server.client();
        let toolbox = client.toolbox(&client.get("box").await.unwrap()).unwrap();
        let now = toolbox.download("file").await.unwrap();
        let is_right = now == new || (!done && now == before);
        assert!(
            is_right,
            "round {round}, acknowledged {done}: {} bytes, mixed",
            now.len()
        );
        match toolbox.download(&fresh).await {
            Ok(found) => assert!(
                found == new,
                "round {round}: half a file, {} bytes",
                found.len()
            ),
            Err(error) => {
                assert!(
                    !done,
                    "round {round}: acknowledged and not there: {error:?}"
                );
                assert_eq!(error.status(), Some(http::StatusCode::NOT_FOUND));
            }
        }
        before = now.to_vec();
        wait::until("no part of a file is left", async || {
            let left = run(&client, "box", "find . -name '*.part'").await;
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }
    ground.finish().await;
}

#[tokio::test]
async fn a_download_breaks_off_visibly_or_is_whole() {
    let mut ground = Ground::lay("download").await;
    let client = ground.server.client();
    let made = make(&client, "box").await;
    let toolbox = client.toolbox(&made).unwrap();
    let wanted = content(7);
    toolbox.upload("file", &wanted).await.unwrap();
    let (_, span) = measured(toolbox.download("file")).await;
    for round in 0..ROUNDS {
        let client = ground.server.client();
        let toolbox = client.toolbox(&client.get("box").await.unwrap()).unwrap();
        let call = toolbox.download("file");
        if let Some(found) = ground.kill_during(round, span, call).await {
            assert!(
                found == wanted,
                "round {round}: {} bytes taken for the whole",
                found.len()
            );
        }
        let client = ground.server.client();
        let toolbox = client.toolbox(&client.get("box").await.unwrap()).unwrap();
        assert!(
            toolbox.download("file").await.unwrap() == wanted,
            "round {round}"
        );
    }
    ground.finish().await;
}
