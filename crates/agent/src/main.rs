//! `alcove-agent`, see the library.

fn main() -> std::process::ExitCode {
    alcove_agent::main(std::env::args().skip(1))
}
