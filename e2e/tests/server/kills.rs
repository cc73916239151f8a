//! `kill -9` of the server in the middle of every call: what was acknowledged stays, what runs keeps running,
//! what was half-made is finished or gone.
//!
//! The kill comes at moments spread over the call's usual duration, and a little past it. A call that was
//! answered counts as acknowledged; one that was not may have happened or not, but not by half.

mod toolbox;

use std::time::{Duration, Instant};

use alcove_api_types::daytona::{CreateSandbox, Sandbox, SandboxState};
use alcove_client::{Client, ClientError, ListFilter};
use alcove_e2e::host::names;
use alcove_e2e::server::{Dice, Port, Setup, TestServer};
use alcove_e2e::wait;

use crate::support::{becomes, counter_goes_on, labels, make, named, run, start_counter, state};

/// Kills a call. Spread over its duration, this many find each of its steps.
const ROUNDS: u32 = 6;

/// A server with one sandbox that must never notice anything.
struct Ground {
    server: TestServer,
    dice: Dice,
    counter: String,
    bystander: Sandbox,
}

impl Ground {
    async fn lay(test: &str) -> Self {
        let server = TestServer::start().await;
        let client = server.client();
        make(&client, "bystander").await;
        let kept = labels(&[("kept", "yes")]);
        client.set_labels("bystander", kept).await.unwrap();
        let counter = start_counter(&client, "bystander").await;
        let bystander = client.get("bystander").await.unwrap();
        Self {
            server,
            dice: Dice::roll_out(test),
            counter,
            bystander,
        }
    }

    /// Runs the call and kills the server in the given round's part of its duration; `None` where the call was
    /// not answered any more.
    async fn kill_during<T>(
        &mut self,
        round: u32,
        span: Duration,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Option<T> {
        // Past the usual end too: what has just been acknowledged is the easiest to lose.
        let wait = self.dice.moment(span.mul_f64(1.3), round, ROUNDS);
        let killing = async {
            tokio::time::sleep(wait).await;
            self.server.kill();
        };
        let (outcome, ()) = tokio::join!(call, killing);
        self.server.restart(Port::Same).await;
        match outcome {
            Ok(answer) => Some(answer),
            Err(error) => {
                assert!(
                    error.refusal().is_none(),
                    "round {round}: refused: {error:?}"
                );
                None
            }
        }
    }

    async fn bystander_is_untouched(&self) {
        let client = self.server.client();
        let now = client.get("bystander").await.unwrap();
        assert_eq!(now.state, Some(SandboxState::Started));
        assert_eq!(
            (&now.id, &now.labels),
            (&self.bystander.id, &self.bystander.labels)
        );
        counter_goes_on(&client, "bystander", &self.counter).await;
    }

    async fn finish(self) {
        self.bystander_is_untouched().await;
        self.server.finish().await;
    }
}

async fn measured<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let answer = call.await;
    (answer, start.elapsed())
}

/// Waits until the sandbox is in a state that it stays in.
async fn settles(client: &Client, sandbox: &str) -> Option<SandboxState> {
    let mut settled = None;
    wait::until(&format!("{sandbox} settles"), async || {
        let now = state(client, sandbox).await;
        let moves = matches!(
            now,
            Some(
                SandboxState::Creating
                    | SandboxState::Starting
                    | SandboxState::Stopping
                    | SandboxState::Destroying
            )
        );
        settled = now;
        if moves { Err(now) } else { Ok(()) }
    })
    .await;
    settled
}

#[tokio::test]
async fn a_create_is_finished_or_never_was() {
    let mut ground = Ground::lay("create").await;
    let client = ground.server.client();
    let (_, span) = measured(make(&client, "measured")).await;
    for round in 0..ROUNDS {
        let name = format!("box-{round}");
        let client = ground.server.client();
        let wanted = named(&name);
        let made = ground
            .kill_during(round, span, client.create(&wanted))
            .await;
        let client = ground.server.client();
        let found = settles(&client, &name).await;
        match (&made, found) {
            (Some(made), Some(SandboxState::Started)) => {
                assert_eq!(made.state, Some(SandboxState::Started));
                assert_eq!(client.get(&name).await.unwrap().id, made.id);
            }
            (None, None | Some(SandboxState::Started)) => {}
            outcome => panic!("round {round}: {outcome:?}"),
        }
        if found.is_some() {
            run(&client, &name, "true").await;
        } else {
            // The name is free, then.
            make(&client, &name).await;
        }
    }
    ground.finish().await;
}

#[tokio::test]
async fn a_start_is_finished_and_files_are_whole() {
    let mut ground = Ground::lay("start").await;
    let client = ground.server.client();
    make(&client, "box").await;
    let write = "dd if=/dev/urandom of=big bs=1M count=16 2>/dev/null; sha256sum big";
    let sum = run(&client, "box", write).await;
    client.stop("box", false).await.unwrap();
    let (_, span) = measured(async { client.start("box").await.unwrap() }).await;
    for round in 0..ROUNDS {
        client_stop(&ground.server.client(), "box").await;
        let client = ground.server.client();
        let started = ground.kill_during(round, span, client.start("box")).await;
        let client = ground.server.client();
        let found = settles(&client, "box").await;
        match (&started, found) {
            (Some(_), Some(SandboxState::Started))
            | (None, Some(SandboxState::Started | SandboxState::Stopped)) => {}
            outcome => panic!("round {round}: {outcome:?}"),
        }
        if found == Some(SandboxState::Stopped) {
            client.start("box").await.unwrap();
        }
        // Written to, so that the next round finds a disk that has something to lose.
        let look = format!("sha256sum big; echo {round} > dirty; cat dirty");
        assert_eq!(run(&client, "box", &look).await, format!("{sum}{round}\n"));
    }
    ground.finish().await;
}

async fn client_stop(client: &Client, sandbox: &str) {
    let stopped = client.stop(sandbox, false).await.unwrap();
    assert_eq!(stopped.state, Some(SandboxState::Stopped), "{stopped:?}");
}

#[tokio::test]
async fn a_stop_is_finished_and_is_no_fault() {
    let mut ground = Ground::lay("stop").await;
    let client = ground.server.client();
    make(&client, "box").await;
    run(&client, "box", "echo kept > file").await;
    let ((), span) = measured(client_stop(&client, "box")).await;
    for round in 0..ROUNDS {
        let client = ground.server.client();
        client.start("box").await.unwrap();
        let stopped = ground
            .kill_during(round, span, client.stop("box", false))
            .await;
        let client = ground.server.client();
        let found = settles(&client, "box").await;
        match (&stopped, found) {
            (Some(_), Some(SandboxState::Stopped))
            | (None, Some(SandboxState::Started | SandboxState::Stopped)) => {}
            outcome => panic!("round {round}: {outcome:?}"),
        }
        let now = client.get("box").await.unwrap();
        assert_eq!(
            now.error_code, None,
            "round {round}: a stop that was asked for is no fault"
        );
        if found == Some(SandboxState::Started) {
            assert_eq!(run(&client, "box", "cat file").await, "kept\n");
            client_stop(&client, "box").await;
        }
    }
    let client = ground.server.client();
    client.start("box").await.unwrap();
    assert_eq!(run(&client, "box", "cat file").await, "kept\n");
    ground.finish().await;
}

#[tokio::test]
async fn a_delete_is_finished_and_frees_the_name() {
    let mut ground = Ground::lay("delete").await;
    let client = ground.server.client();
    make(&client, "box").await;
    let going = async {
        client.delete("box").await.unwrap();
        wait::until("the sandbox is gone", async || {
            let left = ground.server.instance.sandboxes();
            if left.len() == 1 { Ok(()) } else { Err(left) }
        })
        .await;
    };
    // The answer comes at once; the work goes on behind it.
    let ((), span) = measured(going).await;
    for round in 0..ROUNDS {
        let client = ground.server.client();
        let made = make(&client, "box").await;
        let deleted = ground.kill_during(round, span, client.delete("box")).await;
        let client = ground.server.client();
        match (deleted, settles(&client, &made.id).await) {
            (_, None) => {}
            (None, Some(SandboxState::Started)) => {
                run(&client, "box", "true").await;
                client.delete("box").await.unwrap();
            }
            outcome => panic!("round {round}: {outcome:?}"),
        }
        wait::until("nothing of it is left", async || {
            let left = ground.server.instance.sandboxes();
            if left.contains(&made.id) {
                Err(left)
            } else {
                Ok(())
            }
        })
        .await;
    }
    ground.finish().await;
}

/// The state that a snapshot stays in; None where there is none.
async fn snapshot_settles(client: &Client, name: &str) -> Option<String> {
    let mut settled = None;
    wait::until(&format!("snapshot {name} settles"), async || {
        let page = client.snapshots().await.unwrap();
        let found = page.items.iter().find(|snapshot| snapshot.name == name);
        settled = found.map(|snapshot| snapshot.state.as_str().to_owned());
        match settled.as_deref() {
            None | Some("active" | "error") => Ok(()),
            Some(state) => Err(state.to_owned()),
        }
    })
    .await;
    settled
}

#[tokio::test]
async fn a_snapshot_is_whole_or_failed_and_its_sandbox_goes_on() {
    let mut ground = Ground::lay("snapshot").await;
    let client = ground.server.client();
    make(&client, "source").await;
    run(
        &client,
        "source",
        "head -c 24m /dev/urandom > noise; sha256sum noise > sum",
    )
    .await;
    let (_, span) = measured(async {
        client.snapshot("source", "measured").await.unwrap();
        snapshot_settles(&client, "measured").await
    })
    .await;
    for round in 0..ROUNDS {
        let name = format!("snapshot-{round}");
        let client = ground.server.client();
        // Nothing of it is on the disk yet when the file system is held still.
        let command = format!("echo {round} > round; sha256sum -c sum");
        run(&client, "source", &command).await;
        let asked = ground
            .kill_during(round, span, client.snapshot("source", &name))
            .await;
        let client = ground.server.client();
        becomes(&client, "source", SandboxState::Started).await;
        let found = snapshot_settles(&client, &name).await;
        assert!(asked.is_none() || found.is_some(), "round {round}: lost");
        // Its file system was let go.
        run(&client, "source", "echo on > next; sync").await;
        if found.as_deref() == Some("active") {
            let request = CreateSandbox {
                snapshot: Some(name.clone()),
                ..named(&name)
            };
            client.create(&request).await.unwrap();
            let look = "sha256sum -c sum >&2 && cat round";
            let seen = run(&client, &name, look).await;
            assert!(seen.ends_with(&format!("{round}\n")), "{seen}");
            client.delete(&name).await.unwrap();
        }
        let drafts = names(&ground.server.instance.data_dir().join("images/tmp"));
        assert!(drafts.is_empty(), "round {round}: {drafts:?}");
    }
    ground.finish().await;
}

#[tokio::test]
async fn settings_are_as_acknowledged() {
    let mut ground = Ground::lay("settings").await;
    let client = ground.server.client();
    make(&client, "box").await;
    let first = labels(&[("round", "none")]);
    let (_, span) = measured(client.set_labels("box", first.clone())).await;
    let (mut last_labels, mut last_stop) = (first, 15);
    for round in 0..ROUNDS {
        let client = ground.server.client();
        let wanted = labels(&[("round", &round.to_string())]);
        let set = client.set_labels("box", wanted.clone());
        let acknowledged = ground.kill_during(round, span, set).await.is_some();
        let now = ground.server.client().get("box").await.unwrap().labels;
        let is_right = now == wanted || (!acknowledged && now == last_labels);
        assert!(
            is_right,
            "round {round}, acknowledged {acknowledged}: {now:?}"
        );
        last_labels = now;

        let client = ground.server.client();
        let wanted = i64::from(100 + round);
        let set = client.set_auto_stop("box", wanted);
        let acknowledged = ground.kill_during(round, span, set).await.is_some();
        let now = ground.server.client().get("box").await.unwrap();
        let minutes = now.auto_stop_interval.unwrap();
        let is_right = minutes == wanted || (!acknowledged && minutes == last_stop);
        assert!(
            is_right,
            "round {round}, acknowledged {acknowledged}: {minutes}"
        );
        last_stop = minutes;
    }
    ground.finish().await;
}

/// Kills in a row, each while the server still takes up what the one before left.
const KILLS_IN_A_ROW: u32 = 8;

#[tokio::test]
async fn kills_in_a_row_during_the_recovery_lose_nothing() {
    let mut ground = Ground::lay("recovery").await;
    let client = ground.server.client();
    let running = make(&client, "running").await;
    let stopped = make(&client, "stopped").await;
    run(&client, "stopped", "echo kept > file").await;
    client_stop(&client, "stopped").await;
    // As much work as can be open at once: a create, a start, a stop and a delete.
    for name in ["to-start", "to-stop", "to-delete"] {
        make(&client, name).await;
    }
    client_stop(&client, "to-start").await;
    let creating = named("to-create");
    let calls = async {
        let _ = tokio::join!(
            client.create(&creating),
            client.start("to-start"),
            client.stop("to-stop", false),
            client.delete("to-delete"),
        );
    };
    let kill = async {
        tokio::time::sleep(Duration::from_millis(8)).await;
        ground.server.kill();
    };
    tokio::join!(calls, kill);
    let ((), span) = measured(ground.server.restart(Port::Same)).await;
    ground.server.kill();
    for round in 0..KILLS_IN_A_ROW {
        ground.server.launch();
        let moment = ground.dice.moment(span.mul_f64(1.2), round, KILLS_IN_A_ROW);
        tokio::time::sleep(moment).await;
        ground.server.kill();
    }
    ground.server.restart(Port::Same).await;

    let client = ground.server.client();
    assert_eq!(client.get("running").await.unwrap().id, running.id);
    run(&client, "running", "true").await;
    assert_eq!(client.get("stopped").await.unwrap().id, stopped.id);
    assert_eq!(
        settles(&client, "stopped").await,
        Some(SandboxState::Stopped)
    );
    client.start("stopped").await.unwrap();
    assert_eq!(run(&client, "stopped", "cat file").await, "kept\n");
    for item in client.list(&ListFilter::default()).await.unwrap() {
        match settles(&client, &item.id).await {
            Some(SandboxState::Started) => {
                run(&client, &item.id, "true").await;
            }
            Some(SandboxState::Stopped) | None => {}
            state => panic!("{} is stuck: {state:?}", item.name),
        }
    }
    ground.finish().await;
}

#[tokio::test]
async fn parts_that_wait_in_pools_are_gone_with_a_killed_server() {
    let setup = Setup {
        ready_parts: 3,
        ..Setup::default()
    };
    let mut server = TestServer::start_with(setup).await;
    make(&server.client(), "box").await;
    let counter = start_counter(&server.client(), "box").await;
    for _ in 0..3 {
        wait::until("the pools are full", async || {
            let ready = alcove_e2e::host::names(&server.instance.data_dir().join("runner/disks"));
            let ready = ready
                .iter()
                .filter(|name| name.starts_with("+ready"))
                .count();
            if ready == 3 { Ok(()) } else { Err(ready) }
        })
        .await;
        server.kill_and_restart().await;
        counter_goes_on(&server.client(), "box", &counter).await;
    }
    becomes(&server.client(), "box", SandboxState::Started).await;
    server.finish().await;
}
