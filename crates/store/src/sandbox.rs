//! Sandboxes.

mod list;
pub(crate) mod row;

use std::collections::BTreeMap;

use alcove_domain::{DesiredState, OrganizationId, Sandbox, SandboxId, SandboxState};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, SqlErr,
};

use crate::convert::bigint;
use crate::entity::sandbox::{Column, Entity};
use crate::entity::sandbox_label;
use crate::{Reader, StoreError, Tx};

pub use list::{SandboxCursor, SortKey};
pub(crate) use row::{from_row, to_row};

impl Reader {
    pub async fn sandbox_find(&self, id: &SandboxId) -> Result<Option<Sandbox>, StoreError> {
        let row = Entity::find_by_id(id.as_str())
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a sandbox"))?;
        row.map(from_row).transpose()
    }

    /// Every sandbox that is not destroyed.
    pub async fn sandbox_list_live(&self) -> Result<Vec<Sandbox>, StoreError> {
        let rows = Entity::find()
            .filter(Column::State.ne(SandboxState::Destroyed.as_str()))
            .all(&self.connection)
            .await
            .map_err(StoreError::read("sandboxes"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// Forks of a sandbox, oldest first, at most `limit`.
    pub async fn sandbox_list_forks(
        &self,
        org: &OrganizationId,
        parent: &SandboxId,
        with_destroyed: bool,
        limit: u64,
    ) -> Result<Vec<Sandbox>, StoreError> {
        let mut query = Entity::find()
            .filter(Column::ParentId.eq(parent.as_str()))
            .filter(Column::OrganizationId.eq(org.as_str()));
        if !with_destroyed {
            query = query.filter(Column::DesiredState.ne(DesiredState::Destroyed.as_str()));
        }
        let rows = query
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .limit(limit)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("forks"))?;
        rows.into_iter().map(from_row).collect()
    }
}

impl Tx {
    /// # Errors
    /// [`StoreError::NameTaken`] if a live sandbox of the organization has the name.
    pub async fn sandbox_insert(&self, sandbox: &Sandbox) -> Result<(), StoreError> {
        self.note_made("sandbox", sandbox.id.as_str());
        Entity::insert(to_row(sandbox).into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(|source| match source.sql_err() {
                // The id is random: of the two unique things, only the name can be taken.
                Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::NameTaken,
                _ => StoreError::Write {
                    what: "a sandbox",
                    source,
                },
            })?;
        self.labels_insert(&sandbox.id, &sandbox.labels).await?;
        self.volume_uses_insert(sandbox).await?;
        self.usage_enter(sandbox).await
    }

    /// Writes the row over the version before it.
    ///
    /// # Errors
    /// [`StoreError::Changed`] if the row has another version than `sandbox.version - 1`.
    pub async fn sandbox_update(&self, sandbox: &Sandbox) -> Result<(), StoreError> {
        let mut row = to_row(sandbox).into_active_model().reset_all();
        // What never changes is left out, to keep the statement short.
        row.id = ActiveValue::NotSet;
        row.organization_id = ActiveValue::NotSet;
        row.name = ActiveValue::NotSet;
        row.name_lower = ActiveValue::NotSet;
        row.env = ActiveValue::NotSet;
        row.parent_id = ActiveValue::NotSet;
        row.runner_id = ActiveValue::NotSet;
        row.linked_sandbox_id = ActiveValue::NotSet;
        row.volumes = ActiveValue::NotSet;
        row.is_built = ActiveValue::NotSet;
        // Sealed anew in its place when the key changes, of which whoever holds the sandbox knows nothing.
        row.outbound_proxy = ActiveValue::NotSet;
        row.created_at = ActiveValue::NotSet;
        let result = Entity::update_many()
            .set(row)
            .filter(Column::Id.eq(sandbox.id.as_str()))
            .filter(Column::Version.eq(bigint(sandbox.version) - 1))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a sandbox"))?;
        if result.rows_affected != 1 {
            return Err(StoreError::Changed { what: "a sandbox" });
        }
        self.usage_follow(sandbox).await
    }

    /// A sandbox as this transaction finds it, and how many that are not on their way out are linked with it.
    pub async fn sandbox_find_owner(
        &self,
        id: &SandboxId,
    ) -> Result<Option<(Sandbox, u64)>, StoreError> {
        let row = Entity::find_by_id(id.as_str())
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("a sandbox"))?;
        let Some(owner) = row.map(from_row).transpose()? else {
            return Ok(None);
        };
        let followers = Entity::find()
            .filter(Column::LinkedSandboxId.eq(id.as_str()))
            .filter(Column::DesiredState.ne(DesiredState::Destroyed.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("linked sandboxes"))?;
        Ok(Some((owner, followers)))
    }

    /// Brings the search table of labels in line with the row.
    pub async fn sandbox_labels_replace(&self, sandbox: &Sandbox) -> Result<(), StoreError> {
        self.labels_delete(&sandbox.id).await?;
        self.labels_insert(&sandbox.id, &sandbox.labels).await
    }

    /// Writes what the next runs are made with, which [`Self::sandbox_update`] leaves out: variables, and mounted volumes.
    pub async fn sandbox_outfit_replace(&self, sandbox: &Sandbox) -> Result<(), StoreError> {
        let row = to_row(sandbox);
        Entity::update_many()
            .col_expr(Column::Env, Expr::value(row.env))
            .col_expr(Column::Volumes, Expr::value(row.volumes))
            .filter(Column::Id.eq(sandbox.id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("what a sandbox is made with"))?;
        self.volume_uses_delete(&[sandbox.id.to_string()]).await?;
        self.volume_uses_insert(sandbox).await
    }

    /// Notes activity, never backwards. The version stays: this is no change of the sandbox.
    pub async fn sandbox_touch(&self, id: &SandboxId, at: Timestamp) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::LastActivityAt, Expr::value(at.as_millisecond()))
            .filter(Column::Id.eq(id.as_str()))
            .filter(Column::LastActivityAt.lt(at.as_millisecond()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the activity of a sandbox"))?;
        Ok(())
    }

    /// Removes rows that have been destroyed since before `before`, at most `limit` of them.
    pub async fn sandbox_prune(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError> {
        let ids: Vec<String> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::State.eq(SandboxState::Destroyed.as_str()))
            .filter(Column::DesiredState.eq(DesiredState::Destroyed.as_str()))
            .filter(Column::StateChangedAt.lt(before.as_millisecond()))
            .limit(limit)
            .into_tuple()
            .all(&self.transaction)
            .await
            .map_err(StoreError::read("destroyed sandboxes"))?;
        if ids.is_empty() {
            return Ok(0);
        }
        self.sandbox_rows_delete(&ids).await
    }

    async fn labels_delete(&self, id: &SandboxId) -> Result<(), StoreError> {
        sandbox_label::Entity::delete_many()
            .filter(sandbox_label::Column::SandboxId.eq(id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("labels"))?;
        Ok(())
    }

    async fn labels_insert(
        &self,
        id: &SandboxId,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        if labels.is_empty() {
            return Ok(());
        }
        let rows = labels
            .iter()
            .map(|(key, value)| sandbox_label::ActiveModel {
                sandbox_id: ActiveValue::Set(id.to_string()),
                key: ActiveValue::Set(key.clone()),
                value: ActiveValue::Set(value.clone()),
            });
        sandbox_label::Entity::insert_many(rows)
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("labels"))?;
        Ok(())
    }
}
