//! Sandboxes and snapshots over HTTP.

use alcove_testkit::eventually;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::Server;

fn id(sandbox: &Value) -> &str {
    sandbox["id"].as_str().unwrap()
}

#[tokio::test]
async fn a_create_answers_200_with_a_started_sandbox_that_has_all_it_must() {
    let server = Server::start().await;
    let sandbox = server
        .create(json!({
            "snapshot": "default", "env": {"A": "1"}, "labels": {"code-toolbox-language": "python"},
            "target": "us", "volumes": [], "somethingNew": 1,
        }))
        .await;
    assert_eq!(sandbox["state"], "started");
    assert_eq!(sandbox["desiredState"], "started");
    assert_eq!(sandbox["env"], json!({"A": "1"}));
    assert_eq!(
        sandbox["labels"],
        json!({"code-toolbox-language": "python"})
    );
    assert_eq!(sandbox["toolboxProxyUrl"], "http://127.0.0.1:3000/toolbox");
    assert_eq!(sandbox["name"], sandbox["id"]);
    for field in ["cpu", "gpu", "memory", "disk"] {
        assert!(sandbox[field].is_u64(), "{field}");
    }
    for field in ["public", "networkBlockAll", "kvm"] {
        assert_eq!(sandbox[field], false, "{field}");
    }
}

#[tokio::test]
async fn a_sandbox_is_found_by_id_and_by_name() {
    let server = Server::start().await;
    let made = server.create(json!({"name": "my box"})).await;
    let by_id = server
        .ask("GET", &format!("/api/sandbox/{}", id(&made)))
        .await;
    let by_name = server.ask("GET", "/api/sandbox/my%20box").await;
    assert_eq!(by_id.ok()["id"], made["id"]);
    assert_eq!(by_name.ok()["id"], made["id"]);
    let extra = server.ask("GET", "//api//sandbox//my%20box/").await;
    assert_eq!(extra.ok()["id"], made["id"]);
}

#[tokio::test]
async fn a_linked_sandbox_says_whom_it_follows_but_not_in_lists() {
    let server = Server::start().await;
    let owner = server.create(json!({"name": "app"})).await;
    assert!(owner.get("linkedSandboxId").is_none());
    let linked = |auto_delete: i64, owner: &str| json!({"name": "db", "linkedSandbox": owner, "autoDeleteInterval": auto_delete});
    let refused = server.put("POST", "/api/sandbox", linked(-1, "app")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    let missing = server.put("POST", "/api/sandbox", linked(0, "no")).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND, "{}", missing.text);
    let follower = server.create(linked(0, "app")).await;
    assert_eq!(follower["linkedSandboxId"], owner["id"]);
    let again = server.put("POST", "/api/sandbox", json!({"linkedSandbox": "db", "autoDeleteInterval": 0, "buildInfo": {"dockerfileContent": "FROM x"}}));
    let again = again.await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "{}", again.text);
    assert!(again.text.contains("a linked sandbox"), "{}", again.text);
    let list = server.ask("GET", "/api/sandbox").await;
    assert!(!list.text.contains("linkedSandboxId"), "{}", list.text);
    let gone = server.ask("DELETE", "/api/sandbox/app").await;
    assert_eq!(gone.status, StatusCode::OK, "{}", gone.text);
    eventually("the follower goes too", async || {
        let asked = server.ask("GET", "/api/sandbox/db").await;
        asked.status == StatusCode::NOT_FOUND
    })
    .await;
}

#[tokio::test]
async fn a_taken_name_is_a_conflict() {
    let server = Server::start().await;
    server.create(json!({"name": "a"})).await;
    let second = server
        .put("POST", "/api/sandbox", json!({"name": "a"}))
        .await;
    assert_eq!(second.status, StatusCode::CONFLICT, "{}", second.text);
}

#[tokio::test]
async fn an_unknown_snapshot_is_a_bad_request() {
    let server = Server::start().await;
    let answer = server
        .put("POST", "/api/sandbox", json!({"snapshot": "no-such"}))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
}

#[tokio::test]
async fn lists_go_on_by_cursor_until_it_is_null() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server
            .create(json!({"name": name, "labels": {"n": name}}))
            .await;
    }
    let first = server
        .ask(
            "GET",
            "/api/sandbox?limit=2&sort=name&order=asc&labels=null",
        )
        .await
        .ok();
    assert_eq!(first["items"][0]["name"], "a");
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    assert!(
        first["items"][0].get("env").is_none(),
        "a list item has no env"
    );
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = server
        .ask(
            "GET",
            &format!("/api/sandbox?limit=2&sort=name&order=asc&cursor={cursor}"),
        )
        .await
        .ok();
    assert_eq!(second["items"][0]["name"], "c");
    assert_eq!(second["nextCursor"], Value::Null);
    assert!(second.as_object().unwrap().contains_key("nextCursor"));
    let labelled = server
        .ask("GET", "/api/sandbox?labels=%7B%22n%22%3A%22b%22%7D")
        .await
        .ok();
    assert_eq!(labelled["items"].as_array().unwrap().len(), 1);
    let states = server
        .ask("GET", "/api/sandbox?states[]=stopped&states[]=error")
        .await
        .ok();
    assert_eq!(states["items"], json!([]));
    let gpus = server.ask("GET", "/api/sandbox?minGpu=1").await.ok();
    assert_eq!(gpus["items"], json!([]));
}

#[tokio::test]
async fn pages_are_counted() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server.create(json!({"name": name})).await;
    }
    let page = server
        .ask(
            "GET",
            "/api/sandbox/paginated?page=2&limit=2&sort=name&order=asc",
        )
        .await
        .ok();
    assert_eq!(page["items"][0]["name"], "c");
    assert_eq!(
        (&page["total"], &page["page"], &page["totalPages"]),
        (&json!(3), &json!(2), &json!(2))
    );
    assert!(
        page["items"][0]["env"].is_object(),
        "this list has full objects"
    );
}

#[tokio::test]
async fn stopping_and_starting_answer_with_the_finished_state() {
    let server = Server::start().await;
    let made = server.create(json!({})).await;
    let path = format!("/api/sandbox/{}", id(&made));
    let stopped = server
        .ask("POST", &format!("{path}/stop?force=false"))
        .await;
    assert_eq!(stopped.ok()["state"], "stopped");
    let again = server.ask("POST", &format!("{path}/stop")).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert_eq!(again.json()["details"]["state"], "stopped");
    let started = server.ask("POST", &format!("{path}/start")).await;
    assert_eq!(started.ok()["state"], "started");
    let odd = server
        .ask("POST", &format!("{path}/stop?force=perhaps"))
        .await;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_deleted_sandbox_is_gone_and_its_name_is_free() {
    let server = Server::start().await;
    let made = server.create(json!({"name": "a"})).await;
    let deleted = server.ask("DELETE", "/api/sandbox/a").await.ok();
    assert_eq!(deleted["id"], made["id"]);
    let missing = server
        .ask("DELETE", &format!("/api/sandbox/{}", id(&made)))
        .await;
    assert!(
        matches!(missing.status.as_u16(), 200 | 404),
        "{}",
        missing.text
    );
    assert_eq!(
        server.ask("GET", "/api/sandbox/a").await.status,
        StatusCode::NOT_FOUND
    );
    server.create(json!({"name": "a"})).await;
}

#[tokio::test]
async fn settings_are_kept() {
    let server = Server::start().await;
    let made = server.create(json!({})).await;
    let path = format!("/api/sandbox/{}", id(&made));
    let labels = server
        .put(
            "PUT",
            &format!("{path}/labels"),
            json!({"labels": {"a": "b"}}),
        )
        .await;
    assert_eq!(labels.ok(), json!({"labels": {"a": "b"}}));
    for (setter, field, value) in [
        ("autostop/0", "autoStopInterval", json!(0)),
        ("autoarchive/60", "autoArchiveInterval", json!(60)),
        ("autodelete/-1", "autoDeleteInterval", json!(-1)),
        ("autodelete/30", "autoDeleteInterval", json!(30)),
        ("autopause/5", "autoPauseInterval", json!(5)),
        ("public/true", "public", json!(true)),
    ] {
        let answer = server.ask("POST", &format!("{path}/{setter}")).await.ok();
        assert_eq!(answer[field], value, "{setter}");
    }
    let ttl = server.ask("POST", &format!("{path}/ttl/60")).await.ok();
    assert!(ttl["autoDestroyAt"].is_string());
    for setter in ["autostop/-5", "autostop/x", "public/x", "ttl/-1"] {
        let answer = server.ask("POST", &format!("{path}/{setter}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{setter}");
    }
    let kept = server.ask("GET", &path).await.ok();
    assert_eq!(kept["labels"], json!({"a": "b"}));
    assert_eq!(kept["autoDeleteInterval"], 30);
}

#[tokio::test]
async fn activity_is_noted_with_201_and_the_toolbox_address_is_told() {
    let server = Server::start().await;
    let made = server.create(json!({})).await;
    let path = format!("/api/sandbox/{}", id(&made));
    let noted = server.ask("POST", &format!("{path}/last-activity")).await;
    assert_eq!(noted.status, StatusCode::CREATED);
    let url = server
        .ask("GET", &format!("{path}/toolbox-proxy-url"))
        .await;
    assert_eq!(url.ok(), json!({"url": "http://127.0.0.1:3000/toolbox"}));
}

#[tokio::test]
async fn the_default_snapshot_is_listed_and_found_by_name() {
    let server = Server::start().await;
    let page = server
        .ask("GET", "/api/snapshots?page=1&limit=200")
        .await
        .ok();
    assert_eq!(page["total"], 1);
    assert_eq!(page["items"][0]["name"], "default");
    for field in [
        "size",
        "entrypoint",
        "errorReason",
        "lastUsedAt",
        "sourceSandboxId",
    ] {
        assert!(
            page["items"][0].as_object().unwrap().contains_key(field),
            "{field}"
        );
    }
    let by_name = server.ask("GET", "/api/snapshots/default").await.ok();
    assert_eq!(by_name["state"], "active");
    let id = by_name["id"].as_str().unwrap();
    assert_eq!(
        server
            .ask("GET", &format!("/api/snapshots/{id}"))
            .await
            .ok(),
        by_name
    );
    let missing = server.ask("GET", "/api/snapshots/a%2Fb%3A1").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_configuration_has_every_field_that_old_clients_require() {
    let server = Server::start().await;
    let config = server.ask("GET", "/api/config").await.ok();
    for field in [
        "version",
        "oidc",
        "linkedAccountsEnabled",
        "announcements",
        "proxyTemplateUrl",
        "proxyToolboxUrl",
        "defaultSnapshot",
        "dashboardUrl",
        "maxAutoArchiveInterval",
        "maintananceMode",
        "environment",
    ] {
        assert!(!config[field].is_null(), "{field}");
    }
    assert_eq!(
        config["proxyTemplateUrl"],
        "http://{{PORT}}-{{sandboxId}}.localhost:3000"
    );
    assert!(config.get("analyticsApiUrl").is_none());
    assert_eq!(server.ask("GET", "/api/health").await.ok()["status"], "ok");
    let ready = server.ask("GET", "/api/health/ready").await.ok();
    assert_eq!(ready["details"]["database"]["status"], "up");
}

#[tokio::test]
async fn a_caller_learns_who_it_is_but_not_its_key() {
    let server = Server::start().await;
    let answer = server.ask("GET", "/api/api-keys/current").await;
    assert!(!answer.text.contains(&server.kit.key));
    let key = answer.ok();
    let user = server.ask("GET", "/api/users/me").await.ok();
    let organizations = server.ask("GET", "/api/organizations").await.ok();
    assert_eq!(key["userId"], user["id"]);
    assert_eq!(key["organizationId"], organizations[0]["id"]);
    assert!(key["value"].as_str().unwrap().contains("********"));
    for field in ["lastUsedAt", "expiresAt"] {
        assert!(key.as_object().unwrap().contains_key(field), "{field}");
    }
    for field in [
        "suspendedAt",
        "defaultQueueTimeout",
        "otelConfig",
        "sandboxCreateRateLimit",
    ] {
        assert!(
            organizations[0].as_object().unwrap().contains_key(field),
            "{field}"
        );
    }
    // Generated clients of all ages refuse null here, and those up to 0.120 an organization without sums.
    assert_eq!(organizations[0]["suspended"], false);
    for field in ["suspendedAt", "suspendedUntil"] {
        assert_eq!(organizations[0][field], "1970-01-01T00:00:00.000Z");
    }
    assert_eq!(organizations[0]["suspensionReason"], "");
    assert_eq!(organizations[0]["totalCpuQuota"], 0);
    let id = organizations[0]["id"].as_str().unwrap();
    let path = format!("/api/organizations/{id}/usage");
    let usage = server.ask("GET", &path).await.ok();
    assert_eq!(usage["currentCpuUsage"], 0, "{usage}");
    assert!(usage["totalDiskQuota"].is_u64(), "{usage}");
}

#[tokio::test]
async fn public_is_switched_by_words_of_either_case() {
    let server = Server::start().await;
    server.create(json!({"name": "a"})).await;
    for (word, is_public) in [
        ("True", true),
        ("False", false),
        ("true", true),
        ("0", false),
    ] {
        let path = format!("/api/sandbox/a/public/{word}");
        assert_eq!(server.ask("POST", &path).await.ok()["public"], is_public);
    }
    let refused = server.ask("POST", "/api/sandbox/a/public/yes").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn snapshots_are_found_by_the_sandbox_that_they_were_made_from() {
    let server = Server::start().await;
    let sandbox = server.create(json!({"name": "box"})).await;
    let id = sandbox["id"].as_str().unwrap();
    server
        .put("POST", "/api/sandbox/box/snapshot", json!({"name": "mine"}))
        .await
        .ok();
    let of = async |source: &str| {
        let path = format!("/api/snapshots?sourceSandboxId={source}");
        let page = server.ask("GET", &path).await.ok();
        assert_eq!(
            page["total"],
            page["items"].as_array().unwrap().len(),
            "{page}"
        );
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(id).await, ["mine"]);
    assert!(of("another").await.is_empty());
}
