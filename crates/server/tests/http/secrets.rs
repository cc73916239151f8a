//! Secrets over HTTP.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::support::Server;

const PATH: &str = "/api/secret";

async fn create(server: &Server, body: Value) -> Value {
    let answer = server.put("POST", PATH, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert!(!answer.text.contains("hush"), "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn a_secret_is_kept_found_changed_and_removed_and_its_value_never_told() {
    let server = Server::start().await;
    let body = json!({"name": "api-key", "value": "hush hush", "description": "of a service",
        "hosts": ["API.example.com", "*.example.com"]});
    let made = create(&server, body.clone()).await;
    let id = made["id"].as_str().unwrap();
    let placeholder = made["placeholder"].as_str().unwrap();
    assert!(placeholder.starts_with("dtn_secret_"), "{placeholder}");
    assert_eq!(
        made,
        json!({
            "id": id, "name": "api-key", "description": "of a service", "placeholder": placeholder,
            "hosts": ["api.example.com", "*.example.com"],
            "createdAt": made["createdAt"], "updatedAt": made["updatedAt"],
        })
    );
    let one = format!("{PATH}/{id}");
    assert_eq!(server.ask("GET", &one).await.ok(), made);
    assert_eq!(server.ask("GET", PATH).await.ok(), json!([made]));
    let taken = server.put("POST", PATH, body).await;
    assert_eq!(taken.status, StatusCode::CONFLICT, "{}", taken.text);

    server.kit.clock.advance_minutes(1);
    let changed = server
        .put("PATCH", &one, json!({"value": "hush again"}))
        .await;
    assert!(!changed.text.contains("hush"), "{}", changed.text);
    let changed = changed.ok();
    assert_eq!(changed["hosts"], made["hosts"]);
    assert_eq!(changed["placeholder"], placeholder);
    assert_ne!(changed["updatedAt"], made["updatedAt"]);
    let cleared = json!({"description": "", "hosts": []});
    let cleared = server.put("PATCH", &one, cleared).await.ok();
    assert_eq!(cleared["hosts"], json!([]));
    assert!(cleared.get("description").is_none(), "{cleared}");

    let gone = server.ask("DELETE", &one).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let again = server.ask("DELETE", &one).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    assert_eq!(server.ask("GET", PATH).await.ok(), json!([]));
}

#[tokio::test]
async fn what_is_wrong_with_a_secret_is_said_without_its_value() {
    let server = Server::start().await;
    let wrong = json!({"name": "1", "value": "hush\u{0}", "hosts": ["a.com:443"]});
    let refused = server.put("POST", PATH, wrong).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(!refused.text.contains("hush"), "{}", refused.text);
    let reasons = refused.json()["message"].to_string();
    for word in ["name must", "value must", "hosts does not take"] {
        assert!(reasons.contains(word), "{reasons}");
    }
    let odd = server
        .put("POST", PATH, json!({"name": "a", "value": ["hush"]}))
        .await;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST);
    assert!(!odd.text.contains("hush"), "{}", odd.text);
}

#[tokio::test]
async fn secrets_are_read_page_by_page() {
    let server = Server::start().await;
    for name in ["b", "ab", "c", "a"] {
        create(&server, json!({"name": name, "value": "hush"})).await;
        server.kit.clock.advance_minutes(1);
    }
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("{PATH}/paginated?limit=2&sort=name&order=asc&cursor={cursor}");
        let page = server.ask("GET", &path).await.ok();
        assert_eq!(page["total"], 4);
        for item in page["items"].as_array().unwrap() {
            names.push(item["name"].as_str().unwrap().to_owned());
        }
        match page["nextCursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(names, ["a", "ab", "b", "c"]);
    let newest = server.ask("GET", &format!("{PATH}/paginated")).await.ok();
    assert_eq!(newest["items"][0]["name"], "a");
    assert_eq!(newest["nextCursor"], Value::Null);
    let filtered = format!("{PATH}/paginated?name=b");
    assert_eq!(server.ask("GET", &filtered).await.ok()["total"], 2);
    for query in [
        "limit=0",
        "limit=201",
        "sort=value",
        "order=up",
        "cursor=x",
        &format!("sort=createdAt&cursor={cursor}"),
    ] {
        let path = format!("{PATH}/paginated?{query}");
        let refused = server.ask("GET", &path).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn only_who_may_manage_secrets_changes_them_and_nobody_sees_those_of_others() {
    let server = Server::start().await;
    let made = create(&server, json!({"name": "a", "value": "hush"})).await;
    let one = format!("{PATH}/{}", made["id"].as_str().unwrap());
    let body = json!({"name": "little", "permissions": ["write:sandboxes"]});
    let key = server.put("POST", "/api/api-keys", body).await.json();
    let bearer = format!("Bearer {}", key["value"].as_str().unwrap());
    let ask = async |method: &str, path: &str, body: &str| {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", bearer.as_str());
        let body = Body::from(body.to_owned());
        server.send(request.body(body).unwrap()).await
    };
    let read = ask("GET", &one, "").await;
    assert_eq!(read.status, StatusCode::OK, "{}", read.text);
    for (method, path, body) in [
        ("POST", PATH, r#"{"name": "b", "value": "x"}"#),
        ("PATCH", &one, r#"{"value": "x"}"#),
        ("DELETE", &one, ""),
    ] {
        let refused = ask(method, path, body).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{method}");
    }
}

#[tokio::test]
async fn a_sandbox_is_given_no_secret_and_says_so() {
    let server = Server::start().await;
    create(&server, json!({"name": "a", "value": "hush"})).await;
    server.create(json!({"name": "box"})).await;
    let path = "/api/sandbox/box/secrets";
    let none = server.put("PUT", path, json!({"secrets": []})).await.ok();
    assert_eq!(none["name"], "box");
    let refused = server
        .put("PUT", path, json!({"secrets": [{"KEY": "a"}]}))
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let body = json!({"name": "other", "secrets": [{"KEY": "a"}]});
    let refused = server.put("POST", "/api/sandbox", body).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(server.ask("GET", path).await.ok(), json!([]));
    let missing = server.ask("GET", "/api/sandbox/nobody/secrets").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_value_is_not_to_be_found_in_the_database() {
    let server = Server::start().await;
    let made = create(&server, json!({"name": "a", "value": "hush hush hush"})).await;
    let id = made["id"].as_str().unwrap().parse().unwrap();
    let reader = server.kit.store.reader();
    let org = &server.kit.caller.organization;
    let kept = reader.vault_secret_find(org, &id).await.unwrap().unwrap();
    let plain = b"hush";
    assert!(!kept.value.windows(plain.len()).any(|part| part == plain));
    assert!(kept.value.len() > 14);
    // The same value is not seen to be the same.
    let one = format!("{PATH}/{id}");
    server
        .put("PATCH", &one, json!({"value": "hush hush hush"}))
        .await
        .ok();
    let anew = reader.vault_secret_find(org, &id).await.unwrap().unwrap();
    assert_ne!(anew.value, kept.value);
}
