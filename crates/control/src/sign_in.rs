//! People who come in with a password: the way in, the ways out, and links that set a password.
//!
//! What a session may is told in `session`, and how often one may try in `throttle`. Texts of sessions and links are
//! random and kept as hashes; the passwords as `passwords` makes them.

pub(crate) mod session;
mod throttle;

use std::net::IpAddr;
use std::sync::Arc;

use alcove_domain::{
    LinkHash, LoginSession, PasswordLink, Reason, SessionHash, SsoOrigin, User, UserId, login, text,
};
use alcove_store::Tx;
use aws_lc_rs::{constant_time, hmac};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use self::throttle::Try;
use crate::audit;
use crate::second_factor::{self, Taken};
use crate::shared::Shared;
use crate::{Caller, CameWith, Error};

/// What somebody shows at the door.
#[derive(Debug, Clone, Copy)]
pub struct Entrance<'a> {
    /// The user's id, or the address that is known to be the user's.
    pub username: &'a str,
    pub password: &'a str,
    /// Of the user's authenticator, or one that stands for it.
    pub code: Option<&'a str>,
    /// Where from, as far as that is known.
    pub address: Option<IpAddr>,
}

/// A session that has just begun.
#[derive(Debug)]
pub struct SignedIn {
    pub user: User,
    pub session: LoginSession,
    /// The session's text, which is told this once.
    pub text: String,
    /// What requests that change something must say beside it, see [`csrf_token`].
    pub csrf_token: String,
    /// Whether the user has an authenticator.
    pub has_totp: bool,
}

/// A link that sets a password, with its text, which is told this once.
#[derive(Debug)]
pub struct NewPasswordLink {
    pub text: String,
    /// What its user signs in by then.
    pub username: String,
    pub expires_at: Timestamp,
}

/// What only a page that was told it can send along with a session's cookie: a page of another origin has the browser send
/// the cookie, and cannot read what this follows from.
pub(crate) fn csrf_token(session: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, session.as_bytes());
    hex::encode(hmac::sign(&key, b"csrf"))
}

pub(crate) fn is_csrf_token(session: &str, token: &str) -> bool {
    let right = csrf_token(session);
    constant_time::verify_slices_are_equal(right.as_bytes(), token.as_bytes()).is_ok()
}

fn new_text(shared: &Shared) -> String {
    let mut bytes = [0; 32];
    shared.rng.fill(&mut bytes);
    hex::encode(bytes)
}

fn link_hash(text: &str) -> LinkHash {
    LinkHash(Sha256::digest(text.as_bytes()).into())
}

/// Begins a session for whoever knows the password. An unknown name and a wrong password are one answer, after the same work.
pub(crate) async fn sign_in(shared: &Arc<Shared>, shown: Entrance<'_>) -> Result<SignedIn, Error> {
    let mut reasons = Vec::new();
    if shown.username.trim().is_empty() || shown.username.len() > text::EMAIL_MAX_BYTES {
        reasons.push(Reason::invalid(
            "username must be the id or the email of a user",
        ));
    }
    if shown.password.len() > login::PASSWORD_MAX_BYTES {
        reasons.push(Reason::invalid("password must not be longer than any is"));
    }
    Error::check(reasons)?;
    let failed = |error| Error::store("signing in", error);
    let name = shown.username.trim();
    let attempt = shared.try_of(name, shown.address);
    shared.begin_try(&attempt).await?;
    let reader = shared.store.reader();
    let user = reader.user_find_by_login(name).await.map_err(failed)?;
    let whose = user.as_ref().map(|user| user.id.clone());
    // Nobody's id where there is no such user: the database is asked all the same.
    let whose = whose.unwrap_or_else(|| UserId::from_uuid(uuid::Uuid::nil()));
    let hash = reader.password_find(&whose).await.map_err(failed)?;
    let is_right = shared
        .passwords
        .verify(&*shared.rng, hash.clone(), shown.password)
        .await?;
    let Some(user) = user.filter(|_| is_right) else {
        tracing::info!("a try to sign in failed");
        return Err(Error::bad_credentials());
    };
    let code = shown.code.filter(|code| !code.trim().is_empty());
    let code = code.map(str::to_owned);
    let task = |shared: Arc<Shared>| async move { enter(&shared, user, hash, code, attempt).await };
    // Whoever goes away must not leave a session that had to go and still lets in.
    shared.finish_shared("signing in", task).await
}

/// Begins a session of a user who has shown the password that this is the hash of.
async fn enter(
    shared: &Shared,
    user: User,
    hash: Option<String>,
    code: Option<String>,
    attempt: Try,
) -> Result<SignedIn, Error> {
    let failed = |error| Error::store("signing in", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    // What was right when it was read may have been changed since, with the end of all sessions.
    if tx.password_find(&user.id).await.map_err(failed)? != hash {
        return Err(Error::bad_credentials());
    }
    let taken = second_factor::take(shared, &tx, &user.id, code.as_deref()).await?;
    match taken {
        Taken::NotNeeded | Taken::Right => shared.end_try(&tx, &attempt).await?,
        // The password was right: it may be sent again with a code.
        Taken::Missing => {
            shared.undo_try(&tx, &attempt).await?;
            tx.beside_the_action().commit().await.map_err(failed)?;
            return Err(Error::Unauthenticated {
                message: "A code of the authenticator is needed",
                code: "TOTP_REQUIRED",
            });
        }
        Taken::Wrong => {
            return Err(Error::Unauthenticated {
                message: "The code is wrong",
                code: "TOTP_INVALID",
            });
        }
    }
    let (begun, had_too_many) = begin(shared, &tx, user, taken == Taken::Right, None).await?;
    tx.commit().await.map_err(failed)?;
    if had_too_many {
        shared.keys.clear();
    }
    tracing::info!(user.id = %begun.user.id, "user {} signed in", begun.user.id);
    Ok(begun)
}

/// Writes a new session. Whether another one had to go for it.
pub(crate) async fn begin(
    shared: &Shared,
    tx: &Tx,
    user: User,
    has_totp: bool,
    came_by: Option<SsoOrigin>,
) -> Result<(SignedIn, bool), Error> {
    let failed = |error| Error::store("beginning a session", error);
    audit::note_user(&user.id, &user.email);
    let now = shared.clock.now();
    let text = new_text(shared);
    let session = LoginSession {
        came_by,
        ..LoginSession::begin(session::hash(&text), user.id.clone(), now)
    };
    let unused_since = now.saturating_sub(login::SESSION_IDLE).unwrap_or(now);
    let prune = tx.login_session_prune(now, unused_since).await;
    prune.map_err(failed)?;
    tx.login_session_insert(&session).await.map_err(failed)?;
    let kept = tx.login_session_keep(&user.id, login::SESSIONS_MAX).await;
    let had_too_many = kept.map_err(failed)?;
    let begun = SignedIn {
        csrf_token: csrf_token(&text),
        user,
        session,
        text,
        has_totp,
    };
    Ok((begun, had_too_many))
}

/// The caller's session.
pub(crate) fn session_of(caller: &Caller) -> Result<SessionHash, Error> {
    match caller.came_with {
        CameWith::Session(hash) => Ok(hash),
        CameWith::Key(_) | CameWith::Token { .. } => Err(Error::wrong_credential()),
    }
}

/// The session that the caller came with, as it is kept.
pub(crate) async fn current(shared: &Shared, caller: &Caller) -> Result<LoginSession, Error> {
    let hash = session_of(caller)?;
    let noted = shared.keys.used_sessions.last(&hash);
    let found = shared.store.reader().login_session_find(hash).await;
    let mut session = found
        .map_err(|error| Error::store("reading the caller's session", error))?
        .ok_or_else(Error::bad_credentials)?;
    session.last_used_at = noted.map_or(session.last_used_at, |at| at.max(session.last_used_at));
    Ok(session)
}

/// Ends the session that the caller came with. Written down before it returns, and what stays by it is cut.
pub(crate) async fn sign_out(shared: &Arc<Shared>, caller: &Caller) -> Result<(), Error> {
    let hash = session_of(caller)?;
    change(shared, "signing out", move |_, tx| async move {
        let failed = |error| Error::store("signing out", error);
        tx.login_session_delete(hash).await.map_err(failed)?;
        Ok((tx, ()))
    })
    .await
}

/// Ends all sessions of the caller's user.
pub(crate) async fn sign_out_everywhere(
    shared: &Arc<Shared>,
    caller: &Caller,
) -> Result<(), Error> {
    caller.require_user()?;
    let user = caller.user.clone();
    change(shared, "signing out everywhere", move |_, tx| async move {
        let failed = |error| Error::store("signing out everywhere", error);
        let delete = tx.login_session_delete_all(&user).await;
        delete.map_err(failed)?;
        Ok((tx, ()))
    })
    .await
}

/// Whoever has signed in, and has shown the password again.
pub(crate) struct Proof {
    pub user: User,
    hash: Option<String>,
    /// Counted as a failure until it is ended.
    pub attempt: Try,
}

/// Looks at the password of who has signed in, as what is to be done is not for whoever finds an open session. `field` names
/// it in the reasons.
pub(crate) async fn prove(
    shared: &Shared,
    caller: &Caller,
    field: &str,
    password: &str,
    address: Option<IpAddr>,
) -> Result<Proof, Error> {
    caller.require_user()?;
    session_of(caller)?;
    if password.len() > login::PASSWORD_MAX_BYTES {
        return Err(Error::refused(vec![Reason::invalid(format!(
            "{field} must not be longer than any is"
        ))]));
    }
    let user = shared.current_user(caller).await?;
    // Nor must it be guessed by one.
    let attempt = shared.try_of(user.id.as_str(), address);
    shared.begin_try(&attempt).await?;
    let hash = shared.store.reader().password_find(&user.id).await;
    let hash = hash.map_err(|error| Error::store("looking at a password", error))?;
    let is_right = shared
        .passwords
        .verify(&*shared.rng, hash.clone(), password)
        .await?;
    if !is_right {
        return Err(Error::forbidden("The current password is wrong"));
    }
    Ok(Proof {
        user,
        hash,
        attempt,
    })
}

/// Changes the password of who has signed in. All sessions end, and a new one begins.
pub(crate) async fn change_password(
    shared: &Arc<Shared>,
    caller: &Caller,
    current: &str,
    new: &str,
    address: Option<IpAddr>,
) -> Result<SignedIn, Error> {
    caller.require_user()?;
    session_of(caller)?;
    let reasons = login::check_password("newPassword", new).err();
    Error::check(reasons.into_iter().collect())?;
    let failed = |error| Error::store("changing a password", error);
    let proof = prove(shared, caller, "currentPassword", current, address).await?;
    let new = shared.passwords.hash(&*shared.rng, new).await?;
    let begun = change(
        shared,
        "changing a password",
        move |shared, tx| async move {
            let Proof {
                user,
                hash,
                attempt,
            } = proof;
            if tx.password_find(&user.id).await.map_err(failed)? != hash {
                return Err(Error::conflict(
                    "PASSWORD_CHANGED",
                    "The password was changed meanwhile",
                ));
            }
            shared.end_try(&tx, &attempt).await?;
            set(&shared, &tx, &user.id, &new).await?;
            let totp = tx.totp_find(&user.id).await.map_err(failed)?;
            let has_totp = totp.is_some_and(|totp| totp.is_confirmed);
            let (begun, _) = begin(&shared, &tx, user, has_totp, None).await?;
            Ok((tx, begun))
        },
    )
    .await?;
    tracing::info!(user.id = %begun.user.id, "user {} changed the password", begun.user.id);
    Ok(begun)
}

/// Sets a user's password, with the end of all that the one before has opened.
async fn set(shared: &Shared, tx: &Tx, user: &UserId, hash: &str) -> Result<(), Error> {
    let failed = |error| Error::store("setting a password", error);
    tx.password_put(user, hash, shared.clock.now())
        .await
        .map_err(failed)?;
    tx.password_link_delete_of(user).await.map_err(failed)?;
    tx.login_session_delete_all(user).await.map_err(failed)
}

/// A link for the administrator, as long as nobody has a password. Each call makes a new one, which ends the one before.
pub(crate) async fn set_up_link(shared: &Shared) -> Result<Option<NewPasswordLink>, Error> {
    let failed = |error| Error::store("making a link that sets a password", error);
    let reader = shared.store.reader();
    if reader.password_is_set().await.map_err(failed)? {
        return Ok(None);
    }
    match reader.user_find_admin().await.map_err(failed)? {
        None => Ok(None),
        Some(admin) => new_link(shared, admin, false).await.map(Some),
    }
}

/// A link that sets a user's password, in place of the one that there may be.
pub(crate) async fn new_link(
    shared: &Shared,
    user: User,
    removes_totp: bool,
) -> Result<NewPasswordLink, Error> {
    let failed = |error| Error::store("making a link that sets a password", error);
    let text = new_text(shared);
    let (hash, now) = (link_hash(&text), shared.clock.now());
    let link = PasswordLink::begin(hash, user.id.clone(), removes_totp, now);
    let tx = shared.store.begin().await.map_err(failed)?;
    tx.password_link_put(&link).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    let has_address = user.is_email_verified && !user.email.is_empty();
    Ok(NewPasswordLink {
        text,
        username: if has_address {
            user.email
        } else {
            user.id.to_string()
        },
        expires_at: link.expires_at,
    })
}

/// Sets the password of the user whom a link is for. The link has ended then, and so have all sessions of the user.
pub(crate) async fn use_link(
    shared: &Arc<Shared>,
    text: &str,
    password: &str,
) -> Result<(), Error> {
    let reasons = login::check_password("password", password).err();
    Error::check(reasons.into_iter().collect())?;
    let failed = |error| Error::store("setting a password", error);
    let hash = link_hash(text);
    let found = shared.store.reader().password_link_find(hash).await;
    let link = found.map_err(failed)?.ok_or_else(link_ended)?;
    if link.expires_at <= shared.clock.now() {
        return Err(link_ended());
    }
    let new = shared.passwords.hash(&*shared.rng, password).await?;
    let user = link.user_id.clone();
    let email = shared.email_of(&user).await.map_err(failed)?;
    audit::note_user(&user, &email);
    change(shared, "setting a password", move |shared, tx| async move {
        let was_there = tx.password_link_delete(hash).await.map_err(failed)?;
        if !was_there {
            return Err(link_ended());
        }
        set(&shared, &tx, &link.user_id, &new).await?;
        if link.removes_totp {
            tx.totp_delete(&link.user_id).await.map_err(failed)?;
        }
        Ok((tx, ()))
    })
    .await?;
    tracing::info!(user.id = %user, "the password of user {user} was set by a link");
    Ok(())
}

fn link_ended() -> Error {
    Error::Unauthenticated {
        message: "This link has expired or was used",
        code: "LINK_ENDED",
    }
}

/// Writes what ends sessions. Once it has returned, nobody is let in by them, even if its caller has gone away.
pub(crate) async fn change<T, F, W>(
    shared: &Arc<Shared>,
    doing: &'static str,
    write: F,
) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce(Arc<Shared>, Tx) -> W + Send + 'static,
    W: Future<Output = Result<(Tx, T), Error>> + Send + 'static,
{
    let task = {
        let shared = Arc::clone(shared);
        async move {
            let failed = |error| Error::store(doing, error);
            let tx = shared.store.begin().await.map_err(failed)?;
            let (tx, written) = write(Arc::clone(&shared), tx).await?;
            tx.commit().await.map_err(failed)?;
            shared.keys.clear();
            Ok(written)
        }
    };
    shared.finish(doing, task).await
}
