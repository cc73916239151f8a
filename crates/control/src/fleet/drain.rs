//! Emptying a host, so that it can be switched off.
//!
//! It takes nothing any more, and what is on it goes by and by: what is stopped into the archive, and, where the operator
//! says so, what runs is stopped first. Nothing is moved to another host.

use std::sync::Arc;

use alcove_domain::runner::CLEAN_LOOKS;
use alcove_domain::{Command, Phase, Runner, Sandbox};

use super::Known;
use crate::driver::Wish;
use crate::sandboxes;
use crate::shared::Shared;

/// Sandboxes that are told to go in one look: each archive reads a whole disk.
const BATCH: usize = 20;

/// What a drained host does with what is on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draining {
    /// Whether what is stopped goes into the archive. Otherwise it stays, and the host is empty only when somebody has
    /// deleted or archived it.
    pub archives: bool,
    /// Whether what runs or is paused is stopped.
    pub stops: bool,
}

impl Default for Draining {
    fn default() -> Self {
        Self {
            archives: true,
            stops: false,
        }
    }
}

/// One look at every runner that is to become empty. False if there is none.
pub(super) async fn look(shared: &Arc<Shared>) -> bool {
    let draining: Vec<Arc<Runner>> = {
        let known = shared.fleet.read();
        let all = known.runners.values();
        all.filter(|runner| runner.is_draining && !runner.is_decommissioned)
            .cloned()
            .collect()
    };
    let is_any = !draining.is_empty();
    for runner in draining {
        let is_empty = empty_host(shared, &runner).await;
        let mut looks = 0;
        shared.fleet.note(|known: &mut Known| {
            let clean = known.clean_looks.entry(runner.id.clone()).or_default();
            *clean = if is_empty { *clean + 1 } else { 0 };
            looks = *clean;
        });
        if looks < CLEAN_LOOKS {
            continue;
        }
        let done = shared.change_runner(&runner.id, |runner| {
            // Undone meanwhile, perhaps.
            runner.is_decommissioned = runner.is_draining;
        });
        match done.await {
            Ok(_) => tracing::info!(runner.id = %runner.id, "runner {} is empty", runner.name),
            Err(error) => tracing::error!(
                runner.id = %runner.id, %error, "cannot write that a runner is empty"
            ),
        }
    }
    is_any
}

/// Tells some of what is on the host to go. True if nothing is.
async fn empty_host(shared: &Arc<Shared>, runner: &Runner) -> bool {
    let own = (!runner.is_built_in).then_some(&runner.id);
    let policy = shared.settings.draining;
    let (mut is_empty, mut told) = (true, 0);
    for entry in shared.directory.entries() {
        let sandbox = entry.sandbox();
        if sandbox.runner.as_ref() != own || !is_on_host(&sandbox) {
            continue;
        }
        is_empty = false;
        let command = match &sandbox.lifecycle.phase {
            Phase::Stopped { .. } if policy.archives && !sandbox.is_ephemeral() => Command::Archive,
            Phase::Started | Phase::Paused if policy.stops => Command::Stop { force: false },
            _ => continue,
        };
        if told == BATCH {
            break;
        }
        told += 1;
        if let Err(error) = sandboxes::wish(shared, &entry, Wish::Plain(command)).await {
            // On its way somewhere, or not to be archived: the next look finds it.
            tracing::debug!(
                sandbox.id = %entry.id, %error,
                "sandbox {} stays on the host that is drained", entry.id
            );
        }
    }
    is_empty
}

fn is_on_host(sandbox: &Sandbox) -> bool {
    !matches!(
        sandbox.lifecycle.phase,
        Phase::Archived
            | Phase::Destroyed
            | Phase::BuildFailed { .. }
            | Phase::PendingBuild
            | Phase::BuildingSnapshot
            | Phase::Error {
                has_disk: false,
                ..
            }
    )
}
