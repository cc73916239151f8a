//! What callers do with API keys.

use alcove_domain::{ApiKey, NewApiKey};
use jiff::Timestamp;

use super::Control;
use crate::keys::{self, CreatedApiKey};
use crate::{Caller, Error};

impl Control {
    /// Makes a key of the caller's user: in the caller's organization, where it can do no more than the caller, or in another
    /// one of the user, where it can do no more than the user.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unfit name, unknown permissions or an end that has passed, [`Error::Forbidden`] for
    /// permissions that the caller lacks, [`Error::NotFound`] for an organization of which the user is no member, [`Error::Conflict`] if the caller has a key of that name.
    pub async fn create_api_key(
        &self,
        caller: &Caller,
        name: String,
        permissions: &[String],
        expires_at: Option<Timestamp>,
        organization: Option<&str>,
    ) -> Result<CreatedApiKey, Error> {
        let now = self.shared.clock.now();
        let wish = NewApiKey::parse(name, permissions, expires_at, now).map_err(Error::refused)?;
        keys::create(&self.shared, caller, wish, organization).await
    }

    /// The caller's keys, or all of the organization for its owner; what was used last comes first.
    pub async fn list_api_keys(&self, caller: &Caller) -> Result<Vec<ApiKey>, Error> {
        keys::list(&self.shared, caller).await
    }

    /// A key of the caller by its name.
    pub async fn get_api_key(&self, caller: &Caller, name: &str) -> Result<ApiKey, Error> {
        keys::find(&self.shared, caller, name).await
    }

    /// Ends a key of the user, the caller where none is named. Calls with it are refused once this has returned, and
    /// streams that came with it end.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for another user's key unless the caller owns the organization, [`Error::Invalid`] for the
    /// operator's key.
    pub async fn delete_api_key(
        &self,
        caller: &Caller,
        user: Option<&str>,
        name: &str,
    ) -> Result<(), Error> {
        let user = user.unwrap_or(caller.user.as_str());
        keys::delete(&self.shared, caller, user, name).await
    }
}
