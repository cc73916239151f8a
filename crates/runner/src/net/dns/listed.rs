//! The resolver for a sandbox that may reach some names only.
//!
//! Nothing that the sandbox wrote is passed on. A question for the addresses of a listed name is asked anew, in a
//! message of our own; any other is answered here, so that no query for an unlisted name leaves the host, however it
//! is dressed. The answer is read strictly, its addresses are opened, and what the sandbox gets is again a message of
//! our own with nothing but these addresses.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use alcove_domain::HostName;
use tokio::time::timeout;

use super::super::names::{LIFETIME_MAX, ListedNames, OpenError};
use super::answer::{self, Answer};
use super::wire::{self, Query, Rcode};
use super::{MAX_ATTEMPTS, Shared, Transport, UPSTREAM_TIMEOUT, ask};

impl Shared {
    pub(super) async fn answer_listed(
        &self,
        query: &Query<'_>,
        names: Arc<ListedNames>,
    ) -> Vec<u8> {
        // Not that it is refused: programs take that for a fault that passes, and try again.
        let Some(name) = query.name().filter(|name| names.allows(name)) else {
            return query.refusal(Rcode::NoSuchName);
        };
        // Sandboxes have no IPv6, and records of other kinds only say how else to reach what the gate keeps closed.
        if !query.asks_for_addresses() {
            return query.refusal(Rcode::NoError);
        }
        match self.addresses_of(&name).await {
            Some(Answer::Addresses {
                addresses,
                ttl_secs,
            }) => self.open(query, names, name, &addresses, ttl_secs).await,
            Some(Answer::NoSuchName) => query.refusal(Rcode::NoSuchName),
            Some(Answer::Truncated | Answer::Failure) | None => query.refusal(Rcode::ServerFailure),
        }
    }

    async fn open(
        &self,
        query: &Query<'_>,
        names: Arc<ListedNames>,
        name: HostName,
        addresses: &[Ipv4Addr],
        ttl_secs: u32,
    ) -> Vec<u8> {
        // Whoever owns a listed name may say what they like of it, also that it is a machine next to this one.
        let outside: Vec<Ipv4Addr> = addresses
            .iter()
            .copied()
            .filter(|address| self.outside.has(*address))
            .collect();
        if outside.len() < addresses.len() {
            tracing::info!(%name, "left out addresses of a name that no sandbox may reach");
        }
        let ttl = Duration::from_secs(ttl_secs.into()).min(LIFETIME_MAX);
        let (policies, opened, asked) = (Arc::clone(&self.policies), outside.clone(), name.clone());
        // The kernel may be at work on another table of the host.
        let open = move || names.open(&*policies, &asked, &opened, ttl);
        let done = tokio::task::spawn_blocking(open).await;
        match done.unwrap_or(Err(OpenError::Interrupted)) {
            Ok(()) => query.addresses(&outside, u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)),
            Err(error) => {
                tracing::warn!(
                    %name,
                    error = &error as &dyn std::error::Error,
                    "cannot open the addresses of a name to a sandbox"
                );
                query.refusal(Rcode::ServerFailure)
            }
        }
    }

    /// Asks for the addresses of a name; `None` where no server gave an answer that can be read.
    async fn addresses_of(&self, name: &HostName) -> Option<Answer> {
        let message = wire::address_query(name);
        let query = Query::parse(&message).ok()?;
        let mut failure = None;
        for server in self.upstreams.servers().into_iter().take(MAX_ATTEMPTS) {
            let asked = async {
                let mut read = read(&ask(&query, server, Transport::Datagram).await?);
                if read == Some(Answer::Truncated) {
                    read = self::read(&ask(&query, server, Transport::Stream).await?);
                }
                std::io::Result::Ok(read)
            };
            match timeout(UPSTREAM_TIMEOUT, asked).await {
                Ok(Ok(Some(answer @ (Answer::Addresses { .. } | Answer::NoSuchName)))) => {
                    return Some(answer);
                }
                Ok(Ok(other)) => failure = other,
                Ok(Err(_)) | Err(_) => self.upstreams.demote(server),
            }
        }
        failure
    }
}

fn read(message: &[u8]) -> Option<Answer> {
    answer::read(message).ok()
}
