//! A disk that is full in the middle of work: each call says so, nothing half-made stays, and all works again when there
//! is room.

use std::fs;

use alcove_api_types::daytona::{CreateSandbox, SandboxState};
use alcove_client::ClientError;
use alcove_e2e::host::names;
use alcove_e2e::server::{Folder, Setup, TestServer};
use alcove_e2e::{prepared, wait};
use alcove_testkit::registry::{TestRegistry, digest_of};
use serde_json::{Value, json};

use crate::host_full::fill;
use crate::support::{becomes, counter_goes_on, labels, make, named, run, start_counter};

/// Left to the database, and too little for any of the files below.
const LEFT_MIB: u64 = 12;
const FILE_MIB: usize = 40;
const REPOSITORY: &str = "team/large";

/// The words that a refusal has for a full disk.
fn says_full(error: &ClientError) {
    let refusal = error.refusal();
    let refusal = refusal.unwrap_or_else(|| panic!("no answer: {error:?}"));
    let is_typed = refusal.code == "HOST_DISK_FULL"
        || refusal.details.get("errorCode") == Some(&json!("host_disk_full"));
    assert!(is_typed, "{refusal:?}");
}

/// Nothing in the data folder that is not finished.
fn has_no_drafts(server: &TestServer, what: &str) {
    let data = server.instance.data_dir();
    for folder in [
        "images/tmp",
        "images/downloads",
        "storage/drafts",
        "archive",
    ] {
        let left = names(&data.join(folder));
        assert!(left.is_empty(), "{what}: {folder} holds {left:?}");
    }
    for folder in ["runner/disks", "runner/volumes"] {
        let left = names(&data.join(folder));
        let is_draft = |name: &String| name.starts_with('+');
        assert!(
            !left.iter().any(is_draft),
            "{what}: {folder} holds {left:?}"
        );
    }
}

async fn snapshot_settles(server: &TestServer, name: &str) -> Value {
    let mut found = Value::Null;
    wait::until(&format!("{name} settles"), async || {
        let path = format!("/api/snapshots/{name}");
        found = server.raw().ask("GET", &path, "").await.json();
        match found["state"].as_str() {
            Some("active" | "error" | "build_failed") => Ok(()),
            _ => Err(found.to_string()),
        }
    })
    .await;
    found
}

/// Bytes that no compression makes fewer.
fn noise(mib: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(mib << 20);
    while bytes.len() < mib << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

#[tokio::test]
async fn work_that_finds_no_room_says_so_and_works_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let registry = TestRegistry::open();
    let archive = prepared("ALCOVE_IMAGES_DIR", "busybox.oci.tar");
    registry.push_variant(REPOSITORY, "1", &archive, "big", &noise(FILE_MIB));
    let path = folder.path().join("registries.json");
    let known = json!({"registries": {registry.host(): {"insecure": true}}});
    fs::write(&path, known.to_string()).unwrap();
    let setup = Setup {
        disk_reserve_mib: 0,
        registries: Some(path),
        ..Setup::default()
    };
    let server = TestServer::start_in(Folder::small(400), setup).await;
    let (client, raw) = (server.client(), server.raw());
    make(&client, "runs").await;
    let counter = start_counter(&client, "runs").await;
    make(&client, "box").await;
    let write = format!(
        "dd if=/dev/urandom of=big bs=1M count={FILE_MIB} 2>/dev/null; sync; sha256sum big"
    );
    let sum = run(&client, "box", &write).await;
    client.stop("box", false).await.unwrap();
    let pull =
        json!({"name": "pulled", "imageName": format!("{}/{REPOSITORY}:1", registry.host())});
    let push = Push::of(&server).await;
    let blob = noise(FILE_MIB);

    let filler = fill(server.instance.data_dir(), LEFT_MIB);
    says_full(&client.archive("box").await.unwrap_err());
    has_no_drafts(&server, "an archive");
    says_full(&client.snapshot("box", "mine").await.unwrap_err());
    has_no_drafts(&server, "a snapshot");
    says_full(&client.fork("box", "child").await.unwrap_err());
    has_no_drafts(&server, "a fork");
    assert_eq!(
        raw.ask("POST", "/api/snapshots", pull.to_string())
            .await
            .status,
        200
    );
    let failed = snapshot_settles(&server, "pulled").await;
    assert_eq!(failed["state"], "error", "{failed}");
    assert!(
        failed["errorReason"]
            .as_str()
            .unwrap()
            .contains("No space left"),
        "{failed}"
    );
    has_no_drafts(&server, "a pull");
    assert_eq!(push.put(&blob).await, Some(507));
    has_no_drafts(&server, "a push");
    becomes(&client, "box", SandboxState::Stopped).await;
    counter_goes_on(&client, "runs", &counter).await;
    fs::remove_file(filler).unwrap();

    // The same once more, with room; what failed leaves its name to who deletes it.
    for name in ["pulled", "mine"] {
        let path = format!("/api/snapshots/{name}");
        raw.ask("DELETE", &path, "").await;
        wait::until(&format!("{name} goes"), async || {
            match raw.ask("GET", &path, "").await.status.as_u16() {
                404 => Ok(()),
                status => Err(status),
            }
        })
        .await;
    }
    assert_eq!(push.put(&blob).await, Some(201));
    assert_eq!(
        raw.ask("POST", "/api/snapshots", pull.to_string())
            .await
            .status,
        200
    );
    let pulled = snapshot_settles(&server, "pulled").await;
    assert_eq!(pulled["state"], "active", "{pulled}");
    client.snapshot("box", "mine").await.unwrap();
    client.archive("box").await.unwrap();
    client.start("box").await.unwrap();
    becomes(&client, "box", SandboxState::Started).await;
    assert_eq!(run(&client, "box", "sha256sum big").await, sum);
    counter_goes_on(&client, "runs", &counter).await;
    server.finish().await;
}

#[tokio::test]
async fn a_build_and_a_volume_on_a_full_disk_fail_and_are_made_when_there_is_room() {
    let setup = Setup {
        disk_reserve_mib: 48,
        ..Setup::default()
    };
    let server = TestServer::start_in(Folder::small(300), setup).await;
    let (client, raw) = (server.client(), server.raw());
    make(&client, "runs").await;
    let dockerfile = "FROM default\nUSER root\nRUN echo made > /made\n";
    let order = json!({"name": "built", "buildInfo": {"dockerfileContent": dockerfile}});
    let volume = json!({"name": "data"}).to_string();

    let filler = fill(server.instance.data_dir(), 40);
    assert_eq!(
        raw.ask("POST", "/api/snapshots", order.to_string())
            .await
            .status,
        200
    );
    let failed = snapshot_settles(&server, "built").await;
    assert_eq!(failed["state"], "build_failed", "{failed}");
    assert!(
        failed["errorReason"].as_str().unwrap().contains("disk"),
        "{failed}"
    );
    let refused = raw.ask("POST", "/api/volumes", volume.clone()).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(
        refused.json()["message"].as_str().unwrap().contains("disk"),
        "{refused:?}"
    );
    has_no_drafts(&server, "a build and a volume");
    assert_eq!(server.instance.sandboxes().len(), 1);
    fs::remove_file(filler).unwrap();

    raw.ask("DELETE", "/api/snapshots/built", "").await;
    wait::until("the name is free", async || {
        match raw
            .ask("GET", "/api/snapshots/built", "")
            .await
            .status
            .as_u16()
        {
            404 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    assert_eq!(
        raw.ask("POST", "/api/snapshots", order.to_string())
            .await
            .status,
        200
    );
    let built = snapshot_settles(&server, "built").await;
    assert_eq!(built["state"], "active", "{built}");
    let list = raw.ask("GET", "/api/volumes", "").await.json();
    for volume in list.as_array().unwrap() {
        let path = format!("/api/volumes/{}", volume["id"].as_str().unwrap());
        assert_eq!(raw.ask("DELETE", &path, "").await.status, 200);
    }
    let made = raw.ask("POST", "/api/volumes", volume).await;
    assert_eq!(
        (made.status.as_u16(), &made.json()["state"]),
        (200, &json!("ready"))
    );
    let wanted = CreateSandbox {
        snapshot: Some("built".to_owned()),
        ..named("box")
    };
    client.create(&wanted).await.unwrap();
    assert_eq!(run(&client, "box", "cat /made").await, "made\n");
    server.finish().await;
}

#[tokio::test]
async fn a_step_of_a_build_that_fills_the_disk_says_so_and_leaves_nothing() {
    let setup = Setup {
        disk_reserve_mib: 0,
        ..Setup::default()
    };
    let server = TestServer::start_in(Folder::small(300), setup).await;
    let (client, raw) = (server.client(), server.raw());
    make(&client, "box").await;
    for (name, write) in [
        ("dd", "dd if=/dev/urandom of=/big bs=1M count=400"),
        (
            "many",
            "for i in $(seq 100); do dd if=/dev/urandom of=/big$i bs=1M count=4; done; sync",
        ),
        (
            "unheard",
            "dd if=/dev/urandom of=/big bs=1M count=400 || true",
        ),
    ] {
        let dockerfile = format!("FROM default\nUSER root\nRUN {write}\n");
        let order = json!({"name": name, "buildInfo": {"dockerfileContent": dockerfile}});
        let asked = raw.ask("POST", "/api/snapshots", order.to_string()).await;
        assert_eq!(asked.status, 200, "{asked:?}");
        let failed = snapshot_settles(&server, name).await;
        assert_eq!(failed["state"], "build_failed", "{failed}");
        let reason = failed["errorReason"].as_str().unwrap();
        assert!(
            reason.contains("the host has no disk space left"),
            "{failed}"
        );
        has_no_drafts(&server, name);
        assert_eq!(server.instance.sandboxes().len(), 1, "{name}");
    }
    run(&client, "box", "true").await;
    let dockerfile = "FROM default\nUSER root\nRUN echo made > /made\n";
    let order = json!({"name": "built", "buildInfo": {"dockerfileContent": dockerfile}});
    let asked = raw.ask("POST", "/api/snapshots", order.to_string()).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    let built = snapshot_settles(&server, "built").await;
    assert_eq!(built["state"], "active", "{built}");
    server.finish().await;
}

#[tokio::test]
async fn what_the_database_cannot_write_is_refused_and_what_it_has_acknowledged_stays() {
    let setup = Setup {
        disk_reserve_mib: 0,
        ..Setup::default()
    };
    let mut server = TestServer::start_in(Folder::small(160), setup).await;
    let client = server.client();
    make(&client, "box").await;
    let first = labels(&[("round", "first")]);
    client.set_labels("box", first.clone()).await.unwrap();
    let filler = fill(server.instance.data_dir(), 0);
    // What is there of the write-ahead log has room for some more.
    let mut last = first;
    let mut refused = 0;
    for round in 0..4000 {
        let wanted = labels(&[("round", &format!("{round} {}", "x".repeat(2000)))]);
        match client.set_labels("box", wanted.clone()).await {
            Ok(_) => last = wanted,
            Err(error) => {
                says_full(&error);
                refused += 1;
                if refused == 3 {
                    break;
                }
            }
        }
    }
    assert_eq!(refused, 3, "the disk was never full");
    assert_eq!(client.get("box").await.unwrap().labels, last);
    server.kill();
    fs::remove_file(filler).unwrap();
    server.launch();
    server.ready().await;
    let client = server.client();
    assert_eq!(client.get("box").await.unwrap().labels, last);
    client
        .set_labels("box", labels(&[("round", "last")]))
        .await
        .unwrap();
    run(&client, "box", "true").await;
    server.finish().await;
}

/// Pushes blobs to the server's own registry.
struct Push {
    raw: alcove_e2e::server::Raw,
    path: String,
}

impl Push {
    async fn of(server: &TestServer) -> Self {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        let path = "/api/docker-registry/registry-push-access";
        let access: Value = server.raw().ask("GET", path, "").await.json();
        let text = |name: &str| access[name].as_str().unwrap().to_owned();
        let login = STANDARD.encode(format!("{}:{}", text("username"), text("secret")));
        Self {
            raw: server
                .raw()
                .with_authorization(Some(&format!("Basic {login}"))),
            path: format!("/v2/{}/tools/blobs/uploads/", text("project")),
        }
    }

    /// The status of the answer.
    async fn put(&self, content: &[u8]) -> Option<u16> {
        let path = format!("{}?digest={}", self.path, digest_of(content));
        let kind = "application/octet-stream";
        let answer = self
            .raw
            .send_as("POST", &path, kind, content.to_vec())
            .await;
        answer.map(|answer| answer.status.as_u16())
    }
}
