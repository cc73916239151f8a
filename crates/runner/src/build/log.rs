//! Logs of builds: a file each, readable while it grows and after the build, and bounded.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use alcove_runner_api::BuildLogPiece;
use tokio::sync::watch;

/// Longest log. What comes after it is dropped, with a note.
const LOG_MAX_BYTES: u64 = 16 << 20;

/// Kept for what must be said at the end.
const LAST_WORDS_BYTES: u64 = 64 << 10;

/// Longest piece that is read at once.
const PIECE_MAX_BYTES: u64 = 64 << 10;

#[derive(Debug)]
pub struct Logs {
    folder: PathBuf,
    open: Arc<Mutex<HashMap<String, watch::Receiver<u64>>>>,
}

impl Logs {
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            open: Arc::default(),
        }
    }

    /// Ids come from the control plane; one that is no plain name has no log.
    fn path(&self, id: &str) -> io::Result<PathBuf> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if id.is_empty() || id.len() > 64 || !id.chars().all(is_plain) {
            return Err(ErrorKind::InvalidInput.into());
        }
        Ok(self.folder.join(format!("{id}.log")))
    }

    /// Begins a log, or goes on with the one of a build that was cut short.
    pub fn begin(&self, id: &str) -> io::Result<LogWriter> {
        let path = self.path(id)?;
        let file = File::options().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        let (tell, told) = watch::channel(bytes);
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned(), told);
        let writer = LogWriter {
            id: id.to_owned(),
            open: self.open.clone(),
            tell,
            state: Mutex::new(State { file, bytes }),
        };
        if bytes > 0 {
            writer.line("The build was interrupted and goes on.");
        }
        Ok(writer)
    }

    pub fn remove(&self, id: &str) -> io::Result<()> {
        match fs::remove_file(self.path(id)?) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub async fn read(&self, id: &str, from: u64, waits: bool) -> io::Result<BuildLogPiece> {
        let path = self.path(id)?;
        let told = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.get(id).cloned()
        };
        let is_open = match told {
            // An error means that the writer is gone, and that all is written.
            Some(mut told) if waits => told.wait_for(|bytes| *bytes > from).await.is_ok(),
            Some(_) | None => false,
        };
        let read = tokio::task::spawn_blocking(move || -> io::Result<Vec<u8>> {
            let mut file = match File::open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(PIECE_MAX_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        let bytes = read.await.map_err(io::Error::other)??;
        Ok(BuildLogPiece {
            is_over: bytes.is_empty() && !is_open,
            bytes,
        })
    }
}

#[derive(Debug)]
struct State {
    file: File,
    bytes: u64,
}

/// The end of a log at which it grows. Readers see its end when this is dropped.
#[derive(Debug)]
pub struct LogWriter {
    id: String,
    open: Arc<Mutex<HashMap<String, watch::Receiver<u64>>>>,
    tell: watch::Sender<u64>,
    state: Mutex<State>,
}

impl LogWriter {
    /// What a command said.
    pub fn output(&self, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let room = (LOG_MAX_BYTES - LAST_WORDS_BYTES).saturating_sub(state.bytes);
        if room == 0 {
            return;
        }
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        self.write(&mut state, &bytes[..count]);
        if count < bytes.len() {
            self.write(
                &mut state,
                b"\nThe log is full; what comes now is not kept.\n",
            );
        }
    }

    /// What the builder has to say.
    pub fn line(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.bytes + (text.len() as u64) < LOG_MAX_BYTES {
            self.write(&mut state, format!("{text}\n").as_bytes());
        }
    }

    fn write(&self, state: &mut State, bytes: &[u8]) {
        // A full disk ends the build elsewhere; its log is the smaller loss.
        if let Err(error) = state.file.write_all(bytes) {
            tracing::warn!(build.id = self.id, %error, "cannot write the log of a build");
            return;
        }
        state.bytes += bytes.len() as u64;
        self.tell.send_replace(state.bytes);
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}
