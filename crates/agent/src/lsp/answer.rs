//! Answers of servers in the form that clients know: flat symbols, one kind of list, no nulls.

use std::collections::BTreeMap;

use alcove_agent_api::{CompletionItem, CompletionList, LspLocation, LspRange, LspSymbol};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// A symbol as any server may describe it: with its place, or with a range of the document and with the symbols
/// inside of it.
#[derive(Debug, Deserialize)]
pub struct AnySymbol {
    name: String,
    kind: u32,
    #[serde(default)]
    location: Option<LspLocation>,
    #[serde(default)]
    range: Option<LspRange>,
    #[serde(default)]
    children: Option<Vec<AnySymbol>>,
}

/// All of them in the order of the document, outer ones first. `document` is where those are that name no place.
pub fn flat(symbols: Vec<AnySymbol>, document: &str) -> Vec<LspSymbol> {
    let mut flat = Vec::with_capacity(symbols.len());
    let mut rest: Vec<AnySymbol> = symbols.into_iter().rev().collect();
    while let Some(symbol) = rest.pop() {
        let location = symbol.location.unwrap_or_else(|| LspLocation {
            uri: document.to_owned(),
            range: symbol.range.unwrap_or_default(),
        });
        flat.push(LspSymbol {
            kind: symbol.kind,
            name: symbol.name,
            location,
        });
        rest.extend(symbol.children.unwrap_or_default().into_iter().rev());
    }
    flat
}

/// Completions, as a list or as an object with one.
#[derive(Debug)]
pub struct AnyCompletions(CompletionList);

impl From<AnyCompletions> for CompletionList {
    fn from(completions: AnyCompletions) -> Self {
        completions.0
    }
}

// By hand: what serde has for "one or the other" keeps all of it in memory a second time.
impl<'de> Deserialize<'de> for AnyCompletions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrOther;

        impl<'de> Visitor<'de> for OneOrOther {
            type Value = AnyCompletions;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("completions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut list = CompletionList::default();
                while let Some(item) = items.next_element::<AnyItem>()? {
                    list.items.push(item.into());
                }
                Ok(AnyCompletions(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                #[derive(Deserialize)]
                #[serde(rename_all = "camelCase")]
                struct Whole {
                    #[serde(default)]
                    is_incomplete: Option<bool>,
                    #[serde(default)]
                    items: Option<Vec<AnyItem>>,
                }
                let whole = Whole::deserialize(MapAccessDeserializer::new(map))?;
                let items = whole.items.unwrap_or_default();
                Ok(AnyCompletions(CompletionList {
                    is_incomplete: whole.is_incomplete.unwrap_or(false),
                    items: items.into_iter().map(CompletionItem::from).collect(),
                }))
            }
        }

        deserializer.deserialize_any(OneOrOther)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyItem {
    label: String,
    #[serde(default)]
    kind: Option<u32>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    documentation: Option<Documentation>,
    #[serde(default)]
    sort_text: Option<String>,
    #[serde(default)]
    filter_text: Option<String>,
    #[serde(default)]
    insert_text: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Documentation {
    Text(String),
    Markup { kind: String, value: String },
}

impl From<AnyItem> for CompletionItem {
    fn from(item: AnyItem) -> Self {
        let documentation = item.documentation.map(|documentation| {
            let (kind, value) = match documentation {
                Documentation::Text(value) => ("plaintext".to_owned(), value),
                Documentation::Markup { kind, value } => (kind, value),
            };
            BTreeMap::from([("kind".to_owned(), kind), ("value".to_owned(), value)])
        });
        Self {
            label: item.label,
            kind: item.kind,
            detail: item.detail,
            documentation,
            sort_text: item.sort_text,
            filter_text: item.filter_text,
            insert_text: item.insert_text,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use serde_json::{Value, json};

    use super::*;

    fn completions(answer: Value) -> Value {
        let list: CompletionList = serde_json::from_value::<AnyCompletions>(answer)
            .unwrap()
            .into();
        serde_json::to_value(list).unwrap()
    }

    #[test]
    fn nested_symbols_become_a_list_with_outer_ones_first() {
        let range = |line: u32| json!({ "start": { "line": line, "character": 0 }, "end": { "line": line, "character": 5 } });
        let nested = json!([
            { "name": "A", "kind": 5, "range": range(0), "selectionRange": range(9), "children": [
                { "name": "b", "kind": 6, "range": range(1), "children": [{ "name": "c", "kind": 13, "range": range(2) }] },
                { "name": "d", "kind": 6, "range": range(3), "children": null },
            ] },
            { "name": "e", "kind": 12, "location": { "uri": "file:///x", "range": range(4) }, "containerName": "A" },
            { "name": "f", "kind": 12, "location": { "uri": "file:///x" } },
        ]);
        let flat = serde_json::to_value(flat(serde_json::from_value(nested).unwrap(), "file:///d"))
            .unwrap();
        let symbol = |name: &str, kind: u32, uri: &str, range: Value| json!({ "name": name, "kind": kind, "location": { "uri": uri, "range": range } });
        let nowhere =
            json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 0, "character": 0 } });
        assert_eq!(
            flat,
            json!([
                symbol("A", 5, "file:///d", range(0)),
                symbol("b", 6, "file:///d", range(1)),
                symbol("c", 13, "file:///d", range(2)),
                symbol("d", 6, "file:///d", range(3)),
                symbol("e", 12, "file:///x", range(4)),
                symbol("f", 12, "file:///x", nowhere),
            ])
        );
    }

    #[test]
    fn a_bare_list_of_completions_is_complete() {
        assert_eq!(
            completions(json!([{ "label": "a", "data": { "x": 1 }, "kind": 3, "detail": null }])),
            json!({ "isIncomplete": false, "items": [{ "label": "a", "kind": 3 }] })
        );
        assert_eq!(
            completions(json!({ "items": null })),
            json!({ "isIncomplete": false, "items": [] })
        );
    }

    #[test]
    fn documentation_is_always_an_object() {
        let answer = json!({ "isIncomplete": true, "itemDefaults": {}, "items": [
            { "label": "a", "documentation": "text", "insertText": "a()", "sortText": "1", "filterText": "f" },
            { "label": "b", "documentation": { "kind": "markdown", "value": "*b*" } },
        ] });
        assert_eq!(
            completions(answer),
            json!({ "isIncomplete": true, "items": [
                { "label": "a", "documentation": { "kind": "plaintext", "value": "text" },
                  "insertText": "a()", "sortText": "1", "filterText": "f" },
                { "label": "b", "documentation": { "kind": "markdown", "value": "*b*" } },
            ] })
        );
    }
}
