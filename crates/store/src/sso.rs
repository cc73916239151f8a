//! Identity providers of organizations, with their client secrets as sealed bytes that only `alcove-control` can open, and people
//! of theirs who wait to be linked.

use alcove_domain::{
    OrganizationId, PendingSsoLink, PendingSsoLinkId, SsoProvider, SsoProviderId, UserId,
};
use jiff::Timestamp;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, EntityTrait as _,
    IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
};

use crate::convert::{Place, json_list};
use crate::entity::pending_sso_link as link;
use crate::entity::sso_provider::{ActiveModel, Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

/// A provider and its sealed client secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSsoProvider {
    pub provider: SsoProvider,
    pub client_secret: Vec<u8>,
}

impl Reader {
    pub async fn sso_provider_find(
        &self,
        id: &SsoProviderId,
    ) -> Result<Option<SealedSsoProvider>, StoreError> {
        find(&self.connection, id).await
    }

    /// Those of an organization, the oldest first.
    pub async fn sso_provider_list(
        &self,
        org: &OrganizationId,
    ) -> Result<Vec<SealedSsoProvider>, StoreError> {
        list(&self.connection, Some(org)).await
    }

    /// Those of all organizations.
    pub async fn sso_provider_list_all(&self) -> Result<Vec<SealedSsoProvider>, StoreError> {
        list(&self.connection, None).await
    }

    /// Who waits for a user, the oldest first.
    pub async fn pending_sso_link_list(
        &self,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Vec<PendingSsoLink>, StoreError> {
        let rows = link::Entity::find()
            .filter(link::Column::UserId.eq(user.as_str()))
            .filter(link::Column::ExpiresAt.gt(now.as_millisecond()))
            .order_by_asc(link::Column::CreatedAt)
            .order_by_asc(link::Column::Id)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("pending links"))?;
        rows.into_iter().map(from_link).collect()
    }
}

impl Tx {
    /// As [`Reader::sso_provider_find`], within the transaction.
    pub async fn sso_provider_find(
        &self,
        id: &SsoProviderId,
    ) -> Result<Option<SealedSsoProvider>, StoreError> {
        find(&self.transaction, id).await
    }

    /// As [`Reader::sso_provider_list`], within the transaction.
    pub async fn sso_provider_list(
        &self,
        org: &OrganizationId,
    ) -> Result<Vec<SealedSsoProvider>, StoreError> {
        list(&self.transaction, Some(org)).await
    }

    pub async fn sso_provider_count(&self, org: &OrganizationId) -> Result<u64, StoreError> {
        Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("the number of identity providers"))
    }

    pub async fn sso_provider_insert(&self, sealed: &SealedSsoProvider) -> Result<(), StoreError> {
        Entity::insert(to_row(sealed))
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("an identity provider"))?;
        Ok(())
    }

    /// Writes it in its place. False if it is gone.
    pub async fn sso_provider_update(
        &self,
        sealed: &SealedSsoProvider,
    ) -> Result<bool, StoreError> {
        let result = Entity::update_many()
            .set(to_row(sealed))
            .filter(Column::Id.eq(sealed.provider.id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("an identity provider"))?;
        Ok(result.rows_affected == 1)
    }

    /// False if there is none.
    pub async fn sso_provider_delete(&self, id: &SsoProviderId) -> Result<bool, StoreError> {
        let deleted = Entity::delete_by_id(id.as_str())
            .exec(&self.transaction)
            .await;
        let deleted = deleted.map_err(StoreError::write("the end of an identity provider"))?;
        Ok(deleted.rows_affected == 1)
    }

    pub async fn pending_sso_link_find(
        &self,
        id: &PendingSsoLinkId,
    ) -> Result<Option<PendingSsoLink>, StoreError> {
        let row = link::Entity::find_by_id(id.as_str())
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("a pending link"))?;
        row.map(from_link).transpose()
    }

    /// Writes that somebody waits. What has expired goes.
    pub async fn pending_sso_link_insert(
        &self,
        pending: &PendingSsoLink,
    ) -> Result<(), StoreError> {
        link::Entity::delete_many()
            .filter(link::Column::ExpiresAt.lte(pending.created_at.as_millisecond()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("expired links"))?;
        let row = link::Model {
            id: pending.id.to_string(),
            user_id: pending.user_id.to_string(),
            organization_id: pending.organization_id.to_string(),
            provider_id: pending.provider_id.to_string(),
            subject: pending.subject.clone(),
            made_user_id: pending.made_user_id.to_string(),
            email: pending.email.clone(),
            created_at: pending.created_at.as_millisecond(),
            expires_at: pending.expires_at.as_millisecond(),
        };
        link::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a pending link"))?;
        Ok(())
    }

    pub async fn pending_sso_link_delete(&self, id: &PendingSsoLinkId) -> Result<(), StoreError> {
        link::Entity::delete_by_id(id.as_str())
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a pending link"))?;
        Ok(())
    }

    /// Nobody of this provider waits any more.
    pub async fn pending_sso_link_delete_of(&self, by: &SsoProviderId) -> Result<(), StoreError> {
        link::Entity::delete_many()
            .filter(link::Column::ProviderId.eq(by.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("pending links"))?;
        Ok(())
    }
}

async fn find(
    connection: &impl ConnectionTrait,
    id: &SsoProviderId,
) -> Result<Option<SealedSsoProvider>, StoreError> {
    let row = Entity::find_by_id(id.as_str())
        .one(connection)
        .await
        .map_err(StoreError::read("an identity provider"))?;
    row.map(from_row).transpose()
}

async fn list(
    connection: &impl ConnectionTrait,
    org: Option<&OrganizationId>,
) -> Result<Vec<SealedSsoProvider>, StoreError> {
    let mut query = Entity::find();
    if let Some(org) = org {
        query = query.filter(Column::OrganizationId.eq(org.as_str()));
    }
    let rows = query
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::Id)
        .all(connection)
        .await
        .map_err(StoreError::read("identity providers"))?;
    rows.into_iter().map(from_row).collect()
}

fn to_row(sealed: &SealedSsoProvider) -> ActiveModel {
    let provider = &sealed.provider;
    let roles: Vec<String> = provider.roles.iter().map(ToString::to_string).collect();
    let row = Model {
        id: provider.id.to_string(),
        organization_id: provider.organization_id.to_string(),
        name: provider.name.clone(),
        issuer: provider.issuer.clone(),
        client_id: provider.client_id.clone(),
        client_secret: hex::encode(&sealed.client_secret),
        scope: provider.scope.clone(),
        domains: json_list(&provider.domains),
        allows_any_domain: provider.allows_any_domain,
        trusts_addresses: provider.trusts_addresses,
        roles: json_list(&roles),
        is_enabled: provider.is_enabled,
        created_at: provider.created_at.as_millisecond(),
        updated_at: provider.updated_at.as_millisecond(),
    };
    row.into_active_model().reset_all()
}

fn from_row(row: Model) -> Result<SealedSsoProvider, StoreError> {
    let place = |column| Place {
        table: "sso_providers",
        column,
    };
    let secret = hex::decode(&row.client_secret);
    let roles = place("roles").list(&row.roles)?.into_iter();
    let provider = SsoProvider {
        id: place("id").id(row.id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        name: row.name,
        issuer: row.issuer,
        client_id: row.client_id,
        scope: row.scope,
        domains: place("domains").list(&row.domains)?,
        allows_any_domain: row.allows_any_domain,
        trusts_addresses: row.trusts_addresses,
        roles: roles
            .map(|id| place("roles").id(id))
            .collect::<Result<_, _>>()?,
        is_enabled: row.is_enabled,
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
    };
    Ok(SealedSsoProvider {
        provider,
        client_secret: secret.map_err(|_| place("client_secret").bad("not hex"))?,
    })
}

fn from_link(row: link::Model) -> Result<PendingSsoLink, StoreError> {
    let place = |column| Place {
        table: "pending_sso_links",
        column,
    };
    Ok(PendingSsoLink {
        id: place("id").id(row.id)?,
        user_id: place("user_id").id(row.user_id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        provider_id: place("provider_id").id(row.provider_id)?,
        subject: row.subject,
        made_user_id: place("made_user_id").id(row.made_user_id)?,
        email: row.email,
        created_at: place("created_at").time(row.created_at)?,
        expires_at: place("expires_at").time(row.expires_at)?,
    })
}
