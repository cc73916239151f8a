//! Members of an organization.
//!
//! What a member loses, the member's keys lose at the same moment: rights are looked up with the key, and whoever changes
//! them clears what is remembered of keys, and ends what stays open by them.

use std::sync::Arc;

use alcove_domain::{Access, Member, MemberRefusal, OrganizationId, Role, RoleId, User, UserId};
use alcove_store::Tx;

use super::Control;
use crate::shared::Shared;
use crate::{Caller, Error, ssh_keys};

/// A member as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    pub member: Member,
    pub user: User,
    /// The roles that the member is given.
    pub roles: Vec<Role>,
}

impl Control {
    /// The members of the caller's organization, the oldest first.
    pub async fn list_members(&self, caller: &Caller, id: &str) -> Result<Vec<MemberView>, Error> {
        let caller = self.enter(caller, id)?;
        let members = self.shared.store.reader().member_list(&caller.organization);
        let members = members
            .await
            .map_err(|error| Error::store("listing members", error))?;
        self.shared
            .view_members(&caller.organization, members)
            .await
    }

    /// Says what a member may do, as the owner of the organization. The member's keys have the new rights, and no others,
    /// once this has returned.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for oneself and for the last owner, [`Error::Invalid`] for roles that are not there.
    pub async fn set_access(
        &self,
        caller: &Caller,
        id: &str,
        user: &str,
        role: &str,
        assigned: &[String],
    ) -> Result<MemberView, Error> {
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        let user: UserId = user.parse().map_err(|_| not_found(user))?;
        let org = caller.organization.clone();
        let known = self.shared.roles_of(&org).await?;
        let access = Access::parse(role, assigned, &known).map_err(Error::refused)?;
        let (by, now) = (caller.user.clone(), self.shared.clock.now());
        let (written_org, written_user) = (org.clone(), user.clone());
        let changed = self
            .change_rights_of(&org, &user, "changing a member", move |tx| async move {
                let failed = |error| Error::store("changing a member", error);
                let (org, user) = (&written_org, &written_user);
                let found = tx.member_find(org, user).await.map_err(failed)?;
                let member = found.ok_or_else(|| not_found(user.as_str()))?;
                let owners = tx.member_count_owners(org).await.map_err(failed)?;
                member.check_change(&by, &access, owners)?;
                // A role that went meanwhile would be given for ever.
                let own = tx.role_list(org).await.map_err(failed)?;
                let is_there = |id: &RoleId| {
                    let mut of_server = known.iter().filter(|role| role.organization_id.is_none());
                    own.iter().any(|role| role.id == *id) || of_server.any(|role| role.id == *id)
                };
                if !access.assigned.iter().all(is_there) {
                    return Err(Error::conflict("ROLE_GONE", "A role was removed meanwhile"));
                }
                let member = Member {
                    access,
                    updated_at: now,
                    ..member
                };
                tx.member_put(&member).await.map_err(failed)?;
                Ok((tx, member))
            })
            .await?;
        let mut views = self.shared.view_members(&org, vec![changed]).await?;
        views.pop().ok_or_else(|| not_found(user.as_str()))
    }

    /// Ends a membership, as the owner of the organization, with all keys that the member has there.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for the last owner.
    pub async fn remove_member(&self, caller: &Caller, id: &str, user: &str) -> Result<(), Error> {
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        let user: UserId = user.parse().map_err(|_| not_found(user))?;
        self.end_membership(caller, user).await
    }

    /// Ends the caller's own membership, with all keys that the caller has there.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for the last owner, and for a key that does not stand for all of its user.
    pub async fn leave_organization(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let caller = self.enter(caller, id)?;
        caller.require_user()?;
        self.end_membership(caller, caller.user.clone()).await
    }

    async fn end_membership(&self, caller: &Caller, user: UserId) -> Result<(), Error> {
        let org = caller.organization.clone();
        let (written_org, written_user) = (org.clone(), user.clone());
        self.change_rights_of(&org, &user, "ending a membership", move |tx| async move {
            let failed = |error| Error::store("ending a membership", error);
            let (org, user) = (&written_org, &written_user);
            let found = tx.member_find(org, user).await.map_err(failed)?;
            let member = found.ok_or_else(|| not_found(user.as_str()))?;
            let owners = tx.member_count_owners(org).await.map_err(failed)?;
            member.check_end(owners)?;
            tx.member_delete(org, user).await.map_err(failed)?;
            tx.api_key_delete_all(org, user).await.map_err(failed)?;
            Ok((tx, ()))
        })
        .await?;
        tracing::info!(
            organization.id = %org,
            user.id = %user,
            "user {user} is no member of organization {org} any more, by user {}", caller.user
        );
        Ok(())
    }

    /// As [`Control::change_rights`], of one member, whose SSH sessions end where the rights to them do.
    async fn change_rights_of<T, F, W>(
        &self,
        org: &OrganizationId,
        user: &UserId,
        doing: &'static str,
        write: F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(Tx) -> W + Send + 'static,
        W: Future<Output = Result<(Tx, T), Error>> + Send + 'static,
    {
        let (control, org, user) = (self.clone(), org.clone(), user.clone());
        let task = async move {
            let written = control.change_rights(doing, write).await?;
            ssh_keys::recheck(&control.shared, &org, &user).await?;
            Ok(written)
        };
        self.shared.finish(doing, task).await
    }

    /// Writes what changes somebody's rights. Once it has returned, nobody is let in by older ones, even if its caller has
    /// gone away.
    pub(super) async fn change_rights<T, F, W>(
        &self,
        doing: &'static str,
        write: F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(Tx) -> W + Send + 'static,
        W: Future<Output = Result<(Tx, T), Error>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let task = async move {
            let failed = |error| Error::store(doing, error);
            let tx = shared.store.begin().await.map_err(failed)?;
            let (tx, written) = write(tx).await?;
            tx.commit().await.map_err(failed)?;
            shared.keys.clear();
            Ok(written)
        };
        self.shared.finish(doing, task).await
    }
}

impl Shared {
    async fn view_members(
        &self,
        org: &OrganizationId,
        members: Vec<Member>,
    ) -> Result<Vec<MemberView>, Error> {
        let known = self.roles_of(org).await?;
        let ids: Vec<UserId> = members
            .iter()
            .map(|member| member.user_id.clone())
            .collect();
        let users = self.store.reader().user_list_in(&ids).await;
        let users = users.map_err(|error| Error::store("listing members", error))?;
        let views = members.into_iter().filter_map(|member| {
            let user = users.iter().find(|user| user.id == member.user_id)?.clone();
            let assigned = &member.access.assigned;
            let roles = known.iter().filter(|role| assigned.contains(&role.id));
            let roles = roles.cloned().collect();
            Some(MemberView {
                member,
                user,
                roles,
            })
        });
        Ok(views.collect())
    }
}

impl From<MemberRefusal> for Error {
    fn from(refusal: MemberRefusal) -> Self {
        Self::forbidden(refusal.to_string())
    }
}

fn not_found(user: &str) -> Error {
    Error::NotFound {
        message: format!("Member with user ID {user} not found"),
    }
}
