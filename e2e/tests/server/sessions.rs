//! Vercel sandboxes by what the host makes of them: sizes, and images of a registry.

use alcove_e2e::prepared;
use alcove_e2e::server::{Answer, Setup, TestServer};
use alcove_testkit::registry::{Asks, TestRegistry};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::run;

async fn begin(server: &TestServer, mut body: Value) -> Answer {
    body["projectId"] = json!("sessions");
    body["ports"] = json!([]);
    let raw = server.raw();
    raw.ask("POST", "/api/v3/sandboxes", body.to_string()).await
}

async fn resize(server: &TestServer, vcpus: i64) -> Answer {
    let path = "/api/v2/sandboxes/box?projectId=sessions";
    let body = json!({"resources": {"vcpus": vcpus}}).to_string();
    server.raw().ask("PATCH", path, body).await
}

#[tokio::test]
async fn the_kernel_goes_by_the_sizes_of_a_session() {
    let server = TestServer::start().await;
    let made = begin(&server, json!({"name": "box", "resources": {"vcpus": 1}})).await;
    assert!(made.status.is_success(), "{made:?}");
    let sandbox = server.client().get("box").await.unwrap();
    let limits = || server.instance.limits(&sandbox.id);
    let of = |vcpus: u64| (vcpus * 1000, (vcpus * 2) << 30);
    assert_eq!(limits(), of(1), "{sandbox:?}");
    let more = resize(&server, 2).await;
    assert_eq!(more.status, StatusCode::OK, "{more:?}");
    assert_eq!(more.json()["sandbox"]["vcpus"], 2);
    assert_eq!(more.json()["sandbox"]["memory"], 4096);
    assert_eq!(limits(), of(2), "at once, while it runs");
    // A program may hold what would be taken away.
    let less = resize(&server, 1).await;
    assert_eq!(less.status, StatusCode::BAD_REQUEST, "{less:?}");
    let reason = less.json()["error"]["message"].to_string();
    assert!(reason.contains("while the sandbox is stopped"), "{reason}");
    assert_eq!(limits(), of(2));
    let odd = resize(&server, 3).await;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST, "{odd:?}");

    let stop = format!("/api/v2/sandboxes/sessions/sbx_{}_1/stop", sandbox.id);
    let stopped = server.raw().ask("POST", &stop, "").await;
    assert_eq!(stopped.status, StatusCode::OK, "{stopped:?}");
    let less = resize(&server, 1).await;
    assert_eq!(less.status, StatusCode::OK, "{less:?}");
    let path = "/api/v2/sandboxes/box?projectId=sessions&resume=true";
    let resumed = server.raw().ask("GET", path, "").await;
    assert_eq!(resumed.json()["session"]["vcpus"], 1, "{resumed:?}");
    assert_eq!(limits(), of(1));
    server.finish().await;
}

#[tokio::test]
async fn a_session_begins_with_an_image_of_a_registry_and_leaves_nothing_where_there_is_none() {
    let registry = TestRegistry::start(Asks::Nothing, false);
    let archive = prepared("ALCOVE_IMAGES_DIR", "busybox.oci.tar");
    registry.push_variant("team/tiny", "1", &archive, "etc/note", b"pulled");
    let host = registry.host();
    let folder = tempfile::tempdir().unwrap();
    let registries = folder.path().join("registries.json");
    let known = json!({"registries": {host.clone(): {"insecure": true}}});
    std::fs::write(&registries, known.to_string()).unwrap();
    let server = TestServer::start_with(Setup {
        registries: Some(registries),
        ..Setup::default()
    })
    .await;
    let image = format!("{host}/team/tiny:1");
    let made = begin(&server, json!({"name": "box", "image": image})).await;
    assert!(made.status.is_success(), "{made:?}");
    assert_eq!(made.json()["session"]["status"], "running");
    assert_eq!(made.json()["sandbox"]["image"], image);
    let note = run(&server.client(), "box", "cat /etc/note").await;
    assert_eq!(note, "pulled");
    let missing = format!("{host}/team/tiny:2");
    let refused = begin(&server, json!({"name": "none", "image": missing})).await;
    assert!(refused.status.is_client_error(), "{refused:?}");
    let path = "/api/v2/sandboxes/none?projectId=sessions";
    let left = server.raw().ask("GET", path, "").await;
    assert_eq!(left.status, StatusCode::NOT_FOUND, "{left:?}");
    server.finish().await;
}
