//! What sandboxes of a played host use.

use alcove_runner_api::{OrderError, Sample};

use super::FakeRunner;

#[derive(Default)]
pub(super) struct Samples {
    told: Vec<Sample>,
    rounds: usize,
}

impl FakeRunner {
    /// What the host says from now on when it is asked what sandboxes use.
    pub fn set_samples(&self, samples: Vec<Sample>) {
        self.state().samples.told = samples;
    }

    /// How often the host was asked.
    pub fn sample_rounds(&self) -> usize {
        self.state().samples.rounds
    }

    pub(super) fn tell_samples(&self) -> Result<Vec<Sample>, OrderError> {
        let mut state = self.state();
        state.samples.rounds += 1;
        if !state.is_alive {
            return Err(OrderError::Unavailable);
        }
        Ok(state.samples.told.clone())
    }
}
