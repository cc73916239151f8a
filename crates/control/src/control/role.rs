//! Roles of an organization: those that come with the server, and its own.

use alcove_domain::role::{self, ROLES_MAX};
use alcove_domain::{NewRole, OrganizationId, Role, RoleId};
use alcove_store::StoreError;

use super::Control;
use crate::rng::uuid_v4;
use crate::shared::Shared;
use crate::{Caller, Error};

impl Shared {
    /// The roles that members of the organization can have, those that come with the server first.
    pub async fn roles_of(&self, org: &OrganizationId) -> Result<Vec<Role>, Error> {
        let own = self.store.reader().role_list(org).await;
        let own = own.map_err(|error| Error::store("listing roles", error))?;
        let mut roles = role::built_in(self.set_up_at().await?);
        roles.extend(own);
        Ok(roles)
    }
}

impl Control {
    /// The roles of the caller's organization.
    pub async fn list_roles(&self, caller: &Caller, id: &str) -> Result<Vec<Role>, Error> {
        let caller = self.enter(caller, id)?;
        self.shared.roles_of(&caller.organization).await
    }

    /// Adds a role to the caller's organization, as its owner.
    ///
    /// # Errors
    /// [`Error::Conflict`] if there is one of that name, [`Error::QuotaExceeded`] if there are as many as there may be.
    pub async fn create_role(
        &self,
        caller: &Caller,
        id: &str,
        name: String,
        description: String,
        permissions: &[String],
    ) -> Result<Role, Error> {
        let shared = &self.shared;
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        let wish = NewRole::parse(name, description, permissions).map_err(Error::refused)?;
        let org = &caller.organization;
        let now = shared.clock.now();
        let role = Role {
            id: RoleId::from_uuid(uuid_v4(&*shared.rng)),
            organization_id: Some(org.clone()),
            name: wish.name,
            description: wish.description,
            permissions: wish.permissions,
            created_at: now,
            updated_at: now,
        };
        let failed = |error| unwritten(&role, error);
        self.check_role_name(&role).await?;
        let tx = shared.store.begin().await.map_err(failed)?;
        tx.organization_hold(org).await.map_err(failed)?;
        if tx.role_count(org).await.map_err(failed)? >= ROLES_MAX {
            return Err(Error::QuotaExceeded {
                message: format!("An organization can have at most {ROLES_MAX} roles of its own"),
            });
        }
        tx.role_insert(org, &role).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(role)
    }

    /// Changes a role of the caller's organization, as its owner. Its members have the new rights, and no others, from then
    /// on.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a role that comes with the server.
    pub async fn update_role(
        &self,
        caller: &Caller,
        id: &str,
        role: &str,
        name: String,
        description: String,
        permissions: &[String],
    ) -> Result<Role, Error> {
        let shared = &self.shared;
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        let known = self.own_role(caller, role).await?;
        let wish = NewRole::parse(name, description, permissions).map_err(Error::refused)?;
        let role = Role {
            name: wish.name,
            description: wish.description,
            permissions: wish.permissions,
            updated_at: shared.clock.now(),
            ..known
        };
        self.check_role_name(&role).await?;
        let org = caller.organization.clone();
        let written = role.clone();
        self.change_rights("changing a role", move |tx| async move {
            let failed = |error| unwritten(&written, error);
            if !tx.role_update(&org, &written).await.map_err(failed)? {
                return Err(not_found(written.id.as_str()));
            }
            Ok((tx, ()))
        })
        .await?;
        Ok(role)
    }

    /// Removes a role of the caller's organization that nobody has, as its owner.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the number of its holders if there are some: members, and those who are invited to be.
    pub async fn delete_role(&self, caller: &Caller, id: &str, role: &str) -> Result<(), Error> {
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        let known = self.own_role(caller, role).await?;
        let org = caller.organization.clone();
        self.change_rights("removing a role", move |tx| async move {
            let failed = |error| Error::store("removing a role", error);
            let members = tx.member_count_with(&known.id).await.map_err(failed)?;
            let invited = tx.invitation_list_pending(&org).await.map_err(failed)?;
            let invited = invited
                .iter()
                .filter(|invitation| invitation.access.assigned.contains(&known.id));
            let invited = invited.count();
            if members > 0 || invited > 0 {
                return Err(Error::conflict(
                    "ROLE_IN_USE",
                    format!("The role is assigned to {members} members and {invited} invitations"),
                ));
            }
            let providers = tx.sso_provider_list(&org).await.map_err(failed)?;
            if providers
                .iter()
                .any(|it| it.provider.roles.contains(&known.id))
            {
                return Err(Error::conflict(
                    "ROLE_IN_USE",
                    "The role is what an identity provider gives to new members",
                ));
            }
            if !tx.role_delete(&org, &known.id).await.map_err(failed)? {
                return Err(not_found(known.id.as_str()));
            }
            Ok((tx, ()))
        })
        .await
    }

    /// A role that the caller's organization has of its own.
    async fn own_role(&self, caller: &Caller, id: &str) -> Result<Role, Error> {
        let roles = self.shared.roles_of(&caller.organization).await?;
        let found = roles.into_iter().find(|role| role.id.as_str() == id);
        let role = found.ok_or_else(|| not_found(id))?;
        match role.organization_id {
            Some(_) => Ok(role),
            None => Err(Error::forbidden(
                "Roles that come with the server cannot be changed",
            )),
        }
    }

    /// Whether the name would be mistaken for a role that comes with the server.
    async fn check_role_name(&self, role: &Role) -> Result<(), Error> {
        let built_in = role::built_in(self.shared.set_up_at().await?);
        if built_in.iter().any(|known| known.name == role.name) {
            return Err(name_taken(&role.name));
        }
        Ok(())
    }
}

fn unwritten(role: &Role, error: StoreError) -> Error {
    match error {
        StoreError::NameTaken => name_taken(&role.name),
        other => Error::store("writing a role", other),
    }
}

fn name_taken(name: &str) -> Error {
    Error::conflict(
        "ROLE_EXISTS",
        format!("A role with name {name} already exists"),
    )
}

fn not_found(id: &str) -> Error {
    Error::NotFound {
        message: format!("Role with ID {id} not found"),
    }
}
