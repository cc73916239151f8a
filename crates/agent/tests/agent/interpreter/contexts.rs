//! Contexts themselves: made, listed, side by side, deleted.

use std::time::Duration;

use serde_json::json;

use super::{CONTEXT, EXECUTE, Running, create, request, run};
use crate::support::{TestAgent, is_running};

#[tokio::test]
async fn executions_of_a_context_run_in_order_and_contexts_side_by_side() {
    let agent = TestAgent::start().await;
    let other = create(&agent, json!({})).await;
    let gate = agent.path("gate");
    let code = format!(
        "import os, time; print('on', flush=True)\nwhile not os.path.exists({gate:?}): time.sleep(0.01)\na = [1]"
    );
    let mut first = Running::start(&agent, &json!({ "code": code })).await;
    first.until_stdout("on").await;
    let second = Running::start(&agent, &json!({ "code": "a.append(2); print(a)" })).await;
    request(
        &agent,
        json!({ "code": "print('free')", "contextId": other }),
    )
    .await
    .expect_stdout("free\n");
    std::fs::write(&gate, "").unwrap();
    first.end().await;
    second.end().await.expect_stdout("[1, 2]\n");
}

#[tokio::test]
async fn contexts_have_folders_and_are_listed_and_deleted() {
    let agent = TestAgent::start().await;
    std::fs::create_dir(agent.dir.path().join("sub")).unwrap();
    run(&agent, "1").await.expect_stdout("");
    assert_eq!(
        agent.get(CONTEXT).await.expect(200).json(),
        json!({ "contexts": [] })
    );
    let made = agent
        .post(CONTEXT, &json!({ "cwd": "sub" }))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (made["cwd"].as_str(), &made["language"], &made["active"]),
        (
            Some(agent.path("sub").as_str()),
            &json!("python"),
            &json!(true)
        )
    );
    assert_eq!(
        agent.get(CONTEXT).await.expect(200).json(),
        json!({ "contexts": [made] })
    );
    let id = made["id"].as_str().unwrap();
    request(
        &agent,
        json!({ "code": "import os; print(os.getcwd())", "contextId": id }),
    )
    .await
    .expect_stdout(&format!("{}\n", agent.path("sub")));
    let answer = agent
        .delete(&format!("{CONTEXT}/{id}"))
        .await
        .expect(200)
        .json();
    assert!(answer["message"].is_string());
    agent.delete(&format!("{CONTEXT}/{id}")).await.expect(404);
    agent
        .delete(&format!("{CONTEXT}/default"))
        .await
        .expect(400);
    assert_eq!(
        request(&agent, json!({ "code": "1", "contextId": id }))
            .await
            .code,
        1008
    );
}

#[tokio::test]
async fn contexts_that_cannot_be_made_are_refused() {
    let agent = TestAgent::start().await;
    for body in [
        json!({ "language": "cobol" }),
        json!({ "cwd": "/nowhere" }),
        json!({ "cwd": 1 }),
    ] {
        agent.post(CONTEXT, &body).await.expect(400);
    }
    agent
        .call(http::Method::POST, CONTEXT, &[], "")
        .await
        .expect(400);
    let bare = TestAgent::start_with(json!({ "env": { "PATH": "/nowhere" } })).await;
    let answer = bare.post(CONTEXT, &json!({})).await.expect(500).json();
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("python3: not found"),
        "{answer}"
    );
    let heard = run(&bare, "1").await;
    assert_eq!(heard.code, 1011);
    assert!(heard.reason.contains("python3: not found"), "{heard:?}");
}

#[tokio::test]
async fn deleting_a_context_ends_what_runs_and_what_waits() {
    let agent = TestAgent::start().await;
    let id = create(&agent, json!({})).await;
    let code =
        "import subprocess\nprint('on', flush=True)\nsubprocess.run(['setsid', 'sleep', '4713'])";
    let mut running = Running::start(&agent, &json!({ "code": code, "contextId": id })).await;
    running.until_stdout("on").await;
    let waiting = Running::start(&agent, &json!({ "code": "print(1)", "contextId": id })).await;
    agent.delete(&format!("{CONTEXT}/{id}")).await.expect(200);
    assert!(!is_running("4713"));
    for execution in [running, waiting] {
        let heard = execution.end().await;
        assert_eq!((heard.code, heard.control.len()), (1001, 0), "{heard:?}");
        assert_eq!(heard.error()["name"], "ContextDeleted");
    }
    run(&agent, "print('alive')").await.expect_stdout("alive\n");
}

#[tokio::test]
async fn a_queue_has_a_bound() {
    let agent = TestAgent::start().await;
    let id = create(&agent, json!({})).await;
    let mut running = Running::start(
        &agent,
        &json!({ "code": "print('on', flush=True)\nimport time; time.sleep(60)", "contextId": id }),
    )
    .await;
    running.until_stdout("on").await;
    let mut waiting = Vec::new();
    for _ in 0..128 {
        waiting.push(Running::start(&agent, &json!({ "code": "1", "contextId": id })).await);
    }
    // The order in which requests are read is not that in which they were sent.
    let mut all: Vec<_> = waiting
        .into_iter()
        .map(Running::end)
        .map(Box::pin)
        .collect();
    let more = Running::start(&agent, &json!({ "code": "1", "contextId": id }))
        .await
        .end();
    all.push(Box::pin(more));
    let (heard, _, rest) = futures_util::future::select_all(all).await;
    assert_eq!(heard.code, 1008);
    assert!(heard.reason.contains("too many"), "{heard:?}");
    agent.delete(&format!("{CONTEXT}/{id}")).await.expect(200);
    for heard in futures_util::future::join_all(rest).await {
        assert_eq!(heard.code, 1001);
    }
    assert_eq!(agent.zombie_count(), 0);
}

#[tokio::test]
async fn a_stop_of_the_agent_ends_contexts_and_says_good_bye() {
    let mut agent = TestAgent::start().await;
    let mut running = Running::start(
        &agent,
        &json!({ "code": "print('on', flush=True)\nimport time; time.sleep(4714)" }),
    )
    .await;
    running.until_stdout("on").await;
    let idle = Running(agent.connect(EXECUTE, &[]).await.0);
    let ((ended, took), running, idle) = tokio::join!(agent.stop(), running.end(), idle.end());
    assert_eq!(ended, Some(0));
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!((running.code, idle.code), (1001, 1001));
}
