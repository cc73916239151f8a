//! What orders make of sandboxes on a played host.

use alcove_runner_api::{DiskOrigin, FaultCode, Goal, Observed, Order, SandboxSpec, Work};

use super::{Kept, State, fault, image, running};

impl State {
    pub(super) fn run(
        &mut self,
        spec: &SandboxSpec,
        known: Option<&Kept>,
    ) -> (Observed, Option<SandboxSpec>) {
        if known.is_none() && spec.disk == DiskOrigin::Existing {
            let fault = fault(FaultCode::Lost);
            let has_disk = false;
            return (Observed::Failed { fault, has_disk }, None);
        }
        if let Some(fault) = self.volumes.missing(spec) {
            let has_disk = known.is_some();
            return (
                Observed::Failed { fault, has_disk },
                has_disk.then(|| spec.clone()),
            );
        }
        let is_up = known.is_some_and(|kept| {
            matches!(
                kept.observed,
                Observed::Running { .. } | Observed::Paused { .. }
            )
        });
        let failure = if is_up { None } else { self.failures.pop() };
        match failure {
            None => (running(), Some(spec.clone())),
            Some((fault, has_disk)) => (
                Observed::Failed { fault, has_disk },
                has_disk.then(|| spec.clone()),
            ),
        }
    }

    pub(super) fn work_on(
        &mut self,
        goal: &Goal,
        kept: Kept,
        order: &Order,
    ) -> (Observed, Option<SandboxSpec>, Option<Work>) {
        let Kept { observed, spec, .. } = kept;
        if let Some(fault) = self.undone.pop() {
            return (observed, spec, Some(Work::Undone { fault }));
        }
        let done = |image| Some(Work::Done { image });
        match (goal, observed) {
            (Goal::Paused, Observed::Running { agent_version }) => {
                (Observed::Paused { agent_version }, spec, done(None))
            }
            (Goal::Archived, Observed::Stopped { .. }) => (Observed::Archived, spec, done(None)),
            (Goal::Resized(resources), observed) => {
                let resources = *resources;
                let spec = spec.map(|spec| SandboxSpec { resources, ..spec });
                (observed, spec, done(None))
            }
            (Goal::Networked(network), observed) => {
                let network = network.clone();
                let spec = spec.map(|spec| SandboxSpec { network, ..spec });
                (observed, spec, done(None))
            }
            (Goal::Captured { name }, observed) => {
                let entry = image(name, "daytona");
                if !self.images.contains(&entry) {
                    self.images.push(entry.clone());
                }
                (observed, spec, done(Some(entry)))
            }
            (
                Goal::Copied {
                    child,
                    child_generation,
                },
                observed,
            ) => {
                let is_newer = self
                    .taken
                    .get(child)
                    .is_some_and(|taken| taken > child_generation);
                if !is_newer {
                    self.sandboxes.entry(child.clone()).or_insert(Kept {
                        generation: *child_generation,
                        observed: Observed::Stopped { fault: None },
                        spec: spec.clone(),
                    });
                }
                debug_assert_ne!(*child, order.sandbox);
                (observed, spec, done(None))
            }
            (_, observed) => (observed, spec, done(None)),
        }
    }
}
