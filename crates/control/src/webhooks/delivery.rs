//! One try: the head of an endpoint's queue is sent, and what came of it is written down.

use std::sync::Arc;
use std::time::Duration;

use alcove_domain::webhook::{Disabled, Next, after_attempt};
use alcove_domain::{
    MailKind, Secret, WebhookAttempt, WebhookEndpoint, WebhookEndpointId, WebhookEvent,
    WebhookMessage,
};
use alcove_store::{PendingDelivery, SealedEndpoint, SealedPlace, Tx};
use tokio::sync::Notify;

use super::{WebhookRequest, WebhookSender, new_message_id, queue, signature, wake};
use crate::Error;
use crate::mail;
use crate::shared::Shared;

/// Longest sleep in one go; a clock that was set is noticed within it.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// An endpoint that takes so long may be one that cannot keep up.
const SLOW: Duration = Duration::from_secs(1);

/// Waits for the head of the queue to be due and tries it. False if nothing waits.
pub(super) async fn step(
    shared: &Arc<Shared>,
    id: &WebhookEndpointId,
    poke: &Notify,
) -> Result<bool, Error> {
    let failed = |error| Error::store("reading the queue of an endpoint", error);
    let reader = shared.store.reader();
    let Some(sender) = &shared.settings.webhooks else {
        return Ok(false);
    };
    let Some(pending) = reader.webhook_next(id).await.map_err(failed)? else {
        return Ok(false);
    };
    let wait = pending.next_at.duration_since(shared.clock.now());
    if wait.is_positive() {
        tokio::select! {
            () = shared.clock.sleep(wait.unsigned_abs().min(SLEEP_MAX)) => {}
            () = poke.notified() => {}
        }
        return Ok(true);
    }
    let Ok(slot) = shared.webhooks.slots.acquire().await else {
        return Ok(false);
    };
    // Read late: what was changed while this waited for its turn counts.
    let Some(sealed) = reader.webhook_endpoint_find(id).await.map_err(failed)? else {
        return Ok(false);
    };
    if sealed.endpoint.disabled.is_some() {
        return Ok(false);
    }
    let at = shared.clock.now();
    let request = request(shared, &sealed, &pending.message)?;
    let outcome = sender.send(request).await;
    drop(slot);
    let took = shared.clock.now().duration_since(at);
    let attempt = WebhookAttempt {
        message_id: pending.message.id.clone(),
        endpoint_id: id.clone(),
        number: pending.failures.saturating_add(1),
        at,
        took: took.try_into().unwrap_or_default(),
        outcome,
    };
    // Until it is written: else the endpoint would be asked the same again and again, without any gap.
    while let Err(error) = note(shared, sender.as_ref(), &sealed, &pending, &attempt).await {
        tracing::error!(
            webhook.endpoint = %id, %error,
            "cannot write down what endpoint {id} has answered"
        );
        shared.clock.sleep(super::RETRY).await;
    }
    Ok(true)
}

fn request(
    shared: &Shared,
    sealed: &SealedEndpoint,
    message: &WebhookMessage,
) -> Result<WebhookRequest, Error> {
    let now = shared.clock.now();
    let secrets = secrets(shared, sealed)?;
    Ok(WebhookRequest {
        url: sealed.endpoint.url.to_string(),
        id: message.id.clone(),
        timestamp: now.as_second(),
        signature: signature::sign(&secrets, &message.id, now.as_second(), &message.payload),
        body: message.payload.clone(),
    })
}

/// What an endpoint's messages are signed with now, the newest first.
pub(crate) fn secrets(shared: &Shared, sealed: &SealedEndpoint) -> Result<Vec<Secret>, Error> {
    let key = shared.sealing_key()?;
    let now = shared.clock.now();
    let old = sealed.old_secret.iter();
    let old = old
        .filter(|(_, until)| *until > now)
        .map(|(bytes, _)| bytes);
    let id = sealed.endpoint.id.as_str();
    std::iter::once(&sealed.secret)
        .chain(old)
        .map(|bytes| {
            let opened = key.open(SealedPlace::WebhookSecret, id, bytes);
            opened.map(Secret).map_err(unopened)
        })
        .collect()
}

pub(crate) fn seal(
    shared: &Shared,
    tx: &Tx,
    id: &WebhookEndpointId,
    secret: &Secret,
) -> Result<Vec<u8>, Error> {
    let key = shared.sealing_key()?;
    let place = SealedPlace::WebhookSecret;
    key.seal(tx, &*shared.rng, place, id.as_str(), &secret.0)
        .map_err(unopened)
}

fn unopened(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Internal {
        doing: "opening the secret of an endpoint",
        cause: Some(Box::new(error)),
    }
}

async fn note(
    shared: &Arc<Shared>,
    sender: &dyn WebhookSender,
    sealed: &SealedEndpoint,
    pending: &PendingDelivery,
    attempt: &WebhookAttempt,
) -> Result<(), Error> {
    let failed = |error| Error::store("writing down a try of a webhook", error);
    let (id, org) = (&sealed.endpoint.id, &sealed.endpoint.organization_id);
    let is_behind = !attempt.outcome.is_delivered() || attempt.took >= SLOW;
    let waiting = if is_behind {
        let reader = shared.store.reader();
        reader.webhook_pending_count(id).await.map_err(failed)?
    } else {
        0
    };
    let now = shared.clock.now();
    let tx = shared.store.begin().await.map_err(failed)?;
    let Some(current) = tx.webhook_endpoint_get(org, id).await.map_err(failed)? else {
        return Ok(());
    };
    tx.webhook_attempt_insert(org, attempt)
        .await
        .map_err(failed)?;
    let mut told = Vec::new();
    match after_attempt(&attempt.outcome, attempt.number, waiting, now) {
        Next::Delivered => tx
            .webhook_delivered(id, pending.sequence)
            .await
            .map_err(failed)?,
        Next::Again { at } => {
            let again = tx.webhook_again(id, pending.sequence, attempt.number, at);
            again.await.map_err(failed)?;
        }
        Next::Disable { reason } if current.endpoint.disabled.is_none() => {
            if attempt.outcome.is_delivered() {
                tx.webhook_delivered(id, pending.sequence)
                    .await
                    .map_err(failed)?;
            }
            told = disable(shared, sender, &tx, current, reason).await?;
        }
        Next::Disable { .. } => {}
    }
    tx.commit().await.map_err(failed)?;
    for endpoint in told {
        wake(shared, &endpoint);
    }
    shared.mail.wake();
    Ok(())
}

/// Disables an endpoint, and tells the others of its organization: which.
async fn disable(
    shared: &Shared,
    sender: &dyn WebhookSender,
    tx: &Tx,
    mut sealed: SealedEndpoint,
    reason: String,
) -> Result<Vec<WebhookEndpointId>, Error> {
    let failed = |error| Error::store("disabling an endpoint", error);
    let at = shared.clock.now();
    let endpoint = &mut sealed.endpoint;
    tracing::warn!(
        webhook.endpoint = %endpoint.id, organization.id = %endpoint.organization_id,
        "endpoint {} of organization {} is disabled: {reason}", endpoint.id, endpoint.organization_id
    );
    endpoint.disabled = Some(Disabled { at, reason });
    endpoint.updated_at = at;
    let (id, org) = (endpoint.id.clone(), endpoint.organization_id.clone());
    let message = WebhookMessage {
        id: new_message_id(shared),
        organization_id: org.clone(),
        event: WebhookEvent::EndpointDisabled,
        payload: sender.tell_disabled(endpoint, at),
        created_at: at,
    };
    tx.webhook_endpoint_update(&sealed).await.map_err(failed)?;
    tx.webhook_give_up(&id).await.map_err(failed)?;
    let about = (MailKind::WebhookDisabled, id.as_str());
    let queued = mail::queue_for_owners(shared, tx, &org, about).await;
    queued.map_err(failed)?;
    let all = tx.webhook_endpoint_all(&org).await.map_err(failed)?;
    let others: Vec<&WebhookEndpoint> = all
        .iter()
        .map(|sealed| &sealed.endpoint)
        .filter(|endpoint| endpoint.id != id)
        .collect();
    queue(tx, &message, &others).await
}
