//! `alcove key`: the key that seals secrets.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::operator::{self, Order};
use crate::serve::DATA_DIR;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Tells which keys there are, by ids that say nothing of them.
    Show(Arguments),
    /// Makes a new key and has everything sealed with it that the old one sealed, which is dropped then. The server goes on
    /// meanwhile; where it ends before that is done, it goes on with it at its next start.
    Rotate(Arguments),
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The data folder of the running server.
    #[arg(long, env = "ALCOVE_DATA_DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let (arguments, order) = match command {
        Command::Show(arguments) => (arguments, Order::Keys),
        Command::Rotate(arguments) => (arguments, Order::RotateKey),
    };
    println!("{}", operator::ask(&arguments.data_dir, &order).await?);
    Ok(ExitCode::SUCCESS)
}
