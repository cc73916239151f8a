//! How often the keys that sign file URLs were changed. A sandbox whose key never was has no row.

use alcove_domain::SandboxId;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _};

use crate::entity::signing_key::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    pub async fn signing_key_rotations(&self, sandbox: &SandboxId) -> Result<i64, StoreError> {
        let row = Entity::find_by_id(sandbox.as_str())
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a signing key"))?;
        Ok(row.map_or(0, |row| row.rotations))
    }
}

impl Tx {
    /// Counts one more change.
    pub async fn signing_key_rotate(&self, sandbox: &SandboxId) -> Result<(), StoreError> {
        let row = Model {
            sandbox_id: sandbox.to_string(),
            rotations: 1,
        };
        let more = Expr::col((Entity, Column::Rotations)).add(1);
        Entity::insert(row.into_active_model())
            .on_conflict(
                OnConflict::column(Column::SandboxId)
                    .value(Column::Rotations, more)
                    .to_owned(),
            )
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a signing key"))?;
        Ok(())
    }

    pub(crate) async fn signing_keys_delete(&self, sandboxes: &[String]) -> Result<(), StoreError> {
        Entity::delete_many()
            .filter(Column::SandboxId.is_in(sandboxes))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("signing keys"))?;
        Ok(())
    }
}
