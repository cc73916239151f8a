//! Regions that organizations make.

use alcove_control::NewRegion;
use alcove_domain::{NewRunner, RegionUrls};
use alcove_testkit::TestControl;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::Server;

async fn make(server: &Server, body: Value) -> Value {
    let made = server.put("POST", "/api/regions", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    made.json()
}

fn path(region: &Value) -> String {
    format!("/api/regions/{}", region["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_region_has_a_credential_for_each_part_that_has_an_address() {
    let server = Server::start().await;
    let plain = make(&server, json!({"name": "Plain"})).await;
    assert!(plain["id"].as_str().unwrap().starts_with("plain_"));
    for field in [
        "proxyApiKey",
        "sshGatewayApiKey",
        "snapshotManagerUsername",
        "snapshotManagerPassword",
    ] {
        assert_eq!(plain.get(field), Some(&Value::Null), "{field}");
    }
    let body = json!({
        "name": "lab", "proxyUrl": "https://proxy.lab", "sshGatewayUrl": "ssh://ssh.lab:2222",
        "snapshotManagerUrl": "https://images.lab", "otelEndpoint": null
    });
    server.kit.clock.advance_minutes(1);
    let full = make(&server, body).await;
    let text = |field: &str| full[field].as_str().unwrap_or_default().to_owned();
    assert!(text("proxyApiKey").starts_with("rgp_"));
    assert!(text("sshGatewayApiKey").starts_with("rgs_"));
    assert_eq!(text("snapshotManagerUsername"), text("id"));
    assert!(text("snapshotManagerPassword").starts_with("rgm_"));

    let shown = server.ask("GET", &path(&full)).await.ok();
    let org = server.kit.caller.organization.as_str();
    for (field, value) in [
        ("name", json!("lab")),
        ("organizationId", json!(org)),
        ("regionType", json!("custom")),
        ("proxyUrl", json!("https://proxy.lab")),
        ("sshGatewayUrl", json!("ssh://ssh.lab:2222")),
        ("snapshotManagerUrl", json!("https://images.lab")),
        ("otelEndpoint", Value::Null),
    ] {
        assert_eq!(shown.get(field), Some(&value), "{field} of {shown}");
    }
    assert!(!shown.to_string().contains(&text("proxyApiKey")));
    let listed = server.ask("GET", "/api/regions").await.ok();
    let names: Vec<&Value> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(names, ["us", "Plain", "lab"]);
    // Others may not know.
    let shared = server.ask("GET", "/api/shared-regions").await.ok();
    assert_eq!(shared.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_region_is_its_organizations_alone() {
    let server = Server::start().await;
    let region = make(&server, json!({"name": "lab"})).await;
    let (_, stranger) = server.kit.add_stranger("sven").await;
    let path = path(&region);
    for (method, tail) in [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/regenerate-proxy-api-key"),
    ] {
        let path = format!("{path}{tail}");
        let body = json!({"proxyUrl": "https://x.lab"});
        let asked = server.put_as(&stranger, method, &path, body).await;
        assert_eq!(asked.status, StatusCode::NOT_FOUND, "{method} {tail}");
    }
    // Its name is free for them, and leads nowhere.
    let create = json!({"target": "lab"});
    let asked = server
        .put_as(&stranger, "POST", "/api/sandbox", create)
        .await;
    assert_eq!(asked.status, StatusCode::NOT_FOUND, "{}", asked.text);
    let body = json!({"name": "lab"});
    let twin = server.put_as(&stranger, "POST", "/api/regions", body).await;
    assert_eq!(twin.status, StatusCode::CREATED, "{}", twin.text);
}

#[tokio::test]
async fn a_name_that_is_taken_or_unfit_and_an_address_that_is_none_are_refused() {
    let server = Server::start().await;
    make(&server, json!({"name": "lab"})).await;
    for (body, status) in [
        (json!({"name": "LAB"}), StatusCode::CONFLICT),
        (json!({"name": "us"}), StatusCode::CONFLICT),
        (json!({"name": "x"}), StatusCode::BAD_REQUEST),
        (json!({"name": "a b"}), StatusCode::BAD_REQUEST),
        (
            json!({"name": "new", "proxyUrl": "nowhere"}),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!({"name": "new", "proxyUrl": "https://u:p@x.lab"}),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!({"name": "new", "otelEndpoint": "https://otel.lab"}),
            StatusCode::BAD_REQUEST,
        ),
    ] {
        let case = body.to_string();
        let asked = server.put("POST", "/api/regions", body).await;
        assert_eq!(asked.status, status, "{case}: {}", asked.text);
    }
}

#[tokio::test]
async fn no_sandbox_and_no_snapshot_is_made_in_a_region_without_a_runner() {
    let server = Server::start().await;
    let region = make(&server, json!({"name": "lab"})).await;
    for (path, body) in [
        ("/api/sandbox", json!({"target": region["id"]})),
        (
            "/api/sandbox",
            json!({"target": "lab", "buildInfo": {"dockerfileContent": "FROM busybox\n"}}),
        ),
        (
            "/api/snapshots",
            json!({"name": "s", "imageName": "busybox:1", "regionId": region["id"]}),
        ),
    ] {
        let asked = server.put("POST", path, body).await;
        assert_eq!(asked.status, StatusCode::BAD_REQUEST, "{}", asked.text);
        assert_eq!(asked.json()["code"], "NO_AVAILABLE_RUNNERS");
    }
}

#[tokio::test]
async fn an_address_that_comes_brings_a_credential_and_one_that_goes_takes_it_along() {
    let server = Server::start().await;
    let region = make(&server, json!({"name": "lab"})).await;
    let path = path(&region);
    let regenerate = format!("{path}/regenerate-proxy-api-key");
    let none = server.ask("POST", &regenerate).await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST, "{}", none.text);
    let change = async |body: Value| server.put("PATCH", &path, body).await.ok();
    let first = change(json!({"proxyUrl": "https://a.lab"})).await;
    let key = first["proxyApiKey"].as_str().unwrap().to_owned();
    // The same part somewhere else is the same part.
    let moved = change(json!({"proxyUrl": "https://b.lab", "sshGatewayUrl": null})).await;
    assert_eq!(moved["proxyApiKey"], Value::Null);
    let full = "/api/runners/none/full";
    let knows = async |key: &str| server.ask_as(key, "GET", full).await.status;
    assert_eq!(knows(&key).await, StatusCode::NOT_FOUND);
    let again = server.ask("POST", &regenerate).await.ok();
    let newer = again["apiKey"].as_str().unwrap();
    assert_eq!(knows(&key).await, StatusCode::UNAUTHORIZED);
    assert_eq!(knows(newer).await, StatusCode::NOT_FOUND);
    change(json!({"proxyUrl": null})).await;
    assert_eq!(knows(newer).await, StatusCode::UNAUTHORIZED);
    let shown = server.ask("GET", &path).await.ok();
    assert_eq!(shown["proxyUrl"], Value::Null);
}

#[tokio::test]
async fn regions_runners_and_their_keys_are_there_after_a_restart() {
    let kit = TestControl::open().await;
    let request = NewRegion {
        name: "lab".to_owned(),
        urls: RegionUrls {
            proxy: None,
            ssh_gateway: Some("ssh://ssh.lab".to_owned()),
            snapshot_manager: Some("https://images.lab".to_owned()),
        },
    };
    let made = kit.control.create_region(&kit.caller, request).await;
    let (region, issued) = made.unwrap();
    let request = NewRunner {
        region: region.id.to_string(),
        name: "rack-1".to_owned(),
        ..NewRunner::default()
    };
    let made = kit.control.create_runner(&kit.caller, request).await;
    let made = made.unwrap();

    let server = Server::over(kit.kill().await.open().await);
    let path = format!("/api/regions/{}", region.id);
    let shown = server.ask("GET", &path).await.ok();
    assert_eq!(
        (&shown["name"], &shown["snapshotManagerUrl"]),
        (&json!("lab"), &json!("https://images.lab"))
    );
    let runner = made.runner.id.as_str();
    let me = server.ask_as(&made.key, "GET", "/api/runners/me").await;
    assert_eq!(me.ok()["id"], runner);
    let gateway = issued.ssh_gateway_key.unwrap();
    let full = format!("/api/runners/{runner}/full");
    let full = server.ask_as(&gateway, "GET", &full).await.ok();
    assert_eq!(full["id"], runner);
}

#[tokio::test]
async fn nothing_is_left_of_the_regions_of_an_organization_that_is_deleted() {
    let server = Server::start().await;
    let body = json!({"name": "Lab", "defaultRegionId": "us"});
    let org = server.put("POST", "/api/organizations", body).await.json();
    let org = org["id"].as_str().unwrap();
    let key = server
        .kit
        .add_key(&server.kit.caller.user, &org.parse().unwrap())
        .await;
    let body = json!({"name": "lab", "proxyUrl": "https://p.lab"});
    let region = server.put_as(&key, "POST", "/api/regions", body).await;
    let region = region.json();
    let body = json!({"regionId": region["id"], "name": "rack-1"});
    let runner = server.put_as(&key, "POST", "/api/runners", body).await;
    let runner = runner.json()["apiKey"].as_str().unwrap().to_owned();
    let path = format!("/api/organizations/{org}");
    let deleted = server.ask_as(&key, "DELETE", &path).await;
    assert!(deleted.status.is_success(), "{}", deleted.text);
    let proxy = region["proxyApiKey"].as_str().unwrap();
    for (key, path) in [
        (runner.as_str(), "/api/runners/me"),
        (proxy, "/api/preview/x/public"),
    ] {
        let asked = server.ask_as(key, "GET", path).await;
        assert_eq!(asked.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let all = server.ask("GET", "/api/admin/runners").await.ok();
    assert_eq!(all.as_array().unwrap().len(), 1);
}
