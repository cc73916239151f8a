//! Snapshots.
//!
//! Long because all that asks for their rows, and makes them, stands here.

use std::collections::BTreeSet;

use alcove_domain::{
    Lineage, OrganizationId, QuotaExceeded, Resources, SandboxClass, SandboxState, Snapshot,
    SnapshotFilter, SnapshotId, SnapshotParent, SnapshotSort, SnapshotState, SortOrder,
};
use jiff::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait as _, LikeExpr, NullOrdering, Order};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, EntityTrait, IntoActiveModel,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select, SqlErr,
};

use crate::convert::{Place, bigint, json_list};
use crate::entity::snapshot::{ActiveModel, Column, Entity, Model};
use crate::outbox::SnapshotChange;
use crate::{Reader, StoreError, Tx};

/// What [`StoreError::Changed`] calls a snapshot.
pub const SNAPSHOT: &str = "the snapshot";

/// What became of a snapshot that was being made out of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotOutcome {
    Made {
        image: String,
        size_bytes: u64,
        entrypoint: Vec<String>,
        user: String,
    },
    Failed {
        reason: String,
    },
}

fn visible_to(org: &OrganizationId) -> Condition {
    let whose = Condition::any()
        .add(Column::OrganizationId.eq(org.as_str()))
        .add(Column::OrganizationId.is_null())
        .add(Column::IsShared.eq(true));
    Condition::all().add(whose).add(Column::BuildKey.is_null())
}

impl Reader {
    /// Finds by id or name among the organization's own and the general ones; own before general, active
    /// before others.
    pub async fn snapshot_find(
        &self,
        org: &OrganizationId,
        id_or_name: &str,
    ) -> Result<Option<Snapshot>, StoreError> {
        // No name has it, and PostgreSQL does not even let it be compared.
        if id_or_name.contains('\0') {
            return Ok(None);
        }
        let rows = Entity::find()
            .filter(visible_to(org))
            .filter(
                Condition::any()
                    .add(Column::Id.eq(id_or_name))
                    .add(Column::Name.eq(id_or_name)),
            )
            .all(&self.connection)
            .await
            .map_err(StoreError::read("a snapshot"))?;
        let mut snapshots = rows
            .into_iter()
            .map(from_row)
            .collect::<Result<Vec<_>, _>>()?;
        snapshots.sort_by_key(|snapshot| {
            (
                snapshot.id.as_str() != id_or_name,
                snapshot.state != SnapshotState::Active,
                // The organization's own, the server's, those of others.
                !snapshot.is_of(org),
                snapshot.is_shared,
            )
        });
        Ok(snapshots.into_iter().next())
    }

    /// The snapshot with this id.
    pub async fn snapshot_get(&self, id: &SnapshotId) -> Result<Option<Snapshot>, StoreError> {
        find(&self.connection, id).await
    }

    /// Snapshots in one of these states.
    pub async fn snapshot_list_in(
        &self,
        states: &[SnapshotState],
    ) -> Result<Vec<Snapshot>, StoreError> {
        let rows = Entity::find()
            .filter(Column::State.is_in(states.iter().map(|state| state.as_str())))
            .order_by_asc(Column::CreatedAt)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("snapshots"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// Active snapshots of organizations that no sandbox was made of since `before`, the longest unused first.
    pub async fn snapshot_list_unused(
        &self,
        before: Timestamp,
        limit: u64,
    ) -> Result<Vec<SnapshotId>, StoreError> {
        let before = before.as_millisecond();
        let ids: Vec<String> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::State.eq(SnapshotState::Active.as_str()))
            .filter(Column::OrganizationId.is_not_null())
            .filter(Column::IsShared.eq(false))
            .filter(Column::BuildKey.is_null())
            .filter(Column::CreatedAt.lt(before))
            // It may just have been made active again.
            .filter(Column::UpdatedAt.lt(before))
            .filter(
                Condition::any()
                    .add(Column::LastUsedAt.is_null())
                    .add(Column::LastUsedAt.lt(before)),
            )
            .order_by_asc(Column::LastUsedAt)
            .limit(limit)
            .into_tuple()
            .all(&self.connection)
            .await
            .map_err(StoreError::read("unused snapshots"))?;
        let place = Place {
            table: "snapshots",
            column: "id",
        };
        ids.into_iter().map(|id| place.id(id)).collect()
    }

    /// Active snapshots that are an organization's alone.
    pub async fn snapshot_list_active_of(
        &self,
        org: &OrganizationId,
        limit: u64,
    ) -> Result<Vec<SnapshotId>, StoreError> {
        let ids: Vec<String> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::OrganizationId.eq(org.as_str()))
            .filter(Column::State.eq(SnapshotState::Active.as_str()))
            .filter(Column::IsShared.eq(false))
            .filter(Column::BuildKey.is_null())
            .order_by_asc(Column::Id)
            .limit(limit)
            .into_tuple()
            .all(&self.connection)
            .await
            .map_err(StoreError::read("an organization's snapshots"))?;
        let place = Place {
            table: "snapshots",
            column: "id",
        };
        ids.into_iter().map(|id| place.id(id)).collect()
    }

    /// When the next snapshot goes by itself.
    pub async fn snapshot_next_expiry(&self) -> Result<Option<Timestamp>, StoreError> {
        let first: Option<i64> = expiring()
            .select_only()
            .column(Column::ExpiresAt)
            .order_by_asc(Column::ExpiresAt)
            .limit(1)
            .into_tuple()
            .one(&self.connection)
            .await
            .map_err(StoreError::read("the next expiry of a snapshot"))?;
        let place = Place {
            table: "snapshots",
            column: "expires_at",
        };
        place.time_option(first)
    }

    /// Snapshots whose time is over, the longest over first.
    pub async fn snapshot_list_expired(
        &self,
        now: Timestamp,
        limit: u64,
    ) -> Result<Vec<SnapshotId>, StoreError> {
        let ids: Vec<String> = expiring()
            .select_only()
            .column(Column::Id)
            .filter(Column::ExpiresAt.lte(now.as_millisecond()))
            .order_by_asc(Column::ExpiresAt)
            .limit(limit)
            .into_tuple()
            .all(&self.connection)
            .await
            .map_err(StoreError::read("snapshots whose time is over"))?;
        let place = Place {
            table: "snapshots",
            column: "id",
        };
        ids.into_iter().map(|id| place.id(id)).collect()
    }

    /// How many snapshots of the organization count against its quota.
    pub async fn snapshot_count(&self, org: &OrganizationId) -> Result<u64, StoreError> {
        count(&self.connection, org).await
    }

    /// Digests of the images that snapshots and live sandboxes need. Snapshots that can be pulled again do not while
    /// they are inactive.
    pub async fn images_needed(&self) -> Result<BTreeSet<String>, StoreError> {
        use crate::entity::sandbox;
        let of_snapshots = Entity::find()
            .filter(Column::Image.ne(""))
            .all(&self.connection)
            .await
            .map_err(StoreError::read("snapshots"))?;
        let mut images = BTreeSet::new();
        for row in of_snapshots {
            let snapshot = from_row(row)?;
            if snapshot.needs_image() {
                images.insert(snapshot.image);
            }
        }
        let of_sandboxes: Vec<String> = sandbox::Entity::find()
            .select_only()
            .column(sandbox::Column::Image)
            .distinct()
            .filter(sandbox::Column::State.ne(SandboxState::Destroyed.as_str()))
            .into_tuple()
            .all(&self.connection)
            .await
            .map_err(StoreError::read("images of sandboxes"))?;
        // Those whose image is being built have none yet.
        images.extend(of_sandboxes.into_iter().filter(|image| !image.is_empty()));
        Ok(images)
    }

    /// The server's own snapshot of this name.
    pub async fn snapshot_find_general(&self, name: &str) -> Result<Option<Snapshot>, StoreError> {
        let row = Entity::find()
            .filter(Column::OrganizationId.is_null())
            .filter(Column::Name.eq(name))
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a general snapshot"))?;
        row.map(from_row).transpose()
    }

    /// One page, general ones last, and how many there are in all.
    pub async fn snapshot_list(
        &self,
        org: &OrganizationId,
        filter: &SnapshotFilter,
        sort: SnapshotSort,
        order: SortOrder,
        offset: u64,
        limit: u64,
    ) -> Result<(Vec<Snapshot>, u64), StoreError> {
        let mut query = Entity::find().filter(visible_to(org));
        if let Some(part) = &filter.name_part {
            query = query.filter(
                Expr::col(Column::Name)
                    .like(LikeExpr::new(format!("%{}%", escape_like(part))).escape('\\')),
            );
        }
        if let Some(id) = &filter.source_sandbox {
            query = query.filter(Column::SourceSandboxId.eq(id.as_str()));
        }
        if filter.of_sandboxes {
            query = query.filter(Column::SourceSandboxId.is_not_null());
        }
        if let Some(project) = &filter.project {
            // What no client of projects made is in all of them.
            query = query.filter(
                Condition::any()
                    .add(Column::Project.eq(project.as_str()))
                    .add(Column::Project.is_null()),
            );
        }
        query = match &filter.parent {
            None => query,
            Some(SnapshotParent::Nobody) => query
                .filter(Column::ParentId.is_null())
                .filter(Column::SourceSession.is_not_null()),
            Some(SnapshotParent::Is(id)) => query.filter(Column::ParentId.eq(id.as_str())),
        };
        if let Some(at) = filter.created_after {
            query = query.filter(Column::CreatedAt.gt(at.as_millisecond()));
        }
        if let Some(at) = filter.created_before {
            query = query.filter(Column::CreatedAt.lt(at.as_millisecond()));
        }
        let total = query
            .clone()
            .count(&self.connection)
            .await
            .map_err(StoreError::read("the number of snapshots"))?;
        let column = match sort {
            SnapshotSort::Name => Column::Name,
            SnapshotSort::State => Column::State,
            SnapshotSort::LastUsedAt => Column::LastUsedAt,
            SnapshotSort::CreatedAt => Column::CreatedAt,
        };
        let order = to_order(order);
        let rows = query
            .order_by(
                Column::OrganizationId
                    .is_null()
                    .or(Column::IsShared.eq(true)),
                Order::Asc,
            )
            .order_by_with_nulls(column, order.clone(), NullOrdering::Last)
            .order_by(Column::Id, order)
            .offset(offset)
            .limit(limit)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("snapshots"))?;
        let snapshots = rows.into_iter().map(from_row).collect::<Result<_, _>>()?;
        Ok((snapshots, total))
    }
}

impl Tx {
    /// # Errors
    /// [`StoreError::NameTaken`] if another snapshot of the organization has the name.
    pub async fn snapshot_insert(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.note_made("snapshot", snapshot.id.as_str());
        Entity::insert(to_row(snapshot))
            .exec_without_returning(&self.transaction)
            .await
            .map_err(|source| match source.sql_err() {
                // The id is random: of the two unique things, only the name can be taken.
                Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::NameTaken,
                _ => StoreError::Write {
                    what: "a snapshot",
                    source,
                },
            })?;
        self.outbox_append_snapshot(snapshot, SnapshotChange::Created, snapshot.created_at)
            .await
    }

    /// Ends the making of a snapshot out of a sandbox. One that is no longer being made stays as it is.
    pub async fn snapshot_finish(
        &self,
        id: &SnapshotId,
        outcome: &SnapshotOutcome,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let states = [SnapshotState::Snapshotting, SnapshotState::Error];
        self.snapshot_end(id, states, outcome, at).await
    }

    /// Writes the outcome of what a snapshot is made by. The states are the one that it must be in still, and the one
    /// that a failure leads to.
    pub(crate) async fn snapshot_end(
        &self,
        id: &SnapshotId,
        [making, failed]: [SnapshotState; 2],
        outcome: &SnapshotOutcome,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let update = Entity::update_many()
            .col_expr(Column::UpdatedAt, Expr::value(at.as_millisecond()))
            .filter(Column::Id.eq(id.as_str()))
            .filter(Column::State.eq(making.as_str()));
        let update = match outcome {
            SnapshotOutcome::Made {
                image,
                size_bytes,
                entrypoint,
                user,
            } => update
                .col_expr(Column::State, Expr::value(SnapshotState::Active.as_str()))
                .col_expr(Column::Image, Expr::value(image.as_str()))
                .col_expr(Column::SizeBytes, Expr::value(bigint(*size_bytes)))
                .col_expr(
                    Column::Entrypoint,
                    // A caller's own, which the sandbox was made with, goes on to the snapshot.
                    Expr::case(
                        Expr::col(Column::HasOwnEntrypoint).eq(true),
                        Expr::col(Column::Entrypoint),
                    )
                    .finally(json_list(entrypoint))
                    .into(),
                )
                .col_expr(Column::OsUser, Expr::value(user.as_str())),
            SnapshotOutcome::Failed { reason } => update
                .col_expr(Column::State, Expr::value(failed.as_str()))
                .col_expr(Column::ErrorReason, Expr::value(reason.as_str())),
        };
        let ended = update
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the outcome of a snapshot"))?;
        if ended.rows_affected == 0 {
            return Ok(());
        }
        match find(&self.transaction, id).await? {
            Some(snapshot) => self.snapshot_moved(&snapshot, making, at).await,
            None => Ok(()),
        }
    }

    /// Tells of a state that is another than before.
    async fn snapshot_moved(
        &self,
        snapshot: &Snapshot,
        old: SnapshotState,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let new = snapshot.state;
        if new == old {
            return Ok(());
        }
        let change = SnapshotChange::State { old, new };
        self.outbox_append_snapshot(snapshot, change, at).await
    }

    /// The snapshot with this id, as this transaction sees it.
    pub async fn snapshot_get(&self, id: &SnapshotId) -> Result<Option<Snapshot>, StoreError> {
        find(&self.transaction, id).await
    }

    /// Makes sure that the snapshot is still one to make sandboxes of, and of this image: nobody can take the image away
    /// while the sandbox's row is written.
    ///
    /// # Errors
    /// [`StoreError::Changed`] if it is not.
    pub async fn snapshot_hold(&self, id: &SnapshotId, image: &str) -> Result<(), StoreError> {
        let found: Option<(String, String)> = Entity::find_by_id(id.as_str())
            .select_only()
            .columns([Column::State, Column::Image])
            .into_tuple()
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("a snapshot"))?;
        match found {
            Some((state, found)) if state == SnapshotState::Active.as_str() && found == image => {
                Ok(())
            }
            _ => Err(StoreError::Changed { what: SNAPSHOT }),
        }
    }

    /// Makes sure that the organization has no more snapshots than it may, those that this transaction has written
    /// included.
    ///
    /// # Errors
    /// [`StoreError::OverQuota`] if it has.
    pub async fn snapshot_quota_hold(
        &self,
        org: &OrganizationId,
        limit: Option<u64>,
    ) -> Result<(), StoreError> {
        let Some(limit) = limit else { return Ok(()) };
        if count(&self.transaction, org).await? > limit {
            return Err(StoreError::OverQuota(QuotaExceeded::Snapshots { limit }));
        }
        Ok(())
    }

    /// Removes the row of a snapshot that is being removed.
    pub async fn snapshot_delete(&self, id: &SnapshotId, at: Timestamp) -> Result<(), StoreError> {
        let found = find(&self.transaction, id).await?;
        let deleted = Entity::delete_many()
            .filter(Column::Id.eq(id.as_str()))
            .filter(Column::State.eq(SnapshotState::Removing.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the end of a snapshot"))?;
        if deleted.rows_affected == 0 {
            return Ok(());
        }
        self.builds_delete(id).await?;
        match found {
            Some(snapshot) => {
                self.outbox_append_snapshot(&snapshot, SnapshotChange::Removed, at)
                    .await
            }
            None => Ok(()),
        }
    }

    /// Whether another snapshot that every organization sees has the name.
    pub async fn snapshot_is_general_name_taken(
        &self,
        snapshot: &Snapshot,
    ) -> Result<bool, StoreError> {
        let is_general = Condition::any()
            .add(Column::OrganizationId.is_null())
            .add(Column::IsShared.eq(true));
        let others = Entity::find()
            .filter(is_general)
            .filter(Column::Name.eq(snapshot.name.as_str()))
            .filter(Column::Id.ne(snapshot.id.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("general snapshots"))?;
        Ok(others > 0)
    }

    pub async fn snapshot_update(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let before = find(&self.transaction, &snapshot.id).await?;
        Entity::update_many()
            .set(to_row(snapshot))
            .filter(Column::Id.eq(snapshot.id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a snapshot"))?;
        match before {
            Some(before) => {
                self.snapshot_moved(snapshot, before.state, snapshot.updated_at)
                    .await
            }
            None => Ok(()),
        }
    }

    /// Notes when sandboxes were last made from these.
    pub async fn snapshot_touch(&self, id: &SnapshotId, at: Timestamp) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::LastUsedAt, Expr::value(at.as_millisecond()))
            .filter(Column::Id.eq(id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the last use of a snapshot"))?;
        Ok(())
    }
}

/// Those with a time that are not going already. What everybody uses stays as long as it is general.
fn expiring() -> Select<Entity> {
    Entity::find()
        .filter(Column::ExpiresAt.is_not_null())
        .filter(Column::IsShared.eq(false))
        .filter(Column::State.ne(SnapshotState::Removing.as_str()))
}

/// States that count against the quota.
fn counted_states() -> impl Iterator<Item = &'static str> {
    let states = SnapshotState::ALL.iter();
    states
        .filter(|state| state.is_counted())
        .map(|state| state.as_str())
}

async fn find(db: &impl ConnectionTrait, id: &SnapshotId) -> Result<Option<Snapshot>, StoreError> {
    let row = Entity::find_by_id(id.as_str())
        .one(db)
        .await
        .map_err(StoreError::read("a snapshot"))?;
    row.map(from_row).transpose()
}

async fn count(db: &impl ConnectionTrait, org: &OrganizationId) -> Result<u64, StoreError> {
    Entity::find()
        .filter(Column::OrganizationId.eq(org.as_str()))
        .filter(Column::BuildKey.is_null())
        .filter(Column::State.is_in(counted_states()))
        .count(db)
        .await
        .map_err(StoreError::read("the number of snapshots"))
}

/// Text that stands for itself in a `LIKE` pattern whose escape is the backslash.
pub(crate) fn escape_like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

pub(crate) fn to_order(order: SortOrder) -> Order {
    match order {
        SortOrder::Ascending => Order::Asc,
        SortOrder::Descending => Order::Desc,
    }
}

fn to_row(snapshot: &Snapshot) -> ActiveModel {
    to_model(snapshot).into_active_model().reset_all()
}

pub(crate) fn to_model(snapshot: &Snapshot) -> Model {
    let lineage = snapshot.lineage.as_ref();
    Model {
        id: snapshot.id.to_string(),
        organization_id: snapshot.organization_id.as_ref().map(ToString::to_string),
        name: snapshot.name.clone(),
        image: snapshot.image.clone(),
        state: snapshot.state.as_str().to_owned(),
        size_bytes: snapshot.size_bytes.map(bigint),
        entrypoint: json_list(&snapshot.entrypoint),
        os_user: snapshot.user.clone(),
        cpu_cores: snapshot.resources.cpu_cores.into(),
        memory_gib: snapshot.resources.memory_gib.into(),
        disk_gib: snapshot.resources.disk_gib.into(),
        gpu: snapshot.resources.gpu.into(),
        class: snapshot.class.as_str().to_owned(),
        error_reason: snapshot.error_reason.clone(),
        created_at: snapshot.created_at.as_millisecond(),
        updated_at: snapshot.updated_at.as_millisecond(),
        last_used_at: snapshot.last_used_at.map(Timestamp::as_millisecond),
        source_sandbox_id: snapshot.source_sandbox_id.as_ref().map(ToString::to_string),
        image_name: snapshot.image_name.clone(),
        has_own_entrypoint: snapshot.has_own_entrypoint,
        deactivated_at: snapshot.deactivated_at.map(Timestamp::as_millisecond),
        build_key: snapshot.build_key.clone(),
        expires_at: snapshot.expires_at.map(Timestamp::as_millisecond),
        parent_id: lineage
            .and_then(|lineage| lineage.parent.as_ref())
            .map(ToString::to_string),
        source_session: lineage.map(|lineage| lineage.session.clone()),
        project: lineage.map(|lineage| lineage.project.clone()),
        is_shared: snapshot.is_shared,
    }
}

pub(crate) fn from_row(row: Model) -> Result<Snapshot, StoreError> {
    let place = |column| Place {
        table: "snapshots",
        column,
    };
    Ok(Snapshot {
        id: place("id").id(row.id)?,
        organization_id: row
            .organization_id
            .map(|id| place("organization_id").id(id))
            .transpose()?,
        is_shared: row.is_shared,
        name: row.name,
        image: row.image,
        state: place("state").word(&row.state, SnapshotState::parse)?,
        size_bytes: row
            .size_bytes
            .map(|size| place("size_bytes").unsigned(size))
            .transpose()?,
        entrypoint: place("entrypoint").list(&row.entrypoint)?,
        user: row.os_user,
        resources: Resources {
            cpu_cores: place("cpu_cores").small(row.cpu_cores)?,
            memory_gib: place("memory_gib").small(row.memory_gib)?,
            disk_gib: place("disk_gib").small(row.disk_gib)?,
            gpu: place("gpu").small(row.gpu)?,
        },
        class: place("class").word(&row.class, SandboxClass::parse)?,
        error_reason: row.error_reason,
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
        last_used_at: place("last_used_at").time_option(row.last_used_at)?,
        source_sandbox_id: row
            .source_sandbox_id
            .map(|id| place("source_sandbox_id").id(id))
            .transpose()?,
        image_name: row.image_name,
        has_own_entrypoint: row.has_own_entrypoint,
        deactivated_at: place("deactivated_at").time_option(row.deactivated_at)?,
        build_key: row.build_key,
        expires_at: place("expires_at").time_option(row.expires_at)?,
        lineage: match (row.source_session, row.project) {
            (Some(session), Some(project)) => Some(Lineage {
                parent: row
                    .parent_id
                    .map(|id| place("parent_id").id(id))
                    .transpose()?,
                session,
                project,
            }),
            _ => None,
        },
    })
}
