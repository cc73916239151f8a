//! Words of JSON-RPC, and what a server may ask of us.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::lsp::LspError;

/// The protocol's number for "no such method".
const METHOD_NOT_FOUND: i64 = -32601;

/// What a message is, as far as that decides who gets it.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer to our request of this number.
    Answer(i64),
    Request,
    /// Something that we need not know, such as diagnostics and log lines.
    Other,
}

/// Sorts a message of the server.
///
/// # Errors
/// It is not JSON-RPC.
pub fn kind(message: &[u8]) -> Result<Kind, serde_json::Error> {
    #[derive(Deserialize)]
    struct Head {
        id: Option<Value>,
        method: Option<IgnoredAny>,
    }
    let head: Head = serde_json::from_slice(message)?;
    Ok(match (head.id, head.method) {
        (Some(_), Some(_)) => Kind::Request,
        (Some(id), None) => id.as_i64().map_or(Kind::Other, Kind::Answer),
        (None, _) => Kind::Other,
    })
}

/// A message of ours.
#[derive(Serialize)]
struct Outgoing<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<i64>,
    method: &'a str,
    #[serde(skip_serializing_if = "Value::is_null")]
    params: &'a Value,
}

/// A request; parameters that are null are left out.
pub fn request(id: i64, method: &str, params: &Value) -> Vec<u8> {
    bytes(Some(id), method, params)
}

/// A message that gets no answer; parameters that are null are left out.
pub fn notification(method: &str, params: &Value) -> Vec<u8> {
    bytes(None, method, params)
}

fn bytes(id: Option<i64>, method: &str, params: &Value) -> Vec<u8> {
    let message = Outgoing {
        jsonrpc: "2.0",
        id,
        method,
        params,
    };
    // Values and names always serialise.
    serde_json::to_vec(&message).unwrap_or_default()
}

/// The result in an answer of the server.
///
/// # Errors
/// The server refused, or the result is not what was asked for.
pub fn result<T: DeserializeOwned>(message: &[u8]) -> Result<Option<T>, LspError> {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        message: String,
    }
    #[derive(Deserialize)]
    #[serde(bound = "T: DeserializeOwned")]
    struct Answer<T> {
        result: Option<T>,
        error: Option<Refusal>,
    }
    let answer: Answer<T> =
        serde_json::from_slice(message).map_err(|error| LspError::Garbled(error.to_string()))?;
    match answer.error {
        Some(refusal) => Err(LspError::Refused(refusal.message)),
        None => Ok(answer.result),
    }
}

/// Our answer to a request of the server, whose project has this URI and name.
pub fn reply(request: &[u8], project_uri: &str, project_name: &str) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Request {
        id: Value,
        method: String,
        #[serde(default)]
        params: Value,
    }
    let request: Request = serde_json::from_slice(request).ok()?;
    let result = match request.method.as_str() {
        // Nothing is configured: one null for each thing that it asks for.
        "workspace/configuration" => {
            let items = request.params.get("items").and_then(Value::as_array);
            json!(vec![Value::Null; items.map_or(0, Vec::len)])
        }
        "workspace/workspaceFolders" => json!([{ "uri": project_uri, "name": project_name }]),
        "workspace/applyEdit" => {
            json!({ "applied": false, "failureReason": "this client makes no changes" })
        }
        "window/showDocument" => json!({ "success": false }),
        // Taken note of, or a question that nobody is there to answer.
        "client/registerCapability"
        | "client/unregisterCapability"
        | "window/workDoneProgress/create"
        | "window/showMessageRequest"
        | "workspace/codeLens/refresh"
        | "workspace/diagnostic/refresh"
        | "workspace/foldingRange/refresh"
        | "workspace/inlayHint/refresh"
        | "workspace/inlineValue/refresh"
        | "workspace/semanticTokens/refresh" => Value::Null,
        method => {
            let message = format!("this client does not know {method}");
            let error = json!({ "code": METHOD_NOT_FOUND, "message": message });
            let reply = json!({ "jsonrpc": "2.0", "id": request.id, "error": error });
            return Some(reply.to_string().into_bytes());
        }
    };
    let reply = json!({ "jsonrpc": "2.0", "id": request.id, "result": result });
    Some(reply.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn answer(request: &Value) -> Value {
        let reply = reply(request.to_string().as_bytes(), "file:///p", "p").unwrap();
        serde_json::from_slice(&reply).unwrap()
    }

    #[test]
    fn messages_are_sorted_by_their_id_and_method() {
        let sorted = |text: &str| kind(text.as_bytes()).unwrap();
        assert_eq!(sorted(r#"{"id":7,"result":null}"#), Kind::Answer(7));
        assert_eq!(
            sorted(r#"{"id":7,"error":{"code":1,"message":"m"}}"#),
            Kind::Answer(7)
        );
        assert_eq!(sorted(r#"{"id":"a","method":"m"}"#), Kind::Request);
        assert_eq!(sorted(r#"{"method":"m","params":{}}"#), Kind::Other);
        assert_eq!(sorted(r#"{"id":null,"error":{}}"#), Kind::Other);
        kind(b"{").unwrap_err();
    }

    #[test]
    fn each_thing_to_configure_gets_its_own_answer() {
        let request = json!({ "id": "x", "method": "workspace/configuration",
            "params": { "items": [{ "section": "a" }, { "section": "b" }] } });
        assert_eq!(
            answer(&request),
            json!({ "jsonrpc": "2.0", "id": "x", "result": [null, null] })
        );
    }

    #[test]
    fn folders_are_told_and_unknown_requests_refused() {
        let request = json!({ "id": 1, "method": "workspace/workspaceFolders" });
        assert_eq!(
            answer(&request)["result"],
            json!([{ "uri": "file:///p", "name": "p" }])
        );
        for method in [
            "client/registerCapability",
            "window/workDoneProgress/create",
        ] {
            let reply = answer(&json!({ "id": 1, "method": method, "params": {} }));
            assert_eq!(reply, json!({ "jsonrpc": "2.0", "id": 1, "result": null }));
        }
        let reply = answer(&json!({ "id": 1, "method": "own/thing" }));
        assert_eq!(reply["error"]["code"], METHOD_NOT_FOUND);
    }

    #[test]
    fn a_result_is_read_and_a_refusal_told() {
        assert_eq!(result::<u32>(br#"{"id":1,"result":5}"#), Ok(Some(5)));
        assert_eq!(result::<u32>(br#"{"id":1,"result":null}"#), Ok(None));
        assert_eq!(
            result::<u32>(br#"{"id":1,"error":{"code":-1,"message":"no"}}"#),
            Err(LspError::Refused("no".into()))
        );
        let garbled = result::<u32>(br#"{"id":1,"result":"x"}"#);
        assert!(matches!(garbled, Err(LspError::Garbled(_))));
    }
}
