//! `alcove doctor`.

use std::path::PathBuf;
use std::process::ExitCode;

use alcove_runner::net::Ipv4Pool;
use alcove_runner::probe::{ProbeRequest, probe, render_table, required_failures};

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

/// Looks at the host. The exit code is 1 where something is missing that the server cannot do without.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let request = ProbeRequest {
        data_dir: arguments.data_dir,
        network_pool: arguments.network_pool,
    };
    let checks = tokio::task::spawn_blocking(move || probe(&request)).await?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&checks)?);
    } else {
        print!("{}", render_table(&checks));
    }
    let is_fit = required_failures(&checks).is_empty();
    Ok(if is_fit {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
