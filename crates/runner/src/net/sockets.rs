//! Sockets on the gateway's address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

const LISTEN_BACKLOG: i32 = 128;

/// A socket for datagrams, or one that listens for streams.
pub(super) fn bound_socket(kind: SocketType, address: Ipv4Addr, port: u16) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?;
    // The address may come back later than we do when somebody reconfigures the loopback interface.
    sockopt::set_ip_freebind(&socket, true)?;
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::from((address, port)))?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&socket, LISTEN_BACKLOG)?;
    }
    Ok(socket)
}
