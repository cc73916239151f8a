//! Who may call what. Goes through the list of all routes, so that none can be forgotten.

use alcove_server::{Access, Route, all_routes};
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;

use crate::support::Server;

/// A path that fits the route.
fn example(route: &Route, sandbox: &str) -> String {
    route
        .path
        .replace("{sandboxIdOrName}", sandbox)
        .replace("{workspaceId}", sandbox)
        .replace("{sandboxId}", sandbox)
        .replace("{workId}", sandbox)
        .replace("{provider}", sandbox)
        .replace("{providerUserId}", sandbox)
        .replace("{organizationId}", sandbox)
        .replace("{regionId}", "us")
        .replace("{sandboxClass}", "container")
        .replace("{userId}", sandbox)
        .replace("{roleId}", sandbox)
        .replace("{invitationId}", sandbox)
        .replace("{id}", sandbox)
        .replace("{endpointId}", sandbox)
        .replace("{messageId}", sandbox)
        .replace("{volumeId}", sandbox)
        .replace("{traceId}", sandbox)
        .replace("{secretId}", sandbox)
        .replace("{credentialId}", sandbox)
        .replace("{authToken}", "some-token")
        .replace("{userCode}", "BBBBBBBB")
        .replace("{jobId}", sandbox)
        .replace("{name}", sandbox)
        .replace("{isPublic}", "true")
        .replace("{port}", "2280")
        .replace("{token}", "some-token")
        // The one number that every setter takes: refusals of others come before the look-up.
        .replace("{interval}", "0")
        .replace("{ttlMinutes}", "5")
}

/// What every operation that has a body finds its required fields in.
const BODY: &str = r#"{"labels": {}, "name": "x", "snapshot": "x", "pool": 1, "url": "a.com", "username": "x", "sandboxClass": "container", "sandboxDefaultLimitedNetworkEgress": true, "totalCpuQuota": 1,
    "totalMemoryQuota": 1, "totalDiskQuota": 1, "totalGpuQuota": 1, "permissions": [], "description": "", "role": "member", "assignedRoleIds": [],
    "email": "a@b", "defaultRegionId": "us", "id": "x", "password": "none of anybody's", "token": "x",
    "currentPassword": "x", "code": "x", "newPassword": "none of anybody's", "eventType": "x", "client_id": "x", "userCode": "x", "approve": true, "endpoint": "https://a.com", "defaultQueueTimeout": null, "payload": {}, "value": "x", "secrets": [],
    "regionId": "x", "unschedulable": true, "draining": true, "apiKey": "none of anybody's", "apiVersion": "2", "appVersion": "x", "status": "FAILED", "state": "started",
    "buildInfo": {"dockerfileContent": "FROM x"}, "enabled": true, "actorId": "x", "actorEmail": "x", "action": "x", "general": true, "provider": "x", "userId": "x", "issuerUrl": "https://a.com", "intent": "sso", "emailDomains": ["a.com"],
    "oidcConfig": {"issuerUrl": "https://a.com", "clientId": "x", "clientSecret": "x"}}"#;

fn request(route: &Route, authorization: Option<&str>) -> Request<Body> {
    let mut request = Request::builder()
        .method(route.method.to_uppercase().as_str())
        .uri(example(route, "some-sandbox"));
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    request.body(Body::from(BODY)).unwrap()
}

#[tokio::test]
async fn no_route_but_the_public_ones_answers_without_a_valid_key() {
    let server = Server::start().await;
    for route in all_routes() {
        for authorization in [
            None,
            Some("Bearer wrong"),
            Some("Bearer "),
            Some("Basic abc"),
            Some(server.kit.key.as_str()),
        ] {
            let answer = server.send(request(route, authorization)).await;
            match route.access {
                Access::Public => assert_eq!(answer.status, StatusCode::OK, "{route:?}"),
                // What is in the body is nobody's; a key beside it changes nothing.
                Access::Grant => assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{route:?}"),
                Access::Body => assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{route:?}"),
                Access::Key | Access::Service | Access::Runner | Access::Proxy => {
                    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{route:?}");
                    assert_eq!(answer.headers["www-authenticate"], "Bearer");
                    assert_eq!(answer.json()["message"], "Invalid credentials");
                }
            }
        }
    }
}

#[tokio::test]
async fn every_route_of_a_sandbox_says_not_found_for_one_that_is_not_ones_own() {
    let server = Server::start().await;
    let named = all_routes().filter(|route| route.path.contains('{'));
    // These ask for a program, for a machine, and for a person.
    let of_people = |path: &str| {
        path == "/api/auth/device/{userCode}" || path.contains("/me/pending-sso-links/")
    };
    let of_keys = named.filter(|route| route.access == Access::Key && !of_people(route.path));
    for route in of_keys {
        let key = format!("Bearer {}", server.kit.key);
        let answer = server.send(request(route, Some(&key))).await;
        assert_eq!(
            answer.status,
            StatusCode::NOT_FOUND,
            "{route:?} {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn the_organization_header_does_not_lead_a_key_elsewhere() {
    let server = Server::start().await;
    let sandbox = server.create(json!({})).await;
    let path = format!("/api/sandbox/{}", sandbox["id"].as_str().unwrap());
    let answer = server
        .ask_with("GET", &path, &[("x-daytona-organization-id", "other")], "")
        .await;
    assert_eq!(answer.ok()["organizationId"], sandbox["organizationId"]);
}
