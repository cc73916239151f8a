//! `alcove`: the server, its doctor and its benchmarks in one program.

mod action;
mod address;
mod audit;
mod backup;
mod bench;
mod check;
mod contexts;
mod credentials;
mod doctor;
mod doors;
mod egress;
mod fleet;
mod host;
mod image;
mod images;
mod key;
mod key_command;
mod kill;
mod limits;
mod local_runner;
mod login;
mod mail;
mod mcp;
mod memory;
mod oidc;
mod operator;
mod own_telemetry;
mod parts;
mod people;
mod registries;
mod remote;
mod runner;
mod serve;
mod storage;
mod telemetry;
mod tls;
mod welcome;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "alcove",
    version,
    about = "Runs code that nobody trusts, in sandboxes on your own hardware."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server in the foreground.
    Serve(Box<serve::Arguments>),
    /// Keeps sandboxes for a server, in a process of its own: on the server's host, or on another that reaches it.
    Runner(Box<runner::Arguments>),
    /// Tells what this host can do, and what to do about what it cannot.
    Doctor(doctor::Arguments),
    /// Measures a running server, or this host.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Works on images without a server.
    #[command(subcommand)]
    Image(image::Command),
    /// Carries out an action on a running server and prints its output; without a name, tells which there are.
    Action(action::Arguments),
    /// Serves the actions as tools of the Model Context Protocol on standard input and output, for a running server.
    Mcp(mcp::Arguments),
    /// Gets a key of a person, who lets this program in with a browser. Actions and tools use it from then on.
    Login(login::Arguments),
    /// Ends the key that `login` got, and forgets it.
    Logout(login::LogoutArguments),
    /// Makes a backup of everything that a running server has, in a new folder.
    Backup(backup::Arguments),
    /// Makes a data folder of a backup.
    Restore(backup::restore::Arguments),
    /// The key that seals secrets, in a running server.
    #[command(subcommand)]
    Key(key_command::Command),
    /// The audit log, without a server.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Certificates for the server's listeners.
    #[command(subcommand)]
    Tls(tls::Command),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(serve::BLOCKING_THREADS)
        .thread_keep_alive(serve::BLOCKING_KEPT_FOR)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("alcove: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Serve(arguments) => serve::run(*arguments).await,
            Command::Runner(arguments) => runner::run(*arguments).await,
            Command::Doctor(arguments) => doctor::run(arguments).await,
            Command::Bench(command) => bench::run(command).await,
            Command::Action(arguments) => action::run(arguments).await,
            Command::Mcp(arguments) => mcp::run(arguments).await,
            Command::Login(arguments) => login::run(arguments).await,
            Command::Logout(arguments) => login::logout(arguments).await,
            Command::Image(command) => image::run(command),
            Command::Backup(arguments) => backup::run(arguments).await,
            Command::Restore(arguments) => backup::restore::run(arguments).await,
            Command::Key(command) => key_command::run(command).await,
            Command::Audit(command) => audit::run(command).await,
            Command::Tls(command) => tls::run(&command),
        }
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("alcove: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
