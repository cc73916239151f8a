//! Object storage and registry, as the API hands out what leads there.

use std::sync::Arc;

use alcove_control::Control;
use alcove_server::{ObjectStorage, Options};
use alcove_storage::registry::{Door, Registry, Visitor};
use alcove_storage::{FolderStore, Limits};
use alcove_testkit::TestControl;
use axum::body::Body;
use http::{Request, StatusCode};
use tempfile::TempDir;

use crate::support::{Answer, Server};

/// The control plane at the registry's door, as `alcove serve` puts it there.
#[derive(Debug)]
struct Gate(Control);

impl Door for Gate {
    fn visitor(&self, secret: &str) -> Option<Visitor> {
        let visitor = self.0.registry_visitor(secret)?;
        Some(Visitor {
            owner: visitor.organization.to_string(),
            seconds_left: visitor.seconds_left,
        })
    }
}

async fn start() -> (Server, TempDir) {
    let kit = TestControl::open().await;
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(folder.path(), Limits::default()).await;
    let gate = Gate(kit.control.clone());
    let options = Options {
        object_storage: Some(ObjectStorage {
            url: "https://127.0.0.1:3001".to_owned(),
            plain_url: "http://127.0.0.1:3001".to_owned(),
            bucket: "contexts".to_owned(),
            region: "us-east-1".to_owned(),
        }),
        registry: Some(Registry::new(
            Arc::new(store.unwrap()),
            Arc::new(gate),
            "http://127.0.0.1:3000",
        )),
        ..Options::default()
    };
    (Server::with_options(kit, options), folder)
}

#[tokio::test]
async fn access_to_the_object_storage_is_for_an_hour_and_the_own_organization() {
    let (server, _folder) = start().await;
    let access = server
        .ask("GET", "/api/object-storage/push-access")
        .await
        .ok();
    let organization = server.kit.caller.organization.to_string();
    assert_eq!(access["organizationId"], organization);
    assert_eq!(access["storageUrl"], "http://127.0.0.1:3001");
    let python = [
        ("x-daytona-source", "sdk-python"),
        ("x-daytona-sdk-version", "0.226.1"),
    ];
    let path = "/api/object-storage/push-access";
    let for_python = server.ask_with("GET", path, &python, "").await.ok();
    assert_eq!(for_python["storageUrl"], "https://127.0.0.1:3001");
    assert_eq!(
        (&access["bucket"], &access["region"]),
        (&"contexts".into(), &"us-east-1".into())
    );
    let text = |name: &str| access[name].as_str().unwrap();
    let (key, token) = (text("accessKey"), text("sessionToken"));
    let control = &server.kit.control;
    assert_eq!(control.object_storage_secret(key).0, text("secret"));
    let whose = |key: &str, token: &str| {
        let organization = control.object_storage_visitor(key, token)?;
        Some(organization.to_string())
    };
    assert_eq!(whose(key, token), Some(organization.clone()));
    assert_eq!(whose("ALCOTHER", token), None);
    assert_eq!(whose(key, "v1.9999999999.x.y.z"), None);
    server.kit.clock.advance_minutes(59);
    assert_eq!(whose(key, token), Some(organization));
    server.kit.clock.advance_minutes(1);
    assert_eq!(whose(key, token), None);
}

#[tokio::test]
async fn credentials_outlive_a_restart() {
    let kit = TestControl::open().await;
    let storage = kit.control.object_storage_access(&kit.caller).unwrap();
    let registry = kit.control.registry_push_access(&kit.caller, None).unwrap();
    let kit = kit.restart().await;
    let control = &kit.control;
    let visitor = control.object_storage_visitor(&storage.access_key, &storage.session_token.0);
    assert_eq!(visitor.as_ref(), Some(&kit.caller.organization));
    assert_eq!(
        control.object_storage_secret(&storage.access_key),
        storage.secret
    );
    let visitor = control.registry_visitor(&registry.secret.0).unwrap();
    assert_eq!(visitor.organization, kit.caller.organization);
    // What is good for one is not for the other.
    assert_eq!(control.registry_visitor(&storage.session_token.0), None);
    let crossed = control.object_storage_visitor(&storage.access_key, &registry.secret.0);
    assert_eq!(crossed, None);
}

async fn ask_registry(server: &Server, secret: Option<&str>, path: &str) -> Answer {
    let mut request = Request::get(path);
    if let Some(secret) = secret {
        request = request.header("authorization", format!("Bearer {secret}"));
    }
    server.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn push_access_opens_the_registry_for_an_hour() {
    let (server, _folder) = start().await;
    let path = "/api/docker-registry/registry-push-access";
    let access = server.ask("GET", path).await.ok();
    assert_eq!(access["registryUrl"], "127.0.0.1:3000");
    assert_eq!(access["project"], server.kit.caller.organization.as_str());
    assert_eq!(access["registryId"], "transient");
    let secret = access["secret"].as_str().unwrap();
    let mine = format!("/v2/{}/app/tags/list", access["project"].as_str().unwrap());
    for (secret, path, status) in [
        (None, "/v2/", StatusCode::UNAUTHORIZED),
        (Some("wrong"), "/v2/", StatusCode::UNAUTHORIZED),
        // API keys are for the API.
        (
            Some(server.kit.key.as_str()),
            "/v2/",
            StatusCode::UNAUTHORIZED,
        ),
        (Some(secret), "/v2/", StatusCode::OK),
        (
            Some(secret),
            "/v2/other/app/tags/list",
            StatusCode::FORBIDDEN,
        ),
        (Some(secret), mine.as_str(), StatusCode::NOT_FOUND),
    ] {
        let answer = ask_registry(&server, secret, path).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    // And the secret is no key of the API.
    let key = format!("Bearer {secret}");
    let request = Request::get("/api/users/me").header("authorization", key);
    let answer = server.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    server.kit.clock.advance_minutes(60);
    let answer = ask_registry(&server, Some(secret), "/v2/").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let elsewhere = server.ask("GET", &format!("{path}?regionId=mars")).await;
    assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
    let here = server.ask("GET", &format!("{path}?regionId=us")).await;
    assert_eq!(here.status, StatusCode::OK);
}

#[tokio::test]
async fn a_server_without_either_says_so() {
    let server = Server::start().await;
    for path in [
        "/api/object-storage/push-access",
        "/api/docker-registry/registry-push-access",
    ] {
        let answer = server.ask("GET", path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    let answer = ask_registry(&server, None, "/v2/").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}
