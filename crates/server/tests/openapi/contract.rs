//! What the document lacks of the contract. `contract.json` is an extract of it: every operation of the control server that a
//! client of any age calls, with the parameters of its query, its status codes, and the fields that its answers must have.
//!
//! `differences.json` lists what may differ, each with its reason. A difference that is not there fails the test, and so does one
//! that is there and no more.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::document;

/// How deep answers are compared. None of the contract nests deeper.
const DEPTH_MAX: usize = 6;

#[derive(Debug, Deserialize)]
struct Contract {
    operations: Vec<Operation>,
    /// The types of required fields, by schema and name.
    schemas: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
struct Operation {
    method: String,
    path: String,
    /// Letters of the clients that call it: the seed's, those of 0.190, the newest.
    ages: String,
    query: Vec<String>,
    responses: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Deserialize)]
struct Allowed {
    reason: String,
    differences: Vec<String>,
}

/// A path whose parameters have no names: the ages call them differently.
fn nameless(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        if segment.starts_with('{') {
            "{}"
        } else {
            segment
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema["$ref"].as_str();
    match reference.and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => document.pointer(pointer).unwrap_or(schema),
        None => schema,
    }
}

/// What may be in the place of a schema, beside null.
fn choices<'a>(document: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let schema = resolved(document, schema);
    let among = |word: &str| schema[word].as_array().into_iter().flatten();
    let parts: Vec<&Value> = among("oneOf").chain(among("allOf")).collect();
    if parts.is_empty() {
        return vec![schema];
    }
    let inner = parts.into_iter().flat_map(|part| choices(document, part));
    inner.filter(|part| part["type"] != "null").collect()
}

struct Comparison<'a> {
    document: &'a Value,
    contract: &'a Contract,
    differences: BTreeSet<String>,
}

impl Comparison<'_> {
    /// Fields that answers of `kind` must have and `schema` does not promise. Of several forms, which clients of an age each
    /// get, the one that fits best counts.
    fn fields(&self, kind: &str, schema: &Value, depth: usize) -> BTreeSet<String> {
        let (is_list, inner) = match kind.strip_prefix("array<") {
            Some(inner) => (true, inner.trim_end_matches('>')),
            None => (false, kind),
        };
        let Some(wanted) = self.contract.schemas.get(inner) else {
            return BTreeSet::new();
        };
        let forms = choices(self.document, schema).into_iter().map(|form| {
            if is_list {
                return self.fields(inner, &form["items"], depth);
            }
            let required = form["required"].as_array().into_iter().flatten();
            let required: BTreeSet<&str> = required.filter_map(Value::as_str).collect();
            let mut lacking = BTreeSet::new();
            for (name, kind) in wanted {
                if !required.contains(name.as_str()) {
                    lacking.insert(format!("field {inner}.{name}"));
                } else if depth < DEPTH_MAX {
                    lacking.extend(self.fields(kind, &form["properties"][name], depth + 1));
                }
            }
            lacking
        });
        forms.min_by_key(BTreeSet::len).unwrap_or_default()
    }

    fn operation(&mut self, operation: &Operation) {
        let what = format!("{} {}", operation.method, operation.path);
        let paths = self.document["paths"].as_object().unwrap();
        let wanted = format!("/api{}", nameless(&operation.path));
        let ours = paths
            .iter()
            .find(|(path, item)| nameless(path) == wanted && item[&operation.method].is_object());
        let Some((_, item)) = ours else {
            self.differences
                .insert(format!("operation {what} ({})", operation.ages));
            return;
        };
        let ours = &item[&operation.method];
        let parameters: BTreeSet<&str> = ours["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        for name in &operation.query {
            if !parameters.contains(name.as_str()) {
                self.differences.insert(format!("parameter {what}?{name}"));
            }
        }
        for (status, kind) in &operation.responses {
            let response = &ours["responses"][status];
            if response.is_null() {
                self.differences.insert(format!("status {what} {status}"));
            } else if let Some(kind) = kind
                && status.starts_with('2')
            {
                let schema = &response["content"]["application/json"]["schema"];
                let lacking = self.fields(kind, schema, 0);
                self.differences.extend(lacking);
            }
        }
    }
}

#[test]
fn the_document_differs_from_the_contract_only_where_a_reason_is_given() {
    let contract: Contract = serde_json::from_str(include_str!("contract.json")).unwrap();
    let allowed: Vec<Allowed> = serde_json::from_str(include_str!("differences.json")).unwrap();
    let document = document();
    let mut comparison = Comparison {
        document: &document,
        contract: &contract,
        differences: BTreeSet::new(),
    };
    for operation in &contract.operations {
        // They are the toolbox's, which the proxy passes on, and which is not in this document.
        if !operation.path.starts_with("/toolbox/") {
            comparison.operation(operation);
        }
    }
    let found = comparison.differences;
    assert!(allowed.iter().all(|allowed| !allowed.reason.is_empty()));
    let listed: BTreeSet<String> = allowed
        .into_iter()
        .flat_map(|allowed| allowed.differences)
        .collect();
    for difference in &found {
        println!("{difference}");
    }
    let new: Vec<&String> = found.difference(&listed).collect();
    assert!(new.is_empty(), "differences without a reason: {new:#?}");
    let gone: Vec<&String> = listed.difference(&found).collect();
    assert!(
        gone.is_empty(),
        "no differences any more, to be taken out of differences.json: {gone:#?}"
    );
}
