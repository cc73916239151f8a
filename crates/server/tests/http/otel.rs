//! Telemetry that is sent on, to a receiver in this process that reads what comes.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::OtelRequest;
use alcove_server::Otlp;
use alcove_telemetry::otlp::wire::{self, LogsRequest, MetricsRequest, TracesRequest};
use alcove_testkit::{TestStore, eventually};
use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use http::{HeaderMap, StatusCode};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::services::{ask_as, credential};
use crate::support::Server;
use crate::telemetry::sample;
use crate::vercel::play_agent;

/// What is told within one batch waits so long for more.
const GATHER: Duration = Duration::from_secs(5);

/// A receiver of OTLP that keeps what comes, and answers as it is told to.
#[derive(Clone, Default)]
struct Receiver {
    got: Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>,
    /// Answers for the next requests; 200 behind them.
    answers: Arc<Mutex<Vec<u16>>>,
    /// The body of each answer.
    says: Arc<Mutex<Vec<u8>>>,
}

impl Receiver {
    async fn start(&self) -> u16 {
        let receiver = self.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let take = move |Path(signal): Path<String>, headers: HeaderMap, body: Bytes| {
            receiver.got.lock().unwrap().push((signal, headers, body));
            let status = receiver.answers.lock().unwrap().pop().unwrap_or(200);
            let says = receiver.says.lock().unwrap().clone();
            std::future::ready((StatusCode::from_u16(status).unwrap(), says))
        };
        let router = Router::new().route("/base/v1/{signal}", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        port
    }

    /// All requests for a signal, read.
    fn read<T: prost::Message + Default>(&self, signal: &str) -> Vec<T> {
        let got = self.got.lock().unwrap();
        let of = got.iter().filter(|(name, ..)| name == signal);
        of.map(|(_, headers, body)| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            assert_eq!(headers["x-key"], "s3cret");
            T::decode(body.clone()).expect("a message of the protocol")
        })
        .collect()
    }

    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

/// A server that may send to this host, and a sandbox whose agent answers.
struct Place {
    server: Server,
    receiver: Receiver,
    port: u16,
    organization: String,
    _folder: tempfile::TempDir,
}

impl Place {
    async fn make() -> Self {
        let mut store = TestStore::default();
        let otlp = Otlp::new(&["127.0.0.1".to_owned()]).unwrap();
        store.settings.otlp = Some(Arc::new(otlp));
        let server = Server::over(store.open().await);
        let folder = tempfile::tempdir().unwrap();
        play_agent(&server, &folder, StatusCode::OK, "text/plain", "{}");
        let receiver = Receiver::default();
        Self {
            port: receiver.start().await,
            receiver,
            organization: server.kit.caller.organization.to_string(),
            server,
            _folder: folder,
        }
    }

    fn path(&self) -> String {
        format!("/api/organizations/{}/otel-config", self.organization)
    }

    async fn send_on(&self) {
        let endpoint = format!("http://127.0.0.1:{}/base/", self.port);
        let body = json!({"endpoint": endpoint, "headers": {"X-Key": "s3cret"}});
        let put = self.server.put("PUT", &self.path(), body).await;
        assert_eq!(put.status, StatusCode::NO_CONTENT, "{}", put.text);
    }

    /// Lets time pass until so much was sent, or dropped.
    async fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        eventually(what, async || {
            self.server.kit.clock.advance(GATHER);
            let metrics = self.server.ask("GET", "/api/metrics").await;
            is_so(&metrics.text)
        })
        .await;
    }
}

fn has(line: &str) -> impl Fn(&str) -> bool {
    let line = line.to_owned();
    move |metrics: &str| metrics.lines().any(|found| found == line)
}

fn text(attributes: &[wire::KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(wire::Value::Text(text)) => text,
        other => panic!("{key}: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_kept_of_a_sandbox_reaches_the_endpoint_of_its_organization() {
    let place = Place::make().await;
    place.send_on().await;
    let sandbox = place.server.create(json!({"name": "box"})).await;
    let id = sandbox["id"].as_str().unwrap();
    place.server.kit.runner.set_samples(vec![sample(id)]);
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let path = format!("/toolbox/{id}/files");
    let headers = [("traceparent", context)];
    let called = place.server.ask_with("GET", &path, &headers, "").await;
    assert_eq!(called.status, StatusCode::OK);
    eventually("something of each kind has come", async || {
        place.server.kit.clock.advance(Duration::from_secs(30));
        let receiver = &place.receiver;
        !receiver.read::<LogsRequest>("logs").is_empty()
            && !receiver.read::<TracesRequest>("traces").is_empty()
            && !receiver.read::<MetricsRequest>("metrics").is_empty()
    })
    .await;
    let logs: LogsRequest = place.receiver.read("logs").remove(0);
    let of = &logs.resource_logs[0];
    let resource = &of.resource.as_ref().unwrap().attributes;
    assert_eq!(text(resource, "service.name"), format!("sandbox-{id}"));
    assert_eq!(text(resource, "sandbox.name"), "box");
    assert_eq!(text(resource, "organization.id"), place.organization);
    let records = &of.scope_logs[0].log_records;
    let started = records
        .iter()
        .find(|record| text(&record.attributes, "sandbox.state") == "started")
        .expect("the record of a new state");
    assert_eq!(started.severity_text, "INFO");
    assert!(started.time_unix_nano > 0);
    let traces: TracesRequest = place.receiver.read("traces").remove(0);
    let span = &traces.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(hex(&span.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(span.kind(), wire::SpanKind::Server);
    assert_eq!(text(&span.attributes, "http.response.status_code"), "200");
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    let metrics: MetricsRequest = place.receiver.read("metrics").remove(0);
    let series = &metrics.resource_metrics[0].scope_metrics[0].metrics;
    let memory = series
        .iter()
        .find(|metric| metric.name == "daytona.sandbox.memory.limit")
        .expect("the limit of memory");
    let Some(wire::Data::Gauge(gauge)) = &memory.data else {
        panic!("{memory:?}");
    };
    assert!(gauge.data_points[0].as_double.unwrap() > 0.0);
    // All of it is kept here too.
    let range = "from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z";
    let path = format!("/api/sandbox/{id}/telemetry/traces?{range}");
    assert_eq!(place.server.ask("GET", &path).await.ok()["total"], 1);
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

#[tokio::test]
async fn what_is_not_taken_is_tried_again_and_then_counted() {
    let place = Place::make().await;
    place.send_on().await;
    // A receiver that is away for a moment gets it later.
    place.receiver.answers.lock().unwrap().push(503);
    place.server.create(json!({"name": "one"})).await;
    place
        .until("the second try was taken", |metrics| {
            has("alcove_otlp_queues 0")(metrics) && !has("alcove_otlp_sent_total 0")(metrics)
        })
        .await;
    assert!(place.receiver.count() >= 2);
    let metrics = place.server.ask("GET", "/api/metrics").await;
    assert!(
        has("alcove_otlp_dropped_total 0")(&metrics.text),
        "{}",
        metrics.text
    );
    // One that refuses it is not asked again.
    let before = place.receiver.count();
    place.receiver.answers.lock().unwrap().push(400);
    place.server.create(json!({"name": "two"})).await;
    place
        .until("what was refused is counted", |metrics| {
            !has("alcove_otlp_dropped_total 0")(metrics)
        })
        .await;
    assert!(place.receiver.count() > before);
}

#[tokio::test]
async fn what_a_receiver_says_it_did_not_want_is_counted() {
    let place = Place::make().await;
    place.send_on().await;
    let answer = wire::Answer {
        partial_success: Some(wire::PartialSuccess {
            rejected: 1,
            error_message: "too old".to_owned(),
        }),
    };
    *place.receiver.says.lock().unwrap() = answer.encode_to_vec();
    place.server.create(json!({"name": "one"})).await;
    place
        .until("one is counted", |metrics| {
            !has("alcove_otlp_dropped_total 0")(metrics)
        })
        .await;
}

#[tokio::test]
async fn no_create_waits_for_an_endpoint_that_does_not_answer() {
    let place = Place::make().await;
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://127.0.0.1:{}", silent.local_addr().unwrap().port());
    let body = json!({ "endpoint": endpoint });
    let put = place.server.put("PUT", &place.path(), body).await;
    assert_eq!(put.status, StatusCode::NO_CONTENT);
    for name in ["one", "two", "three"] {
        place.server.create(json!({ "name": name })).await;
        place.server.kit.clock.advance(GATHER);
    }
}

#[tokio::test]
async fn nothing_is_sent_to_private_addresses_that_the_operator_has_not_named() {
    let mut store = TestStore::default();
    store.settings.otlp = Some(Arc::new(Otlp::new(&[]).unwrap()));
    let server = Server::over(store.open().await);
    let receiver = Receiver::default();
    let port = receiver.start().await;
    let org = server.kit.caller.organization.to_string();
    let path = format!("/api/organizations/{org}/otel-config");
    let body = json!({"endpoint": format!("http://127.0.0.1:{port}/base")});
    let put = server.put("PUT", &path, body).await;
    assert_eq!(put.status, StatusCode::BAD_REQUEST, "{}", put.text);
    // A name is looked at when it is connected to.
    let body = json!({"endpoint": format!("http://localhost:{port}/base")});
    let put = server.put("PUT", &path, body).await;
    assert_eq!(put.status, StatusCode::NO_CONTENT, "{}", put.text);
    server.create(json!({"name": "one"})).await;
    eventually("it is given up", async || {
        server.kit.clock.advance(Duration::from_secs(30));
        let metrics = server.ask("GET", "/api/metrics").await;
        !has("alcove_otlp_dropped_total 0")(&metrics.text)
    })
    .await;
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn headers_are_shown_to_the_collector_and_to_nobody_else() {
    let place = Place::make().await;
    let server = &place.server;
    let missing = server.ask("GET", &place.path()).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    place.send_on().await;
    let shown = server.ask("GET", &place.path()).await.ok();
    assert_eq!(shown["headers"], json!({"x-key": "******"}));
    assert_eq!(shown["organizationId"], place.organization.as_str());
    let organizations = server.ask("GET", "/api/organizations").await.ok();
    assert_eq!(organizations[0]["otelConfig"], shown);
    let collector = credential(server, "otel-collector").await;
    let told = ask_as(server, &collector, "GET", &place.path()).await.ok();
    assert_eq!(told["headers"], json!({"x-key": "s3cret"}));
    let proxy = credential(server, "proxy").await;
    let refused = ask_as(server, &proxy, "GET", &place.path()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    // What comes back as it was shown stays as it was.
    let mut again = shown.clone();
    again["endpoint"] = json!(format!("http://127.0.0.1:{}/base", place.port));
    let put = server.put("PUT", &place.path(), again).await;
    assert_eq!(put.status, StatusCode::NO_CONTENT, "{}", put.text);
    let told = ask_as(server, &collector, "GET", &place.path()).await.ok();
    assert_eq!(told["headers"]["x-key"], "s3cret");
    let kept = server.kit.store.reader().organization_settings_list().await;
    let kept = format!("{:?}", kept.unwrap());
    assert!(!kept.contains("s3cret"), "{kept}");
    let deleted = server.ask("DELETE", &place.path()).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let gone = ask_as(server, &collector, "GET", &place.path()).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_collector_finds_sandbox_and_endpoint_by_a_token_that_is_never_echoed() {
    let place = Place::make().await;
    place.send_on().await;
    let server = &place.server;
    let sandbox = server.create(json!({})).await;
    let id = sandbox["id"].as_str().unwrap();
    let path = format!("/api/sandbox/{id}/ports/3000/preview-url");
    let token = server.ask("GET", &path).await.ok()["token"].clone();
    let token = token.as_str().unwrap();
    let paths = |token: &str| {
        ["otel-config", "sandbox-identity"]
            .map(|what| format!("/api/organizations/{what}/by-sandbox-auth-token/{token}"))
    };
    let collector = credential(server, "otel-collector").await;
    let [config, identity] = paths(token);
    for _ in 0..2 {
        let told = ask_as(server, &collector, "GET", &identity).await.ok();
        let expected = json!({"sandboxId": id, "organizationId": place.organization});
        assert_eq!(told, expected);
    }
    let told = ask_as(server, &collector, "GET", &config).await.ok();
    assert_eq!(told["headers"]["x-key"], "s3cret");
    for path in paths("wrong-token") {
        let missing = ask_as(server, &collector, "GET", &path).await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
        assert!(!missing.text.contains("wrong-token"), "{}", missing.text);
    }
    let other = credential(server, "ssh-gateway").await;
    for path in paths(token) {
        for key in [server.kit.key.as_str(), &other] {
            let refused = ask_as(server, key, "GET", &path).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
            assert!(!refused.text.contains(token));
        }
    }
    server.ask("DELETE", &format!("/api/sandbox/{id}")).await;
    eventually("its token is nobody's", async || {
        let gone = ask_as(server, &collector, "GET", &identity).await;
        gone.status == StatusCode::NOT_FOUND
    })
    .await;
}

#[tokio::test]
async fn settings_are_there_after_a_restart_and_after_a_rotation_of_the_key() {
    let mut store = TestStore::default();
    store.settings.otlp = Some(Arc::new(Otlp::new(&[]).unwrap()));
    let kit = store.open().await;
    let org = kit.caller.organization.to_string();
    let headers = [("x-key".to_owned(), "s3cret".to_owned())];
    let request = OtelRequest {
        endpoint: "https://a.com".to_owned(),
        headers: headers.into(),
    };
    let put = kit
        .control
        .put_otel_target(&kit.caller, &org, request)
        .await;
    put.unwrap();
    let free = serde_json::Map::from_iter([("a".to_owned(), json!([1]))]);
    let put = kit
        .control
        .put_experimental_config(&kit.caller, &org, free.clone());
    put.await.unwrap();
    let before = kit.control.organization_settings(&kit.caller.organization);
    assert_eq!(before.experimental, free);
    let kit = kit.restart().await;
    let after = kit.control.organization_settings(&kit.caller.organization);
    assert_eq!(after, before);
    assert_eq!(after.otel.as_ref().unwrap().headers["x-key"], "s3cret");

    // A new key seals what is there anew: the next process, which has that alone, reads it.
    kit.control.rotate_sealing_key().await.unwrap();
    kit.control.sealing_settled().await;
    assert_eq!(kit.keys().count(), 1);
    let kit = kit.kill_and_read_keys().await.open().await;
    let after = kit.control.organization_settings(&kit.caller.organization);
    assert_eq!(after, before);
}

#[tokio::test]
async fn settings_are_honoured_or_refused() {
    let place = Place::make().await;
    let server = &place.server;
    let of = |what: &str| format!("/api/organizations/{}/{what}", place.organization);
    let status = async |method: &str, what: &str, body: Value| {
        let asked = server.put(method, &of(what), body).await;
        asked.status.as_u16()
    };
    let experiments = "experimental-config";
    assert_eq!(status("PUT", experiments, json!({"otel": {}})).await, 400);
    let large = json!({"a": "x".repeat(9 << 10)});
    assert_eq!(status("PUT", experiments, large).await, 400);
    assert_eq!(status("PUT", experiments, json!({})).await, 200);
    let timeout = "default-queue-timeout";
    let of_minutes = |minutes: Value| json!({"defaultQueueTimeout": minutes});
    assert_eq!(status("PATCH", timeout, of_minutes(Value::Null)).await, 204);
    assert_eq!(status("PATCH", timeout, of_minutes(json!(5))).await, 422);
    assert_eq!(status("PATCH", timeout, of_minutes(json!(-5))).await, 400);
    assert_eq!(status("PATCH", timeout, json!({})).await, 400);
    let capacity = server.ask("GET", &of("gpu-capacity")).await.ok();
    assert_eq!(capacity["capacity"], json!([]));
    assert!(capacity["observedAt"].is_string());
    for body in [
        json!({}),
        json!({"endpoint": "grpc://a.com"}),
        json!({"endpoint": "https://a.com", "headers": {"Host": "x"}}),
        json!({"endpoint": "https://a.com", "headers": {"x": "******"}}),
        json!({"endpoint": "https://a.com", "organizationId": "other"}),
    ] {
        assert_eq!(
            status("PUT", "otel-config", body.clone()).await,
            400,
            "{body}"
        );
    }
    // A server that keeps none sends none.
    let mut store = TestStore::default();
    store.settings.otlp = Some(Arc::new(Otlp::new(&[]).unwrap()));
    store.settings.telemetry = None;
    let server = Server::over(store.open().await);
    let org = server.kit.caller.organization.to_string();
    let path = format!("/api/organizations/{org}/otel-config");
    let put = server
        .put("PUT", &path, json!({"endpoint": "https://a.com"}))
        .await;
    assert_eq!(put.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", put.text);
}
