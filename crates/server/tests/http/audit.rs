//! The audit log over HTTP.

use std::time::Duration;

use alcove_domain::{AuditFilter, AuditScope};
use alcove_testkit::{AuditPage, TestStore, eventually};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Answer, Server};

pub async fn ask(server: &Server, key: &str, method: &str, path: &str, body: Value) -> Answer {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {key}"))
        .body(axum::body::Body::from(body.to_string()))
        .unwrap();
    server.send(request).await
}

fn path(server: &Server, query: &str) -> String {
    let org = &server.kit.caller.organization;
    format!("/api/audit/organizations/{org}{query}")
}

/// The log of the administrator's organization, the oldest first.
pub async fn log(server: &Server, query: &str) -> Vec<Value> {
    let mut page = server.ask("GET", &path(server, query)).await.ok();
    let mut items = page["items"].take().as_array().unwrap().clone();
    items.reverse();
    items
}

pub fn texts(items: &[Value], field: &str) -> Vec<String> {
    let text = |item: &Value| match &item[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    items.iter().map(text).collect()
}

#[tokio::test]
async fn what_was_done_is_told_with_who_did_it() {
    let server = Server::start().await;
    let headers = [("user-agent", "test/1"), ("x-daytona-source", "cli")];
    let made = server
        .ask_with("POST", "/api/sandbox", &headers, r#"{"name": "box"}"#)
        .await
        .ok();
    let labelled = server
        .put(
            "PUT",
            "/api/sandbox/box/labels",
            json!({"labels": {"a": "b"}}),
        )
        .await;
    assert_eq!(labelled.status, StatusCode::OK);
    server.ask("GET", "/api/sandbox/box").await.ok();

    let rows = log(&server, "").await;
    assert_eq!(texts(&rows, "action"), ["create", "replace_labels"]);
    let row = &rows[0];
    assert_eq!(row["actorId"], server.kit.caller.user.as_str());
    assert_eq!(row["actorEmail"], "admin@localhost");
    assert_eq!(row["actorApiKeyName"], "bootstrap");
    assert!(
        server
            .kit
            .key
            .starts_with(row["actorApiKeyPrefix"].as_str().unwrap())
    );
    assert!(
        server
            .kit
            .key
            .ends_with(row["actorApiKeySuffix"].as_str().unwrap())
    );
    assert_eq!(row["organizationId"], made["organizationId"]);
    assert_eq!(row["targetType"], "sandbox");
    assert_eq!(row["statusCode"], 200);
    assert_eq!(row["userAgent"], "test/1");
    assert_eq!(row["source"], "cli");
    // By its id, though the second request named it.
    assert_eq!(row["targetId"], made["id"]);
    assert_eq!(rows[1]["targetId"], made["id"]);
}

/// What a list of operations does, and under which path its rows are found.
#[tokio::test]
async fn the_status_that_a_transaction_writes_is_that_of_the_answer() {
    let mut store = TestStore::default();
    store.runner.add_image("tiny", "");
    store.settings.warm_pool_bytes = 1 << 30;
    let server = Server::over(store.open().await);
    let org = server.kit.caller.organization.to_string();
    let orgs = format!("/api/organizations/{org}");
    let mut answered = Vec::new();
    let mut ids: Vec<String> = Vec::new();
    for (method, path, body) in [
        ("POST", "/api/sandbox".to_owned(), json!({"name": "box"})),
        (
            "PUT",
            "/api/sandbox/box/labels".to_owned(),
            json!({"labels": {}}),
        ),
        ("POST", "/api/sandbox/box/autostop/7".to_owned(), json!({})),
        ("POST", "/api/sandbox/box/public/true".to_owned(), json!({})),
        ("POST", "/api/sandbox/box/stop".to_owned(), json!({})),
        ("POST", "/api/sandbox/box/start".to_owned(), json!({})),
        (
            "POST",
            "/api/sandbox/box/fork".to_owned(),
            json!({"name": "child"}),
        ),
        ("DELETE", "/api/sandbox/box".to_owned(), json!({})),
        ("POST", "/api/volumes".to_owned(), json!({"name": "v"})),
        (
            "POST",
            "/api/snapshots".to_owned(),
            json!({"name": "s", "imageName": "tiny:1"}),
        ),
        (
            "POST",
            "/api/api-keys".to_owned(),
            json!({"name": "ci", "permissions": []}),
        ),
        ("DELETE", "/api/api-keys/ci".to_owned(), json!({})),
        (
            "POST",
            "/api/warm-pools".to_owned(),
            json!({"snapshot": "default", "pool": 1}),
        ),
        ("DELETE", "/api/warm-pools/{}".to_owned(), json!({})),
        (
            "POST",
            "/api/docker-registry".to_owned(),
            json!({"name": "r", "url": "a.com", "username": "u", "password": "p"}),
        ),
        ("DELETE", "/api/docker-registry/{}".to_owned(), json!({})),
        (
            "POST",
            format!("{orgs}/roles"),
            json!({"name": "x", "description": "d", "permissions": ["write:volumes"]}),
        ),
        ("DELETE", format!("{orgs}/roles/{{}}"), json!({})),
        (
            "POST",
            "/api/admin/users".to_owned(),
            json!({"id": "u", "name": "u"}),
        ),
        (
            "PATCH",
            format!("/api/admin/organizations/{org}/quota/us"),
            json!({"totalCpuQuota": 9, "totalMemoryQuota": 9, "totalDiskQuota": 9, "totalGpuQuota": 0}),
        ),
    ] {
        let path = path.replace("{}", ids.last().map_or("", |id| id));
        let answer = server.put(method, &path, body).await;
        assert!(
            answer.status.is_success(),
            "{method} {path} {}",
            answer.text
        );
        if let Ok(Value::Object(made)) = serde_json::from_str(&answer.text)
            && let Some(id) = made.get("id").and_then(Value::as_str)
        {
            ids.push(id.to_owned());
        }
        answered.push((format!("{method} {path}"), answer.status.as_u16()));
    }
    // Read past the control plane: nothing that still waits to be written counts.
    let page = AuditPage::After {
        sequence: 0,
        limit: 1000,
    };
    let rows = server.kit.store.reader();
    let rows = rows
        .audit_list(&AuditScope::All, &AuditFilter::default(), page)
        .await
        .unwrap();
    let rows: Vec<_> = rows.into_iter().map(|row| row.entry).collect();
    let written: Vec<_> = rows.iter().map(|row| row.status.unwrap()).collect();
    let expected: Vec<_> = answered.iter().map(|(_, status)| *status).collect();
    assert_eq!(written, expected, "{answered:#?} {rows:#?}");
    for (row, (asked, _)) in rows.iter().zip(&answered) {
        assert_eq!(row.organization.as_ref().unwrap().as_str(), org, "{asked}");
        let target = row.target_id.as_deref().unwrap_or_default();
        assert!(!target.is_empty() && target != "box", "{asked} {row:?}");
    }
}

#[tokio::test]
async fn what_was_refused_is_told_with_its_reason_in_the_log_of_who_asked() {
    let server = Server::start().await;
    let (ann, theirs) = server.kit.add_stranger("ann").await;
    server.create(json!({"name": "box"})).await;
    let before = log(&server, "").await.len();
    let mine = format!("/api/organizations/{}", server.kit.caller.organization);
    for (method, path) in [("DELETE", "/api/sandbox/box".to_owned()), ("DELETE", mine)] {
        let refused = ask(&server, &theirs, method, &path, json!({})).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(log(&server, "").await.len(), before);
    let path = format!("/api/audit/organizations/{}", ann.organization);
    let page = ask(&server, &theirs, "GET", &path, json!({})).await.ok();
    assert_eq!(page["total"], 2);
    let row = &page["items"][1];
    assert_eq!(
        (&row["action"], &row["statusCode"]),
        (&json!("delete"), &json!(404))
    );
    assert_eq!(row["targetId"], "box");
    assert_eq!(row["actorEmail"], "ann@example.com");
    assert_eq!(row["errorMessage"], "Sandbox with ID or name box not found");
    // Nobody who is not let in fills it.
    let refused = ask(&server, "wrong", "DELETE", "/api/sandbox/box", json!({})).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let all = server
        .ask("GET", "/api/admin/audit?statusCode[eq]=401")
        .await;
    assert_eq!(all.ok()["total"], 0);
    let wrong = json!({"username": "admin@localhost", "password": "nobody's password"});
    let refused = server.put("POST", "/api/auth/sign-in", wrong).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let all = server
        .ask("GET", "/api/admin/audit?statusCode[eq]=401")
        .await
        .ok();
    assert_eq!(texts(all["items"].as_array().unwrap(), "action"), ["login"]);
    assert!(all["items"][0].get("organizationId").is_none());
    assert!(!all.to_string().contains("nobody's"));
}

#[tokio::test]
async fn a_log_is_for_who_may_read_it() {
    let server = Server::start().await;
    server.create(json!({"name": "box"})).await;
    let (_, stranger) = server.kit.add_stranger("ann").await;
    let auditor = server.kit.add_member("aud", &[7]).await;
    let developer = server.kit.add_member("dev", &[1]).await;
    let key_of =
        |caller: &alcove_control::Caller| format!("dtn_{}_{}", caller.user, caller.organization);
    for tail in ["", "/export"] {
        let path = path(&server, tail);
        for (key, status) in [
            (stranger.clone(), StatusCode::NOT_FOUND),
            (key_of(&developer), StatusCode::FORBIDDEN),
            (key_of(&auditor), StatusCode::OK),
        ] {
            let answer = ask(&server, &key, "GET", &path, json!({})).await;
            assert_eq!(answer.status, status, "{path} {}", answer.text);
        }
    }
    for path in ["/api/audit", "/api/admin/audit", "/api/admin/audit/export"] {
        let answer = ask(&server, &key_of(&auditor), "GET", path, json!({})).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        let answer = server.ask("GET", path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn filters_and_pages_give_what_they_say() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server.create(json!({"name": name})).await;
        server.kit.clock.advance_minutes(1);
    }
    for (name, status) in [("a", StatusCode::OK), ("none", StatusCode::NOT_FOUND)] {
        let answer = server
            .ask("POST", &format!("/api/sandbox/{name}/stop"))
            .await;
        assert_eq!(answer.status, status);
    }
    let all = log(&server, "").await;
    assert_eq!(
        texts(&all, "action"),
        ["create", "create", "create", "stop", "stop"]
    );
    let second = all[1]["createdAt"].as_str().unwrap();
    let id = all[1]["targetId"].as_str().unwrap();
    for (query, count) in [
        ("action=stop".to_owned(), 2),
        ("action[eq]=stop".to_owned(), 2),
        ("action[not]=stop".to_owned(), 3),
        ("action[in]=stop,delete".to_owned(), 2),
        ("action[in]=stop&action[in]=create".to_owned(), 5),
        ("action[notIn]=stop,create".to_owned(), 0),
        ("statusCode[gte]=400".to_owned(), 1),
        ("statusCode[in]=200".to_owned(), 4),
        ("statusCode[lt]=400&action=stop".to_owned(), 1),
        (format!("targetId[eq]={id}"), 1),
        ("targetType[eq]=volume".to_owned(), 0),
        ("actorEmail[eq]=admin@localhost".to_owned(), 5),
        (format!("createdAt[gte]={second}"), 4),
        (format!("createdAt[gt]={second}"), 3),
        (format!("createdAt[lt]={second}"), 1),
        (format!("from={second}&to={second}"), 1),
        (format!("from={second}&createdAt[gt]={second}"), 3),
    ] {
        assert_eq!(
            log(&server, &format!("?{query}")).await.len(),
            count,
            "{query}"
        );
        let export = server
            .ask("GET", &path(&server, &format!("/export?{query}")))
            .await;
        assert_eq!(export.text.lines().count(), count, "{query}");
    }
    for query in [
        "action[gte]=a",
        "createdAt[eq]=2026-01-01T00:00:00Z",
        "createdAt[lt]=yesterday",
        "statusCode[eq]=x",
        "statusCode[in]=x",
        "limit=0",
        "limit=201",
        "page=0",
        "nextToken=x",
    ] {
        let answer = server
            .ask("GET", &path(&server, &format!("?{query}")))
            .await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{query} {}",
            answer.text
        );
    }

    let second_page = server
        .ask("GET", &path(&server, "?limit=2&page=2"))
        .await
        .ok();
    assert_eq!(
        (&second_page["total"], &second_page["totalPages"]),
        (&json!(5), &json!(3))
    );
    assert_eq!(second_page["page"], 2);
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = server.ask("GET", &path(&server, &query)).await.ok();
        seen.extend(page["items"].as_array().unwrap().clone());
        let Some(token) = page["nextToken"].as_str() else {
            break;
        };
        query = format!("?limit=2&nextToken={token}");
        // The token belongs to its question.
        let other = server
            .ask("GET", &path(&server, &format!("{query}&action=stop")))
            .await;
        assert_eq!(other.status, StatusCode::BAD_REQUEST);
        server.create(json!({})).await;
    }
    seen.reverse();
    assert_eq!(seen, all);
}

#[tokio::test]
async fn an_export_has_every_row_with_its_place_in_the_chain_and_no_secret() {
    let server = Server::start().await;
    server
        .create(json!({"name": "box", "env": {"TOKEN": "s3cret-of-env"}}))
        .await;
    let registry =
        json!({"name": "r", "url": "a.com", "username": "u", "password": "s3cret-of-registry"});
    let made = server.put("POST", "/api/docker-registry", registry).await;
    assert!(made.status.is_success(), "{}", made.text);
    let key = json!({"name": "ci", "permissions": []});
    let key = server.put("POST", "/api/api-keys", key).await;
    let key = key.json()["value"].as_str().unwrap().to_owned();
    let export = server.ask("GET", &path(&server, "/export")).await;
    assert_eq!(export.headers["content-type"], "application/x-ndjson");
    for secret in ["s3cret", key.as_str(), server.kit.key.as_str()] {
        assert!(!export.text.contains(secret), "{secret} {}", export.text);
    }
    let lines: Vec<Value> = export
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(texts(&lines, "number"), ["1", "2", "3"]);
    assert_eq!(lines[0]["previousHash"], "0".repeat(64));
    assert_eq!(lines[1]["previousHash"], lines[0]["hash"]);
    assert_eq!(lines[2]["previousHash"], lines[1]["hash"]);
    assert_eq!(texts(&lines, "id"), texts(&log(&server, "").await, "id"));
    let checked = server.kit.store.reader().audit_verify().await.unwrap();
    let checked = checked.unwrap();
    assert_eq!(checked[0].last.1, lines[2]["hash"].as_str().unwrap());
}

#[tokio::test]
async fn an_acknowledged_change_has_its_row_after_a_kill() {
    let server = Server::start().await;
    let org = server.kit.caller.organization.clone();
    let made = server.create(json!({"name": "box"})).await;
    // Nothing that still waits is written any more.
    server.kit.control.abandon().await;
    let page = AuditPage::After {
        sequence: 0,
        limit: 9,
    };
    let scope = AuditScope::Target(org, made["id"].as_str().unwrap().to_owned());
    let rows = server.kit.store.reader();
    let rows = rows.audit_list(&scope, &AuditFilter::default(), page).await;
    let rows = rows.unwrap();
    assert_eq!((rows.len(), rows[0].entry.status), (1, Some(200)));
}

#[tokio::test]
async fn an_administrator_writes_a_row_by_hand_and_is_named_in_it() {
    let server = Server::start().await;
    let org = server.kit.caller.organization.to_string();
    let body =
        json!({"actorId": "x", "actorEmail": "x@y", "organizationId": org, "action": "login"});
    let made = server.put("POST", "/api/audit", body.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    assert_eq!(
        made["metadata"]["writtenBy"],
        server.kit.caller.user.as_str()
    );
    assert_eq!(log(&server, "").await, [made]);
    let (_, ann) = server.kit.add_stranger("ann").await;
    let refused = ask(&server, &ann, "POST", "/api/audit", body).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let body =
        json!({"actorId": "x", "actorEmail": "x@y", "organizationId": "none", "action": "login"});
    let refused = server.put("POST", "/api/audit", body).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_written_down_is_listed_by_what_it_is_about() {
    let server = Server::start().await;
    let listed = server.ask("GET", "/api/audit/scenarios").await.ok();
    let targets = listed["targets"].as_array().unwrap();
    let volume = targets.iter().find(|it| it["targetType"] == "volume");
    let wanted = json!(["create", "delete", "fork"]);
    assert_eq!(volume.unwrap()["actions"], wanted);
}

#[tokio::test]
async fn rows_go_when_they_are_too_old_and_the_rest_still_holds() {
    let mut store = TestStore::default();
    store.settings.audit.kept = Some(Duration::from_hours(1));
    let server = Server::over(store.open().await);
    for name in ["a", "b"] {
        server.create(json!({"name": name})).await;
        server.kit.clock.advance_minutes(40);
    }
    server.kit.clock.advance_minutes(10);
    eventually("the first row is gone", async || {
        log(&server, "").await.len() == 1
    })
    .await;
    let checked = server.kit.store.reader().audit_verify().await.unwrap();
    assert_eq!(checked.unwrap()[0].last.0, 2);
}
