//! Volumes: made, mounted, removed.

use alcove_api_types::daytona::{CreateSandbox, SandboxState, SandboxVolume};
use alcove_e2e::host::names;
use alcove_e2e::server::TestServer;
use alcove_e2e::wait;
use serde_json::{Value, json};

use super::{CONTROL, ask_and_die, delete_and_wait};
use crate::support::{becomes, named, run};

async fn volume_becomes(server: &TestServer, path: &str, wanted: &str) -> Value {
    let mut found = Value::Null;
    wait::until(&format!("the volume becomes {wanted}"), async || {
        found = server.raw().ask("GET", path, "").await.json();
        if found["state"] == wanted {
            Ok(())
        } else {
            Err(found.clone())
        }
    })
    .await;
    found
}

#[tokio::test]
async fn a_volume_whose_work_a_kill_cuts_short_anywhere_is_made_mounted_and_removed() {
    let mut server = TestServer::start().await;
    let making = [&["runner:VolumeMade"][..], &CONTROL[..]].concat();
    let mounting = [
        "runner:VolumeAttached",
        "runner:Volumes",
        "runner:Root",
        "runner:Spawn",
        "runner:RecordRunning",
    ];
    let removing = [&["runner:VolumeRemoved"][..], &CONTROL[..]].concat();
    for round in 0..making.len() {
        let name = format!("data-{round}");
        let body = json!({"name": name}).to_string();
        ask_and_die(&mut server, making[round], ("POST", "/api/volumes"), body).await;
        let by_name = format!("/api/volumes/by-name/{name}");
        let volume = volume_becomes(&server, &by_name, "ready").await;

        server.doom(mounting[round]).await;
        let client = server.client();
        let wanted = CreateSandbox {
            volumes: vec![SandboxVolume {
                volume_id: name.clone(),
                mount_path: "/data".to_owned(),
                subpath: None,
            }],
            ..named("box")
        };
        let (_, ()) = tokio::join!(client.create(&wanted), server.dies_and_restarts());
        let client = server.client();
        becomes(&client, "box", SandboxState::Started).await;
        run(&client, "box", "echo kept > /data/file").await;
        delete_and_wait(&server, "box").await;
        server.nothing_left().await;

        let by_id = format!("/api/volumes/{}", volume["id"].as_str().unwrap());
        ask_and_die(&mut server, removing[round], ("DELETE", &by_id), "").await;
        volume_becomes(&server, &by_id, "deleted").await;
        let images = names(&server.instance.data_dir().join("runner/volumes"));
        // What new ones are copied from stays.
        let is_template = |name: &String| name.starts_with('.');
        assert!(images.iter().all(is_template), "{images:?}");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_fork_of_a_drive_that_a_kill_cuts_short_anywhere_is_whole_and_leaves_its_source_alone() {
    let mut server = TestServer::start().await;
    let drive = "/api/v2/sandboxes/drives/data";
    let made = server.raw().ask("POST", drive, "{}").await;
    assert!(made.status.is_success(), "{made:?}");
    let mounting = |name: &str, volume: &str| CreateSandbox {
        volumes: vec![SandboxVolume {
            volume_id: volume.to_owned(),
            mount_path: "/data".to_owned(),
            subpath: None,
        }],
        ..named(name)
    };
    let writer = mounting("writer", "data");
    server.client().create(&writer).await.unwrap();
    let copying = [
        "runner:VolumeHeld",
        "runner:VolumeForked",
        "runner:VolumeMade",
    ];
    for (round, place) in copying.into_iter().chain(CONTROL).enumerate() {
        let word = format!("word-{round}");
        run(
            &server.client(),
            "writer",
            &format!("echo {word} > /data/file"),
        )
        .await;
        let name = format!("copy-{round}");
        let body = json!({ "name": name }).to_string();
        let fork = format!("{drive}/fork");
        ask_and_die(&mut server, place, ("POST", &fork), body).await;
        let by_name = format!("/api/volumes/by-name/{name}");
        let copy = volume_becomes(&server, &by_name, "ready").await;
        let client = server.client();
        // Nobody holds the source still any more.
        run(&client, "writer", "echo later > /data/file && sync").await;
        client.create(&mounting("reader", &name)).await.unwrap();
        let read = run(&client, "reader", "cat /data/file; echo own > /data/file").await;
        assert_eq!(read.trim_end(), word, "{place}");
        assert_eq!(run(&client, "writer", "cat /data/file").await, "later\n");
        delete_and_wait(&server, "reader").await;
        let by_id = format!("/api/volumes/{}", copy["id"].as_str().unwrap());
        wait::until("the copy can go", async || {
            let deleted = server.raw().ask("DELETE", &by_id, "").await;
            if deleted.status.is_success() {
                Ok(())
            } else {
                Err(deleted)
            }
        })
        .await;
    }
    delete_and_wait(&server, "writer").await;
    server.finish().await;
}
