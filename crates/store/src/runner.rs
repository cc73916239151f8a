//! Hosts that sandboxes run on.

use std::collections::BTreeSet;

use alcove_domain::{
    Capabilities, Capability, Capacity, Runner, RunnerAddress, RunnerId, ServiceKeyHash,
};
use jiff::Timestamp;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder as _,
    SqlErr,
};

use crate::convert::{Place, bigint, json_list};
use crate::entity::runner::{ActiveModel, Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    /// Those of all regions, the oldest first.
    pub async fn runner_list_all(&self) -> Result<Vec<Runner>, StoreError> {
        let rows = Entity::find()
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("runners"))?;
        rows.into_iter().map(from_row).collect()
    }
}

impl Tx {
    /// # Errors
    /// [`StoreError::NameTaken`] if its region has one of this name, or another has its key.
    pub async fn runner_insert(&self, runner: &Runner) -> Result<(), StoreError> {
        self.note_made("runner", runner.id.as_str());
        Entity::insert(to_row(runner))
            .exec_without_returning(&self.transaction)
            .await
            .map_err(|source| match source.sql_err() {
                Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::NameTaken,
                _ => StoreError::Write {
                    what: "a runner",
                    source,
                },
            })?;
        Ok(())
    }

    /// Writes it in its place. False if it is gone.
    pub async fn runner_update(&self, runner: &Runner) -> Result<bool, StoreError> {
        let result = Entity::update_many()
            .set(to_row(runner))
            .filter(Column::Id.eq(runner.id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a runner"))?;
        Ok(result.rows_affected == 1)
    }

    /// False if there is none.
    pub async fn runner_delete(&self, id: &RunnerId) -> Result<bool, StoreError> {
        let result = Entity::delete_by_id(id.as_str())
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a runner"))?;
        Ok(result.rows_affected == 1)
    }
}

fn to_row(runner: &Runner) -> ActiveModel {
    let said = runner.capabilities.as_ref();
    Model {
        id: runner.id.to_string(),
        region: runner.region.clone(),
        organization_id: runner.organization_id.as_ref().map(ToString::to_string),
        name: runner.name.clone(),
        is_built_in: runner.is_built_in,
        key_hash: runner.key.map(hash_text),
        tags: json_list(&runner.tags),
        domain: runner.address.domain.clone(),
        api_url: runner.address.api_url.clone(),
        proxy_url: runner.address.proxy_url.clone(),
        is_unschedulable: runner.is_unschedulable,
        is_draining: runner.is_draining,
        is_decommissioned: runner.is_decommissioned,
        cpu_millis: bigint(runner.capacity.cpu_millis),
        memory_mib: bigint(runner.capacity.memory_mib),
        disk_mib: bigint(runner.capacity.disk_mib),
        gpu: runner.capacity.gpu.into(),
        gpu_type: runner.gpu_type.clone(),
        architecture: said.map(|said| said.architecture.clone()),
        capabilities: said.map(|said| words_of(&said.can)),
        app_version: runner.app_version.clone(),
        fault: runner.fault.clone(),
        instance: runner.instance.clone(),
        heard_at: runner.heard_at.map(Timestamp::as_millisecond),
        created_at: runner.created_at.as_millisecond(),
        updated_at: runner.updated_at.as_millisecond(),
    }
    .into_active_model()
    .reset_all()
}

fn from_row(row: Model) -> Result<Runner, StoreError> {
    let place = |column| Place {
        table: "runners",
        column,
    };
    let organization = row
        .organization_id
        .map(|id| place("organization_id").id(id));
    let key = row.key_hash.map(|text| read_hash(place("key_hash"), &text));
    let capabilities = row.capabilities.zip(row.architecture);
    let capabilities = capabilities.map(|(words, architecture)| {
        let words = place("capabilities").list(&words)?;
        // Unknown words are of a newer server that wrote here.
        let can = words.iter().filter_map(|word| Capability::parse(word));
        Ok::<_, StoreError>(Capabilities {
            architecture,
            can: can.collect(),
        })
    });
    Ok(Runner {
        id: place("id").id(row.id)?,
        region: row.region,
        organization_id: organization.transpose()?,
        name: row.name,
        is_built_in: row.is_built_in,
        key: key.transpose()?,
        tags: place("tags").list(&row.tags)?,
        address: RunnerAddress {
            domain: row.domain,
            api_url: row.api_url,
            proxy_url: row.proxy_url,
        },
        is_unschedulable: row.is_unschedulable,
        is_draining: row.is_draining,
        is_decommissioned: row.is_decommissioned,
        capacity: Capacity {
            cpu_millis: place("cpu_millis").unsigned(row.cpu_millis)?,
            memory_mib: place("memory_mib").unsigned(row.memory_mib)?,
            disk_mib: place("disk_mib").unsigned(row.disk_mib)?,
            gpu: place("gpu").small(row.gpu)?,
        },
        gpu_type: row.gpu_type,
        capabilities: capabilities.transpose()?,
        app_version: row.app_version,
        fault: row.fault,
        instance: row.instance,
        heard_at: place("heard_at").time_option(row.heard_at)?,
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
    })
}

fn words_of(can: &BTreeSet<Capability>) -> String {
    let words: Vec<String> = can.iter().map(|it| it.as_str().to_owned()).collect();
    json_list(&words)
}

pub(crate) fn hash_text(hash: ServiceKeyHash) -> String {
    hex::encode(hash.0)
}

pub(crate) fn read_hash(place: Place, text: &str) -> Result<ServiceKeyHash, StoreError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| place.bad("not 64 hex digits"))?;
    Ok(ServiceKeyHash(bytes))
}
