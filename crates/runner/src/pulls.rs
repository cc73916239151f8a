//! Pulls of images: a few at once, each known by the name that its image gets.
//!
//! A pull goes on when nobody listens any more. What ends with the process is begun again by whoever ordered it, and
//! finds what has come so far on the disk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_runner_api::{OrderError, Pull, PullFault, PullFaultCode, PullState};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cancel::Cancel;
use crate::image::{ImageStore, Progress, PullParts};
use crate::registry::RegistrySettings;

/// Pulls that work at once; each holds one of the threads for work that blocks.
const AT_ONCE: usize = 3;

/// Pulls that may work or wait. Who orders more is told to come back.
const MAX: usize = 256;

#[derive(Debug)]
struct Running {
    /// Tells it from one that has its name later.
    number: u64,
    state: watch::Receiver<PullState>,
    cancel: Cancel,
    /// For one that waits for its turn.
    given_up: CancellationToken,
}

/// All pulls of this runner.
#[derive(Debug)]
pub struct Pulls {
    images: Arc<ImageStore>,
    settings: Arc<RegistrySettings>,
    slots: Arc<Semaphore>,
    running: Arc<Mutex<HashMap<String, Running>>>,
    next: AtomicU64,
    tasks: TaskTracker,
}

impl Pulls {
    pub fn new(images: Arc<ImageStore>, settings: RegistrySettings) -> Self {
        Self {
            images,
            settings: Arc::new(settings),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            running: Arc::default(),
            next: AtomicU64::new(0),
            tasks: TaskTracker::new(),
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        let running = self.running.lock();
        running.unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a pull, or finds the one that is under way for this name.
    pub fn start(&self, order: Pull) -> Result<watch::Receiver<PullState>, OrderError> {
        let mut running = self.running();
        if let Some(running) = running.get(&order.name) {
            return Ok(running.state.clone());
        }
        // Those that were given up and have not ended are among the tasks only.
        if self.tasks.len() >= MAX || self.tasks.is_closed() {
            return Err(OrderError::Unavailable);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let given_up = CancellationToken::new();
        let (state, receiver) = watch::channel(PullState::Waiting);
        let cancel = Cancel::default();
        let entry = Running {
            number,
            state: receiver.clone(),
            cancel: cancel.clone(),
            given_up: given_up.clone(),
        };
        running.insert(order.name.clone(), entry);
        drop(running);
        let (images, settings) = (Arc::clone(&self.images), Arc::clone(&self.settings));
        let (slots, all) = (Arc::clone(&self.slots), Arc::clone(&self.running));
        self.tasks.spawn(async move {
            let name = order.name.clone();
            let turn = tokio::select! {
                // Closed only when the runner closes.
                slot = slots.acquire_owned() => slot.ok(),
                () = given_up.cancelled() => None,
            };
            let end = match turn {
                Some(slot) => work(images, settings, order, cancel, state.clone(), slot).await,
                None => cancelled(),
            };
            // Not known any more before its end is told: who orders again then begins anew.
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            if all.get(&name).is_some_and(|known| known.number == number) {
                all.remove(&name);
            }
            drop(all);
            state.send_replace(end);
        });
        Ok(receiver)
    }

    /// Gives the pull for this name up, if there is one. Its end is not waited for, since a registry that says nothing
    /// can hold it for long: from now on it names no image, and another pull may have the name.
    pub fn give_up(&self, name: &str) {
        if let Some(running) = self.running().remove(name) {
            running.cancel.cancel();
            running.given_up.cancel();
        }
    }

    /// Ends all pulls and waits for them.
    pub async fn close(&self) {
        self.tasks.close();
        self.slots.close();
        for running in self.running().values() {
            running.cancel.cancel();
            running.given_up.cancel();
        }
        self.tasks.wait().await;
    }
}

fn cancelled() -> PullState {
    PullState::Failed {
        fault: PullFault {
            code: PullFaultCode::Cancelled,
            message: "nobody wants the image any more".to_owned(),
        },
    }
}

async fn work(
    images: Arc<ImageStore>,
    settings: Arc<RegistrySettings>,
    order: Pull,
    cancel: Cancel,
    state: watch::Sender<PullState>,
    slot: tokio::sync::OwnedSemaphorePermit,
) -> PullState {
    let begun = PullState::Running {
        done_bytes: 0,
        total_bytes: None,
    };
    state.send_replace(begun);
    let (name, reference) = (order.name.clone(), order.reference.clone());
    let pulled = tokio::task::spawn_blocking(move || {
        let progress = |progress: Progress| {
            state.send_replace(PullState::Running {
                done_bytes: progress.done_bytes,
                total_bytes: Some(progress.total_bytes),
            });
        };
        let parts = PullParts {
            settings: &settings,
            cancel: &cancel,
            progress: &progress,
        };
        let pulled = images.pull(&order, &parts);
        drop(slot);
        pulled
    });
    match pulled.await {
        Ok(Ok(image)) => {
            tracing::info!(
                image.name = name,
                image.digest = image.digest.0,
                "pulled {reference}"
            );
            PullState::Done { image }
        }
        Ok(Err(error)) => {
            let fault = error.to_fault();
            tracing::warn!(
                image.name = name,
                code = ?fault.code,
                "cannot pull {reference}: {}",
                fault.message
            );
            PullState::Failed { fault }
        }
        Err(error) => {
            tracing::error!(image.name = name, %error, "the pull of {reference} broke off");
            let fault = PullFault {
                code: PullFaultCode::Internal,
                message: "the pull broke off".to_owned(),
            };
            PullState::Failed { fault }
        }
    }
}
