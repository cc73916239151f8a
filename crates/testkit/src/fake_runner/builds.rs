//! Builds on a played host.

use std::collections::HashMap;
use std::sync::Arc;

use alcove_domain::BuildId;
use alcove_runner_api::{
    Build, BuildFault, BuildFaultCode, BuildLogPiece, BuildOutcome, OrderError,
};
use tokio::sync::Notify;

use super::{FakeRunner, image};

/// What was asked of the host about builds, and what it is to answer.
#[derive(Default)]
pub(super) struct Builds {
    ordered: Vec<Build>,
    faults: Vec<BuildFault>,
    cancelled: Vec<BuildId>,
    forgotten: Vec<BuildId>,
    running: HashMap<String, Arc<Notify>>,
}

impl FakeRunner {
    /// The next build fails.
    pub fn fail_next_build(&self, fault: BuildFault) {
        self.state().builds.faults.insert(0, fault);
    }

    /// Every build that was ordered, repeated ones too.
    pub fn builds(&self) -> Vec<Build> {
        self.state().builds.ordered.clone()
    }

    pub fn cancelled_builds(&self) -> Vec<BuildId> {
        self.state().builds.cancelled.clone()
    }

    /// Builds whose log was removed.
    pub fn forgotten_builds(&self) -> Vec<BuildId> {
        self.state().builds.forgotten.clone()
    }

    pub(super) async fn run_build(&self, order: Build) -> Result<BuildOutcome, OrderError> {
        let cancel = Arc::new(Notify::new());
        let life = {
            let mut state = self.state();
            if !state.is_alive {
                return Err(OrderError::Unavailable);
            }
            state.builds.ordered.push(order.clone());
            let running = &mut state.builds.running;
            running.insert(order.id.clone(), Arc::clone(&cancel));
            state.life
        };
        tokio::select! {
            passed = self.pass(&self.host.work_gate, life) => passed?,
            () = cancel.notified() => {
                let fault = BuildFault::new(BuildFaultCode::Cancelled, "the build was cancelled");
                return Ok(BuildOutcome::Failed { fault });
            }
        }
        let mut state = self.state();
        state.builds.running.remove(&order.id);
        if let Some(fault) = state.builds.faults.pop() {
            return Ok(BuildOutcome::Failed { fault });
        }
        let image = image(&order.name, "builder");
        state.images.retain(|known| known.name != image.name);
        state.images.push(image.clone());
        Ok(BuildOutcome::Done { image })
    }

    pub(super) fn note_cancelled_build(&self, build: &BuildId) {
        let mut state = self.state();
        state.builds.cancelled.push(build.clone());
        if let Some(running) = state.builds.running.remove(build.as_str()) {
            running.notify_one();
        }
    }

    pub(super) fn note_forgotten_build(&self, build: &BuildId) {
        self.state().builds.forgotten.push(build.clone());
    }
}

/// A log of one line, from a place on.
pub(super) fn log(build: &BuildId, from: u64) -> BuildLogPiece {
    let text = format!("log of {build}\n").into_bytes();
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(text.len());
    BuildLogPiece {
        bytes: text[from..].to_vec(),
        is_over: from == text.len(),
    }
}
