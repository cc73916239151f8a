//! A runner in a process of its own comes in, and is asked.

use std::sync::Arc;

use alcove_control::RunnerClient;
use alcove_runner_link::PROTOCOL;
use alcove_testkit::{FakeRunner, eventually};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::support::{Listening, Server, within};

struct Registered {
    id: String,
    key: String,
}

async fn registered(server: &Server) -> Registered {
    let region = server
        .put("POST", "/api/regions", json!({"name": "lab"}))
        .await;
    let request = json!({"regionId": region.json()["id"], "name": "rack"});
    let made = server.put("POST", "/api/runners", request).await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Registered {
        id: text(&made["id"]),
        key: text(&made["apiKey"]),
    }
}

/// Asks for a link; what comes of it is a connection, or a status.
async fn ask(
    listening: &Listening,
    key: &str,
    headers: &[(&str, &str)],
) -> Result<Upgraded, StatusCode> {
    let stream = TokioIo::new(listening.connect().await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::get("/api/runners/me/link")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {key}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => Ok(hyper::upgrade::on(response).await.unwrap()),
        status => Err(status),
    }
}

const UPGRADE: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", PROTOCOL)];

async fn join(listening: &Listening, key: &str, folder: &str) -> Result<Upgraded, StatusCode> {
    let headers = [UPGRADE[0], UPGRADE[1], ("x-alcove-instance", folder)];
    ask(listening, key, &headers).await
}

async fn is_in_state(server: &Server, runner: &Registered, wanted: &str) {
    let path = format!("/api/runners/{}", runner.id);
    eventually(&format!("the runner is {wanted}"), async || {
        server.ask("GET", &path).await.ok()["state"] == wanted
    })
    .await;
}

#[tokio::test]
async fn a_runner_that_comes_with_its_key_is_given_the_sandboxes_of_its_region() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let runner = registered(&server).await;
    let link = join(&listening, &runner.key, "folder").await.unwrap();
    let host = FakeRunner::default();
    let answers: Arc<dyn RunnerClient> = Arc::new(host.clone());
    let serving = tokio::spawn(alcove_runner_link::serve(TokioIo::new(link), answers));
    is_in_state(&server, &runner, "ready").await;
    // What it can do follows from what it said, and from where the server's files are.
    let path = format!("/api/runners/{}", runner.id);
    assert_eq!(
        server.ask("GET", &path).await.ok()["capabilities"]["can"],
        json!(["pause", "reflink", "networkPolicies"])
    );
    let with_volume = json!({
        "name": "box",
        "target": "lab",
        "volumes": [{"volumeId": "v", "mountPath": "/data"}],
    });
    let refused = server.put("POST", "/api/sandbox", with_volume).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("has volumes"), "{}", refused.text);
    let made = server.create(json!({"name": "box", "target": "lab"})).await;
    let id = made["id"].as_str().unwrap();
    assert_eq!(made["state"], "started");
    assert!(host.is_running(&id.parse().unwrap()));
    let on_it = server
        .ask_as(&runner.key, "GET", "/api/sandbox/for-runner")
        .await
        .ok();
    assert_eq!(on_it[0]["id"], id);
    let images = server
        .ask_as(&runner.key, "GET", "/api/runners/me/snapshots")
        .await
        .ok();
    assert_eq!(images, json!(["sha256:default"]));
    // The link goes, and what is on the runner is still known.
    serving.abort();
    is_in_state(&server, &runner, "unresponsive").await;
    let kept = server.ask("GET", "/api/sandbox/box").await.ok();
    assert_eq!(kept["state"], "started");
    // What it has to do meanwhile it can ask for, and tell the end of.
    let stop = server.put("POST", "/api/sandbox/box/stop", json!({}));
    let work = async {
        let polled = server.ask_as(&runner.key, "GET", "/api/jobs/poll?timeout=20");
        let polled = polled.await.ok();
        let job = &polled["jobs"][0];
        assert_eq!(
            (&job["type"], &job["status"], &job["resourceId"]),
            (&json!("STOP_SANDBOX"), &json!("IN_PROGRESS"), &made["id"])
        );
        let path = format!("/api/jobs/{}", job["id"].as_str().unwrap());
        let listed = server.ask_as(&runner.key, "GET", "/api/jobs?status=IN_PROGRESS");
        assert_eq!(listed.await.ok()["items"][0]["id"], job["id"]);
        let pending = server.ask_as(&runner.key, "GET", "/api/jobs?status=PENDING");
        assert_eq!(pending.await.ok()["total"], 0);
        let told = format!("{path}/status");
        for metadata in ["words", r#"{"daemonVersion": 1}"#] {
            let end = json!({"status": "COMPLETED", "resultMetadata": metadata});
            let answer = server.put_as(&runner.key, "POST", &told, end).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        }
        let end = json!({"status": "COMPLETED", "resultMetadata": r#"{"daemonVersion": "1.2"}"#});
        let answer = server.put_as(&runner.key, "POST", &told, end).await.ok();
        assert_eq!(answer["status"], "COMPLETED");
        let over = server.ask_as(&runner.key, "GET", &path).await;
        assert_eq!(over.status, StatusCode::NOT_FOUND, "{}", over.text);
    };
    let (stopped, ()) = within(async { tokio::join!(stop, work) }).await;
    assert_eq!(stopped.ok()["state"], "stopped");
}

#[tokio::test]
async fn whoever_is_no_runner_or_does_not_say_enough_gets_no_link() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let runner = registered(&server).await;
    let with_folder = |folder| [UPGRADE[0], UPGRADE[1], ("x-alcove-instance", folder)];
    let all = with_folder("folder");
    let own = server.kit.key.clone();
    for (key, headers, status) in [
        (own.as_str(), &all[..], StatusCode::FORBIDDEN),
        ("rnr_none", &all[..], StatusCode::UNAUTHORIZED),
        (&runner.key, &[][..], StatusCode::UPGRADE_REQUIRED),
        (
            &runner.key,
            &[UPGRADE[0], ("upgrade", "websocket"), all[2]][..],
            StatusCode::UPGRADE_REQUIRED,
        ),
        (&runner.key, &UPGRADE[..], StatusCode::BAD_REQUEST),
        (
            &runner.key,
            &with_folder("../x")[..],
            StatusCode::BAD_REQUEST,
        ),
    ] {
        let asked = within(ask(&listening, key, headers)).await;
        assert_eq!(asked.map(drop).unwrap_err(), status, "{headers:?}");
    }
}

#[tokio::test]
async fn what_says_nothing_over_its_link_is_no_runner() {
    let server = Server::start().await;
    let listening = server.listen().await;
    let runner = registered(&server).await;
    let link = join(&listening, &runner.key, "folder").await.unwrap();
    drop(link);
    let refused = server
        .put("POST", "/api/sandbox", json!({"target": "lab"}))
        .await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    assert!(
        refused.text.contains("NO_AVAILABLE_RUNNERS"),
        "{}",
        refused.text
    );
}
