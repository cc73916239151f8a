//! Secrets that the server makes for itself, such as the key that signs cursors, as the bytes that are kept of them.

use sea_orm::{EntityTrait, IntoActiveModel};

use crate::convert::Place;
use crate::entity::secret;
use crate::{StoreError, Tx};

impl Tx {
    /// What is kept under a name.
    pub async fn secret_find(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = secret::Entity::find_by_id(name)
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("a secret"))?;
        row.map(|row| {
            let place = Place {
                table: "secrets",
                column: "value",
            };
            hex::decode(&row.value).map_err(|_| place.bad("not hex"))
        })
        .transpose()
    }

    /// Keeps bytes under a name, in place of what is kept there.
    pub async fn secret_put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        secret::Entity::delete_by_id(name)
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a secret"))?;
        let row = secret::Model {
            name: name.to_owned(),
            value: hex::encode(bytes),
        };
        secret::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a secret"))?;
        Ok(())
    }
}
