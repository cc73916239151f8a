//! No field of a request body is swallowed.
//!
//! `bodies.json` is an extract of the contract: every operation on sandboxes, snapshots, workspaces, volumes, warm pools,
//! secrets, quotas, users and organizations that has a body, with its fields. Members and invitations, which need more than one
//! user, are tried in `organizations.rs`. Each field of each operation that this server has is sent by itself. It must change
//! something that can be seen, or be refused.

use alcove_server::{Access, all_routes};
use alcove_testkit::{TestStore, eventually};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::support::Server;

/// The sandbox that operations on one are tried on.
const SANDBOX: &str = "box";

/// The volume that creates can mount.
const VOLUME: &str = "data";

/// Fields that ask for nothing that could be seen, by operation.
const SILENT: [(&str, &str); 7] = [
    // What secrets are is never told.
    ("createSecret", "value"),
    ("updateSecret", "value"),
    // Nor are passwords, and which registry goes first is seen when images are pulled only.
    ("createRegistry", "password"),
    ("createRegistry", "isDefault"),
    ("updateRegistry", "password"),
    // Goes into the log.
    ("updateLastActivity", "activityType"),
    // Clients of that age send one of three regions, or what their example had, to any server: all stand for this one.
    ("createWorkspace_deprecated", "target"),
];

#[derive(Debug, serde::Deserialize)]
struct Operation {
    #[serde(rename = "operation")]
    id: String,
    method: String,
    path: String,
    fields: Vec<Field>,
}

#[derive(Debug, serde::Deserialize)]
struct Field {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    required: bool,
}

/// Those of the contract's operations that this server has.
fn operations() -> Vec<Operation> {
    let all: Vec<Operation> = serde_json::from_str(include_str!("bodies.json")).unwrap();
    let known: Vec<(String, &str)> = all_routes()
        // Runners have keys of their own.
        .filter(|route| route.access != Access::Runner)
        .map(|route| (nameless(route.path), route.method))
        .collect();
    let here: Vec<Operation> = all
        .into_iter()
        .filter(|operation| {
            let place = (nameless(&operation.path), operation.method.as_str());
            known.contains(&place)
        })
        .collect();
    assert!(here.len() >= 7, "the paths match no more: {here:?}");
    here
}

/// A path whose parameters have no names: the contract's ages call them differently.
fn nameless(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        if segment.starts_with('{') {
            "{}"
        } else {
            segment
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// A value that asks for something out of the ordinary.
fn sample(field: &Field) -> Value {
    match field.name.as_str() {
        "expiresAt" => json!("2100-01-01T00:00:00Z"),
        "permissions" => json!(["write:sandboxes"]),
        "networkAllowList" => json!("10.0.0.0/8"),
        "domainAllowList" => json!("example.com"),
        "outboundProxyUrl" | "otelEndpointOverride" => json!("http://example.com:3128"),
        "snapshot" | "image" => json!("tiny"),
        "class" => json!("large"),
        _ => match field.kind.as_str() {
            "string" => json!("other"),
            "integer" | "number" => json!(7),
            "boolean" => json!(true),
            "map<string>" => json!({"A": "b"}),
            "array<map<string>>" => json!([{"A": "b"}]),
            "array<string>" => json!(["a"]),
            "array<SandboxVolume>" => json!([{"volumeId": VOLUME, "mountPath": "/mnt/v"}]),
            "array<GpuType>" => json!(["H100"]),
            "CreateBuildInfo" => json!({"dockerfileContent": "FROM busybox\n"}),
            "CreateOrganizationQuota" => json!({"totalCpuQuota": 1}),
            "SandboxClass" => json!("windows"),
            other => panic!("a sample of {other} for {}", field.name),
        },
    }
}

/// What the operation's body must have beside the field.
fn base(operation: &Operation) -> Map<String, Value> {
    let required = operation.fields.iter().filter(|field| field.required);
    match operation.id.as_str() {
        // Its fields are required to be there as null where they are not to change; ours may be absent.
        "adminUpdateOrganizationRegionQuota"
        | "updateOrganizationRegionQuota"
        | "updateOrganizationQuota" => Map::new(),
        // There is one region, and no other can be asked for.
        "createOrganization" => Map::from_iter([("name".to_owned(), json!("plain"))]),
        "createOrganizationRole" => Map::from_iter([
            ("name".to_owned(), json!("plain")),
            ("description".to_owned(), json!("plain")),
            ("permissions".to_owned(), json!(["read:volumes"])),
        ]),
        "updateNetworkSettings" => Map::from_iter([("networkBlockAll".to_owned(), json!(false))]),
        "createSnapshot" => Map::from_iter([
            ("name".to_owned(), json!("plain")),
            ("imageName".to_owned(), json!("tiny:1")),
        ]),
        "createWarmPool" => Map::from_iter([
            ("snapshot".to_owned(), json!("default")),
            ("pool".to_owned(), json!(1)),
        ]),
        "resizeSandbox" => Map::from_iter([("cpu".to_owned(), json!(2))]),
        _ => required
            .map(|field| (field.name.clone(), plain(field)))
            .collect(),
    }
}

/// A value that asks for nothing out of the ordinary.
fn plain(field: &Field) -> Value {
    match field.kind.as_str() {
        "map<string>" => json!({}),
        "array<string>" | "array<map<string>>" => json!([]),
        "string" => json!("plain"),
        "number" => json!(9),
        "boolean" => json!(false),
        "SandboxClass" => json!("container"),
        other => panic!("a plain {other} for {}", field.name),
    }
}

/// What an operation did: its status, and everything that can be seen afterwards.
#[derive(Debug, PartialEq)]
struct Outcome {
    status: StatusCode,
    seen: Vec<Value>,
}

async fn outcome(operation: &Operation, body: &Value) -> Outcome {
    let mut store = TestStore::default();
    store.runner.add_image("tiny", "");
    let is_about_pools = operation.path.contains("/warm-pools");
    if is_about_pools {
        store.settings.warm_pool_bytes = 1 << 30;
    }
    let server = Server::over(store.open().await);
    let organization = server.kit.caller.organization.to_string();
    let volume = server
        .put("POST", "/api/volumes", json!({"name": VOLUME}))
        .await;
    assert_eq!(volume.status, StatusCode::OK, "{}", volume.text);
    let is_about_one = operation.path.contains("{sandbox") || operation.path.contains("{workspace");
    if is_about_one {
        server.create(json!({"name": SANDBOX})).await;
    }
    let id = if operation.path.contains("docker-registry/") {
        let body = json!({"name": "r", "url": "a.com", "username": "", "password": ""});
        let made = server.put("POST", "/api/docker-registry", body).await;
        made.json()["id"].as_str().unwrap().to_owned()
    } else if operation.path.contains("/secret/") {
        let body = json!({"name": "s", "value": "v"});
        let made = server.put("POST", "/api/secret", body).await;
        made.json()["id"].as_str().unwrap().to_owned()
    } else if is_about_pools && operation.path.contains("{id}") {
        let body = json!({"snapshot": "default", "pool": 2});
        let made = server.put("POST", "/api/warm-pools", body).await;
        made.json()["id"].as_str().unwrap().to_owned()
    } else if operation.path.contains("/snapshots/{id}") {
        let body = json!({"name": "mine", "imageName": "tiny:1"});
        let made = server.put("POST", "/api/snapshots", body).await;
        let id = made.json()["id"].as_str().unwrap().to_owned();
        eventually("the snapshot is active", async || {
            let path = format!("/api/snapshots/{id}");
            server.ask("GET", &path).await.ok()["state"] == "active"
        })
        .await;
        id
    } else {
        "{id}".to_owned()
    };
    // Late enough that a change of the last activity is one.
    server.kit.clock.advance_minutes(10);
    let path: Vec<&str> = operation
        .path
        .split('/')
        .map(|segment| match segment {
            "{id}" => id.as_str(),
            "{organizationId}" => organization.as_str(),
            "{regionId}" => "us",
            parameter if parameter.starts_with('{') => SANDBOX,
            word => word,
        })
        .collect();
    let answer = server
        .put(
            &operation.method.to_uppercase(),
            &path.join("/"),
            body.clone(),
        )
        .await;
    let mut seen = vec![serde_json::from_str(&answer.text).unwrap_or(Value::Null)];
    if answer.status.is_success() {
        // What comes behind an answer, such as the image of a snapshot, belongs to what was done.
        eventually("no snapshot is on its way", async || {
            let list = server.ask("GET", "/api/snapshots").await.ok();
            let items = list["items"].as_array().unwrap();
            let is_settled =
                |item: &Value| item["state"] != "pending" && item["state"] != "pulling";
            items.iter().all(is_settled)
        })
        .await;
        for path in [
            "/api/sandbox/paginated".to_owned(),
            "/api/snapshots?sort=name&order=asc".to_owned(),
            format!("/api/organizations/{organization}/usage"),
            "/api/docker-registry".to_owned(),
            "/api/secret".to_owned(),
            "/api/warm-pools".to_owned(),
            "/api/organizations".to_owned(),
            "/api/api-keys".to_owned(),
            "/api/admin/users".to_owned(),
            format!("/api/organizations/{organization}/roles"),
        ] {
            let mut answer = server.ask("GET", &path).await.ok();
            if let Value::Array(keys) = &mut answer
                && path == "/api/api-keys"
            {
                // Their order is that of their last use, which is noted behind the answers.
                keys.sort_by_key(|key| key["name"].to_string());
            }
            seen.push(answer);
        }
    }
    seen.iter_mut().for_each(forget_the_random);
    Outcome {
        status: answer.status,
        seen,
    }
}

/// Ids, and names that are ids, differ from one server to the next; the use of a snapshot is written down later.
fn forget_the_random(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let id = fields.remove("id");
            for name in [
                "organizationId",
                "requestId",
                "lastUsedAt",
                "volumeId",
                "value",
                "placeholder",
                "userId",
            ] {
                fields.remove(name);
            }
            if fields.get("name") == id.as_ref() {
                fields.remove("name");
            }
            fields.values_mut().for_each(forget_the_random);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_the_random),
        _ => {}
    }
}

#[tokio::test]
async fn every_field_of_every_body_changes_something_or_is_refused() {
    for operation in operations() {
        let base = base(&operation);
        let without = outcome(&operation, &Value::Object(base.clone())).await;
        assert!(without.status.is_success(), "{operation:?} {without:?}");
        for field in &operation.fields {
            let mut body = base.clone();
            body.insert(field.name.clone(), sample(field));
            let with = outcome(&operation, &Value::Object(body)).await;
            let case = format!("{} {}: {with:?}", operation.id, field.name);
            assert!(!with.status.is_server_error(), "{case}");
            if SILENT.contains(&(operation.id.as_str(), field.name.as_str())) {
                assert!(with.status.is_success(), "{case}");
                continue;
            }
            assert!(
                with.status.is_client_error() || with != without,
                "swallowed: {case}"
            );
        }
    }
}

#[tokio::test]
async fn a_field_of_another_type_is_refused_by_its_name() {
    for operation in operations() {
        for field in &operation.fields {
            let mut body = base(&operation);
            body.insert(field.name.clone(), json!([[1]]));
            let with = outcome(&operation, &Value::Object(body)).await;
            let case = format!("{} {}: {with:?}", operation.id, field.name);
            assert!(with.status.is_client_error(), "{case}");
            let message = with.seen[0]["message"].as_str().unwrap();
            assert!(message.contains(&field.name), "{case}");
        }
    }
}

#[tokio::test]
async fn fields_that_nobody_knows_are_ignored() {
    for operation in operations() {
        let base = base(&operation);
        let without = outcome(&operation, &Value::Object(base.clone())).await;
        let mut body = base;
        body.insert("alcoveKnowsNotThis".to_owned(), json!({"a": [1]}));
        let with = outcome(&operation, &Value::Object(body)).await;
        assert_eq!(with, without, "{}", operation.id);
    }
}
