//! Credentials of programs that serve the platform.

use alcove_domain::{ServiceCredential, ServiceCredentialHash, ServiceCredentialId, ServiceRole};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
};

use crate::convert::Place;
use crate::entity::service_credential::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    /// All there are, the newest first.
    pub async fn service_credential_list(&self) -> Result<Vec<ServiceCredential>, StoreError> {
        let rows = Entity::find()
            .order_by_desc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("service credentials"))?;
        rows.into_iter().map(from_row).collect()
    }
}

impl Tx {
    pub async fn service_credential_insert(
        &self,
        credential: &ServiceCredential,
    ) -> Result<(), StoreError> {
        self.note_made("service_credential", credential.id.as_str());
        let row = Model {
            id: credential.id.to_string(),
            role: credential.role.as_str().to_owned(),
            hash: hex::encode(credential.hash.0),
            suffix: credential.suffix.clone(),
            created_at: credential.created_at.as_millisecond(),
            ends_at: credential.ends_at.map(Timestamp::as_millisecond),
        };
        Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a service credential"))?;
        Ok(())
    }

    /// Writes when one ends. False if there is none.
    pub async fn service_credential_end(
        &self,
        id: &ServiceCredentialId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let result = Entity::update_many()
            .col_expr(Column::EndsAt, Expr::value(at.as_millisecond()))
            .filter(Column::Id.eq(id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a service credential"))?;
        Ok(result.rows_affected == 1)
    }

    /// False if there is none.
    pub async fn service_credential_delete(
        &self,
        id: &ServiceCredentialId,
    ) -> Result<bool, StoreError> {
        let result = Entity::delete_by_id(id.as_str())
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a service credential"))?;
        Ok(result.rows_affected == 1)
    }
}

fn from_row(row: Model) -> Result<ServiceCredential, StoreError> {
    let place = |column| Place {
        table: "service_credentials",
        column,
    };
    let mut hash = [0; 32];
    hex::decode_to_slice(&row.hash, &mut hash).map_err(|_| place("hash").bad("not a hash"))?;
    Ok(ServiceCredential {
        id: place("id").id(row.id)?,
        role: ServiceRole::parse(&row.role).ok_or_else(|| place("role").bad(&row.role))?,
        hash: ServiceCredentialHash(hash),
        suffix: row.suffix,
        created_at: place("created_at").time(row.created_at)?,
        ends_at: place("ends_at").time_option(row.ends_at)?,
    })
}
