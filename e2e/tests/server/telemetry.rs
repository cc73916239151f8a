//! What is measured and told of real sandboxes.

use alcove_e2e::server::{Port, Setup, TestServer};
use alcove_e2e::wait;
use serde_json::Value;

use crate::support::{make, run};

const RANGE: &str = "from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z";

fn values<'a>(answer: &'a Value, name: &str) -> Vec<f64> {
    let series = answer["series"].as_array().unwrap().iter();
    let mut found = series.filter(|series| series["metricName"] == name);
    let points: &'a Vec<Value> = found.next().unwrap()["dataPoints"].as_array().unwrap();
    let values = points.iter().map(|point| point["value"].as_f64().unwrap());
    values.collect()
}

#[tokio::test]
async fn what_a_sandbox_did_is_measured_and_told_and_outlives_a_kill() {
    let setup = Setup {
        arguments: vec!["--telemetry-interval".to_owned(), "1".to_owned()],
        ..Setup::default()
    };
    let mut server = TestServer::start_with(setup).await;
    let client = server.client();
    let made = make(&client, "box").await;
    let work = "awk 'BEGIN { for (i = 0; i < 20000000; i++) s += i }'";
    run(&client, &made.id, work).await;
    let metrics = format!("/api/sandbox/box/telemetry/metrics?{RANGE}");
    wait::until("the work is seen", async || {
        let answer = server.raw().ask("GET", &metrics, "").await.json();
        let used = values(&answer, "daytona.sandbox.cpu.utilization");
        if used.iter().any(|used| *used > 1.0) {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    })
    .await;
    let answer = server.raw().ask("GET", &metrics, "").await.json();
    for name in [
        "memory.usage",
        "memory.limit",
        "filesystem.usage",
        "filesystem.total",
    ] {
        let values = values(&answer, &format!("daytona.sandbox.{name}"));
        assert!(
            values.iter().any(|value| *value > 0.0),
            "{name}: {values:?}"
        );
    }

    let told = async |server: &TestServer, kind: &str| {
        let path = format!("/api/sandbox/box/telemetry/{kind}?{RANGE}");
        server.raw().ask("GET", &path, "").await.json()
    };
    let logs = told(&server, "logs").await;
    assert_eq!(logs["items"][0]["body"], "started", "{logs}");
    let traces = told(&server, "traces").await;
    assert_eq!(
        traces["items"][0]["rootSpanName"], "POST /process/execute",
        "{traces}"
    );

    server.kill();
    server.restart(Port::Same).await;
    assert_eq!(told(&server, "logs").await["items"][0]["body"], "started");
    let answer = server.raw().ask("GET", &metrics, "").await.json();
    assert!(!values(&answer, "daytona.sandbox.memory.usage").is_empty());
    server.finish().await;
}
