//! The command line's side.

use std::path::Path;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{LINE_MAX, Order, Place, Reply};

/// Has the server of a data folder carry out an order. Notes go to the standard error; the answer is what there is to tell.
pub async fn ask(data_dir: &Path, order: &Order) -> anyhow::Result<String> {
    let place = Place::of(data_dir)
        .with_context(|| format!("cannot open the data folder {}", data_dir.display()))?;
    let stream = UnixStream::connect(place.path()).await.with_context(|| {
        format!(
            "no server answers in {}: it must run for this, with the same data folder and user",
            data_dir.display()
        )
    })?;
    let (input, mut output) = stream.into_split();
    let mut line = serde_json::to_string(order)?;
    line.push('\n');
    let sent = output.write_all(line.as_bytes()).await;
    sent.context("cannot ask the server")?;
    let mut input = BufReader::new(input);
    loop {
        let mut line = String::new();
        let read = (&mut input).take(LINE_MAX).read_line(&mut line).await;
        if read.context("cannot read the server's answer")? == 0 {
            bail!("the server ended before it was done");
        }
        match serde_json::from_str(&line).context("the server's answer makes no sense")? {
            Reply::Note { text } => eprintln!("alcove: {text}"),
            Reply::Done { text } => return Ok(text),
            Reply::Failed { reason } => bail!("{reason}"),
        }
    }
}
