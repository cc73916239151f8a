//! What was done in a sandbox.

use alcove_domain::{AuditFilter, AuditRow, Permission, Reason, SandboxId};
use jiff::Timestamp;

use super::Control;
use super::audit::AUDIT_PAGE_MAX;
use crate::traffic::{COMMANDS, CONNECTIONS, FILES, REQUESTS};
use crate::{Caller, Error, audit, cursor};

/// What kind of thing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityKind {
    /// A command was run, through the API.
    Command,
    /// Files were read or written, through the API.
    File,
    /// The sandbox asked for a name, or connected to somebody.
    Connection,
    /// Another request went into the sandbox.
    Request,
    /// Something was done to the sandbox itself.
    Change,
}

impl ActivityKind {
    pub const ALL: [Self; 5] = [
        Self::Command,
        Self::File,
        Self::Connection,
        Self::Request,
        Self::Change,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::File => "file",
            Self::Connection => "connection",
            Self::Request => "request",
            Self::Change => "change",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Of a row of the audit log.
    pub fn of(row: &AuditRow) -> Self {
        let action = row.entry.action.as_str();
        let found = Self::ALL.into_iter();
        let mut found = found.filter(|kind| kind.actions().contains(&action));
        found.next().unwrap_or(Self::Change)
    }

    /// The actions of this kind; none for the kind of all others.
    const fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Command => COMMANDS,
            Self::File => FILES,
            Self::Connection => CONNECTIONS,
            Self::Request => REQUESTS,
            Self::Change => &[],
        }
    }

    fn put_into(self, filter: &mut AuditFilter) {
        let texts = |actions: &[&str]| actions.iter().map(|action| (*action).to_owned()).collect();
        if self == Self::Change {
            let others = Self::ALL.into_iter().flat_map(Self::actions);
            filter.action.not_among = others.map(|action| (*action).to_owned()).collect();
        } else {
            filter.action.among = texts(self.actions());
        }
    }
}

/// Which part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActivityQuery {
    pub kind: Option<ActivityKind>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// At most [`AUDIT_PAGE_MAX`].
    pub limit: u64,
    pub next_token: Option<String>,
}

/// A part of it, in the order of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityList {
    pub rows: Vec<AuditRow>,
    pub next_token: Option<String>,
}

impl Control {
    /// What was done to a sandbox and in it, in the order of time, as far as the audit log goes back. It outlives the
    /// sandbox, which has no name then.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without the permission to read audit logs, [`Error::NotFound`] for a sandbox that is not the
    /// organization's, or of which nothing is known.
    pub async fn sandbox_activity(
        &self,
        caller: &Caller,
        id_or_name: &str,
        query: ActivityQuery,
    ) -> Result<ActivityList, Error> {
        caller.require(Permission::ReadAuditLogs)?;
        let failed = |error| Error::store("reading what was done in a sandbox", error);
        let shared = &self.shared;
        let org = &caller.organization;
        let live = shared.directory.find(org, id_or_name);
        let id = match &live {
            Some(entry) => entry.id.clone(),
            None => id_or_name
                .parse::<SandboxId>()
                .map_err(|_| not_found(id_or_name))?,
        };
        let mut filter = AuditFilter::default();
        if let Some(kind) = query.kind {
            kind.put_into(&mut filter);
        }
        filter.at.from = query.from.map(Timestamp::as_millisecond);
        filter.at.to = query.to.map(Timestamp::as_millisecond);
        let limit = query.limit.clamp(1, AUDIT_PAGE_MAX);
        let question = format!("activity {org} {id} {filter:?}");
        let key = &shared.secrets.cursors;
        let after = match &query.next_token {
            None => None,
            Some(token) => Some(cursor::open_pair(key, &question, token).ok_or_else(|| {
                Error::refused(vec![Reason::invalid(
                    "nextToken is not of a page of this list",
                )])
            })?),
        };
        let after = after.and_then(|(at, sequence)| {
            let at = Timestamp::from_millisecond(at).ok()?;
            Some((at, sequence))
        });
        audit::gather(shared).await;
        audit::flush(shared).await?;
        let reader = shared.store.reader();
        if live.is_none() {
            // Whoever asks in vain leaves rows as well: only what was done tells that it was there.
            let mut done = AuditFilter::default();
            done.status.below = Some(400);
            let any = reader.audit_history(org, id.as_str(), &done, None, 1).await;
            if any.map_err(failed)?.is_empty() {
                return Err(not_found(id_or_name));
            }
        }
        let rows = reader
            .audit_history(org, id.as_str(), &filter, after, limit + 1)
            .await;
        let mut rows = rows.map_err(failed)?;
        let has_more = rows.len() as u64 > limit;
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next_token = rows.last().filter(|_| has_more).map(|last| {
            let place = (last.entry.at.as_millisecond(), last.sequence);
            cursor::seal_pair(key, &question, place)
        });
        Ok(ActivityList { rows, next_token })
    }
}

fn not_found(id_or_name: &str) -> Error {
    Error::NotFound {
        message: format!("Sandbox with ID or name {id_or_name} not found"),
    }
}
