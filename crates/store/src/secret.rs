//! Secrets that the server makes for itself, such as the key that signs cursors.

use sea_orm::{EntityTrait, IntoActiveModel};

use crate::convert::Place;
use crate::entity::secret;
use crate::{Reader, StoreError, Tx};

impl Reader {
    pub async fn secret_find(&self, name: &str) -> Result<Option<[u8; 32]>, StoreError> {
        let row = secret::Entity::find_by_id(name)
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a secret"))?;
        row.map(|row| {
            let mut bytes = [0; 32];
            let place = Place {
                table: "secrets",
                column: "value",
            };
            hex::decode_to_slice(&row.value, &mut bytes)
                .map_err(|_| place.bad("not 64 hex digits"))?;
            Ok(bytes)
        })
        .transpose()
    }
}

impl Tx {
    /// Keeps a secret under a name that is free.
    pub async fn secret_insert(&self, name: &str, value: &[u8; 32]) -> Result<(), StoreError> {
        let row = secret::Model {
            name: name.to_owned(),
            value: hex::encode(value),
        };
        secret::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a secret"))?;
        Ok(())
    }
}
