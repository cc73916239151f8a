use serde_json::json;

use crate::support::TestAgent;

#[tokio::test]
async fn a_change_is_seen_by_what_starts_later_and_by_nothing_else() {
    let agent = TestAgent::start_with(json!({ "env": { "HOME": "/tmp", "OLD": "1", "KEY": "dtn_secret_a", "KEPT": "dtn_secret_b" } })).await;
    agent
        .post("/process/session", &json!({ "sessionId": "early" }))
        .await
        .expect(201);
    let change = json!({ "set": { "NEW": "a b", "KEPT": "dtn_secret_c" }, "unset": ["OLD", "NEVER"], "unsetValuePrefix": "dtn_secret_" });
    let answer = agent.post("/env", &change).await.expect(200).json();
    assert!(answer["message"].is_string());

    let show = "echo \"$NEW|${OLD-gone}|${KEY-gone}|$KEPT\"";
    assert_eq!(
        agent.execute(show).await,
        (0, "a b|gone|gone|dtn_secret_c\n".into())
    );
    let exec = async |session: &str| {
        let uri = format!("/process/session/{session}/exec");
        let answer = agent
            .post(&uri, &json!({ "command": show }))
            .await
            .expect(200)
            .json();
        answer["output"].as_str().unwrap().to_owned()
    };
    assert_eq!(exec("early").await.trim(), "|1|dtn_secret_a|dtn_secret_b");
    agent
        .post("/process/session", &json!({ "sessionId": "late" }))
        .await
        .expect(201);
    assert_eq!(exec("late").await.trim(), "a b|gone|gone|dtn_secret_c");
    agent.post("/env", &json!({})).await.expect(200);
    agent
        .post("/env", &json!({ "set": null, "unset": null }))
        .await
        .expect(200);
}

#[tokio::test]
async fn what_would_keep_programs_from_starting_is_refused_as_a_whole() {
    let agent = TestAgent::start().await;
    let long = "x".repeat(128 << 10);
    for set in [
        json!({ "FINE": "1", "B-C": "2" }),
        json!({ "FINE": "1", "B": "a\0" }),
        json!({ "FINE": "1", "B": long }),
    ] {
        let answer = agent
            .post("/env", &json!({ "set": set }))
            .await
            .expect(400)
            .json();
        assert_eq!(answer["code"], "BAD_REQUEST");
    }
    assert_eq!(agent.execute("echo ${FINE-unset}").await.1, "unset\n");
    // Up to the bound, commands start, long ones included.
    let value = "x".repeat(100 << 10);
    let set: serde_json::Map<_, _> = (0..10).map(|at| (format!("V{at}"), json!(value))).collect();
    agent.post("/env", &json!({ "set": set })).await.expect(200);
    agent
        .post("/env", &json!({ "set": { "V10": value } }))
        .await
        .expect(400);
    assert_eq!(
        agent
            .execute(&format!("echo {}", "y".repeat(100 << 10)))
            .await
            .0,
        0
    );
}

#[tokio::test]
async fn a_new_search_path_finds_programs_of_code_runs() {
    let agent = TestAgent::start().await;
    agent
        .post("/env", &json!({ "set": { "PATH": "/nowhere" } }))
        .await
        .expect(200);
    let request = json!({ "language": "python", "code": "print(1)" });
    let answer = agent
        .post("/process/code-run", &request)
        .await
        .expect(200)
        .json();
    assert_eq!(answer["exitCode"], 127, "{answer}");
}
