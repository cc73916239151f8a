//! Members of warm pools on a played host. They are there as soon as they are wished for, unless told otherwise.

use std::collections::{HashMap, HashSet};

use alcove_domain::SandboxId;
use alcove_runner_api::{Fault, FaultCode, OrderError, WarmKind, WarmState, WarmWish};

use super::{FakeRunner, fault};

/// What waits on the host.
#[derive(Default)]
pub(super) struct Warm {
    wishes: Vec<WarmWish>,
    ready: HashMap<WarmKind, Vec<SandboxId>>,
    taken: HashMap<SandboxId, WarmKind>,
    handed_over: Vec<SandboxId>,
    /// Members made so far: each has an id that none had before.
    count: u32,
    fault: Option<Fault>,
}

impl Warm {
    /// Makes what is missing and throws away what is too much.
    fn settle(&mut self) {
        let wishes = self.wishes.clone();
        self.ready
            .retain(|kind, _| wishes.iter().any(|wish| wish.kind == *kind));
        for wish in wishes {
            let ready = self.ready.entry(wish.kind).or_default();
            let size = usize::try_from(wish.size).unwrap_or(usize::MAX);
            ready.truncate(size);
            while self.fault.is_none() && ready.len() < size {
                self.count += 1;
                // As real ones are, so that links to them can be signed.
                let id = format!("00000000-0000-4000-8000-{:012x}", self.count);
                ready.push(id.parse().expect("a plain id"));
            }
        }
    }

    /// A sandbox of this id was ordered to run.
    pub(super) fn note_run(&mut self, sandbox: &SandboxId) {
        if self.taken.remove(sandbox).is_some() {
            self.handed_over.push(sandbox.clone());
        }
    }

    /// A sandbox of this id was ordered away.
    pub(super) fn note_absent(&mut self, sandbox: &SandboxId) {
        self.taken.remove(sandbox);
    }
}

impl FakeRunner {
    /// The process that the runner is part of has ended, and every member with it.
    pub fn end_members(&self) {
        let warm = &mut self.state().warm;
        warm.wishes.clear();
        warm.ready.clear();
        warm.taken.clear();
    }

    /// No member can be made from now on; those that wait are gone.
    pub fn fail_members(&self, code: FaultCode) {
        let warm = &mut self.state().warm;
        warm.fault = Some(fault(code));
        warm.ready.clear();
    }

    /// What is wished for.
    pub fn warm_wishes(&self) -> Vec<WarmWish> {
        self.state().warm.wishes.clone()
    }

    /// Members that wait or are taken.
    pub fn members(&self) -> HashSet<SandboxId> {
        let state = self.state();
        let ready = state.warm.ready.values().flatten();
        ready.chain(state.warm.taken.keys()).cloned().collect()
    }

    /// Members that were taken and neither ordered nor given back.
    pub fn taken_members(&self) -> usize {
        self.state().warm.taken.len()
    }

    /// Members that became somebody's, in order.
    pub fn handed_over(&self) -> Vec<SandboxId> {
        self.state().warm.handed_over.clone()
    }

    pub(super) fn set_wishes(&self, wishes: Vec<WarmWish>) -> Result<(), OrderError> {
        let mut state = self.state();
        if !state.is_alive {
            return Err(OrderError::Unavailable);
        }
        state.warm.wishes = wishes;
        state.warm.settle();
        Ok(())
    }

    pub(super) fn tell_warm(&self) -> Result<Vec<WarmState>, OrderError> {
        let state = self.state();
        if !state.is_alive {
            return Err(OrderError::Unavailable);
        }
        let warm = &state.warm;
        let of_wish = |wish: &WarmWish| WarmState {
            kind: wish.kind.clone(),
            ready: warm
                .ready
                .get(&wish.kind)
                .map_or(0, |ready| u32::try_from(ready.len()).unwrap_or(u32::MAX)),
            fault: warm.fault.clone(),
        };
        Ok(warm.wishes.iter().map(of_wish).collect())
    }

    pub(super) fn take_member(&self, kinds: &[WarmKind]) -> Result<Option<SandboxId>, OrderError> {
        let mut state = self.state();
        if !state.is_alive {
            return Err(OrderError::Unavailable);
        }
        let warm = &mut state.warm;
        for kind in kinds {
            if let Some(id) = warm.ready.get_mut(kind).and_then(Vec::pop) {
                warm.taken.insert(id.clone(), kind.clone());
                warm.settle();
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    pub(super) fn take_member_back(&self, sandbox: &SandboxId) {
        let warm = &mut self.state().warm;
        if let Some(kind) = warm.taken.remove(sandbox) {
            let ready = warm.ready.entry(kind).or_default();
            ready.insert(0, sandbox.clone());
            warm.settle();
        }
    }
}
