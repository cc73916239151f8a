//! What organizations say of themselves: where the telemetry of their sandboxes is sent, and free settings.
//!
//! All of it is in memory too: whether a record is to be sent on is asked at each, and must cost nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use alcove_domain::{OrganizationId, OtelRequest, OtelTarget, Reason, SandboxId};
use alcove_store::{SealedPlace, SealedSettings, Tx};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::Error;
use crate::forward::OtlpSender;
use crate::preview::tokens;
use crate::shared::Shared;

/// The longest free settings, as JSON.
const EXPERIMENTAL_MAX_BYTES: usize = 8 << 10;
/// What is set elsewhere, and was in there once.
const OTEL_KEY: &str = "otel";
/// Tokens of which it is remembered whose they are; a full memory starts anew.
const TOKENS_MAX: usize = 10_000;

/// What an organization says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OrganizationSettings {
    /// Where the telemetry of its sandboxes is sent.
    pub otel: Option<OtelTarget>,
    pub experimental: Map<String, Value>,
}

/// The settings of all organizations that have any, and who is at work on them.
#[derive(Default)]
pub(crate) struct KnownSettings {
    known: RwLock<HashMap<OrganizationId, Arc<OrganizationSettings>>>,
    /// Whether anybody's telemetry is sent anywhere.
    has_targets: AtomicBool,
    writing: Mutex<()>,
    /// Sandboxes by the hashes of their tokens.
    tokens: RwLock<HashMap<[u8; 32], SandboxId>>,
}

impl KnownSettings {
    pub fn get(&self, org: &OrganizationId) -> Arc<OrganizationSettings> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(org).cloned().unwrap_or_default()
    }

    /// Whether anybody's telemetry is sent anywhere, and this organization's.
    pub fn has_target(&self, org: &OrganizationId) -> bool {
        self.get(org).otel.is_some()
    }

    pub fn has_targets(&self) -> bool {
        self.has_targets.load(Ordering::Relaxed)
    }

    fn put(&self, org: OrganizationId, settings: OrganizationSettings) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if settings == OrganizationSettings::default() {
            known.remove(&org);
        } else {
            known.insert(org, Arc::new(settings));
        }
        let has_targets = known.values().any(|settings| settings.otel.is_some());
        self.has_targets.store(has_targets, Ordering::Relaxed);
    }

    /// Nothing more is sent for an organization that is given up.
    pub fn forget(&self, org: &OrganizationId) {
        self.put(org.clone(), OrganizationSettings::default());
    }
}

/// Takes up what was written down. What does not open is told, and nothing is sent there.
pub(crate) async fn load(shared: &Shared) -> Result<(), Error> {
    let found = shared.store.reader().organization_settings_list().await;
    let found = found.map_err(|error| Error::store("reading settings", error))?;
    for sealed in found {
        let org = sealed.organization_id.clone();
        match open(shared, sealed) {
            Ok(settings) => shared.known_settings.put(org, settings),
            Err(error) => tracing::error!(
                organization.id = %org, %error,
                "cannot read the settings of organization {org}"
            ),
        }
    }
    Ok(())
}

fn open(shared: &Shared, sealed: SealedSettings) -> Result<OrganizationSettings, Error> {
    let internal = |cause: Box<dyn std::error::Error + Send + Sync>| Error::Internal {
        doing: "opening the settings of an organization",
        cause: Some(cause),
    };
    let org = sealed.organization_id.as_str();
    let otel = match sealed.otel {
        None => None,
        Some((endpoint, headers)) => {
            let key = shared.sealing_key()?;
            let opened = key.open(SealedPlace::OtelHeaders, org, &headers);
            let opened = opened.map_err(|error| internal(error.into()))?;
            let headers: BTreeMap<String, String> =
                serde_json::from_str(&opened).map_err(|error| internal(error.into()))?;
            Some(OtelTarget { endpoint, headers })
        }
    };
    let experimental = sealed.experimental.as_deref().map(serde_json::from_str);
    let experimental = experimental.transpose();
    Ok(OrganizationSettings {
        otel,
        experimental: experimental
            .map_err(|error| internal(error.into()))?
            .unwrap_or_default(),
    })
}

/// The way out, where there is one and something to send.
fn sender(shared: &Shared) -> Result<&Arc<dyn OtlpSender>, Error> {
    let refused = |message| Error::refused(vec![Reason::unsupported(message)]);
    if shared.settings.telemetry.is_none() {
        return Err(refused("This server keeps no telemetry, and sends none"));
    }
    if shared.settings.sealing_key.is_none() {
        return Err(refused("This server has no key to seal secrets with"));
    }
    let sender = shared.settings.otlp.as_ref();
    sender.ok_or_else(|| refused("This server sends no telemetry"))
}

/// Says where the telemetry of the caller's organization is sent from now on.
pub(crate) async fn put_target(
    shared: &Arc<Shared>,
    org: OrganizationId,
    request: OtelRequest,
) -> Result<(), Error> {
    let sender = Arc::clone(sender(shared)?);
    let check = move |settings: &mut OrganizationSettings| {
        let before = settings.otel.as_ref();
        let target = request.check(before, |host| sender.is_known(host));
        settings.otel = Some(target.map_err(Error::refused)?);
        Ok(())
    };
    change(shared, org, check).await
}

/// Sends nothing more. What waits to be sent goes nowhere.
pub(crate) async fn delete_target(shared: &Arc<Shared>, org: OrganizationId) -> Result<(), Error> {
    change(shared, org, |settings| {
        settings.otel = None;
        Ok(())
    })
    .await
}

pub(crate) async fn put_experimental(
    shared: &Arc<Shared>,
    org: OrganizationId,
    experimental: Map<String, Value>,
) -> Result<(), Error> {
    let mut reasons = Vec::new();
    if experimental.contains_key(OTEL_KEY) {
        reasons.push(Reason::invalid(
            "otel is not among the experimental settings; it is set by otel-config",
        ));
    }
    let length = serde_json::to_string(&experimental).map_or(usize::MAX, |text| text.len());
    if length > EXPERIMENTAL_MAX_BYTES {
        reasons.push(Reason::invalid(format!(
            "the settings must have at most {EXPERIMENTAL_MAX_BYTES} bytes"
        )));
    }
    Error::check(reasons)?;
    change(shared, org, |settings| {
        settings.experimental = experimental;
        Ok(())
    })
    .await
}

/// Changes the settings of an organization, in memory and on disk, whether or not its caller stays.
async fn change(
    shared: &Arc<Shared>,
    org: OrganizationId,
    change: impl FnOnce(&mut OrganizationSettings) -> Result<(), Error> + Send + 'static,
) -> Result<(), Error> {
    let doing = "writing the settings of an organization";
    let failed = move |error| Error::store(doing, error);
    let task = {
        let shared = Arc::clone(shared);
        async move {
            let _writing = shared.known_settings.writing.lock().await;
            let mut settings = OrganizationSettings::clone(&shared.known_settings.get(&org));
            change(&mut settings)?;
            let tx = shared.store.begin().await.map_err(failed)?;
            tx.organization_hold(&org).await.map_err(failed)?;
            let sealed = seal(&shared, &tx, &org, &settings)?;
            let written = tx.organization_settings_put(&sealed).await;
            written.map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            shared.known_settings.put(org, settings);
            Ok(())
        }
    };
    shared.finish(doing, task).await
}

fn seal(
    shared: &Shared,
    tx: &Tx,
    org: &OrganizationId,
    settings: &OrganizationSettings,
) -> Result<SealedSettings, Error> {
    let otel = match &settings.otel {
        None => None,
        Some(target) => {
            let headers = serde_json::to_string(&target.headers).unwrap_or_default();
            let (place, key) = (SealedPlace::OtelHeaders, shared.sealing_key()?);
            let sealed = key.seal(tx, &*shared.rng, place, org.as_str(), &headers);
            let sealed = sealed.map_err(|error| Error::Internal {
                doing: "sealing the headers of an endpoint",
                cause: Some(Box::new(error)),
            })?;
            Some((target.endpoint.clone(), sealed))
        }
    };
    let experimental = serde_json::to_string(&settings.experimental).ok();
    Ok(SealedSettings {
        organization_id: org.clone(),
        otel,
        experimental: experimental.filter(|_| !settings.experimental.is_empty()),
    })
}

/// The endpoint of an organization, as it may be shown.
pub(crate) fn target(shared: &Shared, org: &OrganizationId) -> Result<OtelTarget, Error> {
    let settings = shared.known_settings.get(org);
    settings.otel.clone().ok_or_else(|| Error::NotFound {
        message: "The organization has its telemetry sent nowhere".to_owned(),
    })
}

/// The sandbox that a token is of, and its organization. Nothing of the token is told in what is said about it.
pub(crate) fn of_token(shared: &Shared, token: &str) -> Result<(SandboxId, OrganizationId), Error> {
    let settings = &shared.known_settings;
    let not_found = || Error::NotFound {
        message: "Sandbox not found".to_owned(),
    };
    let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let remembered = {
        let tokens = settings.tokens.read();
        let tokens = tokens.unwrap_or_else(PoisonError::into_inner);
        tokens.get(&hash).cloned()
    };
    let entry = if let Some(entry) = remembered.and_then(|id| shared.directory.get(&id)) {
        entry
    } else {
        // A token says nothing of its sandbox, so each one's is made and compared, without telling by the time it takes.
        let key = &shared.secrets.previews;
        let mut entries = shared.directory.entries().into_iter();
        let found = entries.find(|entry| tokens::is_of(key, &entry.id, token));
        let entry = found.ok_or_else(not_found)?;
        let mut known = settings
            .tokens
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TOKENS_MAX {
            known.clear();
        }
        known.insert(hash, entry.id.clone());
        entry
    };
    let sandbox = entry.sandbox();
    if !sandbox.is_visible() {
        return Err(not_found());
    }
    Ok((sandbox.id.clone(), sandbox.organization_id.clone()))
}
