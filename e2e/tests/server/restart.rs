//! Many sandboxes outlive a killed server.

use std::time::{Duration, Instant};

use alcove_api_types::daytona::SandboxState;
use alcove_client::ListFilter;
use alcove_e2e::server::{Port, TestServer};

use crate::support::{counter_goes_on, execute, make, start_counter};

const SANDBOXES: usize = 50;

/// Loose, for a machine that does other things; SPECIFICATION.md has the figure that counts.
const USABLE_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn fifty_running_sandboxes_are_all_usable_after_a_kill_and_a_restart() {
    let mut server = TestServer::start().await;
    let client = server.client();
    let mut ids = Vec::new();
    for number in 0..SANDBOXES {
        ids.push(make(&client, &format!("box-{number}")).await.id);
    }
    let counter = start_counter(&client, "box-0").await;
    let agents: Vec<i32> = ids.iter().map(|id| server.instance.agent(id)).collect();

    server.kill();
    let start = Instant::now();
    server.restart(Port::Same).await;
    let ready = start.elapsed();
    let client = server.client();
    for id in &ids {
        let answer = execute(&client, id, "echo usable").await.unwrap();
        assert_eq!(answer.result, "usable\n");
    }
    let usable = start.elapsed();
    println!("{SANDBOXES} sandboxes: ready after {ready:?}, all used after {usable:?}");
    assert!(
        usable < alcove_e2e::wait::patience(USABLE_WITHIN),
        "it took {usable:?}"
    );

    let listed = client.list(&ListFilter::default()).await.unwrap();
    assert_eq!(listed.len(), SANDBOXES);
    assert!(
        listed
            .iter()
            .all(|item| item.state == Some(SandboxState::Started)),
        "{listed:?}"
    );
    let now: Vec<i32> = ids.iter().map(|id| server.instance.agent(id)).collect();
    assert_eq!(now, agents, "the same processes");
    counter_goes_on(&client, "box-0", &counter).await;
    server.finish().await;
}
