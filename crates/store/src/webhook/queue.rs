//! Messages, the queue of each endpoint, and what came of tries.

use std::time::Duration;

use alcove_domain::webhook::Outcome;
use alcove_domain::{
    OrganizationId, WebhookAttempt, WebhookEndpointId, WebhookEvent, WebhookMessage,
    WebhookMessageId,
};
use jiff::Timestamp;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveModelTrait as _, ActiveValue, ColumnTrait as _, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::{DELIVERED, FAILED, PENDING};
use crate::convert::{Place, bigint};
use crate::entity::{webhook_attempt, webhook_delivery, webhook_message};
use crate::{Reader, StoreError, Tx};

/// What an endpoint is to get next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingDelivery {
    pub sequence: i64,
    pub message: WebhookMessage,
    /// Tries that have failed.
    pub failures: u32,
    /// Not to be tried before.
    pub next_at: Timestamp,
}

impl Reader {
    /// Endpoints that something waits for.
    pub async fn webhook_endpoint_list_pending(
        &self,
    ) -> Result<Vec<WebhookEndpointId>, StoreError> {
        let place = Place {
            table: "webhook_deliveries",
            column: "endpoint_id",
        };
        let ids: Vec<String> = webhook_delivery::Entity::find()
            .select_only()
            .column(webhook_delivery::Column::EndpointId)
            .filter(webhook_delivery::Column::State.eq(PENDING))
            .distinct()
            .into_tuple()
            .all(&self.connection)
            .await
            .map_err(StoreError::read("endpoints that wait"))?;
        ids.into_iter().map(|id| place.id(id)).collect()
    }

    /// The head of an endpoint's queue.
    pub async fn webhook_next(
        &self,
        endpoint: &WebhookEndpointId,
    ) -> Result<Option<PendingDelivery>, StoreError> {
        let place = Place {
            table: "webhook_deliveries",
            column: "next_at",
        };
        let row = webhook_delivery::Entity::find()
            .filter(webhook_delivery::Column::EndpointId.eq(endpoint.as_str()))
            .filter(webhook_delivery::Column::State.eq(PENDING))
            .order_by_asc(webhook_delivery::Column::MessageSequence)
            .limit(1)
            .one(&self.connection)
            .await
            .map_err(StoreError::read("the queue of an endpoint"))?;
        let Some(row) = row else {
            return Ok(None);
        };
        let message = webhook_message::Entity::find_by_id(row.message_sequence)
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a message of webhooks"))?;
        // Messages go with their deliveries, in one transaction: this was between two reads.
        let Some(message) = message else {
            return Ok(None);
        };
        Ok(Some(PendingDelivery {
            sequence: row.message_sequence,
            message: message_from_row(message)?,
            failures: place.small(row.failures)?,
            next_at: place.time(row.next_at)?,
        }))
    }

    pub async fn webhook_pending_count(
        &self,
        endpoint: &WebhookEndpointId,
    ) -> Result<u64, StoreError> {
        webhook_delivery::Entity::find()
            .filter(webhook_delivery::Column::EndpointId.eq(endpoint.as_str()))
            .filter(webhook_delivery::Column::State.eq(PENDING))
            .count(&self.connection)
            .await
            .map_err(StoreError::read("the queue of an endpoint"))
    }

    pub async fn webhook_message_find(
        &self,
        org: &OrganizationId,
        id: &WebhookMessageId,
    ) -> Result<Option<WebhookMessage>, StoreError> {
        let row = webhook_message::Entity::find()
            .filter(webhook_message::Column::Id.eq(id.as_str()))
            .filter(webhook_message::Column::OrganizationId.eq(org.as_str()))
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a message of webhooks"))?;
        row.map(message_from_row).transpose()
    }

    /// The newest of an organization first, at most `limit`.
    pub async fn webhook_message_list(
        &self,
        org: &OrganizationId,
        limit: u64,
    ) -> Result<Vec<WebhookMessage>, StoreError> {
        let rows = webhook_message::Entity::find()
            .filter(webhook_message::Column::OrganizationId.eq(org.as_str()))
            .order_by_desc(webhook_message::Column::Sequence)
            .limit(limit)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("messages of webhooks"))?;
        rows.into_iter().map(message_from_row).collect()
    }

    /// Of a message, the newest first, at most `limit`.
    pub async fn webhook_attempt_list(
        &self,
        message: &WebhookMessageId,
        limit: u64,
    ) -> Result<Vec<WebhookAttempt>, StoreError> {
        let rows = webhook_attempt::Entity::find()
            .filter(webhook_attempt::Column::MessageId.eq(message.as_str()))
            .order_by_desc(webhook_attempt::Column::Id)
            .limit(limit)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("tries of webhooks"))?;
        rows.into_iter().map(attempt_from_row).collect()
    }

    /// At an endpoint, the newest first, at most `limit`.
    pub async fn webhook_attempt_list_at(
        &self,
        endpoint: &WebhookEndpointId,
        limit: u64,
    ) -> Result<Vec<WebhookAttempt>, StoreError> {
        let rows = webhook_attempt::Entity::find()
            .filter(webhook_attempt::Column::EndpointId.eq(endpoint.as_str()))
            .order_by_desc(webhook_attempt::Column::Id)
            .limit(limit)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("tries of webhooks"))?;
        rows.into_iter().map(attempt_from_row).collect()
    }
}

impl Tx {
    /// Whether there is a message with this id, whoever's.
    pub async fn webhook_message_is_there(
        &self,
        id: &WebhookMessageId,
    ) -> Result<bool, StoreError> {
        let count = webhook_message::Entity::find()
            .filter(webhook_message::Column::Id.eq(id.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("a message of webhooks"))?;
        Ok(count > 0)
    }

    /// Writes a message, and puts it at the end of these endpoints' queues.
    pub async fn webhook_message_insert(
        &self,
        message: &WebhookMessage,
        endpoints: &[WebhookEndpointId],
    ) -> Result<(), StoreError> {
        let row = webhook_message::ActiveModel {
            sequence: ActiveValue::NotSet,
            id: ActiveValue::Set(message.id.to_string()),
            organization_id: ActiveValue::Set(message.organization_id.to_string()),
            event: ActiveValue::Set(message.event.as_str().to_owned()),
            payload: ActiveValue::Set(message.payload.clone()),
            created_at: ActiveValue::Set(message.created_at.as_millisecond()),
        };
        let inserted = webhook_message::Entity::insert(row)
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a message of webhooks"))?;
        let due = message.created_at.as_millisecond();
        let sequences = [inserted.last_insert_id];
        for endpoint in endpoints {
            self.queue(&message.organization_id, endpoint, &sequences, due)
                .await?;
        }
        Ok(())
    }

    /// Puts messages into an endpoint's queue, whatever became of them there before.
    async fn queue(
        &self,
        org: &OrganizationId,
        endpoint: &WebhookEndpointId,
        sequences: &[i64],
        due: i64,
    ) -> Result<(), StoreError> {
        use webhook_delivery::Column;
        if sequences.is_empty() {
            return Ok(());
        }
        let rows = sequences.iter().map(|sequence| {
            let row = webhook_delivery::Model {
                endpoint_id: endpoint.to_string(),
                message_sequence: *sequence,
                organization_id: org.to_string(),
                state: PENDING.to_owned(),
                failures: 0,
                next_at: due,
            };
            row.into_active_model().reset_all()
        });
        let anew = OnConflict::columns([Column::EndpointId, Column::MessageSequence])
            .update_columns([Column::State, Column::Failures, Column::NextAt])
            .to_owned();
        webhook_delivery::Entity::insert_many(rows)
            .on_conflict(anew)
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("the queue of an endpoint"))?;
        Ok(())
    }

    /// Puts what an endpoint has not got since `since`, and wants, into its queue, at most `limit` messages. How many.
    pub async fn webhook_replay_since(
        &self,
        org: &OrganizationId,
        endpoint: &WebhookEndpointId,
        events: &[WebhookEvent],
        since: Timestamp,
        (now, limit): (Timestamp, u64),
    ) -> Result<u64, StoreError> {
        use webhook_delivery::Column;
        let mut wanted = webhook_message::Entity::find()
            .select_only()
            .column(webhook_message::Column::Sequence)
            .filter(webhook_message::Column::OrganizationId.eq(org.as_str()))
            .filter(webhook_message::Column::CreatedAt.gte(since.as_millisecond()))
            .order_by_asc(webhook_message::Column::Sequence);
        if !events.is_empty() {
            let words = events.iter().map(|event| event.as_str());
            wanted = wanted.filter(webhook_message::Column::Event.is_in(words));
        }
        let got = webhook_delivery::Entity::find()
            .select_only()
            .column(Column::MessageSequence)
            .filter(Column::EndpointId.eq(endpoint.as_str()))
            .filter(Column::State.is_in([DELIVERED, PENDING]));
        let missed: Vec<i64> = wanted
            .filter(
                webhook_message::Column::Sequence
                    .not_in_subquery(sea_orm::QueryTrait::into_query(got)),
            )
            .limit(limit)
            .into_tuple()
            .all(&self.transaction)
            .await
            .map_err(StoreError::read("messages of webhooks"))?;
        for batch in missed.chunks(500) {
            self.queue(org, endpoint, batch, now.as_millisecond())
                .await?;
        }
        Ok(missed.len() as u64)
    }

    /// Puts one message into an endpoint's queue again. False if there is no such message of the organization.
    pub async fn webhook_replay_message(
        &self,
        org: &OrganizationId,
        endpoint: &WebhookEndpointId,
        message: &WebhookMessageId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sequence: Option<i64> = webhook_message::Entity::find()
            .select_only()
            .column(webhook_message::Column::Sequence)
            .filter(webhook_message::Column::OrganizationId.eq(org.as_str()))
            .filter(webhook_message::Column::Id.eq(message.as_str()))
            .into_tuple()
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("a message of webhooks"))?;
        let Some(sequence) = sequence else {
            return Ok(false);
        };
        self.queue(org, endpoint, &[sequence], now.as_millisecond())
            .await?;
        Ok(true)
    }

    /// What waits for an organization's endpoints is due now.
    pub async fn webhook_hurry(
        &self,
        org: &OrganizationId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        use webhook_delivery::Column;
        webhook_delivery::Entity::update_many()
            .col_expr(Column::NextAt, Expr::value(now.as_millisecond()))
            .filter(Column::OrganizationId.eq(org.as_str()))
            .filter(Column::State.eq(PENDING))
            .filter(Column::NextAt.gt(now.as_millisecond()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the queues of endpoints"))?;
        Ok(())
    }

    pub async fn webhook_attempt_insert(
        &self,
        org: &OrganizationId,
        attempt: &WebhookAttempt,
    ) -> Result<(), StoreError> {
        let took = u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX);
        let (status, error) = match &attempt.outcome {
            Outcome::Answered { status } => (Some(i64::from(*status)), None),
            Outcome::Failed { reason } => (None, Some(reason.clone())),
        };
        let row = webhook_attempt::ActiveModel {
            id: ActiveValue::NotSet,
            organization_id: ActiveValue::Set(org.to_string()),
            endpoint_id: ActiveValue::Set(attempt.endpoint_id.to_string()),
            message_id: ActiveValue::Set(attempt.message_id.to_string()),
            number: ActiveValue::Set(attempt.number.into()),
            attempted_at: ActiveValue::Set(attempt.at.as_millisecond()),
            took_ms: ActiveValue::Set(bigint(took)),
            status: ActiveValue::Set(status),
            error: ActiveValue::Set(error),
        };
        webhook_attempt::Entity::insert(row)
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a try of a webhook"))?;
        Ok(())
    }

    pub async fn webhook_delivered(
        &self,
        endpoint: &WebhookEndpointId,
        sequence: i64,
    ) -> Result<(), StoreError> {
        use webhook_delivery::Column;
        webhook_delivery::Entity::update_many()
            .col_expr(Column::State, Expr::value(DELIVERED))
            .filter(Column::EndpointId.eq(endpoint.as_str()))
            .filter(Column::MessageSequence.eq(sequence))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a delivery"))?;
        Ok(())
    }

    pub async fn webhook_again(
        &self,
        endpoint: &WebhookEndpointId,
        sequence: i64,
        failures: u32,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        use webhook_delivery::Column;
        webhook_delivery::Entity::update_many()
            .col_expr(Column::Failures, Expr::value(i64::from(failures)))
            .col_expr(Column::NextAt, Expr::value(at.as_millisecond()))
            .filter(Column::EndpointId.eq(endpoint.as_str()))
            .filter(Column::MessageSequence.eq(sequence))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a delivery"))?;
        Ok(())
    }

    /// Nothing waits for an endpoint any more; a replay brings it back.
    pub async fn webhook_give_up(&self, endpoint: &WebhookEndpointId) -> Result<(), StoreError> {
        use webhook_delivery::Column;
        webhook_delivery::Entity::update_many()
            .col_expr(Column::State, Expr::value(FAILED))
            .filter(Column::EndpointId.eq(endpoint.as_str()))
            .filter(Column::State.eq(PENDING))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the queue of an endpoint"))?;
        Ok(())
    }

    /// Forgets messages older than `before`, at most `limit`, with their deliveries, and tries as old.
    pub async fn webhook_prune(&self, before: Timestamp, limit: u64) -> Result<(), StoreError> {
        let before = before.as_millisecond();
        let old: Vec<i64> = webhook_message::Entity::find()
            .select_only()
            .column(webhook_message::Column::Sequence)
            .filter(webhook_message::Column::CreatedAt.lt(before))
            .limit(limit)
            .into_tuple()
            .all(&self.transaction)
            .await
            .map_err(StoreError::read("old messages"))?;
        if !old.is_empty() {
            webhook_delivery::Entity::delete_many()
                .filter(webhook_delivery::Column::MessageSequence.is_in(old.iter().copied()))
                .exec(&self.transaction)
                .await
                .map_err(StoreError::write("old deliveries"))?;
            webhook_message::Entity::delete_many()
                .filter(webhook_message::Column::Sequence.is_in(old))
                .exec(&self.transaction)
                .await
                .map_err(StoreError::write("old messages"))?;
        }
        webhook_attempt::Entity::delete_many()
            .filter(webhook_attempt::Column::AttemptedAt.lt(before))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("old tries"))?;
        Ok(())
    }
}

fn message_from_row(row: webhook_message::Model) -> Result<WebhookMessage, StoreError> {
    let place = |column| Place {
        table: "webhook_messages",
        column,
    };
    Ok(WebhookMessage {
        id: place("id").id(row.id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        event: place("event").word(&row.event, WebhookEvent::parse)?,
        payload: row.payload,
        created_at: place("created_at").time(row.created_at)?,
    })
}

fn attempt_from_row(row: webhook_attempt::Model) -> Result<WebhookAttempt, StoreError> {
    let place = |column| Place {
        table: "webhook_attempts",
        column,
    };
    let status = row
        .status
        .map(|status| u16::try_from(status).map_err(|_| place("status").bad(status.to_string())));
    let outcome = match status.transpose()? {
        Some(status) => Outcome::Answered { status },
        None => Outcome::Failed {
            reason: row.error.unwrap_or_default(),
        },
    };
    Ok(WebhookAttempt {
        message_id: place("message_id").id(row.message_id)?,
        endpoint_id: place("endpoint_id").id(row.endpoint_id)?,
        number: place("number").small(row.number)?,
        at: place("attempted_at").time(row.attempted_at)?,
        took: Duration::from_millis(place("took_ms").unsigned(row.took_ms)?),
        outcome,
    })
}
