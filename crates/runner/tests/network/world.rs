//! A small world made of network namespaces: a host, the internet behind it, clients inside slots.
//!
//! ```text
//!  sandboxes ── host ── up0 198.51.100.2 ─── 198.51.100.1 wan ── internet
//!                                                                203.0.113.7, and on the same machine
//!                                                                addresses of all the closed networks
//! ```
//!
//! Everything runs on threads inside these namespaces: the machine's own network is not touched, and
//! tests can run side by side with the same names and addresses.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use alcove_runner::net::NetworkConfig;

/// Long enough for an answer on a loaded machine, where an answer is expected.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Long enough to be sure of silence: what is let through arrives in well under a millisecond.
pub const SILENCE: Duration = Duration::from_millis(400);

/// What the internet's servers listen on.
pub const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub const INTERNET_ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub const WEB_PORT: u16 = 8080;
pub const HOST_PORT: u16 = 9000;

/// One address in each network that no sandbox may reach; all of them answer to the host.
pub const CLOSED: [Ipv4Addr; 7] = [
    Ipv4Addr::new(10, 9, 9, 9),
    Ipv4Addr::new(100, 64, 1, 1),
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(172, 20, 1, 1),
    Ipv4Addr::new(192, 0, 0, 10),
    Ipv4Addr::new(192, 168, 77, 1),
    Ipv4Addr::new(198, 18, 0, 1),
];

pub struct World {
    pub internet: OwnedFd,
    pub folder: tempfile::TempDir,
}

impl World {
    pub fn config(&self) -> NetworkConfig {
        let mut config = NetworkConfig::for_instance(b"test", "10.200.7.0/24".parse().unwrap());
        config.resolv_conf = self.folder.path().join("resolv.conf");
        config.ready_slots = 2;
        config.quarantine = Duration::ZERO;
        config
    }

    pub fn set_upstreams(&self, text: &str) {
        std::fs::write(self.folder.path().join("resolv.conf"), text).unwrap();
    }
}

/// Runs `test` on a thread that is in the host's namespace, and so are all tasks and threads it starts.
pub fn in_world<F: Future<Output = ()>>(test: impl FnOnce(World) -> F + Send + 'static) {
    thread::spawn(move || {
        enter_new_network();
        ip("link set lo up");
        let internet = thread::spawn(|| {
            enter_new_network();
            OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap())
        });
        let internet = internet.join().unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), internet.as_raw_fd());
        ip(&format!(
            "link add up0 mtu 1450 type veth peer name wan netns {path}"
        ));
        within(&internet, || {
            ip("link set lo up");
            ip("link set wan up");
            ip(&format!("address add {INTERNET_ROUTER}/24 dev wan"));
            for address in CLOSED.into_iter().chain([INTERNET]) {
                ip(&format!("address add {address}/32 dev lo"));
            }
            serve_web(WEB_PORT);
            serve_dns();
        });
        ip(&format!("address add {HOST}/24 dev up0"));
        ip("link set up0 up");
        ip(&format!("route add default via {INTERNET_ROUTER}"));
        serve_web(HOST_PORT);

        let world = World {
            internet,
            folder: tempfile::tempdir().unwrap(),
        };
        world.set_upstreams(&format!("nameserver {INTERNET_ROUTER}\n"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test(world));
    })
    .join()
    .unwrap();
}

/// Runs `work` on a thread inside `netns` and waits for it.
pub fn within<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(netns), Some(kind))
                .unwrap();
            work()
        });
        inside.join().unwrap()
    })
}

/// Reads who the other side says we are: the server answers with its client's address.
pub fn seen_as(server: impl Into<SocketAddr>, patience: Duration) -> io::Result<Ipv4Addr> {
    let mut stream = TcpStream::connect_timeout(&server.into(), patience)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    text.parse()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

pub fn is_closed(server: impl Into<SocketAddr>) -> bool {
    seen_as(server, SILENCE).is_err()
}

/// A web server of its own thread, which tells each client its address.
pub fn serve_web(port: u16) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let client = stream.peer_addr().unwrap().ip();
            let _ = (&stream).write_all(client.to_string().as_bytes());
        }
    });
}

/// A name server that knows one answer to every question, and refuses the name `refused`.
fn serve_dns() {
    let datagrams = UdpSocket::bind((INTERNET_ROUTER, 53)).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = datagrams.recv_from(&mut buffer) {
            let _ = datagrams.send_to(&dns_answer(&buffer[..length]), client);
        }
    });
    let streams = TcpListener::bind((INTERNET_ROUTER, 53)).unwrap();
    thread::spawn(move || {
        for mut stream in streams.incoming().flatten() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).unwrap();
            let answer = dns_answer(&query);
            stream
                .write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes())
                .unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
}

fn dns_answer(query: &[u8]) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    answer[7] = 1;
    // A pointer to the question's name, A, IN, a minute, four bytes.
    answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    answer.extend(INTERNET.octets());
    answer
}

pub fn dns_query(id: u16, name: &str) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// Asks by datagram and gives back the whole answer.
pub fn ask(server: Ipv4Addr, query: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((server, 53))?;
    socket.send(query)?;
    let mut buffer = vec![0; 4096];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// Asks by stream and gives back the whole answer.
pub fn ask_by_stream(server: Ipv4Addr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&(server, 53).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&u16::try_from(query.len()).unwrap().to_be_bytes())?;
    stream.write_all(query)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// Whether `address` answers a ping, sent without any privilege.
pub fn ping(address: Ipv4Addr) -> bool {
    use rustix::net::{AddressFamily, SocketType, ipproto};
    let socket =
        rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP)).unwrap();
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    // An echo request; the kernel fills in the identifier and the checksum.
    socket
        .send_to(&[8, 0, 0, 0, 0, 0, 0, 1], (address, 0))
        .unwrap();
    let mut buffer = [0; 64];
    socket.recv(&mut buffer).is_ok()
}

pub fn ip(arguments: &str) {
    run("ip", arguments);
}

/// Runs a program in this thread's namespace and gives back what it prints.
pub fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits for `condition`, at most three times [`PATIENCE`]: to look once may take seconds where nothing answers.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE * 3;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[expect(
    unsafe_code,
    reason = "unshare is marked unsafe for flags other than this one"
)]
fn enter_new_network() {
    // SAFETY: only the flag that unshares the descriptor table could make another thread's descriptors
    // invalid; this one does not. JUSTIFICATION: there is no safe call that makes a network namespace.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
}

/// A descriptor of the same namespace.
pub fn duplicate(netns: BorrowedFd<'_>) -> OwnedFd {
    netns.try_clone_to_owned().unwrap()
}
