//! Endpoints.

use alcove_domain::webhook::Disabled;
use alcove_domain::{OrganizationId, WebhookEndpoint, WebhookEndpointId, WebhookEvent, WebhookUrl};
use jiff::Timestamp;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use crate::convert::{Place, json_list};
use crate::entity::webhook_endpoint::{ActiveModel, Column, Entity, Model};
use crate::entity::{webhook_attempt, webhook_delivery};
use crate::{Reader, StoreError, Tx};

/// An endpoint and what its messages are signed with, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedEndpoint {
    pub endpoint: WebhookEndpoint,
    pub secret: Vec<u8>,
    /// The one before, and how long it signs too.
    pub old_secret: Option<(Vec<u8>, Timestamp)>,
    /// The last entry of the outbox that it is not told of.
    pub after: i64,
}

impl Reader {
    pub async fn webhook_endpoint_find(
        &self,
        id: &WebhookEndpointId,
    ) -> Result<Option<SealedEndpoint>, StoreError> {
        let row = Entity::find_by_id(id.as_str())
            .one(&self.connection)
            .await
            .map_err(StoreError::read("an endpoint of webhooks"))?;
        row.map(from_row).transpose()
    }

    /// Those of an organization, the oldest first.
    pub async fn webhook_endpoint_list(
        &self,
        org: &OrganizationId,
    ) -> Result<Vec<SealedEndpoint>, StoreError> {
        let rows = Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("endpoints of webhooks"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// Organizations that have an endpoint.
    pub async fn webhook_organizations(&self) -> Result<Vec<OrganizationId>, StoreError> {
        let place = Place {
            table: "webhook_endpoints",
            column: "organization_id",
        };
        let ids: Vec<String> = Entity::find()
            .select_only()
            .column(Column::OrganizationId)
            .distinct()
            .into_tuple()
            .all(&self.connection)
            .await
            .map_err(StoreError::read("organizations with webhooks"))?;
        ids.into_iter().map(|id| place.id(id)).collect()
    }
}

impl Tx {
    pub async fn webhook_endpoint_count(&self, org: &OrganizationId) -> Result<u64, StoreError> {
        Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("the number of endpoints"))
    }

    pub async fn webhook_endpoint_get(
        &self,
        org: &OrganizationId,
        id: &WebhookEndpointId,
    ) -> Result<Option<SealedEndpoint>, StoreError> {
        let row = Entity::find_by_id(id.as_str())
            .filter(Column::OrganizationId.eq(org.as_str()))
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("an endpoint of webhooks"))?;
        row.map(from_row).transpose()
    }

    /// All of an organization, the oldest first.
    pub async fn webhook_endpoint_all(
        &self,
        org: &OrganizationId,
    ) -> Result<Vec<SealedEndpoint>, StoreError> {
        let rows = Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.transaction)
            .await
            .map_err(StoreError::read("endpoints of webhooks"))?;
        rows.into_iter().map(from_row).collect()
    }

    pub async fn webhook_endpoint_insert(&self, sealed: &SealedEndpoint) -> Result<(), StoreError> {
        self.note_made("webhook_endpoint", sealed.endpoint.id.as_str());
        Entity::insert(to_row(sealed))
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("an endpoint of webhooks"))?;
        Ok(())
    }

    /// Writes it in its place. False if it is gone.
    pub async fn webhook_endpoint_update(
        &self,
        sealed: &SealedEndpoint,
    ) -> Result<bool, StoreError> {
        let result = Entity::update_many()
            .set(to_row(sealed))
            .filter(Column::Id.eq(sealed.endpoint.id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("an endpoint of webhooks"))?;
        Ok(result.rows_affected == 1)
    }

    /// Removes it with its queue and what is known of its past. False if there is none.
    pub async fn webhook_endpoint_delete(
        &self,
        org: &OrganizationId,
        id: &WebhookEndpointId,
    ) -> Result<bool, StoreError> {
        let result = Entity::delete_by_id(id.as_str())
            .filter(Column::OrganizationId.eq(org.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("an endpoint of webhooks"))?;
        if result.rows_affected == 0 {
            return Ok(false);
        }
        webhook_delivery::Entity::delete_many()
            .filter(webhook_delivery::Column::EndpointId.eq(id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the queue of an endpoint"))?;
        webhook_attempt::Entity::delete_many()
            .filter(webhook_attempt::Column::EndpointId.eq(id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the past of an endpoint"))?;
        Ok(true)
    }
}

fn to_row(sealed: &SealedEndpoint) -> ActiveModel {
    let endpoint = &sealed.endpoint;
    let words: Vec<String> = endpoint
        .events
        .iter()
        .map(|event| event.as_str().to_owned())
        .collect();
    let (old_secret, until) = sealed.old_secret.clone().unzip();
    let disabled = endpoint.disabled.as_ref();
    Model {
        id: endpoint.id.to_string(),
        organization_id: endpoint.organization_id.to_string(),
        url: endpoint.url.to_string(),
        description: endpoint.description.clone(),
        events: json_list(&words),
        secret: hex::encode(&sealed.secret),
        old_secret: old_secret.map(hex::encode),
        old_secret_until: until.map(Timestamp::as_millisecond),
        disabled_at: disabled.map(|disabled| disabled.at.as_millisecond()),
        disabled_reason: disabled.map(|disabled| disabled.reason.clone()),
        after_sequence: sealed.after,
        created_at: endpoint.created_at.as_millisecond(),
        updated_at: endpoint.updated_at.as_millisecond(),
    }
    .into_active_model()
    .reset_all()
}

fn from_row(row: Model) -> Result<SealedEndpoint, StoreError> {
    let place = |column| Place {
        table: "webhook_endpoints",
        column,
    };
    let opened = |column, text: &str| hex::decode(text).map_err(|_| place(column).bad("not hex"));
    let events = place("events").list(&row.events)?;
    let events = events
        .iter()
        .map(|word| place("events").word(word, WebhookEvent::parse))
        .collect::<Result<_, _>>()?;
    let old_secret = match (&row.old_secret, row.old_secret_until) {
        (Some(secret), Some(until)) => Some((
            opened("old_secret", secret)?,
            place("old_secret_until").time(until)?,
        )),
        _ => None,
    };
    let disabled = row
        .disabled_at
        .map(|at| {
            let reason = row.disabled_reason.clone().unwrap_or_default();
            let at = place("disabled_at").time(at)?;
            Ok(Disabled { at, reason })
        })
        .transpose()?;
    let endpoint = WebhookEndpoint {
        id: place("id").id(row.id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        url: place("url").word(&row.url, WebhookUrl::parse)?,
        description: row.description,
        events,
        disabled,
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
    };
    Ok(SealedEndpoint {
        endpoint,
        secret: opened("secret", &row.secret)?,
        old_secret,
        after: row.after_sequence,
    })
}
