//! Attempts at reaching others. A silence of the other side is `ETIMEDOUT`.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::FromRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::attempts::wait_for_end;

pub type Outcome = io::Result<String>;

/// What is let through arrives in well under a millisecond on one machine.
pub const PATIENCE: Duration = Duration::from_millis(700);

pub fn parse<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| io::ErrorKind::InvalidInput.into())
}

pub fn silence(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::from_raw_os_error(libc::ETIMEDOUT)
        }
        _ => error,
    }
}

/// Connects and waits for the greeting that [`serve`] and the tests' own listeners send.
pub fn tcp(address: &str) -> Outcome {
    let address: SocketAddr = parse(address)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(silence)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(silence)?;
    Ok(text)
}

/// Connects, and says no more.
pub fn connect(address: &str) -> Outcome {
    let address: SocketAddr = parse(address)?;
    TcpStream::connect_timeout(&address, PATIENCE).map_err(silence)?;
    Ok(String::new())
}

/// Sends a datagram and waits for its echo.
pub fn udp(address: &str) -> Outcome {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(parse::<SocketAddr>(address)?)?;
    socket.send(b"echo")?;
    let mut buffer = [0; 16];
    let length = socket.recv(&mut buffer).map_err(silence)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Sends a datagram to each of this many ports, so that whoever keeps track of connections sees as many. A refusal of
/// one does not keep it from the next.
pub fn flows(address: &str, count: &str) -> Outcome {
    let address: Ipv4Addr = parse(address)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let count: u16 = parse(count)?;
    let sent = (1..=count).filter(|port| socket.send_to(b"x", (address, *port)).is_ok());
    Ok(sent.count().to_string())
}

/// An echo request by the socket that needs no privilege.
#[expect(unsafe_code, reason = "std has no sockets of this kind")]
pub fn ping(address: &str) -> Outcome {
    // SAFETY: numbers in; the new descriptor has no other owner.
    let socket = unsafe {
        let number = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP);
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        UdpSocket::from_raw_fd(number)
    };
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(&[8, 0, 0, 0, 0, 0, 0, 1], (parse::<Ipv4Addr>(address)?, 0))?;
    socket.recv(&mut [0; 64]).map_err(silence)?;
    Ok(String::new())
}

/// Sends a datagram that claims to come from another address, by the option that allows such a bind to everybody.
#[expect(unsafe_code, reason = "std does not know the option")]
pub fn send_from(source: &str, to: &str) -> Outcome {
    let source: SocketAddrV4 = parse(source)?;
    // SAFETY: every pointer is to a local of this frame with the length that is told.
    let socket = unsafe {
        let number = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = UdpSocket::from_raw_fd(number);
        let on: libc::c_int = 1;
        let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
        let option = (&raw const on).cast();
        if libc::setsockopt(number, libc::IPPROTO_IP, libc::IP_FREEBIND, option, length) < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        address.sin_family =
            libc::sa_family_t::try_from(libc::AF_INET).map_err(io::Error::other)?;
        address.sin_port = source.port().to_be();
        address.sin_addr.s_addr = source.ip().to_bits().to_be();
        let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
        if libc::bind(number, (&raw const address).cast(), length) < 0 {
            return Err(io::Error::last_os_error());
        }
        socket
    };
    socket.send_to(b"spoofed", parse::<SocketAddr>(to)?)?;
    Ok(String::new())
}

/// Greets every stream and returns every datagram that reaches one of these addresses, until standard input ends.
/// Each datagram goes back under the address that it was sent to.
pub fn serve(addresses: &[&str]) -> Outcome {
    for address in addresses {
        let address: SocketAddr = parse(address)?;
        let streams = TcpListener::bind(address)?;
        let datagrams = UdpSocket::bind(streams.local_addr()?)?;
        std::thread::spawn(move || {
            for mut stream in streams.incoming().flatten() {
                std::thread::spawn(move || greet(&mut stream));
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, client)) = datagrams.recv_from(&mut buffer) {
                let _ = datagrams.send_to(&buffer[..length], client);
            }
        });
    }
    wait_for_end()?;
    Ok(String::new())
}

/// Greets and waits for the other side's end: a close on what it has said would take the greeting back.
fn greet(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"hello")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    io::copy(stream, &mut io::sink()).map(drop)
}

/// Connects to a socket in the file system.
pub fn unix(path: &str) -> Outcome {
    UnixStream::connect(path).map(|_| String::new())
}

/// Connects to a socket with a name outside the file system.
pub fn abstract_name(name: &str) -> Outcome {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    UnixStream::connect_addr(&address).map(|_| String::new())
}
