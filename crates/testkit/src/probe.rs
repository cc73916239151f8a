//! Holding the control plane at a step.

use std::sync::atomic::{AtomicUsize, Ordering};

use alcove_control::{Probe, Step};
use async_trait::async_trait;
use tokio::sync::watch;

/// Lets `passes` arrivals at a step go by and holds every later one for ever: whoever is held goes only by
/// being ended, as by a kill.
#[derive(Debug)]
pub struct HoldAt {
    step: Step,
    passes: usize,
    arrivals: AtomicUsize,
    is_held: watch::Sender<bool>,
}

impl HoldAt {
    pub fn new(step: Step, passes: usize) -> Self {
        Self {
            step,
            passes,
            arrivals: AtomicUsize::new(0),
            is_held: watch::Sender::new(false),
        }
    }

    /// Waits until someone is held.
    pub async fn held(&self) {
        // The sender lives as long as the probe that is borrowed here.
        let _ = self.is_held.subscribe().wait_for(|held| *held).await;
    }
}

#[async_trait]
impl Probe for HoldAt {
    async fn reached(&self, step: Step) {
        if step != self.step || self.arrivals.fetch_add(1, Ordering::SeqCst) < self.passes {
            return;
        }
        self.is_held.send_replace(true);
        std::future::pending::<()>().await;
    }
}
