//! Puts the firewall back when somebody takes it away.
//!
//! A reload of the host's own firewall service flushes every table, ours included, and would leave the
//! host open to its sandboxes. The kernel tells of each change; after one that touches our table, the
//! rules are compared with what they were when we made them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use tokio_util::sync::CancellationToken;

use super::config::NetworkConfig;
use super::nfnetlink::port;
use super::policy::Policies;
use super::table::{self, Found, TableError};

/// The kernel's group for changes of nftables.
const GROUP_NFTABLES: u32 = 7;

/// A change comes as many messages; the rules are compared once, after the last of them.
const SETTLE: Duration = Duration::from_millis(20);

/// At most this often, whatever others do to their own tables.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct TableWatch {
    events: TokioSocket,
    config: NetworkConfig,
    policies: Arc<Policies>,
    /// The table as it was without a policy in it.
    expected: Found,
}

impl TableWatch {
    /// Puts the table in place, with all entries that should be in it, and listens from then on.
    pub async fn start(config: NetworkConfig, policies: Arc<Policies>) -> Result<Self, TableError> {
        let events = listen().map_err(TableError::Watch)?;
        let state = policies.lock().await;
        table::apply(&config, &state.script(&config)).await?;
        let mut expected = table::current(&config).await?.unwrap_or_default();
        for set in state.elements(&config).keys() {
            expected.elements.remove(set);
        }
        drop(state);
        Ok(Self {
            events,
            config,
            policies,
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
        // From the look to the repair, so that neither misses a change of ours.
        let state = self.policies.lock().await;
        let mut expected = self.expected.clone();
        expected.elements.extend(state.elements(&self.config));
        if table::current(&self.config).await?.as_ref() == Some(&expected) {
            return Ok(());
        }
        table::apply(&self.config, &state.script(&self.config)).await?;
        tracing::warn!(
            table = self.config.table,
            "the firewall table was changed by somebody else and is back"
        );
        Ok(())
    }

    /// Waits for news and says whether it names our table, and the change is not ours.
    async fn changed(&mut self) -> io::Result<bool> {
        let (datagram, _) = self.events.recv_from_full().await?;
        let is_own = port(&datagram).is_some_and(|port| self.policies.is_own(port));
        Ok(!is_own && mentions(&datagram, &self.config.table))
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
