//! `cargo xtask layers` and `cargo xtask files`: rules of the tree that the compiler does not hold.

mod files;
mod layers;
mod metadata;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask layers | files";

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace");
    let command = std::env::args().nth(1);
    let found = match command.as_deref() {
        Some("layers") => metadata::read(root).map(|graph| layers::broken_rules(&graph)),
        Some("files") => files::broken_rules(root),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match found {
        Ok(broken) if broken.is_empty() => ExitCode::SUCCESS,
        Ok(broken) => {
            for rule in broken {
                eprintln!("{rule}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
