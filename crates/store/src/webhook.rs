//! Webhooks: endpoints, with their secrets as sealed bytes, and the queue of messages to each.
//!
//! A message is written with one delivery for each endpoint that is to have it, in the transaction that moves the place in the
//! outbox on. The first pending delivery of an endpoint is the one to be tried.

mod endpoint;
mod queue;

use alcove_domain::OrganizationId;
use jiff::Timestamp;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveModelTrait as _, EntityTrait as _, IntoActiveModel as _};

use crate::convert::Place;
use crate::entity::{webhook_application, webhook_cursor};
use crate::{Reader, StoreError, Tx};

pub use endpoint::SealedEndpoint;
pub use queue::PendingDelivery;

/// The name of the one cursor.
const SPREAD: &str = "spread";
/// States of deliveries.
const PENDING: &str = "pending";
const DELIVERED: &str = "delivered";
const FAILED: &str = "failed";

/// That an organization uses webhooks, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookApplication {
    pub organization_id: OrganizationId,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Reader {
    pub async fn webhook_application_find(
        &self,
        org: &OrganizationId,
    ) -> Result<Option<WebhookApplication>, StoreError> {
        let place = |column| Place {
            table: "webhook_applications",
            column,
        };
        let row = webhook_application::Entity::find_by_id(org.as_str())
            .one(&self.connection)
            .await
            .map_err(StoreError::read("whether webhooks are used"))?;
        row.map(|row| {
            Ok(WebhookApplication {
                organization_id: place("organization_id").id(row.organization_id)?,
                created_at: place("created_at").time(row.created_at)?,
                updated_at: place("updated_at").time(row.updated_at)?,
            })
        })
        .transpose()
    }

    /// Up to which entry of the outbox messages have been written; None before the first.
    pub async fn webhook_cursor(&self) -> Result<Option<i64>, StoreError> {
        let row = webhook_cursor::Entity::find_by_id(SPREAD)
            .one(&self.connection)
            .await
            .map_err(StoreError::read("the place of webhooks"))?;
        Ok(row.map(|row| row.sequence))
    }
}

impl Tx {
    /// Notes that an organization uses webhooks. Safe to repeat: the first time stays.
    pub async fn webhook_application_put(
        &self,
        org: &OrganizationId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let row = webhook_application::Model {
            organization_id: org.to_string(),
            created_at: at.as_millisecond(),
            updated_at: at.as_millisecond(),
        };
        let once = OnConflict::column(webhook_application::Column::OrganizationId)
            .update_column(webhook_application::Column::UpdatedAt)
            .to_owned();
        webhook_application::Entity::insert(row.into_active_model().reset_all())
            .on_conflict(once)
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("that webhooks are used"))?;
        Ok(())
    }

    pub async fn webhook_cursor_set(&self, sequence: i64) -> Result<(), StoreError> {
        let row = webhook_cursor::Model {
            name: SPREAD.to_owned(),
            sequence,
        };
        let update = OnConflict::column(webhook_cursor::Column::Name)
            .update_column(webhook_cursor::Column::Sequence)
            .to_owned();
        webhook_cursor::Entity::insert(row.into_active_model().reset_all())
            .on_conflict(update)
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("the place of webhooks"))?;
        Ok(())
    }
}
