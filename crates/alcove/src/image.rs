//! `alcove image`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use alcove_runner::image::build::write_oci_archive;
use anyhow::Context;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Packs a root file system, a tar stream on standard input, into an OCI archive.
    Pack {
        /// The image's configuration, a JSON file.
        #[arg(long)]
        config: PathBuf,
        /// The archive to write.
        #[arg(long)]
        out: PathBuf,
    },
}

/// Prints the digest of the packed image.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Pack { config, out } = command;
    let text = fs::read(&config).with_context(|| format!("cannot read {}", config.display()))?;
    let config = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no image configuration", config.display()))?;
    let digest = write_oci_archive(std::io::stdin().lock(), &config, &out)
        .with_context(|| format!("cannot write {}", out.display()))?;
    println!("{}", digest.0);
    Ok(ExitCode::SUCCESS)
}
