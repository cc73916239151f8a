//! Mail to people: a queue in the store, which one task works off.
//!
//! ```text
//!  what a mail is about ── one transaction ──> the queue ── one task, one at a time ──> the relay
//! ```
//!
//! A mail is written with what it is about, and goes when it was handed over or given up. A process that dies in between sends
//! it again, by the same id. What it says is looked up when it is sent: of what is over by then, nothing is said.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alcove_domain::{
    InvitationId, MailId, MailKind, MemberRole, OrganizationId, QueuedMail, User, WebhookEndpointId,
};
use alcove_store::{StoreError, Tx};
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::Error;
use crate::invitation_links::{self, LinkWay};
use crate::rng::uuid_v4;
use crate::shared::Shared;

/// Longest sleep in one go; a clock that was set is noticed within it.
const SLEEP_MAX: Duration = Duration::from_mins(1);
const RETRY: Duration = Duration::from_secs(5);

/// The way to people, and the words for it.
#[async_trait]
pub trait MailSender: fmt::Debug + Send + Sync + 'static {
    /// Hands it over once. Resolves within a bounded time.
    async fn send(&self, mail: Mail) -> Result<(), MailFault>;
}

/// A mail to one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The same at each try.
    pub id: MailId,
    pub recipient: String,
    pub body: MailBody,
}

/// What a mail says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailBody {
    Invitation {
        organization_name: String,
        invited_by: String,
        /// The text of a link which proves that who has it reads the recipient's mail.
        link: String,
        expires_at: Timestamp,
    },
    WebhookDisabled {
        organization_name: String,
        url: String,
        reason: String,
        at: Timestamp,
    },
}

/// Why a mail was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailFault {
    pub reason: String,
    /// Whether it will never be.
    pub is_permanent: bool,
}

#[derive(Debug, Default)]
pub(crate) struct MailWork {
    wanted: Notify,
}

impl MailWork {
    /// To be called when a mail was written.
    pub fn wake(&self) {
        self.wanted.notify_one();
    }
}

/// Writes a mail in the transaction of what it is about, where the server sends any.
pub(crate) async fn queue(
    shared: &Shared,
    tx: &Tx,
    organization: &OrganizationId,
    (kind, about): (MailKind, &str),
    recipient: &str,
) -> Result<(), StoreError> {
    if shared.settings.mail.is_none() {
        return Ok(());
    }
    let now = shared.clock.now();
    tx.mail_insert(&QueuedMail {
        id: MailId::from_uuid(uuid_v4(&*shared.rng)),
        organization_id: organization.clone(),
        kind,
        about: about.to_owned(),
        recipient: recipient.to_owned(),
        failures: 0,
        created_at: now,
        next_at: now,
    })
    .await
}

/// As [`queue`], for each owner whose address is known to be the owner's.
pub(crate) async fn queue_for_owners(
    shared: &Shared,
    tx: &Tx,
    organization: &OrganizationId,
    what: (MailKind, &str),
) -> Result<(), StoreError> {
    if shared.settings.mail.is_none() {
        return Ok(());
    }
    let reader = shared.store.reader();
    let members = reader.member_list(organization).await?;
    let owners = members
        .into_iter()
        .filter(|member| member.access.role == MemberRole::Owner);
    let ids: Vec<_> = owners.map(|member| member.user_id).collect();
    let reachable = |user: &User| user.is_email_verified && !user.email.is_empty();
    for owner in reader
        .user_list_in(&ids)
        .await?
        .into_iter()
        .filter(reachable)
    {
        queue(shared, tx, organization, what, &owner.email).await?;
    }
    Ok(())
}

/// Works the queue off, until the control plane ends.
pub(crate) async fn run(shared: Arc<Shared>, sender: Arc<dyn MailSender>) {
    loop {
        let wait = match step(&shared, sender.as_ref()).await {
            Ok(None) => continue,
            Ok(Some(wait)) => wait.min(SLEEP_MAX),
            Err(error) => {
                tracing::error!(%error, "cannot go on with mail");
                RETRY
            }
        };
        tokio::select! {
            () = shared.clock.sleep(wait) => {}
            () = shared.mail.wanted.notified() => {}
        }
    }
}

/// Sends the next mail. How long there is nothing to do, if nothing was due.
async fn step(shared: &Arc<Shared>, sender: &dyn MailSender) -> Result<Option<Duration>, Error> {
    let failed = |error| Error::store("sending mail", error);
    let Some(queued) = shared.store.reader().mail_next().await.map_err(failed)? else {
        return Ok(Some(SLEEP_MAX));
    };
    let wait = queued.next_at.duration_since(shared.clock.now());
    if wait.is_positive() {
        return Ok(Some(wait.unsigned_abs()));
    }
    let next = match body(shared, &queued).await? {
        None => None,
        Some(body) => {
            let mail = Mail {
                id: queued.id.clone(),
                recipient: queued.recipient.clone(),
                body,
            };
            match sender.send(mail).await {
                Ok(()) => {
                    tracing::info!(mail.id = %queued.id, "mail {} was handed over", queued.id);
                    None
                }
                Err(fault) => after(shared, &queued, &fault),
            }
        }
    };
    let tx = shared.store.begin().await.map_err(failed)?;
    match next {
        None => tx.mail_delete(&queued.id).await,
        Some(next) => tx.mail_again(&next).await,
    }
    .map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    Ok(None)
}

fn after(shared: &Shared, queued: &QueuedMail, fault: &MailFault) -> Option<QueuedMail> {
    let next = queued.clone().after_failure(shared.clock.now());
    let next = next.filter(|_| !fault.is_permanent);
    tracing::warn!(
        mail.id = %queued.id,
        organization.id = %queued.organization_id,
        "mail {} ({}) was not taken{}: {}",
        queued.id,
        queued.kind.as_str(),
        if next.is_some() { ", and is tried again" } else { ", and is given up" },
        fault.reason
    );
    next
}

/// What a mail says now; None where it is about nothing any more.
async fn body(shared: &Shared, queued: &QueuedMail) -> Result<Option<MailBody>, Error> {
    let failed = |error| Error::store("reading what a mail is about", error);
    let reader = shared.store.reader();
    let found = reader.organization_find(&queued.organization_id).await;
    let Some(organization) = found.map_err(failed)? else {
        return Ok(None);
    };
    let organization_name = organization.name;
    match queued.kind {
        MailKind::Invitation => {
            let Ok(id) = queued.about.parse::<InvitationId>() else {
                return Ok(None);
            };
            let found = reader.invitation_find(&id).await.map_err(failed)?;
            let open = found.filter(|found| found.is_open(shared.clock.now()));
            Ok(open.map(|invitation| MailBody::Invitation {
                organization_name,
                link: invitation_links::text(shared, &invitation.id, LinkWay::Mailed),
                invited_by: invitation.invited_by,
                expires_at: invitation.expires_at,
            }))
        }
        MailKind::WebhookDisabled => {
            let Ok(id) = queued.about.parse::<WebhookEndpointId>() else {
                return Ok(None);
            };
            let found = reader.webhook_endpoint_find(&id).await.map_err(failed)?;
            Ok(found.and_then(|sealed| {
                let disabled = sealed.endpoint.disabled?;
                Some(MailBody::WebhookDisabled {
                    organization_name,
                    url: sealed.endpoint.url.to_string(),
                    reason: disabled.reason,
                    at: disabled.at,
                })
            }))
        }
    }
}
