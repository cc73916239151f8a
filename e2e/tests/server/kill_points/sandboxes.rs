//! Sandboxes: made, and all that is made of them.

use alcove_api_types::daytona::{
    CreateSandbox, ResizeSandbox, SandboxState, UpdateSandboxNetworkSettings,
};
use alcove_client::Client;
use alcove_e2e::server::TestServer;
use alcove_e2e::wait;

use super::{
    CONTROL, MAKING, delete_and_wait, images_are_tidy, layers, snapshot_becomes, snapshot_goes,
};
use crate::support::{becomes, counter_goes_on, make, named, run, start_counter, state};

/// Makes a call to a server that dies at a place of it, and lets another take its place.
async fn call_and_die<T>(
    server: &mut TestServer,
    place: &str,
    call: impl AsyncFnOnce(&Client) -> T,
) -> Client {
    server.doom(place).await;
    let client = server.client();
    let (_, ()) = tokio::join!(call(&client), server.dies_and_restarts());
    server.client()
}

#[tokio::test]
async fn a_create_and_a_delete_that_a_kill_cuts_short_anywhere_are_done_by_the_next_server() {
    let mut server = TestServer::start().await;
    make(&server.client(), "bystander").await;
    let counter = start_counter(&server.client(), "bystander").await;
    for place in [&MAKING[..], &CONTROL[..]].concat() {
        let client = call_and_die(&mut server, place, async |client| {
            client.create(&named("box")).await
        })
        .await;
        becomes(&client, "box", SandboxState::Started).await;
        run(&client, "box", "true").await;
        delete_and_wait(&server, "box").await;
        gone(&server, "box").await;
    }
    for place in CONTROL {
        let made = make(&server.client(), "box").await;
        let client = call_and_die(&mut server, place, async |client| {
            client.delete("box").await
        })
        .await;
        wait::until("the sandbox goes", async || {
            match state(&client, &made.id).await {
                None => Ok(()),
                state => Err(state),
            }
        })
        .await;
        gone(&server, "box").await;
    }
    counter_goes_on(&server.client(), "bystander", &counter).await;
    server.finish().await;
}

#[tokio::test]
async fn a_delete_of_an_owner_that_a_kill_cuts_short_anywhere_takes_the_follower_along() {
    let mut server = TestServer::start().await;
    make(&server.client(), "bystander").await;
    for place in CONTROL {
        make(&server.client(), "box").await;
        let linked = CreateSandbox {
            linked_sandbox: Some("box".to_owned()),
            auto_delete_interval: Some(0),
            ..named("follower")
        };
        server.client().create(&linked).await.unwrap();
        let client = call_and_die(&mut server, place, async |client| {
            client.delete("box").await
        })
        .await;
        for name in ["box", "follower"] {
            wait::until(&format!("{name} goes"), async || {
                match state(&client, name).await {
                    None => Ok(()),
                    state => Err(state),
                }
            })
            .await;
        }
        gone(&server, "both").await;
    }
    server.finish().await;
}

/// Waits until the bystander alone has anything on the host.
async fn gone(server: &TestServer, name: &str) {
    wait::until(&format!("nothing is left of {name}"), async || {
        let left = server.instance.sandboxes();
        if left.len() == 1 { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn a_stop_and_a_start_that_a_kill_cuts_short_anywhere_are_done_by_the_next_server() {
    let mut server = TestServer::start().await;
    make(&server.client(), "box").await;
    run(&server.client(), "box", "echo kept > file").await;
    // A start takes no new range, record or disk.
    let starting = MAKING
        .iter()
        .filter(|place| !["runner:Range", "runner:RecordMaking", "runner:Disk"].contains(place));
    let starting: Vec<&str> = starting.chain(&CONTROL).copied().collect();
    for (round, place) in starting.iter().enumerate() {
        let client = if let Some(place) = CONTROL.get(round) {
            call_and_die(&mut server, place, async |client| {
                client.stop("box", false).await
            })
            .await
        } else {
            let client = server.client();
            client.stop("box", false).await.unwrap();
            client
        };
        becomes(&client, "box", SandboxState::Stopped).await;
        let client =
            call_and_die(&mut server, place, async |client| client.start("box").await).await;
        becomes(&client, "box", SandboxState::Started).await;
        assert_eq!(run(&client, "box", "cat file").await, "kept\n", "{place}");
    }
    server.finish().await;
}

#[tokio::test]
async fn an_archive_and_its_end_that_a_kill_cuts_short_anywhere_lose_no_file() {
    let mut server = TestServer::start().await;
    make(&server.client(), "box").await;
    run(&server.client(), "box", "echo kept > file").await;
    let archiving = [
        &["runner:ArchiveWritten", "runner:ArchiveSettled"][..],
        &CONTROL[..],
    ]
    .concat();
    let restoring = [
        &["runner:RestoreWritten", "runner:RestoreRecorded"][..],
        &CONTROL[..],
    ]
    .concat();
    for (archive, restore) in archiving.iter().zip(&restoring) {
        server.client().stop("box", false).await.unwrap();
        let client = call_and_die(&mut server, archive, async |client| {
            client.archive("box").await
        })
        .await;
        becomes(&client, "box", SandboxState::Archived).await;
        let traces = server.traces();
        assert!(traces.disks.is_empty(), "{archive}: {traces:?}");
        assert_eq!(traces.archives.len(), 1, "{archive}: {traces:?}");
        let client = call_and_die(&mut server, restore, async |client| {
            client.start("box").await
        })
        .await;
        becomes(&client, "box", SandboxState::Started).await;
        assert_eq!(run(&client, "box", "cat file").await, "kept\n", "{restore}");
        let traces = server.traces();
        assert!(traces.archives.is_empty(), "{restore}: {traces:?}");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_fork_and_a_snapshot_that_a_kill_cuts_short_anywhere_are_whole_or_never_were() {
    let mut server = TestServer::start().await;
    let before = layers(&server);
    make(&server.client(), "box").await;
    run(&server.client(), "box", "echo kept > file").await;
    let counter = start_counter(&server.client(), "box").await;
    let forking = ["runner:DiskCopied", "runner:ChildRecorded", "runner:Spawn"];
    for place in [&forking[..], &CONTROL[..]].concat() {
        let client = call_and_die(&mut server, place, async |client| {
            client.fork("box", "child").await
        })
        .await;
        becomes(&client, "child", SandboxState::Started).await;
        assert_eq!(run(&client, "child", "cat file").await, "kept\n", "{place}");
        becomes(&client, "box", SandboxState::Started).await;
        counter_goes_on(&client, "box", &counter).await;
        delete_and_wait(&server, "child").await;
        gone(&server, "the fork").await;
    }
    let capturing = [
        "runner:DiskCopied",
        "runner:LayerUnpacked",
        "runner:LayerNamed",
        "runner:ImageWritten",
        "runner:ImageNamed",
        "runner:Captured",
    ];
    for place in [&capturing[..], &CONTROL[..]].concat() {
        let client = call_and_die(&mut server, place, async |client| {
            client.snapshot("box", "mine").await
        })
        .await;
        snapshot_becomes(&server, "mine", "active").await;
        becomes(&client, "box", SandboxState::Started).await;
        counter_goes_on(&client, "box", &counter).await;
        let wanted = alcove_api_types::daytona::CreateSandbox {
            snapshot: Some("mine".to_owned()),
            ..named("child")
        };
        client.create(&wanted).await.unwrap();
        assert_eq!(run(&client, "child", "cat file").await, "kept\n", "{place}");
        delete_and_wait(&server, "child").await;
        let answer = server.raw().ask("DELETE", "/api/snapshots/mine", "").await;
        assert_eq!(answer.status, 200, "{place}: {answer:?}");
        snapshot_goes(&server, "mine").await;
        gone(&server, "the snapshot's sandbox").await;
    }
    wait::until("the layers from before", async || {
        let found = layers(&server);
        if found == before { Ok(()) } else { Err(found) }
    })
    .await;
    images_are_tidy(&server).await;
    server.finish().await;
}

#[tokio::test]
async fn a_resize_that_a_kill_cuts_short_anywhere_is_done_or_never_was() {
    let mut server = TestServer::start().await;
    let made = make(&server.client(), "box").await;
    run(&server.client(), "box", "echo kept > file").await;
    let memory = |memory| ResizeSandbox {
        memory: Some(memory),
        ..ResizeSandbox::default()
    };
    let places = [&["runner:Sized"][..], &CONTROL[..]].concat();
    for (now, place) in (made.memory..).zip(places) {
        let wanted = memory((now + 1).into());
        let client = call_and_die(&mut server, place, async |client| {
            client.resize("box", &wanted).await
        })
        .await;
        let found = becomes(&client, "box", SandboxState::Started).await;
        assert_eq!(found.memory, now + 1, "{place}");
        assert_eq!(run(&client, "box", "cat file").await, "kept\n", "{place}");
    }
    server.client().stop("box", false).await.unwrap();
    let wanted = ResizeSandbox {
        disk: Some((made.disk + 1).into()),
        ..ResizeSandbox::default()
    };
    let client = call_and_die(&mut server, "runner:DiskGrown", async |client| {
        client.resize("box", &wanted).await
    })
    .await;
    let found = becomes(&client, "box", SandboxState::Stopped).await;
    assert_eq!(found.disk, made.disk + 1);
    client.start("box").await.unwrap();
    assert_eq!(run(&client, "box", "cat file").await, "kept\n");
    assert_eq!(server.traces().disks.len(), 1, "{:?}", server.traces());
    server.finish().await;
}

#[tokio::test]
async fn a_network_policy_that_a_kill_cuts_short_anywhere_is_in_force_under_the_next_server() {
    let mut server = TestServer::start().await;
    make(&server.client(), "box").await;
    let counter = start_counter(&server.client(), "box").await;
    let places = ["runner:NetworkNoted", "runner:NetworkSet"];
    for (round, place) in places.into_iter().enumerate() {
        let block_all = round % 2 == 0;
        let settings = UpdateSandboxNetworkSettings {
            network_block_all: Some(block_all),
            ..UpdateSandboxNetworkSettings::default()
        };
        let client = call_and_die(&mut server, place, async |client| {
            client.set_network("box", &settings).await
        })
        .await;
        wait::until("the policy is in force", async || {
            let found = client.get("box").await.unwrap();
            let is_done = found.network_block_all == block_all && found.error_reason.is_none();
            if is_done { Ok(()) } else { Err(found) }
        })
        .await;
        counter_goes_on(&client, "box", &counter).await;
    }
    server.finish().await;
}

#[tokio::test]
async fn a_pause_that_a_kill_cuts_short_anywhere_is_done_by_the_next_server() {
    let mut server = TestServer::start().await;
    make(&server.client(), "box").await;
    let counter = start_counter(&server.client(), "box").await;
    for place in [&["runner:HoldNoted", "runner:Held"][..], &CONTROL[..]].concat() {
        let client =
            call_and_die(&mut server, place, async |client| client.pause("box").await).await;
        becomes(&client, "box", SandboxState::Paused).await;
        client.start("box").await.unwrap();
        counter_goes_on(&client, "box", &counter).await;
    }
    server.finish().await;
}
