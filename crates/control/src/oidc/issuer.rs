//! One identity provider: which keys sign its tokens, as far as that is known.
//!
//! Nothing is asked of the provider before somebody comes with a token, so the server starts without it. Documents are
//! bounded in size, time and number: a token can make the server ask, but not often.

use std::collections::VecDeque;
use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::jwt::{self, Claims, PublicKey, Token};
use crate::Clock;
use crate::error::Cause;

/// Where a provider describes itself (OpenID Connect Discovery).
const DISCOVERY: &str = "/.well-known/openid-configuration";
const DISCOVERY_MAX_BYTES: u64 = 64 << 10;
const KEYS_MAX_BYTES: u64 = 256 << 10;
/// For both documents.
const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// Keys are asked for again after this.
const FRESH_FOR: SignedDuration = SignedDuration::from_hours(1);
/// Where the provider does not answer, those that are known are good for so long.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);
/// Times that keys are asked for within [`ASKED_WITHIN`], as the original has it.
const ASKED_MAX: usize = 5;
const ASKED_WITHIN: SignedDuration = SignedDuration::from_mins(1);

/// Where documents of a provider come from.
#[async_trait]
pub trait DocumentSource: fmt::Debug + Send + Sync + 'static {
    /// What is at a URL, if that is no more than so many bytes.
    async fn fetch(&self, url: &str, max_bytes: u64) -> Result<Vec<u8>, Cause>;
}

/// Who signs tokens that let people in.
#[derive(Debug, Clone)]
pub struct IdentityProvider {
    /// As its tokens name it; no matter whether a slash is at the end.
    pub issuer: String,
    /// Whom tokens must be for.
    pub audience: String,
    /// What clients that sign people in are called there. Only told to them.
    pub client_id: String,
    pub documents: Arc<dyn DocumentSource>,
}

/// Why a token lets nobody in.
#[derive(Debug)]
pub(super) enum TokenError {
    Bad,
    /// Whether it is good cannot be told now.
    Unavailable(Cause),
}

#[derive(Debug, thiserror::Error)]
enum ProviderError {
    #[error("the identity provider did not answer in time")]
    TimedOut,
    #[error("the identity provider was asked too often of late")]
    AskedTooOften,
    #[error("cannot get {0} from the identity provider")]
    Fetch(&'static str, #[source] Cause),
    #[error("the identity provider's {0} cannot be read")]
    Unreadable(&'static str),
    #[error("the identity provider calls itself {0:?}")]
    OtherIssuer(String),
    #[error("the identity provider has its keys at {0:?}, which is not encrypted")]
    PlainKeys(String),
    #[error("the identity provider signs nobody in: it names no {0}, or one that is not encrypted")]
    NoEndpoint(&'static str),
}

/// Where a provider signs people in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoints {
    pub authorization: String,
    pub token: String,
    /// Whether it takes the client's secret in the body alone.
    pub wants_secret_in_body: bool,
}

#[derive(Debug)]
pub(crate) struct Issuer {
    provider: IdentityProvider,
    known: RwLock<Option<Arc<Known>>>,
    /// When the provider was asked of late, and how often in all. Held while it is.
    asked: tokio::sync::Mutex<Asked>,
    rounds: std::sync::atomic::AtomicU64,
}

#[derive(Debug, Default)]
struct Asked(VecDeque<Timestamp>);

#[derive(Debug)]
struct Known {
    issuer: String,
    keys: Vec<PublicKey>,
    endpoints: Result<Endpoints, &'static str>,
    fetched_at: Timestamp,
}

/// What a set of keys says of a token.
enum Look<'a> {
    Signed(&'a Claims),
    /// By none of them, though it says so.
    Forged,
    /// Perhaps by one that is newer.
    UnknownKey,
}

impl Known {
    fn is_younger_than(&self, age: SignedDuration, now: Timestamp) -> bool {
        now.duration_since(self.fetched_at) < age
    }

    fn look<'a>(&self, token: &'a Token<'_>) -> Look<'a> {
        let is_meant =
            |key: &&PublicKey| token.key_id.is_none() || key.id.is_none() || key.id == token.key_id;
        let mut meant = self.keys.iter().filter(is_meant);
        if let Some(claims) = meant.find_map(|key| token.signed_by(key)) {
            return Look::Signed(claims);
        }
        let is_named = |key: &PublicKey| key.id.is_some() && key.id == token.key_id;
        if self.keys.iter().any(is_named) {
            Look::Forged
        } else {
            Look::UnknownKey
        }
    }
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

impl Discovery {
    /// Where people are signed in, or which of the two places is missing.
    fn endpoints(&self, base: &str) -> Result<Endpoints, &'static str> {
        let is_fit = |url: &&String| url.starts_with("https://") || !base.starts_with("https://");
        let place = |url: &Option<String>, what| url.as_ref().filter(is_fit).cloned().ok_or(what);
        let methods = &self.token_endpoint_auth_methods_supported;
        let has = |method: &str| methods.iter().any(|it| it == method);
        Ok(Endpoints {
            authorization: place(&self.authorization_endpoint, "authorization_endpoint")?,
            token: place(&self.token_endpoint, "token_endpoint")?,
            wants_secret_in_body: has("client_secret_post") && !has("client_secret_basic"),
        })
    }
}

impl Issuer {
    pub fn new(provider: IdentityProvider) -> Self {
        Self {
            provider,
            known: RwLock::default(),
            asked: tokio::sync::Mutex::default(),
            rounds: 0.into(),
        }
    }

    /// Whether it is the one of this name, who is asked for tokens for this audience.
    pub(super) fn is_of(&self, issuer: &str, audience: &str) -> bool {
        self.provider.issuer == issuer && self.provider.audience == audience
    }

    /// What a token says, if it is one of the provider, for us, that holds now.
    pub(super) async fn verify(&self, clock: &dyn Clock, text: &str) -> Result<Claims, TokenError> {
        let token = Token::read(text).ok_or(TokenError::Bad)?;
        // What is for others makes us ask nobody.
        if !token.claims.is_for(&self.provider.audience) || !self.is_called(&token.claims.iss) {
            return Err(TokenError::Bad);
        }
        let now = clock.now();
        let before = self.known();
        if let Some(known) = &before
            && known.is_younger_than(FRESH_FOR, now)
        {
            match known.look(&token) {
                Look::Signed(claims) => return self.held(known, claims, now),
                Look::Forged => return Err(TokenError::Bad),
                Look::UnknownKey => {}
            }
        }
        let known = self.ask(clock).await?;
        match known.look(&token) {
            Look::Signed(claims) => self.held(&known, claims, now),
            Look::Forged | Look::UnknownKey => Err(TokenError::Bad),
        }
    }

    /// Where it signs people in, and what it calls itself. As it was told of late.
    pub(super) async fn endpoints(
        &self,
        clock: &dyn Clock,
    ) -> Result<(Endpoints, String), TokenError> {
        let fresh = self
            .known()
            .filter(|known| known.is_younger_than(FRESH_FOR, clock.now()));
        let known = match fresh {
            Some(known) => known,
            None => self.ask(clock).await?,
        };
        let endpoints = known.endpoints.clone();
        let endpoints = endpoints
            .map_err(|what| TokenError::Unavailable(Box::new(ProviderError::NoEndpoint(what))))?;
        Ok((endpoints, known.issuer.clone()))
    }

    fn held(&self, known: &Known, claims: &Claims, now: Timestamp) -> Result<Claims, TokenError> {
        if claims.hold(&known.issuer, &self.provider.audience, now) {
            Ok(claims.clone())
        } else {
            Err(TokenError::Bad)
        }
    }

    fn known(&self) -> Option<Arc<Known>> {
        let known = self.known.read();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the provider for its keys, or waits for whoever does. Where it does not tell, those that are known are good for
    /// a while.
    async fn ask(&self, clock: &dyn Clock) -> Result<Arc<Known>, TokenError> {
        use std::sync::atomic::Ordering;
        let round = self.rounds.load(Ordering::SeqCst);
        let mut asked = self.asked.lock().await;
        let now = clock.now();
        let told = if self.rounds.load(Ordering::SeqCst) == round {
            let told = self.ask_in_turn(clock, &mut asked, now).await;
            self.rounds.fetch_add(1, Ordering::SeqCst);
            told
        } else {
            Ok(())
        };
        drop(asked);
        let kept = self
            .known()
            .filter(|known| known.is_younger_than(KEPT_FOR, now));
        match (kept, told) {
            (Some(kept), Ok(())) => Ok(kept),
            (Some(kept), Err(error)) => {
                let cause = error.source().map(ToString::to_string);
                tracing::warn!(%error, cause, "keys of the identity provider stay as they are");
                Ok(kept)
            }
            (None, Err(error)) => Err(TokenError::Unavailable(Box::new(error))),
            (None, Ok(())) => Err(TokenError::Unavailable(Box::new(ProviderError::TimedOut))),
        }
    }

    async fn ask_in_turn(
        &self,
        clock: &dyn Clock,
        asked: &mut Asked,
        now: Timestamp,
    ) -> Result<(), ProviderError> {
        let is_of_late = |at: &Timestamp| now.duration_since(*at) < ASKED_WITHIN;
        asked.0.retain(is_of_late);
        if asked.0.len() >= ASKED_MAX {
            return Err(ProviderError::AskedTooOften);
        }
        asked.0.push_back(now);
        let told = tokio::select! {
            told = self.fetch(now) => told?,
            () = clock.sleep(FETCH_LIMIT) => return Err(ProviderError::TimedOut),
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(told));
        Ok(())
    }

    fn is_called(&self, issuer: &str) -> bool {
        let plain = |text: &str| text.trim_end_matches('/').to_owned();
        plain(issuer) == plain(&self.provider.issuer)
    }

    async fn fetch(&self, now: Timestamp) -> Result<Known, ProviderError> {
        let base = self.provider.issuer.trim_end_matches('/');
        let what = "the description";
        let json = self
            .document(what, &format!("{base}{DISCOVERY}"), DISCOVERY_MAX_BYTES)
            .await?;
        let discovery: Discovery =
            serde_json::from_slice(&json).map_err(|_| ProviderError::Unreadable(what))?;
        if !self.is_called(&discovery.issuer) {
            return Err(ProviderError::OtherIssuer(discovery.issuer));
        }
        if base.starts_with("https://") && !discovery.jwks_uri.starts_with("https://") {
            return Err(ProviderError::PlainKeys(discovery.jwks_uri));
        }
        let what = "the keys";
        let json = self
            .document(what, &discovery.jwks_uri, KEYS_MAX_BYTES)
            .await?;
        let keys = jwt::read_keys(&json).ok_or(ProviderError::Unreadable(what))?;
        Ok(Known {
            endpoints: discovery.endpoints(base),
            issuer: discovery.issuer,
            keys,
            fetched_at: now,
        })
    }

    async fn document(
        &self,
        what: &'static str,
        url: &str,
        max_bytes: u64,
    ) -> Result<Vec<u8>, ProviderError> {
        let fetched = self.provider.documents.fetch(url, max_bytes).await;
        let json = fetched.map_err(|cause| ProviderError::Fetch(what, cause))?;
        if json.len() as u64 > max_bytes {
            return Err(ProviderError::Unreadable(what));
        }
        Ok(json)
    }
}
