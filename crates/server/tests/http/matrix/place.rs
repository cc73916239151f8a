//! An organization with one of everything, for the questions of the matrix.

use std::sync::Arc;
use std::time::Duration;

use alcove_control::service_key_hash;
use alcove_domain::{Permission, Permissions};
use alcove_testkit::{TestStore, eventually};
use axum::body::{Body, Bytes};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{Answer, Server, within};
use crate::vercel::play_agent;

const DEVELOPER: &str = "00000000-0000-0000-0000-000000000001";

/// Work that is not under way: there is none in a place.
const NO_WORK: &str = "00000000-0000-4000-8000-00000000000f";

/// An organization with one of everything, and everybody who may ask.
pub struct Place {
    pub server: Server,
    /// Holds the socket of what answers for agents.
    _folder: tempfile::TempDir,
    pub organization: String,
    pub owner: String,
    pub expired: String,
    pub member: String,
    pub stranger: String,
    pub invited: String,
    /// Keys of a runner, and of a proxy before the whole server.
    pub runner: String,
    pub proxy: String,
    /// What stands for each name in a path.
    names: Vec<(&'static str, String)>,
}

pub async fn ask(
    server: &Server,
    key: Option<&str>,
    method: &str,
    path: &str,
    body: &Value,
) -> Answer {
    let mut request = Request::builder()
        .method(method.to_uppercase().as_str())
        .uri(path);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let body = match body {
        Value::Null => Body::empty(),
        body => Body::from(body.to_string()),
    };
    let request = request.body(body).unwrap();
    let response = within(server.service.clone().oneshot(request))
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    let kind = parts.headers.get("content-type");
    // A stream of events does not end.
    let bytes = if kind.is_some_and(|kind| kind == "text/event-stream") {
        Bytes::new()
    } else {
        within(axum::body::to_bytes(body, usize::MAX))
            .await
            .unwrap()
    };
    Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    }
}

impl Place {
    pub async fn make() -> Self {
        let mut store = TestStore::default();
        store.settings.warm_pool_bytes = 32 << 20;
        store.settings.otlp = Some(Arc::new(alcove_server::Otlp::new(&[]).unwrap()));
        store.settings.sso = Some(Arc::new(alcove_server::Sso::new(&[]).unwrap()));
        let proxy = "the key of a proxy before all of it".to_owned();
        store.settings.proxy_key = Some(service_key_hash(&proxy));
        let server = Server::over(store.open().await);
        let folder = tempfile::tempdir().unwrap();
        play_agent(&server, &folder, StatusCode::OK, "text/plain", "{}");
        let kit = &server.kit;
        let olga = kit.add_user("olga").await;
        let organization = kit
            .store
            .reader()
            .organization_find_personal(&olga.id)
            .await
            .unwrap()
            .unwrap()
            .id;
        let first = kit.add_key(&olga.id, &organization).await;
        let body = json!({"name": "Lab", "defaultRegionId": "us"});
        let made = ask(&server, Some(&first), "post", "/api/organizations", &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let organization = made.json()["id"].as_str().unwrap().to_owned();
        let owner = kit.add_key(&olga.id, &organization.parse().unwrap()).await;
        let (_, stranger) = kit.add_stranger("sven").await;
        let (_, invited) = kit.add_stranger("ines").await;
        let mut place = Self {
            server,
            _folder: folder,
            organization,
            owner,
            expired: String::new(),
            member: String::new(),
            stranger,
            invited,
            runner: String::new(),
            proxy,
            names: Vec::new(),
        };
        place.fill().await;
        place
    }

    /// Asks as the owner and gives what is made.
    async fn make_one(&self, path: &str, body: Value) -> Value {
        let made = ask(&self.server, Some(&self.owner), "post", path, &body).await;
        assert!(made.status.is_success(), "{path}: {}", made.text);
        made.json()
    }

    async fn fill(&mut self) {
        let org = format!("/api/organizations/{}", self.organization);
        let expires = self.server.kit.clock.host_time() + Duration::from_secs(30);
        let body = json!({"name": "short", "permissions": [], "expiresAt": expires.to_string()});
        self.expired = text(&self.make_one("/api/api-keys", body).await, "value");
        self.server.kit.clock.advance(Duration::from_mins(1));

        // Somebody who became a member, and has no roles.
        let kit = &self.server.kit;
        let (mia, key) = kit.add_stranger("mia").await;
        let invitations = format!("{org}/invitations");
        let body = json!({"email": "mia@example.com", "assignedRoleIds": [DEVELOPER]});
        let invitation = text(&self.make_one(&invitations, body).await, "id");
        let accept = format!("/api/organizations/invitations/{invitation}/accept");
        let accepted = ask(&self.server, Some(&key), "post", &accept, &Value::Null).await;
        assert_eq!(accepted.status, StatusCode::OK, "{}", accepted.text);
        let access = json!({"role": "member", "assignedRoleIds": []});
        self.make_one(&format!("{org}/users/mia/access"), access)
            .await;
        self.member = kit
            .add_key(&mia.user, &self.organization.parse().unwrap())
            .await;
        let body = json!({"email": "ines@example.com"});
        let invitation = text(&self.make_one(&invitations, body).await, "id");

        let body = json!({"projectId": "p", "name": "session"});
        let made = self.make_one("/v2/sandboxes", body).await;
        let session = text(&made["session"], "id");
        let body = json!({"name": "keeper", "description": "", "permissions": ["read:volumes"]});
        let role = text(&self.make_one(&format!("{org}/roles"), body).await, "id");
        self.make_one("/api/api-keys", json!({"name": "named", "permissions": []}))
            .await;
        let volume = text(
            &self
                .make_one("/api/volumes", json!({"name": "named"}))
                .await,
            "id",
        );
        let sandbox = text(
            &self.make_one("/api/sandbox", json!({"name": "box"})).await,
            "id",
        );
        let body =
            json!({"name": "r", "url": "registry.example", "username": "u", "password": "p"});
        let registry = text(&self.make_one("/api/docker-registry", body).await, "id");
        let body = json!({"name": "kept", "value": "v"});
        let secret = text(&self.make_one("/api/secret", body).await, "id");
        self.server.kit.runner.add_image("tool:1", "root");
        let body = json!({"name": "mine", "imageName": "tool:1"});
        let snapshot = text(&self.make_one("/api/snapshots", body).await, "id");
        let path = format!("/api/snapshots/{snapshot}");
        eventually("the snapshot is active", async || {
            let asked = ask(&self.server, Some(&self.owner), "get", &path, &Value::Null).await;
            asked.json()["state"] == "active"
        })
        .await;
        let body = json!({"snapshot": "mine", "pool": 1});
        let pool = self.make_one("/api/warm-pools", body).await;
        let body = json!({"name": "k", "publicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIADxhCVdNly++7keYtXvtEAMMbynPE8+U70U4EHCZA+0"});
        let ssh_key = self.make_one("/api/ssh-keys", body).await;
        let hooks = format!("/api/webhooks/organizations/{}", self.organization);
        self.make_one(&format!("{hooks}/initialize"), json!({}))
            .await;
        let body = json!({"url": "https://hooks.example/a", "eventTypes": ["sandbox.created"]});
        let endpoint = text(
            &self.make_one(&format!("{hooks}/endpoints"), body).await,
            "id",
        );
        let path = "/v2/sandboxes";
        let made = self
            .make_one(path, json!({"projectId": "p", "name": "kept"}))
            .await;
        let path = format!(
            "/v2/sandboxes/sessions/{}/snapshot",
            text(&made["session"], "id")
        );
        let kept = text(&self.make_one(&path, json!({})).await["snapshot"], "id");
        let drive = "/v2/sandboxes/drives/store";
        self.make_one(drive, json!({"projectId": "p"})).await;
        let region = text(
            &self.make_one("/api/regions", json!({"name": "lab"})).await,
            "id",
        );
        let body = json!({"regionId": region, "name": "rack-1"});
        let runner = self.make_one("/api/runners", body).await;
        self.runner = text(&runner, "apiKey");
        let path = format!("/api/sandbox/{sandbox}/ports/3000/signed-preview-url");
        let signed = ask(&self.server, Some(&self.owner), "get", &path, &Value::Null).await;
        let signed = text(&signed.json(), "token");
        let body = json!({"name": "id", "emailDomains": ["example.com"],
            "oidcConfig": {"issuerUrl": "https://id.invalid", "clientId": "x", "clientSecret": "x"}});
        let path = format!("{org}/identity-providers");
        let provider = text(&self.make_one(&path, body).await, "id");
        let admin = Some(self.server.kit.key.as_str());
        let path = format!(
            "/api/admin/webhooks/organizations/{}/send",
            self.organization
        );
        let body = json!({"eventType": "sandbox.created", "payload": {}, "eventId": "told"});
        let sent = ask(&self.server, admin, "post", &path, &body).await;
        assert!(sent.status.is_success(), "{}", sent.text);
        let path = format!("{hooks}/messages");
        let told = ask(&self.server, Some(&self.owner), "get", &path, &Value::Null).await;
        let message = text(&told.json()[0], "id");
        let path = "/api/admin/service-credentials";
        let made = ask(&self.server, admin, "post", path, &json!({"role": "proxy"})).await;
        let credential = text(&made.json(), "id");
        self.names = vec![
            ("preview/{sandboxIdOrName}/{port}", format!("{signed}/3000")),
            ("{sandboxIdOrName}", sandbox.clone()),
            ("{workspaceId}", sandbox.clone()),
            ("{sandboxId}", sandbox),
            ("{workId}", NO_WORK.to_owned()),
            ("{organizationId}", self.organization.clone()),
            ("{regionId}", "us".to_owned()),
            ("{sandboxClass}", "container".to_owned()),
            ("{userId}", "mia".to_owned()),
            ("{roleId}", role),
            ("{invitationId}", invitation),
            ("{endpointId}", endpoint),
            ("{messageId}", message),
            ("{traceId}", "0af7651916cd43dd8448eb211c80319c".to_owned()),
            ("{volumeId}", volume),
            ("snapshots/{id}", snapshot.clone()),
            ("images/{id}", snapshot),
            ("{secretId}", secret),
            ("{credentialId}", credential),
            ("{userCode}", "BBBBBBBB".to_owned()),
            ("identity-providers/{id}", provider),
            ("pending-sso-links/{id}", "no-such-link".to_owned()),
            ("docker-registry/{id}", registry),
            ("warm-pools/{id}", text(&pool, "id")),
            ("ssh-keys/{id}", text(&ssh_key, "id")),
            ("regions/{id}", region.clone()),
            ("{ownRegion}", region),
            ("runners/{id}", text(&runner, "id")),
            ("{jobId}", "no-such-job".to_owned()),
            ("{authToken}", "no-such-token".to_owned()),
            ("users/{id}", "mia".to_owned()),
            ("actions/{name}", "list_files".to_owned()),
            ("v2/sandboxes/{name}", "session".to_owned()),
            ("v3/sandboxes/{name}", "session".to_owned()),
            ("{sessionId}", session),
            ("{name}", "named".to_owned()),
            ("{snapshotId}", kept),
            ("{drive}", "store".to_owned()),
            ("{project}", "p".to_owned()),
            ("{isPublic}", "true".to_owned()),
            ("{port}", "2280".to_owned()),
            ("{interval}", "5".to_owned()),
            ("{ttlMinutes}", "5".to_owned()),
        ];
    }

    /// A key of whoever has this one, with every permission but these. It does not stand for its whole user: one is always
    /// left out.
    pub async fn key_without(&self, owner: &str, without: &[String]) -> String {
        let all = Permissions::all();
        let named = all.iter().map(Permission::as_str);
        let permissions: Vec<_> = named
            .filter(|name| *name != "read:runners" && !without.iter().any(|other| other == name))
            .collect();
        let name = format!("without {}", without.join(" "));
        let path = format!("/api/api-keys/{name}").replace(' ', "%20");
        ask(&self.server, Some(owner), "delete", &path, &Value::Null).await;
        let body = json!({"name": name, "permissions": permissions});
        let made = ask(&self.server, Some(owner), "post", "/api/api-keys", &body).await;
        text(&made.json(), "value")
    }

    pub fn resolve(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.names {
            let prefix = name.split('{').next().unwrap_or_default();
            text = text.replace(name, &format!("{prefix}{value}"));
        }
        text
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {value}"))
        .to_owned()
}
