//! From a session to a caller: the user's rights of the moment, in the organization that is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use alcove_domain::{
    LoginSession, MemberRole, OrganizationId, Permissions, SessionHash, UserId, login,
};
use alcove_store::StoreError;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::auth::{BEARER_MAX_BYTES, unavailable};
use crate::shared::Shared;
use crate::{Actor, Caller, CameWith, Error};

/// What a user is in an organization, and may do there.
pub(crate) type Rights = (MemberRole, Arc<Permissions>, Arc<Actor>);

/// A session in memory.
#[derive(Debug)]
pub(crate) struct CachedSession {
    pub hash: SessionHash,
    user: UserId,
    /// The organization that the user has alone, or the only one that the session is of.
    home: OrganizationId,
    /// Whether the provider of that organization let the user in: then the session opens nothing else.
    is_confined: bool,
    expires_at: Timestamp,
    pub used_at_ms: AtomicI64,
}

impl CachedSession {
    pub fn ends_at(&self) -> Timestamp {
        let used_at = Timestamp::from_millisecond(self.used_at_ms.load(Ordering::Relaxed));
        login::ends_at(used_at.unwrap_or(Timestamp::UNIX_EPOCH), self.expires_at)
    }
}

/// Which organization a person acts in. A key is for one, whatever is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OrganizationChoice<'a> {
    /// The one that the path is about. It counts where the user is a member of it; else the operation says what is wrong.
    pub path: Option<&'a str>,
    /// The one that the request names. Without any, it is the user's personal one.
    pub named: Option<&'a str>,
}

pub(super) fn hash(text: &str) -> SessionHash {
    SessionHash(Sha256::digest(text.as_bytes()).into())
}

impl Shared {
    /// # Errors
    /// [`Error::Unauthenticated`] for anything but a session that goes on, [`Error::NotFound`] for an organization that the
    /// user is no member of.
    pub async fn authenticate_session(
        &self,
        text: &str,
        choice: OrganizationChoice<'_>,
    ) -> Result<Caller, Error> {
        if text.is_empty() || text.len() > BEARER_MAX_BYTES {
            return Err(Error::bad_credentials());
        }
        let hash = hash(text);
        let session = match self.keys.get_session(&hash) {
            Ok(session) => session,
            Err(generation) => {
                let found = self.read_session(hash).await.map_err(unavailable)?;
                let session = Arc::new(found.ok_or_else(Error::bad_credentials)?);
                self.keys
                    .put_session(generation, hash, Arc::clone(&session));
                session
            }
        };
        let now = self.clock.now();
        if session.ends_at() <= now {
            return Err(Error::Unauthenticated {
                message: "The session has ended",
                code: "SESSION_ENDED",
            });
        }
        self.keys.note_session_use(&session, now);
        let came_with = CameWith::Session(hash);
        if session.is_confined {
            return self
                .person_within(&session.user, &session.home, came_with, choice)
                .await;
        }
        self.person(&session.user, &session.home, came_with, choice)
            .await
    }

    /// A session with its last use. None as well where its user is gone.
    pub async fn read_session(
        &self,
        hash: SessionHash,
    ) -> Result<Option<CachedSession>, StoreError> {
        // Before the row: a use that is written down in between is known by one or the other.
        let noted = self.keys.used_sessions.last(&hash);
        let reader = self.store.reader();
        let Some(session) = reader.login_session_find(hash).await? else {
            return Ok(None);
        };
        if let Some(by) = &session.came_by {
            let only = by.organization_id.clone();
            return Ok(Some(CachedSession::new(session, only, noted)));
        }
        let home = reader.organization_find_personal(&session.user_id).await?;
        Ok(home.map(|home| CachedSession::new(session, home.id, noted)))
    }

    /// A user who stands for all of oneself, in the organization that was chosen.
    pub async fn person(
        &self,
        user: &UserId,
        home: &OrganizationId,
        came_with: CameWith,
        choice: OrganizationChoice<'_>,
    ) -> Result<Caller, Error> {
        let caller = |organization, (role, permissions, actor)| Caller {
            user: user.clone(),
            organization,
            role,
            permissions,
            is_whole_user: true,
            came_with,
            actor,
        };
        if let Some(Ok(path)) = choice.path.map(str::parse)
            && let Some(rights) = self.rights_of_person(user, &path).await?
        {
            return Ok(caller(path, rights));
        }
        let organization = match choice.named {
            None => home.clone(),
            Some(named) => named.parse().map_err(|_| not_found(named))?,
        };
        match self.rights_of_person(user, &organization).await? {
            Some(rights) => Ok(caller(organization, rights)),
            None => Err(not_found(organization.as_str())),
        }
    }

    /// A user in the one organization whose provider says who it is. What the user has elsewhere is not the provider's to open.
    async fn person_within(
        &self,
        user: &UserId,
        only: &OrganizationId,
        came_with: CameWith,
        choice: OrganizationChoice<'_>,
    ) -> Result<Caller, Error> {
        if let Some(named) = choice.named
            && choice.path != Some(only.as_str())
            && named != only.as_str()
        {
            return Err(not_found(named));
        }
        let rights = self.rights_of_person(user, only).await?;
        let (role, permissions, actor) = rights.ok_or_else(Error::bad_credentials)?;
        Ok(Caller {
            user: user.clone(),
            organization: only.clone(),
            role,
            permissions,
            is_whole_user: false,
            came_with,
            actor,
        })
    }

    /// As [`Self::rights`], from memory where it is there.
    async fn rights_of_person(
        &self,
        user: &UserId,
        org: &OrganizationId,
    ) -> Result<Option<Rights>, Error> {
        let of = (user.clone(), org.clone());
        let generation = match self.keys.get_rights(&of) {
            Ok(rights) => return Ok(Some(rights)),
            Err(generation) => generation,
        };
        let rights = self.rights(org, user).await.map_err(unavailable)?;
        let Some((role, permissions)) = rights else {
            return Ok(None);
        };
        let actor = Actor {
            email: self.email_of(user).await.map_err(unavailable)?,
            key: None,
        };
        let rights = (role, Arc::new(permissions), Arc::new(actor));
        self.keys.put_rights(generation, of, rights.clone());
        Ok(Some(rights))
    }
}

impl CachedSession {
    fn new(session: LoginSession, home: OrganizationId, noted: Option<Timestamp>) -> Self {
        let used_at = noted.map_or(session.last_used_at, |at| at.max(session.last_used_at));
        Self {
            hash: session.hash,
            user: session.user_id,
            home,
            is_confined: session.came_by.is_some(),
            expires_at: session.expires_at,
            used_at_ms: AtomicI64::new(used_at.as_millisecond()),
        }
    }
}

fn not_found(organization: &str) -> Error {
    Error::NotFound {
        message: format!("Organization with ID {organization} not found"),
    }
}
