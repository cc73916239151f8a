//! Long-lived shells: what an agent works in.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Nothing;
use crate::action::{Action, Context, Effect};
use crate::api::{Ask, segment};
use crate::failure::Failure;
use crate::input::Fields;
use crate::room::Held;
use crate::schema::{Kind, Part, Shape};

/// A command that is waited for may take so long; longer ones are started with `run_async`.
const COMMAND_LIMIT: Duration = Duration::from_mins(10);

const SESSION_ABOUT: &str = "Name of the session";

fn path(session: &str, tail: &str) -> String {
    format!("/process/session/{}{tail}", segment(session))
}

/// `create_session`.
pub(crate) struct Create {
    sandbox: String,
    session: String,
}

impl Action for Create {
    const NAME: &'static str = "create_session";
    const ABOUT: &'static str =
        "Opens a shell that keeps its folder and variables from command to command.";
    const EFFECT: Effect = Effect::Changes;
    const IS_IDEMPOTENT: bool = false;
    const OUTPUT: &'static [(&'static str, Shape)] = &[];
    type Output = Nothing;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            session: fields.name("session_id", SESSION_ABOUT),
        }
    }

    async fn run(self, context: Context<'_>) -> Result<(Nothing, Option<Held>), Failure> {
        Ask::toolbox(Method::POST, &self.sandbox, "/process/session")
            .json(&json!({"sessionId": self.session}))
            .done(context.api)
            .await?;
        Ok((Nothing {}, None))
    }
}

/// `run_in_session`.
pub(crate) struct Run {
    sandbox: String,
    session: String,
    command: String,
    is_async: Option<bool>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Ran {
    command_id: Option<String>,
    exit_code: Option<i64>,
    stdout: Option<String>,
    stderr: Option<String>,
}

impl Action for Run {
    const NAME: &'static str = "run_in_session";
    const ABOUT: &'static str =
        "Runs a command in a session and waits for it, or with run_async only starts it.";
    const EFFECT: Effect = Effect::Changes;
    const IS_IDEMPOTENT: bool = false;
    const OUTPUT: &'static [(&'static str, Shape)] = &[
        ("command_id", Shape::Maybe(Kind::Text)),
        ("exit_code", Shape::Maybe(Kind::Integer)),
        ("stdout", Shape::Maybe(Kind::Text)),
        ("stderr", Shape::Maybe(Kind::Text)),
    ];
    type Output = Ran;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            session: fields.name("session_id", SESSION_ABOUT),
            command: fields.required_text("command", "Command line for the shell"),
            is_async: fields.boolean("run_async", "Whether to return while it still runs"),
        }
    }

    fn limit(&self) -> Duration {
        COMMAND_LIMIT
    }

    async fn run(self, context: Context<'_>) -> Result<(Ran, Option<Held>), Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            cmd_id: Option<String>,
            exit_code: Option<i64>,
            stdout: Option<String>,
            stderr: Option<String>,
        }
        let mut body = json!({"command": self.command});
        if let Some(is_async) = self.is_async {
            body["runAsync"] = is_async.into();
        }
        let tail = path(&self.session, "/exec");
        let answer: Answer = Ask::toolbox(Method::POST, &self.sandbox, &tail)
            .json(&body)
            .value(context.api)
            .await?;
        let ran = Ran {
            command_id: answer.cmd_id,
            exit_code: answer.exit_code,
            stdout: answer.stdout,
            stderr: answer.stderr,
        };
        Ok((ran, None))
    }
}

/// `get_session_logs`.
pub(crate) struct Logs {
    sandbox: String,
    session: String,
    command: String,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Said {
    exit_code: Option<i64>,
    stdout: Option<String>,
    stderr: Option<String>,
}

impl Action for Logs {
    const NAME: &'static str = "get_session_logs";
    const ABOUT: &'static str =
        "Tells what a command of a session has said so far. The exit code is null while it runs.";
    const EFFECT: Effect = Effect::Reads;
    const IS_IDEMPOTENT: bool = true;
    const OUTPUT: &'static [(&'static str, Shape)] = &[
        ("exit_code", Shape::Maybe(Kind::Integer)),
        ("stdout", Shape::Maybe(Kind::Text)),
        ("stderr", Shape::Maybe(Kind::Text)),
    ];
    type Output = Said;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            session: fields.name("session_id", SESSION_ABOUT),
            command: fields.name("command_id", "command_id of run_in_session"),
        }
    }

    async fn run(self, context: Context<'_>) -> Result<(Said, Option<Held>), Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Command {
            exit_code: Option<i64>,
        }
        #[derive(Deserialize)]
        struct Log {
            stdout: Option<String>,
            stderr: Option<String>,
        }
        let command = format!("/command/{}", segment(&self.command));
        // First the state: what a command that is over has said is all there then.
        let state: Command =
            Ask::toolbox(Method::GET, &self.sandbox, &path(&self.session, &command))
                .value(context.api)
                .await?;
        let logs = path(&self.session, &format!("{command}/logs"));
        let log: Log = Ask::toolbox(Method::GET, &self.sandbox, &logs)
            .value(context.api)
            .await?;
        let said = Said {
            exit_code: state.exit_code,
            stdout: log.stdout,
            stderr: log.stderr,
        };
        Ok((said, None))
    }
}

const COMMAND: Part = Part {
    name: "SessionCommand",
    fields: &[
        ("id", Shape::Maybe(Kind::Text)),
        ("command", Shape::Maybe(Kind::Text)),
        ("exit_code", Shape::Maybe(Kind::Integer)),
    ],
};

const SESSION: Part = Part {
    name: "Session",
    fields: &[
        ("session_id", Shape::Maybe(Kind::Text)),
        ("commands", Shape::Parts(COMMAND)),
    ],
};

#[derive(Debug, Serialize, Deserialize)]
struct SessionCommand {
    id: Option<String>,
    command: Option<String>,
    #[serde(alias = "exitCode")]
    exit_code: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Session {
    #[serde(alias = "sessionId")]
    session_id: Option<String>,
    commands: Vec<SessionCommand>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Sessions {
    sessions: Vec<Session>,
}

/// `list_sessions`.
pub(crate) struct List {
    sandbox: String,
}

impl Action for List {
    const NAME: &'static str = "list_sessions";
    const ABOUT: &'static str = "Lists the sessions of a sandbox with their commands.";
    const EFFECT: Effect = Effect::Reads;
    const IS_IDEMPOTENT: bool = true;
    const OUTPUT: &'static [(&'static str, Shape)] = &[("sessions", Shape::Parts(SESSION))];
    type Output = Sessions;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
        }
    }

    async fn run(self, context: Context<'_>) -> Result<(Sessions, Option<Held>), Failure> {
        let sessions = Ask::toolbox(Method::GET, &self.sandbox, "/process/session")
            .value(context.api)
            .await?;
        Ok((Sessions { sessions }, None))
    }
}

/// `delete_session`.
pub(crate) struct Delete {
    sandbox: String,
    session: String,
}

impl Action for Delete {
    const NAME: &'static str = "delete_session";
    const ABOUT: &'static str = "Ends a session and all that runs in it.";
    const EFFECT: Effect = Effect::Destroys;
    const IS_IDEMPOTENT: bool = true;
    const OUTPUT: &'static [(&'static str, Shape)] = &[];
    type Output = Nothing;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            session: fields.name("session_id", SESSION_ABOUT),
        }
    }

    async fn run(self, context: Context<'_>) -> Result<(Nothing, Option<Held>), Failure> {
        Ask::toolbox(Method::DELETE, &self.sandbox, &path(&self.session, ""))
            .done(context.api)
            .await?;
        Ok((Nothing {}, None))
    }
}
