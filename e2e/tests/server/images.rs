//! Snapshots of images in a real registry, and what becomes of them and of their images.

use std::fs;
use std::path::Path;
use std::time::Duration;

use alcove_api_types::daytona::{CreateSandbox, SandboxState};
use alcove_e2e::server::{Answer, Setup, TestServer};
use alcove_e2e::{prepared, wait};
use alcove_testkit::registry::{Asks, CuttingProxy, PASSWORD, TestRegistry, USER};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{becomes, named, refusal, run, state, within};

const REPOSITORY: &str = "team/tiny";

/// A server that knows registries by this file.
async fn server_with(registries: &Value, folder: &Path) -> TestServer {
    let path = folder.join("registries.json");
    fs::write(&path, json!({"registries": registries}).to_string()).unwrap();
    let setup = Setup {
        registries: Some(path),
        ..Setup::default()
    };
    TestServer::start_with(setup).await
}

/// A registry with the tiny image, and one more layer of this content on top.
fn registry(asks: Asks, has_tls: bool, note: &str) -> TestRegistry {
    let registry = TestRegistry::start(asks, has_tls);
    let archive = prepared("ALCOVE_IMAGES_DIR", "busybox.oci.tar");
    registry.push_variant(REPOSITORY, "1", &archive, "etc/note", note.as_bytes());
    registry
}

async fn create(server: &TestServer, body: Value) -> Answer {
    server
        .raw()
        .ask("POST", "/api/snapshots", body.to_string())
        .await
}

async fn get(server: &TestServer, name: &str) -> Option<Value> {
    let path = format!("/api/snapshots/{name}");
    let answer = server.raw().ask("GET", &path, "").await;
    (answer.status == StatusCode::OK).then(|| answer.json())
}

async fn settles(server: &TestServer, name: &str, wanted: &str) -> Value {
    let mut found = Value::Null;
    wait::until(&format!("{name} becomes {wanted}"), async || {
        found = get(server, name).await.unwrap_or_default();
        if found["state"] == wanted {
            Ok(())
        } else {
            Err(found.to_string())
        }
    })
    .await;
    found
}

async fn delete(server: &TestServer, name: &str) {
    let path = format!("/api/snapshots/{name}");
    let answer = server.raw().ask("DELETE", &path, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    wait::until(&format!("{name} goes"), async || {
        match get(server, name).await {
            None => Ok(()),
            Some(left) => Err(left.to_string()),
        }
    })
    .await;
}

fn layers(server: &TestServer) -> usize {
    let folder = server.instance.data_dir().join("images/layers");
    fs::read_dir(folder).unwrap().count()
}

async fn layers_become(server: &TestServer, wanted: usize) {
    wait::until(&format!("{wanted} layers"), async || match layers(server) {
        found if found == wanted => Ok(()),
        found => Err(found),
    })
    .await;
}

fn from(snapshot: &str, name: &str) -> CreateSandbox {
    CreateSandbox {
        snapshot: Some(snapshot.to_owned()),
        ..named(name)
    }
}

#[tokio::test]
async fn a_sandbox_outlives_its_snapshot_and_its_image_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(Asks::Password, true, "of the registry");
    let host = registry.host();
    // The registry takes its own along when it goes.
    fs::copy(registry.ca(), folder.path().join("ca.pem")).unwrap();
    let known = json!({
        host.clone(): {"ca": "ca.pem", "username": USER, "password": PASSWORD}
    });
    let mut server = server_with(&known, folder.path()).await;
    let before = layers(&server);
    let made = create(
        &server,
        json!({"name": "mine", "imageName": format!("{host}/{REPOSITORY}:1"), "memory": 2}),
    )
    .await;
    assert_eq!(made.status, StatusCode::OK, "{made:?}");
    assert_eq!(made.json()["state"], "pending");
    let snapshot = settles(&server, "mine", "active").await;
    assert_eq!(snapshot["mem"], 2);
    // The tiny image's own layer is shared with the default snapshot.
    assert_eq!(layers(&server), before + 1);

    let client = server.client();
    let sandbox = client.create(&from("mine", "box")).await.unwrap();
    assert_eq!(sandbox.state, Some(SandboxState::Started));
    assert_eq!(sandbox.memory, 2);
    assert_eq!(
        run(&client, "box", "cat /etc/note").await,
        "of the registry"
    );
    run(&client, "box", "echo kept > file").await;
    client.stop("box", false).await.unwrap();
    delete(&server, "mine").await;
    drop(registry);

    // Neither a look at what is needed nor a kill takes the image from the sandbox.
    server.kill_and_restart().await;
    let client = server.client();
    client.start("box").await.unwrap();
    becomes(&client, "box", SandboxState::Started).await;
    assert_eq!(
        run(&client, "box", "cat file /etc/note").await,
        "kept\nof the registry"
    );
    client.stop("box", false).await.unwrap();
    client.archive("box").await.unwrap();
    wait::until("images are looked through", async || {
        if server.log().contains("removed 1 images") {
            return Err("the image of an archived sandbox was removed");
        }
        Ok(())
    })
    .await;
    client.start("box").await.unwrap();
    becomes(&client, "box", SandboxState::Started).await;
    assert_eq!(layers(&server), before + 1);

    client.delete("box").await.unwrap();
    layers_become(&server, before).await;
    server.finish().await;
}

#[tokio::test]
async fn a_pull_goes_on_after_a_kill_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let registry = TestRegistry::open();
    let archive = prepared("ALCOVE_IMAGES_DIR", "busybox.oci.tar");
    registry.push_archive(REPOSITORY, "1", &archive);
    let proxy = CuttingProxy::start(registry.port());
    let host = proxy.host();
    let mut server = server_with(&json!({host.clone(): {"insecure": true}}), folder.path()).await;
    proxy.hold_after(200 << 10);
    let body = json!({"name": "mine", "imageName": format!("{host}/{REPOSITORY}:1")});
    assert_eq!(create(&server, body).await.status, StatusCode::OK);
    settles(&server, "mine", "pulling").await;
    wait::until("the pull is halfway", async || {
        if proxy.is_used_up() {
            Ok(())
        } else {
            Err(proxy.requests())
        }
    })
    .await;
    let early = server.client().create(&from("mine", "early")).await;
    assert_eq!(refusal(&early.unwrap_err()).0, 400);
    server.kill();
    proxy.mend();
    let before = proxy.requests().len();
    server.restart(alcove_e2e::server::Port::Same).await;
    settles(&server, "mine", "active").await;
    let later = proxy.requests().split_off(before);
    let resumed = later.iter().filter(|request| request.contains("bytes="));
    assert_eq!(resumed.count(), 1, "{later:?}");
    let client = server.client();
    client.create(&from("mine", "box")).await.unwrap();
    assert_eq!(run(&client, "box", "id -un").await, "daytona\n");
    delete(&server, "mine").await;
    server.finish().await;
}

#[tokio::test]
async fn a_snapshot_goes_at_once_whose_registry_says_nothing_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let registry = TestRegistry::open();
    let archive = prepared("ALCOVE_IMAGES_DIR", "busybox.oci.tar");
    registry.push_archive(REPOSITORY, "1", &archive);
    let proxy = CuttingProxy::start(registry.port());
    let host = proxy.host();
    let server = server_with(&json!({host.clone(): {"insecure": true}}), folder.path()).await;
    proxy.hold_after(200 << 10);
    let body = json!({"name": "mine", "imageName": format!("{host}/{REPOSITORY}:1")});
    assert_eq!(create(&server, body.clone()).await.status, StatusCode::OK);
    settles(&server, "mine", "pulling").await;
    wait::until("the pull is halfway", async || {
        if proxy.is_used_up() {
            Ok(())
        } else {
            Err(proxy.requests())
        }
    })
    .await;
    // A registry is given up after half a minute.
    let soon = Duration::from_secs(10);
    within("the delete", soon, delete(&server, "mine")).await;
    // The name is free, and the pull of before is in nobody's way.
    proxy.mend();
    assert_eq!(create(&server, body).await.status, StatusCode::OK);
    settles(&server, "mine", "active").await;
    server.client().create(&from("mine", "box")).await.unwrap();
    delete(&server, "mine").await;
    server.finish().await;
}

#[tokio::test]
async fn the_entrypoint_of_a_snapshot_runs_and_so_does_that_of_what_is_made_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(Asks::Nothing, false, "x");
    let host = registry.host();
    let server = server_with(&json!({host.clone(): {"insecure": true}}), folder.path()).await;
    let program = ["/bin/sh", "-c", "echo ran > /tmp/ran; sleep 1000"];
    let body = json!({
        "name": "mine",
        "imageName": format!("{host}/{REPOSITORY}:1"),
        "entrypoint": program,
    });
    assert_eq!(
        create(&server, body).await.json()["entrypoint"],
        json!(program)
    );
    settles(&server, "mine", "active").await;
    let client = server.client();
    client.create(&from("mine", "box")).await.unwrap();
    client.snapshot("box", "again").await.unwrap();
    client.create(&from("again", "third")).await.unwrap();
    for name in ["box", "third"] {
        run(
            &client,
            name,
            "rm -f /tmp/seen; until [ -s /tmp/ran ]; do sleep 0.05; done",
        )
        .await;
    }
    delete(&server, "mine").await;
    delete(&server, "again").await;
    server.finish().await;
}

#[tokio::test]
async fn an_old_clients_image_is_pulled_before_the_sandbox_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(Asks::Nothing, false, "old");
    let host = registry.host();
    let server = server_with(&json!({host.clone(): {"insecure": true}}), folder.path()).await;
    let image = format!("{host}/{REPOSITORY}:1");
    let raw = server.raw();
    let body = json!({"id": "old", "image": image, "target": "eu"}).to_string();
    let answer = raw.ask("POST", "/api/workspace", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let workspace = answer.json();
    assert_eq!(
        (&workspace["state"], &workspace["image"]),
        (&json!("started"), &json!(image))
    );
    let client = server.client();
    assert_eq!(run(&client, "old", "cat /etc/note").await, "old");
    let body = json!({"name": "new", "image": image}).to_string();
    assert_eq!(
        raw.ask("POST", "/api/sandbox", body).await.status,
        StatusCode::OK
    );
    let missing = json!({"image": format!("{host}/{REPOSITORY}:2")}).to_string();
    let answer = raw.ask("POST", "/api/sandbox", missing).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    assert_eq!(state(&client, "new").await, Some(SandboxState::Started));
    let encoded = image.replace('/', "%2F").replace(':', "%3A");
    delete(&server, &encoded).await;
    server.finish().await;
}

#[tokio::test]
async fn a_registry_at_a_private_address_is_not_asked_unless_it_is_named() {
    let registry = registry(Asks::Nothing, false, "x");
    let server = TestServer::start().await;
    let body = json!({"name": "mine", "imageName": format!("{}/{REPOSITORY}:1", registry.host())});
    assert_eq!(create(&server, body).await.status, StatusCode::OK);
    let failed = settles(&server, "mine", "error").await;
    let reason = failed["errorReason"].as_str().unwrap();
    assert!(reason.contains("not at a public address"), "{reason}");
    // Nothing waits: within the time that a pull takes, the next one is refused the same way.
    let limit = wait::patience(Duration::from_secs(10));
    let body = json!({"name": "other", "imageName": "localhost:1/x:1"});
    let made = tokio::time::timeout(limit, create(&server, body)).await;
    assert_eq!(made.unwrap().status, StatusCode::OK);
    settles(&server, "other", "error").await;
    delete(&server, "mine").await;
    delete(&server, "other").await;
    server.finish().await;
}
