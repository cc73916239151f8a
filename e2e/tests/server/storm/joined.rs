//! The same of a runner that is a process of its own. The server mostly lives, so what is lost or doubled between the two shows.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use alcove_client::ListFilter;
use alcove_e2e::server::{Dice, JoinedRunner, Port, TestServer, kill};

use super::{SPAWNER_SHARE, Tally, Worker, comes_to_rest, kills};

const REGION: &str = "lab";

/// Kills for each kill of the server in its own storm.
const SHARE: usize = 10;

const KILLS_A_PAUSE: usize = 50;

/// Sandboxes on the runner, and on the server beside it.
const WORKERS: (usize, usize) = (4, 1);

/// A runner lives so long at most after it was started. Shorter than that, it would hardly ever join.
const LIFE: Duration = Duration::from_millis(900);

/// Of so many kills of the runner one takes the server along.
const SERVER_SHARE: u64 = 8;

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_a_joined_runner_is_killed_again_and_again() {
    let mut server = TestServer::start().await;
    let mut runner = JoinedRunner::start(&server, REGION).await;
    let mut dice = Dice::roll_out("storm of a joined runner");
    let tally = Arc::new(Tally::default());
    let mut workers: Vec<Worker> = (0..WORKERS.0 + WORKERS.1)
        .map(|number| Worker {
            region: (number < WORKERS.0).then_some(REGION),
            ..Worker::new(&server, format!("box-{number}"), &mut dice, &tally)
        })
        .collect();
    let (mut left, began) = (kills() / SHARE, Instant::now());
    while left > 0 {
        tally.is_paused.store(false, Ordering::Relaxed);
        let tasks: Vec<_> = workers.drain(..).map(|w| tokio::spawn(w.work())).collect();
        let now = left.min(KILLS_A_PAUSE);
        for _ in 0..now {
            tokio::time::sleep(dice.moment(LIFE, 0, 1)).await;
            if dice.below(SPAWNER_SHARE) == 0 {
                runner.instance.spawners().into_iter().for_each(kill);
            }
            runner.kill();
            if dice.below(SERVER_SHARE) == 0 {
                server.kill();
                server.restart(Port::Same).await;
            }
            runner.launch();
            if tasks.iter().any(tokio::task::JoinHandle::is_finished) {
                // It has found something; what it says stands above.
                break;
            }
        }
        left -= now;
        runner.joined(&server).await;
        tally.is_paused.store(true, Ordering::Relaxed);
        for task in tasks {
            workers.push(task.await.expect("a worker's finding"));
        }
        comes_to_rest(&server, &workers).await;
        println!("{left} kills left, {:.0?}, {tally:?}", began.elapsed());
    }
    assert!(
        tally.answered.load(Ordering::Relaxed) > kills() / SHARE,
        "{tally:?}"
    );
    let client = server.client();
    for sandbox in client.list(&ListFilter::default()).await.unwrap() {
        client.delete(&sandbox.id).await.unwrap();
    }
    runner.finish().await;
    server.finish().await;
}
