//! Git's smart protocol over HTTP, as libgit2 wants it: one stream a request.
//!
//! Nothing can be said in a failed call but a text, so the real reason is put aside in the [`Link`].

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use alcove_agent_api::ErrorCode;
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};

use crate::Fault;
use crate::credentials::Credentials;
use crate::helper::Cancel;
use crate::http::{Body, Client, Upload};
use crate::url::{Url, origin_of};

/// Up to here a request is kept and sent with its length; a longer one is sent while it is made.
const SMALL_REQUEST: usize = 1 << 20;

/// What the streams of one operation share.
pub struct Link {
    client: Client,
    /// As the request or the configuration has it.
    url: String,
    state: Mutex<State>,
    /// For a remote that asks, when the request has none.
    stored: Option<Credentials>,
    cancel: Cancel,
}

struct State {
    /// Where the repository really is, once the remote has sent us on.
    base: Option<String>,
    credentials: Option<Credentials>,
    fault: Option<Fault>,
}

impl Link {
    pub fn new(
        client: Client,
        url: &Url,
        credentials: Option<Credentials>,
        stored: Option<Credentials>,
        cancel: Cancel,
    ) -> Self {
        Self {
            client,
            url: url.text.clone(),
            state: Mutex::new(State {
                base: None,
                credentials,
                fault: None,
            }),
            stored,
            cancel,
        }
    }

    /// Why the last call failed.
    pub fn take_fault(&self) -> Option<Fault> {
        self.state().fault.take()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, fault: Fault) -> io::Error {
        let error = io::Error::other(fault.message.clone());
        self.state().fault.get_or_insert(fault);
        error
    }

    /// The first request: what references there are. Finds out about credentials and redirections on the way.
    fn advertise(&self, service: &str) -> Result<Body, Fault> {
        let path = format!("/info/refs?service={service}");
        let base = self.url.trim_end_matches('/');
        let given = self.state().credentials.clone();
        let ask = |credentials: Option<&Credentials>| {
            self.client.get(&format!("{base}{path}"), credentials)
        };
        let mut answer = ask(given.as_ref())?;
        if answer.status == 401 && given.is_none() && self.stored.is_some() {
            answer = ask(self.stored.as_ref())?;
            self.state().credentials.clone_from(&self.stored);
        }
        let has_credentials = self.state().credentials.is_some();
        answer.check(has_credentials)?;
        let wanted = format!("application/x-{service}-advertisement");
        if answer.content_type != wanted {
            let message = "what is at this address is no git repository";
            return Err(Fault::new(ErrorCode::GitRepoNotFound, message));
        }
        let found = answer.url.strip_suffix(&path).ok_or_else(|| {
            Fault::new(
                ErrorCode::GitTransportFailed,
                "the remote sends us on to an address without the request's own end",
            )
        })?;
        let mut state = self.state();
        if found != base {
            let is_same_host = origin_of(found) == origin_of(base);
            let is_upgrade =
                origin_of(found) == origin_of(&base.replacen("http://", "https://", 1));
            if !is_same_host && !is_upgrade {
                state.credentials = None;
            }
            if base.starts_with("https://") && !found.starts_with("https://") {
                let message = "the remote sends us on from https to http";
                return Err(Fault::new(ErrorCode::GitTransportFailed, message));
            }
        }
        state.base = Some(found.to_owned());
        Ok(answer.body)
    }

    fn post(&self, service: &str, upload: Upload) -> Result<Body, Fault> {
        let (base, credentials) = {
            let state = self.state();
            let base = state.base.clone();
            (
                base.unwrap_or_else(|| self.url.clone()),
                state.credentials.clone(),
            )
        };
        let url = format!("{base}/{service}");
        let answer = self
            .client
            .post(&url, service, credentials.as_ref(), upload)?;
        answer.check(credentials.is_some())?;
        Ok(answer.body)
    }
}

/// Has libgit2 use the link for every HTTP remote of this process.
pub fn register(link: &Arc<Link>) -> Result<(), Fault> {
    let link = link.clone();
    let make = move || Subtransport(link.clone());
    crate::libgit2::register_http_transport(make).map_err(Fault::from)
}

/// One remote's way through the link.
pub struct Subtransport(Arc<Link>);

impl SmartSubtransport for Subtransport {
    fn action(
        &self,
        _: &str,
        action: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let link = self.0.clone();
        let stream = match action {
            Service::UploadPackLs => Stream::asking(link, "git-upload-pack"),
            Service::ReceivePackLs => Stream::asking(link, "git-receive-pack"),
            Service::UploadPack => Stream::telling(link, "git-upload-pack"),
            Service::ReceivePack => Stream::telling(link, "git-receive-pack"),
        };
        Ok(Box::new(stream))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

struct Stream {
    link: Arc<Link>,
    service: &'static str,
    state: StreamState,
}

enum StreamState {
    /// A request without a body, not sent yet.
    Asking,
    /// A request whose body is being made.
    Telling(Vec<u8>),
    /// A long one, which another thread sends as it is made.
    Sending(Sending),
    Reading(Body),
    Failed,
}

impl Stream {
    fn asking(link: Arc<Link>, service: &'static str) -> Self {
        Self {
            link,
            service,
            state: StreamState::Asking,
        }
    }

    fn telling(link: Arc<Link>, service: &'static str) -> Self {
        Self {
            link,
            service,
            state: StreamState::Telling(Vec::new()),
        }
    }

    /// The answer, for which the request is brought to its end first.
    fn body(&mut self) -> io::Result<&mut Body> {
        let state = std::mem::replace(&mut self.state, StreamState::Failed);
        let body = match state {
            StreamState::Reading(body) => Ok(body),
            StreamState::Asking => self.link.advertise(self.service),
            StreamState::Telling(text) => self.link.post(self.service, Upload::Whole(text)),
            StreamState::Sending(sending) => sending.finish(),
            StreamState::Failed => return Err(io::Error::other("the request failed")),
        };
        let body = body.map_err(|fault| self.link.note(fault))?;
        self.state = StreamState::Reading(body);
        match &mut self.state {
            StreamState::Reading(body) => Ok(body),
            _ => Err(io::Error::other("the request failed")),
        }
    }

    fn check_cancel(&self) -> io::Result<()> {
        if self.link.cancel.is_set() {
            return Err(io::Error::other("the client has left"));
        }
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check_cancel()?;
        let link = self.link.clone();
        let read = self.body()?.read(buffer);
        read.map_err(|error| {
            let message = format_args!("the connection to the remote broke: {error}");
            link.note(Fault::new(ErrorCode::GitTransportFailed, message))
        })
    }
}

impl Write for Stream {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.check_cancel()?;
        match &mut self.state {
            StreamState::Telling(text) if text.len() + piece.len() <= SMALL_REQUEST => {
                text.extend_from_slice(piece);
            }
            StreamState::Telling(text) => {
                let text = std::mem::take(text);
                let sending = Sending::start(self.link.clone(), self.service)?;
                sending.push(text)?;
                sending.push(piece.to_vec())?;
                self.state = StreamState::Sending(sending);
            }
            StreamState::Sending(sending) => {
                if let Err(error) = sending.push(piece.to_vec()) {
                    // The remote has answered before it had everything: its reason counts.
                    return match self.body() {
                        Err(reason) => Err(reason),
                        Ok(_) => Err(error),
                    };
                }
            }
            _ => return Err(io::Error::other("the request is already sent")),
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A request that is sent while it is made. The queue is short: who makes it waits for who sends it.
struct Sending {
    pieces: std::sync::mpsc::SyncSender<Vec<u8>>,
    thread: std::thread::JoinHandle<Result<Body, Fault>>,
}

impl Sending {
    const QUEUED_PIECES: usize = 8;

    fn start(link: Arc<Link>, service: &'static str) -> io::Result<Self> {
        let (pieces, queue) = std::sync::mpsc::sync_channel(Self::QUEUED_PIECES);
        let reader = Pieces {
            queue,
            current: io::Cursor::new(Vec::new()),
        };
        let send = move || link.post(service, Upload::Streamed(Box::new(reader)));
        let thread = std::thread::Builder::new().spawn(send)?;
        Ok(Self { pieces, thread })
    }

    fn push(&self, piece: Vec<u8>) -> io::Result<()> {
        self.pieces
            .send(piece)
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    fn finish(self) -> Result<Body, Fault> {
        drop(self.pieces);
        let joined = self.thread.join();
        joined.unwrap_or_else(|_| Err(Fault::internal("sending the request failed")))
    }
}

struct Pieces {
    queue: std::sync::mpsc::Receiver<Vec<u8>>,
    current: io::Cursor<Vec<u8>>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.queue.recv() {
                Ok(piece) => self.current = io::Cursor::new(piece),
                Err(_) => return Ok(0),
            }
        }
    }
}
