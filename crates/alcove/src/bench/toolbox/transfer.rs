//! A large file there and back.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::Serialize;

use super::super::table::bytes_in_mib;
use super::loopback::Loopback;
use super::subject::{Growth, Subject};

/// Each way is gone so often, in turns.
const TURNS: u64 = 3;

/// What is sent at a time.
const PIECE_BYTES: usize = 64 << 10;

const PATH: &str = "/tmp/alcove-bench-transfer";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Transfer {
    pub upload: Speed,
    pub download: Speed,
    pub growth: Growth,
}

/// MiB a second.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Speed {
    pub api: f64,
    pub loopback: f64,
}

impl Speed {
    pub fn ratio(&self) -> f64 {
        self.api / self.loopback
    }

    fn of(bytes: u64, api: Duration, loopback: Duration) -> Self {
        let mib = bytes_in_mib(bytes * TURNS);
        Self {
            api: mib / api.as_secs_f64(),
            loopback: mib / loopback.as_secs_f64(),
        }
    }
}

pub async fn measure(subject: &Subject, bytes: u64) -> anyhow::Result<Transfer> {
    let loopback = Loopback::start(bytes).await?;
    let toolbox = &subject.toolbox;
    // Connections, and buffers that stay.
    toolbox.upload_from(PATH, content(1 << 20)).await?;
    download(subject, 1 << 20).await?;
    let (mut up, mut down) = ([Duration::ZERO; 2], [Duration::ZERO; 2]);
    let mut growth: Option<Growth> = None;
    for _ in 0..TURNS {
        let watch = subject.watch_growth()?;
        let began = Instant::now();
        toolbox
            .upload_from(PATH, content(bytes))
            .await
            .context("the upload failed")?;
        up[0] += began.elapsed();
        let began = Instant::now();
        download(subject, bytes).await?;
        down[0] += began.elapsed();
        let grown = watch.end()?;
        growth = Some(growth.map_or(grown, |before| before.or(grown)));

        let began = Instant::now();
        loopback.upload(bytes).await?;
        up[1] += began.elapsed();
        let began = Instant::now();
        loopback.download(bytes).await?;
        down[1] += began.elapsed();
    }
    Ok(Transfer {
        upload: Speed::of(bytes, up[0], up[1]),
        download: Speed::of(bytes, down[0], down[1]),
        growth: growth.context("there is no turn")?,
    })
}

async fn download(subject: &Subject, bytes: u64) -> anyhow::Result<()> {
    let mut download = subject.toolbox.download_pieces(PATH).await?;
    let mut received = 0;
    while let Some(piece) = download.next().await.context("the download failed")? {
        received += piece.len() as u64;
    }
    ensure!(received == bytes, "{received} of {bytes} bytes came back");
    Ok(())
}

/// So many bytes, piece by piece. None of them is zero, so that no file system leaves them out.
pub fn content(bytes: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let bytes_of_piece = (1..=u8::MAX).cycle().take(PIECE_BYTES);
    let piece = Bytes::from(bytes_of_piece.collect::<Vec<_>>());
    stream::unfold((piece, bytes), async |(piece, left)| {
        let length = left.min(piece.len() as u64);
        // No longer than the piece.
        let next = piece.slice(..usize::try_from(length).unwrap_or(piece.len()));
        (length > 0).then(|| (Ok(next), (piece, left - length)))
    })
}
