//! Pulls, and images that nothing needs any more.

use std::fs;

use alcove_api_types::daytona::CreateSandbox;
use alcove_e2e::server::{Setup, TestServer};
use alcove_e2e::{prepared, wait};
use alcove_testkit::registry::TestRegistry;
use serde_json::json;

use super::{
    CONTROL, ask_and_die, delete_and_wait, images_are_tidy, layers, snapshot, snapshot_becomes,
    snapshot_goes,
};
use crate::support::{named, run};

pub const REPOSITORY: &str = "team/tiny";

pub const PULLING: [&str; 7] = [
    "runner:ImageDescribed",
    "runner:LayerFetched",
    "runner:LayerUnpacked",
    "runner:LayerNamed",
    "runner:LayerOwned",
    "runner:ImageWritten",
    "runner:ImageNamed",
];

pub const REMOVING: [&str; 3] = [
    "runner:NameForgotten",
    "runner:ImagesRemoved",
    "runner:LayersAside",
];

#[tokio::test]
async fn a_pull_and_a_removal_that_a_kill_cuts_short_anywhere_are_done_by_the_next_server() {
    let folder = tempfile::tempdir().unwrap();
    let registry = TestRegistry::open();
    let archive = prepared("ALCOVE_IMAGES_DIR", "busybox.oci.tar");
    let known = json!({"registries": {registry.host(): {"insecure": true}}});
    let path = folder.path().join("registries.json");
    fs::write(&path, known.to_string()).unwrap();
    let setup = Setup {
        registries: Some(path),
        ..Setup::default()
    };
    let mut server = TestServer::start_with(setup).await;
    let before = layers(&server);
    let pulling = [&PULLING[..], &CONTROL[..]].concat();
    let removing = [&REMOVING[..], &CONTROL[..]].concat();
    for round in 0..pulling.len().max(removing.len()) {
        let (tag, name) = (round.to_string(), format!("pulled-{round}"));
        registry.push_variant(REPOSITORY, &tag, &archive, "etc/note", name.as_bytes());
        let body = json!({
            "name": name,
            "imageName": format!("{}/{REPOSITORY}:{tag}", registry.host()),
        });
        let place = pulling[round % pulling.len()];
        let request = ("POST", "/api/snapshots");
        ask_and_die(&mut server, place, request, body.to_string()).await;
        snapshot_becomes(&server, &name, "active").await;
        let client = server.client();
        let wanted = CreateSandbox {
            snapshot: Some(name.clone()),
            ..named("box")
        };
        client.create(&wanted).await.unwrap();
        assert_eq!(run(&client, "box", "cat /etc/note").await, name, "{place}");
        delete_and_wait(&server, "box").await;
        server.nothing_left().await;
        // What the kill has left of the pull is gone, and what came of it is there.
        wait::until("the layers of the snapshot", async || {
            let found = layers(&server);
            if found.len() == before.len() + 1 {
                Ok(())
            } else {
                Err(found)
            }
        })
        .await;

        let place = removing[round % removing.len()];
        let path = format!("/api/snapshots/{name}");
        ask_and_die(&mut server, place, ("DELETE", &path), "").await;
        if snapshot(&server, &name)
            .await
            .is_some_and(|it| it["state"] == "active")
        {
            panic!("{place}: the delete was written before anything else happened");
        }
        snapshot_goes(&server, &name).await;
        wait::until("the layers from before", async || {
            let found = layers(&server);
            if found == before { Ok(()) } else { Err(found) }
        })
        .await;
        images_are_tidy(&server).await;
    }
    server.finish().await;
}
