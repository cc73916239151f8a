//! The loop: requests in, answers out, children watched.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use alcove_spawner::protocol::{
    Answer, CgroupEntry, PROTOCOL_VERSION, Request, RequestBody, Spawn, SpawnDescriptors, Step,
};
use alcove_spawner::seqpacket::{self, Packet};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use crate::child::{self, Descriptors};
use crate::devices;
use crate::seccomp::{Filter, FilterError};
use crate::stage;
use crate::system::{self, Clone};

/// Connections at once: the server that works and one that takes over from it, with room for a restart
/// loop. More are refused by closing.
const CONNECTIONS_MAX: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot open {what}")]
    Open {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot leave the host's file tree")]
    Stage(#[source] io::Error),
    #[error("cannot prepare the system call filter")]
    Filter(#[source] FilterError),
    #[error("cannot wait for events")]
    Poll(#[source] io::Error),
}

/// A child that has been made but has not yet entered the agent's program.
struct Pending {
    number: u64,
    connection: u64,
    pid: i32,
    pidfd: OwnedFd,
    status: OwnedFd,
}

pub struct Server {
    listener: OwnedFd,
    children_signal: OwnedFd,
    own_network: OwnedFd,
    filter: Filter,
    connections: HashMap<u64, OwnedFd>,
    next_connection: u64,
    pending: Vec<Pending>,
    children: usize,
    quit: bool,
}

/// A failed step and the error number that goes into the answer.
type Refusal = (Step, i32);

fn refusal(step: Step) -> impl Fn(io::Error) -> Refusal {
    move |error| (step, error.raw_os_error().unwrap_or(0))
}

impl Server {
    pub fn start(listener: OwnedFd) -> Result<Self, ServerError> {
        let opened = |what| move |source| ServerError::Open { what, source };
        rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC)
            .map_err(|e| opened("the listening socket")(e.into()))?;
        let children_signal = system::watch_children().map_err(opened("the child signal"))?;
        let own_network = open(
            "/proc/self/ns/net",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| opened("the own network namespace")(e.into()))?;
        let filter = Filter::compile().map_err(ServerError::Filter)?;
        stage::enter().map_err(ServerError::Stage)?;
        Ok(Self {
            listener,
            children_signal,
            own_network,
            filter,
            connections: HashMap::new(),
            next_connection: 0,
            pending: Vec::new(),
            children: 0,
            quit: false,
        })
    }

    /// Serves until it is told to quit and has no children.
    pub fn run(mut self) -> Result<(), ServerError> {
        while !(self.quit && self.children == 0) {
            let (listener, signal, connections, pending) = self.wait()?;
            if signal {
                self.reap();
            }
            for index in pending.into_iter().rev() {
                self.finish_pending(index);
            }
            for id in connections {
                self.serve(id);
            }
            if listener {
                self.accept();
            }
        }
        Ok(())
    }

    fn wait(&self) -> Result<(bool, bool, Vec<u64>, Vec<usize>), ServerError> {
        let mut fds = vec![
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&self.children_signal, PollFlags::IN),
        ];
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        fds.extend(
            ids.iter()
                .map(|id| PollFd::new(&self.connections[id], PollFlags::IN)),
        );
        fds.extend(
            self.pending
                .iter()
                .map(|p| PollFd::new(&p.status, PollFlags::IN)),
        );
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(ServerError::Poll(error.into())),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let (fixed, rest) = ready.split_at(2);
        let (of_connections, of_pending) = rest.split_at(ids.len());
        let connections = ids
            .iter()
            .zip(of_connections)
            .filter(|(_, r)| **r)
            .map(|(id, _)| *id);
        let pending = of_pending
            .iter()
            .enumerate()
            .filter(|(_, r)| **r)
            .map(|(index, _)| index);
        Ok((fixed[0], fixed[1], connections.collect(), pending.collect()))
    }

    fn accept(&mut self) {
        if let Ok(connection) = accept_with(&self.listener, SocketFlags::CLOEXEC)
            && self.connections.len() < CONNECTIONS_MAX
        {
            self.connections.insert(self.next_connection, connection);
            self.next_connection += 1;
        }
    }

    fn serve(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        // The end of the stream, and a packet that does not fit, both end the connection.
        let Ok(Some(packet)) = seqpacket::receive(connection) else {
            self.connections.remove(&id);
            return;
        };
        let Packet { bytes, descriptors } = packet;
        let Ok(request) = serde_json::from_slice::<Request>(&bytes) else {
            // Without a number there is nobody to answer: a peer that talks nonsense is cut off.
            self.connections.remove(&id);
            return;
        };
        let number = request.number;
        let failure = match request.body {
            RequestBody::Hello => {
                let pid = rustix::process::getpid().as_raw_nonzero().get();
                let children = self.children;
                let answer = Answer::Hello {
                    number,
                    version: PROTOCOL_VERSION,
                    pid,
                    children,
                };
                self.answer(id, &answer, &[]);
                return;
            }
            RequestBody::Quit => {
                self.quit = true;
                return;
            }
            RequestBody::Spawn(spawn) => match self.spawn(id, number, &spawn, descriptors) {
                Ok(()) => return,
                Err(failure) => failure,
            },
            RequestBody::UserNamespace { id_base } => match Self::user_namespace(id_base) {
                Ok(namespace) => {
                    self.answer(id, &Answer::UserNamespace { number }, &[namespace.as_fd()]);
                    return;
                }
                Err(failure) => failure,
            },
        };
        let (step, errno) = failure;
        self.answer(
            id,
            &Answer::Failed {
                number,
                step,
                errno,
            },
            &[],
        );
    }

    /// An answer that cannot be delivered belongs to a server that has gone; the next one takes stock anew.
    fn answer(&mut self, id: u64, answer: &Answer, descriptors: &[BorrowedFd<'_>]) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let bytes = serde_json::to_vec(answer).expect("an answer has only numbers and names");
        if seqpacket::send(connection, &bytes, descriptors).is_err() {
            self.connections.remove(&id);
        }
    }

    fn spawn(
        &mut self,
        connection: u64,
        number: u64,
        spawn: &Spawn,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), Refusal> {
        if descriptors.len() < SpawnDescriptors::FirstCgroup as usize {
            return Err((Step::Request, 0));
        }
        let mut fds = descriptors.into_iter();
        let mut next = || fds.next().ok_or((Step::Request, 0));
        let root = next()?;
        let network = next()?;
        let set = Descriptors {
            root,
            devices: devices::make(spawn.id_base).map_err(refusal(Step::MountDev))?,
            agent_listener: next()?,
            agent_config: next()?,
            agent_program: next()?,
            git_program: next()?,
            agent_log: next()?,
            agent_limits: [next()?, next()?, next()?, next()?],
            cgroups: fds.collect(),
        };
        let born_into = match spawn.cgroup_entry {
            CgroupEntry::WriteTasks => None,
            CgroupEntry::BornInto => Some(set.cgroups.first().ok_or((Step::Request, 0))?.as_fd()),
        };
        let (go_read, go_write) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|e| refusal(Step::Request)(e.into()))?;
        let (status_read, status_write) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|e| refusal(Step::Request)(e.into()))?;

        // The child is born in the sandbox's network, whose owner is the host: nothing inside can change it.
        system::enter_network(network.as_fd()).map_err(refusal(Step::EnterNetwork))?;
        let made = system::clone3(namespaces(), born_into, spawn.id_base);
        if matches!(made, Ok(Clone::Child)) {
            drop((go_write, status_read));
            system::reset_signals();
            child::run(spawn, &set, &self.filter, go_read, status_write);
        }
        // Without the way back every later sandbox would be born in this one's network.
        if system::enter_network(self.own_network.as_fd()).is_err() {
            std::process::abort();
        }
        let Clone::Parent { pid, pidfd } = made.map_err(refusal(Step::Clone))? else {
            unreachable!("the child does not come here");
        };
        self.children += 1;
        drop((go_read, status_write));
        if let Err(error) = map_ids(pid, spawn.id_base) {
            // The child sees the end of the pipe, ends, and is reaped like any other.
            return Err(refusal(Step::MapIds)(error));
        }
        // A child that is already gone tells so through its status pipe.
        let _ = fs::File::from(go_write).write_all(b"g");
        self.pending.push(Pending {
            number,
            connection,
            pid,
            pidfd,
            status: status_read,
        });
        Ok(())
    }

    /// The status pipe of a child has closed: with a report in it the child failed, without one it runs.
    fn finish_pending(&mut self, index: usize) {
        let Pending {
            number,
            connection,
            pid,
            pidfd,
            status,
        } = self.pending.swap_remove(index);
        let mut report = Vec::new();
        let read = fs::File::from(status).read_to_end(&mut report);
        match (read, report.as_slice()) {
            (Ok(_), []) => {
                self.answer(
                    connection,
                    &Answer::Spawned { number, pid },
                    &[pidfd.as_fd()],
                );
            }
            (_, bytes) => {
                let (step, errno) = child::read_report(bytes);
                self.answer(
                    connection,
                    &Answer::Failed {
                        number,
                        step,
                        errno,
                    },
                    &[],
                );
            }
        }
    }

    fn reap(&mut self) {
        // The descriptor only says that there is something; one read empties it, whatever it holds.
        let mut buffer = [0_u8; 2048];
        let _ = rustix::io::read(&self.children_signal, &mut buffer);
        while let Some((pid, status)) = system::reap_one() {
            self.children = self.children.saturating_sub(1);
            let answer = Answer::Exited { pid, status };
            let ids: Vec<u64> = self.connections.keys().copied().collect();
            for id in ids {
                self.answer(id, &answer, &[]);
            }
        }
    }

    /// A namespace lives as long as a descriptor of it; the process that it was made with can go at once.
    fn user_namespace(id_base: u32) -> Result<OwnedFd, Refusal> {
        let flags = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
        match system::clone3(flags, None, id_base).map_err(refusal(Step::Clone))? {
            Clone::Child => loop {
                // Waits for the kill below; a signal in between changes nothing.
                system::pause();
            },
            Clone::Parent { pid, pidfd } => {
                let namespace = map_ids(pid, id_base).and_then(|()| {
                    let path = format!("/proc/{pid}/ns/user");
                    Ok(open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
                });
                // Reaped here, so that the loop's count of sandboxes stays right.
                let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
                if let Some(pid) = Pid::from_raw(pid) {
                    let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
                }
                namespace.map_err(refusal(Step::MapIds))
            }
        }
    }
}

/// What a sandbox's first process does not share with the host. Its network it is given, its view of control
/// groups it makes itself once it is in them.
pub fn namespaces() -> u64 {
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    u64::from(flags.unsigned_abs())
}

/// Maps ids 0..65536 of the process's user namespace to `id_base`..
pub fn map_ids(pid: i32, id_base: u32) -> io::Result<()> {
    // An id below 65,536 outside would be a user of the host.
    if id_base < 65_536 || id_base.checked_add(65_535).is_none() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let map = format!("0 {id_base} 65536");
    fs::write(format!("/proc/{pid}/uid_map"), &map)?;
    fs::write(format!("/proc/{pid}/gid_map"), &map)
}
