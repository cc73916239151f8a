//! What hosts can do: what they say of it, and that nothing is asked of one that cannot.

use alcove_domain::{Capability, MountRequest, NetworkSettings, NewSandbox, SandboxState as State};
use alcove_testkit::{TestControl, eventually};

use crate::runners::{make_there, refused, region, register, there, with_runner};
use crate::support::*;

fn capabilities(kit: &TestControl, id: &str) -> impl Future<Output = Vec<&'static str>> {
    let seen = kit.control.get_runner(&kit.caller, id);
    async move {
        let said = seen.await.unwrap().runner.capabilities.clone();
        let can = said.map(|said| said.can).unwrap_or_default();
        can.into_iter().map(Capability::as_str).collect()
    }
}

fn with_volume(name: &str, request: NewSandbox) -> NewSandbox {
    let volume = MountRequest {
        volume: name.to_owned(),
        mount_path: "/data".to_owned(),
        subpath: None,
        is_read_only: false,
    };
    NewSandbox {
        volumes: vec![volume],
        ..request
    }
}

#[tokio::test]
async fn a_runner_is_known_by_what_its_host_can_do_and_is_not_believed_about_the_servers_files() {
    let (kit, mut joined) = with_runner().await;
    let id = joined.id.to_string();
    assert_eq!(
        capabilities(&kit, &id).await,
        ["pause", "reflink", "networkPolicies"]
    );
    joined.leave().await;
    joined.host.set_capabilities([Capability::Pause]);
    joined.come(&kit, "folder").await.unwrap();
    assert_eq!(capabilities(&kit, &id).await, ["pause"]);
    // It is written down: one that is away is still known by it.
    joined.leave().await;
    let kit = kit.restart().await;
    assert_eq!(capabilities(&kit, &id).await, ["pause"]);
}

#[tokio::test]
async fn the_servers_own_runner_says_what_it_can_do_when_the_server_starts() {
    let kit = TestControl::open().await;
    eventually("it is written down", async || {
        let all = kit.store.reader().runner_list_all().await.unwrap();
        let said = all[0].capabilities.as_ref();
        said.is_some_and(|said| said.can == Capability::ALL.into())
    })
    .await;
}

#[tokio::test]
async fn what_the_host_of_a_sandbox_cannot_do_is_refused_and_not_left_out() {
    let (kit, _joined) = with_runner().await;
    make_there(&kit, "box").await;
    let snapshot = kit
        .control
        .snapshot_sandbox(&kit.caller, "box", "frozen".to_owned(), false);
    let error = snapshot.await.unwrap_err();
    let why = "snapshots of sandboxes cannot be had on the runner of this sandbox, one";
    assert!(error.to_string().contains(why), "{error}");
    let request = with_volume("v", there("with-volume"));
    refused(create(&kit, request).await, "has volumes");
}

#[tokio::test]
async fn a_create_goes_to_the_runner_that_can_do_what_it_needs() {
    let kit = TestControl::open().await;
    let region = region(&kit).await;
    let mut able = register(&kit, &region, "able").await;
    let mut plain = register(&kit, &region, "plain").await;
    plain.host.set_capabilities([]);
    plain.come(&kit, "plain").await.unwrap();
    let closed = |name: &str| NewSandbox {
        network: NetworkSettings {
            block_all: Some(true),
            ..NetworkSettings::default()
        },
        ..there(name)
    };
    let pausing = |name: &str| NewSandbox {
        auto_pause_interval: Some(5),
        ..there(name)
    };
    refused(create(&kit, closed("a")).await, "has limits on the network");
    refused(create(&kit, pausing("a")).await, "has pausing");
    let simple = create(&kit, there("simple")).await.unwrap();
    assert_eq!(simple.runner.as_ref(), Some(&plain.id));
    let (control, caller) = (&kit.control, &kit.caller);
    let paused = control.pause_sandbox(caller, "simple").await;
    refused(paused, "pausing cannot be had");
    let paused = control.set_auto_pause(caller, "simple", 5).await;
    refused(paused, "pausing cannot be had");
    assert_eq!(state(&kit, &simple.id).await, Some(State::Started));
    able.come(&kit, "able").await.unwrap();
    for request in [closed("closed"), pausing("pausing")] {
        let made = create(&kit, request).await.unwrap();
        assert_eq!(made.runner.as_ref(), Some(&able.id));
    }
    control.pause_sandbox(caller, "closed").await.unwrap();
}
