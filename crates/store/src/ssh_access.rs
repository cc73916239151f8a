//! Tokens for SSH, by their hashes.

use alcove_domain::{SandboxId, SshAccess, SshAccessEnd, SshAccessId, SshTokenHash};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
};

use crate::convert::Place;
use crate::entity::ssh_access::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    pub async fn ssh_access_find(
        &self,
        token: SshTokenHash,
    ) -> Result<Option<SshAccess>, StoreError> {
        let row = Entity::find_by_id(hex::encode(token.0))
            .one(&self.connection)
            .await
            .map_err(StoreError::read("an SSH access"))?;
        row.map(from_row).transpose()
    }
}

impl Tx {
    pub async fn ssh_access_insert(&self, access: &SshAccess) -> Result<(), StoreError> {
        Entity::insert(to_row(access).into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("an SSH access"))?;
        Ok(())
    }

    /// Ends the sandbox's access by this token, or all that it has. What was revoked stays so. Safe to repeat.
    pub async fn ssh_access_end(
        &self,
        sandbox: &SandboxId,
        token: Option<SshTokenHash>,
        end: SshAccessEnd,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut which = Condition::all()
            .add(Column::SandboxId.eq(sandbox.as_str()))
            .add(
                Condition::any()
                    .add(Column::Ended.is_null())
                    .add(Column::Ended.ne(SshAccessEnd::Revoked.as_str())),
            );
        if let Some(token) = token {
            which = which.add(Column::TokenHash.eq(hex::encode(token.0)));
        }
        Entity::update_many()
            .col_expr(Column::Ended, Expr::value(end.as_str()))
            .col_expr(Column::UpdatedAt, Expr::value(at.as_millisecond()))
            .filter(which)
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the end of SSH accesses"))?;
        Ok(())
    }

    /// Forgets what ended by itself before this.
    pub async fn ssh_access_forget(&self, before: Timestamp) -> Result<(), StoreError> {
        Entity::delete_many()
            .filter(Column::ExpiresAt.lt(before.as_millisecond()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("old SSH accesses"))?;
        Ok(())
    }
}

fn to_row(access: &SshAccess) -> Model {
    Model {
        token_hash: hex::encode(access.token.0),
        id: access.id.to_string(),
        sandbox_id: access.sandbox_id.to_string(),
        expires_at: access.expires_at.as_millisecond(),
        created_at: access.created_at.as_millisecond(),
        updated_at: access.updated_at.as_millisecond(),
        ended: access.end.map(|end| end.as_str().to_owned()),
    }
}

fn from_row(row: Model) -> Result<SshAccess, StoreError> {
    let place = |column| Place {
        table: "ssh_accesses",
        column,
    };
    let mut token = [0; 32];
    hex::decode_to_slice(&row.token_hash, &mut token)
        .map_err(|_| place("token_hash").bad(&row.token_hash))?;
    Ok(SshAccess {
        id: place("id").id::<SshAccessId>(row.id)?,
        sandbox_id: place("sandbox_id").id(row.sandbox_id)?,
        token: SshTokenHash(token),
        expires_at: place("expires_at").time(row.expires_at)?,
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
        end: row
            .ended
            .map(|word| place("ended").word(&word, SshAccessEnd::parse))
            .transpose()?,
    })
}
