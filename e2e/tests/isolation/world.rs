//! A host that is a network namespace, with an internet behind it.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{HostProcess, Inside};

/// The internet's server; the same machine has the addresses of [`CLOSED`].
pub const INTERNET: &str = "203.0.113.7";
/// Its address of the other kind, which no sandbox has.
pub const INTERNET_SIXTH: &str = "[2001:db8:7::7]";
/// Another machine of the internet.
pub const ELSEWHERE: &str = "192.0.2.7";
pub const HOST: &str = "198.51.100.2";

/// Private networks, link-local ones with the place where clouds keep their secrets, and others that are never the
/// internet.
pub const CLOSED: [&str; 7] = [
    "10.9.9.9",
    "100.64.1.1",
    "169.254.169.254",
    "172.20.1.1",
    "192.0.0.10",
    "192.168.77.1",
    "198.18.0.1",
];

pub fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status()
        .unwrap();
    assert!(status.success(), "ip {arguments}");
}

#[expect(
    unsafe_code,
    reason = "unshare is marked unsafe for flags other than this one"
)]
fn enter_new_network() {
    // SAFETY: only the flag that unshares the descriptor table could make another thread's descriptors invalid; this
    // one does not. JUSTIFICATION: there is no safe call that makes a network namespace.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
}

/// A network namespace of its own, empty.
pub fn new_network() -> OwnedFd {
    let made = std::thread::spawn(|| {
        enter_new_network();
        OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap())
    });
    made.join().unwrap()
}

/// Runs `work` in a network namespace and waits for it.
pub fn within<T: Send>(network: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(network.as_fd(), Some(kind)).unwrap();
            work()
        });
        inside.join().unwrap()
    })
}

/// A machine behind the host, at the other end of a cable of its own.
///
/// `number` tells its networks apart: 198.51.10N.0/24 and `2001:db8:N::/64` between the two.
fn machine(number: u8, interface: &str) -> OwnedFd {
    let machine = new_network();
    let path = format!("/proc/{}/fd/{}", std::process::id(), machine.as_raw_fd());
    ip(&format!(
        "link add {interface} type veth peer name wan netns {path}"
    ));
    ip(&format!(
        "address add 198.51.10{number}.2/24 dev {interface}"
    ));
    ip(&format!(
        "address add 2001:db8:{number}::2/64 dev {interface} nodad"
    ));
    ip(&format!("link set {interface} up"));
    within(&machine, || {
        ip("link set lo up");
        ip(&format!("address add 198.51.10{number}.1/24 dev wan"));
        ip(&format!(
            "address add 2001:db8:{number}::1/64 dev wan nodad"
        ));
        ip("link set wan up");
        ip(&format!("route add default via 198.51.10{number}.2"));
        ip(&format!("-6 route add default via 2001:db8:{number}::2"));
    });
    machine
}

/// Makes an attempt until it finds its way, which a link that was just made may take a while to be.
///
/// The kernel looks at changes of links up to a second later and drops what is sent before; a lost question for a
/// neighbour's address is asked again a second later still, when a probe has given up.
fn until_reached(attempt: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let outcome = crate::support::on_host(attempt);
        if outcome == "ok hello" {
            return;
        }
        assert!(Instant::now() < deadline, "{attempt}: {outcome}");
    }
}

fn serve(machine: &OwnedFd, addresses: &[&str]) -> HostProcess {
    let places: Vec<String> = addresses
        .iter()
        .flat_map(|address| [8080, 53, 443].map(|port| format!(" {address}:{port}")))
        .collect();
    within(machine, || {
        for address in addresses {
            let address = address.trim_matches(['[', ']']);
            let rest = if address.contains(':') {
                "/128 dev lo nodad"
            } else {
                "/32 dev lo"
            };
            ip(&format!("address add {address}{rest}"));
        }
        HostProcess::hold(&format!("serve{}", places.concat()))
    })
}

/// Runs a test whose host is a network namespace with two machines behind it, each in a namespace of its own, and with
/// IPv6 that leads to both.
pub fn in_world<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        enter_new_network();
        ip("link set lo up");
        for switch in ["all/disable_ipv6", "default/disable_ipv6"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{switch}"), "0").unwrap();
        }
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        let (internet, elsewhere) = (machine(0, "up0"), machine(1, "up1"));
        let addresses: Vec<&str> = CLOSED
            .into_iter()
            .chain([INTERNET, INTERNET_SIXTH])
            .collect();
        let servers = [
            serve(&internet, &addresses),
            serve(&elsewhere, &[ELSEWHERE]),
        ];
        ip("route add default via 198.51.100.1");
        ip(&format!("route add {ELSEWHERE}/32 via 198.51.101.1"));
        ip("-6 route add default via 2001:db8:0::1");
        for address in [INTERNET, INTERNET_SIXTH, ELSEWHERE] {
            until_reached(&format!("tcp {address}:8080"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
        drop(servers);
    });
    thread.join().unwrap();
}

/// Waits until a machine that the host passes everything on for finds its way.
pub fn until_reached_from_a_neighbour(attempt: &str) {
    let neighbour = machine(9, "nb0");
    within(&neighbour, || until_reached(attempt));
    ip("link delete nb0");
}

/// Whether nothing came back, or something said that nothing will.
pub fn is_closed(outcome: &str) -> bool {
    [
        "ETIMEDOUT",
        "ECONNREFUSED",
        "ECONNRESET",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "EPERM",
        "EINVAL",
        "EACCES",
    ]
    .contains(&outcome)
}

pub async fn expect_closed(inside: &Inside<'_>, attempts: &[String]) {
    for (attempt, outcome) in attempts.iter().zip(inside.probes(attempts).await) {
        assert!(is_closed(&outcome), "{attempt}: {outcome}");
    }
}
