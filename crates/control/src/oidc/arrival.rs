//! Somebody signs in by the identity provider of an organization, with a browser: there and back, with a code (OpenID Connect
//! Core, 3.1; RFC 7636).
//!
//! Nothing is kept meanwhile. What the browser brings back follows from a cookie that it got and a secret of the server, so only
//! the browser that went away comes back, to the provider that it was sent to.

use std::net::IpAddr;
use std::sync::Arc;

use alcove_domain::invitation::InvitationEvent;
use alcove_domain::sso::{PENDING_LASTS, PERSONS_MAX, SCOPE_DEFAULT};
use alcove_domain::{
    Invitation, Member, OrganizationId, PendingSsoLink, PendingSsoLinkId, SsoOrigin, SsoProvider,
    SsoProviderId, User, UserId,
};
use alcove_store::{Deed, Identity, SealedSsoProvider, StoreError, Tx};
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::jwt::Claims;
use super::person::Told;
use super::sso::{self, CodeExchange};
use crate::auth::{insert_organization, personal_organization};
use crate::rng::uuid_v4;
use crate::shared::Shared;
use crate::sign_in::{self, SignedIn};
use crate::{Error, audit};

/// Whoever was sent to a provider has so long to come back.
pub(crate) const LASTS: SignedDuration = SignedDuration::from_mins(10);
/// Longest code that is passed on, in bytes.
const CODE_MAX_BYTES: usize = 4096;
/// What a provider may say for a code.
const ANSWER_MAX_BYTES: u64 = 64 << 10;

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where a browser is sent, and what it has to bring back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SsoDeparture {
    pub url: String,
    /// For a cookie that goes to no page and no other host.
    pub cookie: String,
    pub lasts: SignedDuration,
}

/// What a browser comes back with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SsoArrival {
    pub state: String,
    /// Empty where the provider gave none.
    pub code: String,
    pub cookie: String,
    /// Where it was told to come back to.
    pub redirect_uri: String,
    /// Where from, as far as that is known.
    pub address: Option<IpAddr>,
}

#[derive(Deserialize)]
struct Given {
    id_token: String,
}

/// What follows from a cookie, for one use.
fn derive(shared: &Shared, what: &str, of: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &shared.secrets.sign_in);
    hex::encode(hmac::sign(&key, format!("sso {what}:{of}").as_bytes()))
}

fn state(shared: &Shared, id: &SsoProviderId, until: i64, cookie: &str) -> String {
    let mac = derive(shared, "state", &format!("{id}:{until}:{cookie}"));
    format!("{id}:{until}:{mac}")
}

fn refused() -> Error {
    Error::Unauthenticated {
        message: "This sign-in has expired, or was begun in another browser. Begin again",
        code: "SSO_STATE_INVALID",
    }
}

/// The provider that a state is of, if it is one that this browser was given and is good still.
fn read_state(shared: &Shared, text: &str, cookie: &str) -> Option<SsoProviderId> {
    let mut parts = text.splitn(3, ':');
    let id: SsoProviderId = parts.next()?.parse().ok()?;
    let until: i64 = parts.next()?.parse().ok()?;
    let right = state(shared, &id, until, cookie);
    let is_right = constant_time::verify_slices_are_equal(right.as_bytes(), text.as_bytes());
    let is_good = !cookie.is_empty() && is_right.is_ok() && shared.clock.now().as_second() < until;
    is_good.then_some(id)
}

fn unknown() -> Error {
    Error::Unauthenticated {
        message: "No identity provider lets people in by this link",
        code: "SSO_UNKNOWN",
    }
}

/// One that lets people in. Whether there is another is not told.
async fn enabled(shared: &Shared, id: &SsoProviderId) -> Result<SealedSsoProvider, Error> {
    let found = shared.store.reader().sso_provider_find(id).await;
    let found = found.map_err(|error| Error::store("looking for an identity provider", error))?;
    found
        .filter(|sealed| sealed.provider.is_enabled)
        .ok_or_else(unknown)
}

/// Sends a browser to a provider, which sends it back.
pub(crate) async fn depart(
    shared: &Shared,
    id: &str,
    redirect_uri: &str,
) -> Result<SsoDeparture, Error> {
    let id: SsoProviderId = id.parse().map_err(|_| unknown())?;
    let provider = enabled(shared, &id).await?.provider;
    let issuer = sso::issuer(shared, &provider)?;
    let (endpoints, _) = issuer.endpoints(&*shared.clock).await?;
    let mut random = [0; 32];
    shared.rng.fill(&mut random);
    let cookie = hex::encode(random);
    let until = shared.clock.now().as_second() + LASTS.as_secs();
    let verifier = derive(shared, "verifier", &cookie);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    let query = [
        ("response_type", "code"),
        ("client_id", &provider.client_id),
        ("redirect_uri", redirect_uri),
        ("scope", provider.scope.as_deref().unwrap_or(SCOPE_DEFAULT)),
        ("state", &state(shared, &id, until, &cookie)),
        ("nonce", &derive(shared, "nonce", &cookie)),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]
    .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, UNRESERVED)))
    .join("&");
    let at = endpoints.authorization;
    let between = if at.contains('?') { '&' } else { '?' };
    Ok(SsoDeparture {
        url: format!("{at}{between}{query}"),
        cookie,
        lasts: LASTS,
    })
}

/// Lets in who comes back, if the provider says who it is.
pub(crate) async fn arrive(shared: &Arc<Shared>, arrival: SsoArrival) -> Result<SignedIn, Error> {
    let id = read_state(shared, &arrival.state, &arrival.cookie).ok_or_else(refused)?;
    if arrival.code.is_empty() || arrival.code.len() > CODE_MAX_BYTES {
        return Err(Error::Unauthenticated {
            message: "The identity provider let nobody in",
            code: "SSO_REFUSED",
        });
    }
    let sealed = enabled(shared, &id).await?;
    // Each try has the server ask the provider, so nobody may try without end.
    let who = arrival.address.map(|address| address.to_string());
    let attempt = shared.try_of(&format!("sso {}", who.unwrap_or_default()), arrival.address);
    shared.begin_try(&attempt).await?;
    let claims = redeem(shared, &sealed, &arrival).await?;
    let provider = sealed.provider;
    let begun = sign_in::change(
        shared,
        "letting somebody in",
        move |shared, tx| async move {
            let failed = |error| Error::store("letting somebody in", error);
            let user = user_of(&shared, &tx, &provider, &claims).await?;
            shared.end_try(&tx, &attempt).await?;
            if let Some(deed) = Deed::current() {
                deed.note_organization(&provider.organization_id);
            }
            audit::note_user(&user.id, &user.email);
            let has_totp = tx.totp_find(&user.id).await.map_err(failed)?;
            let has_totp = has_totp.is_some_and(|totp| totp.is_confirmed);
            let origin = SsoOrigin {
                organization_id: provider.organization_id.clone(),
                provider_id: provider.id.clone(),
            };
            let (begun, _) = sign_in::begin(&shared, &tx, user, has_totp, Some(origin)).await?;
            Ok((tx, begun))
        },
    );
    let begun = begun.await?;
    tracing::info!(
        user.id = %begun.user.id,
        "user {} signed in by the identity provider {id}", begun.user.id
    );
    Ok(begun)
}

/// Takes a code to the provider, and looks at the token that it gives for it.
async fn redeem(
    shared: &Shared,
    sealed: &SealedSsoProvider,
    arrival: &SsoArrival,
) -> Result<Claims, Error> {
    let provider = &sealed.provider;
    let issuer = sso::issuer(shared, provider)?;
    let (endpoints, _) = issuer.endpoints(&*shared.clock).await?;
    let secret = sso::open(shared, sealed)?;
    let mut form = vec![
        ("grant_type", "authorization_code".to_owned()),
        ("code", arrival.code.clone()),
        ("redirect_uri", arrival.redirect_uri.clone()),
        ("code_verifier", derive(shared, "verifier", &arrival.cookie)),
    ];
    let basic = if endpoints.wants_secret_in_body {
        form.push(("client_id", provider.client_id.clone()));
        form.push(("client_secret", secret));
        None
    } else {
        Some((provider.client_id.clone(), secret))
    };
    let exchange = CodeExchange {
        url: endpoints.token,
        form,
        basic,
    };
    let said_no = || Error::Unauthenticated {
        message: "The identity provider did not say who this is",
        code: "SSO_REFUSED",
    };
    let web = sso::web(shared)?;
    let answer = web.exchange(exchange, ANSWER_MAX_BYTES).await;
    let answer = answer.map_err(|cause| {
        tracing::info!(%cause, "the identity provider {} gives nothing for a code", provider.id);
        said_no()
    })?;
    let given: Given = serde_json::from_slice(&answer).map_err(|_| said_no())?;
    let claims = issuer.verify(&*shared.clock, &given.id_token).await?;
    // One that was given to somebody else, or for another sign-in, proves nothing of this browser.
    let is_ours = claims
        .azp
        .as_ref()
        .is_none_or(|azp| *azp == provider.client_id);
    let right = derive(shared, "nonce", &arrival.cookie);
    if !is_ours || claims.nonce.as_deref() != Some(&right) {
        return Err(said_no());
    }
    Ok(claims)
}

/// The user of a provider's person, who is made a member when coming for the first time.
async fn user_of(
    shared: &Shared,
    tx: &Tx,
    provider: &SsoProvider,
    claims: &Claims,
) -> Result<User, Error> {
    let failed = |error| Error::store("letting somebody in", error);
    let org = &provider.organization_id;
    let told = Told::by(claims).ok_or_else(Error::bad_credentials)?;
    let email = Some(told.email.as_str()).filter(|email| !email.is_empty());
    if !provider.lets_in(email) {
        return Err(Error::forbidden(
            "The identity provider named no address of a domain that is let in",
        ));
    }
    let now = tx.sso_provider_find(&provider.id).await.map_err(failed)?;
    let is_same = |it: &SealedSsoProvider| {
        it.provider.is_enabled
            && (&it.provider.issuer, &it.provider.client_id)
                == (&provider.issuer, &provider.client_id)
    };
    // It was changed while it was asked.
    if !now.as_ref().is_some_and(is_same) {
        return Err(refused());
    }
    let held = tx.organization_hold(org).await;
    held.map_err(|_| unknown())?;
    let issuer = Identity::issuer_of(provider);
    let found = tx.identity_find(&issuer, told.subject).await;
    if let Some(identity) = found.map_err(failed)? {
        return known(shared, tx, org, &identity, &told).await;
    }
    if tx.identity_count(&issuer).await.map_err(failed)? >= PERSONS_MAX {
        return Err(Error::QuotaExceeded {
            message: format!("A provider can let in at most {PERSONS_MAX} people"),
        });
    }
    let holder = holder_of(tx, email).await.map_err(failed)?;
    let identity = |user: &UserId, is_linked| Identity {
        issuer: issuer.clone(),
        subject: told.subject.to_owned(),
        user_id: user.clone(),
        is_linked,
    };
    if let Some(holder) = &holder
        && provider.trusts_addresses
        && told.is_email_verified
        && is_member(tx, org, &holder.id).await?
    {
        let linked = identity(&holder.id, true);
        tx.identity_put(&linked).await.map_err(failed)?;
        return Ok(holder.clone());
    }
    let user = join(shared, tx, provider, &told).await.map_err(failed)?;
    let made = identity(&user.id, false);
    tx.identity_put(&made).await.map_err(failed)?;
    if let Some(holder) = holder {
        let pending = PendingSsoLink {
            id: PendingSsoLinkId::from_uuid(uuid_v4(&*shared.rng)),
            user_id: holder.id,
            organization_id: org.clone(),
            provider_id: provider.id.clone(),
            subject: told.subject.to_owned(),
            made_user_id: user.id.clone(),
            email: told.email,
            created_at: user.created_at,
            expires_at: user
                .created_at
                .saturating_add(PENDING_LASTS)
                .unwrap_or(user.created_at),
        };
        let put = tx.pending_sso_link_insert(&pending).await;
        put.map_err(failed)?;
    }
    Ok(user)
}

/// Who came before. Whoever was removed meanwhile is made a member again only where an owner has invited the person's address.
async fn known(
    shared: &Shared,
    tx: &Tx,
    org: &OrganizationId,
    identity: &Identity,
    told: &Told<'_>,
) -> Result<User, Error> {
    let failed = |error| Error::store("letting somebody in", error);
    if !is_member(tx, org, &identity.user_id).await?
        && !is_invited(shared, tx, org, &identity.user_id, &told.email).await?
    {
        return Err(Error::forbidden(
            "You are no member of the organization any more",
        ));
    }
    let user = tx.user_find(&identity.user_id).await.map_err(failed)?;
    let user = user.ok_or_else(Error::bad_credentials)?;
    if identity.is_linked || user.is_email_verified {
        return Ok(user);
    }
    let next = told.of(user.clone(), true);
    if next != user {
        tx.user_update(&next).await.map_err(failed)?;
    }
    Ok(next)
}

/// Whether an invitation waits for this address, which makes the user a member then.
async fn is_invited(
    shared: &Shared,
    tx: &Tx,
    org: &OrganizationId,
    user: &UserId,
    email: &str,
) -> Result<bool, Error> {
    let failed = |error| Error::store("answering an invitation", error);
    let now = shared.clock.now();
    let pending = tx.invitation_list_pending(org).await.map_err(failed)?;
    let is_theirs = |it: &Invitation| !email.is_empty() && it.email == email && it.is_open(now);
    let Some(invitation) = pending.into_iter().find(is_theirs) else {
        return Ok(false);
    };
    let next = invitation.apply(InvitationEvent::Accept, now)?;
    tx.invitation_update(&next).await.map_err(failed)?;
    let member = Member {
        organization_id: org.clone(),
        user_id: user.clone(),
        access: next.access,
        created_at: now,
        updated_at: now,
    };
    tx.member_put(&member).await.map_err(failed)?;
    Ok(true)
}

/// Whose address it is known to be. Administrators are linked with nobody.
async fn holder_of(tx: &Tx, email: Option<&str>) -> Result<Option<User>, StoreError> {
    let Some(email) = email else { return Ok(None) };
    let mut holders = tx.user_list_by_email(email).await?.into_iter();
    Ok(holders.find(|user| user.is_email_verified && !user.is_admin))
}

pub(super) async fn is_member(tx: &Tx, org: &OrganizationId, user: &UserId) -> Result<bool, Error> {
    let found = tx.member_find(org, user).await;
    let found = found.map_err(|error| Error::store("looking for a member", error))?;
    Ok(found.is_some())
}

/// Makes a user of who comes for the first time, and a member. Nobody trusts the address but the organization: it would open the
/// invitations of others.
async fn join(
    shared: &Shared,
    tx: &Tx,
    provider: &SsoProvider,
    told: &Told<'_>,
) -> Result<User, StoreError> {
    let now = shared.clock.now();
    let user = told.of(
        shared.nobody(UserId::from_uuid(uuid_v4(&*shared.rng))),
        true,
    );
    tx.user_insert(&user).await?;
    let personal = personal_organization(shared, &user.id);
    insert_organization(tx, &personal).await?;
    let member = Member {
        organization_id: provider.organization_id.clone(),
        user_id: user.id.clone(),
        access: provider.access(),
        created_at: now,
        updated_at: now,
    };
    tx.member_put(&member).await?;
    tracing::info!(
        organization.id = %provider.organization_id,
        user.id = %user.id,
        "user {} is a member of organization {} now, by its identity provider",
        user.id, provider.organization_id
    );
    Ok(user)
}
