//! Images on a played host: pulled, released, taken away.

use alcove_runner_api::{
    Collected, ImageDigest, Needed, OrderError, Pull, PullFault, PullFaultCode, PullState,
};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::{FakeRunner, image};

/// What was asked of the host about images, and what it is to answer.
#[derive(Default)]
pub(super) struct Pulls {
    ordered: Vec<Pull>,
    failures: Vec<PullFaultCode>,
    released: Vec<String>,
    collected: Vec<Needed>,
}

impl FakeRunner {
    /// The next pull fails.
    pub fn fail_next_pull(&self, code: PullFaultCode) {
        self.state().pulls.failures.insert(0, code);
    }

    /// Every pull that was ordered, repeated ones included.
    pub fn pulls(&self) -> Vec<Pull> {
        self.state().pulls.ordered.clone()
    }

    /// Names that were released, in order.
    pub fn released(&self) -> Vec<String> {
        self.state().pulls.released.clone()
    }

    /// What was said to be needed, each time that images were to be taken away.
    pub fn collected(&self) -> Vec<Needed> {
        self.state().pulls.collected.clone()
    }

    pub fn has_image(&self, name: &str) -> bool {
        self.state().images.iter().any(|image| image.name == name)
    }

    /// The end of a pull, once the gate is open.
    fn end_pull(&self, pull: &Pull) -> PullState {
        let mut state = self.state();
        if let Some(found) = state.images.iter().find(|image| image.name == pull.name) {
            let image = found.clone();
            return PullState::Done { image };
        }
        if let Some(code) = state.pulls.failures.pop() {
            let message = format!("{code:?}");
            let fault = PullFault { code, message };
            return PullState::Failed { fault };
        }
        let mut image = image(&pull.name, "daytona");
        image.entrypoint = vec!["/of-the-image".to_owned()];
        // Of one reference, always the same.
        image.digest = ImageDigest(match pull.reference.split_once('@') {
            Some((_, digest)) => digest.to_owned(),
            None => format!("sha256:{}", pull.reference),
        });
        state.images.push(image.clone());
        PullState::Done { image }
    }

    pub(super) fn begin_pull(
        &self,
        pull: Pull,
    ) -> Result<BoxStream<'static, PullState>, OrderError> {
        let mut state = self.state();
        if !state.is_alive {
            return Err(OrderError::Unavailable);
        }
        state.pulls.ordered.push(pull.clone());
        let life = state.life;
        drop(state);
        let begun = futures_util::stream::iter([PullState::Running {
            done_bytes: 0,
            total_bytes: None,
        }]);
        let host = self.clone();
        let end = futures_util::stream::once(async move {
            host.pass(&host.host.work_gate, life).await.ok()?;
            Some(host.end_pull(&pull))
        });
        let end = end.filter_map(|end| async move { end });
        Ok(begun.chain(end).boxed())
    }

    pub(super) fn release(&self, name: &str) -> Result<(), OrderError> {
        let mut state = self.state();
        if !state.is_alive {
            return Err(OrderError::Unavailable);
        }
        state.pulls.released.push(name.to_owned());
        state.images.retain(|image| image.name != name);
        Ok(())
    }

    pub(super) fn collect(&self, needed: Needed) -> Result<Collected, OrderError> {
        let mut state = self.state();
        if !state.is_alive {
            return Err(OrderError::Unavailable);
        }
        state.pulls.collected.push(needed);
        Ok(Collected::default())
    }
}
