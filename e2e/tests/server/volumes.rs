//! Volumes through the API, with a server that is killed while they are mounted.

use std::time::Duration;

use alcove_api_types::daytona::{CreateSandbox, SandboxState, SandboxVolume};
use alcove_client::Client;
use alcove_e2e::server::{Dice, Port, Raw, Setup, TestServer};
use alcove_e2e::wait;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{becomes, counter_goes_on, named, refusal, run, start_counter};

async fn create_volume(raw: &Raw, name: &str) -> Value {
    let body = json!({"name": name}).to_string();
    let answer = raw.ask("POST", "/api/volumes", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let volume = answer.json();
    assert_eq!(volume["state"], "ready", "{volume}");
    volume
}

async fn delete_volume(raw: &Raw, volume: &Value) -> (u16, Value) {
    let path = format!("/api/volumes/{}", volume["id"].as_str().unwrap());
    let answer = raw.ask("DELETE", &path, "").await;
    let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    (answer.status.as_u16(), body)
}

fn no_image_left(server: &TestServer) {
    let images = alcove_e2e::host::names(&server.instance.data_dir().join("runner/volumes"));
    // What new ones are copied from stays.
    assert!(
        images.iter().all(|name| name.starts_with('.')),
        "{images:?}"
    );
}

fn mounting(name: &str, volume: &str) -> CreateSandbox {
    CreateSandbox {
        volumes: vec![SandboxVolume {
            volume_id: volume.to_owned(),
            mount_path: "/data".to_owned(),
            subpath: None,
        }],
        ..named(name)
    }
}

async fn make(client: &Client, name: &str, volume: &str) {
    let sandbox = client.create(&mounting(name, volume)).await.unwrap();
    assert_eq!(sandbox.state, Some(SandboxState::Started), "{sandbox:?}");
    assert_eq!(sandbox.volumes.len(), 1);
    assert_eq!(sandbox.volumes[0].mount_path, "/data");
}

#[tokio::test]
async fn a_volume_follows_its_sandboxes_through_stop_archive_and_fork() {
    let server = TestServer::start().await;
    let (client, raw) = (server.client(), server.raw());
    let volume = create_volume(&raw, "data").await;
    make(&client, "box", "data").await;
    make(&client, "other", volume["id"].as_str().unwrap()).await;
    run(&client, "box", "echo one > /data/file; echo own > own").await;
    assert_eq!(run(&client, "other", "cat /data/file").await, "one\n");

    client.stop("box", false).await.unwrap();
    run(&client, "other", "echo two > /data/file").await;
    client.start("box").await.unwrap();
    assert_eq!(
        run(&client, "box", "cat /data/file own").await,
        "two\nown\n"
    );

    let child = client.fork("box", "child").await.unwrap();
    assert_eq!(child.volumes[0].volume_id, volume["id"].as_str().unwrap());
    run(&client, "child", "echo three > /data/file").await;
    assert_eq!(run(&client, "box", "cat /data/file").await, "three\n");

    // A snapshot is of the sandbox's own files only.
    client.snapshot("box", "mine").await.unwrap();
    let request = CreateSandbox {
        snapshot: Some("mine".to_owned()),
        ..named("third")
    };
    client.create(&request).await.unwrap();
    assert_eq!(run(&client, "third", "ls -A /data; cat own").await, "own\n");

    client.stop("box", false).await.unwrap();
    client.archive("box").await.unwrap();
    for name in ["other", "child", "third"] {
        client.delete(name).await.unwrap();
    }
    let (status, body) = delete_volume(&raw, &volume).await;
    assert_eq!(
        (status, body["code"].as_str()),
        (409, Some("VOLUME_IN_USE"))
    );
    assert!(body["message"].as_str().unwrap().contains("box"), "{body}");
    client.start("box").await.unwrap();
    becomes(&client, "box", SandboxState::Started).await;
    assert_eq!(
        run(&client, "box", "cat /data/file own").await,
        "three\nown\n"
    );
    client.delete("box").await.unwrap();
    // Not waited for: the host lets go of it while the delete of the volume waits.
    assert_eq!(delete_volume(&raw, &volume).await.0, 200);
    let gone = raw
        .ask("GET", "/api/volumes?includeDeleted=true", "")
        .await
        .json();
    assert_eq!(gone[0]["state"], "deleted", "{gone}");
    no_image_left(&server);
    server.finish().await;
}

#[tokio::test]
async fn a_server_that_is_killed_finds_its_volumes_mounted_and_shares_them_on() {
    let mut server = TestServer::start().await;
    let client = server.client();
    let volume = create_volume(&server.raw(), "data").await;
    make(&client, "box", "data").await;
    let counter = start_counter(&client, "box").await;
    run(&client, "box", "echo one > /data/file").await;
    let loops = server.traces().loop_devices;
    server.kill();
    server.restart(Port::Same).await;
    let client = server.client();
    counter_goes_on(&client, "box", &counter).await;
    assert_eq!(
        server.traces().loop_devices,
        loops,
        "nothing was mounted anew"
    );
    make(&client, "other", "data").await;
    run(&client, "other", "echo two >> /data/file").await;
    assert_eq!(run(&client, "box", "cat /data/file").await, "one\ntwo\n");
    let (status, _) = delete_volume(&server.raw(), &volume).await;
    assert_eq!(status, 409);
    // Once more, and deleted right away.
    server.kill();
    server.restart(Port::Same).await;
    let client = server.client();
    for name in ["box", "other"] {
        client.delete(name).await.unwrap();
    }
    assert_eq!(delete_volume(&server.raw(), &volume).await.0, 200);
    server.finish().await;
}

/// Kills of each call, at moments spread over a little more than it takes.
const ROUNDS: u32 = 5;
const SPAN: Duration = Duration::from_millis(30);

/// Sends a request and kills the server at a moment of this round; whether it was answered is not known.
async fn ask_and_kill(
    server: &mut TestServer,
    wait: Duration,
    (method, path): (&str, &str),
    body: &str,
) {
    let raw = server.raw();
    let mut stream = raw.connect().await;
    let head = raw.head(method, path, "application/json", body.len());
    let asking = async {
        let request = format!("{head}{body}");
        // Perhaps it is heard, perhaps answered, perhaps neither.
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.read_u8().await;
    };
    let killing = async {
        tokio::time::sleep(wait).await;
        server.kill();
    };
    tokio::join!(asking, killing);
    server.restart(Port::Same).await;
}

#[tokio::test]
async fn creates_and_deletes_of_volumes_that_a_kill_cuts_short_are_done_by_the_next_server() {
    let mut server = TestServer::start().await;
    let mut dice = Dice::roll_out("volumes");
    for round in 0..ROUNDS {
        let name = format!("v{round}");
        let by_name = format!("/api/volumes/by-name/{name}");
        let body = json!({"name": name}).to_string();
        let wait = dice.moment(SPAN, round, ROUNDS);
        ask_and_kill(&mut server, wait, ("POST", "/api/volumes"), &body).await;
        let raw = server.raw();
        if raw.ask("GET", &by_name, "").await.status == 404 {
            // It had not been heard of.
            create_volume(&raw, &name).await;
        }
        let mut volume = Value::Null;
        wait::until("the volume is ready", async || {
            volume = raw.ask("GET", &by_name, "").await.json();
            if volume["state"] == "ready" {
                Ok(())
            } else {
                Err(volume.clone())
            }
        })
        .await;
        make(&server.client(), &name, &name).await;
        run(&server.client(), &name, "echo x > /data/file").await;
        server.client().delete(&name).await.unwrap();
        server.nothing_left().await;

        let by_id = format!("/api/volumes/{}", volume["id"].as_str().unwrap());
        let wait = dice.moment(SPAN, round, ROUNDS);
        ask_and_kill(&mut server, wait, ("DELETE", &by_id), "").await;
        let raw = server.raw();
        if raw.ask("GET", &by_id, "").await.json()["state"] == "ready" {
            // It had not been heard of.
            assert_eq!(delete_volume(&raw, &volume).await.0, 200);
        }
        wait::until("the volume is gone", async || {
            let volume = raw.ask("GET", &by_id, "").await.json();
            if volume["state"] == "deleted" {
                Ok(())
            } else {
                Err(volume)
            }
        })
        .await;
        no_image_left(&server);
    }
    server.finish().await;
}

#[tokio::test]
async fn a_full_volume_says_so_and_the_server_lives() {
    let setup = Setup {
        volume_size_mib: 16,
        ..Setup::default()
    };
    let server = TestServer::start_with(setup).await;
    let client = server.client();
    create_volume(&server.raw(), "data").await;
    make(&client, "box", "data").await;
    let fill = "dd if=/dev/zero of=/data/big bs=1M count=64 2>&1 || true";
    let said = run(&client, "box", fill).await;
    assert!(said.contains("No space left on device"), "{said}");
    make(&client, "other", "data").await;
    run(&client, "other", "rm /data/big; echo x > /data/small").await;
    assert!(client.health().await.is_ok());
    let wrong = client
        .create(&mounting("bad", "no-such-volume"))
        .await
        .unwrap_err();
    assert_eq!(refusal(&wrong), (404, "NOT_FOUND"));
    server.finish().await;
}

/// Their owner makes, finds, mounts and deletes one; a stranger can do nothing with it.
pub async fn are_their_owners_alone(owner: &Raw, stranger: &Raw) {
    let volume = create_volume(owner, "data").await;
    let id = volume["id"].as_str().unwrap();
    let by_id = format!("/api/volumes/{id}");
    for (method, path) in [
        ("GET", by_id.as_str()),
        ("DELETE", &by_id),
        ("GET", "/api/volumes/by-name/data"),
    ] {
        let answer = stranger.ask(method, path, "").await;
        assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
    }
    let body = |name: &str, volume: &str| {
        let mounts = json!([{"volumeId": volume, "mountPath": "/data"}]);
        json!({"name": name, "volumes": mounts}).to_string()
    };
    for volume in [id, "data"] {
        let answer = stranger
            .ask("POST", "/api/sandbox", body("thief", volume))
            .await;
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    let list = stranger.ask("GET", "/api/volumes", "").await.json();
    assert_eq!(list, json!([]));
    // The control.
    let made = owner
        .ask("POST", "/api/sandbox", body("owner", "data"))
        .await;
    assert_eq!(made.status, 200, "{made:?}");
    let gone = owner.ask("DELETE", "/api/sandbox/owner", "").await;
    assert_eq!(gone.status, 200);
    assert_eq!(delete_volume(owner, &volume).await.0, 200);
}
