//! Snapshots that were made one after another of a sandbox's sessions.

use alcove_domain::{
    Lineage, OrganizationId, Snapshot, SnapshotFilter, SnapshotId, SnapshotParent, SnapshotSort,
    SortOrder,
};

use crate::Error;
use crate::shared::Shared;

/// Snapshots on a page, at most and where the caller does not say.
const LIMIT_MAX: i64 = 10;
/// Siblings that are told of one.
const SIBLINGS_MAX: u64 = 10;

/// A snapshot with those that were made after the same one.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotNode {
    pub snapshot: Snapshot,
    /// Newest first, and not all if they are many.
    pub siblings: Vec<Snapshot>,
    /// All of them, with the snapshot itself.
    pub count: u64,
}

/// A way from a snapshot up or down.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotTree {
    /// Where it begins.
    pub anchor: SnapshotNode,
    pub nodes: Vec<SnapshotNode>,
    /// From where it goes on.
    pub next: Option<SnapshotId>,
}

/// Goes up to what a snapshot was made after, or down along the newest of each generation.
pub(crate) async fn walk(
    shared: &Shared,
    org: &OrganizationId,
    anchor: Snapshot,
    order: SortOrder,
    limit: Option<i64>,
) -> Result<SnapshotTree, Error> {
    let limit = limit.unwrap_or(LIMIT_MAX).clamp(1, LIMIT_MAX);
    let mut at = anchor.clone();
    let mut nodes = Vec::new();
    let mut next = None;
    while let Some(node) = step(shared, org, &at, order).await? {
        if i64::try_from(nodes.len()).unwrap_or(LIMIT_MAX) >= limit {
            next = Some(at.id);
            break;
        }
        at = node.snapshot.clone();
        nodes.push(node);
    }
    Ok(SnapshotTree {
        anchor: among_siblings(shared, org, anchor).await?,
        nodes,
        next,
    })
}

async fn step(
    shared: &Shared,
    org: &OrganizationId,
    from: &Snapshot,
    order: SortOrder,
) -> Result<Option<SnapshotNode>, Error> {
    match order {
        SortOrder::Descending => {
            let parent = from.lineage.as_ref();
            let Some(parent) = parent.and_then(|lineage| lineage.parent.as_ref()) else {
                return Ok(None);
            };
            let found = shared.store.reader().snapshot_find(org, parent.as_str());
            let found = found
                .await
                .map_err(|error| Error::store("looking for a snapshot", error))?;
            match found {
                Some(parent) => Ok(Some(
                    among_siblings(shared, org, parent.seen_by(org)).await?,
                )),
                // It was deleted, and with it goes what was before.
                None => Ok(None),
            }
        }
        SortOrder::Ascending => {
            let filter = SnapshotFilter {
                parent: Some(SnapshotParent::Is(from.id.clone())),
                ..SnapshotFilter::default()
            };
            let (mut children, count) = newest(shared, org, &filter).await?;
            if children.is_empty() {
                return Ok(None);
            }
            Ok(Some(SnapshotNode {
                snapshot: children.remove(0),
                siblings: children,
                count,
            }))
        }
    }
}

async fn among_siblings(
    shared: &Shared,
    org: &OrganizationId,
    snapshot: Snapshot,
) -> Result<SnapshotNode, Error> {
    let filter = match &snapshot.lineage {
        None => {
            return Ok(SnapshotNode {
                snapshot,
                siblings: Vec::new(),
                count: 1,
            });
        }
        Some(Lineage {
            parent: Some(parent),
            ..
        }) => SnapshotFilter {
            parent: Some(SnapshotParent::Is(parent.clone())),
            ..SnapshotFilter::default()
        },
        Some(Lineage { parent: None, .. }) => SnapshotFilter {
            parent: Some(SnapshotParent::Nobody),
            source_sandbox: snapshot.source_sandbox_id.as_ref().map(ToString::to_string),
            ..SnapshotFilter::default()
        },
    };
    let (mut siblings, count) = newest(shared, org, &filter).await?;
    siblings.retain(|sibling| sibling.id != snapshot.id);
    siblings.truncate(usize::try_from(SIBLINGS_MAX).unwrap_or(usize::MAX));
    Ok(SnapshotNode {
        snapshot,
        siblings,
        count,
    })
}

async fn newest(
    shared: &Shared,
    org: &OrganizationId,
    filter: &SnapshotFilter,
) -> Result<(Vec<Snapshot>, u64), Error> {
    let (sort, order) = (SnapshotSort::CreatedAt, SortOrder::Descending);
    let reader = shared.store.reader();
    let found = reader.snapshot_list(org, filter, sort, order, 0, SIBLINGS_MAX + 1);
    let (found, count) = found
        .await
        .map_err(|error| Error::store("listing snapshots", error))?;
    let found = found.into_iter().map(|it| it.seen_by(org)).collect();
    Ok((found, count))
}
