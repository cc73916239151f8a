//! Files of addresses outside that sandboxes begin with.
//!
//! The address is anybody's choice, and so is all that answers there. It goes by the resolver that registries of images
//! go by: hosts at private addresses are asked only where the operator has named them, also those that another host sends
//! its clients to ([`hop`]). What comes has a bound, and a time.

mod hop;

use std::io::Read as _;
use std::sync::Arc;

use alcove_runner_api::{Fetch, FetchError};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use ureq::{Body, Proxy};

use self::hop::{Road, open};
use crate::registry::RegistrySettings;

/// Fetches that work at once; each holds one of the threads for work that blocks.
const AT_ONCE: usize = 8;
/// Bytes that are read at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for whoever takes them.
const PIECES: usize = 8;

/// What a fetch says, piece by piece. An error is the last of it.
pub type Pieces = mpsc::Receiver<Result<Vec<u8>, FetchError>>;

/// Fetches files.
#[derive(Debug)]
pub struct Sources {
    road: Arc<Road>,
    slots: Arc<Semaphore>,
}

impl Sources {
    /// `hosts` are those that the operator has named. The proxy is that of the environment.
    pub fn new(hosts: &[String]) -> Self {
        Self::by(hosts, Proxy::try_from_env())
    }

    fn by(hosts: &[String], proxy: Option<Proxy>) -> Self {
        Self {
            road: Arc::new(Road {
                known: Arc::new(RegistrySettings::naming(hosts)),
                proxy,
            }),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Resolves when the host has begun to answer with the file. Dropping what comes ends the fetch.
    pub async fn fetch(&self, order: Fetch) -> Result<Pieces, FetchError> {
        let slot = timeout(order.within, Arc::clone(&self.slots).acquire_owned());
        let Ok(Ok(slot)) = slot.await else {
            return Err(FetchError::Unavailable);
        };
        let road = Arc::clone(&self.road);
        let (begun, beginning) = oneshot::channel();
        let (pieces, receiver) = mpsc::channel(PIECES);
        tokio::task::spawn_blocking(move || {
            let _slot = slot;
            match open(&road, &order) {
                Ok((host, body)) => {
                    // Whoever does not wait any more takes no pieces either.
                    let _ = begun.send(Ok(()));
                    pass_on(&host, body, order.max_bytes, &pieces);
                }
                Err(error) => drop(begun.send(Err(error))),
            }
        });
        beginning
            .await
            .unwrap_or(Err(FetchError::Unavailable))
            .map(|()| receiver)
    }
}

fn pass_on(
    host: &str,
    body: Body,
    max_bytes: u64,
    pieces: &mpsc::Sender<Result<Vec<u8>, FetchError>>,
) {
    let mut reader = body.into_with_config().limit(u64::MAX).reader();
    let mut left = max_bytes;
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let piece = match reader.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => {
                let bytes = u64::try_from(count).unwrap_or(u64::MAX);
                if bytes > left {
                    Err(FetchError::TooLong { max_bytes })
                } else {
                    left -= bytes;
                    piece.truncate(count);
                    Ok(piece)
                }
            }
            Err(error) => Err(FetchError::Broken {
                host: host.to_owned(),
                reason: error.to_string(),
            }),
        };
        let is_last = piece.is_err();
        // Nobody takes it any more.
        if pieces.blocking_send(piece).is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
