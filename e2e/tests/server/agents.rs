//! A sandbox whose first process goes, or whose memory runs out.

use std::fs;

use alcove_api_types::daytona::SandboxState;
use alcove_e2e::server::{Port, TestServer, kill};
use alcove_e2e::wait;

use crate::support::{becomes, counter_goes_on, execute, make, run, start_counter};

#[tokio::test]
async fn a_sandbox_whose_agent_is_killed_is_stopped_with_a_reason_and_can_be_started_again() {
    let server = TestServer::start().await;
    let client = server.client();
    let sandbox = make(&client, "box").await;
    make(&client, "other").await;
    let counter = start_counter(&client, "other").await;
    run(&client, "box", "echo kept > file; sync").await;
    kill(server.instance.agent(&sandbox.id));

    let stopped = becomes(&client, "box", SandboxState::Stopped).await;
    assert_eq!(
        stopped.error_code.as_deref(),
        Some("agent_exited"),
        "{stopped:?}"
    );
    let reason = stopped.error_reason.unwrap();
    assert!(reason.contains("signal 9"), "{reason}");
    let refused = execute(&client, "box", "true").await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code, "SANDBOX_NOT_STARTED");

    let started = client.start("box").await.unwrap();
    assert_eq!(started.state, Some(SandboxState::Started));
    assert_eq!((started.error_code, started.error_reason), (None, None));
    assert_eq!(run(&client, "box", "cat file").await, "kept\n");
    counter_goes_on(&client, "other", &counter).await;

    // Again, and this time it is deleted instead.
    kill(server.instance.agent(&sandbox.id));
    becomes(&client, "box", SandboxState::Stopped).await;
    client.delete("box").await.unwrap();
    server.finish().await;
}

#[tokio::test]
async fn an_agent_that_was_killed_while_no_server_ran_is_noticed_by_the_next_one() {
    let mut server = TestServer::start().await;
    let dead = make(&server.client(), "dead").await;
    make(&server.client(), "alive").await;
    let counter = start_counter(&server.client(), "alive").await;
    let agent = server.instance.agent(&dead.id);
    server.kill();
    kill(agent);
    server.restart(Port::New).await;

    let client = server.client();
    let stopped = becomes(&client, "dead", SandboxState::Stopped).await;
    assert_eq!(
        stopped.error_code.as_deref(),
        Some("agent_exited"),
        "{stopped:?}"
    );
    counter_goes_on(&client, "alive", &counter).await;
    assert_eq!(
        client.start("dead").await.unwrap().state,
        Some(SandboxState::Started)
    );
    run(&client, "dead", "true").await;
    server.finish().await;
}

/// Takes memory until there is none left: a variable that doubles.
const EAT_MEMORY: &str = "awk 'BEGIN { s = \"x\"; while (1) s = s s }'";

#[tokio::test]
async fn a_process_that_takes_all_memory_is_killed_and_the_agent_is_not() {
    let server = TestServer::start().await;
    let client = server.client();
    let sandbox = make(&client, "box").await;
    let agent = server.instance.agent(&sandbox.id);
    let eaten = execute(&client, "box", EAT_MEMORY).await.unwrap();
    assert_ne!(eaten.exit_code, 0, "{eaten:?}");
    // The positive control: it was the kernel's killer, not the program's own end.
    let control = server.instance.memory_events(&sandbox.id);
    let events = fs::read_to_string(control).unwrap();
    assert!(!events.contains("oom_kill 0"), "{events}");

    assert_eq!(run(&client, "box", "echo lives").await, "lives\n");
    assert_eq!(server.instance.agent(&sandbox.id), agent, "the same agent");
    assert_eq!(
        client.get("box").await.unwrap().state,
        Some(SandboxState::Started)
    );
    server.finish().await;
}

#[tokio::test]
async fn an_agent_that_is_out_of_memory_itself_stops_the_sandbox_with_that_reason() {
    let server = TestServer::start().await;
    let client = server.client();
    let sandbox = make(&client, "box").await;
    run(&client, "box", "echo kept > file; sync").await;
    // Memory that is no process's, so that killing one does not help, up to a limit that leaves no room.
    run(
        &client,
        "box",
        "dd if=/dev/zero of=/dev/shm/held bs=1M count=64 2>/dev/null",
    )
    .await;
    server.instance.close_memory(&sandbox.id);
    // Nobody but the agent asks for more, and there is nobody else to kill.
    let toolbox = client.toolbox(&sandbox).unwrap();
    let more = toolbox.upload("/dev/shm/more", &vec![1; 4 << 20]).await;
    assert!(more.is_err(), "the agent had no room for it");
    becomes(&client, "box", SandboxState::Stopped).await;
    let stopped = client.get("box").await.unwrap();
    assert_eq!(
        stopped.error_code.as_deref(),
        Some("out_of_memory"),
        "{stopped:?}"
    );
    assert!(stopped.error_reason.unwrap().contains("memory"));

    // The next start has the usual limits again.
    assert_eq!(
        client.start("box").await.unwrap().state,
        Some(SandboxState::Started)
    );
    assert_eq!(run(&client, "box", "cat file").await, "kept\n");
    server.finish().await;
}

#[tokio::test]
async fn a_sandbox_that_ran_out_of_memory_while_no_server_ran_says_so() {
    let mut server = TestServer::start().await;
    let client = server.client();
    let sandbox = make(&client, "box").await;
    // Once it may, it takes all memory there is.
    let eat = format!("while ! test -e /tmp/go; do sleep 0.05; done; {EAT_MEMORY}");
    let start = format!(
        "sh -c '{}' </dev/null >/dev/null 2>&1 & echo $!",
        eat.replace('\'', "'\\''")
    );
    run(&client, "box", &start).await;
    let agent = server.instance.agent(&sandbox.id);
    run(
        &client,
        "box",
        "(sleep 0.3; touch /tmp/go) </dev/null >/dev/null 2>&1 &",
    )
    .await;
    server.kill();
    let control = server.instance.memory_events(&sandbox.id);
    wait::until("the kernel's killer was there", async || {
        let events = fs::read_to_string(&control).unwrap();
        if events.contains("oom_kill 0") {
            Err(events)
        } else {
            Ok(())
        }
    })
    .await;
    kill(agent);
    server.restart(Port::Same).await;
    let stopped = becomes(&server.client(), "box", SandboxState::Stopped).await;
    assert_eq!(
        stopped.error_code.as_deref(),
        Some("out_of_memory"),
        "{stopped:?}"
    );
    server.finish().await;
}
