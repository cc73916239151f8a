//! The runner's end of the conversation with the spawner.
//!
//! The client finds a spawner that an earlier server left behind, or starts one, and starts another whenever
//! it goes. Requests are numbered; one task reads the answers and hands them out.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alcove_spawner::protocol::{
    Answer, ExitStatus, PROTOCOL_VERSION, Request, RequestBody, Spawn, Step,
};
use alcove_spawner::seqpacket;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};

/// A spawn takes about 3 ms; a host that needs longer than this cannot run sandboxes.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// Exit statuses kept for drivers that ask a moment later. A driver asks as soon as it sees the end of its
/// process, so only as many as can end at once matter.
const EXITS_MAX: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("cannot {step} the spawner")]
    Start {
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the spawner went away")]
    Gone,
    #[error("the spawner does not answer")]
    Silent,
    #[error("cannot make the first process: {step:?} failed")]
    Refused {
        step: Step,
        #[source]
        source: io::Error,
    },
}

impl SpawnError {
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Start { source, .. } | Self::Refused { source, .. } => source.raw_os_error(),
            Self::Gone | Self::Silent => None,
        }
    }
}

fn starting<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> SpawnError {
    move |error| SpawnError::Start {
        step,
        source: error.into(),
    }
}

/// Where the spawner's program, socket and log are.
#[derive(Debug, Clone)]
pub struct SpawnerPlace {
    pub program: PathBuf,
    /// Folder of the socket; the server's own, closed to everyone else.
    pub folder: PathBuf,
    pub log: PathBuf,
}

/// A process that the spawner has made.
#[derive(Debug)]
pub struct Spawned {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

#[derive(Debug)]
pub struct SpawnerClient {
    place: SpawnerPlace,
    /// Held while a connection is made, so that a spawner that has gone is replaced once.
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
    exits: Arc<Exits>,
}

type Waiting = HashMap<u64, oneshot::Sender<(Answer, Vec<OwnedFd>)>>;

#[derive(Debug)]
struct Connection {
    socket: AsyncFd<OwnedFd>,
    /// Next number, and who waits for which answer; `None` once the spawner has gone.
    waiting: Mutex<Option<(u64, Waiting)>>,
}

/// What is known of processes that ended.
#[derive(Debug)]
struct Exits {
    known: Mutex<HashMap<i32, ExitStatus>>,
    count: watch::Sender<u64>,
}

impl SpawnerClient {
    /// Connects to the spawner that runs, or starts one.
    pub async fn open(place: SpawnerPlace) -> Result<Self, SpawnError> {
        let exits = Arc::new(Exits {
            known: Mutex::default(),
            count: watch::channel(0).0,
        });
        let client = Self {
            place,
            connection: tokio::sync::Mutex::new(None),
            exits,
        };
        client.connection().await?;
        Ok(client)
    }

    /// Makes the first process of a sandbox. `descriptors` are in the order that [`Spawn`] asks for.
    pub async fn spawn(
        &self,
        spawn: Spawn,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Spawned, SpawnError> {
        match self.ask(RequestBody::Spawn(spawn), descriptors).await? {
            (Answer::Spawned { pid, .. }, mut fds) if fds.len() == 1 => {
                let pidfd = fds.pop().ok_or(SpawnError::Gone)?;
                Ok(Spawned { pid, pidfd })
            }
            (answer, _) => Err(refused(&answer)),
        }
    }

    /// Makes a user namespace whose ids start at `id_base` on the host.
    pub async fn user_namespace(&self, id_base: u32) -> Result<OwnedFd, SpawnError> {
        match self
            .ask(RequestBody::UserNamespace { id_base }, &[])
            .await?
        {
            (Answer::UserNamespace { .. }, mut fds) if fds.len() == 1 => {
                fds.pop().ok_or(SpawnError::Gone)
            }
            (answer, _) => Err(refused(&answer)),
        }
    }

    /// The process number of the spawner.
    pub async fn pid(&self) -> Result<i32, SpawnError> {
        match self.ask(RequestBody::Hello, &[]).await? {
            (Answer::Hello { pid, .. }, _) => Ok(pid),
            (answer, _) => Err(refused(&answer)),
        }
    }

    /// How the process ended, if the spawner tells within `limit`. It does not where an earlier spawner was
    /// the parent.
    pub async fn exit_status(&self, pid: i32, limit: Duration) -> Option<ExitStatus> {
        let mut count = self.exits.count.subscribe();
        let known = || {
            self.exits
                .known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&pid)
        };
        let wait = async {
            loop {
                if let Some(status) = known() {
                    return Some(status);
                }
                count.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, wait).await.ok().flatten()
    }

    /// Tells the spawner to end as soon as it has no children.
    pub async fn quit(&self) {
        let Some(connection) = self.connection.lock().await.clone() else {
            return;
        };
        let request = Request {
            number: 0,
            body: RequestBody::Quit,
        };
        if let Ok(bytes) = serde_json::to_vec(&request) {
            // One that cannot be told has gone.
            let _ = connection.send(&bytes, &[]).await;
        }
    }

    async fn ask(
        &self,
        body: RequestBody,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(Answer, Vec<OwnedFd>), SpawnError> {
        let connection = self.connection().await?;
        connection.ask(body, descriptors).await
    }

    async fn connection(&self) -> Result<Arc<Connection>, SpawnError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        let connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::info!(reason = %error, "starting a spawner");
                self.start()?;
                self.connect().await?
            }
        };
        *held = Some(connection.clone());
        Ok(connection)
    }

    fn address(&self) -> Result<(OwnedFd, SocketAddrUnix), SpawnError> {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let folder = rustix::fs::open(&self.place.folder, flags, rustix::fs::Mode::empty())
            .map_err(starting("find the folder of"))?;
        // Through the descriptor, since the path of a data folder may be longer than a socket's name.
        let name = crate::socket_path(&folder, "spawner");
        let address = SocketAddrUnix::new(name).map_err(starting("name the socket of"))?;
        Ok((folder, address))
    }

    async fn connect(&self) -> Result<Arc<Connection>, SpawnError> {
        let (_folder, address) = self.address()?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(starting("make a socket for"))?;
        connect(&socket, &address).map_err(starting("connect to"))?;
        let socket = watch_socket(socket).map_err(starting("watch the socket of"))?;
        let waiting = Mutex::new(Some((1, Waiting::new())));
        let connection = Arc::new(Connection { socket, waiting });
        tokio::spawn(read_answers(connection.clone(), self.exits.clone()));
        match connection.ask(RequestBody::Hello, &[]).await? {
            (
                Answer::Hello {
                    version: PROTOCOL_VERSION,
                    ..
                },
                _,
            ) => Ok(connection),
            _ => Err(SpawnError::Gone),
        }
    }

    /// Starts the program in a session of its own, with the listening socket as descriptor 3.
    fn start(&self) -> Result<(), SpawnError> {
        let (folder, address) = self.address()?;
        // Another spawner that still lives keeps its sandboxes; it only gets no new ones.
        match rustix::fs::unlinkat(&folder, "spawner", rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(starting("replace the socket of")(error)),
        }
        let listener = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(starting("make a socket for"))?;
        bind(&listener, &address).map_err(starting("name the socket of"))?;
        listen(&listener, 8).map_err(starting("listen for"))?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.place.log)
            .map_err(starting("open the log of"))?;
        let mut command = Command::new(&self.place.program);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .env_clear()
            .current_dir("/");
        pass_as_3(&mut command, &listener);
        let child = command.spawn().map_err(starting("start"))?;
        // It outlives us, so nobody waits for it; while we live, it must not stay as a zombie.
        std::thread::Builder::new()
            .name("spawner-reaper".to_owned())
            .spawn(move || {
                let mut child = child;
                let _ = child.wait();
            })
            .map_err(starting("watch"))?;
        Ok(())
    }
}

#[expect(
    unsafe_code,
    reason = "the runtime asks for a promise about the descriptor"
)]
fn watch_socket(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays the same one until it is dropped, and nothing takes it out again.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

#[expect(
    unsafe_code,
    reason = "an inherited descriptor has to be put in place between fork and exec"
)]
fn pass_as_3(command: &mut Command, listener: &OwnedFd) {
    use std::os::fd::AsRawFd;
    let number = listener.as_raw_fd();
    // SAFETY: between fork and exec, only calls that are safe there: `setsid`, `dup2`, `fcntl`.
    unsafe {
        command.pre_exec(move || {
            libc::setsid();
            if number == 3 {
                // `dup2` onto itself would leave the mark that closes it.
                libc::fcntl(3, libc::F_SETFD, 0);
            } else if libc::dup2(number, 3) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

fn refused(answer: &Answer) -> SpawnError {
    match answer {
        Answer::Failed { step, errno, .. } => SpawnError::Refused {
            step: *step,
            source: io::Error::from_raw_os_error(*errno),
        },
        _ => SpawnError::Gone,
    }
}

impl Connection {
    fn is_open(&self) -> bool {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    async fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket
            .async_io(Interest::WRITABLE, |socket| {
                seqpacket::send(socket.as_fd(), bytes, descriptors)
            })
            .await
    }

    async fn ask(
        &self,
        body: RequestBody,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(Answer, Vec<OwnedFd>), SpawnError> {
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let (next, waiting) = waiting.as_mut().ok_or(SpawnError::Gone)?;
            let number = *next;
            *next += 1;
            waiting.insert(number, answer);
            number
        };
        let bytes = serde_json::to_vec(&Request { number, body }).map_err(|_| SpawnError::Gone)?;
        let exchange = async {
            self.send(&bytes, descriptors)
                .await
                .map_err(|_| SpawnError::Gone)?;
            answered.await.map_err(|_| SpawnError::Gone)
        };
        let result = tokio::time::timeout(ANSWER_DEADLINE, exchange).await;
        if let Some((_, waiting)) = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            waiting.remove(&number);
        }
        result.map_err(|_| SpawnError::Silent)?
    }
}

async fn read_answers(connection: Arc<Connection>, exits: Arc<Exits>) {
    loop {
        let packet = connection
            .socket
            .async_io(Interest::READABLE, |socket| {
                seqpacket::receive(socket.as_fd())
            })
            .await;
        let Ok(Some(packet)) = packet else { break };
        let Ok(answer) = serde_json::from_slice::<Answer>(&packet.bytes) else {
            break;
        };
        let number = match &answer {
            Answer::Hello { number, .. }
            | Answer::Spawned { number, .. }
            | Answer::UserNamespace { number }
            | Answer::Failed { number, .. } => *number,
            Answer::Exited { pid, status } => {
                exits.remember(*pid, *status);
                continue;
            }
        };
        let mut waiting = connection
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = waiting
            .as_mut()
            .and_then(|(_, waiting)| waiting.remove(&number))
        {
            // One that waits no longer has given up on the sandbox and takes it apart by its group.
            let _ = asker.send((answer, packet.descriptors));
        }
    }
    // Everyone who waits learns from the closed channel.
    *connection
        .waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = None;
}

impl Exits {
    fn remember(&self, pid: i32, status: ExitStatus) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= EXITS_MAX {
            known.clear();
        }
        known.insert(pid, status);
        drop(known);
        self.count.send_modify(|count| *count += 1);
    }
}
