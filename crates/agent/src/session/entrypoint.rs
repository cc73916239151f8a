//! The image's own program, in a session of its own that callers can only watch.
//!
//! It replaces the session's shell, so that nothing waits beside it. Its end is not the sandbox's.

use alcove_agent_api::{ENTRYPOINT_COMMAND, ENTRYPOINT_SESSION};

use crate::agent::Agent;
use crate::session::command::Mode;
use crate::session::registry::SessionError;

/// Starts the program, if there is one. A sandbox without it is better than none.
pub fn start(agent: &Agent, program: &[String]) {
    if program.is_empty() {
        return;
    }
    if let Err(error) = try_start(agent, program) {
        crate::log::warn(format_args!("cannot start the entrypoint: {error}"));
    }
}

fn try_start(agent: &Agent, program: &[String]) -> Result<(), SessionError> {
    agent.sessions.create(agent, ENTRYPOINT_SESSION, false)?;
    let session = agent.sessions.get(ENTRYPOINT_SESSION)?;
    // Its input stays open, and nobody writes to it.
    let mode = Mode::Async { has_echo: false };
    session.exec_as(ENTRYPOINT_COMMAND.to_owned(), command_line(program), mode)?;
    Ok(())
}

/// The program as a shell reads it. Each part is quoted, so that it holds only itself.
fn command_line(program: &[String]) -> String {
    program.iter().fold("exec".to_owned(), |line, part| {
        line + " '" + &part.replace('\'', r"'\''") + "'"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_quoted_one_by_one() {
        let program = ["a b", "it's", "$(x)", ""].map(str::to_owned);
        assert_eq!(command_line(&program), r"exec 'a b' 'it'\''s' '$(x)' ''");
    }
}
