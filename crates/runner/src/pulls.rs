//! Pulls of images: a few at once, each known by the name that its image gets.
//!
//! A pull goes on when nobody listens any more. What ends with the process is begun again by whoever ordered it, and
//! finds what has come so far on the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_runner_api::{OrderError, Pull, PullFault, PullFaultCode, PullState};
use tokio::sync::{Semaphore, watch};
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
    state: watch::Receiver<PullState>,
    cancel: Cancel,
}

/// All pulls of this runner.
#[derive(Debug)]
pub struct Pulls {
    images: Arc<ImageStore>,
    settings: Arc<RegistrySettings>,
    slots: Arc<Semaphore>,
    running: Arc<Mutex<HashMap<String, Running>>>,
    tasks: TaskTracker,
}

impl Pulls {
    pub fn new(images: Arc<ImageStore>, settings: RegistrySettings) -> Self {
        Self {
            images,
            settings: Arc::new(settings),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            running: Arc::default(),
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
        if running.len() >= MAX || self.tasks.is_closed() {
            return Err(OrderError::Unavailable);
        }
        let (state, receiver) = watch::channel(PullState::Waiting);
        let cancel = Cancel::default();
        let entry = Running {
            state: receiver.clone(),
            cancel: cancel.clone(),
        };
        running.insert(order.name.clone(), entry);
        drop(running);
        let (images, settings) = (Arc::clone(&self.images), Arc::clone(&self.settings));
        let (slots, all) = (Arc::clone(&self.slots), Arc::clone(&self.running));
        self.tasks.spawn(async move {
            let name = order.name.clone();
            // Closed only when the runner closes.
            let end = match slots.acquire_owned().await {
                Ok(slot) => work(images, settings, order, cancel, state.clone(), slot).await,
                Err(_) => cancelled(),
            };
            // Not known any more before its end is told: who orders again then begins anew.
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.remove(&name);
            drop(all);
            state.send_replace(end);
        });
        Ok(receiver)
    }

    /// Ends the pull for this name, if there is one, and waits for its end.
    pub async fn cancel(&self, name: &str) {
        let found = {
            let running = self.running();
            running.get(name).map(|running| {
                running.cancel.cancel();
                running.state.clone()
            })
        };
        if let Some(mut state) = found {
            // Its sender goes only with the task, which has ended then.
            let _ = state.wait_for(PullState::is_over).await;
        }
    }

    /// Ends all pulls and waits for them.
    pub async fn close(&self) {
        self.tasks.close();
        self.slots.close();
        for running in self.running().values() {
            running.cancel.cancel();
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
