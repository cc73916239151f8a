//! A runner in a process of its own, beside the server: real sandboxes on it, and kills of either.

use alcove_api_types::daytona::{CreateSandbox, Sandbox, SandboxState};
use alcove_client::Client;
use alcove_e2e::server::{JoinedRunner, Port, TestServer};
use alcove_e2e::wait;

use crate::support::{becomes, counter_goes_on, make, named, refusal, run, start_counter, state};

const REGION: &str = "lab";

fn there(name: &str) -> CreateSandbox {
    CreateSandbox {
        target: Some(REGION.to_owned()),
        ..named(name)
    }
}

async fn make_there(client: &Client, name: &str) -> Sandbox {
    let sandbox = client.create(&there(name)).await.unwrap();
    assert_eq!(sandbox.state, Some(SandboxState::Started), "{sandbox:?}");
    assert!(sandbox.target.starts_with(REGION), "{sandbox:?}");
    sandbox
}

async fn delete_all(client: &Client, names: &[&str]) {
    for name in names {
        client.delete(name).await.unwrap();
    }
}

#[tokio::test]
async fn a_sandbox_on_a_runner_of_its_own_process_lives_as_any_other() {
    let server = TestServer::start().await;
    let runner = JoinedRunner::start(&server, REGION).await;
    let client = server.client();
    let here = make(&client, "here").await;
    let there = make_there(&client, "there").await;
    assert_eq!(run(&client, "there", "echo $((6*7))").await, "42\n");
    // Each host has its own and nothing of the other.
    assert!(runner.instance.sandboxes().contains(&there.id));
    assert!(!runner.instance.sandboxes().contains(&here.id));
    assert!(!server.instance.sandboxes().contains(&there.id));
    run(&client, "there", "echo kept > file; sync").await;
    let stopped = client.stop("there", false).await.unwrap();
    assert_eq!(stopped.state, Some(SandboxState::Stopped));
    assert_eq!(stopped.error_code, None);
    client.start("there").await.unwrap();
    assert_eq!(run(&client, "there", "cat file").await, "kept\n");
    // More than any buffer between the three processes.
    let count = run(&client, "there", "yes | head -c 3000000 > big; wc -c < big").await;
    assert_eq!(count.trim(), "3000000");
    let path = format!("/toolbox/{}/files/download?path=big", there.id);
    let file = server.raw().ask("GET", &path, "").await;
    assert_eq!(file.body.len(), 3_000_000);
    delete_all(&client, &["here", "there"]).await;
    runner.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn a_killed_runner_takes_its_sandboxes_over_when_it_starts_again() {
    let server = TestServer::start().await;
    let mut runner = JoinedRunner::start(&server, REGION).await;
    let client = server.client();
    let lives = make_there(&client, "lives").await;
    let dies = make_there(&client, "dies").await;
    let counter = start_counter(&client, "lives").await;
    runner.kill();
    runner.gone(&server).await;
    let refused = client.create(&there("new")).await.unwrap_err();
    assert_eq!(refusal(&refused), (400, "NO_AVAILABLE_RUNNERS"));
    // What is on the server itself goes on.
    make(&client, "here").await;
    // What happens meanwhile is found.
    alcove_e2e::server::kill(runner.instance.agent(&dies.id));
    runner.launch();
    runner.joined(&server).await;
    becomes(&client, "dies", SandboxState::Stopped).await;
    assert_eq!(state(&client, &lives.id).await, Some(SandboxState::Started));
    counter_goes_on(&client, "lives", &counter).await;
    client.start("dies").await.unwrap();
    assert_eq!(run(&client, "dies", "echo back").await, "back\n");
    delete_all(&client, &["here", "lives", "dies"]).await;
    runner.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn a_killed_server_finds_the_runner_again_and_what_is_on_it() {
    let mut server = TestServer::start().await;
    let mut runner = JoinedRunner::start(&server, REGION).await;
    let client = server.client();
    make_there(&client, "lives").await;
    let counter = start_counter(&client, "lives").await;
    server.kill_and_restart().await;
    runner.joined(&server).await;
    counter_goes_on(&client, "lives", &counter).await;
    make_there(&client, "new").await;
    delete_all(&client, &["lives", "new"]).await;
    runner.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn an_order_that_either_side_was_killed_over_is_carried_out() {
    let mut server = TestServer::start().await;
    let mut runner = JoinedRunner::start(&server, REGION).await;
    let client = server.client();
    for round in 0..4 {
        let name = format!("box-{round}");
        make_there(&client, &name).await;
        let deleting = {
            let (client, name) = (client.clone(), name.clone());
            tokio::spawn(async move { client.delete(&name).await })
        };
        tokio::task::yield_now().await;
        if round % 2 == 0 {
            runner.kill();
            runner.gone(&server).await;
            runner.launch();
        } else {
            server.kill();
            server.restart(Port::Same).await;
        }
        // The call may have been cut off before it was taken.
        let _ = deleting.await.unwrap();
        runner.joined(&server).await;
        if state(&client, &name).await.is_some() {
            let _ = client.delete(&name).await;
        }
        wait::until("the sandbox is gone", async || {
            match state(&client, &name).await {
                None => Ok(()),
                now => Err(now),
            }
        })
        .await;
    }
    runner.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn a_runner_that_the_server_does_not_know_says_so_and_ends() {
    let server = TestServer::start().await;
    let mut runner = JoinedRunner::start(&server, REGION).await;
    let raw = server.raw();
    let path = format!("/api/runners/{}", runner.id);
    let scheduling = format!("{path}/scheduling");
    let closed = raw.ask("PATCH", &scheduling, r#"{"unschedulable": true}"#);
    assert_eq!(closed.await.status, 200);
    assert_eq!(raw.ask("DELETE", &path, "").await.status, 204);
    assert!(!runner.ends().await);
    assert!(
        runner.log().contains("does not take this runner"),
        "{}",
        runner.log()
    );
    server.finish().await;
}
