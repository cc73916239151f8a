//! What a client lists and calls.

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use alcove_actions::{Api, Effect, Entry, Held, Room, TOOLS};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::Value;

const INSTRUCTIONS: &str = "Sandboxes that run untrusted code. Create one with create_sandbox, run code and commands in \
    it by its id or name, and delete it when it is done with. Every answer says in `success` whether it worked, and in \
    `error` why not.";

/// The place that the last large answer takes, for whoever sends it. A request has one answer at most.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Option<Held>>>);

impl Kept {
    pub(crate) fn take(&self) -> Option<Held> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server of tools for one caller.
#[derive(Clone)]
pub(crate) struct Tools {
    api: Arc<dyn Api>,
    room: Room,
    kept: Option<Kept>,
}

impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tools").finish_non_exhaustive()
    }
}

impl Tools {
    /// With `kept` the places of large answers outlive the call. A conversation of many calls cannot tell when one was sent.
    pub(crate) fn new(api: Arc<dyn Api>, room: Room, kept: Option<Kept>) -> Self {
        Self { api, room, kept }
    }
}

static LIST: LazyLock<Vec<Tool>> = LazyLock::new(|| TOOLS.iter().map(tool).collect());

fn tool(action: &Entry) -> Tool {
    let description = action.describe();
    let object = |schema: Value| match schema {
        Value::Object(object) => Arc::new(object),
        _ => Arc::default(),
    };
    let mut tool = Tool::new(
        action.name,
        description.description,
        object(description.input_schema),
    );
    tool.title = Some(description.title);
    tool.output_schema = Some(object(description.output_schema));
    let is_read_only = action.effect == Effect::Reads;
    let mut hints = ToolAnnotations::new();
    hints.read_only_hint = Some(is_read_only);
    hints.destructive_hint = Some(action.effect == Effect::Destroys);
    hints.idempotent_hint = Some(action.is_idempotent);
    // A sandbox may reach anything.
    hints.open_world_hint = Some(!is_read_only);
    tool.annotations = Some(hints);
    tool
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("alcove", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(LIST.clone()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let action = TOOLS.iter().find(|action| action.name == request.name);
        let action = action.ok_or_else(|| {
            ErrorData::invalid_params(format!("there is no tool {:?}", request.name), None)
        })?;
        let input = Value::Object(request.arguments.unwrap_or_default());
        let outcome = tokio::select! {
            outcome = action.call(input, &*self.api, &self.room) => outcome,
            () = context.ct.cancelled() => {
                return Err(ErrorData::internal_error("the call was cancelled", None));
            }
        };
        if let Some(kept) = &self.kept {
            *kept.lock() = outcome.held;
        }
        let structured = serde_json::from_str(&outcome.json).ok();
        let mut result = CallToolResult::success(vec![ContentBlock::text(outcome.json)]);
        result.structured_content = structured;
        Ok(result.into())
    }
}
