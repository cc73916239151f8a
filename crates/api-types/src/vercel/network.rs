//! Network policies: two forms are read, the older one is written.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A policy as a client wrote it, in either form.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyRequest {
    /// Everything, or nothing; neither where lists say what.
    pub mode: Option<PolicyMode>,
    pub domains: Vec<String>,
    pub networks: Vec<String>,
    /// What of it this server does not have.
    pub unsupported: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyMode {
    AllowAll,
    DenyAll,
}

impl<'de> Deserialize<'de> for PolicyRequest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        read(&fields).ok_or_else(|| serde::de::Error::custom("no network policy"))
    }
}

fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) => list
            .iter()
            .map(|text| text.as_str().map(str::to_owned))
            .collect(),
        Some(_) => None,
    }
}

fn read(fields: &Map<String, Value>) -> Option<PolicyRequest> {
    let mut policy = PolicyRequest::default();
    let mut lacks = |is_asked: bool, what| {
        if is_asked {
            policy.unsupported.push(what);
        }
    };
    let is_there = |value: Option<&Value>| {
        value.is_some_and(|value| match value {
            Value::Null => false,
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        })
    };
    match fields.get("mode").map(Value::as_str) {
        Some(Some("allow-all")) => policy.mode = Some(PolicyMode::AllowAll),
        Some(Some("deny-all")) => policy.mode = Some(PolicyMode::DenyAll),
        Some(Some("custom")) => {
            lacks(is_there(fields.get("deniedCIDRs")), "denied networks");
            lacks(is_there(fields.get("injectionRules")), "rules for requests");
            lacks(is_there(fields.get("forwardRules")), "rules for requests");
            policy.domains = texts(fields.get("allowedDomains"))?;
            policy.networks = texts(fields.get("allowedCIDRs"))?;
        }
        Some(_) => return None,
        None => {
            let subnets = fields.get("subnets").and_then(Value::as_object);
            let of_subnets = |name| subnets.and_then(|subnets| subnets.get(name));
            lacks(is_there(of_subnets("deny")), "denied networks");
            policy.networks = texts(of_subnets("allow"))?;
            policy.domains = match fields.get("allow") {
                Some(Value::Object(rules)) => {
                    let mut rules_of = rules.values();
                    if rules_of.any(|rules| is_there(Some(rules))) {
                        policy.unsupported.push("rules for requests");
                    }
                    rules.keys().cloned().collect()
                }
                other => texts(other)?,
            };
        }
    }
    // What is open to every name is open.
    if policy.mode.is_none() && policy.domains.iter().any(|domain| domain == "*") {
        policy.mode = Some(PolicyMode::AllowAll);
    } else if policy.mode.is_none() && policy.domains.is_empty() && policy.networks.is_empty() {
        policy.mode = Some(PolicyMode::DenyAll);
    }
    Some(policy)
}

/// A policy as clients of every age read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum PolicyAnswer {
    AllowAll,
    DenyAll,
    Custom {
        #[serde(
            rename = "allowedDomains",
            skip_serializing_if = "Vec::is_empty",
            default
        )]
        domains: Vec<String>,
        #[serde(
            rename = "allowedCIDRs",
            skip_serializing_if = "Vec::is_empty",
            default
        )]
        networks: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use serde_json::json;

    use super::*;

    fn policy(value: Value) -> PolicyRequest {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn both_forms_mean_the_same() {
        let old = policy(
            json!({"mode": "custom", "allowedDomains": ["a.com"], "allowedCIDRs": ["1.2.3.0/24"]}),
        );
        let new = policy(json!({"allow": ["a.com"], "subnets": {"allow": ["1.2.3.0/24"]}}));
        let rules = policy(
            json!({"allow": {"a.com": []}, "subnets": {"allow": ["1.2.3.0/24"], "deny": []}}),
        );
        assert_eq!((&old, &old), (&new, &rules));
        assert_eq!(old.domains, ["a.com"]);
        assert_eq!(policy(json!({})).mode, Some(PolicyMode::DenyAll));
        assert_eq!(
            policy(json!({"allow": ["*"]})).mode,
            Some(PolicyMode::AllowAll)
        );
    }

    #[test]
    fn what_cannot_be_done_is_named_and_nonsense_is_none() {
        let wanted = policy(
            json!({"allow": {"a.com": [{"transform": []}]}, "subnets": {"deny": ["1.0.0.0/8"]}}),
        );
        assert_eq!(
            wanted.unsupported,
            ["denied networks", "rules for requests"]
        );
        for wrong in [
            json!({"mode": "x"}),
            json!({"mode": 1}),
            json!({"allow": 5}),
            json!([]),
        ] {
            assert!(serde_json::from_value::<PolicyRequest>(wrong).is_err());
        }
    }

    #[test]
    fn answers_are_in_the_older_form() {
        let text = |answer: PolicyAnswer| serde_json::to_string(&answer).unwrap();
        assert_eq!(text(PolicyAnswer::AllowAll), r#"{"mode":"allow-all"}"#);
        let custom = PolicyAnswer::Custom {
            domains: vec!["a.com".to_owned()],
            networks: Vec::new(),
        };
        assert_eq!(
            text(custom),
            r#"{"mode":"custom","allowedDomains":["a.com"]}"#
        );
    }
}
