//! What is promised on the server's own host, held against what the operator lets it promise.

use alcove_domain::{HostBound, Promised, Sandbox, Usage, VolumeState};
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QuerySelect as _,
};

use crate::convert::Place;
use crate::entity::volume::{Column, Entity};
use crate::usage::of_region;
use crate::volume::words;
use crate::{Reader, StoreError, Tx};

impl Reader {
    /// Whether a sandbox that is not written yet would be within the bound. Only [`Tx::host_hold`] is sure.
    ///
    /// # Errors
    /// [`StoreError::HostIsPromised`] if it would not.
    pub async fn host_fits(&self, sandbox: &Sandbox, bound: &HostBound) -> Result<(), StoreError> {
        if !is_bound(sandbox, bound) {
            return Ok(());
        }
        let own = Promised::to_sandboxes(&Usage::of(sandbox));
        let others = promised(&self.connection, &sandbox.region).await?;
        bound
            .check(&others.plus(&own), &Promised::default(), &own)
            .map_err(StoreError::HostIsPromised)
    }
}

impl Tx {
    /// Holds what a sandbox on the server's host came to against what that host may promise, after it was written in
    /// this transaction. `before` is the sandbox as it was, None for a new one. Writers take turns, so nobody comes
    /// between this and the commit.
    ///
    /// # Errors
    /// [`StoreError::HostIsPromised`] if it is more; the caller lets the transaction fall.
    pub async fn host_hold(
        &self,
        before: Option<&Sandbox>,
        after: &Sandbox,
        bound: &HostBound,
    ) -> Result<(), StoreError> {
        if !is_bound(after, bound) {
            return Ok(());
        }
        let of = |sandbox: &Sandbox| Promised::to_sandboxes(&Usage::of(sandbox));
        let all = promised(&self.transaction, &after.region).await?;
        bound
            .check(&all, &before.map(of).unwrap_or_default(), &of(after))
            .map_err(StoreError::HostIsPromised)
    }

    /// As [`Tx::host_hold`], for a new volume of so many bytes. `region` is that of the server.
    ///
    /// # Errors
    /// The same.
    pub async fn host_hold_volume(
        &self,
        bytes: u64,
        region: &str,
        bound: &HostBound,
    ) -> Result<(), StoreError> {
        if bound.disk_bytes.is_none() {
            return Ok(());
        }
        let all = promised(&self.transaction, region).await?;
        bound
            .check(&all, &Promised::default(), &Promised::to_volumes(bytes))
            .map_err(StoreError::HostIsPromised)
    }
}

/// Other hosts are placed on by what they have, see `domain::runner`.
fn is_bound(sandbox: &Sandbox, bound: &HostBound) -> bool {
    sandbox.runner.is_none() && !bound.is_none()
}

async fn promised(db: &impl ConnectionTrait, region: &str) -> Result<Promised, StoreError> {
    let sandboxes = Promised::to_sandboxes(&of_region(db, region).await?);
    Ok(sandboxes.plus(&Promised::to_volumes(volume_bytes(db).await?)))
}

/// The sizes of all volumes that the host has or is to have.
async fn volume_bytes(db: &impl ConnectionTrait) -> Result<u64, StoreError> {
    // PostgreSQL makes a number of any length of the sum.
    let sum = Expr::col(Column::SizeBytes)
        .sum()
        .cast_as(Alias::new("bigint"));
    let found: Option<Option<i64>> = Entity::find()
        .select_only()
        .expr_as(sum, "bytes")
        .filter(Column::State.is_in(words(VolumeState::is_counted)))
        .into_tuple()
        .one(db)
        .await
        .map_err(StoreError::read("the sizes of volumes"))?;
    let place = Place {
        table: "volumes",
        column: "size_bytes",
    };
    found.flatten().map_or(Ok(0), |bytes| place.unsigned(bytes))
}
