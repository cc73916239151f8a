//! Users, as the administrator of the server makes and sees them.

use alcove_domain::{User, UserRequest};
use alcove_store::StoreError;

use super::Control;
use crate::auth::{insert_organization, personal_organization};
use crate::oidc::link;
use crate::sandboxes::resolve_region;
use crate::{AccountProvider, Caller, CreatedApiKey, Error, keys};

impl Control {
    /// All users, as the administrator of the server.
    pub async fn list_users(&self, caller: &Caller) -> Result<Vec<User>, Error> {
        self.require_admin(caller).await?;
        let users = self.shared.store.reader().user_list().await;
        users.map_err(|error| Error::store("listing users", error))
    }

    /// A user, as the administrator of the server.
    pub async fn get_user(&self, caller: &Caller, id: &str) -> Result<User, Error> {
        self.require_admin(caller).await?;
        let key = id.parse().map_err(|_| not_found(id))?;
        let found = self.shared.store.reader().user_find(&key).await;
        found
            .map_err(|error| Error::store("looking for a user", error))?
            .ok_or_else(|| not_found(id))
    }

    /// Makes a user with a personal organization, as the administrator of the server. There is one region, so it can only
    /// be the default. With a key, there is one to all of the user, which is shown this once.
    ///
    /// # Errors
    /// [`Error::Conflict`] if there is a user of that id, or of that address where it is said to be the user's.
    pub async fn create_user(
        &self,
        caller: &Caller,
        request: UserRequest,
        region: Option<&str>,
        with_key: bool,
    ) -> Result<(User, Option<CreatedApiKey>), Error> {
        let shared = &self.shared;
        self.require_admin(caller).await?;
        let wish = request.check().map_err(Error::refused)?;
        resolve_region(shared, region)?;
        let user = User {
            id: wish.id,
            name: wish.name,
            email: wish.email,
            is_email_verified: wish.is_email_verified,
            is_admin: wish.is_admin,
            created_at: shared.clock.now(),
        };
        let failed = |error| match error {
            StoreError::NameTaken => Error::conflict(
                "USER_EXISTS",
                format!("User with ID {} already exists", user.id),
            ),
            other => Error::store("making a user", other),
        };
        let tx = shared.store.begin().await.map_err(failed)?;
        if user.is_email_verified && !user.email.is_empty() {
            // An address that two could say is theirs would open the invitations of one to the other.
            let others = tx.user_list_by_email(&user.email).await.map_err(failed)?;
            if others.iter().any(|other| other.is_email_verified) {
                return Err(Error::conflict(
                    "EMAIL_TAKEN",
                    format!("There is a user with the address {}", user.email),
                ));
            }
        }
        tx.user_insert(&user).await.map_err(failed)?;
        let personal = personal_organization(shared, &user.id);
        insert_organization(&tx, &personal).await.map_err(failed)?;
        let first = with_key.then(|| keys::first_key(shared, &user, &personal.id));
        if let Some(first) = &first {
            tx.api_key_insert(&first.key).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        tracing::info!(user.id = %user.id, "user {} made by user {}", user.id, caller.user);
        Ok((user, first))
    }

    /// Whom the caller's user can be linked with.
    pub async fn list_account_providers(
        &self,
        caller: &Caller,
    ) -> Result<Vec<AccountProvider>, Error> {
        link::list(&self.shared, caller).await
    }

    /// Links the caller, who has signed in, with the person whom a token of the provider means. Its tokens let the caller in
    /// from then on.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a token of somebody else, or a person who is another user already; [`Error::Forbidden`] for an
    /// administrator and for who came with a key.
    pub async fn link_account(
        &self,
        caller: &Caller,
        provider: &str,
        subject: &str,
        token: Option<&str>,
    ) -> Result<(), Error> {
        link::link(&self.shared, caller, provider, subject, token).await
    }

    /// Takes a link away from the caller, who has signed in.
    ///
    /// # Errors
    /// [`Error::Conflict`] where nothing else would let the user in.
    pub async fn unlink_account(
        &self,
        caller: &Caller,
        provider: &str,
        subject: &str,
    ) -> Result<(), Error> {
        link::unlink(&self.shared, caller, provider, subject).await
    }

    async fn require_admin(&self, caller: &Caller) -> Result<(), Error> {
        if self.shared.is_admin(caller).await? {
            Ok(())
        } else {
            Err(Error::access_denied())
        }
    }
}

fn not_found(id: &str) -> Error {
    Error::NotFound {
        message: format!("User with ID {id} not found"),
    }
}
