//! What there is of webhooks, and what is said where there is not.

use std::sync::Arc;

use alcove_domain::{OrganizationId, WebhookAttempt, WebhookEndpointId, WebhookMessageId};
use alcove_store::{SealedEndpoint, Tx};

use super::WebhookSender;
use crate::shared::Shared;
use crate::{Caller, Error, WebhookStatus};

/// Tries that are listed.
pub(crate) const LIST_MAX: u64 = 250;

impl Shared {
    pub fn webhook_sender(&self) -> Result<&Arc<dyn WebhookSender>, Error> {
        self.sealing_key()?;
        self.settings.webhooks.as_ref().ok_or(Error::Unavailable {
            message: "This server sends no webhooks",
            retry_after: None,
            cause: None,
        })
    }

    pub async fn require_admin(&self, caller: &Caller) -> Result<(), Error> {
        if self.is_admin(caller).await? {
            Ok(())
        } else {
            Err(Error::access_denied())
        }
    }

    pub async fn webhook_status(&self, org: &OrganizationId) -> Result<WebhookStatus, Error> {
        let failed = |error| Error::store("looking for webhooks", error);
        let reader = self.store.reader();
        let found = reader.webhook_application_find(org).await.map_err(failed)?;
        let application = found.ok_or_else(|| not_initialized(org.as_str()))?;
        let endpoints = reader.webhook_endpoint_list(org).await.map_err(failed)?;
        let last = endpoints
            .into_iter()
            .filter_map(|sealed| sealed.endpoint.disabled)
            .filter(|disabled| !disabled.reason.is_empty())
            .max_by_key(|disabled| disabled.at);
        Ok(WebhookStatus {
            organization: application.organization_id,
            last_error: last.map(|disabled| disabled.reason),
            created_at: application.created_at,
            updated_at: application.updated_at,
        })
    }

    pub async fn find_endpoint(
        &self,
        org: &OrganizationId,
        id: &str,
    ) -> Result<SealedEndpoint, Error> {
        let key: WebhookEndpointId = id.parse().map_err(|_| no_endpoint(id))?;
        let found = self.store.reader().webhook_endpoint_find(&key).await;
        let found = found.map_err(|error| Error::store("looking for an endpoint", error))?;
        found
            .filter(|sealed| sealed.endpoint.organization_id == *org)
            .ok_or_else(|| no_endpoint(id))
    }

    pub async fn message_attempts(
        &self,
        org: &OrganizationId,
        message: &str,
    ) -> Result<Vec<WebhookAttempt>, Error> {
        let failed = |error| Error::store("listing tries", error);
        let key: WebhookMessageId = message.parse().map_err(|_| no_message(message))?;
        let reader = self.store.reader();
        let found = reader.webhook_message_find(org, &key).await;
        if found.map_err(failed)?.is_none() {
            return Err(no_message(message));
        }
        reader
            .webhook_attempt_list(&key, LIST_MAX)
            .await
            .map_err(failed)
    }
}

pub(crate) async fn endpoint_in(
    tx: &Tx,
    org: &OrganizationId,
    id: &str,
) -> Result<SealedEndpoint, Error> {
    let key: WebhookEndpointId = id.parse().map_err(|_| no_endpoint(id))?;
    tx.webhook_endpoint_get(org, &key)
        .await
        .map_err(|error| Error::store("looking for an endpoint", error))?
        .ok_or_else(|| no_endpoint(id))
}

pub(crate) fn not_initialized(id: &str) -> Error {
    Error::NotFound {
        message: format!("Webhooks are not initialized for organization {id}"),
    }
}

pub(crate) fn no_endpoint(id: &str) -> Error {
    Error::NotFound {
        message: format!("Webhook endpoint with ID {id} not found"),
    }
}

pub(crate) fn no_message(id: &str) -> Error {
    Error::NotFound {
        message: format!("Webhook message with ID {id} not found"),
    }
}
