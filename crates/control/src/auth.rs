//! From a bearer text to a caller.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use alcove_domain::{ApiKey, ApiKeyHash, Organization, OrganizationId, Permissions, User, UserId};
use sha2::{Digest as _, Sha256};

use crate::control::Bootstrap;
use crate::rng::uuid_v4;
use crate::shared::Shared;
use crate::{Caller, Error};

/// Longest text that is looked at. Keys have 68 bytes.
const BEARER_MAX_BYTES: usize = 4096;
/// Keys kept in memory; a full cache starts anew.
const CACHED_MAX: usize = 10_000;
/// Name of the key that the first start makes.
const BOOTSTRAP_KEY_NAME: &str = "bootstrap";

/// Keys by the hash of their text. A key that is changed or revoked must be forgotten here.
#[derive(Default)]
pub(crate) struct KeyCache {
    keys: RwLock<HashMap<ApiKeyHash, Arc<CachedKey>>>,
}

struct CachedKey {
    caller: Caller,
    expires_at: Option<jiff::Timestamp>,
}

impl KeyCache {
    fn get(&self, hash: &ApiKeyHash) -> Option<Arc<CachedKey>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(hash).cloned()
    }

    fn put(&self, hash: ApiKeyHash, key: Arc<CachedKey>) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= CACHED_MAX {
            keys.clear();
        }
        keys.insert(hash, key);
    }

    fn clear(&self) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.clear();
    }
}

fn hash(text: &str) -> ApiKeyHash {
    ApiKeyHash(Sha256::digest(text.as_bytes()).into())
}

impl Shared {
    pub async fn authenticate(&self, bearer: &str) -> Result<Caller, Error> {
        if bearer.is_empty() || bearer.len() > BEARER_MAX_BYTES {
            return Err(Error::bad_credentials());
        }
        let hash = hash(bearer);
        let key = if let Some(key) = self.keys.get(&hash) {
            key
        } else {
            let found = self
                .store
                .reader()
                .api_key_find(hash)
                .await
                .map_err(|error| Error::Unavailable {
                    message: "Temporary authentication service error",
                    retry_after: None,
                    cause: Some(Box::new(error)),
                })?;
            let key = Arc::new(CachedKey::from(found.ok_or_else(Error::bad_credentials)?));
            self.keys.put(hash, Arc::clone(&key));
            key
        };
        if key.expires_at.is_some_and(|at| at <= self.clock.now()) {
            return Err(Error::Unauthenticated {
                message: "This API key has expired",
                code: "API_KEY_EXPIRED",
            });
        }
        Ok(key.caller.clone())
    }

    pub async fn current_api_key(&self, caller: &Caller) -> Result<ApiKey, Error> {
        let found = self.store.reader().api_key_find(caller.key).await;
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

    /// Whether the caller administers the whole server.
    pub async fn is_admin(&self, caller: &Caller) -> Result<bool, Error> {
        Ok(self.current_user(caller).await?.is_admin)
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
        if let (Some(_), Some(org)) = (&admin, &known)
            && reader.api_key_find(hash).await.map_err(failed)?.is_some()
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
                is_admin: true,
                created_at: now,
            };
            tx.user_insert(&user).await.map_err(failed)?;
            user.id
        };
        let organization = if let Some(org) = known {
            org.id
        } else {
            let org = Organization {
                id: OrganizationId::from_uuid(uuid_v4(&*self.rng)),
                name: "Personal".to_owned(),
                created_by: user_id.clone(),
                is_personal: true,
                created_at: now,
            };
            tx.organization_insert(&org).await.map_err(failed)?;
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

impl From<ApiKey> for CachedKey {
    fn from(key: ApiKey) -> Self {
        Self {
            caller: Caller {
                user: key.user_id,
                organization: key.organization_id,
                permissions: Arc::new(key.permissions),
                key: key.hash,
            },
            expires_at: key.expires_at,
        }
    }
}

fn last_characters(text: &str, count: usize) -> String {
    let skipped = text.chars().count().saturating_sub(count);
    text.chars().skip(skipped).collect()
}
