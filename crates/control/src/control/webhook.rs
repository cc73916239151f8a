//! What owners do with the endpoints of their organization, and the administrator with all.

use std::sync::Arc;

use alcove_domain::webhook::{ENDPOINTS_MAX, MESSAGES_KEPT, OLD_SECRET_LASTS};
use alcove_domain::{
    EndpointRequest, OrganizationId, Reason, Secret, WebhookAttempt, WebhookEndpoint,
    WebhookEndpointId, WebhookEvent, WebhookMessage, WebhookMessageId, WebhookUrl,
};
use alcove_store::SealedEndpoint;
use jiff::{SignedDuration, Timestamp};

use super::Control;
use crate::audit;
use crate::rng::uuid_v4;
use crate::shared::Shared;
use crate::token::Claims;
use crate::webhooks::find::{LIST_MAX, endpoint_in, no_endpoint, no_message, not_initialized};
use crate::webhooks::{delivery, new_message_id, queue, signature, wake};
use crate::{Caller, Error};

/// How long a token for the page of webhooks is good.
const TOKEN_LASTS: SignedDuration = SignedDuration::from_hours(1);
/// What stands before such a token, so that it is told from a key.
const TOKEN_PREFIX: &str = "whp_";
/// Messages that one replay brings back.
const REPLAY_MAX: u64 = 10_000;
const PAYLOAD_MAX_BYTES: usize = 256 << 10;

/// Somebody who may manage an organization's webhooks: an owner, or who holds a token that an owner was given.
#[derive(Debug, Clone)]
pub struct WebhookManager {
    organization: OrganizationId,
}

impl WebhookManager {
    pub fn organization(&self) -> &OrganizationId {
        &self.organization
    }
}

/// How an organization stands with webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookStatus {
    pub organization: OrganizationId,
    /// Why an endpoint was disabled last, if one is.
    pub last_error: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A new endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedEndpoint {
    pub endpoint: WebhookEndpoint,
    pub secret: Secret,
}

/// What is to be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// What the endpoint has not got of the messages since then.
    Since(Timestamp),
    /// This one, whatever came of it.
    Message(String),
}

impl Control {
    /// Whether this server sends webhooks.
    pub fn has_webhooks(&self) -> bool {
        let settings = &self.shared.settings;
        settings.webhooks.is_some() && settings.sealing_key.is_some()
    }

    /// The same, as the administrator of the server.
    pub async fn webhooks_enabled(&self, caller: &Caller) -> Result<bool, Error> {
        self.shared.require_admin(caller).await?;
        Ok(self.has_webhooks())
    }

    /// The caller as one who manages the webhooks of an organization.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an organization that is not the caller's, [`Error::Forbidden`] for one who does not own it.
    pub fn webhook_manager(&self, caller: &Caller, id: &str) -> Result<WebhookManager, Error> {
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        Ok(WebhookManager {
            organization: caller.organization.clone(),
        })
    }

    /// Whether a bearer's text is meant as a token of [`Control::webhook_token`].
    pub fn is_webhook_token(bearer: &str) -> bool {
        bearer.starts_with(TOKEN_PREFIX)
    }

    /// Who holds a token of [`Control::webhook_token`].
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for what is none, or not any more; [`Error::NotFound`] for another organization than its own.
    pub async fn webhook_manager_by_token(
        &self,
        token: &str,
        id: &str,
    ) -> Result<WebhookManager, Error> {
        let shared = &self.shared;
        let token = token.strip_prefix(TOKEN_PREFIX);
        let claims = token
            .and_then(|token| shared.secrets.webhooks.verify(token, shared.clock.now()))
            .ok_or_else(Error::bad_credentials)?;
        let org = claims.organization;
        let found = shared.store.reader().organization_find(&org).await;
        let found = found.map_err(|error| Error::store("looking for an organization", error))?;
        if found.is_none_or(|found| found.closing_since.is_some()) {
            return Err(Error::bad_credentials());
        }
        if id != org.as_str() {
            return Err(not_initialized(id));
        }
        audit::note_page(&org);
        Ok(WebhookManager { organization: org })
    }

    /// A token with which the page of webhooks manages those of the caller's organization for an hour.
    pub fn webhook_token(&self, manager: &WebhookManager) -> Secret {
        let shared = &self.shared;
        let claims = Claims {
            organization: manager.organization.clone(),
            expires_at: shared.clock.now() + TOKEN_LASTS,
            mark: uuid_v4(&*shared.rng).simple().to_string(),
        };
        let token = shared.secrets.webhooks.sign(&claims);
        Secret(format!("{TOKEN_PREFIX}{token}"))
    }

    /// How the caller's organization stands with webhooks.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it does not use any.
    pub async fn webhook_status(&self, caller: &Caller, id: &str) -> Result<WebhookStatus, Error> {
        let caller = self.enter(caller, id)?;
        self.shared.webhook_status(&caller.organization).await
    }

    /// Says that an organization uses webhooks. Adding an endpoint says it too.
    pub async fn initialize_webhooks(
        &self,
        manager: &WebhookManager,
    ) -> Result<WebhookStatus, Error> {
        let failed = |error| Error::store("turning webhooks on", error);
        let shared = &self.shared;
        shared.webhook_sender()?;
        let org = &manager.organization;
        let tx = shared.store.begin().await.map_err(failed)?;
        tx.organization_hold(org).await.map_err(failed)?;
        let now = shared.clock.now();
        tx.webhook_application_put(org, now).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        shared.webhook_status(org).await
    }

    /// Tries at once what waits for the organization's endpoints.
    pub async fn refresh_webhooks(&self, manager: &WebhookManager) -> Result<(), Error> {
        let failed = |error| Error::store("trying webhooks again", error);
        let org = manager.organization.clone();
        self.shared.webhook_status(&org).await?;
        let task = |shared: Arc<Shared>| async move {
            let tx = shared.store.begin().await.map_err(failed)?;
            tx.webhook_hurry(&org, shared.clock.now())
                .await
                .map_err(failed)?;
            let all = tx.webhook_endpoint_all(&org).await.map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            for sealed in all {
                wake(&shared, &sealed.endpoint.id);
            }
            Ok(())
        };
        let doing = "trying webhooks again";
        self.shared.finish_shared(doing, task).await
    }

    pub async fn list_endpoints(
        &self,
        manager: &WebhookManager,
    ) -> Result<Vec<WebhookEndpoint>, Error> {
        let reader = self.shared.store.reader();
        let found = reader.webhook_endpoint_list(&manager.organization).await;
        let found = found.map_err(|error| Error::store("listing endpoints", error))?;
        Ok(found.into_iter().map(|sealed| sealed.endpoint).collect())
    }

    pub async fn get_endpoint(
        &self,
        manager: &WebhookManager,
        id: &str,
    ) -> Result<WebhookEndpoint, Error> {
        let sealed = self.shared.find_endpoint(&manager.organization, id).await?;
        Ok(sealed.endpoint)
    }

    /// Adds an endpoint, which is told of what happens from now on.
    pub async fn create_endpoint(
        &self,
        manager: &WebhookManager,
        request: EndpointRequest,
    ) -> Result<CreatedEndpoint, Error> {
        let failed = |error| Error::store("adding an endpoint", error);
        let (shared, org) = (&self.shared, &manager.organization);
        let sender = shared.webhook_sender()?;
        let now = shared.clock.now();
        let url = request.url.as_deref().unwrap_or_default();
        let planned = WebhookUrl::plan(url, |host| sender.is_known(host));
        let blank = WebhookEndpoint {
            id: WebhookEndpointId::from_uuid(uuid_v4(&*shared.rng)),
            organization_id: org.clone(),
            url: planned.map_err(|reason| Error::refused(vec![reason]))?,
            description: String::new(),
            events: Vec::new(),
            disabled: None,
            created_at: now,
            updated_at: now,
        };
        let endpoint = request.apply(blank, now, |host| sender.is_known(host));
        let endpoint = endpoint.map_err(Error::refused)?;
        let secret = signature::new_secret(&*shared.rng);
        // Before it is written: what happens right after that is not to be passed by.
        shared.webhooks.listen(org);
        let tx = shared.store.begin().await.map_err(failed)?;
        tx.organization_hold(org).await.map_err(failed)?;
        if tx.webhook_endpoint_count(org).await.map_err(failed)? >= ENDPOINTS_MAX {
            return Err(Error::QuotaExceeded {
                message: format!("Endpoint quota exceeded. Maximum allowed: {ENDPOINTS_MAX}"),
            });
        }
        let sealed = SealedEndpoint {
            secret: delivery::seal(shared, &tx, &endpoint.id, &secret)?,
            old_secret: None,
            after: tx.outbox_last_sequence().await.map_err(failed)?,
            endpoint,
        };
        tx.webhook_application_put(org, now).await.map_err(failed)?;
        tx.webhook_endpoint_insert(&sealed).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(CreatedEndpoint {
            endpoint: sealed.endpoint,
            secret,
        })
    }

    /// Changes an endpoint. One that is disabled loses what waits for it; [`Control::replay`] brings it back.
    pub async fn update_endpoint(
        &self,
        manager: &WebhookManager,
        id: &str,
        request: EndpointRequest,
    ) -> Result<WebhookEndpoint, Error> {
        let failed = |error| Error::store("changing an endpoint", error);
        let (org, id) = (manager.organization.clone(), id.to_owned());
        let sender = Arc::clone(self.shared.webhook_sender()?);
        let task = |shared: Arc<Shared>| async move {
            let tx = shared.store.begin().await.map_err(failed)?;
            let mut sealed = endpoint_in(&tx, &org, &id).await?;
            let was_enabled = sealed.endpoint.disabled.is_none();
            let now = shared.clock.now();
            let changed = request.apply(sealed.endpoint, now, |host| sender.is_known(host));
            sealed.endpoint = changed.map_err(Error::refused)?;
            tx.webhook_endpoint_update(&sealed).await.map_err(failed)?;
            if was_enabled && sealed.endpoint.disabled.is_some() {
                tx.webhook_give_up(&sealed.endpoint.id)
                    .await
                    .map_err(failed)?;
            }
            tx.commit().await.map_err(failed)?;
            wake(&shared, &sealed.endpoint.id);
            Ok(sealed.endpoint)
        };
        let doing = "changing an endpoint";
        self.shared.finish_shared(doing, task).await
    }

    pub async fn delete_endpoint(&self, manager: &WebhookManager, id: &str) -> Result<(), Error> {
        let failed = |error| Error::store("removing an endpoint", error);
        let org = manager.organization.clone();
        let key: WebhookEndpointId = id.parse().map_err(|_| no_endpoint(id))?;
        let task = |shared: Arc<Shared>| async move {
            let tx = shared.store.begin().await.map_err(failed)?;
            let deleted = tx.webhook_endpoint_delete(&org, &key).await;
            if !deleted.map_err(failed)? {
                return Err(no_endpoint(key.as_str()));
            }
            tx.commit().await.map_err(failed)?;
            wake(&shared, &key);
            Ok(())
        };
        let doing = "removing an endpoint";
        self.shared.finish_shared(doing, task).await
    }

    /// What an endpoint's messages are signed with.
    pub async fn endpoint_secret(
        &self,
        manager: &WebhookManager,
        id: &str,
    ) -> Result<Secret, Error> {
        let sealed = self.shared.find_endpoint(&manager.organization, id).await?;
        let mut secrets = delivery::secrets(&self.shared, &sealed)?;
        Ok(secrets.swap_remove(0))
    }

    /// Makes a new secret. For a day, messages are signed with the last one too.
    pub async fn rotate_endpoint_secret(
        &self,
        manager: &WebhookManager,
        id: &str,
    ) -> Result<Secret, Error> {
        let failed = |error| Error::store("changing the secret of an endpoint", error);
        let (shared, org) = (&self.shared, &manager.organization);
        let secret = signature::new_secret(&*shared.rng);
        let tx = shared.store.begin().await.map_err(failed)?;
        let mut sealed = endpoint_in(&tx, org, id).await?;
        let new = delivery::seal(shared, &tx, &sealed.endpoint.id, &secret)?;
        let old = std::mem::replace(&mut sealed.secret, new);
        sealed.old_secret = Some((old, shared.clock.now() + OLD_SECRET_LASTS));
        sealed.endpoint.updated_at = shared.clock.now();
        tx.webhook_endpoint_update(&sealed).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(secret)
    }

    /// Sends an endpoint what it has missed. How many messages.
    pub async fn replay(
        &self,
        manager: &WebhookManager,
        id: &str,
        replay: Replay,
    ) -> Result<u64, Error> {
        let (control, org, id) = (self.clone(), manager.organization.clone(), id.to_owned());
        let task = async move { control.write_replay(&org, &id, replay).await };
        // A caller that goes away must not leave messages that nobody sends.
        self.shared.finish("sending messages again", task).await
    }

    async fn write_replay(
        &self,
        org: &OrganizationId,
        id: &str,
        replay: Replay,
    ) -> Result<u64, Error> {
        let failed = |error| Error::store("sending messages again", error);
        let shared = &self.shared;
        let now = shared.clock.now();
        let tx = shared.store.begin().await.map_err(failed)?;
        let endpoint = endpoint_in(&tx, org, id).await?.endpoint;
        if endpoint.disabled.is_some() {
            return Err(Error::conflict(
                "WEBHOOK_ENDPOINT_DISABLED",
                "The endpoint is disabled: enable it first",
            ));
        }
        let count = match replay {
            Replay::Since(since) => {
                let kept = now.saturating_sub(MESSAGES_KEPT).unwrap_or(since);
                let (since, bound) = (since.max(kept), (now, REPLAY_MAX));
                tx.webhook_replay_since(org, &endpoint.id, &endpoint.events, since, bound)
                    .await
                    .map_err(failed)?
            }
            Replay::Message(message) => {
                let key = message.parse().map_err(|_| no_message(&message))?;
                let found = tx.webhook_replay_message(org, &endpoint.id, &key, now);
                if !found.await.map_err(failed)? {
                    return Err(no_message(&message));
                }
                1
            }
        };
        tx.commit().await.map_err(failed)?;
        wake(shared, &endpoint.id);
        Ok(count)
    }

    /// The newest messages of the organization.
    pub async fn list_webhook_messages(
        &self,
        manager: &WebhookManager,
    ) -> Result<Vec<WebhookMessage>, Error> {
        let reader = self.shared.store.reader();
        let found = reader.webhook_message_list(&manager.organization, LIST_MAX);
        found
            .await
            .map_err(|error| Error::store("listing messages", error))
    }

    /// The newest tries at an endpoint.
    pub async fn list_endpoint_attempts(
        &self,
        manager: &WebhookManager,
        id: &str,
    ) -> Result<Vec<WebhookAttempt>, Error> {
        let sealed = self.shared.find_endpoint(&manager.organization, id).await?;
        let reader = self.shared.store.reader();
        let found = reader.webhook_attempt_list_at(&sealed.endpoint.id, LIST_MAX);
        found
            .await
            .map_err(|error| Error::store("listing tries", error))
    }

    /// The newest tries of a message.
    pub async fn list_message_attempts(
        &self,
        manager: &WebhookManager,
        message: &str,
    ) -> Result<Vec<WebhookAttempt>, Error> {
        let org = &manager.organization;
        self.shared.message_attempts(org, message).await
    }

    /// The administrator of the server as one who manages any organization's webhooks.
    pub async fn webhook_manager_as_admin(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<WebhookManager, Error> {
        self.shared.require_admin(caller).await?;
        let organization: OrganizationId = id.parse().map_err(|_| not_initialized(id))?;
        let reader = self.shared.store.reader();
        let found = reader.organization_find(&organization).await;
        let found = found.map_err(|error| Error::store("looking for an organization", error))?;
        match found {
            Some(found) if found.closing_since.is_none() => Ok(WebhookManager { organization }),
            _ => Err(not_initialized(id)),
        }
    }

    /// Tells an organization's endpoints something. `id` makes it safe to repeat: the same is sent once.
    pub async fn send_webhook(
        &self,
        manager: &WebhookManager,
        event: &str,
        payload: String,
        id: Option<String>,
    ) -> Result<(), Error> {
        let failed = |error| Error::store("sending a message", error);
        let (shared, org) = (&self.shared, &manager.organization);
        shared.webhook_sender()?;
        shared.webhook_status(org).await?;
        let mut reasons = Vec::new();
        let event = WebhookEvent::parse(event);
        if event.is_none() {
            let known = WebhookEvent::ALL.map(WebhookEvent::as_str).join(", ");
            reasons.push(Reason::invalid(format!(
                "eventType must be one of: {known}"
            )));
        }
        if payload.len() > PAYLOAD_MAX_BYTES {
            reasons.push(Reason::invalid(format!(
                "payload must have at most {PAYLOAD_MAX_BYTES} bytes"
            )));
        }
        let id = id.map(|id| id.parse::<WebhookMessageId>());
        if let Some(Err(error)) = &id {
            reasons.push(Reason::invalid(format!("eventId: {error}")));
        }
        Error::check(reasons)?;
        let (Some(event), id) = (event, id.and_then(Result::ok)) else {
            return Ok(());
        };
        let message = WebhookMessage {
            id: id.unwrap_or_else(|| new_message_id(shared)),
            organization_id: org.clone(),
            event,
            payload,
            created_at: shared.clock.now(),
        };
        let task = |shared: Arc<Shared>| async move {
            let org = &message.organization_id;
            let tx = shared.store.begin().await.map_err(failed)?;
            tx.organization_hold(org).await.map_err(failed)?;
            let all = tx.webhook_endpoint_all(org).await.map_err(failed)?;
            let all: Vec<&WebhookEndpoint> = all.iter().map(|sealed| &sealed.endpoint).collect();
            let is_there = tx.webhook_message_is_there(&message.id).await;
            let told = if is_there.map_err(failed)? {
                // Whoever sends it again may have been told nothing the first time.
                all.iter().map(|endpoint| endpoint.id.clone()).collect()
            } else {
                let told = queue(&tx, &message, &all).await?;
                tx.commit().await.map_err(failed)?;
                told
            };
            for endpoint in told {
                wake(&shared, &endpoint);
            }
            Ok(())
        };
        // A caller that goes away must not leave a message that nobody sends.
        shared.finish_shared("sending a message", task).await
    }
}
