//! The network of the sandboxes: a slot each, one firewall table, one resolver.
//!
//! ```text
//!   sandbox            │ host
//!   eth0 10.200.0.2/32 ┼─ alc1a2b3c-1 ──> firewall ──> masquerade ──> uplink
//!   default via        │                     │
//!        10.200.0.1 ───┼── on lo: resolver, ping      (nothing else of the host)
//! ```
//!
//! There is no bridge: each sandbox has a cable of its own, and the host routes. The firewall stands
//! before the first slot exists ([`table`] says what it lets pass), and a slot reaches nothing before it
//! has a policy ([`policy`]), so there is no moment in which a sandbox runs without one. Slots outlive the
//! server: a new one finds them by name and number, and is told their policies.

mod config;
mod conntrack;
mod dns;
mod door;
mod elements;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod gate;
mod host;
mod indices;
mod links;
mod names;
mod netlink;
mod nfnetlink;
mod outside;
mod policy;
mod pool;
mod shares;
mod sightings;
mod slot;
mod sockets;
mod table;
mod traffic;
pub(crate) mod trial;
mod watch;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use alcove_runner_api::{NetworkSpec, NetworkUsage, Sighting};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::config::{
    DEFAULT_QUARANTINE, DEFAULT_READY_SLOTS, Ipv4Pool, NetworkConfig, PoolParseError,
    PrivateNetwork, PrivateNetworkError, Rate, SlotIndex,
};
pub use self::door::InsideDoor;
pub use self::host::HostError;
pub use self::policy::PolicyError;
pub use self::pool::SlotCounts;
pub(crate) use self::slot::nothing_but_itself;
pub use self::slot::{NetworkSlot, SlotError, SlotStep};
pub use self::table::{LIMITED_MARK, TableError};

use self::dns::Resolver;
use self::gate::Gate;
use self::host::Survey;
use self::netlink::Netlink;
use self::policy::Policies;
use self::pool::Pool;
use self::watch::TableWatch;

/// How long a close waits for the interfaces to go.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// Why the network cannot be set up or taken down.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("cannot open the kernel's network configuration socket")]
    Netlink(#[source] io::Error),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(
        "cannot listen on {address}:53 for the sandboxes' DNS; does another server use the same `network.pool`?"
    )]
    Resolver {
        address: Ipv4Addr,
        #[source]
        source: io::Error,
    },
    #[error(
        "cannot listen on {address}:{port} for what sandboxes send to names; does another server use that port?",
        port = gate::PORT
    )]
    Gate {
        address: Ipv4Addr,
        #[source]
        source: io::Error,
    },
    #[error("cannot start the thread that keeps network slots ready")]
    Thread(#[source] io::Error),
    #[error("the set-up of the network was cut off")]
    Interrupted,
}

/// The network of all sandboxes of one server.
///
/// Ended by [`Network::close`] or [`Network::detach`]; a drop stops the tasks and says so in the log.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
    pool: Arc<Pool>,
    policies: Arc<Policies>,
    missing: Vec<SlotIndex>,
    was_forwarding: bool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Network {
    /// Sets the network up, or takes over what an earlier server left running.
    ///
    /// `running` are the slots of sandboxes that still run, and what they may reach. Other interfaces with
    /// our prefix are strays and are removed in the background.
    pub async fn open(
        config: NetworkConfig,
        running: &[(SlotIndex, NetworkSpec)],
    ) -> Result<Self, NetworkError> {
        let survey = {
            let config = config.clone();
            blocking(move || prepare_host(&config)).await?
        };
        let opened = Self::open_on(config.clone(), &survey, running).await;
        if opened.is_err() && running.is_empty() {
            // Told by the error itself; this is the tidying up.
            let _ = remove_all(config).await;
        }
        opened
    }

    async fn open_on(
        config: NetworkConfig,
        survey: &Survey,
        running: &[(SlotIndex, NetworkSpec)],
    ) -> Result<Self, NetworkError> {
        // The firewall before the first slot, and before the host passes anything on.
        let policies = Arc::new(Policies::new(config.clone(), running));
        let watch = TableWatch::start(config.clone(), Arc::clone(&policies)).await?;
        let gateway = config.pool.gateway();
        let resolver = Resolver::bind(&config, Arc::clone(&policies)).map_err(|source| {
            NetworkError::Resolver {
                address: gateway,
                source,
            }
        })?;
        let gate = Gate::bind(&config, &policies).map_err(|source| NetworkError::Gate {
            address: gateway,
            source,
        })?;
        let was_forwarding = host::enable_forwarding()?;
        if !was_forwarding {
            tracing::info!(
                "turned on net.ipv4.ip_forward; this host now passes packets on between its networks"
            );
        }

        let Found {
            adopted,
            missing,
            strays,
        } = find(&config, survey, running);
        let pool = Pool::start(
            config.clone(),
            Arc::clone(&policies),
            survey.uplink_mtu(),
            &adopted,
            &strays,
        )
        .map_err(NetworkError::Thread)?;

        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(watch.run(stop.clone()));
        tasks.spawn(resolver.serve(stop.clone(), tasks.clone()));
        tasks.spawn(gate.serve(stop.clone(), tasks.clone()));
        Ok(Self {
            config,
            pool: Arc::new(pool),
            policies,
            missing,
            was_forwarding,
            stop,
            tasks,
        })
    }

    /// Those slots named as running at the start whose interface is gone: their sandboxes have no network.
    pub fn missing(&self) -> &[SlotIndex] {
        &self.missing
    }

    /// The gateway and resolver of every sandbox.
    pub fn gateway(&self) -> Ipv4Addr {
        self.config.pool.gateway()
    }

    /// Whether the host passed packets on before we made it do so.
    pub fn was_forwarding(&self) -> bool {
        self.was_forwarding
    }

    /// Takes a ready slot, or makes one when none is ready.
    ///
    /// The slot is in use from then on, whatever becomes of it: give it back by [`Network::release`].
    /// If the future is dropped, the slot goes to the next who asks.
    pub async fn take(&self) -> Result<NetworkSlot, SlotError> {
        self.pool.take().await
    }

    /// Says what the holder of a slot may reach, in the place of what was said before. Before that it
    /// reaches nothing. Connections that exist go on: see [`Network::cut`].
    ///
    /// # Errors
    /// Nothing has changed then.
    pub async fn set_policy(
        &self,
        index: SlotIndex,
        spec: &NetworkSpec,
    ) -> Result<(), PolicyError> {
        let spec = spec.clone();
        self.policies(move |policies| policies.set(index, &spec))
            .await
    }

    /// Ends the connections of a slot that its policy would not let begin.
    pub async fn cut(&self, index: SlotIndex) -> Result<(), PolicyError> {
        self.policies(move |policies| policies.cut(index)).await
    }

    async fn policies(
        &self,
        work: impl FnOnce(&Policies) -> Result<(), PolicyError> + Send + 'static,
    ) -> Result<(), PolicyError> {
        let policies = Arc::clone(&self.policies);
        // The kernel may be at work on another table of the host.
        tokio::task::spawn_blocking(move || work(&policies))
            .await
            .unwrap_or(Err(PolicyError::Interrupted))
    }

    /// Gives a slot back, once no process and no descriptor holds its namespace any more. Returns at
    /// once; the number becomes free when the interface has gone and its address has rested. An
    /// unknown number is ignored.
    pub fn release(&self, index: SlotIndex) {
        self.pool.release(index);
    }

    /// What has gone through the cable of each slot since it was laid.
    pub fn traffic(&self) -> HashMap<SlotIndex, NetworkUsage> {
        traffic::read(|interface| self.config.index_of(interface))
    }

    /// What went through the cable of one slot. None where it is gone.
    pub fn traffic_of(&self, slot: SlotIndex) -> Option<NetworkUsage> {
        traffic::of_interface(&self.config.interface(slot))
    }

    /// What sandboxes wanted of the network since the last time.
    pub async fn take_sightings(&self) -> Vec<Sighting> {
        let sightings = Arc::clone(self.policies.sightings());
        let pool = self.config.pool;
        let seen = move || {
            match conntrack::begun() {
                Ok(begun) => sightings.compare(pool, begun),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot read the kernel's connections"
                ),
            }
            sightings.take()
        };
        tokio::task::spawn_blocking(seen).await.unwrap_or_default()
    }

    pub fn counts(&self) -> SlotCounts {
        self.pool.counts()
    }

    /// Stops, leaving running sandboxes and their firewall as they are for the next server. Their DNS
    /// rests until then.
    pub async fn detach(&self) {
        let pool = Arc::clone(&self.pool);
        // The thread's end is a courtesy; an interrupted wait leaves nothing wrong.
        let _ = tokio::task::spawn_blocking(move || pool.close()).await;
        self.stop_tasks().await;
    }

    /// Removes all that was set up. While slots are in use this is [`Network::detach`]: without the
    /// firewall their sandboxes could reach the host. Forwarding stays on: others may rely on it by now.
    ///
    /// # Errors
    /// Names what could not be removed. The rest has been.
    pub async fn close(&self) -> Result<(), NetworkError> {
        let pool = Arc::clone(&self.pool);
        let drained = tokio::task::spawn_blocking(move || {
            pool.drain(CLOSE_PATIENCE);
            pool.close();
        });
        let _ = drained.await;
        self.stop_tasks().await;
        let in_use = self.counts().in_use;
        if in_use > 0 {
            tracing::info!(
                slots = in_use,
                "network slots are in use: the firewall stays"
            );
            return Ok(());
        }
        remove_all(self.config.clone()).await
    }

    async fn stop_tasks(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            tracing::warn!("the network was dropped without being closed or detached");
            self.stop.cancel();
        }
    }
}

fn prepare_host(config: &NetworkConfig) -> Result<Survey, NetworkError> {
    let mut netlink = Netlink::open().map_err(NetworkError::Netlink)?;
    let survey = Survey::take(&mut netlink)?;
    survey.check(config)?;
    survey.gateway_add(&mut netlink, config)?;
    Ok(survey)
}

/// Takes the firewall and the gateway's address away; tries the second also where the first fails.
async fn remove_all(config: NetworkConfig) -> Result<(), NetworkError> {
    let table = table::remove(&config).await;
    blocking(move || {
        let mut netlink = Netlink::open().map_err(NetworkError::Netlink)?;
        Ok(Survey::take(&mut netlink)?.gateway_delete(&mut netlink, &config)?)
    })
    .await?;
    Ok(table?)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send + 'static,
) -> Result<T, NetworkError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(NetworkError::Interrupted))
}

/// What the interfaces on the host say about the slots we were told of.
struct Found {
    adopted: Vec<SlotIndex>,
    missing: Vec<SlotIndex>,
    strays: Vec<SlotIndex>,
}

fn find(config: &NetworkConfig, survey: &Survey, running: &[(SlotIndex, NetworkSpec)]) -> Found {
    let present: HashSet<SlotIndex> = survey
        .links
        .iter()
        .filter_map(|link| config.index_of(&link.name))
        .collect();
    let running: HashSet<SlotIndex> = running.iter().map(|(index, _)| *index).collect();
    Found {
        adopted: present.intersection(&running).copied().collect(),
        missing: running.difference(&present).copied().collect(),
        strays: present.difference(&running).copied().collect(),
    }
}
