//! What of the log and its spans goes out, to a receiver that the test plays.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use alcove_telemetry::otlp::wire;
use async_trait::async_trait;
use prost::Message as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// A receiver that keeps what comes, and takes nothing while it is away.
#[derive(Debug, Default)]
struct Receiver {
    got: Mutex<Vec<OtlpRequest>>,
    is_away: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl OtlpSender for Receiver {
    fn is_known(&self, _: &str) -> bool {
        true
    }

    async fn send(&self, request: OtlpRequest) -> OtlpOutcome {
        if self.is_away.load(Ordering::Relaxed) {
            return OtlpOutcome::Failed {
                reason: "away".to_owned(),
                retry_after: None,
            };
        }
        self.got.lock().unwrap().push(request);
        OtlpOutcome::Taken { answer: Vec::new() }
    }
}

fn exporting() -> (Exporting, Arc<Receiver>) {
    let receiver = Arc::new(Receiver::default());
    let exporting = Exporting {
        endpoint: "http://a".to_owned(),
        headers: BTreeMap::from([("x-key".to_owned(), "s3cret".to_owned())]),
        sender: Arc::clone(&receiver) as Arc<dyn OtlpSender>,
        waiting: Arc::default(),
    };
    (exporting, receiver)
}

fn texts(attributes: &[wire::KeyValue]) -> BTreeMap<String, String> {
    let texts = attributes.iter().map(|attribute| {
        let value = attribute.value.clone().unwrap().value;
        let Some(wire::Value::Text(text)) = value else {
            panic!("{attribute:?}");
        };
        (attribute.key.clone(), text)
    });
    texts.collect()
}

#[tokio::test]
async fn requests_orders_and_lines_of_the_log_are_one_trace() {
    let (exporting, receiver) = exporting();
    let subscriber = tracing_subscriber::registry().with(exporting.layer());
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    tracing::subscriber::with_default(subscriber, || {
        let request = tracing::info_span!(
            target: TARGET, "request",
            http.request.method = "GET", http.route = tracing::field::Empty, traceparent = context,
        );
        let _entered = request.enter();
        request.record("http.route", "/api/x");
        let order = tracing::info_span!(target: TARGET, "order", error = tracing::field::Empty);
        let _inner = order.enter();
        order.record("error", "no room");
        tracing::warn!(sandbox.id = "s", "sandbox s is slow");
    });
    exporting.run(CancellationToken::new().tap_cancel()).await;
    let got = receiver.got.lock().unwrap();
    let of = |path: &str| {
        let found = got
            .iter()
            .find(|request| request.url == format!("http://a{path}"));
        let found = found.unwrap_or_else(|| panic!("{path} in {got:?}"));
        assert_eq!(found.headers["x-key"], "s3cret");
        found.body.as_slice()
    };
    let traces = wire::TracesRequest::decode(of("/v1/traces")).unwrap();
    let of_server = &traces.resource_spans[0];
    let resource = texts(&of_server.resource.as_ref().unwrap().attributes);
    assert_eq!(resource["service.name"], "alcove");
    let spans = &of_server.scope_spans[0].spans;
    let [order, request] = spans.as_slice() else {
        panic!("{spans:?}");
    };
    assert_eq!(request.name, "GET /api/x");
    assert_eq!(request.kind(), wire::SpanKind::Server);
    assert_eq!(hex::encode(&request.trace_id), context[3..35]);
    assert_eq!(hex::encode(&request.parent_span_id), context[36..52]);
    assert_eq!(request.status, None);
    assert_eq!(order.parent_span_id, request.span_id);
    assert_eq!(order.trace_id, request.trace_id);
    assert_eq!(order.status.as_ref().unwrap().message, "no room");
    let logs = wire::LogsRequest::decode(of("/v1/logs")).unwrap();
    let line = &logs.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(line.severity_text, "WARN");
    assert_eq!(line.span_id, order.span_id);
    assert_eq!(texts(&line.attributes)["sandbox.id"], "s");
}

trait TapCancel {
    fn tap_cancel(self) -> Self;
}

impl TapCancel for CancellationToken {
    fn tap_cancel(self) -> Self {
        self.cancel();
        self
    }
}

#[tokio::test]
async fn what_is_not_taken_is_counted_and_what_does_not_fit_too() {
    let (exporting, receiver) = exporting();
    receiver.is_away.store(true, Ordering::Relaxed);
    let log = || {
        Record::Log(LogRecord {
            at: Timestamp::UNIX_EPOCH,
            severity: Severity::Info,
            body: "x".to_owned(),
            attributes: BTreeMap::new(),
            trace: None,
            span: None,
        })
    };
    for _ in 0..WAITING_MAX + 2 {
        exporting.waiting.push(log());
    }
    let waiting = Arc::clone(&exporting.waiting);
    assert_eq!(waiting.dropped.load(Ordering::Relaxed), 2);
    exporting.run(CancellationToken::new().tap_cancel()).await;
    let all = WAITING_MAX as u64 + 2;
    assert_eq!(waiting.dropped.load(Ordering::Relaxed), all);
    assert_eq!(waiting.take(), []);
}

#[test]
fn headers_come_from_lines() {
    let read = headers("X-Key: a: b\n\nother:c\n").unwrap();
    let expected = [("X-Key", "a: b"), ("other", "c")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(read, BTreeMap::from(expected));
    assert!(headers("x").is_err());
}
