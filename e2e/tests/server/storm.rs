//! `kill -9` again and again, at any moment, while sandboxes are made, stopped, archived, forked and deleted, and
//! snapshots are built.
//!
//! Each worker has a sandbox of its own, one a snapshot, and knows what was acknowledged. Whatever is seen of the sandbox is held
//! against that at once; in pauses everything must come to rest, and the ledger must equal a recount.

mod builder;
mod joined;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alcove_api_types::daytona::{CreateSandbox, Sandbox, SandboxState};
use alcove_client::{Client, ClientError, ListFilter};
use alcove_e2e::server::{Dice, Port, TestServer, kill};
use alcove_e2e::wait;
use serde_json::Value;

use self::builder::Builder;
use crate::support::{execute, named, refusal, run};

/// Kills of the server, unless `ALCOVE_KILLS` says otherwise.
const KILLS: usize = 1000;

/// Kills between two pauses in which all is looked at.
const KILLS_A_PAUSE: usize = 100;

/// Sandboxes with a worker each.
const WORKERS: usize = 6;

/// A server lives so long at most after it is ready.
const LIFE: Duration = Duration::from_millis(200);

/// And so long at most where nothing is answered before: a busy host does little in such a life.
const LONG_LIFE: Duration = Duration::from_secs(2);

/// Of so many kills of the server one takes the spawner along.
const SPAWNER_SHARE: u64 = 10;

/// Between two tries to reach a server that is not there.
const RETRY_PAUSE: Duration = Duration::from_millis(3);

/// What a worker may count on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    /// Was never made, or its deletion was seen.
    Absent,
    /// Acknowledged, or seen.
    Present { id: String },
    /// A call was not answered: it was done or not.
    Open,
}

struct Worker {
    name: String,
    /// Where its sandbox is; None for the server's own host.
    region: Option<&'static str>,
    client: Client,
    dice: Dice,
    known: Known,
    /// The file that says whose disk it is was written, and acknowledged.
    has_file: bool,
    forks: usize,
    tally: Arc<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    is_paused: AtomicBool,
    answered: AtomicUsize,
    unanswered: AtomicUsize,
    refused: AtomicUsize,
}

impl Tally {
    /// Waits for a call to be answered if fewer were than the server was killed.
    async fn has_answered(&self, kills: usize) {
        let answered = || self.answered.load(Ordering::Relaxed);
        let (before, began) = (answered(), Instant::now());
        while before < kills && answered() == before && began.elapsed() < LONG_LIFE {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// What came of a call.
enum Outcome<T> {
    Done(T),
    /// With the reason, and nothing was done.
    Refused(ClientError),
    Unanswered,
}

impl Worker {
    fn new(server: &TestServer, name: String, dice: &mut Dice, tally: &Arc<Tally>) -> Self {
        Self {
            name,
            region: None,
            client: server.client(),
            dice: dice.another(),
            known: Known::Absent,
            has_file: false,
            forks: 0,
            tally: Arc::clone(tally),
        }
    }

    fn count<T>(&self, result: Result<T, ClientError>) -> Outcome<T> {
        let (counter, outcome) = match result {
            Ok(answer) => (&self.tally.answered, Outcome::Done(answer)),
            Err(error) => match error.refusal() {
                Some(refusal) if refusal.status.is_client_error() => {
                    (&self.tally.refused, Outcome::Refused(error))
                }
                // The server's own failure says no more than a broken connection does.
                _ => (&self.tally.unanswered, Outcome::Unanswered),
            },
        };
        counter.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    async fn work(mut self) -> Self {
        while !self.tally.is_paused.load(Ordering::Relaxed) {
            let seen = match self.client.get(&self.name).await {
                Ok(sandbox) => Some(sandbox),
                Err(error) if error.status() == Some(http::StatusCode::NOT_FOUND) => None,
                Err(_) => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            self.compare(seen.as_ref());
            self.act(seen).await;
        }
        self
    }

    /// Holds what is seen against what is known.
    fn compare(&mut self, seen: Option<&Sandbox>) {
        let name = &self.name;
        match (&self.known, seen) {
            (Known::Absent, Some(sandbox)) => panic!("{name} rose again: {sandbox:?}"),
            (Known::Present { id }, None) => panic!("{name} is lost: {id}"),
            (Known::Present { id }, Some(sandbox)) => assert_eq!(*id, sandbox.id, "{name}"),
            (Known::Absent, None) => {}
            (Known::Open, None) => self.known = Known::Absent,
            // One that goes is neither; the next look tells.
            (Known::Open, Some(sandbox)) if is_going(sandbox) => {}
            (Known::Open, Some(sandbox)) => {
                self.known = Known::Present {
                    id: sandbox.id.clone(),
                };
            }
        }
    }

    async fn act(&mut self, seen: Option<Sandbox>) {
        let Some(sandbox) = seen else {
            return self.create().await;
        };
        match sandbox.state {
            Some(SandboxState::Started) => match self.dice.below(8) {
                0 => self.delete().await,
                1 | 2 => self.call(self.client.stop(&self.name, false)).await,
                3 => self.call(self.client.stop(&self.name, true)).await,
                4 => self.call(self.client.pause(&self.name)).await,
                5 => self.fork().await,
                _ => self.look_inside().await,
            },
            Some(SandboxState::Stopped) => match self.dice.below(6) {
                0 => self.delete().await,
                1 | 2 => self.call(self.client.archive(&self.name)).await,
                _ => self.call(self.client.start(&self.name)).await,
            },
            Some(SandboxState::Archived | SandboxState::Paused) => match self.dice.below(6) {
                0 => self.delete().await,
                _ => self.call(self.client.start(&self.name)).await,
            },
            Some(SandboxState::Error | SandboxState::BuildFailed) => {
                panic!("{} failed: {sandbox:?}", self.name)
            }
            _ => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }

    /// A call after which the sandbox is there as before, whatever came of it.
    async fn call(&self, call: impl Future<Output = Result<Sandbox, ClientError>>) {
        self.count(call.await);
    }

    async fn create(&mut self) {
        self.has_file = false;
        let wanted = CreateSandbox {
            target: self.region.map(str::to_owned),
            ..named(&self.name)
        };
        let created = self.client.create(&wanted).await;
        match self.count(created) {
            Outcome::Done(sandbox) => {
                assert_eq!(sandbox.state, Some(SandboxState::Started), "{sandbox:?}");
                self.known = Known::Present { id: sandbox.id };
                let write = "echo kept > file";
                let written = execute(&self.client, &self.name, write).await;
                if let Outcome::Done(answer) = self.count(written) {
                    self.has_file = answer.exit_code == 0;
                }
            }
            // The runner is not there just now.
            Outcome::Refused(error)
                if self.region.is_some() && refusal(&error) == (400, "NO_AVAILABLE_RUNNERS") =>
            {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Outcome::Refused(error) => panic!("{} is refused: {error:?}", self.name),
            Outcome::Unanswered => self.known = Known::Open,
        }
    }

    async fn delete(&mut self) {
        let deleted = self.client.delete(&self.name).await;
        match self.count(deleted) {
            Outcome::Done(_) | Outcome::Unanswered => self.known = Known::Open,
            Outcome::Refused(error) => panic!("no deletion of {}: {error:?}", self.name),
        }
    }

    async fn fork(&mut self) {
        let name = format!("{}-fork-{}", self.name, self.forks);
        self.forks += 1;
        let forked = self.client.fork(&self.name, &name).await;
        if let Outcome::Done(fork) = self.count(forked) {
            assert_eq!(fork.state, Some(SandboxState::Started), "{fork:?}");
            self.file_is_there(&name).await;
        }
    }

    async fn look_inside(&self) {
        self.file_is_there(&self.name).await;
    }

    async fn file_is_there(&self, sandbox: &str) {
        let read = execute(&self.client, sandbox, "cat file").await;
        if let (Outcome::Done(answer), true) = (self.count(read), self.has_file) {
            assert_eq!(answer.result, "kept\n", "{sandbox}: {answer:?}");
        }
    }
}

fn is_going(sandbox: &Sandbox) -> bool {
    matches!(
        sandbox.state,
        Some(SandboxState::Destroying | SandboxState::Destroyed)
    )
}

fn kills() -> usize {
    std::env::var("ALCOVE_KILLS").map_or(KILLS, |text| {
        text.parse().expect("ALCOVE_KILLS is a whole number")
    })
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_in_a_thousand_kills() {
    let mut server = TestServer::start().await;
    let mut dice = Dice::roll_out("storm");
    let tally = Arc::new(Tally::default());
    let mut workers: Vec<Worker> = (0..WORKERS)
        .map(|number| Worker::new(&server, format!("box-{number}"), &mut dice, &tally))
        .collect();
    let mut builder = Builder::new(&server, &tally);
    let (mut left, began) = (kills(), Instant::now());
    let mut kills_done = 0;
    while left > 0 {
        tally.is_paused.store(false, Ordering::Relaxed);
        let tasks: Vec<_> = workers.drain(..).map(|w| tokio::spawn(w.work())).collect();
        let building = tokio::spawn(builder.work());
        let now = left.min(KILLS_A_PAUSE);
        for _ in 0..now {
            tokio::time::sleep(dice.moment(LIFE, 0, 1)).await;
            kills_done += 1;
            tally.has_answered(kills_done).await;
            if dice.below(SPAWNER_SHARE) == 0 {
                server.instance.spawners().into_iter().for_each(kill);
            }
            server.kill();
            server.restart(Port::Same).await;
            if building.is_finished() || tasks.iter().any(tokio::task::JoinHandle::is_finished) {
                // It has found something; what it says stands above.
                break;
            }
        }
        left -= now;
        tally.is_paused.store(true, Ordering::Relaxed);
        for task in tasks {
            workers.push(task.await.expect("a worker's finding"));
        }
        builder = building.await.expect("the builder's finding");
        builder.comes_to_rest(&server).await;
        comes_to_rest(&server, &workers).await;
        println!("{left} kills left, {:.0?}, {tally:?}", began.elapsed());
    }
    assert!(
        tally.answered.load(Ordering::Relaxed) > kills() / 2,
        "{tally:?}"
    );
    println!("{} snapshots built", builder.made);
    server.finish().await;
}

/// Everything settles; what was acknowledged is there with its files; forks go; the ledger equals a recount.
async fn comes_to_rest(server: &TestServer, workers: &[Worker]) {
    let client = server.client();
    let mut all = Vec::new();
    wait::until("all sandboxes settle", async || {
        all = client.list(&ListFilter::default()).await.expect("a list");
        let moving: Vec<_> = all
            .iter()
            .filter(|sandbox| !is_at_rest(sandbox.state))
            .map(|sandbox| (sandbox.name.clone(), sandbox.state))
            .collect();
        if moving.is_empty() {
            Ok(())
        } else {
            Err(moving)
        }
    })
    .await;
    let by_name: BTreeMap<_, _> = all.iter().map(|sandbox| (&sandbox.name, sandbox)).collect();
    assert_eq!(by_name.len(), all.len(), "doubled: {all:?}");
    for worker in workers {
        let seen = by_name.get(&worker.name);
        match (&worker.known, seen) {
            (Known::Present { id }, Some(sandbox)) => assert_eq!(*id, sandbox.id),
            (Known::Present { .. }, None) => panic!("{} is lost", worker.name),
            (Known::Absent, Some(sandbox)) => panic!("{sandbox:?} rose again"),
            (Known::Absent, None) | (Known::Open, _) => {}
        }
        if let (Some(sandbox), true) = (seen, worker.has_file) {
            if sandbox.state != Some(SandboxState::Started) {
                client.start(&worker.name).await.expect("a start");
            }
            assert_eq!(run(&client, &worker.name, "cat file").await, "kept\n");
        }
    }
    let forks = all.iter().filter(|sandbox| sandbox.name.contains("-fork-"));
    for fork in forks {
        client.delete(&fork.id).await.expect("a delete");
    }
    ledger_is_right(server).await;
}

fn is_at_rest(state: Option<SandboxState>) -> bool {
    matches!(
        state,
        Some(
            SandboxState::Started
                | SandboxState::Stopped
                | SandboxState::Archived
                | SandboxState::Paused
        )
    )
}

/// What counts against limits is what is there.
async fn ledger_is_right(server: &TestServer) {
    let client = server.client();
    wait::until("the ledger equals a recount", async || {
        let all = client.list(&ListFilter::default()).await.expect("a list");
        let Some(first) = all.first() else {
            return Ok(());
        };
        let path = format!("/api/organizations/{}/usage", first.organization_id);
        let usage: Value = server.raw().ask("GET", &path, "").await.json();
        let counted = &usage["regionUsage"][0];
        // Regions of organizations have no limits, and nothing there is counted.
        let here: Vec<_> = all
            .iter()
            .filter(|sandbox| counted["regionId"] == *sandbox.target)
            .collect();
        let running = here
            .iter()
            .filter(|sandbox| sandbox.state == Some(SandboxState::Started));
        let on_disk = here
            .iter()
            .filter(|sandbox| sandbox.state != Some(SandboxState::Archived));
        let wanted = (
            running.map(|sandbox| u64::from(sandbox.cpu)).sum::<u64>(),
            on_disk.map(|sandbox| u64::from(sandbox.disk)).sum::<u64>(),
        );
        let seen = (
            counted["currentCpuUsage"].as_u64().expect("a number"),
            counted["currentDiskUsage"].as_u64().expect("a number"),
        );
        if wanted == seen {
            Ok(())
        } else {
            Err((wanted, seen))
        }
    })
    .await;
}
