//! The catalogue of flat actions.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One action: what it is called, what it takes and what it gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActionDescription {
    pub name: String,
    pub title: String,
    pub description: String,
    /// JSON schema of the input object.
    #[schema(value_type = Object)]
    pub input_schema: Value,
    /// JSON schema of the output object.
    #[schema(value_type = Object)]
    pub output_schema: Value,
}
