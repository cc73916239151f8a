//! What somebody is doing, while it is being done: it goes with the task, and its row is written by the transaction that
//! does it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_domain::{AuditEntry, OrganizationId};

tokio::task_local! {
    static DEED: Option<Arc<Deed>>;
}

/// One action, from when it is asked for until it is answered.
#[derive(Debug)]
pub struct Deed(Mutex<State>);

#[derive(Debug)]
struct State {
    entry: AuditEntry,
    /// The status that it is answered with if all goes well.
    success: u16,
    /// The organization of the one who acts.
    home: Option<OrganizationId>,
    has_actor: bool,
    is_written: bool,
}

impl Deed {
    /// An action that is answered with `success` if all goes well. The entry's organization is the one that it is about,
    /// if the request names one.
    pub fn new(entry: AuditEntry, success: u16) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            entry,
            success,
            home: None,
            has_actor: false,
            is_written: false,
        })))
    }

    /// The action that this task is about.
    pub fn current() -> Option<Arc<Self>> {
        DEED.try_with(Clone::clone).ok().flatten()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says who acts, and for which organization, if for one.
    pub fn note_actor(&self, home: Option<&OrganizationId>, note: impl FnOnce(&mut AuditEntry)) {
        let mut state = self.state();
        state.home = home.cloned();
        state.has_actor = true;
        note(&mut state.entry);
    }

    pub fn action(&self) -> String {
        self.state().entry.action.clone()
    }

    /// Whether it is known who acts.
    pub fn has_actor(&self) -> bool {
        self.state().has_actor
    }

    /// Says which organization the action is about, where the request does not name it.
    pub fn note_organization(&self, organization: &OrganizationId) {
        let mut state = self.state();
        if !state.is_written {
            state.entry.organization = Some(organization.clone());
        }
    }

    /// Says by its id what the action is about, which the request may have named otherwise. Nothing is noted for another
    /// kind of thing than the action is about.
    pub fn note_target(&self, kind: &str, id: &str) {
        let mut state = self.state();
        if !state.is_written && state.entry.target_type.as_deref() == Some(kind) {
            state.entry.target_id = Some(id.to_owned());
        }
    }

    /// As [`Self::note_target`], for what the action makes: what the request named stays.
    pub(crate) fn note_made(&self, kind: &str, id: &str) {
        let is_known = self.state().entry.target_id.is_some();
        if !is_known {
            self.note_target(kind, id);
        }
    }

    /// The row to be written by a transaction, for the one that asks first.
    pub(crate) fn claim(&self) -> Option<AuditEntry> {
        let mut state = self.state();
        if state.is_written {
            return None;
        }
        state.is_written = true;
        let mut entry = state.entry.clone();
        entry.status = Some(state.success);
        if entry.organization.is_none() {
            entry.organization.clone_from(&state.home);
        }
        Some(entry)
    }

    /// The transaction came to nothing.
    pub(crate) fn give_back(&self) {
        self.state().is_written = false;
    }

    /// What is to be written behind the answer: all of it where no transaction wrote it, or that it ended otherwise than
    /// was written. The log of an organization has only what somebody was let in for.
    pub fn finish(&self, id: String, status: u16, error: Option<String>) -> Option<AuditEntry> {
        let mut state = self.state();
        // 0 is no answer: whether somebody was let in is not known.
        let is_success = (1..400).contains(&status);
        if state.is_written && is_success {
            return None;
        }
        let mut entry = state.entry.clone();
        if state.is_written {
            entry.metadata.insert("began".to_owned(), entry.id.clone());
            entry.id = id;
        }
        state.is_written = true;
        entry.status = Some(status);
        entry.error = error;
        if !is_success || entry.organization.is_none() {
            entry.organization.clone_from(&state.home);
        }
        Some(entry)
    }
}

/// Does something as part of an action, or of none.
pub async fn acting<T>(deed: Option<Arc<Deed>>, future: impl Future<Output = T>) -> T {
    DEED.scope(deed, future).await
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn org(number: u128) -> OrganizationId {
        let text = format!("00000000-0000-4000-8000-{number:012}");
        text.parse().expect("a UUID")
    }

    fn deed() -> Arc<Deed> {
        let mut entry = AuditEntry::new("1".to_owned(), Timestamp::UNIX_EPOCH, "create");
        entry.target_type = Some("sandbox".to_owned());
        entry.organization = Some(org(9));
        let deed = Deed::new(entry, 201);
        deed.note_actor(Some(&org(1)), |entry| entry.actor_id = "me".to_owned());
        deed
    }

    #[test]
    fn a_row_is_claimed_once_and_again_after_it_came_to_nothing() {
        let deed = deed();
        deed.note_target("volume", "of another kind");
        deed.note_made("sandbox", "s0");
        deed.note_made("sandbox", "s2");
        deed.note_target("sandbox", "s1");
        let entry = deed.claim().expect("nobody has");
        assert_eq!(entry.target_id.as_deref(), Some("s1"));
        assert_eq!(
            (entry.status, entry.organization),
            (Some(201), Some(org(9)))
        );
        assert_eq!(deed.claim(), None);
        deed.give_back();
        assert!(deed.claim().is_some());
        assert_eq!(deed.finish("2".to_owned(), 200, None), None);
    }

    #[test]
    fn what_fails_after_it_was_written_is_said_in_a_second_row() {
        let deed = deed();
        deed.claim().expect("nobody has");
        let entry = deed.finish("2".to_owned(), 400, Some("no".to_owned()));
        let entry = entry.expect("it failed");
        assert_eq!((entry.id.as_str(), entry.status), ("2", Some(400)));
        assert_eq!(entry.metadata["began"], "1");
    }

    #[test]
    fn what_fails_is_never_in_the_log_of_another_organization() {
        let entry = deed().finish("2".to_owned(), 404, None);
        let entry = entry.expect("it is not written");
        assert_eq!((entry.id.as_str(), entry.organization), ("1", Some(org(1))));
        let entry = deed().finish("2".to_owned(), 0, None);
        assert_eq!(entry.expect("it is not written").organization, Some(org(1)));
        let entry = deed().finish("2".to_owned(), 204, None);
        assert_eq!(entry.expect("it is not written").organization, Some(org(9)));
    }

    #[tokio::test]
    async fn an_action_goes_with_its_task() {
        assert!(Deed::current().is_none());
        acting(Some(deed()), async {
            assert!(Deed::current().is_some());
            acting(None, async { assert!(Deed::current().is_none()) }).await;
        })
        .await;
    }
}
