//! Connections from the host to ports inside of sandboxes, servers that listen on the loopback there included.
//!
//! A socket belongs to the network that its maker was in when it made it, so a thread of its own steps into the sandbox's
//! network, makes the socket and steps out again. The socket is ours from the start: nothing in the sandbox ever holds
//! it, and no process there relays what goes over it.
//!
//! Such a socket keeps the sandbox's network in being after its end. The other side is gone then, so whoever reads or
//! writes learns it at once; for one that does neither, the pool of slots removes the interface by force.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// Connections that may wait for a socket. Making one takes some ten microseconds.
const WAITING: usize = 256;
/// How long a server inside may take to accept. On its own loopback it does at once or has its hands full.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;

struct Request {
    process: Arc<OwnedFd>,
    answer: oneshot::Sender<io::Result<OwnedFd>>,
}

/// The thread that makes the sockets. It ends when this is dropped.
#[derive(Debug)]
pub struct InsideDoor {
    requests: mpsc::Sender<Request>,
}

impl InsideDoor {
    pub fn open() -> io::Result<Self> {
        // Before the thread goes anywhere: its way back.
        let home = fs::File::open("/proc/thread-self/ns/net")?.into();
        let (requests, inbox) = mpsc::channel(WAITING);
        thread::Builder::new()
            .name("inside-door".to_owned())
            .spawn(move || work(&home, inbox))?;
        Ok(Self { requests })
    }

    /// Connects to a port of the network that a process is in.
    ///
    /// # Errors
    /// `ConnectionRefused` where nothing listens there, and `NotFound` where the process has ended.
    pub async fn connect(&self, process: Arc<OwnedFd>, port: u16) -> io::Result<TcpStream> {
        let socket = self.socket(process).await?;
        socket.set_nodelay(true)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        tokio::time::timeout(CONNECT_PATIENCE, socket.connect(address))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Listens on a port of the loopback that a process has; 0 takes a free one.
    ///
    /// # Errors
    /// `AddrInUse` where somebody listens there, and `NotFound` where the process has ended.
    pub async fn listen(&self, process: Arc<OwnedFd>, port: u16) -> io::Result<TcpListener> {
        let socket = self.socket(process).await?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        socket.listen(BACKLOG)
    }

    async fn socket(&self, process: Arc<OwnedFd>) -> io::Result<TcpSocket> {
        let (answer, socket) = oneshot::channel();
        let gone = || io::Error::other("the thread that makes sockets in sandboxes has ended");
        self.requests
            .send(Request { process, answer })
            .await
            .map_err(|_| gone())?;
        let socket = socket.await.map_err(|_| gone())??;
        Ok(TcpSocket::from_std_stream(socket.into()))
    }
}

fn work(home: &OwnedFd, mut inbox: mpsc::Receiver<Request>) {
    while let Some(request) = inbox.blocking_recv() {
        let made = socket_inside(request.process.as_fd());
        // A thread that cannot go back must make no socket for anybody else, and hold no network in being.
        let back = move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network));
        let _ = request.answer.send(made);
        if let Err(error) = back {
            tracing::error!(
                %error,
                descriptor = home.as_raw_fd(),
                "cannot leave a sandbox's network; ports of sandboxes are not reached any more"
            );
            return;
        }
    }
}

fn socket_inside(process: impl AsFd) -> io::Result<OwnedFd> {
    match move_into_thread_name_spaces(process.as_fd(), ThreadNameSpaceType::NETWORK) {
        Err(rustix::io::Errno::SRCH) => return Err(io::ErrorKind::NotFound.into()),
        entered => entered?,
    }
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(ipproto::TCP),
    )?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::net::slot::enter_new_network;

    /// A process in this thread's network.
    struct Inhabitant(Child);

    impl Inhabitant {
        fn start() -> Self {
            let mut command = Command::new("sleep");
            command.arg("60").stdin(Stdio::null());
            Self(command.spawn().unwrap())
        }

        fn descriptor(&self) -> Arc<OwnedFd> {
            let pid = Pid::from_child(&self.0);
            Arc::new(pidfd_open(pid, PidfdFlags::empty()).unwrap())
        }
    }

    impl Drop for Inhabitant {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A listener and a process in a new network with nothing but a loopback.
    fn elsewhere() -> (TcpListener, Inhabitant) {
        let made = thread::spawn(|| {
            enter_new_network().unwrap();
            let mut netlink = crate::net::netlink::Netlink::open().unwrap();
            let loopback = netlink.link("lo").unwrap();
            netlink.link_set_up(loopback.index).unwrap();
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            (listener, Inhabitant::start())
        });
        made.join().unwrap()
    }

    #[tokio::test]
    async fn a_server_on_the_loopback_of_another_network_is_reached_and_ours_is_not() {
        let (listener, inhabitant) = elsewhere();
        let port = listener.local_addr().unwrap().port();
        let door = InsideDoor::open().unwrap();
        let server = thread::spawn(move || {
            use std::io::Write as _;
            listener.accept().unwrap().0.write_all(b"inside").unwrap();
        });
        let mut stream = door.connect(inhabitant.descriptor(), port).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "inside");
        server.join().unwrap();

        // One that listens in the host's network is nobody's in there. The control: it is reached from here.
        let ours = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = ours.local_addr().unwrap().port();
        let refused = door.connect(inhabitant.descriptor(), port).await;
        assert_eq!(
            refused.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        let mut control = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        control.write_all(b"x").await.unwrap();
    }

    #[tokio::test]
    async fn a_listener_of_ours_is_reached_in_the_other_network_and_not_in_ours() {
        let (_listener, inhabitant) = elsewhere();
        let door = InsideDoor::open().unwrap();
        let listener = door.listen(inhabitant.descriptor(), 0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = door.listen(inhabitant.descriptor(), port).await;
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let (accepted, connected) = tokio::join!(
            listener.accept(),
            door.connect(inhabitant.descriptor(), port)
        );
        let (mut accepted, mut connected) = (accepted.unwrap().0, connected.unwrap());
        connected.write_all(b"x").await.unwrap();
        assert_eq!(accepted.read_u8().await.unwrap(), b'x');
        // Nobody listens there in our own network, unless by chance somebody does.
        let ours = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        if ours.is_ok() {
            let waiting = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
            assert!(waiting.is_err(), "it came to the other network");
        }
    }

    #[tokio::test]
    async fn a_process_that_has_ended_is_told_from_a_port_that_nothing_listens_on() {
        let (_listener, inhabitant) = elsewhere();
        let door = InsideDoor::open().unwrap();
        let descriptor = inhabitant.descriptor();
        drop(inhabitant);
        let ended = door.connect(descriptor, 1).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
