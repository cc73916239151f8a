//! From a token of the identity provider to a user, who is made when the first one comes.

use std::sync::Arc;

use alcove_domain::{OrganizationId, User, UserId, text};
use alcove_store::{Identity, StoreError, Tx};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::issuer::TokenError;
use super::jwt::Claims;
use crate::auth::{insert_organization, personal_organization, unavailable};
use crate::rng::uuid_v4;
use crate::shared::Shared;
use crate::sign_in::session::OrganizationChoice;
use crate::{Caller, CameWith, Error};

/// A user whose token has no name that can be shown.
const NO_NAME: &str = "Unknown";
/// Longest subject, in bytes: the standard's bound.
const SUBJECT_MAX_BYTES: usize = 255;
/// For so long a token is not looked at again: its key may have been withdrawn.
const TRUSTED_FOR: SignedDuration = SignedDuration::from_mins(5);

/// SHA-256 of a token that was looked at.
pub(crate) type TokenHash = [u8; 32];

/// A token in memory.
#[derive(Debug)]
pub(crate) struct CachedToken {
    user: UserId,
    home: OrganizationId,
    ends_at: Timestamp,
    looked_at: Timestamp,
}

impl CachedToken {
    pub fn is_good(&self, now: Timestamp) -> bool {
        now < self.ends_at && now.duration_since(self.looked_at) < TRUSTED_FOR
    }
}

impl Shared {
    /// # Errors
    /// [`Error::Unauthenticated`] for a token that is not of the provider, not for us, or does not hold now;
    /// [`Error::Unavailable`] while the provider's keys are not known.
    pub async fn authenticate_token(
        &self,
        text: &str,
        choice: OrganizationChoice<'_>,
    ) -> Result<Caller, Error> {
        let Some(issuer) = &self.issuer else {
            return Err(Error::bad_credentials());
        };
        let hash: TokenHash = Sha256::digest(text.as_bytes()).into();
        let now = self.clock.now();
        let token = match self.keys.get_token(&hash, now) {
            Ok(token) => token,
            Err(generation) => {
                let claims = issuer.verify(&*self.clock, text).await?;
                let (user, home) = self.person_of(&claims).await?;
                let token = Arc::new(CachedToken {
                    user,
                    home,
                    ends_at: claims.ends_at().unwrap_or(now),
                    looked_at: now,
                });
                self.keys.put_token(generation, hash, Arc::clone(&token));
                token
            }
        };
        let came_with = CameWith::Token {
            ends_at: token.ends_at,
        };
        self.person(&token.user, &token.home, came_with, choice)
            .await
    }
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Bad => Self::bad_credentials(),
            TokenError::Unavailable(cause) => Self::Unavailable {
                message: "Temporary authentication service error",
                retry_after: None,
                cause: Some(cause),
            },
        }
    }
}

/// What a token tells of its user.
pub(super) struct Told<'a> {
    pub subject: &'a str,
    name: Option<&'a str>,
    /// Empty where there is none.
    pub email: String,
    pub is_email_verified: bool,
}

impl<'a> Told<'a> {
    pub fn by(claims: &'a Claims) -> Option<Self> {
        let (subject, email) = claims.subject();
        if subject.is_empty() || subject.len() > SUBJECT_MAX_BYTES {
            return None;
        }
        let is_fit = |name: &&str| {
            let mut reasons = Vec::new();
            text::check_given_name(name, &mut reasons);
            reasons.is_empty()
        };
        let names = [&claims.name, &claims.username, &claims.preferred_username];
        let email = email.and_then(|email| text::parse_email("email", email).ok());
        Some(Self {
            subject,
            name: names.into_iter().flatten().map(String::as_str).find(is_fit),
            is_email_verified: email.is_some() && claims.is_email_verified(),
            email: email.unwrap_or_default(),
        })
    }

    /// The user as the token has it. A name that is known stays.
    pub fn of(&self, user: User, is_email_taken: bool) -> User {
        let name = match self.name {
            Some(name) if user.name == NO_NAME => name.to_owned(),
            _ => user.name,
        };
        User {
            name,
            email: self.email.clone(),
            is_email_verified: self.is_email_verified && !is_email_taken,
            ..user
        }
    }
}

impl Shared {
    /// The user of a token, made or brought up to date, with the organization that the user has alone.
    async fn person_of(&self, claims: &Claims) -> Result<(UserId, OrganizationId), Error> {
        let told = Told::by(claims).ok_or_else(Error::bad_credentials)?;
        let reader = self.store.reader();
        let found = reader.identity_find(&claims.iss, told.subject).await;
        let (known, is_linked) = match found.map_err(unavailable)? {
            Some(identity) => {
                let user = reader.user_find(&identity.user_id).await;
                (user.map_err(unavailable)?, identity.is_linked)
            }
            None => (None, false),
        };
        // Most look the same each time, and nothing is written. Whoever linked it has a name and an address already.
        let user = match known {
            Some(user) if is_linked || told.of(user.clone(), false) == user => user,
            _ => self
                .write_person(&claims.iss, &told)
                .await
                .map_err(unavailable)?,
        };
        let home = reader.organization_find_personal(&user.id).await;
        let home = home
            .map_err(unavailable)?
            .ok_or_else(Error::bad_credentials)?;
        Ok((user.id, home.id))
    }

    async fn write_person(&self, issuer: &str, told: &Told<'_>) -> Result<User, StoreError> {
        let tx = self.store.begin().await?.beside_the_action();
        let others = if told.is_email_verified {
            tx.user_list_by_email(&told.email).await?
        } else {
            Vec::new()
        };
        let known = match tx.identity_find(issuer, told.subject).await? {
            Some(identity) => tx.user_find(&identity.user_id).await?,
            None => None,
        };
        // An address that two could say is theirs would open the invitations of one to the other.
        let is_taken = others.iter().any(|other| {
            other.is_email_verified && known.as_ref().is_none_or(|known| known.id != other.id)
        });
        let user = if let Some(known) = known {
            let user = told.of(known, is_taken);
            tx.user_update(&user).await?;
            user
        } else {
            let user = told.of(self.new_person(&tx, told).await?, is_taken);
            tx.user_insert(&user).await?;
            let identity = Identity {
                issuer: issuer.to_owned(),
                subject: told.subject.to_owned(),
                user_id: user.id.clone(),
                is_linked: false,
            };
            tx.identity_put(&identity).await?;
            let personal = personal_organization(self, &user.id);
            insert_organization(&tx, &personal).await?;
            tracing::info!(user.id = %user.id, "user {} came with a first token", user.id);
            user
        };
        tx.commit().await?;
        // What is remembered of the user has the address.
        self.keys.clear();
        Ok(user)
    }

    /// The subject is the user's id where it can be, and nobody else has it: a provider must not hand out the accounts that
    /// are there.
    async fn new_person(&self, tx: &Tx, told: &Told<'_>) -> Result<User, StoreError> {
        let id = match told.subject.parse::<UserId>() {
            Ok(id) => tx.user_find(&id).await?.is_none().then_some(id),
            Err(_) => None,
        };
        Ok(self.nobody(id.unwrap_or_else(|| UserId::from_uuid(uuid_v4(&*self.rng)))))
    }

    /// A new user of whom nothing is known.
    pub(super) fn nobody(&self, id: UserId) -> User {
        User {
            id,
            name: NO_NAME.to_owned(),
            email: String::new(),
            is_email_verified: false,
            is_admin: false,
            created_at: self.clock.now(),
        }
    }
}
