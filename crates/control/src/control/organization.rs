//! Organizations: found, made, suspended.

use std::sync::Arc;

use alcove_domain::account::ORGANIZATIONS_MAX;
use alcove_domain::{MemberRole, Organization, OrganizationId, Suspension, text};
use jiff::Timestamp;

use super::Control;
use crate::auth::insert_organization;
use crate::organizations::{self, Departed};
use crate::rng::uuid_v4;
use crate::sandboxes::{self, resolve_region};
use crate::{Caller, CameWith, Error};

impl Control {
    /// The caller in the organization that is asked for.
    ///
    /// # Errors
    /// [`Error::NotFound`] for every organization that the caller's key is not for, there or not.
    pub fn enter<'a>(&self, caller: &'a Caller, id: &str) -> Result<&'a Caller, Error> {
        if id == caller.organization.as_str() {
            Ok(caller)
        } else {
            Err(organization_not_found(id))
        }
    }

    /// The caller's organization, if that is the one that is asked for.
    ///
    /// # Errors
    /// [`Error::NotFound`] for any other, there or not.
    pub async fn get_organization(&self, caller: &Caller, id: &str) -> Result<Organization, Error> {
        let caller = self.enter(caller, id)?;
        self.shared.current_organization(caller).await
    }

    /// The organizations that the caller can act in: the one of a key, or of the provider that the caller came by, or all of a
    /// person who has signed in, the personal one first.
    pub async fn list_organizations(&self, caller: &Caller) -> Result<Vec<Organization>, Error> {
        let found = self.list_memberships(caller).await?;
        Ok(found.into_iter().map(|(found, _)| found).collect())
    }

    /// The same with what the caller's user is in each.
    pub async fn list_memberships(
        &self,
        caller: &Caller,
    ) -> Result<Vec<(Organization, MemberRole)>, Error> {
        if matches!(caller.came_with, CameWith::Key(_)) || !caller.is_whole_user {
            let own = self.shared.current_organization(caller).await?;
            return Ok(vec![(own, caller.role)]);
        }
        let failed = |error| Error::store("listing organizations", error);
        let reader = self.shared.store.reader();
        let members = reader.member_list_of_user(&caller.user).await;
        let members = members.map_err(failed)?;
        let ids: Vec<_> = members
            .iter()
            .map(|it| it.organization_id.clone())
            .collect();
        let mut found = reader.organization_list_in(&ids).await.map_err(failed)?;
        // Others' personal ones may be among them.
        let is_own = |it: &Organization| it.is_personal && it.created_by == caller.user;
        found.sort_by_key(|it| (!is_own(it), !it.is_personal, it.created_at));
        let role = |it: &Organization| {
            let member = members
                .iter()
                .find(|member| member.organization_id == it.id);
            member.map(|member| member.access.role)
        };
        let with_role = found
            .into_iter()
            .filter_map(|it| role(&it).map(|role| (it, role)));
        Ok(with_role.collect())
    }

    /// The organization of a sandbox that the caller can see.
    pub async fn organization_of(
        &self,
        caller: &Caller,
        sandbox: &str,
    ) -> Result<Organization, Error> {
        sandboxes::find(&self.shared, caller, sandbox)?;
        self.shared.current_organization(caller).await
    }

    /// Makes an organization that the caller owns. There is one region, so it can only be the default.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a key that does not stand for all of its user, and if the user has made as many as one
    /// may; [`Error::NotFound`] for another region.
    pub async fn create_organization(
        &self,
        caller: &Caller,
        name: String,
        region: Option<&str>,
    ) -> Result<Organization, Error> {
        let shared = &self.shared;
        caller.require_user()?;
        let mut reasons = Vec::new();
        text::check_given_name(&name, &mut reasons);
        Error::check(reasons)?;
        resolve_region(shared, region)?;
        let user = shared.current_user(caller).await?;
        if !user.is_email_verified {
            return Err(Error::forbidden("Please verify your email address"));
        }
        let organization = Organization {
            id: OrganizationId::from_uuid(uuid_v4(&*shared.rng)),
            name,
            created_by: user.id,
            is_personal: false,
            is_egress_limited: false,
            suspension: None,
            closing_since: None,
            created_at: shared.clock.now(),
        };
        let failed = |error| Error::store("making an organization", error);
        let tx = shared.store.begin().await.map_err(failed)?;
        let made = tx.organization_count_made_by(&caller.user).await;
        if made.map_err(failed)? >= ORGANIZATIONS_MAX {
            return Err(Error::forbidden(format!(
                "A user can make at most {ORGANIZATIONS_MAX} organizations"
            )));
        }
        insert_organization(&tx, &organization)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        tracing::info!(
            organization.id = %organization.id,
            user.id = %caller.user,
            "user {} made organization {}", caller.user, organization.id
        );
        Ok(organization)
    }

    /// Gives the caller's organization up, as its owner. Once this has returned, nobody is a member of it; what it has goes
    /// in the background, and goes on going after a restart.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a personal organization.
    pub async fn delete_organization(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        organizations::delete(&self.shared, caller).await
    }

    /// Organizations that are gone, whose objects may still be there.
    pub async fn departed_organizations(&self) -> Result<Vec<Departed>, Error> {
        organizations::departed(&self.shared).await
    }

    /// No object of a departed organization is left.
    pub async fn forget_departed(&self, organization: &OrganizationId) -> Result<(), Error> {
        organizations::forget(&self.shared, organization).await
    }

    /// Sets the region where there is none yet. Organizations here have one from the start.
    ///
    /// # Errors
    /// Always: [`Error::NotFound`] for a region that is not there, [`Error::Conflict`] for the one that is.
    pub fn set_default_region(&self, caller: &Caller, id: &str, region: &str) -> Result<(), Error> {
        self.enter(caller, id)?.require_owner()?;
        resolve_region(&self.shared, Some(region))?;
        Err(Error::conflict(
            "DEFAULT_REGION_SET",
            "The organization has a default region already",
        ))
    }

    /// Suspends an organization, as the administrator of the server, in place of the suspension that there may be.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a reason that cannot be shown, or an end that has passed.
    pub async fn suspend_organization(
        &self,
        caller: &Caller,
        id: &str,
        reason: Option<String>,
        until: Option<Timestamp>,
        grace_hours: Option<i64>,
    ) -> Result<(), Error> {
        let organization = self.administered(caller, id).await?;
        let now = self.shared.clock.now();
        let suspension =
            Suspension::parse(reason, until, grace_hours, now).map_err(Error::refused)?;
        self.write_suspension(organization, Some(suspension)).await
    }

    /// Whether a suspension is in force now.
    pub fn is_in_force(&self, suspension: &Suspension) -> bool {
        suspension.holds(self.shared.clock.now())
    }

    /// Lifts the suspension of an organization, as the administrator of the server. One that is not suspended stays so.
    pub async fn unsuspend_organization(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let organization = self.administered(caller, id).await?;
        self.write_suspension(organization, None).await
    }

    async fn administered(&self, caller: &Caller, id: &str) -> Result<OrganizationId, Error> {
        let organization = id.parse().map_err(|_| organization_not_found(id));
        // Whoever is no administrator is not told what is an id.
        let organization = match organization {
            Err(error) if self.shared.is_admin(caller).await? => return Err(error),
            Err(_) => return Err(Error::access_denied()),
            Ok(organization) => organization,
        };
        self.shared
            .check_organization_rights(caller, &organization)
            .await?;
        Ok(organization)
    }

    async fn write_suspension(
        &self,
        organization: OrganizationId,
        suspension: Option<Suspension>,
    ) -> Result<(), Error> {
        let failed = |error| Error::store("suspending an organization", error);
        let shared = Arc::clone(&self.shared);
        let task = async move {
            let _writing = shared.suspended.writing.lock().await;
            let tx = shared.store.begin().await.map_err(failed)?;
            let is_there = tx.organization_suspend(&organization, suspension.as_ref());
            if !is_there.await.map_err(failed)? {
                return Err(organization_not_found(organization.as_str()));
            }
            tx.commit().await.map_err(failed)?;
            tracing::info!(
                organization.id = %organization,
                "organization {organization} is {}suspended",
                if suspension.is_some() { "" } else { "not " }
            );
            shared.suspended.note(&organization, suspension);
            Ok(())
        };
        // A caller that goes away must not leave a suspension that nobody heeds.
        self.shared.finish("suspending an organization", task).await
    }
}

pub(super) fn organization_not_found(id: &str) -> Error {
    Error::NotFound {
        message: format!("Organization with ID {id} not found"),
    }
}
