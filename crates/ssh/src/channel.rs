//! Our side of a channel: what a client is sent on it.

use std::sync::Arc;

use russh::server::{Handle, Msg};
use russh::{ChannelId, ChannelWriteHalf, Sig};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::wire::Link;

/// Errors go by the kind of extended data that has this number.
const STDERR: u32 = 1;

/// What is said of a client that went away is of no interest to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client went away")]
pub struct Gone;

/// Writes wait for the client's window, so that nobody is sent more than is read.
pub struct Outlet {
    half: ChannelWriteHalf<Msg>,
    handle: Handle,
    link: Arc<Link>,
}

impl Outlet {
    pub fn new(half: ChannelWriteHalf<Msg>, handle: Handle, link: Arc<Link>) -> Self {
        Self { half, handle, link }
    }

    pub fn id(&self) -> ChannelId {
        self.half.id()
    }

    pub async fn output(&self, bytes: &[u8]) -> Result<(), Gone> {
        self.write(self.half.make_writer(), bytes).await
    }

    pub async fn errors(&self, bytes: &[u8]) -> Result<(), Gone> {
        self.write(self.half.make_writer_ext(Some(STDERR)), bytes)
            .await
    }

    async fn write(&self, writer: impl AsyncWrite + 'static, bytes: &[u8]) -> Result<(), Gone> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.link.note_traffic();
        let mut writer = std::pin::pin!(writer);
        writer.write_all(bytes).await.map_err(|_| Gone)
    }

    pub async fn exit_code(&self, code: u32) -> Result<(), Gone> {
        self.half.exit_status(code).await.map_err(|_| Gone)
    }

    pub async fn exit_signal(&self, signal: Sig) -> Result<(), Gone> {
        self.handle
            .exit_signal_request(self.id(), signal, false, String::new(), String::new())
            .await
            .map_err(|()| Gone)
    }

    /// No more comes from us.
    pub async fn end(&self) -> Result<(), Gone> {
        self.half.eof().await.map_err(|_| Gone)
    }

    pub async fn close(&self) -> Result<(), Gone> {
        self.half.close().await.map_err(|_| Gone)
    }
}
