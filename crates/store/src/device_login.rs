//! Programs that wait for a person to let them in.

use alcove_domain::{DeviceCodeHash, DeviceDecision, DeviceLogin};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _};

use crate::convert::Place;
use crate::entity::device_login::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    /// Those that are over too, as long as they are there.
    pub async fn device_login_list_all(&self) -> Result<Vec<DeviceLogin>, StoreError> {
        let rows = Entity::find().all(&self.connection).await;
        let rows = rows.map_err(StoreError::read("programs that wait"))?;
        rows.into_iter().map(from_row).collect()
    }
}

impl Tx {
    pub async fn device_login_insert(&self, login: &DeviceLogin) -> Result<(), StoreError> {
        let (by, into) = approval(&login.decision);
        let row = Model {
            code_hash: hex::encode(login.code.0),
            user_code_hash: hex::encode(login.user_code.0),
            client: login.client.clone(),
            device: login.device.clone(),
            address: login.address.map(|address| address.to_string()),
            began_at: login.began_at.as_millisecond(),
            is_denied: login.decision == DeviceDecision::Denied,
            approved_by: by,
            approved_in: into,
        };
        Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a program that waits"))?;
        Ok(())
    }

    /// False if it is gone, or somebody has decided already.
    pub async fn device_login_decide(
        &self,
        code: &DeviceCodeHash,
        decision: &DeviceDecision,
    ) -> Result<bool, StoreError> {
        let (by, into) = approval(decision);
        let is_denied = *decision == DeviceDecision::Denied;
        let result = Entity::update_many()
            .col_expr(Column::IsDenied, Expr::value(is_denied))
            .col_expr(Column::ApprovedBy, Expr::value(by))
            .col_expr(Column::ApprovedIn, Expr::value(into))
            .filter(Column::CodeHash.eq(hex::encode(code.0)))
            .filter(Column::IsDenied.eq(false))
            .filter(Column::ApprovedBy.is_null())
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a program that waits"))?;
        Ok(result.rows_affected == 1)
    }

    /// False if it is gone.
    pub async fn device_login_delete(&self, code: &DeviceCodeHash) -> Result<bool, StoreError> {
        let result = Entity::delete_by_id(hex::encode(code.0))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a program that waits"))?;
        Ok(result.rows_affected == 1)
    }

    /// Removes those that began at this time or before.
    pub async fn device_login_delete_until(&self, at: Timestamp) -> Result<(), StoreError> {
        Entity::delete_many()
            .filter(Column::BeganAt.lte(at.as_millisecond()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("programs that wait"))?;
        Ok(())
    }
}

fn approval(decision: &DeviceDecision) -> (Option<String>, Option<String>) {
    match decision {
        DeviceDecision::None | DeviceDecision::Denied => (None, None),
        DeviceDecision::Approved(user, organization) => {
            (Some(user.to_string()), Some(organization.to_string()))
        }
    }
}

fn from_row(row: Model) -> Result<DeviceLogin, StoreError> {
    let place = |column| Place {
        table: "device_logins",
        column,
    };
    let read = |place: Place, text: &str| {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| place.bad("not 64 hex digits"))?;
        Ok::<_, StoreError>(DeviceCodeHash(bytes))
    };
    let decision = match (row.is_denied, row.approved_by, row.approved_in) {
        (true, ..) => DeviceDecision::Denied,
        (false, Some(by), Some(into)) => {
            DeviceDecision::Approved(place("approved_by").id(by)?, place("approved_in").id(into)?)
        }
        _ => DeviceDecision::None,
    };
    // Only shown, and counted: one that cannot be read any more is none.
    let address = row.address.and_then(|address| address.parse().ok());
    Ok(DeviceLogin {
        code: read(place("code_hash"), &row.code_hash)?,
        user_code: read(place("user_code_hash"), &row.user_code_hash)?,
        client: row.client,
        device: row.device,
        address,
        began_at: place("began_at").time(row.began_at)?,
        decision,
    })
}
