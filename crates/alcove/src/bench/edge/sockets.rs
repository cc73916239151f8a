//! Idle WebSockets, and what the server holds for each.

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::proc::ProcessMemory;
use super::way::Way;

const HEAD_MAX_BYTES: usize = 4096;

/// Bytes of the server's memory for each of so many sockets, shared by two sandboxes.
pub async fn measure(ways: [&Way; 2], count: usize, server: i32) -> anyhow::Result<f64> {
    let resident = || {
        let memory = ProcessMemory::read(server).context("the server has gone")?;
        anyhow::Ok(memory.resident_bytes)
    };
    // What the first ones bring up is the server's, not theirs.
    let first = [open(ways[0]).await?, open(ways[1]).await?];
    let before = resident()?;
    let mut open_ones = Vec::with_capacity(count);
    for number in 0..count - first.len() {
        open_ones.push(open(ways[number % 2]).await?);
    }
    let grown = resident()?.saturating_sub(before);
    let count = f64::from(u32::try_from(open_ones.len().max(1))?);
    let grown = f64::from(u32::try_from(grown >> 10)?) * 1024.0;
    drop((first, open_ones));
    Ok(grown / count)
}

async fn open(way: &Way) -> anyhow::Result<TcpStream> {
    let mut stream = way.connect().await?;
    let bearer = way.bearer.as_deref().unwrap_or_default();
    let request = format!(
        "GET /socket HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        way.host
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(
            head.len() < HEAD_MAX_BYTES,
            "no end of a WebSocket's answer"
        );
        let read = stream.read_buf(&mut head).await?;
        ensure!(read > 0, "a WebSocket was not let in");
    }
    ensure!(
        head.starts_with(b"HTTP/1.1 101"),
        "a WebSocket was refused: {}",
        String::from_utf8_lossy(&head)
    );
    Ok(stream)
}
