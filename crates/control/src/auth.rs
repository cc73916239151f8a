//! From a key to a caller, and what is kept in memory of callers. How a session becomes one is told in `sign_in::session`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use alcove_domain::{
    Access, ApiKey, ApiKeyHash, AuditKey, Member, MemberRole, Organization, OrganizationId,
    Permissions, SessionHash, User, UserId, role,
};
use alcove_store::{StoreError, Tx};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::control::Bootstrap;
use crate::oidc::jwt;
use crate::oidc::person::{CachedToken, TokenHash};
use crate::rng::uuid_v4;
use crate::shared::{Shared, lock};
use crate::sign_in::session::{CachedSession, OrganizationChoice, Rights};
use crate::uses::Uses;
use crate::{Actor, Caller, CameWith, Error};

/// Longest text that is looked at. Keys have 68 bytes.
pub(crate) const BEARER_MAX_BYTES: usize = 4096;
/// Keys, sessions, tokens and rights kept in memory, each; a full cache starts anew.
const CACHED_MAX: usize = 10_000;
/// Name of the key that the first start makes.
const BOOTSTRAP_KEY_NAME: &str = "bootstrap";
/// How exactly the last use of a key or a session is known.
const NOTED_EVERY_MS: i64 = 10_000;
/// How often who stays is asked for its key again, should nobody tell that it is gone.
const RECHECK: Duration = Duration::from_mins(1);

/// Keys and sessions by the hash of their text, with what they and their users may do. Whoever changes or ends a key, a
/// session, a membership or a role clears it, after that is written down.
#[derive(Default)]
pub(crate) struct KeyCache {
    keys: RwLock<Cached>,
    /// Keys, or the rights of their users, were changed or ended.
    changed: watch::Sender<()>,
    pub used: Uses<ApiKeyHash>,
    pub used_sessions: Uses<SessionHash>,
    /// The key that the server was started with.
    operators: Mutex<Option<ApiKeyHash>>,
}

#[derive(Default)]
struct Cached {
    by_hash: HashMap<ApiKeyHash, Arc<CachedKey>>,
    sessions: HashMap<SessionHash, Arc<CachedSession>>,
    tokens: HashMap<TokenHash, Arc<CachedToken>>,
    /// Of users who did not come with a key.
    rights: HashMap<(UserId, OrganizationId), Rights>,
    /// How often all was forgotten.
    generation: u64,
}

struct CachedKey {
    caller: Caller,
    expires_at: Option<Timestamp>,
    /// In milliseconds; zero before the first use that we know of.
    used_at_ms: AtomicI64,
}

impl KeyCache {
    /// The key, or what [`Self::put`] must be told of the time before the store was asked for it.
    fn get(&self, hash: &ApiKeyHash) -> Result<Arc<CachedKey>, u64> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.by_hash.get(hash).cloned().ok_or(keys.generation)
    }

    /// Keeps a key that was read, unless keys have changed since: it may be one that was revoked meanwhile.
    fn put(&self, generation: u64, hash: ApiKeyHash, key: Arc<CachedKey>) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.generation != generation {
            return;
        }
        put(&mut keys.by_hash, hash, key);
    }

    /// As [`Self::get`], for a session.
    pub fn get_session(&self, hash: &SessionHash) -> Result<Arc<CachedSession>, u64> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.sessions.get(hash).cloned().ok_or(keys.generation)
    }

    /// As [`Self::put`], for a session.
    pub fn put_session(&self, generation: u64, hash: SessionHash, session: Arc<CachedSession>) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.generation == generation {
            put(&mut keys.sessions, hash, session);
        }
    }

    /// As [`Self::get`], for a token that was looked at not long before now.
    pub fn get_token(&self, hash: &TokenHash, now: Timestamp) -> Result<Arc<CachedToken>, u64> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let token = keys.tokens.get(hash).filter(|token| token.is_good(now));
        token.cloned().ok_or(keys.generation)
    }

    /// As [`Self::put`], for a token.
    pub fn put_token(&self, generation: u64, hash: TokenHash, token: Arc<CachedToken>) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.generation == generation {
            put(&mut keys.tokens, hash, token);
        }
    }

    /// As [`Self::get`], for what a user may do in an organization.
    pub fn get_rights(&self, of: &(UserId, OrganizationId)) -> Result<Rights, u64> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.rights.get(of).cloned().ok_or(keys.generation)
    }

    /// As [`Self::put`], for what a user may do in an organization.
    pub fn put_rights(&self, generation: u64, of: (UserId, OrganizationId), rights: Rights) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.generation == generation {
            put(&mut keys.rights, of, rights);
        }
    }

    /// Forgets all, and tells whoever stays by a key or a session to look again.
    pub fn clear(&self) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.by_hash.clear();
        keys.sessions.clear();
        keys.tokens.clear();
        keys.rights.clear();
        keys.generation += 1;
        drop(keys);
        self.changed.send_replace(());
    }

    /// `used_at_ms` is of the key's own.
    fn note_use(&self, key: ApiKeyHash, used_at_ms: &AtomicI64, now: Timestamp) {
        if is_noted(used_at_ms, now) {
            self.used.note(key, now);
        }
    }

    pub fn note_session_use(&self, session: &CachedSession, now: Timestamp) {
        if is_noted(&session.used_at_ms, now) {
            self.used_sessions.note(session.hash, now);
        }
    }

    /// Whether it is the key that the server was started with.
    pub fn is_operators(&self, key: ApiKeyHash) -> bool {
        *lock(&self.operators) == Some(key)
    }
}

fn put<K: Eq + std::hash::Hash, V>(cached: &mut HashMap<K, V>, key: K, value: V) {
    if cached.len() >= CACHED_MAX {
        cached.clear();
    }
    cached.insert(key, value);
}

/// Whether a use is to be written down: not each is.
fn is_noted(used_at_ms: &AtomicI64, now: Timestamp) -> bool {
    let now_ms = now.as_millisecond();
    let is_noted = now_ms - used_at_ms.load(Ordering::Relaxed) >= NOTED_EVERY_MS;
    if is_noted {
        used_at_ms.store(now_ms, Ordering::Relaxed);
    }
    is_noted
}

pub(crate) fn hash(text: &str) -> ApiKeyHash {
    ApiKeyHash(Sha256::digest(text.as_bytes()).into())
}

impl Shared {
    /// Who comes with a key, or with a token of the identity provider and an organization of choice.
    pub async fn authenticate(
        &self,
        bearer: &str,
        choice: OrganizationChoice<'_>,
    ) -> Result<Caller, Error> {
        if jwt::is_token(bearer) {
            return self.authenticate_token(bearer, choice).await;
        }
        if bearer.is_empty() || bearer.len() > BEARER_MAX_BYTES {
            return Err(Error::bad_credentials());
        }
        let hash = hash(bearer);
        let key = match self.keys.get(&hash) {
            Ok(key) => key,
            Err(generation) => {
                let found = self.read_key(hash).await.map_err(unavailable)?;
                let key = Arc::new(found.ok_or_else(Error::bad_credentials)?);
                self.keys.put(generation, hash, Arc::clone(&key));
                key
            }
        };
        let now = self.clock.now();
        if key.expires_at.is_some_and(|at| at <= now) {
            return Err(Error::Unauthenticated {
                message: "This API key has expired",
                code: "API_KEY_EXPIRED",
            });
        }
        self.keys.note_use(hash, &key.used_at_ms, now);
        Ok(key.caller.clone())
    }

    /// A key with what it may do now. None as well where its user is no member of its organization any more.
    async fn read_key(&self, hash: ApiKeyHash) -> Result<Option<CachedKey>, StoreError> {
        let Some(key) = self.store.reader().api_key_find(hash).await? else {
            return Ok(None);
        };
        let rights = self.rights(&key.organization_id, &key.user_id).await?;
        let Some((role, rights)) = rights else {
            return Ok(None);
        };
        let email = self.email_of(&key.user_id).await?;
        Ok(Some(CachedKey::new(key, role, &rights, email)))
    }

    /// Empty where there is none.
    pub async fn email_of(&self, user: &UserId) -> Result<String, StoreError> {
        let user = self.store.reader().user_find(user).await?;
        Ok(user.map(|user| user.email).unwrap_or_default())
    }

    /// What a user is in an organization and may do there. None for whoever is no member.
    pub async fn rights(
        &self,
        org: &OrganizationId,
        user: &UserId,
    ) -> Result<Option<(MemberRole, Permissions)>, StoreError> {
        let reader = self.store.reader();
        let Some(member) = reader.member_find(org, user).await? else {
            return Ok(None);
        };
        let mut roles = role::built_in(self.opened_at);
        if !member.access.assigned.is_empty() {
            roles.extend(reader.role_list(org).await?);
        }
        Ok(Some((member.access.role, member.access.rights(&roles))))
    }

    /// When what a caller came with ends. None where it has, or its user is no member of the organization any more.
    async fn end_of(&self, caller: &Caller) -> Result<Option<Timestamp>, StoreError> {
        match caller.came_with {
            CameWith::Key(hash) => {
                let key = self.read_key(hash).await?;
                Ok(key.map(|key| key.expires_at.unwrap_or(Timestamp::MAX)))
            }
            CameWith::Session(hash) => {
                let rights = self.rights(&caller.organization, &caller.user).await?;
                let session = self.read_session(hash).await?;
                Ok(session.filter(|_| rights.is_some()).map(|it| it.ends_at()))
            }
            CameWith::Token { ends_at } => {
                let rights = self.rights(&caller.organization, &caller.user).await?;
                Ok(rights.map(|_| ends_at))
            }
        }
    }

    /// Waits until what a caller came with has expired or is gone, or its user is no member any more. What cannot be read
    /// may still be good.
    pub async fn key_ended(&self, caller: &Caller) {
        let mut changed = self.keys.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let ends_at = match self.end_of(caller).await {
                Ok(Some(ends_at)) => ends_at,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "cannot look whether a caller is still good");
                    Timestamp::MAX
                }
            };
            let left = ends_at.duration_since(self.clock.now());
            let left = Duration::try_from(left).unwrap_or_default();
            if left == Duration::ZERO {
                return;
            }
            tokio::select! {
                // The sender lives in `self`.
                _ = changed.changed() => {}
                () = self.clock.sleep(left.min(RECHECK)) => {}
            }
        }
    }

    pub async fn current_api_key(&self, caller: &Caller) -> Result<ApiKey, Error> {
        let CameWith::Key(hash) = caller.came_with else {
            return Err(Error::wrong_credential());
        };
        let found = self.store.reader().api_key_find(hash).await;
        found
            .map_err(|error| Error::store("reading the caller's key", error))?
            .ok_or_else(Error::bad_credentials)
    }

    pub async fn current_user(&self, caller: &Caller) -> Result<User, Error> {
        let found = self.store.reader().user_find(&caller.user).await;
        found
            .map_err(|error| Error::store("reading the caller", error))?
            .ok_or_else(|| Error::NotFound {
                message: "User not found".to_owned(),
            })
    }

    /// Whether the caller administers the whole server, with a credential that stands for all of the user: a key that was made
    /// for less opens less, whoever made it.
    pub async fn is_admin(&self, caller: &Caller) -> Result<bool, Error> {
        Ok(caller.is_whole_user && self.current_user(caller).await?.is_admin)
    }

    pub async fn current_organization(&self, caller: &Caller) -> Result<Organization, Error> {
        let found = self
            .store
            .reader()
            .organization_find(&caller.organization)
            .await;
        found
            .map_err(|error| Error::store("reading the caller's organization", error))?
            .ok_or_else(|| Error::NotFound {
                message: "Organization not found".to_owned(),
            })
    }

    /// When the server was set up.
    pub async fn set_up_at(&self) -> Result<Timestamp, Error> {
        let admin = self.store.reader().user_find_admin().await;
        let admin = admin.map_err(|error| Error::store("reading the administrator", error))?;
        Ok(admin.map_or(self.opened_at, |admin| admin.created_at))
    }

    pub async fn bootstrap(&self, admin_key: &str) -> Result<Bootstrap, Error> {
        let doing = "making the administrator";
        let failed = |error| Error::store(doing, error);
        let now = self.clock.now();
        let reader = self.store.reader();
        let admin = reader.user_find_admin().await.map_err(failed)?;
        let is_first = admin.is_none();
        let known = match &admin {
            Some(user) => reader
                .organization_find_personal(&user.id)
                .await
                .map_err(failed)?,
            None => None,
        };
        let hash = hash(admin_key);
        *lock(&self.keys.operators) = Some(hash);
        if let (Some(_), Some(org)) = (&admin, &known)
            && let Some(key) = reader.api_key_find(hash).await.map_err(failed)?
            // What came with a newer version of the server is the administrator's too.
            && key.permissions == Permissions::all()
        {
            return Ok(Bootstrap {
                organization: org.id.clone(),
                is_first,
            });
        }
        let tx = self.store.begin().await.map_err(failed)?;
        let user_id = if let Some(user) = admin {
            user.id
        } else {
            let user = User {
                id: UserId::from_uuid(uuid_v4(&*self.rng)),
                name: "Administrator".to_owned(),
                email: "admin@localhost".to_owned(),
                is_email_verified: true,
                is_admin: true,
                created_at: now,
            };
            tx.user_insert(&user).await.map_err(failed)?;
            user.id
        };
        let organization = if let Some(org) = known {
            org.id
        } else {
            let org = personal_organization(self, &user_id);
            insert_organization(&tx, &org).await.map_err(failed)?;
            org.id
        };
        let key = ApiKey {
            hash,
            organization_id: organization.clone(),
            user_id,
            name: BOOTSTRAP_KEY_NAME.to_owned(),
            prefix: admin_key.chars().take(3).collect(),
            suffix: last_characters(admin_key, 3),
            permissions: Permissions::all(),
            created_at: now,
            expires_at: None,
            last_used_at: None,
        };
        tx.api_key_replace(&key).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        self.keys.clear();
        Ok(Bootstrap {
            organization,
            is_first,
        })
    }
}

/// The organization that each user has alone.
pub(crate) fn personal_organization(shared: &Shared, user: &UserId) -> Organization {
    Organization {
        id: OrganizationId::from_uuid(uuid_v4(&*shared.rng)),
        name: "Personal".to_owned(),
        created_by: user.clone(),
        is_personal: true,
        is_egress_limited: false,
        suspension: None,
        closing_since: None,
        created_at: shared.clock.now(),
    }
}

/// Writes an organization, with whoever makes it as its owner.
pub(crate) async fn insert_organization(tx: &Tx, org: &Organization) -> Result<(), StoreError> {
    tx.organization_insert(org).await?;
    tx.member_put(&Member {
        organization_id: org.id.clone(),
        user_id: org.created_by.clone(),
        access: Access {
            role: MemberRole::Owner,
            assigned: Vec::new(),
        },
        created_at: org.created_at,
        updated_at: org.created_at,
    })
    .await
}

impl CachedKey {
    fn new(key: ApiKey, role: MemberRole, rights: &Permissions, email: String) -> Self {
        let actor = Actor {
            email,
            key: Some(AuditKey {
                name: key.name,
                prefix: key.prefix,
                suffix: key.suffix,
            }),
        };
        Self {
            caller: Caller {
                user: key.user_id,
                organization: key.organization_id,
                role,
                permissions: Arc::new(key.permissions.and(rights)),
                is_whole_user: key.permissions == Permissions::all(),
                came_with: CameWith::Key(key.hash),
                actor: Arc::new(actor),
            },
            expires_at: key.expires_at,
            used_at_ms: AtomicI64::new(key.last_used_at.map_or(0, Timestamp::as_millisecond)),
        }
    }
}

pub(crate) fn unavailable(error: StoreError) -> Error {
    Error::Unavailable {
        message: "Temporary authentication service error",
        retry_after: None,
        cause: Some(Box::new(error)),
    }
}

pub(crate) fn last_characters(text: &str, count: usize) -> String {
    let skipped = text.chars().count().saturating_sub(count);
    text.chars().skip(skipped).collect()
}

#[cfg(test)]
mod tests {
    use alcove_domain::{OrganizationId, UserId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_key_that_was_read_before_a_revocation_is_not_kept() {
        let cache = KeyCache::default();
        let hash = hash("dtn_x");
        let key = || {
            Arc::new(CachedKey {
                caller: Caller {
                    user: UserId::from_uuid(Uuid::nil()),
                    organization: OrganizationId::from_uuid(Uuid::nil()),
                    role: MemberRole::Member,
                    permissions: Arc::default(),
                    is_whole_user: false,
                    came_with: CameWith::Key(hash),
                    actor: Arc::default(),
                },
                expires_at: None,
                used_at_ms: AtomicI64::new(0),
            })
        };
        let Err(before) = cache.get(&hash) else {
            panic!("nothing was put yet")
        };
        cache.clear();
        cache.put(before, hash, key());
        let Err(now) = cache.get(&hash) else {
            panic!("it was kept")
        };
        cache.put(now, hash, key());
        assert!(cache.get(&hash).is_ok());
    }
}
