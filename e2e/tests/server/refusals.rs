//! Requests that the server turns down: what is not there, not the caller's, not well-formed, or taken.

use alcove_api_types::daytona::SandboxState;
use alcove_client::ListFilter;
use alcove_domain::{Access, ApiKey, ApiKeyHash, Member, MemberRole, Organization, OrganizationId};
use alcove_e2e::server::{Answer, KEY, Port, Raw, TestServer};
use alcove_e2e::wait;
use alcove_store::Store;
use http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{execute, is_for_machines, make, named, refusal};

/// Every operation of the served OpenAPI document, with its parameters filled in.
async fn operations(raw: &Raw, sandbox: &str) -> Vec<(String, String)> {
    let document = raw.ask("GET", "/api/openapi.json", "").await.json();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut filled = path.replace("{sandboxIdOrName}", sandbox);
        for (name, value) in [
            ("workspaceId", sandbox),
            ("sandboxId", sandbox),
            ("regionId", "us"),
            ("sandboxClass", "container"),
            ("isPublic", "true"),
            ("port", "2280"),
            ("interval", "0"),
            ("ttlMinutes", "5"),
            ("name", "no-such-volume"),
            ("id", "no-such-snapshot"),
        ] {
            filled = filled.replace(&format!("{{{name}}}"), value);
        }
        // All others are ids of what is not there.
        while let Some((before, rest)) = filled.split_once('{') {
            let (_, after) = rest.split_once('}').unwrap();
            filled = format!("{before}no-such-thing{after}");
        }
        for method in item.as_object().unwrap().keys() {
            operations.push((method.to_uppercase(), filled.clone()));
        }
    }
    operations
}

/// Those of one sandbox, the toolbox's calls included, in both forms of its address.
async fn sandbox_operations(raw: &Raw, sandbox: &str) -> Vec<(String, String)> {
    let mut all = operations(raw, sandbox).await;
    all.retain(|(_, path)| path.contains(sandbox) && !is_for_machines(path));
    assert!(all.len() >= 10, "{all:?}");
    for (method, tail) in [
        ("GET", "/version"),
        ("GET", "/work-dir"),
        ("GET", "/files?path=."),
        ("GET", "/files/info?path=."),
        ("POST", "/files/folder?path=x&mode=0755"),
        ("POST", "/files/move?source=a&destination=b"),
        ("DELETE", "/files?path=x"),
        ("POST", "/files/upload?path=x"),
        ("POST", "/files/upload-v2?path=x"),
        ("POST", "/files/bulk-upload"),
        ("GET", "/files/download?path=x"),
        ("POST", "/files/bulk-download"),
        ("POST", "/process/execute"),
        ("POST", "/process/code-run"),
        ("GET", "/process/session"),
        ("POST", "/process/session"),
        ("DELETE", "/process/session/s"),
        ("POST", "/process/session/s/exec"),
        ("GET", "/process/session/s/command/c"),
        ("GET", "/process/session/s/command/c/logs"),
    ] {
        all.push((method.to_owned(), format!("/toolbox/{sandbox}{tail}")));
        let older = format!("/api/toolbox/{sandbox}/toolbox{tail}");
        all.push((method.to_owned(), older));
    }
    all
}

fn assert_is_error(answer: &Answer, status: StatusCode, what: &str) -> Value {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    let body = answer.json();
    assert_eq!(body["statusCode"], status.as_u16(), "{what}");
    assert_eq!(body["error"], status.canonical_reason().unwrap(), "{what}");
    for field in "message code source timestamp path method requestId".split(' ') {
        let text = body[field].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "{what}: {field} in {body}");
    }
    body
}

#[tokio::test]
async fn an_unknown_sandbox_is_not_found_by_any_route() {
    let server = TestServer::start().await;
    let raw = server.raw();
    let labels = json!({"labels": {}, "name": "x", "secrets": []}).to_string();
    let unknown = ["no-such-sandbox", "0f8fad5b-d9cb-469f-a165-70867728950e"];
    for sandbox in unknown {
        for (method, path) in sandbox_operations(&raw, sandbox).await {
            let answer = raw.ask(&method, &path, labels.clone()).await;
            let what = format!("{method} {path}");
            let body = assert_is_error(&answer, StatusCode::NOT_FOUND, &what);
            assert_eq!(body["code"], "NOT_FOUND", "{what}");
            let message = body["message"].as_str().unwrap();
            assert!(message.contains(sandbox), "{what}: {message}");
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn a_deleted_sandbox_is_not_found_by_any_route() {
    let server = TestServer::start().await;
    let (client, raw) = (server.client(), server.raw());
    let sandbox = make(&client, "gone").await;
    // The positive control: the same requests find it while it is there.
    let answer = raw
        .ask("GET", &format!("/api/sandbox/{}", sandbox.id), "")
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    client.delete("gone").await.unwrap();
    server.nothing_left().await;
    let labels = json!({"labels": {}, "name": "x", "secrets": []}).to_string();
    for (method, path) in sandbox_operations(&raw, &sandbox.id).await {
        let answer = raw.ask(&method, &path, labels.clone()).await;
        // What was done in it is told as long as the audit log is kept.
        if path.ends_with("/activity") {
            assert_eq!(answer.status, StatusCode::OK);
            continue;
        }
        assert_is_error(&answer, StatusCode::NOT_FOUND, &format!("{method} {path}"));
    }
    server.finish().await;
}

const STRANGERS_KEY: &str = "dtn_of-a-stranger";

/// Writes a second organization and a key of it into the store of a stopped server, so that nothing but the key tells the
/// two apart: their owner is the same.
async fn add_stranger(server: &TestServer) {
    let store = Store::open(&server.instance.data_dir().join("alcove.db"))
        .await
        .unwrap();
    let admin = store.reader().user_find_admin().await.unwrap().unwrap();
    let hash = |key: &str| ApiKeyHash(Sha256::digest(key.as_bytes()).into());
    let known = store
        .reader()
        .api_key_find(hash(KEY))
        .await
        .unwrap()
        .unwrap();
    let id: OrganizationId = "c0ffee00-0000-4000-8000-000000000000".parse().unwrap();
    let organization = Organization {
        id: id.clone(),
        name: "Strangers".to_owned(),
        created_by: admin.id.clone(),
        is_personal: false,
        is_egress_limited: false,
        suspension: None,
        closing_since: None,
        created_at: admin.created_at,
    };
    let owner = Member {
        organization_id: id.clone(),
        user_id: admin.id,
        access: Access {
            role: MemberRole::Owner,
            assigned: Vec::new(),
        },
        created_at: admin.created_at,
        updated_at: admin.created_at,
    };
    let key = ApiKey {
        hash: hash(STRANGERS_KEY),
        organization_id: id,
        ..known
    };
    let tx = store.begin().await.unwrap();
    tx.organization_insert(&organization).await.unwrap();
    tx.member_put(&owner).await.unwrap();
    tx.api_key_replace(&key).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_foreign_sandbox_is_not_found_by_any_route_and_stays_as_it_is() {
    let mut server = TestServer::start().await;
    let sandbox = make(&server.client(), "mine").await;
    server.stop().await;
    add_stranger(&server).await;
    server.restart(Port::Same).await;

    let raw = server.raw();
    let stranger = raw.with_authorization(Some(&format!("Bearer {STRANGERS_KEY}")));
    let own = stranger.ask("GET", "/api/organizations", "").await;
    assert_eq!(own.status, StatusCode::OK, "the stranger's key is good");
    let labels = json!({"labels": {"taken": "over"}, "name": "x", "secrets": []}).to_string();
    for name in [sandbox.id.as_str(), "mine"] {
        for (method, path) in sandbox_operations(&raw, name).await {
            // The key is of the administrator's user, who may there what nobody else may.
            if path.starts_with("/api/admin/") {
                continue;
            }
            let answer = stranger.ask(&method, &path, labels.clone()).await;
            assert_is_error(&answer, StatusCode::NOT_FOUND, &format!("{method} {path}"));
        }
    }
    let list = stranger.ask("GET", "/api/sandbox", "").await.json();
    assert_eq!(list["items"], json!([]));
    crate::volumes::are_their_owners_alone(&raw, &stranger).await;
    // Names are an organization's own.
    let body = json!({"name": "mine"}).to_string();
    let twin = stranger.ask("POST", "/api/sandbox", body).await;
    assert_eq!(twin.status, StatusCode::OK, "{twin:?}");

    let client = server.client();
    let mine = client.get("mine").await.unwrap();
    assert_eq!((mine.id, mine.labels), (sandbox.id, sandbox.labels));
    assert_eq!(execute(&client, "mine", "true").await.unwrap().exit_code, 0);
    let twin = twin.json();
    let path = format!("/api/sandbox/{}", twin["id"].as_str().unwrap());
    assert_eq!(
        stranger.ask("DELETE", &path, "").await.status,
        StatusCode::OK
    );
    server.finish().await;
}

#[tokio::test]
async fn a_missing_or_wrong_key_is_unauthorized_everywhere_but_where_all_may_ask() {
    let server = TestServer::start().await;
    let raw = server.raw();
    let mut paths = operations(&raw, "x").await;
    paths.extend(sandbox_operations(&raw, "x-y").await);
    // What programs ask that have no key yet is answered in the words of OAuth.
    paths.retain(|(_, path)| !path.starts_with("/api/auth/device/"));
    let mut public = Vec::new();
    // Where the body says who asks, it is nobody.
    let nobodys = json!({
        "username": "x", "password": "none of anybody's", "token": "x", "provider": "x", "state": "x", "code": "x",
    });
    let nobodys = nobodys.to_string();
    for authorization in [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer dtn_wrong"),
        Some("Basic ZHRuX3dyb25n"),
        Some(KEY),
    ] {
        let caller = raw.with_authorization(authorization);
        for (method, path) in &paths {
            let answer = caller.ask(method, path, nobodys.clone()).await;
            if answer.status == StatusCode::OK {
                public.push(path.clone());
                continue;
            }
            let what = format!("{method} {path} with {authorization:?}");
            let body = assert_is_error(&answer, StatusCode::UNAUTHORIZED, &what);
            let is_link = ["set-password", "invitation", "invitation/accept"];
            let is_link = is_link.map(|tail| format!("/api/auth/{tail}"));
            if !is_link.contains(path) && !path.starts_with("/api/auth/sso/") {
                assert_eq!(body["message"], "Invalid credentials", "{what}");
            }
            assert_eq!(answer.headers["www-authenticate"], "Bearer", "{what}");
        }
    }
    public.sort();
    public.dedup();
    let expected = "/api/audit/scenarios /api/config /api/docs /api/docs.css /api/docs.js /api/health /api/health/ready /api/openapi.json \
        /api/shared-regions /api/webhooks/portal /api/webhooks/portal.css /api/webhooks/portal.js";
    assert_eq!(public.join(" "), expected);
    server.finish().await;
}

/// A body of a create, and all that is said against it.
fn bad_creates() -> Vec<(Value, Vec<String>)> {
    let long = |count: usize| "x".repeat(count);
    let many_labels: serde_json::Map<String, Value> =
        (0..129).map(|n| (format!("k{n}"), json!(""))).collect();
    let reasons = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    vec![
        (json!({"name": 1}), reasons(&["name must be a string"])),
        (json!([]), reasons(&["the body must be a JSON object"])),
        (
            json!({"name": long(256)}),
            reasons(&["name must be shorter than or equal to 255 bytes"]),
        ),
        (
            json!({"name": "<b>x</b>"}),
            reasons(&["name must not contain HTML"]),
        ),
        (
            json!({"name": "see https://x.example"}),
            reasons(&["name must not contain URLs"]),
        ),
        (
            json!({"name": "0f8fad5b-d9cb-469f-a165-70867728950e"}),
            reasons(&["name must not have the form of a UUID"]),
        ),
        (
            json!({"snapshot": "no-such"}),
            reasons(&["Snapshot no-such not found"]),
        ),
        (
            json!({"autoStopInterval": -1}),
            reasons(&["autoStopInterval must be a non-negative integer"]),
        ),
        (
            json!({"autoStopInterval": 1e12}),
            reasons(&["autoStopInterval must not be greater than"]),
        ),
        (
            json!({"autoStopInterval": "soon"}),
            reasons(&["autoStopInterval must be an integer number"]),
        ),
        (
            json!({"autoArchiveInterval": -1}),
            reasons(&["autoArchiveInterval must be a non-negative integer"]),
        ),
        (
            json!({"ttlMinutes": -5}),
            reasons(&["ttlMinutes must be a non-negative integer"]),
        ),
        (
            json!({"labels": many_labels}),
            reasons(&["labels must have at most 128 entries"]),
        ),
        (
            json!({"labels": {"": "x"}}),
            reasons(&["label keys must not be empty"]),
        ),
        (
            json!({"labels": {"k": long(4097)}}),
            reasons(&["label k must have at most 4096 bytes"]),
        ),
        (
            json!({"env": {"A=B": "x"}}),
            reasons(&["env name A=B must not be empty or contain '='"]),
        ),
        (
            json!({"env": {"DAYTONA_SANDBOX_ID": "x"}}),
            reasons(&["env name DAYTONA_SANDBOX_ID must not begin with DAYTONA_"]),
        ),
        (
            json!({"user": "not a user"}),
            reasons(&["user must be the name of an operating system user"]),
        ),
        (
            json!({"cpu": 2}),
            reasons(&["Cannot specify Sandbox resources when using a snapshot"]),
        ),
        // Types are told all together, and so are values.
        (
            json!({"name": 1, "env": [], "public": "maybe", "labels": 3}),
            reasons(&[
                "name must be a string",
                "env must be an object of strings",
                "labels must be an object of strings",
                "public must be a boolean value",
            ]),
        ),
        (
            json!({"name": "<i>x</i>", "snapshot": "no-such", "autoStopInterval": -1,
                "autoArchiveInterval": -2, "labels": {"": ""}, "env": {"": ""}, "user": "-"}),
            reasons(&[
                "name must not contain HTML",
                "Snapshot no-such not found",
                "autoStopInterval must be a non-negative integer",
                "autoArchiveInterval must be a non-negative integer",
                "label keys must not be empty",
                "env name",
                "user must be the name of an operating system user",
            ]),
        ),
    ]
}

#[tokio::test]
async fn a_bad_create_is_refused_with_every_reason_and_makes_nothing() {
    let server = TestServer::start().await;
    let raw = server.raw();
    for (body, reasons) in bad_creates() {
        let answer = raw.ask("POST", "/api/sandbox", body.to_string()).await;
        let error = assert_is_error(&answer, StatusCode::BAD_REQUEST, &body.to_string());
        assert_eq!(error["source"], "DAYTONA_API");
        assert_eq!(error["path"], "/api/sandbox");
        let message = error["message"].as_str().unwrap();
        for reason in &reasons {
            assert!(
                message.contains(reason.as_str()),
                "{reason:?} not in {message:?}"
            );
        }
    }
    for (body, code) in [
        ("{", "INVALID_REQUEST_BODY"),
        ("nonsense", "INVALID_REQUEST_BODY"),
    ] {
        let answer = raw.ask("POST", "/api/sandbox", body).await;
        let error = assert_is_error(&answer, StatusCode::BAD_REQUEST, body);
        assert_eq!(error["code"], code);
    }
    let listed = server.client().list(&ListFilter::default()).await.unwrap();
    assert!(listed.is_empty(), "{listed:?}");
    server.nothing_left().await;
    // The positive control: a good one is taken.
    make(&server.client(), "good").await;
    server.finish().await;
}

#[tokio::test]
async fn a_bad_change_is_refused_with_its_reasons_and_changes_nothing() {
    let server = TestServer::start().await;
    let (client, raw) = (server.client(), server.raw());
    let before = make(&client, "box").await;
    let nul = json!({"labels": {"": "x", "nul": "\u{0}"}}).to_string();
    let not_text = json!({"labels": {"k": 1}}).to_string();
    for (method, path, body, reasons) in [
        (
            "PUT",
            "labels",
            nul.as_str(),
            vec!["label keys must not be empty", "NUL"],
        ),
        (
            "PUT",
            "labels",
            &not_text,
            vec!["labels must be an object of strings"],
        ),
        ("PUT", "labels", "{}", vec!["labels"]),
        ("PUT", "labels", "{", vec!["Invalid JSON"]),
        (
            "POST",
            "autostop/-1",
            "",
            vec!["autoStopInterval must be a non-negative integer"],
        ),
        (
            "POST",
            "autostop/soon",
            "",
            vec!["must be an integer number"],
        ),
        (
            "POST",
            "autostop/1.5",
            "",
            vec!["must be an integer number"],
        ),
        (
            "POST",
            "autostop/99999999999",
            "",
            vec!["autoStopInterval must not be greater"],
        ),
        (
            "POST",
            "autostop/99999999999999999999",
            "",
            vec!["must be an integer number"],
        ),
        (
            "POST",
            "autoarchive/-1",
            "",
            vec!["autoArchiveInterval must be a non-negative"],
        ),
        (
            "POST",
            "autodelete/soon",
            "",
            vec!["must be an integer number"],
        ),
        (
            "POST",
            "ttl/-1",
            "",
            vec!["ttlMinutes must be a non-negative integer"],
        ),
        ("POST", "public/maybe", "", vec!["isPublic"]),
        (
            "POST",
            "stop?force=maybe",
            "",
            vec!["force must be a boolean value"],
        ),
    ] {
        let full = format!("/api/sandbox/box/{path}");
        let answer = raw.ask(method, &full, body.to_owned()).await;
        let error = assert_is_error(&answer, StatusCode::BAD_REQUEST, path);
        let message = error["message"].as_str().unwrap();
        for reason in reasons {
            assert!(
                message.contains(reason),
                "{path}: {reason:?} not in {message:?}"
            );
        }
    }
    let mut after = client.get("box").await.unwrap();
    after.last_activity_at = before.last_activity_at;
    assert_eq!(after, before);
    // The positive control: good values are taken, and kept.
    client.set_auto_stop("box", 7).await.unwrap();
    assert_eq!(client.get("box").await.unwrap().auto_stop_interval, Some(7));
    server.finish().await;
}

/// Rounds of two creates at once. Each takes two sandboxes' time.
const ROUNDS: usize = 8;

#[tokio::test]
async fn of_two_creates_with_one_name_at_once_one_wins_and_one_is_a_conflict() {
    let server = TestServer::start().await;
    let (first, second) = (server.client(), server.client());
    for round in 0..ROUNDS {
        let wanted = named("the-one");
        let (one, other) = tokio::join!(first.create(&wanted), second.create(&wanted));
        let (winner, loser) = match (one, other) {
            (Ok(winner), Err(loser)) | (Err(loser), Ok(winner)) => (winner, loser),
            outcome => panic!("round {round}: {outcome:?}"),
        };
        assert_eq!(refusal(&loser), (409, "SANDBOX_NAME_TAKEN"));
        let mut listed = first.list(&ListFilter::default()).await.unwrap();
        // Those of earlier rounds may still be going.
        listed.retain(|item| item.state != Some(SandboxState::Destroying));
        let ids: Vec<&str> = listed.iter().map(|item| item.id.as_str()).collect();
        assert_eq!(ids, [winner.id.as_str()], "round {round}");
        wait::until("one sandbox on the host", async || {
            let found = server.instance.sandboxes();
            if found.iter().eq([&winner.id]) {
                Ok(())
            } else {
                Err(found)
            }
        })
        .await;
        assert_eq!(
            execute(&first, "the-one", "true").await.unwrap().exit_code,
            0
        );
        // From here on the name is free, whatever is left to take apart.
        first.delete("the-one").await.unwrap();
    }
    server.finish().await;
}
