//! Forgetting the connections of an address, so that its next holder does not inherit them.

use std::io;
use std::net::Ipv4Addr;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

const SUBSYSTEM_CONNTRACK: u16 = 1;
const MESSAGE_DELETE: u16 = 2;
const FLAGS_REQUEST_ACK: u16 = 0x1 | 0x4;
const NESTED: u16 = 0x8000;

const TUPLE_ORIG: u16 = 1;
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
pub(super) fn forget(address: Ipv4Addr) -> io::Result<()> {
    delete_matching(IP_V4_SRC, FILTER_FLAG_SOURCE, address)?;
    delete_matching(IP_V4_DST, FILTER_FLAG_DESTINATION, address)
}

fn delete_matching(attribute: u16, flag: u32, address: Ipv4Addr) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&delete_request(attribute, flag, address), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match error_code(&answer) {
        Some(0) => Ok(()),
        // Nothing matched.
        Some(code) if code == -libc::ENOENT => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// The code in an acknowledgement: zero for success.
fn error_code(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    // NLMSG_ERROR
    if kind != 2 {
        return None;
    }
    Some(i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?))
}

fn delete_request(attribute_kind: u16, flag: u32, address: Ipv4Addr) -> Vec<u8> {
    let ip = attribute(
        TUPLE_IP | NESTED,
        &attribute(attribute_kind, &address.octets()),
    );
    let tuple = attribute(TUPLE_ORIG | NESTED, &ip);
    let mut flags = attribute(FILTER_ORIG_FLAGS, &flag.to_ne_bytes());
    flags.extend(attribute(FILTER_REPLY_FLAGS, &0_u32.to_ne_bytes()));
    let filter = attribute(FILTER | NESTED, &flags);

    // Family, version, resource id.
    let mut body = vec![u8::try_from(libc::AF_INET).unwrap_or_default(), 0, 0, 0];
    body.extend(tuple);
    body.extend(filter);

    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(((SUBSYSTEM_CONNTRACK << 8) | MESSAGE_DELETE).to_ne_bytes());
    message.extend(FLAGS_REQUEST_ACK.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
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
        let request = delete_request(IP_V4_SRC, FILTER_FLAG_SOURCE, Ipv4Addr::new(10, 200, 0, 2));
        assert_eq!(request.len() % 4, 0);
        assert_eq!(
            request[..4],
            u32::try_from(request.len()).unwrap_or(0).to_ne_bytes()
        );
    }

    #[test]
    fn an_answer_that_is_too_short_has_no_code() {
        assert_eq!(error_code(&[]), None);
        assert_eq!(error_code(&[0; 18]), None);
    }
}
