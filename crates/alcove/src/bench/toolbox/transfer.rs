//! A large file there and back.

use std::io;
use std::time::{Duration, Instant};

use alcove_agent_api::ExecuteRequest;
use alcove_client::Toolbox;
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

/// What `dd` reads and writes at a time.
const DD_BYTES: u64 = 256 << 10;

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
    /// A plain write or read of such a file in the sandbox, by `dd`.
    pub file: f64,
}

impl Speed {
    pub fn ratio(&self) -> f64 {
        self.api / self.loopback
    }

    /// Of the speed that the loopback copy and then the file alone would have, one after the other.
    pub fn ratio_to_both(&self) -> f64 {
        self.api * (1.0 / self.loopback + 1.0 / self.file)
    }

    fn of(
        bytes: u64,
        Took {
            api,
            loopback,
            file,
        }: Took,
    ) -> Self {
        let speed = |took: Duration| bytes_in_mib(bytes * TURNS) / took.as_secs_f64();
        Self {
            api: speed(api),
            loopback: speed(loopback),
            file: speed(file),
        }
    }
}

/// Time of all turns of one way.
#[derive(Default)]
struct Took {
    api: Duration,
    loopback: Duration,
    file: Duration,
}

pub async fn measure(subject: &Subject, bytes: u64) -> anyhow::Result<Transfer> {
    let loopback = Loopback::start(bytes).await?;
    let toolbox = &subject.toolbox;
    // Connections, and buffers that stay.
    toolbox.upload_from(PATH, content(1 << 20)).await?;
    download(subject, 1 << 20).await?;
    let (mut up, mut down) = (Took::default(), Took::default());
    let mut growth: Option<Growth> = None;
    for _ in 0..TURNS {
        let watch = subject.watch_growth()?;
        let began = Instant::now();
        toolbox
            .upload_from(PATH, content(bytes))
            .await
            .context("the upload failed")?;
        up.api += began.elapsed();
        let began = Instant::now();
        download(subject, bytes).await?;
        down.api += began.elapsed();
        let grown = watch.end()?;
        growth = Some(growth.map_or(grown, |before| before.or(grown)));

        let began = Instant::now();
        loopback.upload(bytes).await?;
        up.loopback += began.elapsed();
        let began = Instant::now();
        loopback.download(bytes).await?;
        down.loopback += began.elapsed();

        let pieces = bytes.div_ceil(DD_BYTES);
        let began = Instant::now();
        dd(
            toolbox,
            &format!("if=/dev/zero of={PATH}.dd count={pieces}"),
        )
        .await?;
        up.file += began.elapsed();
        let began = Instant::now();
        dd(toolbox, &format!("if={PATH}.dd of=/dev/null")).await?;
        down.file += began.elapsed();
        // The next upload needs the room: it stands beside the file that it replaces.
        run(toolbox, format!("rm {PATH}.dd")).await?;
    }
    Ok(Transfer {
        upload: Speed::of(bytes, up),
        download: Speed::of(bytes, down),
        growth: growth.context("there is no turn")?,
    })
}

async fn dd(toolbox: &Toolbox, what: &str) -> anyhow::Result<()> {
    run(toolbox, format!("dd bs={DD_BYTES} {what}")).await
}

async fn run(toolbox: &Toolbox, command: String) -> anyhow::Result<()> {
    let request = ExecuteRequest {
        command,
        ..ExecuteRequest::default()
    };
    let answer = toolbox.execute(&request).await?;
    let command = &request.command;
    ensure!(answer.exit_code == 0, "{command} ended with {answer:?}");
    Ok(())
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
