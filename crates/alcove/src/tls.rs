//! `alcove tls`: certificates for the listeners from a local authority, and that authority in the system's trust store.
//!
//! The newest Python client uploads build contexts over TLS only, and only to a server whose certificate the
//! operating system trusts. A certificate of one's own does as well, `alcove serve --tls-cert FILE --tls-key FILE`, and so does
//! one for a public name, `alcove serve --acme-name NAME`.

mod acme;
mod arguments;
mod authority;
mod folder;
mod source;
mod trust;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::serve::DATA_DIR;
use acme::AcmeArguments;
pub(crate) use acme::read_roots;
pub use arguments::TlsArguments;
use authority::{Issued, issue, read_issued};
pub use source::Source;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Makes the authority, where there is none, and a certificate for this machine's names.
    Make(Arguments),
    /// The same, and has this system's programs trust the authority. Needs root.
    Install(InstallArguments),
    /// Takes the authority out of the system's trust store. Needs root.
    Remove(Arguments),
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server's folder for all data; the certificates are in its folder `tls`.
    #[arg(long, env = "ALCOVE_DATA_DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// The folder of the certificates, where it is another one.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A name or address by which clients reach this machine, besides its own name and the loopback addresses.
    #[arg(long = "name")]
    names: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct InstallArguments {
    #[command(flatten)]
    arguments: Arguments,
    /// Asks on the terminal first, unless it is installed already. Without a terminal, nothing is done.
    #[arg(long)]
    ask: bool,
}

impl Arguments {
    fn folder(&self) -> PathBuf {
        self.dir
            .clone()
            .unwrap_or_else(|| folder_of(&self.data_dir))
    }

    fn issue(&self) -> anyhow::Result<Issued> {
        issue(&self.folder(), &self.names, now())
    }
}

/// Where a server with this data folder has its certificates.
pub fn folder_of(data_dir: &Path) -> PathBuf {
    data_dir.join("tls")
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are good from now on, by this machine's clock"
)]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Make(arguments) => {
            let issued = arguments.issue()?;
            let state = if issued.is_new { "new" } else { "as it was" };
            println!("certificate: {} ({state})", issued.files.chain.display());
            println!("private key: {}", issued.files.key.display());
            println!(
                "authority:   {} (what clients must trust)",
                issued.files.authority.display()
            );
        }
        Command::Install(install) => return self::install(install),
        Command::Remove(arguments) => {
            let folder = arguments.folder();
            let Some(issued) = read_issued(&folder)? else {
                anyhow::bail!("there is no authority in {}", folder.display());
            };
            trust::remove(&issued.name)?;
            println!("this system no longer trusts {}", issued.name);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn install(install: &InstallArguments) -> anyhow::Result<ExitCode> {
    let folder = install.arguments.folder();
    if install.ask {
        let known = read_issued(&folder)?;
        if known.is_some_and(|issued| trust::is_installed(&issued.name)) {
            return Ok(ExitCode::SUCCESS);
        }
        if !trust::confirm()? {
            println!("Nothing was installed. `alcove tls install` does it at any time.");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let issued = install.arguments.issue()?;
    trust::install(&issued.name, &issued.files.authority)
        .with_context(|| format!("cannot have the system trust {}", issued.name))?;
    println!("this system trusts {} now", issued.name);
    Ok(ExitCode::SUCCESS)
}
