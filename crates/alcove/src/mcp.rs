//! `alcove mcp`.

use std::process::ExitCode;
use std::sync::Arc;

use crate::address::Address;
use crate::remote::Remote;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    server: Address,
}

/// Serves until the client that started this process closes its end.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (client, _) = arguments.server.client()?;
    alcove_mcp::serve_stdio(Arc::new(Remote(client))).await?;
    Ok(ExitCode::SUCCESS)
}
