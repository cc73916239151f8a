//! The OpenAPI document, the routes and the contract say the same.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod contract;

use std::collections::BTreeSet;
use std::path::Path;

use alcove_api_types::daytona::OLDER_NUMBERS;
use serde_json::Value;

fn document() -> Value {
    serde_json::from_str(alcove_server::openapi_document()).unwrap()
}

/// Method and path of every operation in the document.
fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .keys()
                .map(|method| (method.clone(), path.clone()))
        })
        .collect()
}

#[test]
fn the_document_in_the_tree_is_the_served_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, alcove_server::openapi_document()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == alcove_server::openapi_document(),
        "docs/openapi.json is out of date: run this test with UPDATE_OPENAPI=1 and read the diff"
    );
}

#[test]
fn every_route_is_documented_and_nothing_else_is() {
    let routes: BTreeSet<_> = alcove_server::all_routes()
        .map(|route| (route.method.to_owned(), route.path.to_owned()))
        .collect();
    assert_eq!(routes, operations(&document()));
}

/// Generators refuse a document without.
#[test]
fn every_answer_has_a_description() {
    let document = document();
    for (method, path) in operations(&document) {
        let answers = &document["paths"][&path][&method]["responses"];
        for (status, answer) in answers.as_object().unwrap() {
            let said = answer["description"].as_str();
            assert!(
                said.is_some_and(|said| !said.is_empty()),
                "{method} {path}: {status}"
            );
        }
    }
}

/// Strict clients refuse an answer with a field that is not in its schema.
#[test]
fn what_older_clients_read_is_in_the_document() {
    let document = document();
    for (schema, fields) in OLDER_NUMBERS {
        let properties = &document["components"]["schemas"][schema]["properties"];
        for field in fields {
            assert_eq!(properties[field]["type"], "integer", "{schema}.{field}");
        }
    }
}

#[test]
fn operations_carry_the_contracts_names() {
    let document = document();
    for (method, path, id, tag) in [
        ("post", "/api/sandbox", "createSandbox", "sandbox"),
        ("get", "/api/sandbox", "listSandboxes", "sandbox"),
        (
            "get",
            "/api/sandbox/{sandboxIdOrName}",
            "getSandbox",
            "sandbox",
        ),
        (
            "delete",
            "/api/sandbox/{sandboxIdOrName}",
            "deleteSandbox",
            "sandbox",
        ),
        (
            "post",
            "/api/sandbox/{sandboxIdOrName}/start",
            "startSandbox",
            "sandbox",
        ),
        (
            "post",
            "/api/sandbox/{sandboxIdOrName}/stop",
            "stopSandbox",
            "sandbox",
        ),
        (
            "put",
            "/api/sandbox/{sandboxIdOrName}/labels",
            "replaceLabels",
            "sandbox",
        ),
        ("get", "/api/config", "ConfigController_getConfig", "config"),
        ("get", "/api/health", "HealthController_live", "Health"),
        ("get", "/api/snapshots", "getAllSnapshots", "snapshots"),
        ("get", "/api/snapshots/{id}", "getSnapshot", "snapshots"),
    ] {
        let operation = &document["paths"][path][method];
        assert_eq!(operation["operationId"], id, "{method} {path}");
        assert_eq!(operation["tags"][0], tag, "{method} {path}");
    }
}

#[test]
fn what_clients_cannot_do_without_is_required() {
    let document = document();
    let required = |schema: &str| -> BTreeSet<String> {
        document["components"]["schemas"][schema]["required"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    let sandbox = required("Sandbox");
    for field in [
        "id",
        "organizationId",
        "name",
        "user",
        "env",
        "labels",
        "public",
        "networkBlockAll",
        "kvm",
        "target",
        "cpu",
        "gpu",
        "memory",
        "disk",
        "toolboxProxyUrl",
    ] {
        assert!(sandbox.contains(field), "Sandbox.{field}");
    }
    assert!(required("ListSandboxesResponse").contains("nextCursor"));
    for field in [
        "size",
        "entrypoint",
        "errorReason",
        "lastUsedAt",
        "sourceSandboxId",
    ] {
        assert!(
            required("SnapshotDto").contains(field),
            "SnapshotDto.{field}"
        );
    }
}
