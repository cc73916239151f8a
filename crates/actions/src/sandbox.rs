//! Sandboxes: made, found, started, stopped, deleted.

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::action::{Action, Context, Effect};
use crate::api::Ask;
use crate::failure::Failure;
use crate::input::Fields;
use crate::room::Held;
use crate::schema::{Kind, Part, Shape};

pub(crate) const SUMMARY: Part = Part {
    name: "SandboxSummary",
    fields: &[
        ("id", Shape::Maybe(Kind::Text)),
        ("name", Shape::Maybe(Kind::Text)),
        ("state", Shape::Maybe(Kind::Text)),
        ("snapshot", Shape::Maybe(Kind::Text)),
        ("target", Shape::Maybe(Kind::Text)),
        ("cpu", Shape::Maybe(Kind::Integer)),
        ("gpu", Shape::Maybe(Kind::Integer)),
        ("memory", Shape::Maybe(Kind::Integer)),
        ("disk", Shape::Maybe(Kind::Integer)),
        ("labels", Shape::Always),
        ("public", Shape::Maybe(Kind::Boolean)),
        ("error_reason", Shape::Maybe(Kind::Text)),
        ("auto_stop_interval", Shape::Maybe(Kind::Integer)),
        ("created_at", Shape::Maybe(Kind::Text)),
        ("updated_at", Shape::Maybe(Kind::Text)),
    ],
};

/// What actions tell of a sandbox.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    id: Option<String>,
    name: Option<String>,
    state: Option<String>,
    snapshot: Option<String>,
    target: Option<String>,
    cpu: Option<i64>,
    gpu: Option<i64>,
    memory: Option<i64>,
    disk: Option<i64>,
    labels: Map<String, Value>,
    public: Option<bool>,
    error_reason: Option<String>,
    auto_stop_interval: Option<i64>,
    created_at: Option<String>,
    updated_at: Option<String>,
}

/// The same as servers of any age write it; all else that they write is left out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    id: Option<String>,
    name: Option<String>,
    state: Option<String>,
    snapshot: Option<String>,
    target: Option<String>,
    cpu: Option<f64>,
    gpu: Option<f64>,
    memory: Option<f64>,
    disk: Option<f64>,
    labels: Option<Map<String, Value>>,
    public: Option<bool>,
    error_reason: Option<String>,
    auto_stop_interval: Option<f64>,
    created_at: Option<String>,
    updated_at: Option<String>,
}

/// Sizes are whole here; where a server has parts of one, the next larger.
fn rounded_up(number: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and no sandbox has so many"
    )]
    let whole = number.ceil() as i64;
    whole
}

impl From<Shown> for Summary {
    fn from(shown: Shown) -> Self {
        Self {
            id: shown.id,
            name: shown.name,
            state: shown.state,
            snapshot: shown.snapshot,
            target: shown.target,
            cpu: shown.cpu.map(rounded_up),
            gpu: shown.gpu.map(rounded_up),
            memory: shown.memory.map(rounded_up),
            disk: shown.disk.map(rounded_up),
            labels: shown.labels.unwrap_or_default(),
            public: shown.public,
            error_reason: shown.error_reason,
            auto_stop_interval: shown.auto_stop_interval.map(rounded_up),
            created_at: shown.created_at,
            updated_at: shown.updated_at,
        }
    }
}

/// The output of most actions on a sandbox.
#[derive(Debug, Default, Serialize)]
pub(crate) struct OneSandbox {
    pub sandbox: Option<Summary>,
}

pub(crate) const ONE_SANDBOX: &[(&str, Shape)] = &[("sandbox", Shape::Part(SUMMARY))];

/// Asks for something whose answer is the sandbox, or nothing on older servers.
pub(crate) async fn answered(
    ask: Ask,
    context: &Context<'_>,
) -> Result<(OneSandbox, Option<Held>), Failure> {
    let shown = ask.value_or_nothing::<Shown>(context.api).await?;
    let sandbox = shown.map(Summary::from);
    Ok((OneSandbox { sandbox }, None))
}

/// `create_sandbox`.
pub(crate) struct Create {
    /// The body, with the keys that were given.
    body: Map<String, Value>,
}

impl Action for Create {
    const NAME: &'static str = "create_sandbox";
    const ABOUT: &'static str = "Creates a sandbox from a snapshot. It may still be on its way when this returns: see its state.";
    const EFFECT: Effect = Effect::Changes;
    const IS_IDEMPOTENT: bool = false;
    const OUTPUT: &'static [(&'static str, Shape)] = ONE_SANDBOX;
    type Output = OneSandbox;

    fn read(fields: &mut Fields) -> Self {
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        let texts = |texts: BTreeMap<String, String>| {
            let texts = texts.into_iter();
            texts
                .map(|(key, text)| (key, Value::from(text)))
                .collect::<Value>()
        };
        put(
            "snapshot",
            fields
                .text(
                    "snapshot",
                    "Id or name of the snapshot; the default one when left out",
                )
                .map(Value::from),
        );
        put(
            "name",
            fields
                .text("name", "Name of the sandbox; its id when left out")
                .map(Value::from),
        );
        put(
            "target",
            fields
                .text("target", "Region to create it in")
                .map(Value::from),
        );
        put(
            "user",
            fields
                .text("user", "User that programs run as")
                .map(Value::from),
        );
        put(
            "env",
            fields
                .texts("env", "Environment variables of all programs")
                .map(texts),
        );
        put(
            "labels",
            fields
                .texts("labels", "Labels to find the sandbox by")
                .map(texts),
        );
        for (key, name, about) in [
            ("cpu", "cpu", "Number of processors"),
            ("memory", "memory", "Memory in GB"),
            ("disk", "disk", "Disk in GB"),
            (
                "autoStopInterval",
                "auto_stop_interval",
                "Idle minutes until it is stopped; 0 = never",
            ),
            (
                "autoArchiveInterval",
                "auto_archive_interval",
                "Stopped minutes until it is archived; 0 = as long as allowed",
            ),
            (
                "autoDeleteInterval",
                "auto_delete_interval",
                "Stopped minutes until it is deleted; negative = never, 0 = at once",
            ),
        ] {
            put(key, fields.integer(name, about).map(Value::from));
        }
        put(
            "public",
            fields
                .boolean("public", "Whether its ports are open to everyone")
                .map(Value::from),
        );
        Self { body }
    }

    async fn run(self, context: Context<'_>) -> Result<(OneSandbox, Option<Held>), Failure> {
        let ask = Ask::api(Method::POST, "/sandbox").json(&self.body.into());
        answered(ask, &context).await
    }
}

/// `list_sandboxes`.
pub(crate) struct List {
    limit: Option<i64>,
    name: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    cursor: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Sandboxes {
    sandboxes: Vec<Summary>,
    next_cursor: Option<String>,
}

impl Action for List {
    const NAME: &'static str = "list_sandboxes";
    const ABOUT: &'static str = "Lists sandboxes, page by page.";
    const EFFECT: Effect = Effect::Reads;
    const IS_IDEMPOTENT: bool = true;
    const OUTPUT: &'static [(&'static str, Shape)] = &[
        ("sandboxes", Shape::Parts(SUMMARY)),
        ("next_cursor", Shape::Maybe(Kind::Text)),
    ];
    type Output = Sandboxes;

    fn read(fields: &mut Fields) -> Self {
        Self {
            limit: fields.integer("limit", "Sandboxes on one page, 1 to 200"),
            name: fields.text("name", "Start of the name, in any case"),
            labels: fields.texts("labels", "Labels that all must match"),
            cursor: fields.text("cursor", "next_cursor of the page before"),
        }
    }

    async fn run(self, context: Context<'_>) -> Result<(Sandboxes, Option<Held>), Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            items: Vec<Shown>,
            next_cursor: Option<String>,
        }
        let labels = self
            .labels
            .map(|labels| serde_json::to_string(&labels).expect("texts under texts"));
        let limit = self.limit.map(|limit| limit.to_string());
        let page: Page = Ask::api(Method::GET, "/sandbox")
            .query_if("limit", limit.as_deref())
            .query_if("name", self.name.as_deref())
            .query_if("labels", labels.as_deref())
            .query_if("cursor", self.cursor.as_deref())
            .value(context.api)
            .await?;
        let output = Sandboxes {
            sandboxes: page.items.into_iter().map(Summary::from).collect(),
            next_cursor: page.next_cursor,
        };
        Ok((output, None))
    }
}

/// An action that takes a sandbox and answers with it.
macro_rules! on_one_sandbox {
    ($action:ident, $name:literal, $about:literal, $effect:ident, $method:ident, $tail:literal) => {
        #[doc = concat!("`", $name, "`.")]
        pub(crate) struct $action {
            sandbox: String,
        }

        impl Action for $action {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = $about;
            const EFFECT: Effect = Effect::$effect;
            const IS_IDEMPOTENT: bool = true;
            const OUTPUT: &'static [(&'static str, Shape)] = ONE_SANDBOX;
            type Output = OneSandbox;

            fn read(fields: &mut Fields) -> Self {
                Self {
                    sandbox: fields.sandbox(),
                }
            }

            async fn run(
                self,
                context: Context<'_>,
            ) -> Result<(OneSandbox, Option<Held>), Failure> {
                let ask = Ask::sandbox(Method::$method, &self.sandbox, $tail);
                answered(ask, &context).await
            }
        }
    };
}

on_one_sandbox!(Get, "get_sandbox", "Tells about a sandbox.", Reads, GET, "");
on_one_sandbox!(
    Start,
    "start_sandbox",
    "Starts a stopped sandbox.",
    Changes,
    POST,
    "/start"
);
on_one_sandbox!(
    Stop,
    "stop_sandbox",
    "Stops a sandbox. Its files stay, its programs end.",
    Changes,
    POST,
    "/stop"
);
on_one_sandbox!(
    Delete,
    "delete_sandbox",
    "Deletes a sandbox and everything in it.",
    Destroys,
    DELETE,
    ""
);
on_one_sandbox!(
    Pause,
    "pause_sandbox",
    "Puts a sandbox away with its programs as they are. Starting it goes on with them.",
    Changes,
    POST,
    "/pause"
);
