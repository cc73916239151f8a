//! What an image is still needed for.

use alcove_domain::{SandboxState, SnapshotState};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
};

use crate::entity::{sandbox, snapshot};
use crate::{Reader, StoreError};

impl Reader {
    /// Whether a snapshot that is not being removed, or a sandbox that is not gone, is of this image: by the image's own
    /// name, or by the name that it was pulled under.
    pub async fn image_is_used(&self, name: &str) -> Result<bool, StoreError> {
        let names = Condition::any()
            .add(snapshot::Column::Image.eq(name))
            .add(snapshot::Column::ImageName.eq(name));
        let snapshots = snapshot::Entity::find()
            .filter(snapshot::Column::State.ne(SnapshotState::Removing.as_str()))
            .filter(names)
            .count(&self.connection)
            .await
            .map_err(StoreError::read("snapshots"))?;
        if snapshots > 0 {
            return Ok(true);
        }
        let sandboxes = sandbox::Entity::find()
            .filter(sandbox::Column::State.ne(SandboxState::Destroyed.as_str()))
            .filter(sandbox::Column::Image.eq(name))
            .count(&self.connection)
            .await
            .map_err(StoreError::read("images of sandboxes"))?;
        Ok(sandboxes > 0)
    }
}
