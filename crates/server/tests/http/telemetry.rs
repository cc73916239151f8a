//! What is measured and told of sandboxes, as clients read it.

use std::time::Duration;

use alcove_control::ToolboxCall;
use alcove_runner_api::{DiskUsage, NetworkUsage, Sample};
use alcove_testkit::{SAMPLE_EVERY, eventually};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::Server;

const RANGE: &str = "from=2020-01-01T00:00:00Z&to=2100-01-01T00%3A00%3A00.000%2B00%3A00";

pub fn sample(sandbox: &str) -> Sample {
    Sample {
        sandbox: sandbox.parse().unwrap(),
        cpu_used: Some(Duration::from_secs(1)),
        cpu_millis: 2000,
        memory_bytes: 256 << 20,
        cache_bytes: 1 << 20,
        memory_limit_bytes: 1 << 30,
        disk: Some(DiskUsage {
            used_bytes: 1 << 20,
            total_bytes: 4 << 20,
        }),
        network: Some(NetworkUsage {
            received_bytes: 7,
            sent_bytes: 8,
        }),
    }
}

fn newest(answer: &Value, name: &str) -> Value {
    let series = answer["series"].as_array().unwrap().iter();
    let found = series
        .filter(|series| series["metricName"] == name)
        .collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{name} in {answer}");
    let points = found[0]["dataPoints"].as_array().unwrap();
    points
        .last()
        .map_or(Value::Null, |point| point["value"].clone())
}

#[tokio::test]
async fn samples_are_series_of_the_names_that_clients_know() {
    let server = Server::start().await;
    let made = server.create(json!({"name": "a"})).await;
    let id = made["id"].as_str().unwrap();
    let path = format!("/api/sandbox/{id}/telemetry/metrics?{RANGE}");
    let empty = server.ask("GET", &path).await.ok();
    assert_eq!(newest(&empty, "daytona.sandbox.cpu.limit"), Value::Null);

    server.kit.runner.set_samples(vec![sample(id)]);
    eventually("two samples", async || {
        server.kit.clock.advance(SAMPLE_EVERY);
        let answer = server.ask("GET", &path).await.ok();
        newest(&answer, "daytona.sandbox.cpu.utilization") == json!(0.0)
    })
    .await;
    let answer = server.ask("GET", &path).await.ok();
    for (name, value) in [
        ("cpu.limit", 2.0),
        ("cpu.usage", 0.0),
        ("memory.usage", 268_435_456.0),
        ("memory.limit", 1_073_741_824.0),
        ("memory.cache", 1_048_576.0),
        ("memory.utilization", 25.0),
        ("filesystem.usage", 1_048_576.0),
        ("filesystem.total", 4_194_304.0),
        ("filesystem.available", 3_145_728.0),
        ("filesystem.utilization", 25.0),
        ("network.received", 7.0),
        ("network.sent", 8.0),
    ] {
        let name = format!("daytona.sandbox.{name}");
        assert_eq!(newest(&answer, &name), json!(value), "{name}");
    }
    for names in [
        "&metricNames=daytona.sandbox.cpu.limit&metricNames=daytona.sandbox.memory.limit",
        "&metricNames=daytona.sandbox.cpu.limit,daytona.sandbox.memory.limit",
    ] {
        let few = server.ask("GET", &format!("{path}{names}")).await.ok();
        assert_eq!(few["series"].as_array().unwrap().len(), 2, "{names}");
    }
    let past = "/api/sandbox/a/telemetry/metrics?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z";
    let past = server.ask("GET", past).await.ok();
    assert_eq!(newest(&past, "daytona.sandbox.cpu.limit"), Value::Null);
}

#[tokio::test]
async fn logs_and_traces_are_pages_of_what_happened() {
    let server = Server::start().await;
    let made = server.create(json!({"name": "a"})).await;
    let id = made["id"].as_str().unwrap();
    server.kit.control.record_call(&ToolboxCall {
        sandbox: id.parse().unwrap(),
        method: "GET".to_owned(),
        path: "/files/info".to_owned(),
        status: 404,
        took: Duration::from_millis(1500),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    });
    let base = format!("/api/sandbox/{id}/telemetry");
    let logs = server
        .ask("GET", &format!("{base}/logs?{RANGE}&severities=WARN"))
        .await
        .ok();
    assert_eq!(logs["total"], 1);
    assert_eq!((&logs["page"], &logs["totalPages"]), (&json!(1), &json!(1)));
    let log = &logs["items"][0];
    assert_eq!(log["serviceName"], format!("sandbox-{id}"));
    assert_eq!(
        (&log["severityText"], &log["severityNumber"]),
        (&json!("WARN"), &json!(13))
    );
    assert_eq!(log["body"], "GET /files/info: the answer was 404");
    assert_eq!(log["logAttributes"]["http.response.status_code"], "404");
    assert_eq!(log["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");

    let traces = server
        .ask("GET", &format!("{base}/traces?{RANGE}"))
        .await
        .ok();
    assert_eq!(traces["total"], 1);
    let trace = &traces["items"][0];
    assert_eq!(trace["rootSpanName"], "GET /files/info");
    assert_eq!(
        (&trace["durationMs"], &trace["spanCount"]),
        (&json!(1500.0), &json!(1))
    );
    assert_eq!(
        trace["statusCode"], "Ok",
        "what a caller does wrong is no failure"
    );
    let path = format!("{base}/traces/{}", trace["traceId"].as_str().unwrap());
    let spans = server.ask("GET", &path).await.ok();
    assert_eq!(spans[0]["spanId"], log["spanId"]);
    assert_eq!(spans[0]["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(spans[0]["durationNs"], 1_500_000_000_u64);
    assert_eq!(spans[0]["spanAttributes"]["http.request.method"], "GET");

    let missing = format!("{base}/traces/{}", "0".repeat(32));
    let missing = server.ask("GET", &missing).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_cannot_be_read_of_a_question_is_refused() {
    let server = Server::start().await;
    server.create(json!({"name": "a"})).await;
    for (tail, reason) in [
        ("metrics", "from must be given"),
        (
            "metrics?from=2020-01-01T00:00:00Z&to=yesterday",
            "to must be",
        ),
        (
            "logs?from=2020-01-01T00:00:00Z&to=2019-01-01T00:00:00Z",
            "from must not be later",
        ),
        (
            "logs?from=2020-01-01T00:00:00Z&to=2021-01-01T00:00:00Z&severities=loud",
            "severities",
        ),
        (
            "traces?from=2020-01-01T00:00:00Z&to=2021-01-01T00:00:00Z&page=0",
            "page",
        ),
    ] {
        let path = format!("/api/sandbox/a/telemetry/{tail}");
        let answer = server.ask("GET", &path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{tail}");
        assert!(answer.text.contains(reason), "{tail}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_sandbox_tells_the_limits_that_it_counts_for() {
    let server = Server::start().await;
    let made = server.create(json!({"name": "a"})).await;
    let quota = server.ask("GET", "/api/sandbox/a/region-quota").await.ok();
    assert_eq!(quota["organizationId"], made["organizationId"]);
    assert_eq!(quota["regionId"], made["target"]);
    assert_eq!(quota["sandboxClass"], "container");
    assert_eq!(quota["totalCpuQuota"], 2_147_483_647_u64);
    let change = json!({"totalCpuQuota": 9, "totalMemoryQuota": null, "totalDiskQuota": null, "totalGpuQuota": null});
    let org = made["organizationId"].as_str().unwrap();
    let path = format!("/api/organizations/{org}/quota/us");
    let set = server.put("PATCH", &path, change).await;
    assert_eq!(set.status, StatusCode::NO_CONTENT, "{}", set.text);
    let quota = server.ask("GET", "/api/sandbox/a/region-quota").await.ok();
    assert_eq!(quota["totalCpuQuota"], 9);
}
