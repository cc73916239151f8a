//! Credentials of programs that serve the platform.

use std::time::Duration;

use alcove_testkit::TestControl;
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Server};

const PATH: &str = "/api/admin/service-credentials";
const ROLES: [&str; 4] = ["ssh-gateway", "proxy", "otel-collector", "health-check"];

async fn make(server: &Server, body: Value) -> Value {
    let made = server.put("POST", PATH, body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    made.json()
}

/// A credential of a role, as its text.
pub async fn credential(server: &Server, role: &str) -> String {
    let made = make(server, json!({ "role": role })).await;
    made["value"].as_str().unwrap().to_owned()
}

pub async fn ask_as(server: &Server, text: &str, method: &str, path: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {text}"));
    server.send(request.body(Body::empty()).unwrap()).await
}

async fn is_good(server: &Server, text: &str) -> bool {
    let path = "/api/sandbox/ssh-access/validate?token=x";
    let answer = ask_as(server, text, "GET", path).await;
    assert!(answer.status == StatusCode::OK || answer.status == StatusCode::UNAUTHORIZED);
    answer.status == StatusCode::OK
}

#[tokio::test]
async fn a_new_credential_takes_the_place_of_the_one_before_which_is_good_for_a_while() {
    let server = Server::start().await;
    let role = "ssh-gateway";
    let first = credential(&server, role).await;
    assert!(first.starts_with("alcove_ssh_gateway_"), "{first}");
    let body = json!({"role": role, "previousEndsInSeconds": 60});
    let second = make(&server, body.clone()).await;
    let second = second["value"].as_str().unwrap();
    assert!(is_good(&server, &first).await && is_good(&server, second).await);
    // A third ends the first at once: two are good, and no more.
    let third = make(&server, body).await;
    let third = third["value"].as_str().unwrap();
    assert!(!is_good(&server, &first).await);
    assert!(is_good(&server, second).await && is_good(&server, third).await);
    server.kit.clock.advance(Duration::from_mins(1));
    assert!(!is_good(&server, second).await);
    assert!(is_good(&server, third).await);
    // One whose text came into the wrong hands leaves nothing behind.
    let body = json!({"role": role, "previousEndsInSeconds": 0});
    let fourth = make(&server, body).await;
    assert!(!is_good(&server, third).await);
    let list = server.ask("GET", PATH).await.ok();
    let [only] = list.as_array().unwrap().as_slice() else {
        panic!("{list}");
    };
    assert_eq!(only["id"], fourth["id"]);
    let (shown, whole) = (only["value"].as_str().unwrap(), &fourth["value"]);
    assert_eq!(shown.len(), "alcove_ssh_gateway_".len() + 23);
    assert_ne!(only["value"], *whole);
    assert_eq!(only["lastUsedAt"], Value::Null);
    assert!(is_good(&server, whole.as_str().unwrap()).await);
    let list = server.ask("GET", PATH).await.ok();
    assert!(list[0]["lastUsedAt"].is_string(), "{list}");
    let path = format!("{PATH}/{}", fourth["id"].as_str().unwrap());
    let ended = server.ask("DELETE", &path).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert!(!is_good(&server, whole.as_str().unwrap()).await);
    let again = server.ask("DELETE", &path).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_credential_is_known_after_a_restart_and_kept_nowhere() {
    let kit = TestControl::open().await;
    let made = kit
        .control
        .create_service_credential(&kit.caller, "proxy", None);
    let text = made.await.unwrap().text;
    let reader = kit.store.reader();
    let kept = format!("{:?}", reader.service_credential_list().await.unwrap());
    assert!(kept.contains("ServiceCredentialHash(..)") && !kept.contains(&text));
    let kit = kit.restart().await;
    let role = kit.control.authenticate_service(&text).unwrap();
    assert_eq!(role.as_str(), "proxy");
}

#[tokio::test]
async fn each_role_opens_what_it_is_for_and_nothing_else() {
    let server = Server::start().await;
    let sandbox = server.create(json!({})).await;
    let id = sandbox["id"].as_str().unwrap();
    let activity = format!("/api/sandbox/{id}/last-activity");
    for role in ROLES {
        let text = credential(&server, role).await;
        let may = |roles: &[&str], status| {
            if roles.contains(&role) {
                status
            } else {
                StatusCode::FORBIDDEN
            }
        };
        let asked = ask_as(&server, &text, "POST", &activity).await;
        let expected = may(&["ssh-gateway", "proxy"], StatusCode::CREATED);
        assert_eq!(asked.status, expected, "{role}: {}", asked.text);
        let path = "/api/sandbox/ssh-access/validate?token=x";
        let asked = ask_as(&server, &text, "GET", path).await;
        assert_eq!(
            asked.status,
            may(&["ssh-gateway"], StatusCode::OK),
            "{role}"
        );
        let asked = ask_as(&server, &text, "GET", "/api/health/ready")
            .await
            .ok();
        assert_eq!(
            asked["server"].is_object(),
            role == "health-check",
            "{asked}"
        );
        // People's operations know no programs.
        for path in ["/api/sandbox", "/api/users/me", "/api/metrics", PATH] {
            let asked = ask_as(&server, &text, "GET", path).await;
            assert_eq!(asked.status, StatusCode::UNAUTHORIZED, "{role} {path}");
        }
    }
    let text = credential(&server, "proxy").await;
    let path = "/api/sandbox/none/last-activity";
    let asked = ask_as(&server, &text, "POST", path).await;
    assert_eq!(asked.status, StatusCode::NOT_FOUND);
    let health = credential(&server, "health-check").await;
    let ready = ask_as(&server, &health, "GET", "/api/health/ready").await;
    assert_eq!(ready.ok()["server"]["sandboxes"]["started"], 1);
}

#[tokio::test]
async fn an_ssh_gateway_is_told_of_tokens_of_all_organizations() {
    let server = Server::start().await;
    let (_, stranger) = server.kit.add_stranger("sven").await;
    let made = ask_as(&server, &stranger, "POST", "/api/sandbox")
        .await
        .ok();
    let path = format!("/api/sandbox/{}/ssh-access", made["id"].as_str().unwrap());
    let access = ask_as(&server, &stranger, "POST", &path).await;
    let token = access.json()["token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let path = format!("/api/sandbox/ssh-access/validate?token={token}");
    assert_eq!(server.ask("GET", &path).await.ok()["valid"], false);
    let text = credential(&server, "ssh-gateway").await;
    let told = ask_as(&server, &text, "GET", &path).await.ok();
    assert_eq!(told["sandboxId"], made["id"]);
}

#[tokio::test]
async fn what_cannot_be_a_credential_is_refused() {
    let server = Server::start().await;
    for body in [
        json!({"role": "runner"}),
        json!({}),
        json!({"role": "proxy", "previousEndsInSeconds": -1}),
        json!({"role": "proxy", "previousEndsInSeconds": 2_592_001}),
    ] {
        let made = server.put("POST", PATH, body.clone()).await;
        assert_eq!(made.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let good = credential(&server, "proxy").await;
    for text in [
        "alcove_proxy_",
        "alcove_proxy_00",
        &format!("{good}0"),
        // The right bytes with another role's beginning.
        &good.replace("proxy", "health_check"),
    ] {
        let path = "/api/sandbox/x/last-activity";
        let asked = ask_as(&server, text, "POST", path).await;
        assert_eq!(asked.status, StatusCode::UNAUTHORIZED, "{text}");
    }
}
