//! Forgetting connections: all of an address, so that its next holder does not inherit them, or those that a new
//! policy does not allow any more.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::nfnetlink::{
    FLAG_ACK, FLAG_REQUEST, Head, Message, NESTED, attribute, attributes, messages, request,
};

const SUBSYSTEM_CONNTRACK: u16 = 1;
const MESSAGE_GET: u16 = 1;
const MESSAGE_DELETE: u16 = 2;
const FLAG_DUMP: u16 = 0x300;

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const IDENTITY: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_SRC_PORT: u16 = 2;
const PROTOCOL_DST_PORT: u16 = 3;
const IP_V4_SRC: u16 = 1;
const IP_V4_DST: u16 = 2;
const FILTER_ORIG_FLAGS: u16 = 1;
const FILTER_REPLY_FLAGS: u16 = 2;
const FILTER_FLAG_SOURCE: u32 = 1;
const FILTER_FLAG_DESTINATION: u32 = 2;

/// Deletes every connection that one of these addresses began or that was begun to one. Walks the kernel's whole table
/// once, however many they are: it locks each of 262,144 buckets, which takes 5 ms where all are empty. For the background only.
///
/// Each connection is looked up and then deleted by its own tuple: kernel 6.1 takes a filter when it
/// lists, and refuses it when it deletes (`make guest` shows it).
pub(super) fn forget(addresses: &BTreeSet<Ipv4Addr>) -> io::Result<()> {
    let socket = open()?;
    let mut connections = Vec::new();
    walk(&socket, &list_all(), |entry| {
        let of_one =
            |begun: Begun| addresses.contains(&begun.from) || addresses.contains(&begun.to);
        if Begun::read(entry).is_some_and(of_one) {
            connections.push(Connection::read(entry));
        }
    })?;
    for connection in connections {
        delete(&socket, &delete_request(&connection.identity))?;
    }
    Ok(())
}

/// Deletes the connections that `address` began to others than those it reaches, and those that were begun to it by
/// others than those that reach it. Walks the kernel's whole table twice.
pub(super) fn cut(
    address: Ipv4Addr,
    reaches: impl Fn(Ipv4Addr) -> bool,
    is_reached_by: impl Fn(Ipv4Addr) -> bool,
) -> io::Result<()> {
    let socket = open()?;
    // One whose other end cannot be read is not known to be allowed.
    for connection in list(
        &socket,
        &list_request(IP_V4_SRC, FILTER_FLAG_SOURCE, address),
    )? {
        if !connection.peer.is_some_and(&reaches) {
            delete(&socket, &delete_request(&connection.identity))?;
        }
    }
    for connection in list(
        &socket,
        &list_request(IP_V4_DST, FILTER_FLAG_DESTINATION, address),
    )? {
        if !connection.beginner.is_some_and(&is_reached_by) {
            delete(&socket, &delete_request(&connection.identity))?;
        }
    }
    Ok(())
}

/// A connection, by the end that began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Begun {
    pub protocol: u8,
    pub from: Ipv4Addr,
    /// 0 where the protocol has none, as for the other end.
    pub from_port: u16,
    /// Where it was to go, whatever became of it.
    pub to: Ipv4Addr,
    pub to_port: u16,
}

/// All that stand in the kernel's table. Walks it once; blocks.
pub(super) fn begun() -> io::Result<Vec<Begun>> {
    let mut found = Vec::new();
    walk(&open()?, &list_all(), |entry| {
        found.extend(Begun::read(entry));
    })?;
    Ok(found)
}

impl Begun {
    fn read(entry: &[u8]) -> Option<Self> {
        let tuple = find(entry, TUPLE_ORIG)?;
        let ip = find(tuple, TUPLE_IP)?;
        let address = |kind| {
            let octets: [u8; 4] = find(ip, kind)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets))
        };
        let protocol = find(tuple, TUPLE_PROTOCOL)?;
        let port = |kind| {
            let bytes: [u8; 2] = find(protocol, kind)?.try_into().ok()?;
            Some(u16::from_be_bytes(bytes))
        };
        Some(Self {
            protocol: *find(protocol, PROTOCOL_NUMBER)?.first()?,
            from: address(IP_V4_SRC)?,
            from_port: port(PROTOCOL_SRC_PORT).unwrap_or(0),
            to: address(IP_V4_DST)?,
            to_port: port(PROTOCOL_DST_PORT).unwrap_or(0),
        })
    }
}

fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(kind, value, _)| (kind == wanted).then_some(value))
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// One entry of the kernel's table.
#[derive(Debug, PartialEq, Eq)]
struct Connection {
    /// What tells it from all others: those of its attributes that a delete must repeat.
    identity: Vec<u8>,
    /// Who answers, after any translation of addresses: where packets go when the firewall sees them.
    peer: Option<Ipv4Addr>,
    /// Who began it.
    beginner: Option<Ipv4Addr>,
}

impl Connection {
    fn read(entry: &[u8]) -> Self {
        let mut identity = Vec::new();
        let (mut peer, mut beginner) = (None, None);
        for (kind, value, whole) in attributes(entry) {
            if [TUPLE_ORIG, IDENTITY, ZONE].contains(&kind) {
                identity.extend_from_slice(whole);
            }
            if kind == TUPLE_REPLY {
                peer = source(value);
            }
            if kind == TUPLE_ORIG {
                beginner = source(value);
            }
        }
        Self {
            identity,
            peer,
            beginner,
        }
    }
}

fn source(tuple: &[u8]) -> Option<Ipv4Addr> {
    let address: [u8; 4] = find(find(tuple, TUPLE_IP)?, IP_V4_SRC)?.try_into().ok()?;
    Some(address.into())
}

fn list(socket: &Socket, request: &[u8]) -> io::Result<Vec<Connection>> {
    let mut found = Vec::new();
    walk(socket, request, |entry| found.push(Connection::read(entry)))?;
    Ok(found)
}

/// Shows each entry that the kernel answers with.
fn walk(socket: &Socket, request: &[u8], mut see: impl FnMut(&[u8])) -> io::Result<()> {
    socket.send(request, 0)?;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        for message in messages(&answer) {
            match Message::read(message)? {
                Message::Entry(attributes) => see(attributes),
                Message::Code(0) | Message::Done => return Ok(()),
                Message::Code(code) => return Err(io::Error::from_raw_os_error(-code)),
            }
        }
    }
}

fn delete(socket: &Socket, request: &[u8]) -> io::Result<()> {
    socket.send(request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match Message::read(&answer)? {
        Message::Code(0) => Ok(()),
        // Ended by itself meanwhile.
        Message::Code(code) if code == -libc::ENOENT => Ok(()),
        Message::Code(code) => Err(io::Error::from_raw_os_error(-code)),
        Message::Entry(_) | Message::Done => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn list_all() -> Vec<u8> {
    request(head(MESSAGE_GET, FLAG_REQUEST | FLAG_DUMP), &[])
}

fn list_request(attribute_kind: u16, flag: u32, address: Ipv4Addr) -> Vec<u8> {
    let ip = attribute(
        TUPLE_IP | NESTED,
        &attribute(attribute_kind, &address.octets()),
    );
    let tuple = attribute(TUPLE_ORIG | NESTED, &ip);
    let mut flags = attribute(FILTER_ORIG_FLAGS, &flag.to_ne_bytes());
    flags.extend(attribute(FILTER_REPLY_FLAGS, &0_u32.to_ne_bytes()));
    let filter = attribute(FILTER | NESTED, &flags);
    request(
        head(MESSAGE_GET, FLAG_REQUEST | FLAG_DUMP),
        &[tuple, filter].concat(),
    )
}

fn delete_request(connection: &[u8]) -> Vec<u8> {
    request(head(MESSAGE_DELETE, FLAG_REQUEST | FLAG_ACK), connection)
}

fn head(kind: u16, flags: u16) -> Head {
    Head {
        kind: (SUBSYSTEM_CONNTRACK << 8) | kind,
        flags,
        sequence: 1,
        family: u8::try_from(libc::AF_INET).unwrap_or_default(),
        resource: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_padded_and_says_its_own_length() {
        let request = list_request(IP_V4_SRC, FILTER_FLAG_SOURCE, Ipv4Addr::new(10, 200, 0, 2));
        assert_eq!(request.len() % 4, 0);
        assert_eq!(
            request[..4],
            u32::try_from(request.len()).unwrap_or(0).to_ne_bytes()
        );
    }

    #[test]
    fn a_connection_is_deleted_by_what_tells_it_apart_and_judged_by_who_answers() {
        let tuple = attribute(TUPLE_ORIG | NESTED, b"12345");
        let identity_number = attribute(IDENTITY, &7_u32.to_be_bytes());
        let status = attribute(3, &1_u32.to_be_bytes());
        let answers = Ipv4Addr::new(203, 0, 113, 7);
        let ip = attribute(TUPLE_IP | NESTED, &attribute(IP_V4_SRC, &answers.octets()));
        let reply = attribute(TUPLE_REPLY | NESTED, &ip);
        let entry = [tuple.clone(), status, reply, identity_number.clone()].concat();
        let connection = Connection::read(&entry);
        assert_eq!(connection.identity, [tuple, identity_number].concat());
        assert_eq!(connection.peer, Some(answers));
        // A length that leads nowhere ends the walk.
        assert_eq!(Connection::read(&[200, 0, 1, 0]).peer, None);
    }

    #[test]
    fn a_connection_is_told_by_the_end_that_began_it() {
        let ip = [
            attribute(IP_V4_SRC, &[10, 200, 0, 2]),
            attribute(IP_V4_DST, &[203, 0, 113, 7]),
        ];
        let protocol = [
            attribute(PROTOCOL_NUMBER, &[6]),
            attribute(PROTOCOL_SRC_PORT, &40_000_u16.to_be_bytes()),
            attribute(PROTOCOL_DST_PORT, &443_u16.to_be_bytes()),
        ];
        let tuple = [
            attribute(TUPLE_IP | NESTED, &ip.concat()),
            attribute(TUPLE_PROTOCOL | NESTED, &protocol.concat()),
        ];
        let entry = attribute(TUPLE_ORIG | NESTED, &tuple.concat());
        let begun = Begun {
            protocol: 6,
            from: Ipv4Addr::new(10, 200, 0, 2),
            from_port: 40_000,
            to: Ipv4Addr::new(203, 0, 113, 7),
            to_port: 443,
        };
        assert_eq!(Begun::read(&entry), Some(begun));
        assert_eq!(Begun::read(&[200, 0, 1, 0]), None);
    }
}
