//! Invitations into an organization, from its owners' side and from that of who is invited.

use alcove_domain::invitation::{self, InvitationEvent, PENDING_MAX};
use alcove_domain::{
    Access, Invitation, InvitationId, InvitationRefusal, InvitationStatus, MailKind, Member,
    OrganizationId, Reason, Role, User, text,
};
use alcove_store::StoreError;
use jiff::Timestamp;

use super::Control;
use crate::invitation_links::{self, InvitationOffer, InvitedAccount, Joined, LinkWay};
use crate::mail;
use crate::rng::uuid_v4;
use crate::{Caller, Error};

/// An invitation as its two sides see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationView {
    pub invitation: Invitation,
    pub organization_name: String,
    /// The roles that are offered.
    pub roles: Vec<Role>,
    /// The text of a link by which anybody can accept it, for owners of the organization.
    pub link: Option<String>,
}

impl Control {
    /// Invites the holder of a mail address, as the owner of the organization.
    ///
    /// # Errors
    /// [`Error::Conflict`] for who is a member or invited already, [`Error::Forbidden`] for a personal organization,
    /// [`Error::Invalid`] for what is no address, roles that are not there and an end that has passed.
    pub async fn create_invitation(
        &self,
        caller: &Caller,
        id: &str,
        email: &str,
        (role, assigned): (&str, &[String]),
        expires_at: Option<Timestamp>,
    ) -> Result<InvitationView, Error> {
        let shared = &self.shared;
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        let organization = shared.current_organization(caller).await?;
        if organization.is_personal {
            return Err(Error::forbidden(
                "Nobody can be invited into a personal organization",
            ));
        }
        let now = shared.clock.now();
        let (access, end) = self
            .offer(&organization.id, role, assigned, expires_at)
            .await?;
        let email = text::parse_email("email", email);
        let email = email.map_err(|reason| Error::refused(vec![reason]))?;
        let by = shared.current_user(caller).await?;
        let default_end = now + invitation::LASTS;
        let invitation = Invitation {
            id: InvitationId::from_uuid(uuid_v4(&*shared.rng)),
            organization_id: organization.id,
            email,
            invited_by: Some(by.email)
                .filter(|email| !email.is_empty())
                .unwrap_or(by.name),
            access,
            status: InvitationStatus::Pending,
            expires_at: crate::clock::whole_milliseconds(end.unwrap_or(default_end)),
            created_at: now,
            updated_at: now,
        };
        let (control, written) = (self.clone(), invitation.clone());
        let task = async move { control.insert_invitation(&written).await };
        // A caller that goes away must not leave a mail that nobody sends.
        shared.finish("inviting", task).await?;
        let view = self.view_invitation(invitation).await?;
        Ok(self.with_link(view))
    }

    async fn insert_invitation(&self, invitation: &Invitation) -> Result<(), Error> {
        let shared = &self.shared;
        let invited_already = || {
            Error::conflict(
                "ALREADY_INVITED",
                format!("{} is invited already", invitation.email),
            )
        };
        let failed = |error| match error {
            StoreError::NameTaken => invited_already(),
            other => Error::store("inviting", other),
        };
        let org = &invitation.organization_id;
        let holders = shared.store.reader().user_list_by_email(&invitation.email);
        let holders = holders.await.map_err(failed)?;
        let tx = shared.store.begin().await.map_err(failed)?;
        tx.organization_hold(org).await.map_err(failed)?;
        for holder in holders.iter().filter(|holder| invitation.is_for(holder)) {
            let member = tx.member_find(org, &holder.id).await.map_err(failed)?;
            if member.is_some() {
                return Err(Error::conflict(
                    "ALREADY_A_MEMBER",
                    format!("{} is a member already", invitation.email),
                ));
            }
        }
        let mut pending = tx.invitation_list_pending(org).await.map_err(failed)?;
        pending.retain(|other| other.email == invitation.email);
        for other in pending {
            if other.is_open(invitation.created_at) {
                return Err(invited_already());
            }
            // Its time is up: the new one takes its place.
            let cancelled = other.apply(InvitationEvent::Cancel, invitation.created_at)?;
            tx.invitation_update(&cancelled).await.map_err(failed)?;
        }
        let count = tx.invitation_count_pending(org).await.map_err(failed)?;
        if count >= PENDING_MAX {
            return Err(Error::QuotaExceeded {
                message: format!(
                    "An organization can have at most {PENDING_MAX} pending invitations"
                ),
            });
        }
        tx.invitation_insert(invitation).await.map_err(failed)?;
        let about = (MailKind::Invitation, invitation.id.as_str());
        let queued = mail::queue(shared, &tx, org, about, &invitation.email).await;
        queued.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        shared.mail.wake();
        Ok(())
    }

    /// Pending invitations of the caller's organization.
    pub async fn list_invitations(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<Vec<InvitationView>, Error> {
        let caller = self.enter(caller, id)?;
        let pending = self.shared.store.reader();
        let pending = pending.invitation_list_pending(&caller.organization).await;
        let pending = pending.map_err(|error| Error::store("listing invitations", error))?;
        let mut views = Vec::with_capacity(pending.len());
        for invitation in pending {
            let view = self.view_invitation(invitation).await?;
            // Who may decide on members may let them in.
            let is_owner = caller.require_owner().is_ok();
            views.push(if is_owner { self.with_link(view) } else { view });
        }
        Ok(views)
    }

    /// Offers something else to who is invited, as the owner of the organization.
    ///
    /// # Errors
    /// [`Error::Forbidden`] unless it is pending and its time is not up.
    pub async fn update_invitation(
        &self,
        caller: &Caller,
        id: &str,
        invitation: &str,
        (role, assigned): (&str, &[String]),
        expires_at: Option<Timestamp>,
    ) -> Result<InvitationView, Error> {
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        let (access, expires_at) = self
            .offer(&caller.organization, role, assigned, expires_at)
            .await?;
        let expires_at = expires_at.map(crate::clock::whole_milliseconds);
        let offer = InvitationEvent::Offer { access, expires_at };
        let written = self.change_invitation(caller, invitation, offer).await?;
        let view = self.view_invitation(written).await?;
        Ok(self.with_link(view))
    }

    /// Takes an invitation back, as the owner of the organization.
    ///
    /// # Errors
    /// [`Error::Forbidden`] unless it is pending.
    pub async fn cancel_invitation(
        &self,
        caller: &Caller,
        id: &str,
        invitation: &str,
    ) -> Result<(), Error> {
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        self.change_invitation(caller, invitation, InvitationEvent::Cancel)
            .await
            .map(drop)
    }

    async fn change_invitation(
        &self,
        caller: &Caller,
        id: &str,
        event: InvitationEvent,
    ) -> Result<Invitation, Error> {
        let failed = |error| Error::store("changing an invitation", error);
        let key: InvitationId = id.parse().map_err(|_| not_found(id))?;
        let tx = self.shared.store.begin().await.map_err(failed)?;
        let found = tx.invitation_find(&key).await.map_err(failed)?;
        let known = found
            .filter(|found| found.organization_id == caller.organization)
            .ok_or_else(|| not_found(id))?;
        let next = known.apply(event, self.shared.clock.now())?;
        tx.invitation_update(&next).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(next)
    }

    /// Invitations to the caller's user that can be accepted.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a key that does not stand for all of its user.
    pub async fn own_invitations(&self, caller: &Caller) -> Result<Vec<InvitationView>, Error> {
        caller.require_user()?;
        let user = self.shared.current_user(caller).await?;
        let found = self.shared.store.reader();
        let found = found.invitation_list_pending_to(&user.email).await;
        let found = found.map_err(|error| Error::store("listing invitations", error))?;
        let now = self.shared.clock.now();
        let mut views = Vec::new();
        for invitation in found {
            if invitation.is_open(now) && invitation.is_for(&user) {
                views.push(self.view_invitation(invitation).await?);
            }
        }
        Ok(views)
    }

    /// Makes the caller's user a member with what was offered.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an invitation to somebody else; [`Error::Forbidden`] unless it is pending and its time is not
    /// up, and for a user whose address nobody trusts.
    pub async fn accept_invitation(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<InvitationView, Error> {
        let user = self.invited(caller).await?;
        let answered = self.answer_invitation(user, id, InvitationEvent::Accept);
        let accepted = answered.await?;
        tracing::info!(
            organization.id = %accepted.organization_id,
            user.id = %caller.user,
            "user {} is a member of organization {} now", caller.user, accepted.organization_id
        );
        self.view_invitation(accepted).await
    }

    /// Refuses an invitation. Its errors are those of an acceptance.
    pub async fn decline_invitation(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let user = self.invited(caller).await?;
        self.answer_invitation(user, id, InvitationEvent::Decline)
            .await
            .map(drop)
    }

    async fn invited(&self, caller: &Caller) -> Result<User, Error> {
        caller.require_user()?;
        let user = self.shared.current_user(caller).await?;
        if user.is_email_verified {
            Ok(user)
        } else {
            Err(Error::forbidden("Please verify your email address"))
        }
    }

    async fn answer_invitation(
        &self,
        user: User,
        id: &str,
        answer: InvitationEvent,
    ) -> Result<Invitation, Error> {
        let key: InvitationId = id.parse().map_err(|_| not_found(id))?;
        let now = self.shared.clock.now();
        self.change_rights("answering an invitation", move |tx| async move {
            let failed = |error| Error::store("answering an invitation", error);
            let found = tx.invitation_find(&key).await.map_err(failed)?;
            let known = found
                .filter(|found| found.is_for(&user))
                .ok_or_else(|| not_found(key.as_str()))?;
            let next = known.apply(answer, now)?;
            let org = &next.organization_id;
            // Nobody invites into what is being deleted.
            tx.organization_hold(org)
                .await
                .map_err(|_| not_found(key.as_str()))?;
            tx.invitation_update(&next).await.map_err(failed)?;
            let member = tx.member_find(org, &user.id).await.map_err(failed)?;
            if next.status == InvitationStatus::Accepted && member.is_none() {
                let member = Member {
                    organization_id: org.clone(),
                    user_id: user.id,
                    access: next.access.clone(),
                    created_at: now,
                    updated_at: now,
                };
                tx.member_put(&member).await.map_err(failed)?;
            }
            Ok((tx, next))
        })
        .await
    }

    /// What is offered, as an owner says it.
    async fn offer(
        &self,
        org: &OrganizationId,
        role: &str,
        assigned: &[String],
        expires_at: Option<Timestamp>,
    ) -> Result<(Access, Option<Timestamp>), Error> {
        let known = self.shared.roles_of(org).await?;
        let access = Access::parse(role, assigned, &known);
        let end = invitation::parse_end(expires_at, self.shared.clock.now());
        match (access, end) {
            (Ok(access), Ok(end)) => Ok((access, end)),
            (access, end) => {
                let mut reasons: Vec<Reason> = access.err().unwrap_or_default();
                reasons.extend(end.err());
                Err(Error::refused(reasons))
            }
        }
    }

    fn with_link(&self, view: InvitationView) -> InvitationView {
        let link = invitation_links::text(&self.shared, &view.invitation.id, LinkWay::Shown);
        InvitationView {
            link: Some(link),
            ..view
        }
    }

    /// What a link of an invitation offers, for whoever has it.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for none, and once the invitation is accepted, taken back or out of date.
    pub async fn look_at_invitation(&self, link: &str) -> Result<InvitationOffer, Error> {
        invitation_links::look(&self.shared, link).await
    }

    /// Makes whoever has a link of an invitation a member. Where the link has not come by mail, or nobody is known to have the
    /// address, it is somebody new, who gets an account.
    ///
    /// # Errors
    /// As [`Self::look_at_invitation`]; [`Error::Conflict`] for a name that is taken.
    pub async fn accept_by_link(
        &self,
        link: &str,
        account: InvitedAccount,
    ) -> Result<Joined, Error> {
        invitation_links::accept(&self.shared, link, account).await
    }

    async fn view_invitation(&self, invitation: Invitation) -> Result<InvitationView, Error> {
        let org = &invitation.organization_id;
        let organization = self.shared.store.reader().organization_find(org).await;
        let organization = organization
            .map_err(|error| Error::store("reading an organization", error))?
            .ok_or_else(|| not_found(invitation.id.as_str()))?;
        let mut roles = self.shared.roles_of(org).await?;
        roles.retain(|role| invitation.access.assigned.contains(&role.id));
        Ok(InvitationView {
            organization_name: organization.name,
            invitation,
            roles,
            link: None,
        })
    }
}

impl From<InvitationRefusal> for Error {
    fn from(refusal: InvitationRefusal) -> Self {
        Self::forbidden(refusal.to_string())
    }
}

fn not_found(id: &str) -> Error {
    Error::NotFound {
        message: format!("Invitation with ID {id} not found"),
    }
}
