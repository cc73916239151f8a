//! One task a sandbox, the only writer of its state.
//!
//! Wishes, timers and what runners saw come in as [`Ask`]s, one after the other. The driver decides with
//! the domain's transitions, writes row, order and event in one transaction, tells everyone, and works
//! off the order. It is started by the first ask and ends when nothing is left to do.

mod beside;
mod change;
mod network;

use std::sync::Arc;
use std::time::Duration;

use alcove_domain::{
    Command, DesiredState, Due, Effect, Fault, Goal, Observation, Origin, Phase, Sandbox,
    Step as Transition, timer,
};
use alcove_store::{Deed, NewOutboxEntry, OpenCommand, OutboxChange, StoreError, acting};
use tokio::sync::{mpsc, oneshot};

use self::beside::Beside;
pub(crate) use self::beside::{ForkTerms, SnapshotBirth, Wish, waits_in_vain};
pub(crate) use self::change::{Change, IntervalChange, OutfitChange, SessionChange};
use self::network::NetworkJob;
use crate::Error;
use crate::builds;
use crate::directory::Entry;
use crate::links;
use crate::order::{self, Heard, Job, Outcome};
use crate::probe::Step;
use crate::quota;
use crate::shared::{Shared, lock};
use crate::telemetry;
use crate::volumes;

/// Asks that may wait; who asks beyond them waits too.
const MAILBOX: usize = 64;
/// How long an order's lease runs; it is renewed at a third of it.
pub(crate) const LEASE: Duration = Duration::from_mins(1);

/// An ask, with the action that it is part of.
pub(crate) type Letter = (Option<Arc<Deed>>, Ask);

pub(crate) type Reply = oneshot::Sender<Result<Arc<Sandbox>, Error>>;

/// What a driver can be asked.
pub(crate) enum Ask {
    /// A caller wants something.
    Wish { wish: Wish, reply: Reply },
    /// A caller changes a setting.
    Change { change: Change, reply: Reply },
    /// The timer queue found the sandbox due.
    Due,
    /// A runner saw something. `if_version` drops it if the sandbox was written since.
    Seen {
        origin: Origin,
        generation: u64,
        observation: Observation,
        heard: Heard,
        if_version: Option<u64>,
    },
    /// What it waits for is there: a fork's copy, or the image that is built. Or it will not come, for this reason if it is
    /// known.
    Begin { fault: Option<Fault> },
    /// Work off the open order. `take_over` claims it from a process that is gone.
    Drive { goal: Goal, take_over: bool },
}

/// Puts an ask in the driver's mailbox, starting the driver if there is none.
pub(crate) async fn ask(shared: &Arc<Shared>, entry: &Arc<Entry>, ask: Ask) {
    let mut letter = (Deed::current(), ask);
    while !shared.is_cancelled() {
        let sender = mailbox(shared, entry);
        // Only a driver that was ended with everything else gives an ask back.
        match sender.send(letter).await {
            Ok(()) => return,
            Err(mpsc::error::SendError(back)) => letter = back,
        }
    }
}

/// Asks and waits for the reply.
pub(crate) async fn ask_for(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    make: impl FnOnce(Reply) -> Ask,
) -> Result<Arc<Sandbox>, Error> {
    let (reply, answer) = oneshot::channel();
    ask(shared, entry, make(reply)).await;
    // Only a driver that was ended drops its reply.
    answer.await.unwrap_or_else(|_| Err(Error::shutting_down()))
}

fn mailbox(shared: &Arc<Shared>, entry: &Arc<Entry>) -> mpsc::Sender<Letter> {
    let mut slot = lock(&entry.mailbox);
    if let Some(sender) = &*slot
        && !sender.is_closed()
    {
        return sender.clone();
    }
    let (sender, asks) = mpsc::channel(MAILBOX);
    *slot = Some(sender.clone());
    drop(slot);
    let driver = Driver {
        shared: Arc::clone(shared),
        entry: Arc::clone(entry),
        sandbox: entry.sandbox(),
        asks,
        job: None,
        network_job: None,
    };
    shared.spawn(driver.run());
    sender
}

struct Driver {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    /// As last written; nobody else writes it.
    sandbox: Arc<Sandbox>,
    asks: mpsc::Receiver<Letter>,
    job: Option<Job>,
    network_job: Option<NetworkJob>,
}

impl Driver {
    async fn run(mut self) {
        loop {
            if self.job.is_none() && self.network_job.is_none() && self.retire() {
                return;
            }
            tokio::select! {
                biased;
                outcome = order::work(&mut self.job) => {
                    self.job = None;
                    self.conclude(outcome).await;
                }
                end = network::end(&mut self.network_job) => {
                    self.network_job = None;
                    self.conclude_network(end).await;
                }
                ask = self.asks.recv() => match ask {
                    Some((deed, ask)) => acting(deed, self.answer(ask)).await,
                    None => return,
                },
            }
        }
    }

    /// Ends the driver if nobody has asked and nobody is about to: senders are cloned under the same
    /// lock, so that beside the mailbox's own there is none on its way.
    fn retire(&self) -> bool {
        let mut slot = lock(&self.entry.mailbox);
        let is_alone = self.asks.is_empty() && self.asks.sender_strong_count() <= 1;
        if is_alone {
            *slot = None;
        }
        is_alone
    }

    async fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Wish { wish, reply } => {
                let result = self.wish(wish).await;
                // The caller may have gone; the wish stands.
                let _ = reply.send(result);
            }
            Ask::Change { change, reply } => {
                let result = self.change(change).await;
                let _ = reply.send(result);
            }
            Ask::Due => self.due().await,
            Ask::Seen {
                origin,
                generation,
                observation,
                heard,
                if_version,
            } => {
                if if_version.is_none_or(|version| version == self.sandbox.version) {
                    self.see(origin, generation, observation, heard).await;
                }
            }
            Ask::Begin { fault } => self.begin(fault).await,
            Ask::Drive { goal, take_over } => {
                if self.job.is_none() && self.sandbox.lifecycle.open_goal().is_some() {
                    self.job = Some(self.new_job(goal, 1, take_over));
                }
            }
        }
    }

    async fn wish(&mut self, wish: Wish) -> Result<Arc<Sandbox>, Error> {
        let now = self.shared.clock.now();
        let (command, beside) = beside::prepare(&self.sandbox, wish, now)?;
        let life = || self.sandbox.lifecycle.clone();
        let step = match command {
            // The stop must be allowed for the delete to be.
            Command::Stop { .. } if self.sandbox.is_ephemeral() => life()
                .command(command, now)
                .and_then(|_| life().command(Command::Delete, now)),
            _ => life().command(command, now),
        }
        .map_err(Error::from)?;
        let taken = beside.name_taken();
        self.write(step, Heard::default(), beside)
            .await
            .map_err(|error| match (error, taken) {
                (StoreError::NameTaken, Some(taken)) => taken,
                (error, _) => Error::store("writing a wish", error),
            })?;
        Ok(Arc::clone(&self.sandbox))
    }

    async fn begin(&mut self, fault: Option<Fault>) {
        if let Err(error) = self.try_begin(fault).await {
            // The safety net begins it again.
            tracing::error!(sandbox.id = %self.entry.id, %error, "cannot begin the sandbox {}", self.entry.id);
        }
    }

    async fn try_begin(&mut self, fault: Option<Fault>) -> Result<(), StoreError> {
        let life = self.sandbox.lifecycle.clone();
        let now = self.shared.clock.now();
        let (step, beside) = if life.awaits_image() {
            let (news, image) = builds::sandboxes::news_of(&self.shared, &self.sandbox).await?;
            let beside = image.map_or(Beside::Nothing, |image| Beside::Image(Box::new(image)));
            (life.take_build(news, self.shared.clock.now()), beside)
        } else {
            let step = match fault {
                Some(fault) if life.phase == Phase::Unknown => life.give_up(fault, now),
                _ => life.begin(now),
            };
            (step, Beside::Nothing)
        };
        self.write(step, Heard::default(), beside).await
    }

    async fn due(&mut self) {
        let now = self.shared.clock.now();
        let command = match timer::next_due(&self.sandbox, self.entry.activity()) {
            Some((at, Due::AutoStop)) if at <= now => Command::Stop { force: false },
            Some((at, Due::AutoDelete)) if at <= now => Command::Delete,
            Some((at, Due::AutoPause)) if at <= now => Command::Pause,
            Some((at, Due::AutoArchive)) if at <= now => Command::Archive,
            _ => {
                self.shared.timers.schedule(&self.entry);
                return;
            }
        };
        match self.wish(Wish::Plain(command)).await {
            Ok(_) => tracing::info!(
                sandbox.id = %self.entry.id,
                "the timer of {} made it {}", self.entry.id, self.sandbox.state()
            ),
            // The safety net schedules it again.
            Err(error) => tracing::error!(
                sandbox.id = %self.entry.id, %error,
                "cannot do what the timer of {} asks", self.entry.id
            ),
        }
    }

    async fn see(
        &mut self,
        origin: Origin,
        generation: u64,
        observation: Observation,
        heard: Heard,
    ) {
        let now = self.shared.clock.now();
        let before = self.sandbox.lifecycle.generation;
        let step = self
            .sandbox
            .lifecycle
            .clone()
            .observe(origin, generation, observation, now);
        if step.effect == Effect::Keep {
            if generation != before {
                tracing::debug!(
                    sandbox.id = %self.entry.id,
                    "dropped a report on {} made under generation {generation}, not {before}",
                    self.entry.id
                );
            } else if let Some(version) = heard.network_version {
                self.note_network(version).await;
                // Where a change was written by a process that is gone, nothing of it was new.
                self.follow_network();
            }
            return;
        }
        if let Err(error) = self.write(step, heard, Beside::Nothing).await {
            // What was seen is seen again by the next look at the inventory.
            tracing::error!(
                sandbox.id = %self.entry.id, %error,
                "cannot write what the runner saw of {}", self.entry.id
            );
        }
    }

    /// Draws the conclusion from the end of the job.
    async fn conclude(&mut self, outcome: Outcome) {
        let (goal, attempt) = (outcome.goal, outcome.attempt);
        let now = self.shared.clock.now();
        let life = self.sandbox.lifecycle.clone();
        let mut heard = Heard::default();
        let step = match outcome.end {
            order::End::Answer(report) => {
                self.shared.reached(Step::AnswerHeard).await;
                let (generation, observation, all) = order::read(report);
                heard = all;
                life.observe(Origin::Answer, generation, observation, now)
            }
            order::End::Stale { current } => Transition {
                lifecycle: life.outrank(current),
                effect: Effect::Order(goal),
            },
            order::End::OutOfTime(fault) => life.give_up(fault, now),
            order::End::TakenAway => return,
        };
        if step.effect != Effect::Keep {
            match self.write(step, heard, Beside::Nothing).await {
                Ok(()) => return,
                Err(error) => tracing::error!(
                    sandbox.id = %self.entry.id, %error,
                    "cannot write the outcome of an order for {}", self.entry.id
                ),
            }
        }
        // Said nothing that counts, or could not be kept: the order is safe to repeat.
        self.job = Some(self.new_job(goal, attempt + 1, false));
    }

    async fn change(&mut self, change: Change) -> Result<Arc<Sandbox>, Error> {
        let doing = "changing a setting";
        let failed = |error| Error::store(doing, error);
        let (is_of_labels, is_of_outfit) = (change.is_of_labels(), change.is_of_outfit());
        let mut next = Sandbox::clone(&self.sandbox);
        change.apply(&mut next, self.shared.clock.now())?;
        next.version += 1;
        next.updated_at = self.shared.clock.now();
        next.last_activity_at = next.last_activity_at.max(self.entry.activity());
        let tx = self.shared.store.begin().await.map_err(failed)?;
        tx.sandbox_update(&next).await.map_err(failed)?;
        if is_of_labels {
            tx.sandbox_labels_replace(&next).await.map_err(failed)?;
        }
        if is_of_outfit {
            volumes::check_all(&tx, &next).await?;
            tx.sandbox_outfit_replace(&next).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        self.publish(next);
        Ok(Arc::clone(&self.sandbox))
    }

    /// Writes a transition: row, order and events in one transaction; then tells everyone and takes up
    /// the order.
    async fn write(
        &mut self,
        step: Transition,
        heard: Heard,
        beside: Beside,
    ) -> Result<(), StoreError> {
        if step.effect == Effect::Keep {
            return Ok(());
        }
        let now = self.shared.clock.now();
        let old = Arc::clone(&self.sandbox);
        let mut next = Sandbox::clone(&old);
        next.lifecycle = step.lifecycle;
        next.forget_run();
        next.version += 1;
        next.updated_at = now;
        beside.dress(&mut next);
        let has_ended = beside::end_session(&old, &mut next, heard.used, now);
        let end = beside::WorkEnd::between(&old, &next.lifecycle, heard.work);
        if let Some(version) = heard.network_version {
            next.network.note_applied(version);
        }
        if heard.agent_version.is_some() {
            next.agent_version = heard.agent_version;
        }
        if let Some(resources) = end.resources {
            next.resources = resources;
        }
        let mut changes = Vec::with_capacity(2);
        if next.desired_state() != old.desired_state() {
            changes.push(OutboxChange::DesiredState {
                old: old.desired_state(),
                new: next.desired_state(),
            });
        }
        if next.state() != old.state() {
            // A change of state is activity.
            next.last_activity_at = now.max(self.entry.activity());
            changes.push(OutboxChange::State {
                old: old.state(),
                new: next.state(),
            });
        }
        let mut entries: Vec<NewOutboxEntry<'_>> = changes
            .into_iter()
            .map(|change| NewOutboxEntry {
                change,
                sandbox: &next,
                at: now,
            })
            .collect();
        entries.extend(beside.event(now));
        let tx = self.shared.store.begin().await?;
        tx.sandbox_update(&next).await?;
        beside.insert(&tx, &self.shared, &next).await?;
        end.write(&tx, now).await?;
        if has_ended {
            tx.sandbox_labels_replace(&next).await?;
        }
        match step.effect {
            Effect::Order(goal) => {
                if goal == Goal::Running {
                    tx.volume_touch(&next, now).await?;
                }
                if matches!(goal, Goal::Running | Goal::Resized) {
                    quota::hold(&tx, &self.shared.settings, Some(&old), &next).await?;
                }
                tx.command_open(&self.shared.new_order(&next, goal)).await?;
            }
            Effect::Settle | Effect::Keep => {
                if old.lifecycle.open_goal().is_some() {
                    tx.command_finish(&old.id, old.lifecycle.generation).await?;
                }
            }
        }
        let sequence = tx.outbox_append(&entries).await?;
        tx.commit().await?;
        // The order that it was about is over, or is another now.
        self.job = None;
        let reached = match step.effect {
            Effect::Order(_) => Step::WishWritten,
            Effect::Settle | Effect::Keep => Step::OutcomeWritten,
        };
        self.shared.reached(reached).await;
        // Before anybody sees the state: whoever waits for it answers once its events are told.
        self.shared.events.note(sequence);
        beside.publish(&self.shared);
        end.note(&self.shared, &self.entry, old.lifecycle.generation);
        self.publish(next);
        self.shared.events.wake(sequence);
        end.tell(&self.shared).await;
        let is_leaving = self.sandbox.desired_state() == DesiredState::Destroyed;
        if is_leaving && old.desired_state() != DesiredState::Destroyed {
            links::take_along(&self.shared, &self.sandbox.id);
        }
        if old.lifecycle.awaits_image() && is_leaving {
            let (shared, snapshot) = (Arc::clone(&self.shared), old.snapshot_id.clone());
            self.shared
                .spawn(async move { builds::sandboxes::note_leaver(&shared, &snapshot).await });
        }
        if let Effect::Order(goal) = step.effect {
            self.job = Some(self.new_job(goal, 1, false));
        }
        Ok(())
    }

    fn publish(&mut self, sandbox: Sandbox) {
        let old = self.sandbox.state();
        self.sandbox = Arc::new(sandbox);
        if self.sandbox.state() != old {
            telemetry::note_state(&self.shared, old, &self.sandbox);
        }
        let sandbox = &self.sandbox;
        if !sandbox.lifecycle.holds_name() {
            self.shared.directory.release_name(sandbox);
        }
        if !sandbox.is_visible() && sandbox.lifecycle.open_goal().is_none() {
            self.shared.directory.remove(sandbox);
            if sandbox.is_built {
                self.shared
                    .snapshots
                    .note_use(&sandbox.snapshot_id, sandbox.updated_at);
            }
            self.shared.images.note_release();
        }
        self.entry.publish(Arc::clone(sandbox));
        self.shared.timers.schedule(&self.entry);
        self.follow_network();
    }

    fn new_job(&self, goal: Goal, attempt: u32, take_over: bool) -> Job {
        order::begin(
            Arc::clone(&self.shared),
            Arc::clone(&self.sandbox),
            goal,
            attempt,
            take_over,
        )
    }
}

impl Shared {
    /// The order that a freshly written sandbox needs, claimed by this process.
    pub fn new_order(&self, sandbox: &Sandbox, goal: Goal) -> OpenCommand {
        let now = self.clock.now();
        OpenCommand {
            sandbox: sandbox.id.clone(),
            generation: sandbox.lifecycle.generation,
            goal,
            attempt: 1,
            owner: self.owner.clone(),
            lease_until: now.saturating_add(LEASE).unwrap_or(now),
            created_at: now,
        }
    }
}
