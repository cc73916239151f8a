//! The spawner is killed: sandboxes run on, and another takes its place.

use alcove_api_types::daytona::SandboxState;
use alcove_client::Client;
use alcove_e2e::server::{Port, TestServer, kill};
use alcove_e2e::wait;

use crate::support::{becomes, counter_goes_on, make, run, start_counter, state};

fn the_spawner(server: &TestServer) -> i32 {
    let spawners = server.instance.spawners();
    assert_eq!(spawners.len(), 1, "{spawners:?}");
    spawners[0]
}

async fn kill_spawner(server: &TestServer) -> i32 {
    let spawner = the_spawner(server);
    kill(spawner);
    wait::until("the spawner's end", async || {
        let left = server.instance.spawners();
        if left.contains(&spawner) {
            Err(left)
        } else {
            Ok(())
        }
    })
    .await;
    spawner
}

/// Everything that can be done with sandboxes works on an old one and on a new one.
async fn everything_works(server: &TestServer, client: &Client, old: &str, counter: &str) {
    counter_goes_on(client, old, counter).await;
    make(client, "new").await;
    assert_eq!(run(client, "new", "echo new").await, "new\n");
    for name in [old, "new"] {
        run(client, name, "echo kept > file; sync").await;
        let stopped = client.stop(name, false).await.unwrap();
        assert_eq!(stopped.state, Some(SandboxState::Stopped), "{name}");
        assert_eq!(stopped.error_code, None, "{name}");
        let started = client.start(name).await.unwrap();
        assert_eq!(started.state, Some(SandboxState::Started), "{name}");
        assert_eq!(run(client, name, "cat file").await, "kept\n");
    }
    client.delete("new").await.unwrap();
    assert_eq!(server.instance.spawners().len(), 1);
}

#[tokio::test]
async fn sandboxes_outlive_the_spawner_and_another_takes_over() {
    let server = TestServer::start().await;
    let client = server.client();
    make(&client, "old").await;
    let counter = start_counter(&client, "old").await;
    let spawner = kill_spawner(&server).await;
    assert_eq!(state(&client, "old").await, Some(SandboxState::Started));
    everything_works(&server, &client, "old", &counter).await;
    assert_ne!(the_spawner(&server), spawner);
    server.finish().await;
}

#[tokio::test]
async fn the_later_end_of_an_agent_whose_spawner_is_gone_is_noticed() {
    let server = TestServer::start().await;
    let client = server.client();
    let first = make(&client, "first").await;
    let second = make(&client, "second").await;
    make(&client, "third").await;
    let counter = start_counter(&client, "third").await;
    kill_spawner(&server).await;
    // Before another spawner is there, and after.
    kill(server.instance.agent(&first.id));
    let stopped = becomes(&client, "first", SandboxState::Stopped).await;
    assert_eq!(
        stopped.error_code.as_deref(),
        Some("agent_exited"),
        "{stopped:?}"
    );
    make(&client, "new").await;
    kill(server.instance.agent(&second.id));
    let stopped = becomes(&client, "second", SandboxState::Stopped).await;
    assert_eq!(
        stopped.error_code.as_deref(),
        Some("agent_exited"),
        "{stopped:?}"
    );
    for name in ["first", "second"] {
        assert_eq!(
            client.start(name).await.unwrap().state,
            Some(SandboxState::Started)
        );
    }
    counter_goes_on(&client, "third", &counter).await;
    server.finish().await;
}

#[tokio::test]
async fn sandboxes_outlive_the_spawner_and_the_server_together() {
    let mut server = TestServer::start().await;
    make(&server.client(), "old").await;
    let asleep = make(&server.client(), "asleep").await;
    server.client().stop("asleep", false).await.unwrap();
    let counter = start_counter(&server.client(), "old").await;
    // Either may go first.
    kill_spawner(&server).await;
    server.kill_and_restart().await;
    counter_goes_on(&server.client(), "old", &counter).await;
    server.kill();
    kill_spawner(&server).await;
    server.restart(Port::New).await;

    let client = server.client();
    assert_eq!(state(&client, "old").await, Some(SandboxState::Started));
    let found = client.get(&asleep.id).await.unwrap();
    assert_eq!(
        (found.state, found.error_code),
        (Some(SandboxState::Stopped), None)
    );
    everything_works(&server, &client, "old", &counter).await;
    assert_eq!(
        client.start("asleep").await.unwrap().state,
        Some(SandboxState::Started)
    );
    server.finish().await;
}

/// Creates, each with the spawner killed while it may be at work.
const ROUNDS: usize = 6;

#[tokio::test]
async fn a_create_that_loses_its_spawner_fails_with_a_reason_or_succeeds_and_leaves_nothing() {
    let server = TestServer::start().await;
    let client = server.client();
    let mut dice = alcove_e2e::server::Dice::roll_out("a create that loses its spawner");
    make(&client, "old").await;
    let counter = start_counter(&client, "old").await;
    let start = std::time::Instant::now();
    make(&client, "measured").await;
    let span = start.elapsed();
    for round in 0..ROUNDS {
        let name = format!("round-{round}");
        let (part, parts) = (
            u32::try_from(round).unwrap(),
            u32::try_from(ROUNDS).unwrap(),
        );
        let wait = dice.moment(span, part, parts);
        let killing = async {
            tokio::time::sleep(wait).await;
            server.instance.spawners().into_iter().for_each(kill);
        };
        let wanted = crate::support::named(&name);
        let (made, ()) = tokio::join!(client.create(&wanted), killing);
        match made {
            Ok(sandbox) => {
                assert_eq!(sandbox.state, Some(SandboxState::Started), "{sandbox:?}");
                run(&client, &name, "true").await;
            }
            Err(error) => {
                let refused = error.refusal().unwrap();
                assert_eq!(refused.code, "SANDBOX_START_FAILED", "{refused:?}");
                let found = client.get(&name).await.unwrap();
                assert_eq!(found.state, Some(SandboxState::Error));
                assert!(found.error_code.is_some(), "{found:?}");
                assert!(
                    !server.instance.sandboxes().contains(&found.id),
                    "nothing is left"
                );
            }
        }
        client.delete(&name).await.unwrap();
    }
    counter_goes_on(&client, "old", &counter).await;
    server.finish().await;
}
