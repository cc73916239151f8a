//! What the administrator of the server does with what is of any organization.

use std::sync::Arc;

use alcove_domain::{
    Command, CursorPage, Organization, OrganizationId, OrganizationState, Reason, Sandbox,
    SandboxId, SandboxState,
};
use alcove_store::{Deed, NewestFirst};

use super::Control;
use crate::directory::Entry;
use crate::driver::Wish;
use crate::list::parse_limit;
use crate::sandboxes::{self, Until};
use crate::work::{self, Work};
use crate::{Caller, Error, cursor};

/// A list of organizations.
#[derive(Debug, Clone, Default)]
pub struct ListOrganizations {
    pub state: Option<OrganizationState>,
    /// 1 to 200, 100 when absent.
    pub limit: Option<i64>,
    pub cursor: Option<String>,
}

/// A list of sandboxes of all organizations.
#[derive(Debug, Clone, Default)]
pub struct ListAllSandboxes {
    /// Any where none is named.
    pub states: Vec<SandboxState>,
    /// Of this organization alone.
    pub organization: Option<String>,
    /// 1 to 200, 100 when absent.
    pub limit: Option<i64>,
    pub cursor: Option<String>,
}

impl Control {
    /// Organizations, newest first, as the administrator of the server.
    pub async fn list_all_organizations(
        &self,
        caller: &Caller,
        list: ListOrganizations,
    ) -> Result<CursorPage<Organization>, Error> {
        let shared = &self.shared;
        shared.require_admin(caller).await?;
        let question = format!("organizations {:?}", list.state);
        let page = self.page(&question, list.limit, list.cursor.as_deref(), Vec::new())?;
        let now = shared.clock.now();
        let found = shared
            .store
            .reader()
            .organization_list_all(list.state, now, page.after.as_ref(), page.limit + 1)
            .await
            .map_err(|error| Error::store("listing organizations", error))?;
        Ok(self.cut(&question, page.limit, found, |it| NewestFirst {
            created_at_ms: it.created_at.as_millisecond(),
            id: it.id.to_string(),
        }))
    }

    /// What an administrator tells an organization by.
    pub fn organization_state(&self, organization: &Organization) -> OrganizationState {
        organization.state(self.shared.clock.now())
    }

    /// Sandboxes of all organizations, newest first, as the administrator of the server.
    pub async fn list_all_sandboxes(
        &self,
        caller: &Caller,
        list: ListAllSandboxes,
    ) -> Result<CursorPage<Sandbox>, Error> {
        let shared = &self.shared;
        shared.require_admin(caller).await?;
        let mut reasons = Vec::new();
        if list.states.contains(&SandboxState::Destroyed) {
            reasons.push(Reason::invalid("states must not contain destroyed"));
        }
        let organization = list
            .organization
            .as_deref()
            .map(str::parse::<OrganizationId>);
        if matches!(organization, Some(Err(_))) {
            reasons.push(Reason::invalid("organizationId must be a UUID"));
        }
        let organization = organization.and_then(Result::ok);
        let question = format!("sandboxes {organization:?} {:?}", list.states);
        let page = self.page(&question, list.limit, list.cursor.as_deref(), reasons)?;
        let found = shared
            .store
            .reader()
            .sandbox_list_of_all(
                organization.as_ref(),
                &list.states,
                page.after.as_ref(),
                page.limit + 1,
            )
            .await
            .map_err(|error| Error::store("listing sandboxes", error))?;
        Ok(self.cut(&question, page.limit, found, |it| NewestFirst {
            created_at_ms: it.created_at.as_millisecond(),
            id: it.id.to_string(),
        }))
    }

    /// Starts any organization's sandbox anew that ended in an error, as the administrator of the server, and waits for it.
    pub async fn recover_any_sandbox(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<Arc<Sandbox>, Error> {
        let entry = self.find_any(caller, id).await?;
        let command = Command::Recover { skip_start: false };
        sandboxes::wish(&self.shared, &entry, Wish::Plain(command)).await?;
        let sandbox = sandboxes::wait(&self.shared, &entry, Until::Started).await;
        self.events_told().await;
        sandbox
    }

    /// Deletes any organization's sandbox, whatever it is about, as the administrator of the server. It goes in the background,
    /// through restarts too.
    pub async fn destroy_any_sandbox(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<Arc<Sandbox>, Error> {
        let entry = self.find_any(caller, id).await?;
        let sandbox = sandboxes::wish(&self.shared, &entry, Wish::Plain(Command::Delete)).await?;
        self.events_told().await;
        tracing::info!(
            sandbox.id = %entry.id,
            user.id = %caller.user,
            "sandbox {} is deleted by administrator {}", entry.id, caller.user
        );
        Ok(sandbox)
    }

    /// Builds and pulls that are under way or wait for their turn, the oldest first, as the administrator of the server.
    pub async fn list_work(&self, caller: &Caller) -> Result<Vec<Work>, Error> {
        self.shared.require_admin(caller).await?;
        work::list(&self.shared).await
    }

    /// Ends a build or a pull, as the administrator of the server. Its snapshot is as if it had failed.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that is over.
    pub async fn cancel_work(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        self.shared.require_admin(caller).await?;
        work::cancel(&self.shared, id).await
    }

    /// A sandbox of any organization, by its id. What is done with it is in its organization's log.
    async fn find_any(&self, caller: &Caller, id: &str) -> Result<Arc<Entry>, Error> {
        self.shared.require_admin(caller).await?;
        let found = id.parse::<SandboxId>().ok();
        let found = found.and_then(|id| self.shared.directory.get(&id));
        let entry = found
            .filter(|entry| entry.sandbox().is_visible())
            .ok_or_else(|| Error::NotFound {
                message: format!("Sandbox with ID {id} not found"),
            })?;
        if let Some(deed) = Deed::current() {
            deed.note_organization(&entry.sandbox().organization_id);
            deed.note_target("sandbox", entry.id.as_str());
        }
        Ok(entry)
    }

    fn page(
        &self,
        question: &str,
        limit: Option<i64>,
        cursor: Option<&str>,
        mut reasons: Vec<Reason>,
    ) -> Result<Page, Error> {
        let limit = parse_limit(limit, &mut reasons);
        let key = &self.shared.secrets.cursors;
        let after = cursor.filter(|cursor| !cursor.is_empty()).and_then(|text| {
            let place = cursor::open_newest(key, question, text);
            if place.is_none() {
                reasons.push(Reason::invalid(
                    "cursor is not valid for this list and filter",
                ));
            }
            place
        });
        Error::check(reasons)?;
        Ok(Page { limit, after })
    }

    /// A page of one row more than asked for, which tells whether there is a next page.
    fn cut<T>(
        &self,
        question: &str,
        limit: u64,
        mut items: Vec<T>,
        place: impl Fn(&T) -> NewestFirst,
    ) -> CursorPage<T> {
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = items.len() > wanted;
        items.truncate(wanted);
        let last = items.last().filter(|_| has_more).map(place);
        let key = &self.shared.secrets.cursors;
        CursorPage {
            next_cursor: last.map(|last| cursor::seal_newest(key, question, &last)),
            items,
        }
    }
}

struct Page {
    limit: u64,
    after: Option<NewestFirst>,
}
