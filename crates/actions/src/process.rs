//! Programs and commands.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::action::{Action, Context, Effect};
use crate::api::Ask;
use crate::failure::Failure;
use crate::input::Fields;
use crate::room::Held;
use crate::schema::{Kind, Shape};

/// The toolbox has no limit of its own.
const DEFAULT_TIMEOUT_S: u64 = 10;
/// The toolbox gets so much longer to tell that the time is up.
const GRACE: Duration = Duration::from_secs(5);

/// How long a program may run.
#[derive(Debug, Clone, Copy)]
struct Limit(u64);

impl Limit {
    fn read(fields: &mut Fields) -> Self {
        let seconds = fields.seconds("timeout", "Seconds it may run; 10 when left out");
        Self(seconds.unwrap_or(DEFAULT_TIMEOUT_S))
    }

    fn with_grace(self) -> Duration {
        Duration::from_secs(self.0).saturating_add(GRACE)
    }
}

/// `run_code`.
pub(crate) struct RunCode {
    sandbox: String,
    code: String,
    language: String,
    env: Option<BTreeMap<String, String>>,
    timeout: Limit,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Ran {
    exit_code: Option<i64>,
    result: Option<String>,
    artifacts: Option<Map<String, Value>>,
}

/// What the toolbox says of a program that ended.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    exit_code: Option<i64>,
    result: Option<String>,
    artifacts: Option<Map<String, Value>>,
}

impl Action for RunCode {
    const NAME: &'static str = "run_code";
    const ABOUT: &'static str =
        "Runs a program given as source text. One that fails is a success with its exit code.";
    const EFFECT: Effect = Effect::Changes;
    const IS_IDEMPOTENT: bool = false;
    const OUTPUT: &'static [(&'static str, Shape)] = &[
        ("exit_code", Shape::Maybe(Kind::Integer)),
        ("result", Shape::Maybe(Kind::Text)),
        ("artifacts", Shape::Maybe(Kind::Free)),
    ];
    type Output = Ran;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            code: fields.required_text("code", "Source text"),
            language: fields.required_text("language", "python, javascript or typescript"),
            env: fields.texts("env", "Environment variables"),
            timeout: Limit::read(fields),
        }
    }

    fn limit(&self) -> Duration {
        self.timeout.with_grace()
    }

    async fn run(self, context: Context<'_>) -> Result<(Ran, Option<Held>), Failure> {
        let mut body = json!({
            "code": self.code, "language": self.language, "timeout": self.timeout.0,
        });
        if let Some(env) = self.env {
            body["envs"] = json!(env);
        }
        let ended: Ended = Ask::toolbox(Method::POST, &self.sandbox, "/process/code-run")
            .json(&body)
            .value(context.api)
            .await?;
        let ran = Ran {
            exit_code: ended.exit_code,
            result: ended.result,
            artifacts: ended.artifacts,
        };
        Ok((ran, None))
    }
}

/// `execute_command`.
pub(crate) struct ExecuteCommand {
    sandbox: String,
    command: String,
    cwd: Option<String>,
    env: Option<BTreeMap<String, String>>,
    timeout: Limit,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Executed {
    exit_code: Option<i64>,
    result: Option<String>,
}

impl Action for ExecuteCommand {
    const NAME: &'static str = "execute_command";
    const ABOUT: &'static str =
        "Runs a shell command. One that fails is a success with its exit code.";
    const EFFECT: Effect = Effect::Changes;
    const IS_IDEMPOTENT: bool = false;
    const OUTPUT: &'static [(&'static str, Shape)] = &[
        ("exit_code", Shape::Maybe(Kind::Integer)),
        ("result", Shape::Maybe(Kind::Text)),
    ];
    type Output = Executed;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            command: fields.required_text("command", "Command line for the shell"),
            cwd: fields.text(
                "cwd",
                "Folder to run in; the working directory when left out",
            ),
            env: fields.texts("env", "Environment variables"),
            timeout: Limit::read(fields),
        }
    }

    fn limit(&self) -> Duration {
        self.timeout.with_grace()
    }

    async fn run(self, context: Context<'_>) -> Result<(Executed, Option<Held>), Failure> {
        let mut body = json!({"command": self.command, "timeout": self.timeout.0});
        if let Some(cwd) = self.cwd {
            body["cwd"] = cwd.into();
        }
        if let Some(env) = self.env {
            body["envs"] = json!(env);
        }
        let ended: Ended = Ask::toolbox(Method::POST, &self.sandbox, "/process/execute")
            .json(&body)
            .value(context.api)
            .await?;
        let executed = Executed {
            exit_code: ended.exit_code,
            result: ended.result,
        };
        Ok((executed, None))
    }
}
