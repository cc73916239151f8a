//! Where sandboxes and images are, as those ask who stand between users and sandboxes.

use std::sync::Arc;
use std::time::Duration;

use alcove_domain::Runner;

use super::Gate;
use super::runners::{RunnerView, not_found};
use crate::shared::Shared;
use crate::{Caller, Error};

impl Shared {
    /// The runner that a sandbox is on.
    pub async fn runner_of_sandbox(
        &self,
        gate: &Gate,
        id_or_name: &str,
    ) -> Result<RunnerView, Error> {
        let sandbox = self.covered(gate, id_or_name)?.sandbox();
        let runner = self.fleet.runner_of(&sandbox);
        let runner = runner.ok_or_else(|| not_found(id_or_name))?;
        self.view_runner(runner).await
    }

    /// Runners that have an image, by its digest or the name that it has there.
    pub async fn runners_with_image(
        &self,
        gate: &Gate,
        image: &str,
    ) -> Result<Vec<Arc<Runner>>, Error> {
        let has_it = |runner: &Runner| {
            gate.covers(&runner.region) && self.fleet.joined.has_image(&runner.id, image)
        };
        let mut found = self.fleet.list(has_it);
        let Some(runner) = self.fleet.built_in().filter(|it| gate.covers(&it.region)) else {
            return Ok(found);
        };
        let images = self.runner.images().await;
        let images = images.map_err(|error| Error::Unavailable {
            message: "The runner does not answer",
            retry_after: Some(Duration::from_secs(1)),
            cause: Some(Box::new(error)),
        })?;
        let has = images
            .iter()
            .any(|found| found.digest.0 == image || found.name == image);
        if has {
            found.insert(0, runner);
        }
        Ok(found)
    }

    pub async fn runner_for_gate(&self, gate: &Gate, id: &str) -> Result<RunnerView, Error> {
        let runner = self.fleet.get(id);
        let runner = runner.filter(|runner| gate.covers(&runner.region));
        self.view_runner(runner.ok_or_else(|| not_found(id))?).await
    }

    /// Whether nothing needs this image any more.
    pub async fn can_clean_up_image(&self, caller: &Caller, image: &str) -> Result<bool, Error> {
        self.require_admin(caller).await?;
        let used = self.store.reader().image_is_used(image).await;
        let used = used.map_err(|error| Error::store("looking for what needs an image", error))?;
        Ok(!used)
    }
}
