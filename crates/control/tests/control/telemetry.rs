//! What sandboxes use and are told of, as it is kept.

use std::time::Duration;

use alcove_control::{Error, ListLogs, TelemetryRange, ToolboxCall};
use alcove_domain::{Sandbox, SandboxId, SandboxState};
use alcove_runner_api::{DiskUsage, FaultCode, NetworkUsage, Sample};
use alcove_telemetry::{Point, Severity, SpanStatus};
use alcove_testkit::{SAMPLE_EVERY, TestControl, TestStore, eventually};

use crate::support::{becomes, make, vanishes};

fn always() -> TelemetryRange {
    TelemetryRange {
        from: Some(jiff::Timestamp::UNIX_EPOCH),
        to: Some("2100-01-01T00:00:00Z".parse().unwrap()),
    }
}

fn sample(sandbox: &SandboxId, cpu_ms: u64, memory_bytes: u64) -> Sample {
    Sample {
        sandbox: sandbox.clone(),
        cpu_used: Some(Duration::from_millis(cpu_ms)),
        cpu_millis: 1000,
        memory_bytes,
        cache_bytes: 1,
        memory_limit_bytes: 1 << 30,
        disk: Some(DiskUsage {
            used_bytes: 5,
            total_bytes: 10,
        }),
        network: Some(NetworkUsage {
            received_bytes: 7,
            sent_bytes: 8,
        }),
    }
}

async fn points(kit: &TestControl, sandbox: &Sandbox) -> Vec<Point> {
    let id = sandbox.id.as_str();
    let points = kit.control.sandbox_samples(&kit.caller, id, always());
    points.await.unwrap()
}

/// Lets the host say this, and time pass until it was asked.
async fn sampled(kit: &TestControl, sandbox: &Sandbox, samples: Vec<Sample>) -> Vec<Point> {
    let before = points(kit, sandbox).await;
    kit.runner.set_samples(samples);
    eventually("a sample is taken", async || {
        kit.clock.advance(SAMPLE_EVERY);
        points(kit, sandbox).await != before
    })
    .await;
    points(kit, sandbox).await
}

async fn logs(kit: &TestControl, sandbox: &str, list: ListLogs) -> Vec<(Severity, String)> {
    let page = kit.control.sandbox_logs(&kit.caller, sandbox, list);
    let page = page.await.unwrap();
    assert_eq!(page.items.len() as u64, page.total, "one page is enough");
    let logs = page.items.into_iter();
    logs.map(|log| (log.severity, log.body)).collect()
}

fn all_logs() -> ListLogs {
    ListLogs {
        range: always(),
        severities: Vec::new(),
        search: None,
        page: None,
        limit: None,
    }
}

/// What is told of a sandbox, without the times.
pub async fn log_bodies(kit: &TestControl, sandbox: &str) -> Vec<String> {
    let told = logs(kit, sandbox, all_logs()).await.into_iter();
    told.map(|(_, body)| body).collect()
}

fn call(sandbox: &Sandbox, path: &str, status: u16, traceparent: Option<&str>) -> ToolboxCall {
    ToolboxCall {
        sandbox: sandbox.id.clone(),
        method: "POST".to_owned(),
        path: path.to_owned(),
        status,
        took: Duration::from_millis(20),
        traceparent: traceparent.map(str::to_owned),
    }
}

#[tokio::test]
async fn processor_time_between_two_samples_is_what_was_in_use() {
    let kit = TestControl::open().await;
    let sandbox = make(&kit, "a").await;
    let first = sampled(&kit, &sandbox, vec![sample(&sandbox.id, 1000, 100)]).await;
    let first = first.first().copied().unwrap();
    assert_eq!(first.cpu_millis, None, "nothing is known of before");
    assert!((first.memory_bytes - 100.0).abs() < 1e-9, "{first:?}");
    assert_eq!(first.traffic.unwrap().sent_bytes, 8);
    assert_eq!(first.disk.unwrap().total_bytes, 10);

    let all = sampled(&kit, &sandbox, vec![sample(&sandbox.id, 16_000, 100)]).await;
    let later = all
        .iter()
        .find(|point| point.cpu_millis.is_some_and(|cpu| cpu > 0.0));
    let later = later.unwrap_or_else(|| panic!("{all:?}"));
    // Samples between the two said the same as the first.
    let before = all.iter().rfind(|point| point.at < later.at).unwrap();
    let since = later.at.duration_since(before.at).as_secs_f64();
    let expected = 15.0 / since * 1000.0;
    assert!(
        (later.cpu_millis.unwrap() - expected).abs() < 1e-6,
        "{all:?}"
    );

    // Started anew, its time begins at nothing.
    let restarted = sampled(&kit, &sandbox, vec![sample(&sandbox.id, 10, 200)]).await;
    let first_of_run = restarted.iter().find(|point| point.memory_bytes > 150.0);
    assert_eq!(first_of_run.unwrap().cpu_millis, None);
}

#[tokio::test]
async fn what_is_no_sandbox_is_not_kept_and_a_deleted_one_is_forgotten() {
    let kit = TestControl::open().await;
    let sandbox = make(&kit, "a").await;
    let build: SandboxId = "build-1".parse().unwrap();
    let samples = vec![sample(&sandbox.id, 1, 1), sample(&build, 1, 1)];
    sampled(&kit, &sandbox, samples).await;
    let folder = kit.telemetry_folder();
    assert!(!folder.join("build-1").exists());
    assert!(folder.join(sandbox.id.as_str()).exists());

    let deleted = kit.control.delete_sandbox(&kit.caller, sandbox.id.as_str());
    deleted.await.unwrap();
    vanishes(&kit, &sandbox.id).await;
    let gone = kit
        .control
        .sandbox_samples(&kit.caller, sandbox.id.as_str(), always());
    assert!(matches!(gone.await, Err(Error::NotFound { .. })));
    eventually("what it left is removed", async || {
        kit.clock.advance_minutes(10);
        !folder.join(sandbox.id.as_str()).exists()
    })
    .await;
}

#[tokio::test]
async fn samples_and_records_outlive_a_restart() {
    let kit = TestControl::open().await;
    let sandbox = make(&kit, "a").await;
    let before = sampled(&kit, &sandbox, vec![sample(&sandbox.id, 1, 1)]).await;
    kit.control.record_call(&call(&sandbox, "/x", 200, None));
    kit.control.shutdown().await;
    let kit = kit.restart().await;
    let after = points(&kit, &sandbox).await;
    assert!(after.starts_with(&before[..1]), "{after:?}");
    let traces = kit
        .control
        .sandbox_traces(&kit.caller, "a", always(), None, None);
    assert_eq!(traces.await.unwrap().total, 1);
}

#[tokio::test]
async fn a_stopped_sandbox_is_not_asked_after() {
    let kit = TestControl::open().await;
    let sandbox = make(&kit, "a").await;
    let stopped = kit.control.stop_sandbox(&kit.caller, "a", false);
    stopped.await.unwrap();
    becomes(&kit, &sandbox.id, SandboxState::Stopped).await;
    kit.runner.set_samples(vec![sample(&sandbox.id, 1, 1)]);
    let before = kit.runner.sample_rounds();
    for _ in 0..20 {
        kit.clock.advance(SAMPLE_EVERY);
        tokio::task::yield_now().await;
    }
    assert_eq!(kit.runner.sample_rounds(), before);
    let started = kit.control.start_sandbox(&kit.caller, "a");
    started.await.unwrap();
    let points = sampled(&kit, &sandbox, vec![sample(&sandbox.id, 1, 2)]).await;
    assert!(!points.is_empty());
}

#[tokio::test]
async fn changes_of_state_are_told_and_failures_loudly() {
    let kit = TestControl::open().await;
    let sandbox = make(&kit, "a").await;
    let stopped = kit.control.stop_sandbox(&kit.caller, "a", false);
    stopped.await.unwrap();
    becomes(&kit, &sandbox.id, SandboxState::Stopped).await;
    let told = logs(&kit, "a", all_logs()).await;
    let bodies: Vec<&str> = told.iter().map(|(_, body)| body.as_str()).collect();
    assert!(bodies.contains(&"started"), "{bodies:?}");
    assert!(bodies.contains(&"stopped"), "{bodies:?}");
    assert!(told.iter().all(|(severity, _)| *severity == Severity::Info));

    kit.runner.fail_next(FaultCode::HostMemoryFull, true);
    let started = kit.control.start_sandbox(&kit.caller, "a").await;
    assert!(started.is_err(), "{started:?}");
    let errors = ListLogs {
        severities: vec![Severity::Error],
        ..all_logs()
    };
    let errors = logs(&kit, "a", errors).await;
    assert_eq!(errors.len(), 1, "{errors:?}");
    let search = ListLogs {
        search: Some("STOPPED".to_owned()),
        ..all_logs()
    };
    let found = logs(&kit, "a", search).await;
    assert!(!found.is_empty() && found.iter().all(|(_, body)| body.contains("stopped")));
}

#[tokio::test]
async fn a_call_is_a_span_of_its_callers_trace_or_of_its_own() {
    let kit = TestControl::open().await;
    let sandbox = make(&kit, "a").await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    kit.control
        .record_call(&call(&sandbox, "/files", 200, Some(parent)));
    kit.control
        .record_call(&call(&sandbox, "/process/execute", 500, Some(parent)));
    kit.control.record_call(&call(&sandbox, "/x", 404, None));
    kit.control
        .record_call(&call(&sandbox, "/y", 200, Some("nonsense")));
    let control = &kit.control;
    let traces = control.sandbox_traces(&kit.caller, "a", always(), None, None);
    let traces = traces.await.unwrap();
    assert_eq!(traces.total, 3);
    let of_caller = traces
        .items
        .iter()
        .find(|trace| trace.trace.to_string() == "4bf92f3577b34da6a3ce929d0e0e4736")
        .unwrap();
    assert_eq!(of_caller.span_count, 2);
    assert!(matches!(of_caller.status, SpanStatus::Error { .. }));
    let id = of_caller.trace.to_string();
    let spans = control.sandbox_trace(&kit.caller, "a", &id).await.unwrap();
    assert!(spans.iter().all(|span| {
        span.parent.map(|id| id.to_string()).as_deref() == Some("00f067aa0ba902b7")
    }));
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert!(names.contains(&"POST /process/execute"), "{names:?}");
    for unknown in ["4bf92f3577b34da6a3ce929d0e0e4737", "x", ""] {
        let missing = control.sandbox_trace(&kit.caller, "a", unknown).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })), "{unknown}");
    }

    // Those that failed are log records as well.
    let told = logs(&kit, "a", all_logs()).await;
    let failed: Vec<_> = told
        .iter()
        .filter(|(_, body)| body.contains("the answer was"))
        .map(|(severity, _)| *severity)
        .collect();
    assert_eq!(failed.len(), 2);
    assert!(failed.contains(&Severity::Warn) && failed.contains(&Severity::Error));
}

#[tokio::test]
async fn a_range_has_both_ends_in_their_order_and_pages_have_bounds() {
    let kit = TestControl::open().await;
    make(&kit, "a").await;
    let always = always();
    for (range, word) in [
        (
            TelemetryRange {
                from: None,
                to: always.to,
            },
            "from",
        ),
        (
            TelemetryRange {
                from: always.from,
                to: None,
            },
            "to",
        ),
        (
            TelemetryRange {
                from: always.to,
                to: always.from,
            },
            "later",
        ),
    ] {
        let refused = kit.control.sandbox_samples(&kit.caller, "a", range).await;
        let Err(Error::Invalid { reasons, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(reasons[0].message.contains(word), "{reasons:?}");
    }
    let list = ListLogs {
        limit: Some(0),
        ..all_logs()
    };
    let refused = kit.control.sandbox_logs(&kit.caller, "a", list).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    let (stranger, _) = kit.add_stranger("s").await;
    let refused = kit.control.sandbox_logs(&stranger, "a", all_logs()).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_server_that_keeps_nothing_says_so() {
    let mut store = TestStore::default();
    store.settings.telemetry = None;
    let kit = store.open().await;
    let sandbox = make(&kit, "a").await;
    kit.control.record_call(&call(&sandbox, "/x", 200, None));
    let refused = kit.control.sandbox_logs(&kit.caller, "a", all_logs()).await;
    assert!(
        matches!(refused, Err(Error::Forbidden { .. })),
        "{refused:?}"
    );
}
