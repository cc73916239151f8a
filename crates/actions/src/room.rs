//! Memory for files that travel inside of JSON: they cannot be passed on piece by piece, so what is held at once is bounded.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::Failure;

/// Two of the largest files at once: each is held twice in base64 for a moment.
const ROOM_MIB: u32 = 560;
const MIB: u64 = 1 << 20;
/// What is smaller is not counted.
const FREE_BYTES: u64 = MIB;

/// Clones are the same room.
#[derive(Debug, Clone)]
pub struct Room(Arc<Semaphore>);

/// A place in the [`Room`], given back on drop.
#[derive(Debug)]
pub struct Held {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_MIB as usize)))
    }
}

impl Room {
    /// Waits until so many bytes of JSON can be held, and what is read from it beside.
    pub async fn hold(&self, json_bytes: u64) -> Held {
        if json_bytes <= FREE_BYTES {
            return Held { _permit: None };
        }
        let mib = json_bytes.saturating_mul(2).div_ceil(MIB);
        let mib = u32::try_from(mib).unwrap_or(ROOM_MIB).min(ROOM_MIB);
        let permit = Arc::clone(&self.0).acquire_many_owned(mib).await;
        Held {
            _permit: Some(permit.expect("nobody closes the semaphore")),
        }
    }
}

/// What is told when an action's time went by in the queue or elsewhere.
pub(crate) fn out_of_time(seconds: u64) -> Failure {
    Failure::new(
        StatusCode::REQUEST_TIMEOUT,
        format!("the action took longer than {seconds} s"),
    )
}
