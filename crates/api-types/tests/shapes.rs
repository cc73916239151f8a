//! The JSON that clients see, held fast. A difference here is a change of the API.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use alcove_api_types::body::FromBody;
use alcove_api_types::daytona::{
    Configuration, CreateSandbox, Oidc, Readiness, Sandbox, SandboxDesiredState, SandboxLabels,
    SandboxListItem, SandboxState, SandboxesList, Snapshot, SnapshotState,
};
use alcove_api_types::{ErrorBody, ErrorSource, Timestamp};
use serde_json::json;

fn at() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn sandbox() -> Sandbox {
    Sandbox {
        id: "0f8fad5b-d9cb-469f-a165-70867728950e".to_owned(),
        organization_id: "7c9e6679-7425-40de-944b-e07fc1f90ae7".to_owned(),
        name: "my-sandbox".to_owned(),
        snapshot: Some("default".to_owned()),
        user: "daytona".to_owned(),
        env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
        labels: BTreeMap::new(),
        public: false,
        network_block_all: false,
        kvm: false,
        network_allow_list: None,
        domain_allow_list: None,
        outbound_proxy_url: None,
        target: "us".to_owned(),
        cpu: 1,
        gpu: 0,
        spot: false,
        memory: 1,
        disk: 3,
        state: Some(SandboxState::Started),
        desired_state: Some(SandboxDesiredState::Started),
        error_reason: None,
        error_code: None,
        recoverable: false,
        backup_state: Some("None".to_owned()),
        auto_stop_interval: Some(15),
        auto_pause_interval: Some(0),
        auto_archive_interval: Some(10080),
        auto_delete_interval: Some(-1),
        auto_destroy_at: None,
        volumes: Vec::new(),
        build_info: None,
        created_at: Some(at()),
        updated_at: Some(at()),
        last_activity_at: Some(at()),
        sandbox_class: Some("container".to_owned()),
        daemon_version: Some("0.1.0".to_owned()),
        runner_id: None,
        linked_sandbox_id: None,
        toolbox_proxy_url: "http://127.0.0.1:3000/toolbox".to_owned(),
    }
}

#[test]
fn a_sandbox() {
    insta::assert_json_snapshot!(sandbox());
}

#[test]
fn a_page_of_sandboxes() {
    insta::assert_json_snapshot!(SandboxesList {
        items: vec![SandboxListItem::from(sandbox())],
        next_cursor: None,
    });
}

#[test]
fn every_field_that_python_needs_is_there() {
    let value = serde_json::to_value(sandbox()).unwrap();
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
        assert!(!value[field].is_null(), "{field}");
    }
    for field in ["cpu", "gpu", "memory", "disk"] {
        assert!(value[field].is_u64(), "{field}");
    }
}

#[test]
fn a_snapshot() {
    insta::assert_json_snapshot!(Snapshot {
        id: "0f8fad5b-d9cb-469f-a165-70867728950e".to_owned(),
        organization_id: None,
        general: true,
        name: "default".to_owned(),
        image_name: None,
        state: SnapshotState::Active,
        size: Some(0.7),
        entrypoint: None,
        cpu: 1,
        gpu: 0,
        mem: 1,
        disk: 3,
        error_reason: None,
        created_at: at(),
        updated_at: at(),
        last_used_at: None,
        source_sandbox_id: None,
        region_ids: vec!["us".to_owned()],
        reference: None,
        sandbox_class: Some("container".to_owned()),
    });
}

#[test]
fn the_configuration() {
    insta::assert_json_snapshot!(Configuration {
        version: "0.1.0".to_owned(),
        oidc: Oidc::default(),
        linked_accounts_enabled: false,
        announcements: BTreeMap::new(),
        proxy_template_url: "http://{{PORT}}-{{sandboxId}}.localhost:3000".to_owned(),
        proxy_toolbox_url: "http://127.0.0.1:3000/toolbox".to_owned(),
        default_snapshot: "default".to_owned(),
        dashboard_url: "http://127.0.0.1:3000/dashboard".to_owned(),
        max_auto_archive_interval: 43200,
        maintenance_mode: false,
        environment: "self-hosted".to_owned(),
        ssh_gateway_command: None,
        ssh_gateway_public_key: None,
        ssh_gateway_host: None,
        ssh_gateway_port: None,
        ssh_gateway_host_keys: None,
        ssh_gateway_host_key_fingerprints: None,
        rate_limit: None,
    });
}

#[test]
fn an_error() {
    insta::assert_json_snapshot!(ErrorBody {
        status_code: 404,
        error: "Not Found".to_owned(),
        message: "Sandbox with ID or name x not found".to_owned(),
        code: "NOT_FOUND".to_owned(),
        source: ErrorSource::Api,
        timestamp: at(),
        path: "/api/sandbox/x".to_owned(),
        method: "GET".to_owned(),
        request_id: None,
        details: None,
    });
}

#[test]
fn readiness_names_what_is_down() {
    insta::assert_json_snapshot!(Readiness::of([("database", true), ("runner", false)]));
}

#[test]
fn what_the_python_client_sends_is_read() {
    let body = json!({
        "snapshot": "snapA", "env": {"A": "1"},
        "labels": {"x": "y", "code-toolbox-language": "python"}, "target": "us",
        "autoStopInterval": 0, "autoDeleteInterval": 0, "volumes": [], "neverHeardOf": {"a": 1},
        "queueTimeout": null,
    });
    let create = CreateSandbox::from_json(body).unwrap();
    assert_eq!(create.snapshot.as_deref(), Some("snapA"));
    assert_eq!(create.env["A"], "1");
    assert_eq!(create.auto_delete_interval, Some(0));
}

#[test]
fn a_refused_body_names_every_reason() {
    let body = json!({
        "name": 7, "env": {"A": 1}, "cpu": "many", "public": "yes", "buildInfo": {}, "labels": [],
    });
    insta::assert_json_snapshot!(CreateSandbox::from_json(body).unwrap_err());
    assert_eq!(
        CreateSandbox::from_json(json!([])).unwrap_err(),
        ["the body must be a JSON object"]
    );
    assert_eq!(
        SandboxLabels::from_json(json!({})).unwrap_err(),
        ["labels must be an object of strings"]
    );
}

#[test]
fn numbers_in_the_form_of_other_languages_are_read() {
    let create =
        CreateSandbox::from_json(json!({"cpu": "2", "memory": 4.0, "public": "true"})).unwrap();
    assert_eq!(
        (create.cpu, create.memory, create.public),
        (Some(2), Some(4), Some(true))
    );
}

#[test]
fn what_the_client_writes_the_server_reads() {
    let create = CreateSandbox {
        name: Some("n".to_owned()),
        env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
        auto_stop_interval: Some(0),
        ..CreateSandbox::default()
    };
    let body = serde_json::to_value(&create).unwrap();
    assert_eq!(
        body,
        json!({"name": "n", "env": {"A": "1"}, "autoStopInterval": 0})
    );
    assert_eq!(CreateSandbox::from_json(body).unwrap(), create);
}
