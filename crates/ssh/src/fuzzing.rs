//! What must be true of anything that a client says before it has logged in. The target of `fuzz/` and the replay of its
//! corpus call it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_util::sync::CancellationToken;

use crate::gateway::{Gateway, SERVER_ID};

/// More than a client can say before it has read anything.
const ROOM: usize = 1 << 20;
/// Far more than the end of a connection takes whose client has said all.
const IN_TIME: Duration = Duration::from_mins(1);

/// Says bytes to the gateway, in as many pieces as the first of them names, and nothing more. It greets, and ends the
/// connection.
pub async fn stranger(gateway: &Gateway, input: &[u8]) {
    let Some((pieces, said)) = input.split_first() else {
        return;
    };
    let (mut client, server) = duplex(ROOM);
    let address = SocketAddr::from(([192, 0, 2, 1], 1234));
    gateway.take(server, address, &CancellationToken::new());
    let piece = said.len().div_ceil(usize::from(*pieces).max(1)).max(1);
    for piece in said.chunks(piece) {
        // A server that has had enough takes no more.
        if client.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let _ = client.shutdown().await;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(IN_TIME, client.read_to_end(&mut answer)).await;
    assert!(matches!(ended, Ok(Ok(_))), "{ended:?}");
    assert!(answer.starts_with(SERVER_ID.as_bytes()), "{answer:?}");
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::path::Path;

    use alcove_testkit::{TestControl, fuzz};

    use crate::{HostKey, Limits};

    use super::*;

    /// Each is a connection.
    const ROUNDS: u64 = 2_000;

    #[test]
    fn strangers_hold_for_the_corpus_and_what_is_near_it() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let kit = runtime.block_on(TestControl::open());
        let folder = tempfile::tempdir().unwrap();
        let key = HostKey::ensure(&folder.path().join("key")).unwrap();
        let gateway = Gateway::new(kit.control.clone(), &key, Limits::default());
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/ssh");
        fuzz::run(&corpus, ROUNDS, |input| {
            runtime.block_on(stranger(&gateway, input));
        });
    }
}
