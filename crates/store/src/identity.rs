//! Users as identity providers know them.

use alcove_domain::{OrganizationId, SsoProvider, SsoProviderId, UserId};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _,
};

use crate::convert::Place;
use crate::entity::identity::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

/// Whom a provider means by a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub issuer: String,
    pub subject: String,
    pub user_id: UserId,
    /// Whether the user was there before, and has linked it. Else its tokens have made the user.
    pub is_linked: bool,
}

impl Identity {
    /// What stands for the issuer where it is one of an organization: whoever may name issuers there says nothing of the people of
    /// others, be it of the same issuer. No address begins so.
    pub fn issuer_of(provider: &SsoProvider) -> String {
        let prefix = sso_prefix(&provider.organization_id, Some(&provider.id));
        format!("{prefix}{}", provider.issuer.trim_end_matches('/'))
    }

    /// The provider, if it is one of an organization.
    pub fn sso_provider(&self) -> Option<&str> {
        let mut parts = self.issuer.strip_prefix("sso:")?.splitn(3, ':');
        parts.next();
        parts.next()
    }
}

fn sso_prefix(org: &OrganizationId, provider: Option<&SsoProviderId>) -> String {
    match provider {
        None => format!("sso:{org}:"),
        Some(id) => format!("sso:{org}:{id}:"),
    }
}

impl Reader {
    /// Those that mean a user.
    pub async fn identity_list_of(&self, user: &UserId) -> Result<Vec<Identity>, StoreError> {
        let rows = Entity::find()
            .filter(Column::UserId.eq(user.as_str()))
            .order_by_asc(Column::Issuer)
            .order_by_asc(Column::Subject)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("identities"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// Whom a provider means by a subject.
    pub async fn identity_find(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<Identity>, StoreError> {
        find(&self.connection, issuer, subject).await
    }
}

impl Tx {
    /// As [`Reader::identity_find`], within the transaction.
    pub async fn identity_find(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<Identity>, StoreError> {
        find(&self.transaction, issuer, subject).await
    }

    /// Says whom a provider means by a subject that is not known.
    pub async fn identity_put(&self, identity: &Identity) -> Result<(), StoreError> {
        let row = Model {
            issuer: identity.issuer.clone(),
            subject: identity.subject.clone(),
            user_id: identity.user_id.to_string(),
            is_linked: identity.is_linked,
        };
        Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("an identity"))?;
        Ok(())
    }

    /// Those of an organization's provider, or of all that it has.
    pub async fn identity_delete_of_sso(
        &self,
        org: &OrganizationId,
        provider: Option<&SsoProviderId>,
    ) -> Result<(), StoreError> {
        Entity::delete_many()
            .filter(Column::Issuer.starts_with(sso_prefix(org, provider)))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("identities"))?;
        Ok(())
    }

    /// How many people of an issuer are known.
    pub async fn identity_count(&self, issuer: &str) -> Result<u64, StoreError> {
        Entity::find()
            .filter(Column::Issuer.eq(issuer))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("identities"))
    }

    /// Its next token is of somebody who is not known. False where it was not there.
    pub async fn identity_delete(&self, issuer: &str, subject: &str) -> Result<bool, StoreError> {
        let key = (issuer.to_owned(), subject.to_owned());
        let deleted = Entity::delete_by_id(key).exec(&self.transaction).await;
        let deleted = deleted.map_err(StoreError::write("the end of an identity"))?;
        Ok(deleted.rows_affected == 1)
    }
}

async fn find(
    connection: &impl ConnectionTrait,
    issuer: &str,
    subject: &str,
) -> Result<Option<Identity>, StoreError> {
    let row = Entity::find_by_id((issuer.to_owned(), subject.to_owned()))
        .one(connection)
        .await
        .map_err(StoreError::read("an identity"))?;
    row.map(from_row).transpose()
}

fn from_row(row: Model) -> Result<Identity, StoreError> {
    let place = Place {
        table: "identities",
        column: "user_id",
    };
    Ok(Identity {
        user_id: place.id(row.user_id)?,
        issuer: row.issuer,
        subject: row.subject,
        is_linked: row.is_linked,
    })
}
