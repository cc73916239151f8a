//! Forgetting the connections of an address, so that its next holder does not inherit them.

use std::io;
use std::net::Ipv4Addr;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

const SUBSYSTEM_CONNTRACK: u16 = 1;
const MESSAGE_GET: u16 = 1;
const MESSAGE_DELETE: u16 = 2;
const FLAGS_REQUEST_ACK: u16 = 0x1 | 0x4;
const FLAGS_REQUEST_DUMP: u16 = 0x1 | 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Length of a message's own header, and of that of its family behind it.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
const NESTED: u16 = 0x8000;

const TUPLE_ORIG: u16 = 1;
const IDENTITY: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const TUPLE_IP: u16 = 1;
const IP_V4_SRC: u16 = 1;
const IP_V4_DST: u16 = 2;
const FILTER_ORIG_FLAGS: u16 = 1;
const FILTER_REPLY_FLAGS: u16 = 2;
const FILTER_FLAG_SOURCE: u32 = 1;
const FILTER_FLAG_DESTINATION: u32 = 2;

/// Deletes every connection that `address` began or that was begun to it. Walks the kernel's whole
/// table twice: for the background only.
///
/// Each connection is looked up and then deleted by its own tuple: kernel 6.1 takes a filter when it
/// lists, and refuses it when it deletes (`make guest` shows it).
pub(super) fn forget(address: Ipv4Addr) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    for (attribute, flag) in [
        (IP_V4_SRC, FILTER_FLAG_SOURCE),
        (IP_V4_DST, FILTER_FLAG_DESTINATION),
    ] {
        for connection in list(&socket, &list_request(attribute, flag, address))? {
            delete(&socket, &delete_request(&connection))?;
        }
    }
    Ok(())
}

/// What tells a connection from all others: those attributes of its entry that a delete must repeat.
type Identity = Vec<u8>;

fn list(socket: &Socket, request: &[u8]) -> io::Result<Vec<Identity>> {
    socket.send(request, 0)?;
    let mut found = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full()?;
        for message in messages(&answer) {
            match Message::read(message)? {
                Message::Entry(attributes) => found.push(identity(attributes)),
                Message::Code(0) | Message::Done => return Ok(found),
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

#[derive(Debug, PartialEq, Eq)]
enum Message<'a> {
    /// An acknowledgement, or a failure: zero for success.
    Code(i32),
    Done,
    /// The attributes of one connection.
    Entry(&'a [u8]),
}

impl<'a> Message<'a> {
    fn read(message: &'a [u8]) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let kind = number(message, 4).ok_or_else(invalid)?;
        match kind {
            NLMSG_ERROR => {
                let code = message
                    .get(HEADER..HEADER + 4)
                    .and_then(|b| b.try_into().ok());
                Ok(Self::Code(i32::from_ne_bytes(code.ok_or_else(invalid)?)))
            }
            NLMSG_DONE => Ok(Self::Done),
            _ => message
                .get(HEADER + FAMILY_HEADER..)
                .map(Self::Entry)
                .ok_or_else(invalid),
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The messages of one packet. What is left of a broken one is passed over.
fn messages(mut packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(packet.get(..4)?.try_into().ok()?);
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length >= HEADER)?;
        let message = packet.get(..length)?;
        packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn identity(mut attributes: &[u8]) -> Identity {
    let mut kept = Vec::new();
    while let (Some(length), Some(kind)) = (number(attributes, 0), number(attributes, 2)) {
        let padded = usize::from(length).next_multiple_of(4);
        let Some(whole) = attributes.get(..padded).filter(|whole| whole.len() >= 4) else {
            break;
        };
        if [TUPLE_ORIG, IDENTITY, ZONE].contains(&(kind & !NESTED)) {
            kept.extend_from_slice(whole);
        }
        attributes = &attributes[padded..];
    }
    kept
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
    request(MESSAGE_GET, FLAGS_REQUEST_DUMP, &[tuple, filter].concat())
}

fn delete_request(connection: &[u8]) -> Vec<u8> {
    request(MESSAGE_DELETE, FLAGS_REQUEST_ACK, connection)
}

fn request(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + FAMILY_HEADER + attributes.len()).unwrap_or(u32::MAX);
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(((SUBSYSTEM_CONNTRACK << 8) | kind).to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    // Family, version, resource id.
    message.extend([u8::try_from(libc::AF_INET).unwrap_or_default(), 0, 0, 0]);
    message.extend(attributes);
    message
}

/// A type, a length and a value, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(value.len().next_multiple_of(4) + 4);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
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
    fn a_connection_is_deleted_by_what_tells_it_apart() {
        let tuple = attribute(TUPLE_ORIG | NESTED, b"12345");
        let identity_number = attribute(IDENTITY, &7_u32.to_be_bytes());
        let status = attribute(3, &1_u32.to_be_bytes());
        let entry = [tuple.clone(), status, identity_number.clone()].concat();
        assert_eq!(identity(&entry), [tuple, identity_number].concat());
        // A length that leads nowhere ends the walk.
        assert_eq!(identity(&[0, 0, 1, 0, 9, 9, 9, 9]), Vec::<u8>::new());
        assert_eq!(identity(&[200, 0, 1, 0]), Vec::<u8>::new());
    }

    #[test]
    fn a_packet_of_several_messages_is_taken_apart_and_a_broken_one_is_an_error() {
        let (entry, done) = (request(0, 2, b"abcd"), request(0, 2, &[]));
        let packet = [entry.clone(), done.clone()].concat();
        assert_eq!(
            messages(&packet).collect::<Vec<_>>(),
            [&entry[..], &done[..]]
        );
        assert_eq!(messages(&[0; 20]).count(), 0);
        assert_eq!(Message::read(&entry).ok(), Some(Message::Entry(b"abcd")));
        assert!(Message::read(&[]).is_err());
        assert!(Message::read(&[16, 0, 0, 0, 2, 0, 0, 0]).is_err());
    }
}
