//! Volumes over HTTP.

use http::StatusCode;
use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn a_volume_has_the_shape_that_clients_read() {
    let server = Server::start().await;
    let volume = server
        .put("POST", "/api/volumes", json!({"name": "data"}))
        .await
        .ok();
    let org = server.kit.caller.organization.as_str();
    assert_eq!(volume["name"], "data");
    assert_eq!(volume["organizationId"], org);
    assert_eq!(volume["state"], "ready");
    for field in ["errorReason", "lastUsedAt"] {
        assert!(
            volume.get(field).is_some_and(serde_json::Value::is_null),
            "{field}"
        );
    }
    for field in ["createdAt", "updatedAt"] {
        assert!(volume[field].as_str().unwrap().ends_with('Z'), "{field}");
    }
    let id = volume["id"].as_str().unwrap();
    for path in [
        format!("/api/volumes/{id}"),
        "/api/volumes/by-name/data".to_owned(),
    ] {
        assert_eq!(server.ask("GET", &path).await.ok(), volume);
    }
    assert_eq!(
        server.ask("GET", "/api/volumes").await.ok(),
        json!([volume])
    );

    let mounts = json!([{"volumeId": "data", "mountPath": "/data", "subpath": "a"}, {"volumeId": id, "mountPath": "/b"}]);
    let sandbox = server
        .create(json!({"name": "box", "volumes": mounts}))
        .await;
    let shown = json!([{"volumeId": id, "mountPath": "/data", "subpath": "a"}, {"volumeId": id, "mountPath": "/b"}]);
    assert_eq!(sandbox["volumes"], shown);
    let used = server.ask("GET", &format!("/api/volumes/{id}")).await.ok();
    assert!(used["lastUsedAt"].is_string(), "{used}");
    let refused = server.ask("DELETE", &format!("/api/volumes/{id}")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(refused.json()["code"], "VOLUME_IN_USE");

    let older = json!({"id": "older", "volumes": [{"volumeId": id, "mountPath": "/data"}]});
    let workspace = server.put("POST", "/api/workspace", older).await.ok();
    assert_eq!(workspace["volumes"][0]["volumeId"], id, "{workspace}");
}

#[tokio::test]
async fn a_deleted_volume_is_listed_only_where_that_is_asked_for() {
    let server = Server::start().await;
    let volume = server.put("POST", "/api/volumes", json!({})).await.ok();
    assert_eq!(
        volume["name"], volume["id"],
        "the name is the id by default"
    );
    let path = format!("/api/volumes/{}", volume["id"].as_str().unwrap());
    let deleted = server.ask("DELETE", &path).await;
    assert_eq!(
        (deleted.status, deleted.text.as_str()),
        (StatusCode::OK, "")
    );
    assert_eq!(server.ask("GET", "/api/volumes").await.ok(), json!([]));
    let all = server
        .ask("GET", "/api/volumes?includeDeleted=true")
        .await
        .ok();
    assert_eq!(all[0]["state"], "deleted");
    let again = server.ask("DELETE", &path).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    let odd = server
        .ask("GET", "/api/volumes?includeDeleted=perhaps")
        .await;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_name_that_is_taken_is_400_and_one_mount_is_told_by_its_path() {
    let server = Server::start().await;
    let make = async || {
        server
            .put("POST", "/api/volumes", json!({"name": "data"}))
            .await
    };
    make().await.ok();
    let taken = make().await;
    assert_eq!(taken.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        taken.json()["message"],
        "Volume with name data already exists"
    );
    for (mount, words) in [
        (json!({"volumeId": "data", "mountPath": "/etc/x"}), "/etc/x"),
        (
            json!({"volumeId": "data", "mountPath": "/x", "subpath": "../y"}),
            "../y",
        ),
        (json!({"volumeId": "data"}), "volumes must be an array"),
    ] {
        let refused = server
            .put("POST", "/api/sandbox", json!({"volumes": [mount]}))
            .await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
        let body = refused.json();
        assert!(body["message"].as_str().unwrap().contains(words), "{body}");
    }
}

#[tokio::test]
async fn a_volume_that_was_not_used_says_so_but_to_clients_who_read_no_null_there() {
    let server = Server::start().await;
    server
        .put("POST", "/api/volumes", json!({"name": "a"}))
        .await
        .ok();
    let ask = async |agent: &str| {
        let headers = [("user-agent", agent)];
        let one = server
            .ask_with("GET", "/api/volumes/by-name/a", &headers, "")
            .await
            .ok();
        let all = server
            .ask_with("GET", "/api/volumes", &headers, "")
            .await
            .ok();
        assert_eq!(all[0], one);
        one
    };
    let older = ask("OpenAPI-Generator/0.0.0-dev/python").await;
    assert_eq!(older["lastUsedAt"], older["createdAt"]);
    let newer = ask("api-client-python/0.190.0").await;
    assert!(newer["lastUsedAt"].is_null());
}
