//! Builds: what a client has uploaded, steps, layers, the snapshot in the end.

use alcove_api_types::daytona::CreateSandbox;
use alcove_e2e::host::names;
use alcove_e2e::server::TestServer;
use alcove_storage::{Bucket, FolderStore, Key, Limits, ObjectStore as _, PutOptions, body_of};
use serde_json::json;

use super::{
    CONTROL, MAKING, ask_and_die, delete_and_wait, images_are_tidy, layers, snapshot_becomes,
    snapshot_goes,
};
use crate::support::{counter_goes_on, make, named, run, start_counter};

/// What only builds come to.
const BUILDING: [&str; 14] = [
    "runner:ContextUnpacked",
    "runner:StepMade",
    "runner:StepRun",
    "runner:LayerUnpacked",
    "runner:LayerNamed",
    "runner:ImageWritten",
    "runner:ImageNamed",
    "runner:Captured",
    "runner:StepRemoved",
    // The second step, with the first one done.
    "runner:StepMade#2",
    "runner:Captured#2",
    "runner:StepRemoved#2",
    "runner:Composed",
    "runner:Spawn#2",
];

/// Puts a part of a context there as a client's upload would. No server may run.
async fn upload(server: &TestServer, organization: &str, part: &str, content: &str) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, "note", content.as_bytes())
        .unwrap();
    let folder = server.instance.data_dir().join("storage");
    let store = FolderStore::open(&folder, Limits::default()).await.unwrap();
    let path = format!("{organization}/{part}/context.tar");
    let key = Key::new(Bucket::CONTEXTS, path).unwrap();
    let body = body_of(tar.into_inner().unwrap());
    store.put(&key, body, PutOptions::default()).await.unwrap();
}

#[tokio::test]
async fn a_build_that_a_kill_cuts_short_anywhere_is_finished_by_the_next_server() {
    let mut server = TestServer::start().await;
    let bystander = make(&server.client(), "bystander").await;
    let counter = start_counter(&server.client(), "bystander").await;
    let places = [&BUILDING[..], &MAKING[..], &CONTROL[..]].concat();
    for (round, place) in places.iter().enumerate() {
        // Each round has content of its own, or its steps would be known already.
        let (name, part) = (format!("built-{round}"), format!("part-{round}"));
        server.kill();
        upload(&server, &bystander.organization_id, &part, &name).await;
        server.launch();
        server.ready().await;
        let dockerfile = format!(
            "FROM default\nUSER root\nCOPY note /note\nRUN echo {name} > /made\nUSER daytona\n"
        );
        let body = json!({
            "name": name,
            "buildInfo": {"dockerfileContent": dockerfile, "contextHashes": [part]},
        });
        let request = ("POST", "/api/snapshots");
        ask_and_die(&mut server, place, request, body.to_string()).await;

        // Its row was written before anything else happened.
        snapshot_becomes(&server, &name, "active").await;
        let client = server.client();
        let request = CreateSandbox {
            snapshot: Some(name.clone()),
            ..named("box")
        };
        client.create(&request).await.unwrap();
        let found = run(&client, "box", "cat /note; echo; cat /made").await;
        assert_eq!(found, format!("{name}\n{name}\n"), "{place}");
        delete_and_wait(&server, "box").await;
        let path = format!("/api/snapshots/{name}");
        let answer = server.raw().ask("DELETE", &path, "").await;
        assert_eq!(answer.status, 200, "{place}: {answer:?}");
        snapshot_goes(&server, &name).await;
        let only = std::collections::BTreeSet::from([bystander.id.clone()]);
        alcove_e2e::wait::until("a host with the bystander alone", async || {
            let on_host = server.instance.sandboxes();
            if on_host == only {
                Ok(())
            } else {
                Err(on_host)
            }
        })
        .await;
        let logs = names(&server.instance.data_dir().join("builds"));
        assert!(logs.is_empty(), "{place}: {logs:?}");
    }
    // Of each round the part of the context and both steps are kept for later builds, once.
    images_are_tidy(&server).await;
    assert_eq!(layers(&server).len(), 1 + 3 * places.len());
    counter_goes_on(&server.client(), "bystander", &counter).await;
    server.finish().await;
}
