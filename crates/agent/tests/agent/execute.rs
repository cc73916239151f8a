use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use crate::support::{TestAgent, eventually, is_running};

#[tokio::test]
async fn a_command_answers_with_its_output_as_it_came() {
    let agent = TestAgent::start().await;
    let (code, result) = agent
        .execute("echo out; echo err >&2; pwd; printf end; exit 7")
        .await;
    assert_eq!(code, 7);
    assert_eq!(
        result,
        format!("out\nerr\n{}\nend", agent.dir.path().display())
    );
}

#[tokio::test]
async fn variables_and_folder_of_the_request_count() {
    let agent = TestAgent::start().await;
    std::fs::create_dir(agent.dir.path().join("sub")).unwrap();
    let request = json!({
        "command": "echo $A $FROM_CONFIG $HOME; pwd; env | grep -c ALCOVE_SCRIPT",
        "cwd": "sub",
        "envs": { "A": "1 2", "HOME": "/x" },
    });
    let answer = agent
        .post("/process/execute", &request)
        .await
        .expect(200)
        .json();
    let wanted = format!("1 2 yes /x\n{}\n0\n", agent.path("sub"));
    assert_eq!(answer, json!({ "exitCode": 1, "result": wanted }));
}

#[tokio::test]
async fn bad_variable_names_are_refused_and_bad_starts_reported() {
    let agent = TestAgent::start().await;
    let bad_name = json!({ "command": "true", "envs": { "A-B": "1" } });
    agent.post("/process/execute", &bad_name).await.expect(400);
    for request in [
        json!({ "command": "true", "cwd": "/nowhere" }),
        json!({ "command": "true", "envs": { "A": "x\0y" } }),
        json!({ "command": "tr\0ue" }),
    ] {
        let answer = agent
            .post("/process/execute", &request)
            .await
            .expect(200)
            .json();
        assert_eq!(answer["exitCode"], -1, "{answer}");
        assert_ne!(answer["result"], "");
    }
}

#[tokio::test]
async fn a_shell_that_dies_by_a_signal_has_no_exit_code() {
    let agent = TestAgent::start().await;
    assert_eq!(agent.execute("kill -9 $$").await.0, -1);
    assert_eq!(agent.execute("sh -c 'kill -9 $$'; exit $?").await.0, 137);
}

/// What endless output repeats: long enough that its ends of line, each escaped in an answer, cost a debug build little.
const LINE: &str = "all work and no play makes jack a dull boy, says the program to itself";

#[tokio::test]
async fn endless_output_ends_in_time_and_in_bounded_memory() {
    let agent = TestAgent::start().await;
    agent.execute("true").await;
    let before = agent.private_kib();
    let start = Instant::now();
    let request = json!({ "command": format!("yes {LINE}"), "timeout": 2 });
    let answer = agent.post("/process/execute", &request).await.expect(408);
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    let grown = agent.private_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "grew by {grown} KiB");
    let answer = answer.json();
    assert_eq!(answer["code"], "PROCESS_EXECUTION_TIMEOUT");
    let result = answer["result"].as_str().unwrap();
    assert!(result.starts_with(&format!("{LINE}\n{LINE}\n")));
    assert!(result.contains("bytes of output left out"));
    assert!(result.len() < 34 << 20);
}

#[tokio::test]
async fn a_background_process_does_not_hold_up_the_answer_and_lives() {
    let agent = TestAgent::start().await;
    let (code, result) = agent.execute("sleep 3141 & echo hi").await;
    assert_eq!((code, result.as_str()), (0, "hi\n"));
    assert!(is_running("3141"));
    let start = Instant::now();
    let (_, result) = agent
        .execute(&format!("echo hi; yes {LINE} & sleep 0.1"))
        .await;
    assert!(result.contains("hi\n"));
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_background_process_can_go_on_writing() {
    let agent = TestAgent::start().await;
    let done = agent.path("done");
    let command = format!("(sleep 0.5; head -c 200000 /dev/zero && echo $? >{done}) & echo hi");
    assert_eq!(agent.execute(&command).await.1, "hi\n");
    eventually("the writer ends", || {
        std::fs::read_to_string(&done).is_ok_and(|text| text == "0\n")
    })
    .await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_all_it_started() {
    let agent = TestAgent::start().await;
    // One that left the session, one whose parents are gone, one without the environment.
    let command = "setsid sleep 2711 & (setsid setsid sleep 2712 &) ; (env -i setsid sleep 2713 &); \
                   sh -c 'trap \"\" TERM; sleep 2714' & echo said; sleep 2715";
    let request = json!({ "command": command, "timeout": 1 });
    let start = Instant::now();
    let answer = agent
        .post("/process/execute", &request)
        .await
        .expect(408)
        .json();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(answer["result"], "said\n");
    for word in ["2711", "2712", "2713", "2714", "2715"] {
        assert!(!is_running(word), "sleep {word} is left");
    }
}

#[tokio::test]
async fn a_script_has_no_input_and_its_lines_are_not_eaten() {
    let agent = TestAgent::start().await;
    let (_, result) = agent
        .execute("read x; echo \"[$x]\"\ncat\necho after")
        .await;
    assert_eq!(result, "[]\nafter\n");
}

#[tokio::test]
async fn a_script_of_two_megabytes_runs() {
    let agent = TestAgent::start().await;
    let filler = format!("# {}\n", "x".repeat(1000)).repeat(2000);
    let (code, result) = agent
        .execute(&format!("{filler}echo end\nread x; echo \"[$x]\""))
        .await;
    assert_eq!((code, result.as_str()), (0, "end\n[]\n"));
}

#[tokio::test]
async fn a_script_does_not_find_itself_by_its_words() {
    let agent = TestAgent::start().await;
    let (code, result) = agent
        .execute("pkill -f a_word_of_this_script; echo alive")
        .await;
    assert_eq!((code, result.as_str()), (0, "alive\n"));
}

#[tokio::test]
async fn multi_byte_output_survives_and_invalid_bytes_are_replaced() {
    let agent = TestAgent::start().await;
    let text = "äöü€😀".repeat(20_000);
    std::fs::write(agent.dir.path().join("text"), &text).unwrap();
    assert_eq!(agent.execute("cat text").await.1, text);
    assert_eq!(
        agent.execute("printf 'a\\377b\\0c'").await.1,
        "a\u{fffd}b\0c"
    );
}

#[tokio::test]
async fn a_command_outlives_its_caller() {
    let agent = TestAgent::start().await;
    let command = "echo >started; sleep 0.3; echo >done";
    let request = TestAgent::request(Method::POST, "/process/execute")
        .body(http_body_util::Full::new(hyper::body::Bytes::from(
            json!({ "command": command }).to_string(),
        )))
        .unwrap();
    let (started, done) = (
        agent.dir.path().join("started"),
        agent.dir.path().join("done"),
    );
    tokio::select! {
        _ = agent.send(request) => panic!("answered too early"),
        () = eventually("the command runs", || started.exists()) => {}
    }
    eventually("the command ends", || done.exists()).await;
}

#[tokio::test]
async fn an_operators_limit_holds_for_callers_who_name_none() {
    let agent = TestAgent::start_with(json!({ "executeTimeoutSeconds": 1 })).await;
    let answer = agent
        .post(
            "/process/execute",
            &json!({ "command": "echo said; sleep 60" }),
        )
        .await
        .expect(408)
        .json();
    assert_eq!(answer["result"], "said\n");
    for timeout in [0, 20] {
        let request = json!({ "command": "sleep 1.2; echo done", "timeout": timeout });
        let answer = agent.post("/process/execute", &request).await;
        assert_eq!(answer.expect(200).json()["result"], "done\n", "{timeout}");
    }
}
