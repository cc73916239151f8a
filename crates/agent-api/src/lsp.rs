//! Language servers.
//!
//! The answers hold what the clients know and nothing else: the strict ones refuse more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /lsp/start` and `POST /lsp/stop`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LspServerRequest {
    /// `python`, `typescript` or `javascript`.
    pub language_id: String,
    /// Absolute, or relative to the work dir.
    pub path_to_project: String,
}

/// Body of `POST /lsp/did-open` and `POST /lsp/did-close`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LspDocumentRequest {
    #[serde(flatten)]
    pub server: LspServerRequest,
    /// `file://` and a path, which may be relative to the project and need not be percent-encoded.
    pub uri: String,
}

/// Body of `POST /lsp/completions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LspCompletionParams {
    #[serde(flatten)]
    pub document: LspDocumentRequest,
    pub position: Option<LspPosition>,
    pub context: Option<CompletionContext>,
}

/// A place in a document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LspPosition {
    /// From 0.
    pub line: u32,
    /// In UTF-16 code units, from 0.
    pub character: u32,
}

/// A part of a document; its end does not belong to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LspRange {
    pub start: LspPosition,
    pub end: LspPosition,
}

/// A part of a document that is named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LspLocation {
    pub uri: String,
    #[serde(default)]
    pub range: LspRange,
}

/// A name that a program defines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LspSymbol {
    /// A `SymbolKind` of the language server protocol.
    pub kind: u32,
    pub name: String,
    pub location: LspLocation,
}

/// What made a client ask for completions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompletionContext {
    /// A `CompletionTriggerKind` of the language server protocol; 0 counts as 1, which is "asked for".
    pub trigger_kind: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_character: Option<String>,
}

/// Answer of `POST /lsp/completions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompletionList {
    pub is_incomplete: bool,
    pub items: Vec<CompletionItem>,
}

/// A way to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompletionItem {
    pub label: String,
    /// A `CompletionItemKind` of the language server protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// `kind` (`plaintext` or `markdown`) and `value`. Never bare text: the typed clients read an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documentation: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort_text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insert_text: Option<String>,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_place_at_zero_is_a_place_and_one_without_a_line_is_none() {
        let request = r#"{"languageId":"python","pathToProject":"p","uri":"file://a",
            "position":{"line":0,"character":0},"context":{"triggerKind":0}}"#;
        let request: LspCompletionParams = serde_json::from_str(request).unwrap();
        assert_eq!(request.position, Some(LspPosition::default()));
        assert_eq!(request.context.unwrap().trigger_kind, 0);
        assert_eq!(request.document.server.language_id, "python");
        for bad in [
            r#"{"position":{"character":1}}"#,
            r#"{"position":{"line":-1,"character":1}}"#,
        ] {
            serde_json::from_str::<LspCompletionParams>(bad).unwrap_err();
        }
    }
}
