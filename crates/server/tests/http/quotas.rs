//! Limits over HTTP.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::Server;

async fn usage(server: &Server) -> Value {
    let path = format!(
        "/api/organizations/{}/usage",
        server.kit.caller.organization
    );
    server.ask("GET", &path).await.ok()["regionUsage"][0].clone()
}

async fn limit(server: &Server, body: Value) -> StatusCode {
    let org = &server.kit.caller.organization;
    let path = format!("/api/admin/organizations/{org}/quota/us");
    server.put("PATCH", &path, body).await.status
}

#[tokio::test]
async fn limits_are_set_shown_and_held() {
    let server = Server::start().await;
    assert_eq!(usage(&server).await["totalCpuQuota"], i32::MAX);
    let body = json!({"totalCpuQuota": 2, "totalMemoryQuota": null, "maxDiskPerSandbox": 3});
    assert_eq!(limit(&server, body).await, StatusCode::NO_CONTENT);
    server.create(json!({"name": "a"})).await;
    server.create(json!({"name": "b"})).await;
    let refused = server
        .put("POST", "/api/sandbox", json!({"name": "c"}))
        .await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let body = refused.json();
    assert_eq!(
        body["message"],
        "Total CPU limit exceeded. Maximum allowed: 2."
    );
    assert_eq!(body["code"], "QUOTA_EXCEEDED");
    let now = usage(&server).await;
    assert_eq!(now["totalCpuQuota"], 2);
    assert_eq!(now["currentCpuUsage"], 2);
    assert_eq!(now["currentDiskUsage"], 6);
    assert_eq!(now["currentSandboxUsage"], 2);
    assert_eq!(now["maxDiskPerSandbox"], 3);
    assert_eq!(
        limit(&server, json!({"totalCpuQuota": -1})).await,
        StatusCode::NO_CONTENT
    );
    server.create(json!({"name": "c"})).await;
}

#[tokio::test]
async fn limits_of_what_is_not_there_are_not_found() {
    let server = Server::start().await;
    let own = server.kit.caller.organization.to_string();
    for (org, region) in [
        (own.as_str(), "mars"),
        ("00000000-0000-4000-8000-000000000000", "us"),
        ("x", "us"),
    ] {
        let path = format!("/api/admin/organizations/{org}/quota/{region}");
        let answer = server
            .put("PATCH", &path, json!({"totalCpuQuota": 1}))
            .await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let other = server.ask("GET", "/api/organizations/x/usage").await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_number_of_volumes_is_set_shown_and_held() {
    let server = Server::start().await;
    let org = server.kit.caller.organization.to_string();
    let usage = async || {
        let path = format!("/api/organizations/{org}/usage");
        let usage = server.ask("GET", &path).await.ok();
        let number = |field: &str| usage[field].as_u64().unwrap();
        (number("totalVolumeQuota"), number("currentVolumeUsage"))
    };
    let set = async |body: Value| {
        let path = format!("/api/organizations/{org}/quota");
        server.put("PATCH", &path, body).await.status
    };
    assert_eq!(usage().await, (100, 0));
    assert_eq!(set(json!({"volumeQuota": 1})).await, StatusCode::NO_CONTENT);
    // As clients of the contract send it: null is no change.
    let unchanged = json!({"volumeQuota": null, "snapshotQuota": null});
    assert_eq!(set(unchanged).await, StatusCode::NO_CONTENT);
    let made = server
        .put("POST", "/api/volumes", json!({"name": "a"}))
        .await
        .ok();
    assert_eq!(usage().await, (1, 1));
    let refused = server
        .put("POST", "/api/volumes", json!({"name": "b"}))
        .await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let words = "Volume quota exceeded. Maximum allowed: 1";
    assert_eq!(refused.json()["message"], words);
    let path = format!("/api/volumes/{}", made["id"].as_str().unwrap());
    let gone = server.ask("DELETE", &path).await;
    assert_eq!(gone.status, StatusCode::OK);
    assert_eq!(usage().await, (1, 0));
    assert_eq!(
        set(json!({"volumeQuota": -1})).await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(usage().await, (100, 0));
}

#[tokio::test]
async fn limits_of_ones_own_are_made_once_read_and_taken_away() {
    let server = Server::start().await;
    let org = server.kit.caller.organization.to_string();
    let base = format!("/api/admin/organizations/{org}/quota/us");
    let own = format!("{base}/container");
    assert_eq!(server.ask("GET", &own).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        server.ask("DELETE", &own).await.status,
        StatusCode::NOT_FOUND
    );
    let missing = server.put("POST", &base, json!({"totalCpuQuota": 1})).await;
    assert_eq!(missing.status, StatusCode::BAD_REQUEST);
    let message = missing.json()["message"].as_str().unwrap().to_owned();
    for field in [
        "sandboxClass",
        "totalMemoryQuota",
        "totalDiskQuota",
        "totalGpuQuota",
    ] {
        assert!(message.contains(field), "{message}");
    }
    let body = json!({
        "sandboxClass": "container", "totalCpuQuota": 1, "totalMemoryQuota": 5, "totalDiskQuota": -1,
        "totalGpuQuota": 0, "maxDiskPerSandbox": 3,
    });
    let made = server.put("POST", &base, body.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    assert_eq!(made["organizationId"], org.as_str());
    assert_eq!(
        (&made["totalCpuQuota"], &made["totalDiskQuota"]),
        (&json!(1), &json!(i32::MAX))
    );
    assert_eq!(
        (&made["maxDiskPerSandbox"], &made["maxCpuPerSandbox"]),
        (&json!(3), &Value::Null)
    );
    assert_eq!(server.ask("GET", &own).await.ok(), made);
    let again = server.put("POST", &base, body).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let odd = server.ask("GET", &format!("{base}/submarine")).await;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST);

    server.create(json!({"name": "a"})).await;
    let create = async || {
        server
            .put("POST", "/api/sandbox", json!({"name": "b"}))
            .await
    };
    assert_eq!(create().await.status, StatusCode::BAD_REQUEST, "it is held");
    let gone = server.ask("DELETE", &own).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(server.ask("GET", &own).await.status, StatusCode::NOT_FOUND);
    assert_eq!(create().await.status, StatusCode::OK, "it is held no more");
}

#[tokio::test]
async fn what_sandboxes_counted_over_time_can_be_read_when_they_are_gone() {
    let server = Server::start().await;
    let begin = server.kit.clock.host_time();
    let made = server.create(json!({"name": "a"})).await;
    let id = made["id"].as_str().unwrap();
    server.kit.clock.advance_minutes(10);
    server.ask("POST", "/api/sandbox/a/stop").await.ok();
    server.kit.clock.advance_minutes(5);
    server.ask("DELETE", "/api/sandbox/a").await.ok();
    let org = made["organizationId"].as_str().unwrap();
    let path = format!(
        "/api/organizations/{org}/usage/periods?from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"
    );
    alcove_testkit::eventually("all periods have ended", async || {
        let page = server.ask("GET", &path).await.ok();
        let items = page["items"].as_array().unwrap();
        items.iter().all(|item| !item["endedAt"].is_null())
    })
    .await;
    let page = server.ask("GET", &path).await.ok();
    let items = page["items"].as_array().unwrap();
    assert_eq!(page["total"], items.len());
    assert!(items.iter().all(|item| item["sandboxId"] == id));
    let running: Vec<&serde_json::Value> = items.iter().filter(|item| item["cpu"] == 1).collect();
    let [running] = running.as_slice() else {
        panic!("{page}");
    };
    let time =
        |value: &serde_json::Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let lasted = time(&running["endedAt"]).duration_since(time(&running["startedAt"]));
    assert_eq!(lasted.as_mins(), 10, "{page}");
    assert_eq!(time(&running["startedAt"]), begin);
    let stopped = items
        .iter()
        .find(|item| item["cpu"] == 0 && item["disk"] != 0);
    assert_eq!(stopped.unwrap()["startedAt"], running["endedAt"], "{page}");

    let of_other = server
        .ask("GET", &format!("{path}&sandboxId=other"))
        .await
        .ok();
    assert_eq!(of_other["total"], 0);
    let before = path.replace("to=2100", "to=2020");
    let before = server
        .ask("GET", &before.replace("from=2020", "from=2019"))
        .await
        .ok();
    assert_eq!(before["total"], 0);
    let without = path.split_once('?').unwrap().0;
    let refused = server.ask("GET", without).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let foreign = server.ask("GET", &path.replace(org, "other")).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
}
