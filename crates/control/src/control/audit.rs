//! The audit log, from the one door.

use std::fmt;
use std::sync::Arc;

use alcove_domain::{
    AuditEntry, AuditFilter, AuditRow, AuditScope, OrganizationId, Permission, Reason, audit_text,
};
use alcove_store::{AuditPage, Deed};

use super::Control;
use crate::audit::{self, NewDeed};
use crate::rng::uuid_v4;
use crate::{Caller, Error, Traffic, cursor, traffic};

/// Rows of one page, at most.
pub const AUDIT_PAGE_MAX: u64 = 200;
/// Rows that an export reads at once.
const EXPORTED_AT_ONCE: u64 = 500;

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditQuery {
    pub filter: AuditFilter,
    /// From 1 on.
    pub page: u64,
    /// At most [`AUDIT_PAGE_MAX`].
    pub limit: u64,
    /// Where an earlier page ended; it counts before `page`.
    pub next_token: Option<String>,
}

/// A page, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditList {
    pub rows: Vec<AuditRow>,
    pub total: u64,
    pub page: u64,
    /// The way to what follows, which stays right while rows are added. None on the last page.
    pub next_token: Option<String>,
}

/// An entry that an administrator writes by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenAudit {
    pub actor_id: String,
    pub actor_email: String,
    pub organization: Option<String>,
    pub action: String,
    pub target_type: Option<String>,
    pub target_id: Option<String>,
}

/// All rows of a log that are wanted, the oldest first, a batch at a time.
pub struct AuditExport {
    control: Control,
    scope: AuditScope,
    filter: AuditFilter,
    after: Option<i64>,
}

impl fmt::Debug for AuditExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditExport")
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl AuditExport {
    /// The next rows; empty at the end.
    pub async fn next(&mut self) -> Result<Vec<AuditRow>, Error> {
        let Some(sequence) = self.after else {
            return Ok(Vec::new());
        };
        let page = AuditPage::After {
            sequence,
            limit: EXPORTED_AT_ONCE,
        };
        let reader = self.control.shared.store.reader();
        let rows = reader.audit_list(&self.scope, &self.filter, page).await;
        let rows = rows.map_err(failed)?;
        self.after = rows.last().map(|row| row.sequence);
        Ok(rows)
    }
}

fn failed(error: alcove_store::StoreError) -> Error {
    Error::store("reading the audit log", error)
}

impl Control {
    /// Begins what somebody asks for. Its row is written by the transaction that does it, if the use-case is called within
    /// [`crate::acting`].
    pub fn begin_deed(&self, new: &NewDeed<'_>) -> Arc<Deed> {
        audit::begin(&self.shared, new)
    }

    /// Says what came of it. Never waits. Without a status, the client did not wait for the answer.
    pub fn finish_deed(&self, deed: &Deed, status: Option<u16>, error: Option<&str>) {
        audit::finish(&self.shared, deed, status, error);
    }

    /// Says that it is the caller who acts, where this task is about an action.
    pub fn note_actor(&self, caller: &Caller) {
        audit::note_actor(caller);
    }

    /// Puts a request into a sandbox down. Never waits.
    pub fn record_traffic(&self, traffic: Traffic<'_>) {
        traffic::record(&self.shared, traffic);
    }

    /// # Errors
    /// [`Error::Forbidden`] without the permission to read audit logs, [`Error::NotFound`] for every other organization.
    pub async fn list_audit(
        &self,
        caller: &Caller,
        organization: &str,
        query: AuditQuery,
    ) -> Result<AuditList, Error> {
        let scope = self.audit_scope(caller, organization)?;
        self.list_audit_in(scope, query).await
    }

    /// The logs of all organizations and of the server.
    ///
    /// # Errors
    /// [`Error::Forbidden`] unless the caller administers the server.
    pub async fn list_all_audit(
        &self,
        caller: &Caller,
        query: AuditQuery,
    ) -> Result<AuditList, Error> {
        self.shared.require_admin(caller).await?;
        self.list_audit_in(AuditScope::All, query).await
    }

    /// As [`Self::list_audit`], all of it.
    pub async fn export_audit(
        &self,
        caller: &Caller,
        organization: &str,
        filter: AuditFilter,
    ) -> Result<AuditExport, Error> {
        let scope = self.audit_scope(caller, organization)?;
        self.export_audit_in(scope, filter).await
    }

    /// As [`Self::list_all_audit`], all of it.
    pub async fn export_all_audit(
        &self,
        caller: &Caller,
        filter: AuditFilter,
    ) -> Result<AuditExport, Error> {
        self.shared.require_admin(caller).await?;
        self.export_audit_in(AuditScope::All, filter).await
    }

    /// Writes a row by hand, as the administrator of the server, who is named in it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an organization that is not there.
    pub async fn write_audit(
        &self,
        caller: &Caller,
        written: WrittenAudit,
    ) -> Result<AuditRow, Error> {
        self.shared.require_admin(caller).await?;
        let organization = match &written.organization {
            None => None,
            Some(id) => Some(self.known_organization(id).await?),
        };
        let shared = &self.shared;
        let id = uuid_v4(&*shared.rng).to_string();
        let mut entry = AuditEntry::new(id, shared.clock.now(), audit_text(&written.action));
        entry.actor_id = audit_text(&written.actor_id);
        entry.actor_email = audit_text(&written.actor_email);
        entry.organization = organization;
        entry.target_type = written.target_type.as_deref().map(audit_text);
        entry.target_id = written.target_id.as_deref().map(audit_text);
        entry
            .metadata
            .insert("writtenBy".to_owned(), caller.user.to_string());
        let scope = match &entry.organization {
            Some(org) => AuditScope::Organization(org.clone()),
            None => AuditScope::All,
        };
        let filter = AuditFilter {
            id: alcove_domain::audit::TextFilter {
                equals: Some(entry.id.clone()),
                ..Default::default()
            },
            ..AuditFilter::default()
        };
        let store = |error| Error::store("writing the audit log", error);
        let tx = shared.store.begin().await.map_err(store)?;
        let tx = tx.beside_the_action();
        tx.audit_append(vec![entry]).await.map_err(store)?;
        tx.commit().await.map_err(store)?;
        let page = AuditPage::After {
            sequence: 0,
            limit: 1,
        };
        let rows = shared
            .store
            .reader()
            .audit_list(&scope, &filter, page)
            .await;
        rows.map_err(failed)?.pop().ok_or(Error::Internal {
            doing: "reading back a row of the audit log",
            cause: None,
        })
    }

    async fn known_organization(&self, id: &str) -> Result<OrganizationId, Error> {
        let not_found = || Error::NotFound {
            message: format!("Organization with ID {id} not found"),
        };
        let id: OrganizationId = id.parse().map_err(|_| not_found())?;
        let found = self.shared.store.reader().organization_find(&id).await;
        found.map_err(failed)?.ok_or_else(not_found)?;
        Ok(id)
    }

    fn audit_scope(&self, caller: &Caller, organization: &str) -> Result<AuditScope, Error> {
        let caller = self.enter(caller, organization)?;
        caller.require(Permission::ReadAuditLogs)?;
        Ok(AuditScope::Organization(caller.organization.clone()))
    }

    async fn export_audit_in(
        &self,
        scope: AuditScope,
        filter: AuditFilter,
    ) -> Result<AuditExport, Error> {
        audit::flush(&self.shared).await?;
        Ok(AuditExport {
            control: self.clone(),
            scope,
            filter,
            after: Some(0),
        })
    }

    pub(crate) async fn list_audit_in(
        &self,
        scope: AuditScope,
        query: AuditQuery,
    ) -> Result<AuditList, Error> {
        let AuditQuery {
            filter,
            page,
            limit,
            next_token,
        } = query;
        let limit = limit.clamp(1, AUDIT_PAGE_MAX);
        let question = format!("audit {scope:?} {filter:?}");
        let key = &self.shared.secrets.cursors;
        let wanted = match next_token {
            Some(token) => {
                let place = cursor::open_pair(key, &question, &token);
                let (_, sequence) = place.ok_or_else(|| {
                    Error::refused(vec![Reason::invalid(
                        "nextToken is not of a page of this list",
                    )])
                })?;
                AuditPage::Before {
                    sequence: Some(sequence),
                    limit: limit + 1,
                }
            }
            None => AuditPage::Skipping {
                rows: page.saturating_sub(1).saturating_mul(limit),
                limit: limit + 1,
            },
        };
        // What waits is part of the answer: whoever asks right after something failed finds it.
        audit::flush(&self.shared).await?;
        let reader = self.shared.store.reader();
        let mut rows = reader
            .audit_list(&scope, &filter, wanted)
            .await
            .map_err(failed)?;
        let total = reader.audit_count(&scope, &filter).await.map_err(failed)?;
        let has_more = rows.len() as u64 > limit;
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next_token = rows
            .last()
            .filter(|_| has_more)
            .map(|last| cursor::seal_pair(key, &question, (0, last.sequence)));
        Ok(AuditList {
            rows,
            total,
            page,
            next_token,
        })
    }
}
