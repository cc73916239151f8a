//! Every route asked by everybody: nobody, somebody with a bad or an expired key, with a key that lacks what the route asks
//! for, a member without rights, somebody of another organization, an owner while the organization is suspended, and at
//! last whoever may.
//!
//! `matrix.json` has a row for each route. What is asked with is made from the row, so a row says what must be, and a route
//! without a row fails.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alcove_domain::{Permission, Permissions};
use alcove_server::{VERCEL_ROUTES, all_routes};
use alcove_testkit::{TestStore, eventually};
use axum::body::{Body, Bytes};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{Answer, Server, within};
use crate::vercel::play_agent;

/// What a route wants of who asks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asks {
    /// Nothing: everybody may.
    Nothing,
    /// What is in the body to be right.
    Body,
    /// Any credential.
    Anybody,
    /// One of these permissions.
    Permission(Vec<String>),
    /// A credential that stands for its whole user.
    User,
    /// A credential that stands for its whole user, or may manage keys.
    Keys,
    /// An owner of the organization.
    Owner,
    /// The administrator of the server.
    Administrator,
    /// The one who is invited.
    Invited,
    /// One who signed in, with the cookie.
    Session,
    /// A program with a credential of this role, and nobody else.
    Service(String),
}

#[derive(Debug, Clone, serde::Deserialize)]
struct Row {
    /// Method and path.
    route: String,
    asks: Asks,
    /// What is sent; nothing unless said.
    #[serde(default)]
    body: Value,
    /// What whoever may is answered.
    answers: u16,
    /// Whether a suspended organization may not.
    #[serde(default)]
    makes: bool,
    /// Whether the path names nothing that is an organization's own, so that there is nothing to hide from others.
    #[serde(default)]
    shared: bool,
    /// What stands behind the path.
    #[serde(default)]
    query: String,
    /// Whether it needs a place where nothing was done yet.
    #[serde(default)]
    fresh: bool,
}

fn rows() -> Vec<Row> {
    serde_json::from_str(include_str!("matrix.json")).unwrap()
}

/// Ways into a sandbox, which are no routes of the router.
const PROXIED: [&str; 3] = [
    "get /toolbox/{sandboxIdOrName}/files",
    "get /api/toolbox/{sandboxIdOrName}/toolbox/files",
    "get /api/toolbox/{workspaceId}/toolbox/project-dir",
];

/// Method and path of everything that is asked.
fn routes() -> BTreeSet<String> {
    let routed = all_routes().chain(VERCEL_ROUTES);
    let routed = routed.map(|route| format!("{} {}", route.method, route.path));
    routed.chain(PROXIED.map(str::to_owned)).collect()
}

#[test]
fn every_route_has_one_row_and_every_row_a_route() {
    let rows: Vec<String> = rows().into_iter().map(|row| row.route).collect();
    let set: BTreeSet<&String> = rows.iter().collect();
    assert_eq!(set.len(), rows.len(), "a row twice");
    let routes = routes();
    let missing: Vec<_> = routes.iter().filter(|route| !set.contains(route)).collect();
    let unknown: Vec<_> = rows.iter().filter(|row| !routes.contains(*row)).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "without a row: {missing:#?}\nwithout a route: {unknown:#?}"
    );
}

const DEVELOPER: &str = "00000000-0000-0000-0000-000000000001";

/// Work that is not under way: there is none in a place.
const NO_WORK: &str = "00000000-0000-4000-8000-00000000000f";

/// An organization with one of everything, and everybody who may ask.
struct Place {
    server: Server,
    /// Holds the socket of what answers for agents.
    _folder: tempfile::TempDir,
    organization: String,
    owner: String,
    expired: String,
    member: String,
    stranger: String,
    invited: String,
    /// What stands for each name in a path.
    names: Vec<(&'static str, String)>,
}

async fn ask(server: &Server, key: Option<&str>, method: &str, path: &str, body: &Value) -> Answer {
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
    async fn make() -> Self {
        let mut store = TestStore::default();
        store.settings.warm_pool_bytes = 32 << 20;
        store.settings.otlp = Some(Arc::new(alcove_server::Otlp::new(&[]).unwrap()));
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
            ("docker-registry/{id}", registry),
            ("warm-pools/{id}", text(&pool, "id")),
            ("ssh-keys/{id}", text(&ssh_key, "id")),
            ("regions/{id}", "us".to_owned()),
            ("users/{id}", "mia".to_owned()),
            ("actions/{name}", "list_files".to_owned()),
            ("v2/sandboxes/{name}", "session".to_owned()),
            ("v3/sandboxes/{name}", "session".to_owned()),
            ("{sessionId}", session),
            ("{name}", "named".to_owned()),
            ("{snapshotId}", kept),
            ("{drive}", "store".to_owned()),
            ("{isPublic}", "true".to_owned()),
            ("{port}", "2280".to_owned()),
            ("{authToken}", "none".to_owned()),
            ("{userCode}", "BBBBBBBB".to_owned()),
            ("{interval}", "5".to_owned()),
            ("{ttlMinutes}", "5".to_owned()),
        ];
    }

    /// A key of whoever has this one, with every permission but these. It does not stand for its whole user: one that no route asks for
    /// is always left out.
    async fn key_without(&self, owner: &str, without: &[String]) -> String {
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

    fn resolve(&self, text: &str) -> String {
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

/// A body and a path in which names stand for what there is in the place.
struct Question<'a> {
    row: &'a Row,
    method: &'a str,
    path: String,
    body: Value,
}

impl<'a> Question<'a> {
    fn of(row: &'a Row, place: &Place) -> Self {
        let (method, path) = row.route.split_once(' ').expect("a method and a path");
        let body = place.resolve(&row.body.to_string());
        Self {
            row,
            method,
            path: place.resolve(path) + &place.resolve(&row.query),
            body: serde_json::from_str(&body).unwrap(),
        }
    }

    async fn put(&self, place: &Place, key: Option<&str>) -> Answer {
        ask(&place.server, key, self.method, &self.path, &self.body).await
    }

    /// What is wrong with the answer, if anything is.
    async fn miss(
        &self,
        place: &Place,
        who: &str,
        key: Option<&str>,
        status: u16,
    ) -> Option<String> {
        let answer = self.put(place, key).await;
        let text: String = answer.text.chars().take(200).collect();
        (answer.status != status).then(|| {
            let route = &self.row.route;
            format!(
                "{route} asked by {who}: {} and not {status}: {text}",
                answer.status.as_u16()
            )
        })
    }
}

/// All of the matrix is looked at before the test fails.
fn assert_none(misses: &[String]) {
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[tokio::test]
async fn who_has_no_valid_credential_is_told_so_and_nothing_else() {
    let place = Place::make().await;
    let mut misses = Vec::new();
    for row in rows() {
        let question = Question::of(&row, &place);
        let status = match row.asks {
            Asks::Nothing | Asks::Body => row.answers,
            _ => 401,
        };
        for (who, key) in [
            ("nobody", None),
            ("a key that is none", Some("dtn_no_such_key")),
            ("an expired key", Some(place.expired.as_str())),
        ] {
            misses.extend(question.miss(&place, who, key, status).await);
        }
    }
    assert_none(&misses);
}

#[tokio::test]
async fn a_key_opens_nothing_that_was_left_out_of_it() {
    let place = Place::make().await;
    let mut misses = Vec::new();
    let narrow = place.key_without(&place.owner, &[]).await;
    let administrators = place.key_without(&place.server.kit.key, &[]).await;
    for row in rows() {
        let question = Question::of(&row, &place);
        let lacking = match &row.asks {
            Asks::Permission(permissions) => place.key_without(&place.owner, permissions).await,
            Asks::Keys => {
                let without = ["manage:api_keys".to_owned()];
                place.key_without(&place.owner, &without).await
            }
            Asks::User | Asks::Owner => narrow.clone(),
            Asks::Administrator => administrators.clone(),
            Asks::Service(_) => place.owner.clone(),
            Asks::Nothing | Asks::Body | Asks::Anybody | Asks::Invited | Asks::Session => continue,
        };
        let who = "a key without the permission";
        misses.extend(question.miss(&place, who, Some(&lacking), 403).await);
    }
    assert_none(&misses);
}

#[tokio::test]
async fn a_member_without_roles_does_nothing_that_a_role_or_an_owner_is_needed_for() {
    let place = Place::make().await;
    let mut misses = Vec::new();
    for row in rows() {
        let question = Question::of(&row, &place);
        if matches!(
            row.asks,
            Asks::Permission(_) | Asks::Owner | Asks::Administrator | Asks::Service(_)
        ) {
            let key = Some(place.member.as_str());
            misses.extend(question.miss(&place, "a member", key, 403).await);
        }
    }
    assert_none(&misses);
}

#[tokio::test]
async fn what_is_another_organizations_is_not_there() {
    let place = Place::make().await;
    let mut misses = Vec::new();
    let named = rows().into_iter();
    for row in named.filter(|row| row.route.contains('{') && !row.shared) {
        let question = Question::of(&row, &place);
        let status = match row.asks {
            Asks::Administrator => 403,
            Asks::Nothing | Asks::Body => continue,
            _ => 404,
        };
        let key = Some(place.stranger.as_str());
        misses.extend(question.miss(&place, "a stranger", key, status).await);
    }
    assert_none(&misses);
}

#[tokio::test]
async fn a_suspended_organization_makes_and_starts_nothing_and_reads_all() {
    let place = Place::make().await;
    let mut misses = Vec::new();
    let path = format!("/api/organizations/{}/suspend", place.organization);
    let body = json!({"reason": "unpaid"});
    let key = Some(place.server.kit.key.as_str());
    let suspended = ask(&place.server, key, "post", &path, &body).await;
    assert_eq!(suspended.status, 204, "{}", suspended.text);
    for row in rows() {
        let question = Question::of(&row, &place);
        let owner = Some(place.owner.as_str());
        let reads = question.method == "get" && matches!(row.asks, Asks::Anybody);
        if row.makes || reads {
            let status = if row.makes { 403 } else { row.answers };
            misses.extend(question.miss(&place, "an owner", owner, status).await);
        }
    }
    assert_none(&misses);
}

/// The rows are a story: each leaves what the ones after it need.
#[tokio::test]
async fn whoever_may_is_served() {
    let mut place = Place::make().await;
    let mut misses = Vec::new();
    for row in rows() {
        if row.fresh {
            place = Place::make().await;
        }
        let question = Question::of(&row, &place);
        let key = match &row.asks {
            Asks::Administrator => place.server.kit.key.clone(),
            Asks::Invited => place.invited.clone(),
            Asks::Service(role) => crate::services::credential(&place.server, role).await,
            _ => place.owner.clone(),
        };
        let who = "whoever may";
        misses.extend(question.miss(&place, who, Some(&key), row.answers).await);
    }
    assert_none(&misses);
}
