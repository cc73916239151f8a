//! The same of a runner that is a process of its own: it dies, and the server goes on. Who asked waits for what the next process
//! makes of it, and hears nothing of the death.

use std::fs;

use alcove_api_types::daytona::{
    CreateSandbox, ResizeSandbox, SandboxState, UpdateSandboxNetworkSettings,
};
use alcove_client::Client;
use alcove_e2e::server::{JoinedRunner, Setup, TestServer};
use alcove_e2e::{prepared, wait};
use alcove_testkit::registry::TestRegistry;
use serde_json::json;

use super::images::{PULLING, REPOSITORY};
use super::{MAKING, delete_and_wait, snapshot_becomes};
use crate::support::{becomes, counter_goes_on, named, run, start_counter};

const REGION: &str = "lab";

/// A server with a runner beside it, and a sandbox there that nothing is done to.
struct Lab {
    server: TestServer,
    runner: JoinedRunner,
    counter: String,
}

impl Lab {
    async fn open(setup: Setup) -> Self {
        let server = TestServer::start_with(setup).await;
        let runner = JoinedRunner::start(&server, REGION).await;
        let client = server.client();
        client.create(&there("bystander")).await.unwrap();
        let counter = start_counter(&client, "bystander").await;
        Self {
            server,
            runner,
            counter,
        }
    }

    fn client(&self) -> Client {
        self.server.client()
    }

    /// Makes a call during which the runner dies at a place, and answers what came of it.
    async fn call<T>(&mut self, place: &str, call: impl AsyncFnOnce(&Client) -> T) -> T {
        self.runner.doom(&self.server, place).await;
        let client = self.client();
        let (answer, ()) = tokio::join!(
            call(&client),
            self.runner.dies_and_joins_again(&self.server)
        );
        answer
    }

    /// Deletes a sandbox, and waits until the bystander alone has anything on the host.
    async fn delete(&self, name: &str) {
        delete_and_wait(&self.server, name).await;
        wait::until(&format!("nothing is left of {name}"), async || {
            let left = self.runner.instance.sandboxes();
            if left.len() == 1 { Ok(()) } else { Err(left) }
        })
        .await;
    }

    async fn close(self) {
        let client = self.client();
        counter_goes_on(&client, "bystander", &self.counter).await;
        client.delete("bystander").await.unwrap();
        self.runner.finish().await;
        self.server.finish().await;
    }
}

fn there(name: &str) -> CreateSandbox {
    CreateSandbox {
        target: Some(REGION.to_owned()),
        ..named(name)
    }
}

#[tokio::test]
async fn a_create_and_a_start_that_a_joined_runner_dies_of_anywhere_are_done_by_the_next_one() {
    let mut lab = Lab::open(Setup::default()).await;
    for place in MAKING {
        let made = lab
            .call(place, async |client| client.create(&there("box")).await)
            .await;
        let made = made.unwrap_or_else(|error| panic!("{place}: {error:?}"));
        assert_eq!(made.state, Some(SandboxState::Started), "{place}: {made:?}");
        run(&lab.client(), "box", "echo kept > file; sync").await;
        // A start takes no new range, record or disk.
        if !["runner:Range", "runner:RecordMaking", "runner:Disk"].contains(&place) {
            lab.client().stop("box", false).await.unwrap();
            let started = lab
                .call(place, async |client| client.start("box").await)
                .await;
            let started = started.unwrap_or_else(|error| panic!("{place}: {error:?}"));
            assert_eq!(started.state, Some(SandboxState::Started), "{place}");
        }
        let kept = run(&lab.client(), "box", "cat file").await;
        assert_eq!(kept, "kept\n", "{place}");
        lab.delete("box").await;
    }
    lab.close().await;
}

#[tokio::test]
async fn a_pull_that_a_joined_runner_dies_of_anywhere_is_done_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let registry = TestRegistry::open();
    let archive = prepared("ALCOVE_IMAGES_DIR", "busybox.oci.tar");
    let known = json!({"registries": {registry.host(): {"insecure": true}}});
    let path = folder.path().join("registries.json");
    fs::write(&path, known.to_string()).unwrap();
    let mut lab = Lab::open(Setup {
        registries: Some(path),
        ..Setup::default()
    })
    .await;
    for (round, place) in PULLING.into_iter().enumerate() {
        let (tag, name) = (round.to_string(), format!("pulled-{round}"));
        registry.push_variant(REPOSITORY, &tag, &archive, "etc/note", name.as_bytes());
        let body = json!({
            "name": name,
            "imageName": format!("{}/{REPOSITORY}:{tag}", registry.host()),
        });
        let raw = lab.server.raw();
        let made = raw.ask("POST", "/api/snapshots", body.to_string()).await;
        assert!(made.status.is_success(), "{made:?}");
        snapshot_becomes(&lab.server, &name, "active").await;
        let wanted = CreateSandbox {
            snapshot: Some(name.clone()),
            ..there("box")
        };
        let made = lab
            .call(place, async |client| client.create(&wanted).await)
            .await;
        let made = made.unwrap_or_else(|error| panic!("{place}: {error:?}"));
        assert_eq!(made.state, Some(SandboxState::Started), "{place}: {made:?}");
        let note = run(&lab.client(), "box", "cat /etc/note").await;
        assert_eq!(note, name, "{place}");
        lab.delete("box").await;
    }
    lab.close().await;
}

#[tokio::test]
async fn what_becomes_of_a_sandbox_is_done_by_the_next_joined_runner_where_one_dies_of_it() {
    let mut lab = Lab::open(Setup::default()).await;
    let made = lab.client().create(&there("box")).await.unwrap();
    run(&lab.client(), "box", "echo kept > file; sync").await;

    let archiving = ["runner:ArchiveWritten", "runner:ArchiveSettled"];
    let restoring = ["runner:RestoreWritten", "runner:RestoreRecorded"];
    for (archive, restore) in archiving.into_iter().zip(restoring) {
        lab.client().stop("box", false).await.unwrap();
        let archived = lab
            .call(archive, async |client| client.archive("box").await)
            .await;
        archived.unwrap_or_else(|error| panic!("{archive}: {error:?}"));
        becomes(&lab.client(), "box", SandboxState::Archived).await;
        let traces = lab.runner.instance.traces();
        assert_eq!(
            (traces.disks.len(), traces.archives.len()),
            (1, 1),
            "{archive}"
        );
        let started = lab
            .call(restore, async |client| client.start("box").await)
            .await;
        started.unwrap_or_else(|error| panic!("{restore}: {error:?}"));
        let kept = run(&lab.client(), "box", "cat file").await;
        assert_eq!(kept, "kept\n", "{restore}");
        let traces = lab.runner.instance.traces();
        assert_eq!(
            (traces.disks.len(), traces.archives.len()),
            (2, 0),
            "{restore}"
        );
    }

    for place in ["runner:DiskCopied", "runner:ChildRecorded", "runner:Spawn"] {
        let forked = lab
            .call(place, async |client| client.fork("box", "child").await)
            .await;
        let forked = forked.unwrap_or_else(|error| panic!("{place}: {error:?}"));
        assert_eq!(forked.state, Some(SandboxState::Started), "{place}");
        let kept = run(&lab.client(), "child", "cat file").await;
        assert_eq!(kept, "kept\n", "{place}");
        becomes(&lab.client(), "box", SandboxState::Started).await;
        delete_and_wait(&lab.server, "child").await;
    }

    let wanted = ResizeSandbox {
        memory: Some((made.memory + 1).into()),
        ..ResizeSandbox::default()
    };
    let sized = lab
        .call("runner:Sized", async |client| {
            client.resize("box", &wanted).await
        })
        .await;
    sized.unwrap();
    let found = becomes(&lab.client(), "box", SandboxState::Started).await;
    assert_eq!(found.memory, made.memory + 1);

    for (place, is_closed) in [("runner:NetworkNoted", true), ("runner:NetworkSet", false)] {
        let settings = UpdateSandboxNetworkSettings {
            network_block_all: Some(is_closed),
            ..UpdateSandboxNetworkSettings::default()
        };
        let set = lab
            .call(place, async |client| {
                client.set_network("box", &settings).await
            })
            .await;
        set.unwrap_or_else(|error| panic!("{place}: {error:?}"));
        let found = lab.client().get("box").await.unwrap();
        assert_eq!(found.network_block_all, is_closed, "{place}");
        assert_eq!(found.error_reason, None, "{place}");
    }

    lab.client().stop("box", false).await.unwrap();
    let wanted = ResizeSandbox {
        disk: Some((made.disk + 1).into()),
        ..ResizeSandbox::default()
    };
    let grown = lab
        .call("runner:DiskGrown", async |client| {
            client.resize("box", &wanted).await
        })
        .await;
    grown.unwrap();
    let found = becomes(&lab.client(), "box", SandboxState::Stopped).await;
    assert_eq!(found.disk, made.disk + 1);
    lab.client().start("box").await.unwrap();
    assert_eq!(run(&lab.client(), "box", "cat file").await, "kept\n");
    lab.delete("box").await;
    lab.close().await;
}
