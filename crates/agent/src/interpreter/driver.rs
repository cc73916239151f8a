//! The task that owns a context's worker and runs its executions one by one.
//!
//! ```text
//!             order                    event "done"
//!   Idle ───────────────> Running ───────────────────────> Idle
//!    ^                     │   │ time is up                  ^
//!    │                     │   └──> Interrupted ── "done" ───┤
//!    │ next execution      │            │ grace is over      │
//!    │ starts another      v worker     v SIGKILL            │
//!    └────────────────── (no worker) <──┘                    │
//!             deleted: SIGKILL from wherever it is, and the end
//! ```
//!
//! The agent's clock alone decides whether time was up. An interrupt names its execution, and the worker passes over
//! one whose execution has ended meanwhile.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::agent::Agent;
use crate::interpreter::execution::{End, Job, control_message, error_message};
use crate::interpreter::frame::{Event, Order};
use crate::interpreter::output::Output;
use crate::interpreter::registry::Context;
use crate::interpreter::worker::{Worker, describe_exit};
use crate::sys::ExitStatus;

/// From the interrupt of an execution whose time is up to SIGKILL.
const INTERRUPT_GRACE: Duration = Duration::from_secs(2);

/// Pause between two reads of output that belongs to no execution, so that a program that writes without end keeps
/// the agent from little.
const DISCARD_PAUSE: Duration = Duration::from_millis(2);

/// `is_gone` becomes true when the worker and all that it started are gone.
pub async fn drive(
    agent: Arc<Agent>,
    context: Arc<Context>,
    worker: Option<Worker>,
    mut queue: mpsc::Receiver<Job>,
    is_gone: watch::Sender<bool>,
) {
    let mut driver = Driver {
        agent,
        context: context.clone(),
        worker,
        next_id: 0,
    };
    let deleted = context.deleted();
    tokio::pin!(deleted);
    loop {
        let job = tokio::select! {
            biased;
            () = &mut deleted => break,
            job = queue.recv() => job,
            () = driver.worker_gone() => {
                driver.kill().await;
                continue;
            }
        };
        let Some(job) = job else { break };
        tokio::select! {
            biased;
            () = &mut deleted => break,
            () = driver.execute(job) => {}
        }
    }
    driver.kill().await;
    is_gone.send_replace(true);
    // What still waits is told by the end of its channels.
}

struct Driver {
    agent: Arc<Agent>,
    context: Arc<Context>,
    worker: Option<Worker>,
    next_id: u64,
}

impl Driver {
    /// Keeps the pipes of a worker without an execution empty; what threads and background processes say now belongs
    /// to nobody. Resolves when the worker is gone.
    async fn worker_gone(&mut self) {
        let Some(worker) = &mut self.worker else {
            return pending().await;
        };
        loop {
            tokio::select! {
                _ = worker.child.exited() => return,
                () = worker.stdout.read(), if worker.stdout.is_open => worker.stdout.discard(),
                () = worker.stderr.read(), if worker.stderr.is_open => worker.stderr.discard(),
                event = worker.events.next() => if event.is_err() { return },
            }
            sleep(DISCARD_PAUSE).await;
        }
    }

    /// Kept until all are gone, so that one who is interrupted in this can begin again.
    async fn kill(&mut self) {
        if let Some(worker) = &self.worker {
            worker.members().kill().await;
        }
        self.worker = None;
    }

    async fn execute(&mut self, job: Job) {
        if self.worker.as_mut().is_some_and(Worker::has_exited) {
            self.kill().await;
        }
        let worker = match self.worker.take() {
            Some(worker) => Ok(worker),
            None => Worker::start(&self.agent, self.context.language, &self.context.cwd),
        };
        let worker = match worker {
            // In its place before the first wait: should this future be dropped, the worker must be found.
            Ok(worker) => self.worker.insert(worker),
            Err(error) => {
                let _ = job.end.send(End::NotStarted(error.to_string()));
                return;
            }
        };
        worker.forget_output();
        self.next_id += 1;
        let id = self.next_id;
        let mut run = Run {
            worker,
            id,
            messages: job.messages,
            phase: Phase::Running(Timer::of(job.terms.time_limit)),
        };
        let order = Order::Run {
            id,
            code: &job.code,
            envs: &job.terms.envs,
            timeout_ms: job.terms.time_limit.map_or(0, |limit| {
                u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
            }),
        }
        .encode();
        let (end, IsAlive(is_alive)) = run.finish(order.into()).await;
        // Before the client is told: what it does next must find nothing of this left.
        if !is_alive {
            self.kill().await;
        }
        // A client that is gone is not told.
        let _ = job.end.send(end);
    }
}

/// A moment, or never.
struct Timer(Option<Instant>);

impl Timer {
    fn of(limit: Option<Duration>) -> Self {
        Self(limit.and_then(|limit| Instant::now().checked_add(limit)))
    }

    async fn elapsed(&self) {
        match self.0 {
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
    }
}

enum Phase {
    Running(Timer),
    /// Time is up; how long the code gets to end by itself.
    Interrupted(Timer),
}

/// Whether the worker can take another execution.
struct IsAlive(bool);

struct Run<'a> {
    worker: &'a mut Worker,
    id: u64,
    messages: mpsc::Sender<String>,
    phase: Phase,
}

#[derive(Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

impl Run<'_> {
    async fn finish(&mut self, order: Bytes) -> (End, IsAlive) {
        let mut unsent = order;
        loop {
            let worker = &mut *self.worker;
            let (Phase::Running(timer) | Phase::Interrupted(timer)) = &self.phase;
            tokio::select! {
                () = worker.stdout.read(), if worker.stdout.is_open => self.forward(Stream::Stdout).await,
                () = worker.stderr.read(), if worker.stderr.is_open => self.forward(Stream::Stderr).await,
                event = worker.events.next() => match event {
                    Ok(event) if event.id() != self.id => {}
                    // The interrupt is ours, and no error of the code.
                    Ok(Event::Error { .. }) if matches!(self.phase, Phase::Interrupted(_)) => {}
                    Ok(Event::Error { name, value, traceback, .. }) => {
                        self.drain().await;
                        self.send(error_message(&name, &value, &traceback)).await;
                    }
                    Ok(Event::Done { outcome, .. }) => {
                        self.drain().await;
                        if matches!(self.phase, Phase::Interrupted(_)) {
                            return (End::TimedOut, IsAlive(true));
                        }
                        self.send(control_message(outcome.name())).await;
                        return (End::Completed, IsAlive(true));
                    }
                    Err(broken) => return self.died(broken.to_string()).await,
                },
                written = worker.orders.write(&unsent), if !unsent.is_empty() => match written {
                    Ok(count) => unsent.advance(count),
                    // It is gone; its exit is next.
                    Err(_) => unsent.clear(),
                },
                status = worker.child.exited() => return self.exited(status).await,
                () = timer.elapsed() => match self.phase {
                    Phase::Running(_) => {
                        // Not in between two halves of a frame. A worker that has not taken its order has run
                        // nothing, and does not come to it in time.
                        let is_ordered = unsent.is_empty();
                        if let Some(status) = self.interrupt(is_ordered) {
                            return self.exited(status).await;
                        }
                    }
                    Phase::Interrupted(_) => {
                        self.drain().await;
                        return (End::TimedOut, IsAlive(false));
                    }
                },
            }
        }
    }

    fn interrupt(&mut self, is_ordered: bool) -> Option<ExitStatus> {
        self.phase = Phase::Interrupted(Timer::of(Some(INTERRUPT_GRACE)));
        if is_ordered {
            // A pipe that is full of nothing else takes these few bytes at once, or the worker is past help.
            let _ = self
                .worker
                .orders
                .try_write(&Order::Interrupt { id: self.id }.encode());
        }
        self.worker.interrupt()
    }

    async fn exited(&mut self, status: ExitStatus) -> (End, IsAlive) {
        if matches!(self.phase, Phase::Interrupted(_)) {
            self.drain().await;
            return (End::TimedOut, IsAlive(false));
        }
        self.died(describe_exit(status)).await
    }

    async fn died(&mut self, reason: String) -> (End, IsAlive) {
        self.drain().await;
        self.send(error_message("WorkerDied", &reason, "")).await;
        (End::WorkerDied(reason), IsAlive(false))
    }

    /// Sends on what the pipes hold now. A background process may write faster than we read; what comes while we do
    /// no longer counts.
    async fn drain(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut left = self.output(stream).pipe_bytes();
            while left > 0 && self.output(stream).read_now() {
                left = left.saturating_sub(self.output(stream).pending());
                self.forward(stream).await;
            }
            if let Some(message) = self.output(stream).finish() {
                self.send(message).await;
            }
        }
    }

    fn output(&mut self, stream: Stream) -> &mut Output {
        match stream {
            Stream::Stdout => &mut self.worker.stdout,
            Stream::Stderr => &mut self.worker.stderr,
        }
    }

    async fn forward(&mut self, stream: Stream) {
        if let Some(message) = self.output(stream).take_message() {
            self.send(message).await;
        }
    }

    /// Hands a message to the client. A slow one holds up the code, until its time is up; from then on it gets what
    /// it can take. For one that is gone the code runs on.
    async fn send(&mut self, message: String) {
        match &self.phase {
            Phase::Running(timer) => tokio::select! {
                biased;
                _ = self.messages.send(message) => {}
                () = timer.elapsed() => {}
            },
            Phase::Interrupted(_) => drop(self.messages.try_send(message)),
        }
    }
}
