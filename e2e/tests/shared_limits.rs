//! Limits that the kernel counts per user: one sandbox must not use up what its neighbours and the host have.

use alcove_domain::SandboxId;
use alcove_e2e::runner::TestRunner;
use alcove_runner_api::Goal;

/// Makes message queues until there may be no more of them, and says how many there are.
async fn fill_message_queues(host: &TestRunner, sandbox: &SandboxId) -> u32 {
    let command = "for i in $(seq 100); do touch /dev/mqueue/$i 2>/dev/null || break; done; ls /dev/mqueue | wc -l";
    let (code, output) = host.execute(sandbox, command).await;
    assert_eq!(code, 0, "{output}");
    output.trim().parse().expect("a number")
}

#[tokio::test]
async fn a_sandbox_that_takes_all_message_queues_leaves_its_neighbours_theirs() {
    let host = TestRunner::start().await;
    let greedy = host.run("greedy").await;
    let neighbour = host.run("neighbour").await;

    let taken = fill_message_queues(&host, &greedy).await;
    assert!(
        (1..100).contains(&taken),
        "the positive control: there is a limit, and it was met at {taken}"
    );
    assert_eq!(fill_message_queues(&host, &neighbour).await, taken);

    host.apply(&greedy, 2, Goal::Absent).await;
    host.apply(&neighbour, 2, Goal::Absent).await;
    host.expect_nothing_left().await;
    host.runner.close().await;
}
