//! The region and the organization, as command lines ask for them.

use http::StatusCode;

use crate::support::Server;

#[tokio::test]
async fn the_region_is_one_and_the_same_by_every_name() {
    let server = Server::start().await;
    let all = server.ask("GET", "/api/regions").await.ok();
    let region = &all[0];
    assert_eq!(all.as_array().unwrap().len(), 1);
    assert_eq!(region["regionType"], "shared");
    let made = server.create(serde_json::json!({})).await;
    assert_eq!(region["id"], made["target"]);
    for path in ["/api/shared-regions", "/api/sandbox/regions"] {
        assert_eq!(server.ask("GET", path).await.ok(), all, "{path}");
    }
    let path = format!("/api/regions/{}", region["id"].as_str().unwrap());
    assert_eq!(&server.ask("GET", &path).await.ok(), region);
    let missing = server.ask("GET", "/api/regions/elsewhere").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_organization_is_shown_to_its_own_with_its_owner() {
    let server = Server::start().await;
    let listed = server.ask("GET", "/api/organizations").await.ok();
    let id = listed[0]["id"].as_str().unwrap();
    let path = format!("/api/organizations/{id}");
    assert_eq!(server.ask("GET", &path).await.ok(), listed[0]);
    let members = server.ask("GET", &format!("{path}/users")).await.ok();
    let me = server.ask("GET", "/api/users/me").await.ok();
    assert_eq!(members[0]["userId"], me["id"]);
    assert_eq!(members[0]["role"], "owner");
    for tail in ["", "/users"] {
        let other = server
            .ask("GET", &format!("/api/organizations/other{tail}"))
            .await;
        assert_eq!(other.status, StatusCode::NOT_FOUND);
    }
}
