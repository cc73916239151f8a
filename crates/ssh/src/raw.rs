//! A channel that carries plain bytes: SFTP, a forwarded port.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::channel::{Gone, Outlet};
use crate::inbox::{Inbox, Item};

/// One read of the other end.
const READ_BYTES: usize = 32 << 10;
/// One write to it.
const WRITE_BYTES: usize = 64 << 10;
/// What a port has to take what its client sent before it closed the channel.
const LAST_BYTES: Duration = Duration::from_secs(10);

/// What the client is told when the other end has nothing more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Port,
    /// As a program that ends well.
    Files,
}

/// Carries bytes both ways. An end of one way is passed on and leaves the other open; both make the end of the channel, as
/// does the client's closing it.
pub async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    inbox: Arc<Inbox>,
    outlet: Outlet,
    ending: Ending,
) {
    let (mut reader, mut writer) = split(stream);
    let taken = CancellationToken::new();
    let inwards = async {
        let _taken = taken.clone().drop_guard();
        loop {
            let item = match ending {
                Ending::Port => inbox.next_to_the_last(WRITE_BYTES).await,
                Ending::Files => inbox.next(WRITE_BYTES).await,
            };
            match item {
                Item::Data(data) => {
                    if writer.write_all(&data).await.is_err() {
                        // Nobody takes it any more; what the other end still says is told all the same.
                        break;
                    }
                }
                Item::End => {
                    let _ = writer.shutdown().await;
                    break;
                }
                // They are of programs.
                Item::Resize(_) | Item::Signal(_) => {}
                Item::Closed => break,
            }
        }
    };
    let outwards = async {
        let mut buffer = Vec::with_capacity(READ_BYTES);
        loop {
            buffer.clear();
            match reader.read_buf(&mut buffer).await {
                Ok(count) if count > 0 => outlet.output(&buffer).await?,
                _ => break,
            }
        }
        if ending == Ending::Files {
            outlet.exit_code(0).await?;
        }
        outlet.end().await?;
        Ok::<_, Gone>(())
    };
    let both = async {
        match ending {
            Ending::Port => {
                tokio::join!(inwards, outwards).1?;
            }
            // Requests that come behind the last answer are nobody's.
            Ending::Files => tokio::select! {
                ended = outwards => ended?,
                () = async { inwards.await; std::future::pending().await } => {}
            },
        }
        outlet.close().await
    };
    // Clients send their last bytes and close at once.
    let closed = async {
        inbox.closed().await;
        if ending == Ending::Port {
            let _ = timeout(LAST_BYTES, taken.cancelled()).await;
        }
    };
    tokio::select! {
        _ = both => {}
        () = closed => {}
    }
}
