//! Asks the kernel for its listening sockets over netlink: one question for each family, answered with those alone
//! and not with every socket there is.

use std::collections::BTreeSet;
use std::io;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 0x301;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TCP: u8 = 6;
/// Set of states with `TCP_LISTEN` alone.
const LISTENING: u32 = 1 << 10;

const HEADER_BYTES: usize = 16;
/// Where a message about a socket has its port: behind the header and four bytes.
const PORT_AT: usize = HEADER_BYTES + 4;

/// The kernel fills up to a page or 32 KiB at a time.
const BUFFER_BYTES: usize = 32 << 10;

/// Ports of all listening TCP sockets.
///
/// # Errors
/// The kernel does not answer such questions.
pub fn listening() -> io::Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    dump(AF_INET, &mut ports)?;
    // A kernel without IPv6 has nobody to listen there.
    match dump(AF_INET6, &mut ports) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(ports)
}

fn dump(family: u8, ports: &mut BTreeSet<u16>) -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    send(&socket, &request(family), SendFlags::empty())?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        if read_answer(&buffer[..length], ports)? {
            return Ok(());
        }
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn request(family: u8) -> [u8; 72] {
    let mut message = [0; 72];
    message[..4].copy_from_slice(&72_u32.to_ne_bytes());
    message[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    message[6..8].copy_from_slice(&REQUEST_DUMP.to_ne_bytes());
    // Then `inet_diag_req_v2`: family, protocol, two bytes, states, and the socket, which is any.
    message[16] = family;
    message[17] = TCP;
    message[20..24].copy_from_slice(&LISTENING.to_ne_bytes());
    message
}

/// Takes the ports out of one packet. Whether it was the last.
fn read_answer(packet: &[u8], ports: &mut BTreeSet<u16>) -> io::Result<bool> {
    let mut rest = packet;
    while let Some((header, _)) = rest.split_at_checked(HEADER_BYTES) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < HEADER_BYTES || length > rest.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let message = &rest[..length];
        match u16::from_ne_bytes([header[4], header[5]]) {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => return Err(error_of(message)),
            BY_FAMILY => {
                let port = message.get(PORT_AT..PORT_AT + 2);
                let port = port.map(|port| u16::from_be_bytes([port[0], port[1]]));
                ports.extend(port.filter(|port| *port != 0));
            }
            _ => {}
        }
        // Each begins at a multiple of four.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn error_of(message: &[u8]) -> io::Error {
    let code = message.get(HEADER_BYTES..HEADER_BYTES + 4);
    let code = code.map_or(0, |code| {
        i32::from_ne_bytes([code[0], code[1], code[2], code[3]])
    });
    io::Error::from_raw_os_error(code.saturating_neg())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernel_answers_here() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        match listening() {
            Ok(ports) => assert!(ports.contains(&port)),
            // A kernel built without it, which is what the tables are for.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
        }
    }

    proptest! {
        #[test]
        fn no_packet_panics(packet in any::<Vec<u8>>(), kind in any::<u16>(), length in 0u32..80) {
            let mut ports = BTreeSet::new();
            let _ = read_answer(&packet, &mut ports);
            let mut message = length.to_ne_bytes().to_vec();
            message.extend(kind.to_ne_bytes());
            message.extend(&packet);
            let _ = read_answer(&message, &mut ports);
        }
    }
}
