//! What organizations say of themselves. One that says nothing has no row.

use alcove_domain::OrganizationId;
use sea_orm::{
    ActiveModelTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _,
    sea_query::OnConflict,
};

use crate::convert::Place;
use crate::entity::organization_setting::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

/// The settings of one organization, with what is sealed as bytes that only `alcove-control` can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSettings {
    pub organization_id: OrganizationId,
    /// Where telemetry is sent, and the headers for it.
    pub otel: Option<(String, Vec<u8>)>,
    /// An object as JSON.
    pub experimental: Option<String>,
}

impl Reader {
    /// Those of all organizations.
    pub async fn organization_settings_list(&self) -> Result<Vec<SealedSettings>, StoreError> {
        let rows = Entity::find()
            .all(&self.connection)
            .await
            .map_err(StoreError::read("settings of organizations"))?;
        rows.into_iter().map(from_row).collect()
    }

    pub async fn organization_settings_find(
        &self,
        org: &OrganizationId,
    ) -> Result<Option<SealedSettings>, StoreError> {
        find(&self.connection, org).await
    }
}

async fn find(
    connection: &impl ConnectionTrait,
    org: &OrganizationId,
) -> Result<Option<SealedSettings>, StoreError> {
    let row = Entity::find_by_id(org.as_str())
        .one(connection)
        .await
        .map_err(StoreError::read("settings of an organization"))?;
    row.map(from_row).transpose()
}

impl Tx {
    /// As [`Reader::organization_settings_find`], within the transaction.
    pub async fn organization_settings_find(
        &self,
        org: &OrganizationId,
    ) -> Result<Option<SealedSettings>, StoreError> {
        find(&self.transaction, org).await
    }

    /// Writes them in the place of those that there may be.
    pub async fn organization_settings_put(
        &self,
        settings: &SealedSettings,
    ) -> Result<(), StoreError> {
        let (endpoint, headers) = settings.otel.clone().unzip();
        let row = Model {
            organization_id: settings.organization_id.to_string(),
            otel_endpoint: endpoint,
            otel_headers: headers.map(hex::encode),
            experimental: settings.experimental.clone(),
        };
        let mut replace = OnConflict::column(Column::OrganizationId);
        replace.update_columns([
            Column::OtelEndpoint,
            Column::OtelHeaders,
            Column::Experimental,
        ]);
        Entity::insert(row.into_active_model().reset_all())
            .on_conflict(replace)
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("settings of an organization"))?;
        Ok(())
    }
}

fn from_row(row: Model) -> Result<SealedSettings, StoreError> {
    let place = |column| Place {
        table: "organization_settings",
        column,
    };
    let headers = row
        .otel_headers
        .map(|headers| hex::decode(headers).map_err(|_| place("otel_headers").bad("not hex")));
    Ok(SealedSettings {
        organization_id: place("organization_id").id(row.organization_id)?,
        otel: row.otel_endpoint.zip(headers.transpose()?),
        experimental: row.experimental,
    })
}
