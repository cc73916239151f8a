//! Where what a sandbox serves is seen.

use http::Method;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Context, Effect};
use crate::api::Ask;
use crate::failure::Failure;
use crate::input::Fields;
use crate::room::Held;
use crate::schema::{Kind, Shape};

/// `get_preview_url`.
pub(crate) struct Url {
    sandbox: String,
    port: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Place {
    url: Option<String>,
    token: Option<String>,
}

impl Action for Url {
    const NAME: &'static str = "get_preview_url";
    const ABOUT: &'static str = "Tells where what a sandbox serves on a port is seen. The token opens it, in the header X-Daytona-Preview-Token.";
    const EFFECT: Effect = Effect::Reads;
    const IS_IDEMPOTENT: bool = true;
    const OUTPUT: &'static [(&'static str, Shape)] = &[
        ("url", Shape::Maybe(Kind::Text)),
        ("token", Shape::Maybe(Kind::Text)),
    ];
    type Output = Place;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            port: fields.required_integer("port", "Port inside of the sandbox"),
        }
    }

    async fn run(self, context: Context<'_>) -> Result<(Place, Option<Held>), Failure> {
        let tail = format!("/ports/{}/preview-url", self.port);
        let place = Ask::sandbox(Method::GET, &self.sandbox, &tail)
            .value(context.api)
            .await?;
        Ok((place, None))
    }
}
