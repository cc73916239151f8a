//! Which servers to ask: the host's own, also after they change.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the file is read, at most; it is read only while there are queries.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// As in the C library: more servers than three are not read.
const MAX_SERVERS: usize = 3;

#[derive(Debug)]
pub(super) struct Upstreams {
    /// None where the operator named the servers.
    path: Option<PathBuf>,
    /// Our own address: asking it would make a loop.
    own: Ipv4Addr,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    looked_at: Option<Instant>,
    text: String,
    servers: Vec<SocketAddr>,
}

impl Upstreams {
    pub fn new(path: PathBuf, own: Ipv4Addr) -> Self {
        Self {
            path: Some(path),
            own,
            state: Mutex::default(),
        }
    }

    /// These and no others.
    pub fn named(servers: Vec<SocketAddr>, own: Ipv4Addr) -> Self {
        Self {
            path: None,
            own,
            state: Mutex::new(State {
                servers,
                ..State::default()
            }),
        }
    }

    /// The servers to ask, the best one first.
    pub fn servers(&self) -> Vec<SocketAddr> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = state.looked_at.is_some_and(|at| at.elapsed() < LOOK_EVERY);
        if let Some(path) = self.path.as_ref().filter(|_| !is_fresh) {
            state.looked_at = Some(Instant::now());
            // Read each time, rather than when its time of change has moved: two writes can have the
            // same time. It is small.
            let text = fs::read_to_string(path).unwrap_or_default();
            if text != state.text {
                state.servers = parse(&text, self.own);
                state.text = text;
            }
        }
        state.servers.clone()
    }

    /// Asks `server` last from now on: it did not answer.
    pub fn demote(&self, server: SocketAddr) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.servers.first() == Some(&server) {
            state.servers.rotate_left(1);
        }
    }
}

/// The servers of a `resolv.conf`, without `own`.
fn parse(text: &str, own: Ipv4Addr) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        // A scope such as `fe80::1%eth0` is not understood, and such a line is left out.
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .filter(|address| *address != IpAddr::V4(own))
        .take(MAX_SERVERS)
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);

    #[test]
    fn name_servers_are_read_and_our_own_address_is_left_out() {
        let text = "# comment\nsearch lan\nnameserver 10.200.0.1\nnameserver 192.0.2.1 # x\n\
                    nameserver\nnameserver nonsense\n  nameserver fd00::53\noptions edns0\n";
        let servers = parse(text, OWN);
        assert_eq!(
            servers,
            [
                "192.0.2.1:53".parse().unwrap(),
                "[fd00::53]:53".parse().unwrap()
            ]
        );
    }

    #[test]
    fn a_silent_server_is_asked_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        fs::write(&path, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n").unwrap();
        let upstreams = Upstreams::new(path, OWN);
        let before = upstreams.servers();
        upstreams.demote(before[0]);
        assert_eq!(upstreams.servers(), [before[1], before[0]]);
        upstreams.demote(before[0]);
        assert_eq!(
            upstreams.servers(),
            [before[1], before[0]],
            "only the first can be demoted"
        );
    }

    #[test]
    fn servers_that_the_operator_named_are_asked_and_take_turns() {
        let servers = ["192.0.2.1:5353", "192.0.2.2:53"].map(|text| text.parse().unwrap());
        let upstreams = Upstreams::named(servers.to_vec(), OWN);
        assert_eq!(upstreams.servers(), servers);
        upstreams.demote(servers[0]);
        assert_eq!(upstreams.servers(), [servers[1], servers[0]]);
    }

    #[test]
    fn a_missing_file_means_no_servers() {
        assert!(
            Upstreams::new("/nonexistent/resolv.conf".into(), OWN)
                .servers()
                .is_empty()
        );
    }

    proptest! {
        #[test]
        fn any_file_is_read_without_a_panic(text in "\\PC*") {
            prop_assert!(parse(&text, OWN).len() <= MAX_SERVERS);
        }
    }
}
