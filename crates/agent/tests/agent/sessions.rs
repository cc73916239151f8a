use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, PATIENCE, TestAgent, eventually, is_running};

pub async fn create(agent: &TestAgent, id: &str) {
    agent
        .post("/process/session", &json!({ "sessionId": id }))
        .await
        .expect(201);
}

pub async fn exec(agent: &TestAgent, session: &str, command: &str) -> Answer {
    let request = json!({ "command": command });
    let uri = format!("/process/session/{session}/exec");
    let newest = [("x-daytona-sdk-version", "0.226.1")];
    agent
        .call(http::Method::POST, &uri, &newest, request.to_string())
        .await
}

/// Starts a command and returns its URI.
pub async fn exec_async(agent: &TestAgent, session: &str, command: &str) -> String {
    let request = json!({ "command": command, "runAsync": true });
    let answer = agent
        .post(&format!("/process/session/{session}/exec"), &request)
        .await;
    let answer = answer.expect(202).json();
    assert_eq!(answer["exitCode"], Value::Null);
    format!(
        "/process/session/{session}/command/{}",
        answer["cmdId"].as_str().unwrap()
    )
}

/// Waits for the exit code of a command.
pub async fn exit_code(agent: &TestAgent, command: &str) -> i64 {
    let start = Instant::now();
    loop {
        let answer = agent.get(command).await.expect(200).json();
        if let Some(code) = answer["exitCode"].as_i64() {
            return code;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{answer}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn commands_share_the_shell() {
    let agent = TestAgent::start().await;
    create(&agent, "s").await;
    let first = exec(
        &agent,
        "s",
        "cd /; export A=1; b=2; f() { echo f; }; echo err >&2",
    )
    .await;
    let first = first.expect(200).json();
    assert_eq!(
        (&first["exitCode"], &first["stderr"]),
        (&json!(0), &json!("err\n"))
    );
    let second = exec(&agent, "s", "pwd; echo $A$b; f; (exit 5)")
        .await
        .expect(200)
        .json();
    assert_eq!(second["stdout"], "/\n12\nf\n");
    assert_eq!(second["exitCode"], 5);
    let third = exec(&agent, "s", "cat; read x; echo \"[$x]\"; return 6")
        .await
        .json();
    assert_eq!(
        (&third["stdout"], &third["exitCode"]),
        (&json!("[]\n"), &json!(6))
    );
    let session = agent.get("/process/session/s").await.expect(200).json();
    let commands = session["commands"].as_array().unwrap();
    let codes: Vec<_> = commands
        .iter()
        .map(|command| command["exitCode"].as_i64())
        .collect();
    assert_eq!(codes, [Some(0), Some(5), Some(6)]);
    assert_eq!(agent.get("/process/session").await.json(), json!([session]));
    agent
        .post("/process/session", &json!({ "sessionId": "s" }))
        .await
        .expect(409);
}

#[tokio::test]
async fn the_end_of_the_shell_is_the_end_of_the_command() {
    let agent = TestAgent::start().await;
    let table = [
        ("exit 3", 3),
        ("set -e; false; echo not reached", 1),
        ("exec sh -c 'exit 4'", 4),
        ("kill -9 $$", 137),
    ];
    for (number, (command, code)) in table.into_iter().enumerate() {
        let id = format!("s{number}");
        create(&agent, &id).await;
        let answer = exec(&agent, &id, command).await.expect(200).json();
        assert_eq!(answer["exitCode"], code, "{command}");
        let gone = exec(&agent, &id, "true").await.expect(410).json();
        assert_eq!(gone["code"], "SESSION_ENDED");
        agent
            .delete(&format!("/process/session/{id}"))
            .await
            .expect(204);
    }
}

#[tokio::test]
async fn commands_that_wait_are_over_when_the_shell_ends() {
    let agent = TestAgent::start().await;
    create(&agent, "s").await;
    let first = exec_async(&agent, "s", "sleep 0.2; exit 9").await;
    let second = exec_async(&agent, "s", "echo never").await;
    exec(&agent, "s", "echo never").await.expect(410);
    assert_eq!(exit_code(&agent, &first).await, 9);
    assert_eq!(exit_code(&agent, &second).await, -1);
}

#[tokio::test]
async fn async_commands_run_one_after_another() {
    let agent = TestAgent::start().await;
    create(&agent, "s").await;
    let first = exec_async(&agent, "s", "sleep 0.2; cd /tmp; echo one >>$HOME/order").await;
    let second = exec_async(&agent, "s", "echo two $PWD >>$HOME/order").await;
    assert_eq!(exit_code(&agent, &second).await, 0);
    assert_eq!(exit_code(&agent, &first).await, 0);
    let order = std::fs::read_to_string(agent.path("order")).unwrap();
    assert_eq!(order, "one\ntwo /tmp\n");
}

#[tokio::test]
async fn traps_of_the_user_are_the_users() {
    let agent = TestAgent::start().await;
    create(&agent, "s").await;
    exec(&agent, "s", "trap 'echo bye >$HOME/bye' EXIT")
        .await
        .expect(200);
    let set = exec(
        &agent,
        "s",
        "trap; set | grep -i ^_*alcove | grep -v SANDBOX_ID",
    )
    .await
    .json();
    assert_eq!(set["stdout"].as_str().unwrap().lines().count(), 1, "{set}");
    exec(&agent, "s", "exit").await.expect(200);
    assert_eq!(std::fs::read_to_string(agent.path("bye")).unwrap(), "bye\n");
}

#[tokio::test]
async fn descriptors_of_the_shell_are_free_for_the_user() {
    let agent = TestAgent::start().await;
    create(&agent, "s").await;
    let command = "for fd in 3 4 5 6 7 8 9; do eval \"exec $fd>/dev/null\"; done; echo ok";
    assert_eq!(
        exec(&agent, "s", command).await.expect(200).json()["stdout"],
        "ok\n"
    );
    let redirected = exec(&agent, "s", "exec >$HOME/file; echo hidden")
        .await
        .expect(200)
        .json();
    assert_eq!(redirected["stdout"], "");
    assert_eq!(
        exec(&agent, "s", "echo seen").await.json()["stdout"],
        "seen\n"
    );
    let functions = exec(
        &agent,
        "s",
        "printf() { :; }; alias printf=false; echo() { :; }",
    )
    .await;
    functions.expect(200);
    assert_eq!(
        exec(&agent, "s", "pwd").await.expect(200).json()["exitCode"],
        0
    );
}

#[tokio::test]
async fn a_background_child_does_not_hold_up_the_command() {
    let agent = TestAgent::start().await;
    create(&agent, "s").await;
    let gate = agent.path("gate");
    let late = format!("(until [ -e {gate} ]; do sleep 0.02; done; echo late) & echo x");
    let answer = exec(&agent, "s", &late).await.expect(200).json();
    assert_eq!(answer["stdout"], "x\n");
    std::fs::write(&gate, "").unwrap();
    let logs = format!(
        "/process/session/s/command/{}/logs",
        answer["cmdId"].as_str().unwrap()
    );
    let start = Instant::now();
    while !agent.get(&logs).await.text().contains("late") {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let flood = exec(&agent, "s", "yes & sleep 0.1; echo x; kill $!")
        .await
        .expect(200)
        .json();
    assert_eq!(flood["exitCode"], 0);
}

#[tokio::test]
async fn ids_are_only_names() {
    let agent = TestAgent::start().await;
    let witness = agent.path("witness");
    for id in [
        "..",
        ".",
        "a/b",
        "$(touch witness)",
        "'\"; touch witness;",
        "ä b",
        &"x".repeat(5000),
    ] {
        create(&agent, id).await;
        let uri = format!(
            "/process/session/{}",
            percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC)
        );
        let request = json!({ "command": "echo hi" });
        let answer = agent
            .post(&format!("{uri}/exec"), &request)
            .await
            .expect(200)
            .json();
        assert_eq!(answer["output"], "hi\n");
        agent.delete(&uri).await.expect(204);
        agent.get(&uri).await.expect(404);
    }
    assert!(!std::path::Path::new(&witness).exists());
}

#[tokio::test]
async fn input_reaches_a_running_command_and_is_refused_afterwards() {
    let agent = TestAgent::start().await;
    create(&agent, "s").await;
    let blocker = exec_async(&agent, "s", "read go; echo \"<$go>\"").await;
    let request = json!({
        "command": "read x; echo \"[$x]\"; cat >/dev/null & ", "async": true, "suppressInputEcho": true
    });
    let quiet = agent
        .post("/process/session/s/exec", &request)
        .await
        .expect(202)
        .json();
    let quiet = format!(
        "/process/session/s/command/{}",
        quiet["cmdId"].as_str().unwrap()
    );
    // For one that waits its turn, for one that runs.
    agent
        .post(&format!("{quiet}/input"), &json!({ "data": "quiet\n" }))
        .await
        .expect(204);
    agent
        .post(&format!("{blocker}/input"), &json!({ "data": "go" }))
        .await
        .expect(204);
    assert_eq!(exit_code(&agent, &blocker).await, 0);
    assert_eq!(exit_code(&agent, &quiet).await, 0);
    assert_eq!(
        agent.get(&format!("{blocker}/logs")).await.text(),
        "go\n<go>\n"
    );
    assert_eq!(
        agent.get(&format!("{quiet}/logs")).await.text(),
        "[quiet]\n"
    );
    for command in [&blocker, &quiet] {
        for _ in 0..3 {
            let late = agent
                .post(&format!("{command}/input"), &json!({ "data": "x" }))
                .await;
            assert_eq!(late.expect(410).json()["code"], "COMMAND_ALREADY_COMPLETED");
        }
    }
    agent
        .post(&format!("{quiet}/input"), &json!({ "data": "" }))
        .await
        .expect(400);
}

#[tokio::test]
async fn a_command_that_does_not_read_does_not_hang_the_agent() {
    let agent = TestAgent::start().await;
    create(&agent, "s").await;
    let command = exec_async(&agent, "s", "sleep 60").await;
    let data = json!({ "data": "x".repeat(60_000) });
    let mut refused = 0;
    for _ in 0..70 {
        let answer = agent.post(&format!("{command}/input"), &data).await;
        if answer.status == 503 {
            refused += 1;
            break;
        }
        answer.expect(204);
    }
    assert_eq!(refused, 1);
    agent.get("/version").await.expect(200);
}

#[tokio::test]
async fn deleting_a_session_kills_all_that_it_started() {
    let agent = TestAgent::start().await;
    create(&agent, "s").await;
    let command = "setsid sleep 4801 & (setsid setsid sleep 4802 &); (env -i setsid sleep 4803 &); \
                   sleep 4804 & disown; sleep 4805";
    exec_async(&agent, "s", command).await;
    let words = ["4801", "4802", "4803", "4804", "4805"];
    eventually("all run", || words.iter().all(|word| is_running(word))).await;
    let start = Instant::now();
    let (pending, deleted) = tokio::join!(
        async { (exec(&agent, "s", "true").await, start.elapsed()) },
        async {
            let queued = || async {
                agent.get("/process/session/s").await.json()["commands"][1].is_object()
            };
            while !queued().await {
                assert!(start.elapsed() < PATIENCE);
            }
            agent.delete("/process/session/s").await
        }
    );
    deleted.expect(204);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert_eq!(pending.0.expect(410).json()["code"], "SESSION_ENDED");
    for word in words {
        assert!(!is_running(word), "sleep {word} is left");
    }
    agent.get("/process/session/s").await.expect(404);
    exec(&agent, "s", "true").await.expect(404);
}

#[tokio::test]
async fn five_hundred_async_commands_leave_nothing_behind() {
    let agent = TestAgent::start().await;
    create(&agent, "s").await;
    exec(&agent, "s", "true").await.expect(200);
    let (descriptors, children) = (
        agent.descriptor_count(),
        crate::support::children_of(agent.pid()),
    );
    let mut last = String::new();
    for number in 0..500 {
        last = exec_async(&agent, "s", &format!("echo {number}")).await;
    }
    assert_eq!(exit_code(&agent, &last).await, 0);
    assert_eq!(agent.get(&format!("{last}/logs")).await.text(), "499\n");
    eventually("no descriptor is left", || {
        agent.descriptor_count() <= descriptors + 2
    })
    .await;
    assert_eq!(crate::support::children_of(agent.pid()), children);
}

#[tokio::test]
async fn old_clients_start_at_home_and_new_ones_in_the_work_dir() {
    let agent = TestAgent::start_with(json!({ "workdir": "/usr" })).await;
    for (version, wanted) in [
        (Some("0.102.0"), agent.path("")),
        (Some("0.103.0"), "/usr".into()),
        (None, "/usr".into()),
    ] {
        let headers: Vec<_> = version
            .map(|version| ("x-daytona-sdk-version", version))
            .into_iter()
            .collect();
        let body = json!({ "sessionId": "s" }).to_string();
        agent
            .call(http::Method::POST, "/process/session", &headers, body)
            .await
            .expect(201);
        let answer = exec(&agent, "s", "pwd").await.json();
        assert_eq!(
            answer["stdout"].as_str().unwrap().trim(),
            wanted.trim_end_matches('/'),
            "{version:?}"
        );
        agent.delete("/process/session/s").await.expect(204);
    }
}

#[tokio::test]
async fn a_command_outlives_a_caller_who_waits_for_it() {
    let agent = TestAgent::start().await;
    create(&agent, "s").await;
    let (started, done) = (
        agent.dir.path().join("started"),
        agent.dir.path().join("done"),
    );
    tokio::select! {
        _ = exec(&agent, "s", "touch $HOME/started; sleep 0.3; touch $HOME/done; exit 3") => panic!("answered too early"),
        () = eventually("the command runs", || started.exists()) => {}
    }
    eventually("the command ends", || done.exists()).await;
    let id = agent.get("/process/session/s").await.json()["commands"][0]["id"].clone();
    let command = format!("/process/session/s/command/{}", id.as_str().unwrap());
    assert_eq!(exit_code(&agent, &command).await, 3);
}
