//! `alcove doctor`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use alcove_runner::net::Ipv4Pool;
use alcove_runner::probe::{ProbeReport, ProbeRequest, probe, render_table, scratch_in};
use anyhow::Context;

use crate::parts;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder whose file system is looked at.
    #[arg(long, env = "ALCOVE_DATA_DIR", default_value = crate::serve::DATA_DIR)]
    data_dir: PathBuf,
    /// Addresses for sandboxes.
    #[arg(long, env = "ALCOVE_NETWORK_POOL", default_value_t)]
    network_pool: Ipv4Pool,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Tries what the host can do. The exit code is 1 where something is missing that the server cannot do without.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    // A data folder that is not there yet is not made: nothing stays of a look at the host.
    let data_dir = std::path::absolute(&arguments.data_dir)
        .with_context(|| format!("cannot find {}", arguments.data_dir.display()))?;
    let data_dir = data_dir.canonicalize().unwrap_or(data_dir);
    // Held until the end: its drop removes the program.
    let (_scratch, spawner_program) = unpack_near(&data_dir)?;
    let request = ProbeRequest {
        spawner_program,
        data_dir,
        network_pool: arguments.network_pool,
    };
    let checks = probe(&request).await;
    let report = ProbeReport::new(&checks);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", render_table(&checks));
    }
    Ok(if report.fit {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Unpacks the program that is tried: where the server will have it, or else, where that is full or cannot be
/// written, with other temporary files.
fn unpack_near(data_dir: &Path) -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
    let unpack_in = |folder: &Path| {
        let scratch = scratch_in(folder).context("cannot make a folder for a program")?;
        let program = parts::unpack_spawner_to_try(scratch.path())?;
        anyhow::Ok((scratch, program))
    };
    data_dir
        .ancestors()
        .find(|folder| folder.is_dir())
        .and_then(|nearest| unpack_in(nearest).ok())
        .map_or_else(|| unpack_in(&std::env::temp_dir()), Ok)
}
