//! The end of an organization: what goes when it is given up, and what goes last.

use alcove_domain::{
    DesiredState, OrganizationId, SandboxState, SnapshotId, SshKeyId, VolumeState,
};
use jiff::Timestamp;
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Select,
};

use crate::convert::Place;
use crate::entity::{
    api_key, build, departed_organization, invitation, login_session, mail, member, member_role,
    organization, organization_setting, outbox, pending_sso_link, quota, region, registry, role,
    runner, sandbox, sandbox_label, snapshot, ssh_access, ssh_key, sso_provider, usage_entry,
    usage_period, usage_total, vault_secret, volume, warm_pool, webhook_application,
    webhook_attempt, webhook_delivery, webhook_endpoint, webhook_message,
};
use crate::{Reader, StoreError, Tx};

/// Sandboxes whose rows are removed with one statement.
const BATCH: u64 = 500;

/// Removes all rows of an organization from these tables.
macro_rules! delete_rows {
    ($tx:expr, $org:expr, $($table:ident),* $(,)?) => {
        $($table::Entity::delete_many()
            .filter($table::Column::OrganizationId.eq($org.as_str()))
            .exec(&$tx.transaction)
            .await
            .map_err(StoreError::write(stringify!($table)))?;)*
    };
}

impl Reader {
    /// Organizations that are gone, with when they went, whose objects may still be there.
    pub async fn organization_list_departed(
        &self,
    ) -> Result<Vec<(OrganizationId, Timestamp)>, StoreError> {
        let place = |column| Place {
            table: "departed_organizations",
            column,
        };
        let rows = departed_organization::Entity::find()
            .order_by_asc(departed_organization::Column::Since)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("departed organizations"))?;
        rows.into_iter()
            .map(|row| {
                let org = place("organization_id").id(row.organization_id)?;
                Ok((org, place("since").time(row.since)?))
            })
            .collect()
    }

    /// The SSH keys of all members of an organization.
    pub async fn ssh_key_list_of(&self, org: &OrganizationId) -> Result<Vec<SshKeyId>, StoreError> {
        let place = Place {
            table: "ssh_keys",
            column: "id",
        };
        let ids: Vec<String> = ssh_key::Entity::find()
            .select_only()
            .column(ssh_key::Column::Id)
            .filter(ssh_key::Column::OrganizationId.eq(org.as_str()))
            .into_tuple()
            .all(&self.connection)
            .await
            .map_err(StoreError::read("SSH keys"))?;
        ids.into_iter().map(|id| place.id(id)).collect()
    }

    /// Every snapshot of an organization, those that people do not see too.
    pub async fn snapshot_list_of(
        &self,
        org: &OrganizationId,
    ) -> Result<Vec<SnapshotId>, StoreError> {
        let place = Place {
            table: "snapshots",
            column: "id",
        };
        let ids: Vec<String> = snapshot::Entity::find()
            .select_only()
            .column(snapshot::Column::Id)
            .filter(snapshot::Column::OrganizationId.eq(org.as_str()))
            .into_tuple()
            .all(&self.connection)
            .await
            .map_err(StoreError::read("snapshots"))?;
        ids.into_iter().map(|id| place.id(id)).collect()
    }
}

impl Tx {
    /// Removes what lets anybody act for an organization: members, their keys, invitations, roles, wishes for members of warm
    /// pools, secrets, identity providers, regions with their runners and keys, and endpoints of webhooks, which are told nothing
    /// more.
    pub async fn organization_empty(&self, org: &OrganizationId) -> Result<(), StoreError> {
        delete_rows!(
            self,
            org,
            member,
            member_role,
            role,
            invitation,
            mail,
            api_key,
            ssh_key,
            warm_pool,
            vault_secret,
            organization_setting,
            sso_provider,
            pending_sso_link,
            region,
            webhook_application,
            webhook_endpoint,
            webhook_delivery,
        );
        runner::Entity::delete_many()
            .filter(runner::Column::OrganizationId.eq(org.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("runners"))?;
        login_session::Entity::delete_many()
            .filter(login_session::Column::SsoOrganizationId.eq(org.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("sessions"))?;
        self.identity_delete_of_sso(org, None).await
    }

    /// Removes an organization that is being deleted, with every row that is left of it, and notes that its objects are to
    /// go too. False if it still has a sandbox, a
    /// volume or a snapshot: then nothing was removed.
    pub async fn organization_delete(
        &self,
        org: &OrganizationId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let gone = Condition::all()
            .add(sandbox::Column::State.eq(SandboxState::Destroyed.as_str()))
            .add(sandbox::Column::DesiredState.eq(DesiredState::Destroyed.as_str()));
        let sandboxes =
            || sandbox::Entity::find().filter(sandbox::Column::OrganizationId.eq(org.as_str()));
        let volumes = volume::Entity::find()
            .filter(volume::Column::OrganizationId.eq(org.as_str()))
            .filter(volume::Column::State.ne(VolumeState::Deleted.as_str()));
        let snapshots =
            snapshot::Entity::find().filter(snapshot::Column::OrganizationId.eq(org.as_str()));
        let is_empty = self.has_none(sandboxes().filter(gone.not())).await?
            && self.has_none(volumes).await?
            && self.has_none(snapshots).await?;
        if !is_empty {
            return Ok(false);
        }
        loop {
            let ids: Vec<String> = sandboxes()
                .select_only()
                .column(sandbox::Column::Id)
                .limit(BATCH)
                .into_tuple()
                .all(&self.transaction)
                .await
                .map_err(StoreError::read("destroyed sandboxes"))?;
            if ids.is_empty() {
                break;
            }
            self.sandbox_rows_delete(&ids).await?;
        }
        self.organization_empty(org).await?;
        delete_rows!(
            self,
            org,
            volume,
            registry,
            quota,
            build,
            usage_entry,
            usage_total,
            usage_period,
            outbox,
            webhook_message,
            webhook_attempt,
        );
        organization::Entity::delete_by_id(org.as_str())
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("an organization"))?;
        let departed = departed_organization::Model {
            organization_id: org.to_string(),
            since: at.as_millisecond(),
        };
        departed_organization::Entity::insert(departed.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a departed organization"))?;
        Ok(true)
    }

    /// Nothing is left of a departed organization.
    pub async fn organization_forget(&self, org: &OrganizationId) -> Result<(), StoreError> {
        departed_organization::Entity::delete_by_id(org.as_str())
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a departed organization"))?;
        Ok(())
    }

    async fn has_none<E>(&self, rows: Select<E>) -> Result<bool, StoreError>
    where
        E: sea_orm::EntityTrait,
        E::Model: Send + Sync,
    {
        let count = rows.count(&self.transaction).await;
        Ok(count.map_err(StoreError::read("what an organization has"))? == 0)
    }

    /// Removes destroyed sandboxes with all rows beside theirs.
    pub(crate) async fn sandbox_rows_delete(&self, ids: &[String]) -> Result<u64, StoreError> {
        sandbox_label::Entity::delete_many()
            .filter(sandbox_label::Column::SandboxId.is_in(ids))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("labels"))?;
        ssh_access::Entity::delete_many()
            .filter(ssh_access::Column::SandboxId.is_in(ids))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("SSH accesses"))?;
        self.volume_uses_delete(ids).await?;
        self.signing_keys_delete(ids).await?;
        let result = sandbox::Entity::delete_many()
            .filter(sandbox::Column::Id.is_in(ids))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("destroyed sandboxes"))?;
        Ok(result.rows_affected)
    }
}
