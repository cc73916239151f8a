//! People who come in with a password.

use std::net::IpAddr;

use alcove_domain::LoginSession;

use super::Control;
use crate::second_factor::{self, NewTotp};
use crate::sign_in::session::OrganizationChoice;
use crate::sign_in::{self, Entrance, NewPasswordLink, SignedIn};
use crate::{Caller, Error};

impl Control {
    /// Begins a session.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for an unknown name and for a wrong password alike, and for a code that is missing or wrong
    /// where the user has an authenticator; [`Error::TooManyRequests`] after too
    /// many failures of the account or from the address.
    pub async fn sign_in(&self, shown: Entrance<'_>) -> Result<SignedIn, Error> {
        sign_in::sign_in(&self.shared, shown).await
    }

    /// Who has a session of this text, in the organization that was chosen.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for anything but a session that goes on, [`Error::NotFound`] for an organization that the
    /// user is no member of.
    pub async fn authenticate_session(
        &self,
        text: &str,
        choice: OrganizationChoice<'_>,
    ) -> Result<Caller, Error> {
        self.shared.authenticate_session(text, choice).await
    }

    /// What requests that change something must say beside a session's cookie.
    pub fn csrf_token(&self, session: &str) -> String {
        sign_in::csrf_token(session)
    }

    /// Whether it is the one of this session.
    pub fn is_csrf_token(&self, session: &str, token: &str) -> bool {
        sign_in::is_csrf_token(session, token)
    }

    /// The session that the caller came with.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a caller who came with something else.
    pub async fn current_session(&self, caller: &Caller) -> Result<LoginSession, Error> {
        sign_in::current(&self.shared, caller).await
    }

    /// Ends the session that the caller came with. Calls with it are refused once this has returned, and streams end.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a caller who came with something else.
    pub async fn sign_out(&self, caller: &Caller) -> Result<(), Error> {
        sign_in::sign_out(&self.shared, caller).await
    }

    /// Ends all sessions of the caller's user. Keys stay.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a key that does not stand for all of its user.
    pub async fn sign_out_everywhere(&self, caller: &Caller) -> Result<(), Error> {
        sign_in::sign_out_everywhere(&self.shared, caller).await
    }

    /// Changes the password of who has signed in. All sessions of the user end, and a new one begins.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a wrong current password, and for a caller who did not sign in; [`Error::TooManyRequests`]
    /// after too many of them.
    pub async fn change_password(
        &self,
        caller: &Caller,
        current: &str,
        new: &str,
        address: Option<IpAddr>,
    ) -> Result<SignedIn, Error> {
        sign_in::change_password(&self.shared, caller, current, new, address).await
    }

    /// A link by which the administrator sets a first password. None once anybody has one.
    pub async fn set_up_link(&self) -> Result<Option<NewPasswordLink>, Error> {
        sign_in::set_up_link(&self.shared).await
    }

    /// A link by which a user sets a password, made by the administrator of the server. It ends the one before. With
    /// `removes_totp`, the user's authenticator goes when the link is used.
    pub async fn create_password_link(
        &self,
        caller: &Caller,
        user: &str,
        removes_totp: bool,
    ) -> Result<NewPasswordLink, Error> {
        let user = self.get_user(caller, user).await?;
        caller.require_user()?;
        let id = user.id.clone();
        let link = sign_in::new_link(&self.shared, user, removes_totp).await?;
        tracing::info!(
            user.id = %id,
            "user {} made a link that sets the password of user {id}", caller.user
        );
        Ok(link)
    }

    /// Sets the password of the user whom a link is for, once. All sessions of the user end.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for a link that is none, has expired or was used; [`Error::Invalid`] for a password that is
    /// too short.
    pub async fn use_password_link(&self, link: &str, password: &str) -> Result<(), Error> {
        sign_in::use_link(&self.shared, link, password).await
    }
    /// Whether the caller's user has an authenticator that is asked for.
    pub async fn has_totp(&self, caller: &Caller) -> Result<bool, Error> {
        second_factor::is_on(&self.shared, &caller.user).await
    }

    /// Begins with an authenticator, for who shows the password. It is not asked for until it is confirmed.
    ///
    /// # Errors
    /// As [`Self::change_password`], and [`Error::Conflict`] where there is one.
    pub async fn begin_totp(
        &self,
        caller: &Caller,
        password: &str,
        address: Option<IpAddr>,
    ) -> Result<NewTotp, Error> {
        second_factor::begin(&self.shared, caller, password, address).await
    }

    /// Confirms an authenticator by a code of it. From then on one is asked for at each sign-in. The codes that stand for it,
    /// each once, are told this once.
    pub async fn confirm_totp(&self, caller: &Caller, code: &str) -> Result<Vec<String>, Error> {
        second_factor::confirm(&self.shared, caller, code).await
    }

    /// Removes the authenticator of who shows the password and a code.
    pub async fn remove_totp(
        &self,
        caller: &Caller,
        password: &str,
        code: &str,
        address: Option<IpAddr>,
    ) -> Result<(), Error> {
        second_factor::remove(&self.shared, caller, password, code, address).await
    }
}
