//! Snapshots: what sandboxes are made from.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use crate::action::{Action, Context, Effect};
use crate::api::Ask;
use crate::failure::Failure;
use crate::input::Fields;
use crate::room::Held;
use crate::sandbox::{ONE_SANDBOX, OneSandbox, answered};
use crate::schema::{Kind, Part, Shape};

/// A copy of a disk.
const COPY_LIMIT: Duration = Duration::from_mins(10);

const SNAPSHOT: Part = Part {
    name: "SnapshotSummary",
    fields: &[
        ("id", Shape::Maybe(Kind::Text)),
        ("name", Shape::Maybe(Kind::Text)),
        ("state", Shape::Maybe(Kind::Text)),
        ("cpu", Shape::Maybe(Kind::Integer)),
        ("memory", Shape::Maybe(Kind::Integer)),
        ("disk", Shape::Maybe(Kind::Integer)),
        ("error_reason", Shape::Maybe(Kind::Text)),
        ("created_at", Shape::Maybe(Kind::Text)),
    ],
};

#[derive(Debug, Serialize, Deserialize)]
struct SnapshotSummary {
    id: Option<String>,
    name: Option<String>,
    state: Option<String>,
    cpu: Option<i64>,
    /// The wire says `mem` here and `memory` of a sandbox.
    #[serde(alias = "mem")]
    memory: Option<i64>,
    disk: Option<i64>,
    #[serde(alias = "errorReason")]
    error_reason: Option<String>,
    #[serde(alias = "createdAt")]
    created_at: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Snapshots {
    snapshots: Vec<SnapshotSummary>,
    total_pages: Option<i64>,
}

/// `list_snapshots`.
pub(crate) struct List {
    name: Option<String>,
    page: Option<i64>,
    limit: Option<i64>,
}

impl Action for List {
    const NAME: &'static str = "list_snapshots";
    const ABOUT: &'static str = "Lists the snapshots that sandboxes can be made from.";
    const EFFECT: Effect = Effect::Reads;
    const IS_IDEMPOTENT: bool = true;
    const OUTPUT: &'static [(&'static str, Shape)] = &[
        ("snapshots", Shape::Parts(SNAPSHOT)),
        ("total_pages", Shape::Maybe(Kind::Integer)),
    ];
    type Output = Snapshots;

    fn read(fields: &mut Fields) -> Self {
        Self {
            name: fields.text("name", "Part of the name"),
            page: fields.integer("page", "Number of the page, from 1"),
            limit: fields.integer("limit", "Snapshots on one page, 1 to 200"),
        }
    }

    async fn run(self, context: Context<'_>) -> Result<(Snapshots, Option<Held>), Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            items: Vec<SnapshotSummary>,
            total_pages: Option<i64>,
        }
        let page: Page = Ask::api(Method::GET, "/snapshots")
            .query_if("name", self.name.as_deref())
            .query_if("page", self.page.map(|page| page.to_string()).as_deref())
            .query_if(
                "limit",
                self.limit.map(|limit| limit.to_string()).as_deref(),
            )
            .value(context.api)
            .await?;
        let snapshots = Snapshots {
            snapshots: page.items,
            total_pages: page.total_pages,
        };
        Ok((snapshots, None))
    }
}

/// `create_snapshot`.
pub(crate) struct Create {
    sandbox: String,
    name: String,
}

impl Action for Create {
    const NAME: &'static str = "create_snapshot";
    const ABOUT: &'static str =
        "Makes a snapshot of a sandbox's files, to make other sandboxes from.";
    const EFFECT: Effect = Effect::Changes;
    const IS_IDEMPOTENT: bool = false;
    const OUTPUT: &'static [(&'static str, Shape)] = ONE_SANDBOX;
    type Output = OneSandbox;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            name: fields.name("name", "Name of the snapshot"),
        }
    }

    fn limit(&self) -> Duration {
        COPY_LIMIT
    }

    async fn run(self, context: Context<'_>) -> Result<(OneSandbox, Option<Held>), Failure> {
        let ask = Ask::sandbox(Method::POST, &self.sandbox, "/snapshot");
        answered(ask.json(&json!({"name": self.name})), &context).await
    }
}

/// `fork_sandbox`.
pub(crate) struct Fork {
    sandbox: String,
    name: Option<String>,
}

impl Action for Fork {
    const NAME: &'static str = "fork_sandbox";
    const ABOUT: &'static str =
        "Makes a second sandbox with the files of one, and tells about the second.";
    const EFFECT: Effect = Effect::Changes;
    const IS_IDEMPOTENT: bool = false;
    const OUTPUT: &'static [(&'static str, Shape)] = ONE_SANDBOX;
    type Output = OneSandbox;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            name: fields.text("name", "Name of the new sandbox; its id when left out"),
        }
    }

    fn limit(&self) -> Duration {
        COPY_LIMIT
    }

    async fn run(self, context: Context<'_>) -> Result<(OneSandbox, Option<Held>), Failure> {
        let body: Map<_, _> = self
            .name
            .map(|name| ("name".to_owned(), name.into()))
            .into_iter()
            .collect();
        let ask = Ask::sandbox(Method::POST, &self.sandbox, "/fork");
        answered(ask.json(&body.into()), &context).await
    }
}
