//! One client, as the library tells of it.
//!
//! Everything here is called in the middle of the connection's loop, so nothing waits long: the work of a channel is a
//! task of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::{
    PtySize, RUN_COMMAND_MAX_BYTES, RunRequest, RunTerminal, SFTP_PATH, SFTP_PROTOCOL,
};
use alcove_control::{Control, SshSession};
use russh::server::{
    Auth, ChannelOpenHandle, Handle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Disconnect, Pty, Sig};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::agent::connect;
use crate::channel::Outlet;
use crate::forward::{self, Forward, Inboxes, LISTENERS_MAX};
use crate::gateway::Shared;
use crate::inbox::Overflow;
use crate::login::Login;
use crate::program::Program;
use crate::raw::{Ending, carry};
use crate::wire::Link;

/// Variables that a client may set for a program.
const VARIABLES_MAX: usize = 64;
/// Longest name and value together.
const VARIABLE_BYTES: usize = 4 << 10;
/// Modes of a terminal; there are some sixty.
const MODES_MAX: usize = 128;
/// A port in a sandbox answers at once or not at all.
const DIAL_PATIENCE: Duration = Duration::from_secs(6);

/// What ends a connection from inside of the loop.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

pub struct Peer {
    shared: Arc<Shared>,
    link: Arc<Link>,
    inboxes: Inboxes,
    login: Login,
    channels: HashMap<ChannelId, Prepared>,
    forwards: HashMap<(String, u32), CancellationToken>,
}

/// A session channel on which nothing runs yet.
#[derive(Default)]
struct Prepared {
    half: Option<ChannelWriteHalf<Msg>>,
    env: BTreeMap<String, String>,
    terminal: Option<RunTerminal>,
}

impl Peer {
    pub fn new(shared: Arc<Shared>, link: Arc<Link>, login: Login) -> Self {
        Self {
            shared,
            link,
            inboxes: Inboxes::default(),
            login,
            channels: HashMap::new(),
            forwards: HashMap::new(),
        }
    }

    pub fn inboxes(&self) -> &Inboxes {
        &self.inboxes
    }

    /// Whether another channel may be opened.
    fn admit_channel(&self) -> Result<Arc<SshSession>, ChannelOpenFailure> {
        let session = self
            .login
            .session()
            .ok_or(ChannelOpenFailure::AdministrativelyProhibited)?;
        if self.inboxes.count() >= self.shared.limits.channels {
            return Err(ChannelOpenFailure::ResourceShortage);
        }
        Ok(session)
    }

    fn outlet(&self, half: ChannelWriteHalf<Msg>, handle: Handle) -> Outlet {
        Outlet::new(half, handle, Arc::clone(&self.link))
    }

    /// Begins what a session channel is for; false where that cannot be.
    fn start(&mut self, id: ChannelId, session: &Session, command: Option<Vec<u8>>) -> bool {
        let Some((sandbox, prepared, half)) = self.take_prepared(id) else {
            return false;
        };
        sandbox.note_program(command.as_deref());
        let program = Program {
            control: self.shared.control.clone(),
            sandbox: sandbox.sandbox().clone(),
            command,
            request: RunRequest {
                env: prepared.env,
                terminal: prepared.terminal,
            },
            inbox: self.inboxes.open(id, &self.link.held),
            outlet: self.outlet(half, session.handle()),
        };
        self.shared.tasks.spawn(program.run());
        true
    }

    fn take_prepared(
        &mut self,
        id: ChannelId,
    ) -> Option<(Arc<SshSession>, Prepared, ChannelWriteHalf<Msg>)> {
        let session = self.login.session()?;
        let mut prepared = self.channels.remove(&id)?;
        let half = prepared.half.take()?;
        Some((session, prepared, half))
    }

    fn start_files(&mut self, id: ChannelId, session: &Session) -> bool {
        let Some((sandbox, _, half)) = self.take_prepared(id) else {
            return false;
        };
        sandbox.note_files();
        let control = self.shared.control.clone();
        let inbox = self.inboxes.open(id, &self.link.held);
        let outlet = self.outlet(half, session.handle());
        self.shared.tasks.spawn(async move {
            match connect(&control, sandbox.sandbox(), SFTP_PATH, SFTP_PROTOCOL).await {
                Ok(stream) => carry(stream, inbox, outlet, Ending::Files).await,
                Err(error) => {
                    let text = format!("alcove: {error}\r\n");
                    let _ = outlet.errors(text.as_bytes()).await;
                    let _ = outlet.end().await;
                    let _ = outlet.close().await;
                }
            }
        });
        true
    }
}

impl Handler for Peer {
    type Error = PeerError;

    async fn auth_none(&mut self, user: &str) -> Result<Auth, PeerError> {
        if Control::looks_like_ssh_token(user) {
            return Ok(self.login.try_token(user, true).await);
        }
        Ok(Auth::reject())
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, PeerError> {
        if Control::looks_like_ssh_token(user) {
            return Ok(self.login.try_token(user, true).await);
        }
        Ok(self.login.try_token(password, false).await)
    }

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        _: PublicKeyOffer<'_>,
    ) -> Result<Auth, PeerError> {
        // Of every key the client has to show that it has it, before it is told anything: who knows a person's public key
        // does not learn here where it is let in.
        Ok(Auth::Accept)
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, PeerError> {
        let Ok(key) = key.public_key.to_bytes() else {
            return Ok(Auth::reject());
        };
        Ok(self.login.try_key(user, &key).await)
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), PeerError> {
        match self.login.refusal() {
            None => Ok(()),
            Some(reason) => {
                Ok(session.disconnect(Disconnect::NoMoreAuthMethodsAvailable, reason, "")?)
            }
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), PeerError> {
        match self.admit_channel() {
            Ok(_) => {
                let id = channel.id();
                // What comes in is told by calls. The other half is dropped, so that nothing waits in it.
                let (_, half) = channel.split();
                self.inboxes.open(id, &self.link.held);
                let prepared = Prepared {
                    half: Some(half),
                    ..Prepared::default()
                };
                self.channels.insert(id, prepared);
                reply.accept().await;
            }
            Err(failure) => reply.reject(failure).await,
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), PeerError> {
        let admitted = match self.admit_channel() {
            Ok(admitted) => admitted,
            Err(failure) => {
                reply.reject(failure).await;
                return Ok(());
            }
        };
        let Some(port) = forward::on_loopback(host_to_connect, port_to_connect) else {
            reply
                .reject(ChannelOpenFailure::AdministrativelyProhibited)
                .await;
            return Ok(());
        };
        let id = channel.id();
        let (_, half) = channel.split();
        let inbox = self.inboxes.open(id, &self.link.held);
        let inboxes = self.inboxes.clone();
        let outlet = self.outlet(half, session.handle());
        let control = self.shared.control.clone();
        self.shared.tasks.spawn(async move {
            let dialled = control.dial_port(admitted.sandbox(), port);
            if let Ok(Ok(stream)) = timeout(DIAL_PATIENCE, dialled).await {
                reply.accept().await;
                carry(stream, inbox, outlet, Ending::Port).await;
            } else {
                inboxes.remove(id);
                reply.reject(ChannelOpenFailure::ConnectFailed).await;
            }
        });
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        id: ChannelId,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), PeerError> {
        self.inboxes.confirm(id, &self.link.held);
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), PeerError> {
        self.channels.remove(&id);
        self.inboxes.close(id);
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut Session) -> Result<(), PeerError> {
        if let Some(inbox) = self.inboxes.get(id) {
            inbox.end();
        }
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _: &mut Session) -> Result<(), PeerError> {
        if let Some(inbox) = self.inboxes.get(id) {
            self.link.note_traffic();
            inbox.push(data)?;
        }
        Ok(())
    }

    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        self.link.held.window()
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        col_width: u32,
        row_height: u32,
        _: u32,
        _: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), PeerError> {
        let Some(prepared) = self.channels.get_mut(&id) else {
            return Ok(session.channel_failure(id)?);
        };
        let size = size(col_width, row_height).unwrap_or(PtySize::DEFAULT);
        let modes = modes.iter().take(MODES_MAX);
        prepared.terminal = Some(RunTerminal {
            cols: size.cols(),
            rows: size.rows(),
            modes: modes.map(|(mode, value)| (*mode as u8, *value)).collect(),
        });
        if !term.is_empty() && term.len() <= VARIABLE_BYTES {
            prepared.env.insert("TERM".to_owned(), term.to_owned());
        }
        Ok(session.channel_success(id)?)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        variable_name: &str,
        variable_value: &str,
        session: &mut Session,
    ) -> Result<(), PeerError> {
        let fits = variable_name.len() + variable_value.len() <= VARIABLE_BYTES;
        match self.channels.get_mut(&id) {
            Some(prepared) if fits && prepared.env.len() < VARIABLES_MAX => {
                prepared
                    .env
                    .insert(variable_name.to_owned(), variable_value.to_owned());
                Ok(session.channel_success(id)?)
            }
            _ => Ok(session.channel_failure(id)?),
        }
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut Session,
    ) -> Result<(), PeerError> {
        let is_begun = self.start(id, session, None);
        answer(id, session, is_begun)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), PeerError> {
        let fits = data.len() <= RUN_COMMAND_MAX_BYTES;
        let is_begun = fits && self.start(id, session, Some(data.to_vec()));
        answer(id, session, is_begun)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), PeerError> {
        let is_begun = name == "sftp" && self.start_files(id, session);
        answer(id, session, is_begun)
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        col_width: u32,
        row_height: u32,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), PeerError> {
        if let Some((inbox, size)) = self.inboxes.get(id).zip(size(col_width, row_height)) {
            inbox.resize(size);
        }
        Ok(())
    }

    async fn signal(
        &mut self,
        id: ChannelId,
        signal: Sig,
        _: &mut Session,
    ) -> Result<(), PeerError> {
        if let Some(inbox) = self.inboxes.get(id) {
            inbox.signal(name_of(signal));
        }
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, PeerError> {
        let Some(admitted) = self.login.session() else {
            return Ok(false);
        };
        if self.forwards.len() >= LISTENERS_MAX || !forward::may_listen(*port) {
            return Ok(false);
        }
        let listening = forward::listen(&self.shared.control, admitted.sandbox(), *port);
        let Ok(Ok((listener, bound))) = timeout(DIAL_PATIENCE, listening).await else {
            return Ok(false);
        };
        *port = bound.into();
        // Ends with the connection, whose cut it is below.
        let stop = self.link.cut.child_token();
        self.forwards
            .insert((address.to_owned(), *port), stop.clone());
        let forward = Forward {
            listener,
            handle: session.handle(),
            link: Arc::clone(&self.link),
            inboxes: self.inboxes.clone(),
            address: address.to_owned(),
            port: *port,
            channels_max: self.shared.limits.channels,
            stop,
            tasks: self.shared.tasks.clone(),
        };
        self.shared.tasks.spawn(forward.run());
        Ok(true)
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _: &mut Session,
    ) -> Result<bool, PeerError> {
        let stop = self.forwards.remove(&(address.to_owned(), port));
        Ok(stop.map(|stop| stop.cancel()).is_some())
    }
}

/// At once, and not when the agent has answered: the library knows of one open request of a channel only. What goes wrong
/// after this is told as a program would tell it.
fn answer(id: ChannelId, session: &mut Session, is_granted: bool) -> Result<(), PeerError> {
    if is_granted {
        session.channel_success(id)?;
    } else {
        session.channel_failure(id)?;
    }
    Ok(())
}

fn size(cols: u32, rows: u32) -> Option<PtySize> {
    PtySize::new(cols.into(), rows.into()).ok()
}

fn name_of(signal: Sig) -> String {
    match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => return name,
    }
    .to_owned()
}
