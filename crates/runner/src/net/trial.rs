//! The network tried out: a cable and the firewall's rules in a namespace that lasts as long as the trial, and a
//! look at the host's own network, of which nothing is changed.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

use super::config::NetworkConfig;
use super::host::{HostError, Survey};
use super::netlink::{Netlink, VethPair};
use super::slot::enter_new_network;
use super::table::{self, TableError};

const DNS_PORT: u16 = 53;

/// Parts of the loopback network in which the port is tried. Each process has an address of its own in each, so that
/// two trials do not take each other for a name server.
const DNS_NETWORKS: [u8; 3] = [64, 128, 192];

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// What was tried in the throwaway namespace. `None` is what could not be.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    pub namespace: Option<io::Result<()>>,
    pub cable: Option<io::Result<()>>,
    pub rules: Option<Result<(), TableError>>,
}

/// Blocking. The namespace goes with the thread that it is made for.
pub(crate) fn try_out(config: &NetworkConfig) -> io::Result<Trial> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("network-trial".to_owned())
            .spawn_scoped(scope, || try_in_new_namespace(config))?;
        thread
            .join()
            .map_err(|_| io::Error::other("the thread that tries the network panicked"))
    })
}

fn try_in_new_namespace(config: &NetworkConfig) -> Trial {
    let mut trial = Trial::default();
    let entered = enter_new_network();
    let is_inside = entered.is_ok();
    trial.namespace = Some(entered);
    // Anything below would change the host's own network.
    if !is_inside {
        return trial;
    }
    trial.cable = Some(try_cable());
    // The program is started by this thread, and so it is born in this thread's namespace.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    trial.rules = Some(match runtime {
        Ok(runtime) => runtime.block_on(table::apply(config, "")),
        Err(error) => Err(TableError::Run(error)),
    });
    trial
}

fn try_cable() -> io::Result<()> {
    let own = File::open("/proc/thread-self/ns/net")?;
    let mut netlink = Netlink::open()?;
    netlink.veth_add(&VethPair {
        host_name: "trial0",
        host_mac: [2, 0, 0, 0, 0, 1],
        peer_name: "trial1",
        peer_mac: [2, 0, 0, 0, 0, 2],
        peer_netns: own.as_fd(),
        mtu: 1500,
    })?;
    let link = netlink.link("trial0")?;
    netlink.link_set_up(link.index)
}

/// Whether the pool is free on this host.
pub(crate) fn check_pool(config: &NetworkConfig) -> Result<(), HostError> {
    let mut netlink = Netlink::open().map_err(|source| HostError::Read {
        what: "interfaces",
        source,
    })?;
    Survey::take(&mut netlink)?.check(config)
}

/// Whether the host passes packets on, and whether that can be turned on.
pub(crate) fn forwarding() -> io::Result<(bool, bool)> {
    let is_on = fs::read_to_string(FORWARDING)?.trim() == "1";
    let can_be_set = rustix::fs::access(FORWARDING, rustix::fs::Access::WRITE_OK).is_ok();
    Ok((is_on, can_be_set))
}

/// Whether the resolver's port is free on addresses of our own. One who has it on all addresses is in the way on
/// any address of the loopback network, where nobody else has a reason to be.
pub(crate) fn check_dns_port() -> io::Result<()> {
    let mut result = Ok(());
    // A process number has 22 bits.
    let [_, second, third, fourth] = std::process::id().to_be_bytes();
    for network in DNS_NETWORKS {
        let address = Ipv4Addr::new(127, network | second, third, fourth);
        result = UdpSocket::bind((address, DNS_PORT))
            .and_then(|_held| TcpListener::bind((address, DNS_PORT)))
            .map(drop);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The base chains of all tables, as nft's JSON; of `iptables` in its old form, the policy line of FORWARD and
/// INPUT where that program is there.
pub(crate) fn foreign_rules() -> io::Result<(String, String)> {
    let run = |program: &str, arguments: &[&str]| -> io::Result<String> {
        let output = Command::new(program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let chains = run("nft", &["-j", "list", "chains"])?;
    // Asking would load the old form's modules where nobody uses it.
    let uses_old_form = fs::read_to_string("/proc/net/ip_tables_names")
        .is_ok_and(|tables| tables.lines().any(|table| table == "filter"));
    let old_form = if uses_old_form {
        run("iptables-legacy", &["-S"]).unwrap_or_default()
    } else {
        String::new()
    };
    Ok((chains, old_form))
}
