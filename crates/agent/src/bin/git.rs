//! `alcove-git`, see the library of that name.

fn main() -> std::process::ExitCode {
    alcove_git::main()
}
