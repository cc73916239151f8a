//! Finding files, and text in them.

use http::Method;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Context, Effect};
use crate::api::Ask;
use crate::failure::Failure;
use crate::input::Fields;
use crate::room::Held;
use crate::schema::{Kind, Part, Shape};

/// `search_files`.
pub(crate) struct Names {
    sandbox: String,
    path: String,
    pattern: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Found {
    files: Vec<String>,
}

impl Action for Names {
    const NAME: &'static str = "search_files";
    const ABOUT: &'static str =
        "Finds files below a folder by a pattern for their names, such as *.py.";
    const EFFECT: Effect = Effect::Reads;
    const IS_IDEMPOTENT: bool = true;
    const OUTPUT: &'static [(&'static str, Shape)] = &[("files", Shape::Texts)];
    type Output = Found;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            path: fields.name("path", "Folder to search in"),
            pattern: fields.name("pattern", "Pattern for the name"),
        }
    }

    async fn run(self, context: Context<'_>) -> Result<(Found, Option<Held>), Failure> {
        let found = Ask::toolbox(Method::GET, &self.sandbox, "/files/search")
            .query("path", &self.path)
            .query("pattern", &self.pattern)
            .value(context.api)
            .await?;
        Ok((found, None))
    }
}

/// `find_in_files`.
pub(crate) struct Text {
    sandbox: String,
    path: String,
    pattern: String,
}

const MATCH: Part = Part {
    name: "Match",
    fields: &[
        ("file", Shape::Maybe(Kind::Text)),
        ("line", Shape::Maybe(Kind::Integer)),
        ("content", Shape::Maybe(Kind::Text)),
    ],
};

#[derive(Debug, Serialize, Deserialize)]
struct Match {
    file: Option<String>,
    line: Option<u64>,
    content: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Matches {
    matches: Vec<Match>,
}

impl Action for Text {
    const NAME: &'static str = "find_in_files";
    const ABOUT: &'static str = "Finds lines with a text in the files below a folder.";
    const EFFECT: Effect = Effect::Reads;
    const IS_IDEMPOTENT: bool = true;
    const OUTPUT: &'static [(&'static str, Shape)] = &[("matches", Shape::Parts(MATCH))];
    type Output = Matches;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            path: fields.name("path", "Folder to search in"),
            pattern: fields.name("pattern", "Text to find"),
        }
    }

    async fn run(self, context: Context<'_>) -> Result<(Matches, Option<Held>), Failure> {
        let matches = Ask::toolbox(Method::GET, &self.sandbox, "/files/find")
            .query("path", &self.path)
            .query("pattern", &self.pattern)
            .value(context.api)
            .await?;
        Ok((Matches { matches }, None))
    }
}
