use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::{TestAgent, eventually, is_running, read_stream};

#[tokio::test]
async fn no_exit_code_is_lost_while_orphans_are_reaped() {
    let agent = TestAgent::start().await;
    agent
        .post("/process/session", &json!({ "sessionId": "orphans" }))
        .await
        .expect(201);
    let storm = json!({ "command": "while :; do (sh -c 'exit 9' &) ; done", "runAsync": true });
    agent
        .post("/process/session/orphans/exec", &storm)
        .await
        .expect(202);
    for round in 0..10_i64 {
        let runs = (0..100_i64).map(|number| {
            let code = (round * 100 + number) % 256;
            let agent = &agent;
            async move { (code, agent.execute(&format!("exit {code}")).await.0) }
        });
        for (wanted, code) in join_all(runs).await {
            assert_eq!(code, wanted);
        }
    }
    agent.delete("/process/session/orphans").await.expect(204);
}

#[tokio::test]
async fn ten_thousand_orphans_leave_nothing_behind() {
    let agent = TestAgent::start().await;
    agent.execute("true").await;
    let (descriptors, memory) = (agent.descriptor_count(), agent.private_kib());
    let script = r"
import os
for _ in range(10000):
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.waitpid(pid, 0)
";
    std::fs::write(agent.dir.path().join("forks.py"), script).unwrap();
    assert_eq!(agent.execute("python3 forks.py").await, (0, String::new()));
    eventually("all orphans are reaped", || agent.zombie_count() == 0).await;
    eventually("no descriptor is left", || {
        agent.descriptor_count() <= descriptors + 1
    })
    .await;
    let grown = agent.private_kib().saturating_sub(memory);
    assert!(grown < 1024, "grew by {grown} KiB");
}

#[tokio::test]
async fn without_a_home_the_agent_starts() {
    let agent = TestAgent::start_with(json!({ "env": {} })).await;
    let home = agent.get("/user-home-dir").await.expect(200).json();
    assert!(home["dir"].as_str().is_some_and(|dir| dir.starts_with('/')));
}

#[tokio::test]
async fn a_stop_takes_everything_along_in_time() {
    let mut agent = TestAgent::start().await;
    agent
        .post("/process/session", &json!({ "sessionId": "s" }))
        .await
        .expect(201);
    let command = "trap '' TERM; (setsid sleep 6021 &); echo up; while :; do sleep 6022; done";
    let request = json!({ "command": command, "runAsync": true });
    let exec = agent
        .post("/process/session/s/exec", &request)
        .await
        .expect(202)
        .json();
    let uri = format!(
        "/process/session/s/command/{}/logs?follow=true",
        exec["cmdId"].as_str().unwrap()
    );
    let (mut follower, _) = agent.connect(&uri, &[]).await;
    eventually("the session runs", || {
        is_running("6022") && is_running("6021")
    })
    .await;
    let pending = json!({ "command": "sleep 6023" });
    let ((code, time), (_, close)) = tokio::join!(
        async {
            tokio::select! {
                answer = agent.post("/process/execute", &pending) => panic!("answered: {answer:?}"),
                () = eventually("the command runs", || is_running("6023")) => {}
            }
            agent.stop().await
        },
        read_stream(&mut follower)
    );
    assert_eq!(code, Some(0));
    assert!(time < Duration::from_millis(8500), "{time:?}");
    assert_eq!(close, Some(CloseCode::Away));
    for word in ["6021", "6022", "6023"] {
        assert!(!is_running(word), "sleep {word} is left");
    }
    assert!(
        !agent
            .dir
            .path()
            .join(".daytona/sessions")
            .read_dir()
            .unwrap()
            .any(|_| true)
    );
}

#[tokio::test]
async fn an_idle_agent_stops_at_once() {
    let mut agent = TestAgent::start().await;
    let (code, time) = agent.stop().await;
    assert_eq!(code, Some(0));
    assert!(time < Duration::from_secs(5), "{time:?}");
}

#[test]
fn a_failed_start_says_why_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config");
    let run = |content: &str| {
        std::fs::write(&config, content).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_alcove-agent"))
            .args(["--listen", dir.path().join("s").to_str().unwrap()])
            .args(["--config", config.to_str().unwrap()])
            .output()
            .unwrap();
        let _ = std::fs::remove_file(dir.path().join("s"));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        output.status.code()
    };
    assert_eq!(run("{"), Some(2));
    assert_eq!(
        run(r#"{"sandboxId":"s","token":"t","user":"nobody-of-that-name"}"#),
        Some(3)
    );
    let output = Command::new(env!("CARGO_BIN_EXE_alcove-agent"))
        .arg("--what")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn children_are_killed_for_memory_before_the_agent_and_have_clean_signals() {
    let agent = TestAgent::start().await;
    let own = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", agent.pid())).unwrap();
    let (_, result) = agent
        .execute("cat /proc/self/oom_score_adj; grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd | wc -l")
        .await;
    let lines: Vec<_> = result.lines().collect();
    assert_eq!(lines[0], "300");
    assert_ne!(own.trim(), "300");
    assert!(
        lines[1..3]
            .iter()
            .all(|line| line.ends_with("\t0000000000000000")),
        "{result}"
    );
    // The three standard ones and the one by which `ls` reads.
    assert_eq!(lines[3], "4");
}

/// Starts the agent as the spawner does: as root, with the socket and the configuration as descriptors.
const SPAWN: &str = r"
import os, socket, sys
agent, git, folder = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(folder + '/socket')
os.chmod(folder + '/socket', 0o666)
listener.listen()
config = os.open(folder + '/config', os.O_RDONLY)
os.dup2(listener.fileno(), 30)
os.dup2(config, 31)
os.dup2(os.open(git, os.O_RDONLY), 32)
os.dup2(30, 3)
os.dup2(31, 4)
os.dup2(32, 9)
os.execv(agent, [agent])
";

#[tokio::test]
async fn as_a_user_of_the_image_the_agent_works_and_can_end_what_root_runs() {
    use std::os::unix::fs::PermissionsExt;
    if !rustix::process::getuid().is_root() {
        return;
    }
    let config = json!({ "user": "nobody", "hostname": "box", "git": true });
    let agent = TestAgent::start_by(config, |dir| {
        std::os::unix::fs::chown(dir, Some(65534), None).unwrap();
        let mut command = Command::new("python3");
        command
            .arg("-c")
            .arg(SPAWN)
            .arg(env!("CARGO_BIN_EXE_alcove-agent"))
            .arg(env!("CARGO_BIN_EXE_alcove-git"))
            .arg(dir);
        command
    })
    .await;
    let (_, result) = agent
        .execute("id -un; echo $USER $HOSTNAME $HOME; cat /proc/self/oom_score_adj; grep -E '^Cap(Eff|Prm)' /proc/self/status; ls /proc/self/fd | wc -l")
        .await;
    let lines: Vec<_> = result.lines().collect();
    let home = agent.dir.path().display();
    assert_eq!(
        lines[..3],
        [
            "nobody".to_owned(),
            format!("nobody box {home}"),
            "300".to_owned()
        ]
    );
    assert!(
        lines[3..5]
            .iter()
            .all(|line| line.ends_with("\t0000000000000000")),
        "{result}"
    );
    assert_eq!(lines[5], "4", "{result}");
    let (_, denied) = agent
        .execute(&format!(
            "cat /proc/{0}/environ; ls /proc/{0}/fd",
            agent.pid()
        ))
        .await;
    assert_eq!(denied.matches("Permission denied").count(), 2, "{denied}");

    // Files without a name are linked by way of /proc, which needs care in a process that may not be traced.
    let upload = agent
        .call(http::Method::POST, "/files/upload-v2?path=new/f", &[], "1")
        .await;
    upload.expect(200);
    agent
        .call(http::Method::POST, "/files/upload-v2?path=new/f", &[], "2")
        .await
        .expect(200);
    assert_eq!(
        agent
            .execute("cat new/f; ls -A new; stat -c %U new/f")
            .await
            .1,
        "2f\nnobody\n"
    );
    // By the descriptor, as the spawner hands it over.
    let init = json!({ "path": "repository" });
    agent.post("/git/init", &init).await.expect(201);
    assert_eq!(
        agent.execute("stat -c %U repository/.git/HEAD").await.1,
        "nobody\n"
    );
    let refused = agent
        .call(
            http::Method::POST,
            "/files/upload-v2?path=/etc/alcove-test",
            &[],
            "x",
        )
        .await;
    assert_eq!(refused.expect(403).json()["code"], "FILE_ACCESS_DENIED");

    let become_root = agent.dir.path().join("become-root");
    std::fs::copy("/usr/bin/setpriv", &become_root).unwrap();
    std::fs::set_permissions(&become_root, std::fs::Permissions::from_mode(0o4755)).unwrap();
    agent
        .post("/process/session", &json!({ "sessionId": "s" }))
        .await
        .expect(201);
    let command = "(setsid ./become-root --reuid 0 --clear-groups sleep 7001 &); ./become-root --reuid 0 --clear-groups sleep 7002";
    let request = json!({ "command": command, "runAsync": true });
    agent
        .post("/process/session/s/exec", &request)
        .await
        .expect(202);
    eventually("both run", || is_running("7001") && is_running("7002")).await;
    agent.delete("/process/session/s").await.expect(204);
    assert!(!is_running("7001") && !is_running("7002"));
}

#[tokio::test]
async fn as_process_one_no_code_is_lost_no_orphan_stays_and_the_end_is_clean() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let mut agent = TestAgent::start_by(json!({}), |dir| {
        let mut command = Command::new("unshare");
        command.args([
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            env!("CARGO_BIN_EXE_alcove-agent"),
        ]);
        command.arg("--listen").arg(dir.join("socket"));
        command
            .arg("--config")
            .arg(dir.join("config"))
            .arg("--no-user-switch");
        command
    })
    .await;
    assert_eq!(agent.execute("cat /proc/1/comm").await.1, "alcove-agent\n");
    let runs = (0..200_i64).map(|code| {
        let agent = &agent;
        async move {
            (
                code,
                agent
                    .execute(&format!("(sh -c 'exit 9' &) ; exit {code}"))
                    .await
                    .0,
            )
        }
    });
    for (wanted, code) in join_all(runs).await {
        assert_eq!(code, wanted);
    }
    let mut zombies = String::from("1");
    let start = std::time::Instant::now();
    while zombies.trim() != "0" {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{zombies} zombies"
        );
        zombies = agent
            .execute("cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '")
            .await
            .1;
    }
    // One that ends when it is asked, and says so.
    let command = "trap 'echo asked >$HOME/asked; exit' TERM; echo up >$HOME/up; while :; do sleep 0.05; done";
    agent
        .post("/process/session", &json!({ "sessionId": "s" }))
        .await
        .expect(201);
    let request = json!({ "command": command, "runAsync": true });
    agent
        .post("/process/session/s/exec", &request)
        .await
        .expect(202);
    let (up, asked) = (agent.dir.path().join("up"), agent.dir.path().join("asked"));
    eventually("the session runs", || up.exists()).await;
    // To process 1 itself: the one we started is its parent.
    let process_one = crate::support::children_of(agent.pid())[0];
    crate::support::signal(process_one, rustix::process::Signal::TERM);
    let (code, time) = agent.ended().await;
    assert_eq!(code, Some(0));
    assert!(time < Duration::from_secs(5), "{time:?}");
    assert!(asked.exists());
}
