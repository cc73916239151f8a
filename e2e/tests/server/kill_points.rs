//! `kill -9` of the server at every named place of its work, one after the other, and what the next server makes of it.
//!
//! The server is told the place and kills itself there; that it really died there is looked at each time. Afterwards what
//! was asked for is done or was never heard of, and nothing is left on the host that belongs to nobody.

mod audit;
mod builds;
mod expiry;
mod images;
mod joined;
mod sandboxes;
mod storage;
mod volumes;

use std::collections::BTreeSet;
use std::fs;

use alcove_e2e::host::names;
use alcove_e2e::server::TestServer;
use alcove_e2e::wait;
use http::StatusCode;
use serde_json::Value;

use crate::support::state;

/// What the control plane comes to between a wish and its end.
const CONTROL: [&str; 4] = [
    "control:WishWritten",
    "control:OrderReady",
    "control:AnswerHeard",
    "control:OutcomeWritten",
];

/// What every new sandbox comes to on the host.
const MAKING: [&str; 14] = [
    "runner:Admit",
    "runner:Range",
    "runner:RecordMaking",
    "runner:Disk",
    "runner:Group",
    "runner:Network",
    "runner:Volumes",
    "runner:Layers",
    "runner:Root",
    "runner:Listener",
    "runner:Policy",
    "runner:Spawn",
    "runner:Agent",
    "runner:RecordRunning",
];

async fn snapshot(server: &TestServer, name: &str) -> Option<Value> {
    let path = format!("/api/snapshots/{name}");
    let answer = server.raw().ask("GET", &path, "").await;
    (answer.status == StatusCode::OK).then(|| answer.json())
}

async fn snapshot_becomes(server: &TestServer, name: &str, wanted: &str) {
    wait::until(&format!("{name} becomes {wanted}"), async || {
        let found = snapshot(server, name).await.unwrap_or_default();
        if found["state"] == wanted {
            Ok(())
        } else {
            Err(found.to_string())
        }
    })
    .await;
}

async fn snapshot_goes(server: &TestServer, name: &str) {
    wait::until(&format!("{name} goes"), async || {
        match snapshot(server, name).await {
            None => Ok(()),
            Some(left) => Err(left.to_string()),
        }
    })
    .await;
}

/// Deletes a sandbox and waits until the server has written down that it is gone: what is open comes first when another
/// server takes over, and would be what a doomed one dies of.
async fn delete_and_wait(server: &TestServer, sandbox: &str) {
    let client = server.client();
    let id = client.get(sandbox).await.unwrap().id;
    client.delete(&id).await.unwrap();
    wait::until(&format!("{sandbox} is gone"), async || {
        match state(&client, &id).await {
            None => Ok(()),
            state => Err(state),
        }
    })
    .await;
}

/// Asks a doomed server and lets another take its place.
async fn ask_and_die(
    server: &mut TestServer,
    place: &str,
    (method, path): (&str, &str),
    body: impl Into<bytes::Bytes>,
) {
    server.doom(place).await;
    let raw = server.raw();
    let body = body.into();
    let (_, ()) = tokio::join!(
        raw.ask_if_alive(method, path, body),
        server.dies_and_restarts()
    );
}

/// Layers on the host.
fn layers(server: &TestServer) -> BTreeSet<String> {
    names(&server.instance.data_dir().join("images/layers"))
}

/// Waits until there is nothing in the store of images that no name leads to.
async fn images_are_tidy(server: &TestServer) {
    wait::until("a tidy store of images", async || {
        let left = untidy(server);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

fn untidy(server: &TestServer) -> Vec<String> {
    let store = server.instance.data_dir().join("images");
    let read = |path: std::path::PathBuf| -> Value {
        let text = fs::read(&path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    };
    let known = read(store.join("names.json"));
    let named: BTreeSet<&str> = known["names"]
        .as_object()
        .into_iter()
        .flat_map(|names| names.values().filter_map(Value::as_str))
        .collect();
    let mut left: Vec<String> = Vec::new();
    let mut needed = BTreeSet::new();
    for image in names(&store.join("images")) {
        let record = read(store.join("images").join(&image));
        let digest = record["digest"].as_str().unwrap_or_default();
        if !named.contains(digest) {
            left.push(format!("the image {image} has no name"));
        }
        let layers = record["layers"].as_array().into_iter().flatten();
        needed
            .extend(layers.map(|layer| layer.as_str().unwrap_or_default().replace("sha256:", "")));
    }
    let there = layers(server);
    left.extend(
        there
            .difference(&needed)
            .map(|it| format!("nothing needs the layer {it}")),
    );
    left.extend(
        needed
            .difference(&there)
            .map(|it| format!("the layer {it} is not there")),
    );
    for folder in ["tmp", "downloads"] {
        let found = names(&store.join(folder));
        left.extend(found.iter().map(|it| format!("{folder} holds {it}")));
    }
    left
}
