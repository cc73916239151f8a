//! Links by which who is invited comes in without an account.
//!
//! Nothing is kept of them: they follow from the invitation's id, and are as good as it is. An owner is shown one, and may hand
//! it to anybody: whoever comes with it is not known to hold the address. Another goes by mail, and whoever comes with that does.

use std::sync::Arc;

use alcove_domain::invitation::InvitationEvent;
use alcove_domain::{
    Invitation, InvitationId, Member, OrganizationId, Reason, User, UserId, UserRequest, login,
};
use alcove_store::{Deed, StoreError};
use aws_lc_rs::constant_time;

use crate::auth::{insert_organization, personal_organization};
use crate::rng::uuid_v4;
use crate::shared::Shared;
use crate::sign_in;
use crate::{Error, audit};

/// How a link came to who uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkWay {
    Shown,
    Mailed,
}

impl LinkWay {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Mailed => "mailed",
        }
    }
}

/// What a link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationOffer {
    pub invitation: Invitation,
    pub organization_name: String,
    /// Whether an account is to be made. Else there is one that is known to have the address.
    pub needs_account: bool,
    /// Whether the account will have the address as one that is known to be its user's.
    pub proves_email: bool,
}

/// An account for who is invited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvitedAccount {
    /// The user's id; one is made up where there is none.
    pub username: Option<String>,
    pub name: Option<String>,
    pub password: Option<String>,
}

/// Who has become a member by a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// What the user signs in by.
    pub username: String,
    pub organization: OrganizationId,
}

/// The text of a link.
pub(crate) fn text(shared: &Shared, id: &InvitationId, way: LinkWay) -> String {
    let key = &shared.secrets.invitations;
    format!("{id}.{}", key.derive(&format!("{} {id}", way.as_str())))
}

fn ended() -> Error {
    Error::Unauthenticated {
        message: "This link has expired or was used",
        code: "LINK_ENDED",
    }
}

fn read(shared: &Shared, link: &str) -> Result<(InvitationId, LinkWay), Error> {
    let (id, _) = link.split_once('.').ok_or_else(ended)?;
    let id: InvitationId = id.parse().map_err(|_| ended())?;
    for way in [LinkWay::Shown, LinkWay::Mailed] {
        let right = text(shared, &id, way);
        if constant_time::verify_slices_are_equal(right.as_bytes(), link.as_bytes()).is_ok() {
            return Ok((id, way));
        }
    }
    Err(ended())
}

/// What a link offers now.
pub(crate) async fn look(shared: &Shared, link: &str) -> Result<InvitationOffer, Error> {
    let failed = |error| Error::store("looking at an invitation", error);
    let (id, way) = read(shared, link)?;
    let reader = shared.store.reader();
    let found = reader.invitation_find(&id).await.map_err(failed)?;
    let now = shared.clock.now();
    let invitation = found.filter(|it| it.is_open(now)).ok_or_else(ended)?;
    let organization = reader.organization_find(&invitation.organization_id).await;
    let organization = organization
        .map_err(failed)?
        .filter(|it| it.closing_since.is_none())
        .ok_or_else(ended)?;
    let holders = reader.user_list_by_email(&invitation.email).await;
    // Whether there is one is for who holds the address alone.
    let has_account = way == LinkWay::Mailed
        && holders
            .map_err(failed)?
            .iter()
            .any(|user| invitation.is_for(user));
    Ok(InvitationOffer {
        invitation,
        organization_name: organization.name,
        needs_account: !has_account,
        proves_email: way == LinkWay::Mailed,
    })
}

/// Makes who comes with a link a member, with a new account where there is none of the address.
pub(crate) async fn accept(
    shared: &Arc<Shared>,
    link: &str,
    account: InvitedAccount,
) -> Result<Joined, Error> {
    let offer = look(shared, link).await?;
    let new = if offer.needs_account {
        Some(plan(shared, &offer, account).await?)
    } else {
        refuse_account(&account)?;
        None
    };
    if let Some((user, _)) = &new {
        audit::note_user(&user.id, &user.email);
    }
    let id = offer.invitation.id.clone();
    let change = sign_in::change(shared, "joining", move |shared, tx| async move {
        let failed = |error| Error::store("joining", error);
        let now = shared.clock.now();
        let found = tx.invitation_find(&id).await.map_err(failed)?;
        let found = found.filter(|it| it.is_open(now)).ok_or_else(ended)?;
        let next = found
            .apply(InvitationEvent::Accept, now)
            .map_err(|_| ended())?;
        let org = &next.organization_id;
        tx.organization_hold(org).await.map_err(|_| ended())?;
        if let Some(deed) = Deed::current() {
            deed.note_organization(org);
            deed.note_target("organization_invitation", id.as_str());
        }
        let holders = tx.user_list_by_email(&next.email).await.map_err(failed)?;
        let holder = holders.into_iter().find(|user| next.is_for(user));
        let user = match (new, holder) {
            (None, Some(holder)) => {
                audit::note_user(&holder.id, &holder.email);
                holder
            }
            (Some((user, password)), holder) => {
                if user.is_email_verified && holder.is_some() {
                    return Err(changed());
                }
                tx.user_insert(&user).await.map_err(|error| match error {
                    StoreError::NameTaken => {
                        Error::conflict("USER_EXISTS", format!("The name {} is taken", user.id))
                    }
                    other => failed(other),
                })?;
                let personal = personal_organization(&shared, &user.id);
                insert_organization(&tx, &personal).await.map_err(failed)?;
                let put = tx.password_put(&user.id, &password, now).await;
                put.map_err(failed)?;
                user
            }
            (None, None) => return Err(changed()),
        };
        tx.invitation_update(&next).await.map_err(failed)?;
        if tx
            .member_find(org, &user.id)
            .await
            .map_err(failed)?
            .is_none()
        {
            let member = Member {
                organization_id: org.clone(),
                user_id: user.id.clone(),
                access: next.access.clone(),
                created_at: now,
                updated_at: now,
            };
            tx.member_put(&member).await.map_err(failed)?;
        }
        let organization = org.clone();
        Ok((tx, (user, organization)))
    });
    let (user, organization) = change.await?;
    tracing::info!(
        organization.id = %organization,
        user.id = %user.id,
        "user {} is a member of organization {organization} now, by a link", user.id
    );
    Ok(Joined {
        username: if user.is_email_verified {
            user.email
        } else {
            user.id.to_string()
        },
        organization,
    })
}

/// Somebody has made or lost an account of the address since the link was looked at.
fn changed() -> Error {
    Error::conflict(
        "ACCOUNT_CHANGED",
        "The accounts of this address changed meanwhile; open the link again",
    )
}

fn refuse_account(account: &InvitedAccount) -> Result<(), Error> {
    let given = [
        ("username", &account.username),
        ("name", &account.name),
        ("password", &account.password),
    ];
    let reasons = given
        .iter()
        .filter(|(_, value)| value.is_some())
        .map(|(field, _)| {
            Reason::invalid(format!(
                "{field} must not be given: there is an account of this address"
            ))
        })
        .collect();
    Error::check(reasons)
}

/// The new user and the hash of the password.
async fn plan(
    shared: &Shared,
    offer: &InvitationOffer,
    account: InvitedAccount,
) -> Result<(User, String), Error> {
    let made_up = || UserId::from_uuid(uuid_v4(&*shared.rng)).to_string();
    let email = offer.invitation.email.clone();
    let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let request = UserRequest {
        id: given(account.username).unwrap_or_else(made_up),
        name: given(account.name).unwrap_or_else(|| email.clone()),
        email: Some(email),
        is_email_verified: offer.proves_email,
        role: None,
    };
    let password = account.password.unwrap_or_default();
    let mut reasons = Vec::from_iter(login::check_password("password", &password).err());
    let user = match request.check() {
        Ok(new) if reasons.is_empty() => new,
        outcome => {
            reasons.extend(outcome.err().into_iter().flatten());
            return Err(Error::refused(reasons));
        }
    };
    let hash = shared.passwords.hash(&*shared.rng, &password).await?;
    let user = User {
        id: user.id,
        name: user.name,
        email: user.email,
        is_email_verified: user.is_email_verified,
        is_admin: false,
        created_at: shared.clock.now(),
    };
    Ok((user, hash))
}
