//! Where sealed secrets lie, for sealing them anew under another key.
//!
//! The bytes begin with what says which key seals them, so the rows that another key seals are found without opening any.

use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Query};
use sea_orm::{ConnectionTrait as _, QueryResult};

use crate::convert::Place;
use crate::{StoreError, Tx};

/// A column of sealed secrets. Each there is must be one of these: what is not is lost with the key that seals it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SealedPlace {
    RegistryPassword,
    WebhookSecret,
    /// The one before, which signs a while longer.
    OldWebhookSecret,
    Totp,
    SandboxProxy,
    VaultSecret,
    /// What the server signs and hashes with.
    OwnSecret,
    /// What is sent along with telemetry.
    OtelHeaders,
    /// What an organization's identity provider knows this server by.
    ClientSecret,
}

/// A sealed secret and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// The row's.
    pub id: String,
    /// What the secret is bound to: the row itself, or the organization that it is of.
    pub owner: String,
    pub bytes: Vec<u8>,
}

impl SealedPlace {
    pub const ALL: [Self; 9] = [
        Self::RegistryPassword,
        Self::WebhookSecret,
        Self::OldWebhookSecret,
        Self::Totp,
        Self::SandboxProxy,
        Self::VaultSecret,
        Self::OwnSecret,
        Self::OtelHeaders,
        Self::ClientSecret,
    ];

    /// Table, key, owner and column.
    const fn names(self) -> [&'static str; 4] {
        match self {
            Self::RegistryPassword => ["registries", "id", "id", "password"],
            Self::WebhookSecret => ["webhook_endpoints", "id", "id", "secret"],
            Self::OldWebhookSecret => ["webhook_endpoints", "id", "id", "old_secret"],
            Self::Totp => ["totp_secrets", "user_id", "user_id", "sealed"],
            Self::SandboxProxy => ["sandboxes", "id", "organization_id", "outbound_proxy"],
            Self::VaultSecret => ["vault_secrets", "id", "id", "value"],
            Self::OwnSecret => ["secrets", "name", "name", "value"],
            Self::OtelHeaders => [
                "organization_settings",
                "organization_id",
                "organization_id",
                "otel_headers",
            ],
            Self::ClientSecret => ["sso_providers", "id", "id", "client_secret"],
        }
    }
}

impl Tx {
    /// Secrets whose bytes do not begin with `current`, by the order of their rows, after the row `after`, at most `limit`.
    pub async fn sealed_list_foreign(
        &self,
        place: SealedPlace,
        current: &[u8],
        after: &str,
        limit: u64,
    ) -> Result<Vec<SealedRow>, StoreError> {
        let [table, id, owner, column] = place.names().map(Alias::new);
        let mut query = Query::select();
        query
            .columns([id.clone(), owner, column.clone()])
            .from(table)
            .and_where(Expr::col(id.clone()).gt(after))
            .and_where(Expr::col(column.clone()).is_not_null())
            .and_where(Expr::col(column).not_like(format!("{}%", hex::encode(current))))
            .order_by(id, sea_orm::Order::Asc)
            .limit(limit);
        let rows = self.transaction.query_all(&query).await;
        let rows = rows.map_err(StoreError::read("sealed secrets"))?;
        rows.iter().map(|row| from_row(place, row)).collect()
    }

    /// Puts other bytes into the place of those that a row has.
    pub async fn sealed_replace(
        &self,
        place: SealedPlace,
        id: &str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let [table, key, _, column] = place.names().map(Alias::new);
        let mut query = Query::update();
        query
            .table(table)
            .value(column, hex::encode(bytes))
            .and_where(Expr::col(key).eq(id));
        let written = self.transaction.execute(&query).await;
        written.map_err(StoreError::write("a sealed secret"))?;
        Ok(())
    }
}

fn from_row(place: SealedPlace, row: &QueryResult) -> Result<SealedRow, StoreError> {
    let [table, _, _, column] = place.names();
    let text = |index| -> Result<String, StoreError> {
        row.try_get_by_index(index)
            .map_err(StoreError::read("a sealed secret"))
    };
    let bytes = hex::decode(text(2)?);
    Ok(SealedRow {
        id: text(0)?,
        owner: text(1)?,
        bytes: bytes.map_err(|_| Place { table, column }.bad("not hex"))?,
    })
}
