//! Puts the firewall back when somebody takes it away.
//!
//! A reload of the host's own firewall service flushes every table, ours included, and would leave the
//! host open to its sandboxes. The kernel tells of each change; after one that touches our table, the
//! rules are compared with what they were when we made them.

use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use tokio_util::sync::CancellationToken;

use super::config::NetworkConfig;
use super::table::{self, TableError};

/// The kernel's group for changes of nftables.
const GROUP_NFTABLES: u32 = 7;

/// A change comes as many messages; the rules are compared once, after the last of them.
const SETTLE: Duration = Duration::from_millis(20);

/// At most this often, whatever others do to their own tables.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct TableWatch {
    events: TokioSocket,
    config: NetworkConfig,
    expected: String,
}

impl TableWatch {
    /// Puts the table in place and listens from then on.
    pub async fn start(config: NetworkConfig) -> Result<Self, TableError> {
        let events = listen().map_err(TableError::Watch)?;
        table::apply(&config).await?;
        let expected = table::current(&config).await?.unwrap_or_default();
        Ok(Self {
            events,
            config,
            expected,
        })
    }

    /// Watches until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.changed() => {
                    // Overrun: too much happened to be told of, so anything may have.
                    if let Ok(false) = changed {
                        continue;
                    }
                }
            }
            tokio::time::sleep(SETTLE).await;
            if let Err(error) = self.repair().await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot put the firewall table back: sandboxes may reach this host"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn repair(&self) -> Result<(), TableError> {
        if table::current(&self.config).await?.as_deref() == Some(self.expected.as_str()) {
            return Ok(());
        }
        table::apply(&self.config).await?;
        tracing::warn!(
            table = self.config.table,
            "the firewall table was changed by somebody else and is back"
        );
        Ok(())
    }

    /// Waits for news and says whether it names our table.
    async fn changed(&mut self) -> io::Result<bool> {
        let (datagram, _) = self.events.recv_from_full().await?;
        Ok(mentions(&datagram, &self.config.table))
    }
}

fn listen() -> io::Result<TokioSocket> {
    let mut events = TokioSocket::new(NETLINK_NETFILTER)?;
    events.socket_mut().bind(&SocketAddr::new(0, 0))?;
    events.socket_mut().add_membership(GROUP_NFTABLES)?;
    Ok(events)
}

/// Every message about a table, and about what is in one, holds the table's name as a text that ends
/// with a zero.
fn mentions(datagram: &[u8], table: &str) -> bool {
    let mut name = table.as_bytes().to_vec();
    name.push(0);
    datagram.windows(name.len()).any(|window| window == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_a_longer_name_is_not_ours() {
        assert!(mentions(b"\x01\x00alcove_a1\0\x00", "alcove_a1"));
        assert!(!mentions(b"\x01\x00alcove_a12\0\x00", "alcove_a1"));
        assert!(!mentions(b"", "alcove_a1"));
    }
}
