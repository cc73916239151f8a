//! One slot: a network namespace, a virtual cable into it, addresses and routes at both ends.
//!
//! The namespace belongs to the host's user namespace, so that even root of a sandbox can change neither
//! addresses nor routes, nor open a raw socket. Everything hangs on the namespace: when its last
//! descriptor and its last process are gone, the kernel removes the cable, and with it the host's route
//! and neighbour entry. A half-made slot therefore needs no undo but dropping the descriptor.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};
use std::{fs, thread};

use alcove_runner_api::v1::FaultCode;
use rustix::io::Errno;

use super::config::SlotIndex;
use super::netlink::{Mac, Netlink, VethPair};

/// The sandbox's end of the cable, as it is called inside.
const INNER_INTERFACE: &str = "eth0";

/// The kernel takes at most a second, most often a millisecond.
const CARRIER_PATIENCE: Duration = Duration::from_secs(3);
const CARRIER_POLL: Duration = Duration::from_millis(1);

/// A network for one sandbox. Used once; given back by its index.
#[derive(Debug)]
pub struct NetworkSlot {
    pub index: SlotIndex,
    pub address: Ipv4Addr,
    /// The default gateway, and the resolver to name in `/etc/resolv.conf`.
    pub gateway: Ipv4Addr,
    pub host_interface: String,
    /// The namespace to enter. The slot's interface lives as long as this descriptor or a process in it.
    pub netns: OwnedFd,
}

/// Why there is no network for a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    #[error("all {capacity} network slots are in use")]
    Full { capacity: u16 },
    #[error("the host's limit of network namespaces is reached")]
    NamespaceLimit,
    #[error("the host has no memory left for a network")]
    HostMemory(#[source] io::Error),
    #[error("the host has no process slot left to make a network")]
    HostPids(#[source] io::Error),
    #[error("cannot make a network: step `{step}` failed")]
    Step {
        step: SlotStep,
        #[source]
        source: io::Error,
    },
    #[error("the network is being shut down")]
    Closed,
}

impl SlotError {
    /// The word for it in the runner's reports.
    pub fn fault_code(&self) -> FaultCode {
        match self {
            Self::Full { .. } | Self::NamespaceLimit => FaultCode::NetworkSlotsFull,
            Self::HostMemory(_) => FaultCode::HostMemoryFull,
            Self::HostPids(_) => FaultCode::HostPidsFull,
            Self::Step { .. } | Self::Closed => FaultCode::Internal,
        }
    }

    fn at(step: SlotStep, source: io::Error) -> Self {
        match Errno::from_io_error(&source) {
            Some(Errno::NOMEM | Errno::NOBUFS) => Self::HostMemory(source),
            Some(Errno::AGAIN) if step == SlotStep::Namespace => Self::HostPids(source),
            Some(Errno::NOSPC) if step == SlotStep::Namespace => Self::NamespaceLimit,
            _ => Self::Step { step, source },
        }
    }
}

/// The steps of making a slot, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotStep {
    Namespace,
    Cable,
    InnerAddress,
    InnerRoutes,
    HostInterface,
    HostRoute,
    Carrier,
}

impl SlotStep {
    #[cfg(test)]
    pub(super) const ALL: [Self; 7] = [
        Self::Namespace,
        Self::Cable,
        Self::InnerAddress,
        Self::InnerRoutes,
        Self::HostInterface,
        Self::HostRoute,
        Self::Carrier,
    ];
}

impl std::fmt::Display for SlotStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Namespace => "namespace",
            Self::Cable => "cable",
            Self::InnerAddress => "address inside",
            Self::InnerRoutes => "routes inside",
            Self::HostInterface => "interface on the host",
            Self::HostRoute => "route on the host",
            Self::Carrier => "carrier",
        })
    }
}

/// All that is decided about a slot before it is made.
#[derive(Debug, Clone)]
pub(super) struct SlotPlan {
    pub index: SlotIndex,
    pub address: Ipv4Addr,
    pub gateway: Ipv4Addr,
    pub host_interface: String,
    pub mtu: u32,
}

/// Makes a slot. Blocks for some milliseconds, most of them under the kernel's network lock.
pub(super) fn make(plan: SlotPlan) -> Result<NetworkSlot, SlotError> {
    make_with(plan, &mut |_| Ok(()))
}

/// Like [`make`], asking `before` ahead of each step; its error fails the step.
fn make_with(
    plan: SlotPlan,
    before: &mut dyn FnMut(SlotStep) -> io::Result<()>,
) -> Result<NetworkSlot, SlotError> {
    let mut step = |step: SlotStep, work: &mut dyn FnMut() -> io::Result<()>| {
        before(step)
            .and_then(|()| work())
            .map_err(|source| SlotError::at(step, source))
    };
    let (host_mac, inner_mac) = macs(plan.index);

    let mut namespace = None;
    step(SlotStep::Namespace, &mut || {
        namespace = Some(Namespace::make()?);
        Ok(())
    })?;
    let Some(mut namespace) = namespace else {
        return Err(SlotError::Closed);
    };

    let mut host = Netlink::open().map_err(|source| SlotError::at(SlotStep::Cable, source))?;
    step(SlotStep::Cable, &mut || {
        host.veth_add(&VethPair {
            host_name: &plan.host_interface,
            host_mac,
            peer_name: INNER_INTERFACE,
            peer_mac: inner_mac,
            peer_netns: namespace.descriptor.as_fd(),
            mtu: plan.mtu,
        })
    })?;

    let inner = &mut namespace.netlink;
    let mut inner_index = 0;
    step(SlotStep::InnerAddress, &mut || {
        inner_index = inner.link(INNER_INTERFACE)?.index;
        inner.address_add(inner_index, plan.address, 32, None)?;
        inner.link_set_up(inner_index)
    })?;
    step(SlotStep::InnerRoutes, &mut || {
        inner.neighbour_add(inner_index, plan.gateway, host_mac)?;
        inner.route_add_on_link(inner_index, plan.gateway, None)?;
        inner.route_add_default(inner_index, plan.gateway)
    })?;

    let mut host_index = 0;
    step(SlotStep::HostInterface, &mut || {
        host_index = host.link(&plan.host_interface)?.index;
        // Before the link is up: else the kernel starts to look for IPv6 routers on it.
        let switch = format!(
            "/proc/sys/net/ipv6/conf/{}/disable_ipv6",
            plan.host_interface
        );
        write_if_there(&switch, "1")?;
        host.link_set_up(host_index)
    })?;
    step(SlotStep::HostRoute, &mut || {
        host.neighbour_add(host_index, plan.address, inner_mac)?;
        host.route_add_on_link(host_index, plan.address, Some(plan.gateway))
    })?;
    // The end that was up first throws packets away until the kernel has noticed, in its own time, that
    // the other one is up too. Asking makes newer kernels (6.8) notice at once.
    step(SlotStep::Carrier, &mut || {
        let deadline = Instant::now() + CARRIER_PATIENCE;
        while !inner.link(INNER_INTERFACE)?.is_operational {
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(CARRIER_POLL);
        }
        Ok(())
    })?;

    Ok(NetworkSlot {
        index: plan.index,
        address: plan.address,
        gateway: plan.gateway,
        host_interface: plan.host_interface,
        netns: namespace.descriptor,
    })
}

/// A network in which there is nothing but the loopback. Blocks.
pub(crate) fn nothing_but_itself() -> io::Result<OwnedFd> {
    Ok(Namespace::make()?.descriptor)
}

/// Locally administered addresses, one pair a slot: known in advance, nobody needs to ask for them.
fn macs(index: SlotIndex) -> (Mac, Mac) {
    let [high, low] = index.0.to_be_bytes();
    (
        [0x02, 0xa1, 0xc0, 0x00, high, low],
        [0x02, 0xa1, 0xc0, 0x01, high, low],
    )
}

/// A new namespace and a configuration socket that works in it.
struct Namespace {
    descriptor: OwnedFd,
    netlink: Netlink,
}

impl Namespace {
    /// A namespace can only be made by a thread that moves into it, so a thread of its own does it and
    /// ends: no thread of ours can be left behind in the wrong network.
    fn make() -> io::Result<Self> {
        thread::scope(|scope| {
            let maker = thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, || {
                    enter_new_network()?;
                    let descriptor = fs::File::open("/proc/thread-self/ns/net")?.into();
                    let mut netlink = Netlink::open()?;
                    // Before there is an interface, so that none ever has an IPv6 address.
                    write_if_there("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")?;
                    write_if_there("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?;
                    // Root inside has no power over this namespace: without these two it could neither
                    // listen on port 80 nor ping.
                    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
                    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
                    let loopback = netlink.link("lo")?;
                    netlink.link_set_up(loopback.index)?;
                    Ok(Self {
                        descriptor,
                        netlink,
                    })
                })?;
            maker.join().unwrap_or_else(|_| {
                Err(io::Error::other(
                    "the thread that makes namespaces panicked",
                ))
            })
        })
    }
}

/// Moves the calling thread into a new, empty network namespace.
#[expect(
    unsafe_code,
    reason = "unshare is marked unsafe for flags other than this one"
)]
pub(crate) fn enter_new_network() -> io::Result<()> {
    // SAFETY: only the flag that unshares the descriptor table could make another thread's descriptors
    // invalid; this one does not. JUSTIFICATION: there is no safe call that makes a network namespace.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?;
    Ok(())
}

/// Writes a kernel setting that a kernel without IPv6 does not have.
fn write_if_there(path: &str, value: &str) -> io::Result<()> {
    match fs::write(path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
