//! Which members there are, who has one, and what is to be done next. Nothing here waits or touches the host.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use alcove_domain::SandboxId;
use alcove_runner_api::{Fault, WarmKind, WarmState, WarmWish};

/// Rest after a member could not be made, doubled with each further failure.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_mins(1);

pub trait Member {
    fn id(&self) -> &SandboxId;

    /// Whether it can still be handed over.
    fn is_fit(&self) -> bool;
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Task<M> {
    Make(WarmKind),
    Discard(M),
}

#[derive(Debug)]
struct Failure {
    fault: Fault,
    retry_at: Instant,
    rest: Duration,
}

#[derive(Debug)]
pub struct Shelf<M> {
    taken_limit: Duration,
    wishes: Vec<WarmWish>,
    ready: HashMap<WarmKind, VecDeque<M>>,
    /// With the time by which they are claimed, or go.
    taken: HashMap<SandboxId, (WarmKind, M, Instant)>,
    failures: HashMap<WarmKind, Failure>,
    is_closed: bool,
}

impl<M: Member> Shelf<M> {
    pub fn new(taken_limit: Duration) -> Self {
        Self {
            taken_limit,
            wishes: Vec::new(),
            ready: HashMap::new(),
            taken: HashMap::new(),
            failures: HashMap::new(),
            is_closed: false,
        }
    }

    pub fn wish(&mut self, wishes: Vec<WarmWish>) {
        self.wishes = wishes;
        let is_wanted = |kind: &WarmKind| self.wishes.iter().any(|wish| wish.kind == *kind);
        self.failures.retain(|kind, _| is_wanted(kind));
    }

    fn wished(&self, kind: &WarmKind) -> usize {
        let of_kind = self.wishes.iter().filter(|wish| wish.kind == *kind);
        of_kind.map(|wish| wish.size as usize).sum()
    }

    fn count(&self, kind: &WarmKind) -> usize {
        self.ready.get(kind).map_or(0, VecDeque::len)
    }

    pub fn states(&self) -> Vec<WarmState> {
        let state = |wish: &WarmWish| WarmState {
            kind: wish.kind.clone(),
            ready: u32::try_from(self.count(&wish.kind)).unwrap_or(u32::MAX),
            fault: self
                .failures
                .get(&wish.kind)
                .map(|failure| failure.fault.clone()),
        };
        self.wishes.iter().map(state).collect()
    }

    /// The one that has waited longest.
    pub fn take(&mut self, kinds: &[WarmKind], now: Instant) -> Option<SandboxId> {
        for kind in kinds {
            let Some(ready) = self.ready.get_mut(kind) else {
                continue;
            };
            // One that is not fit any more is seen by the next look.
            let Some(at) = ready.iter().position(Member::is_fit) else {
                continue;
            };
            let Some(member) = ready.remove(at) else {
                continue;
            };
            let id = member.id().clone();
            let until = now + self.taken_limit;
            self.taken.insert(id.clone(), (kind.clone(), member, until));
            return Some(id);
        }
        None
    }

    pub fn give_back(&mut self, id: &SandboxId) {
        if let Some((kind, member, _)) = self.taken.remove(id) {
            self.ready.entry(kind).or_default().push_front(member);
        }
    }

    pub fn claim(&mut self, id: &SandboxId) -> Option<M> {
        self.taken.remove(id).map(|(_, member, _)| member)
    }

    /// Everything that nobody has taken.
    pub fn clear(&mut self) -> Vec<M> {
        let ready = std::mem::take(&mut self.ready);
        ready.into_values().flatten().collect()
    }

    pub fn close(&mut self) -> Vec<M> {
        self.is_closed = true;
        self.wishes.clear();
        let taken = std::mem::take(&mut self.taken);
        let mut all = self.clear();
        all.extend(taken.into_values().map(|(_, member, _)| member));
        all
    }

    pub fn is_empty(&self) -> bool {
        self.wishes.is_empty()
            && self.taken.is_empty()
            && self.ready.values().all(VecDeque::is_empty)
    }

    pub fn made(&mut self, kind: &WarmKind, made: Result<M, Fault>, now: Instant) {
        match made {
            Ok(member) => {
                self.failures.remove(kind);
                // One too many goes by the next look.
                self.ready
                    .entry(kind.clone())
                    .or_default()
                    .push_back(member);
            }
            Err(fault) => {
                let before = self.failures.get(kind).map(|failure| failure.rest);
                let rest = before.map_or(RETRY_FIRST, |rest| (rest * 2).min(RETRY_LAST));
                let retry_at = now + rest;
                self.failures.insert(
                    kind.clone(),
                    Failure {
                        fault,
                        retry_at,
                        rest,
                    },
                );
            }
        }
    }

    pub fn next(&mut self, now: Instant) -> Option<Task<M>> {
        self.useless(now)
            .map(Task::Discard)
            .or_else(|| self.missing(now).map(Task::Make))
    }

    fn useless(&mut self, now: Instant) -> Option<M> {
        let expired = self.taken.iter().find(|(_, (_, _, until))| *until <= now);
        if let Some(id) = expired.map(|(id, _)| id.clone()) {
            return self.claim(&id);
        }
        self.ready.retain(|_, ready| !ready.is_empty());
        let kinds: Vec<WarmKind> = self.ready.keys().cloned().collect();
        for kind in kinds {
            let wished = self.wished(&kind);
            let Some(ready) = self.ready.get_mut(&kind) else {
                continue;
            };
            if let Some(at) = ready.iter().position(|member| !member.is_fit()) {
                return ready.remove(at);
            }
            if ready.len() > wished {
                return ready.pop_front();
            }
        }
        None
    }

    /// The kind that has the smallest part of what is wished of it.
    fn missing(&self, now: Instant) -> Option<WarmKind> {
        if self.is_closed {
            return None;
        }
        let may_try = |kind: &WarmKind| {
            let failure = self.failures.get(kind);
            failure.is_none_or(|failure| failure.retry_at <= now)
        };
        let missing = self
            .wishes
            .iter()
            .map(|wish| &wish.kind)
            .filter(|kind| self.count(kind) < self.wished(kind) && may_try(kind));
        missing
            // Compared without fractions: a/b < c/d where a*d < c*b.
            .min_by(|one, other| {
                let left = self.count(one) * self.wished(other);
                let right = self.count(other) * self.wished(one);
                left.cmp(&right)
            })
            .cloned()
    }
}

#[cfg(test)]
mod tests;
