//! The life of sandboxes through the API: paused, resized, forked, snapshotted, archived and brought back,
//! with a server that is killed on the way.

use alcove_api_types::daytona::{CreateSandbox, ResizeSandbox, SandboxState};
use alcove_client::Client;
use alcove_e2e::server::{Port, TestServer};

use crate::support::{becomes, counter_goes_on, make, named, refusal, run, start_counter};

async fn delete_all(client: &Client, names: &[&str]) {
    for name in names {
        client.delete(name).await.unwrap();
    }
}

#[tokio::test]
async fn pause_resize_archive_and_restore_over_two_kills() {
    let mut server = TestServer::start().await;
    let client = server.client();
    make(&client, "box").await;
    let counter = start_counter(&client, "box").await;
    let paused = client.pause("box").await.unwrap();
    assert_eq!(paused.state, Some(SandboxState::Paused));

    server.kill();
    server.restart(Port::Same).await;
    let client = server.client();
    assert_eq!(
        client.get("box").await.unwrap().state,
        Some(SandboxState::Paused)
    );
    let started = client.start("box").await.unwrap();
    assert_eq!(started.state, Some(SandboxState::Started));
    counter_goes_on(&client, "box", &counter).await;

    let grow = ResizeSandbox {
        memory: Some(2),
        ..ResizeSandbox::default()
    };
    assert_eq!(client.resize("box", &grow).await.unwrap().memory, 2);
    let disk = ResizeSandbox {
        disk: Some(4),
        ..ResizeSandbox::default()
    };
    let error = client.resize("box", &disk).await.unwrap_err();
    assert_eq!(refusal(&error).0, 400);
    run(&client, "box", "echo kept > file").await;
    client.stop("box", false).await.unwrap();
    assert_eq!(client.resize("box", &disk).await.unwrap().disk, 4);
    let archived = client.archive("box").await.unwrap();
    assert_eq!(archived.state, Some(SandboxState::Archived));
    assert_eq!(archived.backup_state.as_deref(), Some("Completed"));

    server.kill();
    server.restart(Port::Same).await;
    let client = server.client();
    assert_eq!(
        client.get("box").await.unwrap().state,
        Some(SandboxState::Archived)
    );
    client.start("box").await.unwrap();
    becomes(&client, "box", SandboxState::Started).await;
    assert_eq!(run(&client, "box", "cat file").await, "kept\n");
    let size = run(&client, "box", "df -m / | tail -n 1").await;
    let total = size.split_whitespace().nth(1).unwrap();
    assert!(total.parse::<u32>().unwrap() > 3500, "{size}");
    delete_all(&client, &["box"]).await;
}

#[tokio::test]
async fn a_fork_and_a_snapshot_begin_where_the_sandbox_was() {
    let server = TestServer::start().await;
    let client = server.client();
    let parent = make(&client, "parent").await;
    run(&client, "parent", "echo kept > file").await;
    let child = client.fork("parent", "child").await.unwrap();
    assert_eq!(child.state, Some(SandboxState::Started));
    assert_ne!(child.id, parent.id);
    run(&client, "parent", "echo later > file").await;
    assert_eq!(run(&client, "child", "cat file").await, "kept\n");

    let back = client.snapshot("parent", "mine").await.unwrap();
    assert_eq!(back.state, Some(SandboxState::Started));
    let request = CreateSandbox {
        snapshot: Some("mine".to_owned()),
        ..named("third")
    };
    let third = client.create(&request).await.unwrap();
    assert_eq!(third.state, Some(SandboxState::Started), "{third:?}");
    assert_eq!(
        run(&client, "third", "cat file; id -un").await,
        "later\ndaytona\n"
    );
    let again = client.snapshot("parent", "mine").await.unwrap_err();
    assert_eq!(refusal(&again), (409, "SNAPSHOT_NAME_TAKEN"));
    // The parent may go: neither needs it.
    delete_all(&client, &["parent"]).await;
    assert_eq!(run(&client, "child", "cat file").await, "kept\n");
    delete_all(&client, &["child", "third"]).await;
}
