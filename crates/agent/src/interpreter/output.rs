//! What a worker and the programs it starts print, as messages for the client.

use std::os::fd::{AsFd, OwnedFd};
use std::{io, mem};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::text::JsonText;

/// One read, and so the longest piece of a message. Clients have limits for messages, 64 KiB the lowest.
const READ_BYTES: usize = 16 << 10;

/// Our end of one of the worker's outputs.
#[derive(Debug)]
pub struct Output {
    reader: pipe::Receiver,
    buffer: Vec<u8>,
    text: JsonText,
    /// `stdout` or `stderr`.
    kind: &'static str,
    pub is_open: bool,
}

impl Output {
    /// # Errors
    /// The descriptor cannot be watched.
    pub fn new(reader: OwnedFd, kind: &'static str) -> io::Result<Self> {
        Ok(Self {
            reader: pipe::Receiver::from_owned_fd(reader)?,
            buffer: Vec::new(),
            text: JsonText::default(),
            kind,
            is_open: true,
        })
    }

    /// Waits for output, or for the end of it. Safe to drop and call again.
    pub async fn read(&mut self) {
        self.buffer.reserve(READ_BYTES);
        let read = (&mut self.reader).take(READ_BYTES as u64);
        tokio::pin!(read);
        let count = read.read_buf(&mut self.buffer).await;
        self.is_open = matches!(count, Ok(count) if count > 0);
    }

    /// Reads without waiting; whether there was anything. By the bare call: what is in the pipe now counts, not
    /// what the runtime has heard of it.
    pub fn read_now(&mut self) -> bool {
        if !self.is_open {
            return false;
        }
        self.buffer.reserve(READ_BYTES);
        match rustix::io::read(
            self.reader.as_fd(),
            rustix::buffer::spare_capacity(&mut self.buffer),
        ) {
            Ok(count) => self.is_open = count > 0,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return false,
            Err(_) => self.is_open = false,
        }
        self.is_open
    }

    /// As much as may be in the pipe at one moment.
    pub fn pipe_bytes(&self) -> usize {
        rustix::pipe::fcntl_getpipe_size(self.reader.as_fd()).unwrap_or(64 << 10)
    }

    /// What was read, as a message; none if nothing was, or only the beginning of a character.
    pub fn take_message(&mut self) -> Option<String> {
        let piece = mem::take(&mut self.buffer);
        let mut escaped = Vec::with_capacity(piece.len() + piece.len() / 8);
        self.text.push(&piece, &mut escaped);
        self.wrap(escaped)
    }

    /// What is left of a character that never came whole.
    pub fn finish(&mut self) -> Option<String> {
        let mut escaped = Vec::new();
        self.text.finish(&mut escaped);
        self.wrap(escaped)
    }

    /// How much was read and not taken.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Drops what was read.
    pub fn discard(&mut self) {
        self.buffer = Vec::new();
        self.text = JsonText::default();
    }

    fn wrap(&self, escaped: Vec<u8>) -> Option<String> {
        if escaped.is_empty() {
            return None;
        }
        // `JsonText` writes nothing else.
        let text = String::from_utf8(escaped).ok()?;
        let kind = self.kind;
        Some(format!(
            r#"{{"type":"{kind}","text":"{text}","name":"","value":"","traceback":""}}"#
        ))
    }
}
