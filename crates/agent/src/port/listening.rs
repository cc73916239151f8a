//! Which TCP ports something listens on.

use std::collections::BTreeSet;
use std::io;

use crate::port::diag;

/// The kernel's tables, for where it does not answer questions about sockets.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// State of a listening socket in those tables.
const LISTEN: &str = "0A";

/// Ports of the network namespace that we are in, over IPv4 and IPv6. Blocks for as long as the kernel takes to look
/// through its sockets.
///
/// # Errors
/// The kernel tells neither way.
pub fn listening() -> io::Result<BTreeSet<u16>> {
    diag::listening().or_else(|_| of_tables())
}

fn of_tables() -> io::Result<BTreeSet<u16>> {
    let [v4, v6] = TABLES.map(std::fs::read_to_string);
    // A kernel without IPv6 has no second one.
    Ok(ports_of(&v4?)
        .chain(ports_of(&v6.unwrap_or_default()))
        .collect())
}

/// Lines are `number: address:port remote:port state …`, numbers in hexadecimal.
fn ports_of(table: &str) -> impl Iterator<Item = u16> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        let (_, port) = local.rsplit_once(':')?;
        (state == LISTEN).then(|| u16::from_str_radix(port, 16).ok())?
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_seen_both_ways_and_a_connection_is_not() {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = v4.local_addr().unwrap().port();
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let of_client = client.local_addr().unwrap().port();
        for ports in [listening().unwrap(), of_tables().unwrap()] {
            assert!(ports.contains(&port) && !ports.contains(&of_client));
        }
        if let Ok(v6) = TcpListener::bind("[::1]:0") {
            let port = v6.local_addr().unwrap().port();
            for ports in [listening().unwrap(), of_tables().unwrap()] {
                assert!(ports.contains(&port));
            }
        }
    }

    #[test]
    fn only_listening_lines_of_a_table_count() {
        let table = "  sl  local_address rem_address   st\n   \
            0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000\n   \
            1: 0100007F:0BB9 0100007F:0BBA 01 00000000:00000000\n   2: broken\n";
        assert_eq!(ports_of(table).collect::<Vec<_>>(), [3000]);
    }
}
