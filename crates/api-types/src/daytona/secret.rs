//! Secrets that an organization keeps.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// A secret. Its value is never told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// What is seen where the value must not be.
    pub placeholder: String,
    /// Where the value may be sent; empty for anywhere.
    pub hosts: Vec<String>,
}

/// A page of secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ListSecretsResponse)]
pub struct SecretPage {
    pub items: Vec<Secret>,
    /// How many there are on all pages.
    pub total: u64,
    /// None on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// What a sandbox has of a secret. No sandbox has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ResolveSandboxSecrets200ResponseInner)]
pub struct SandboxSecret {
    pub env: String,
    pub placeholder: String,
    pub hosts: Vec<String>,
}

/// The body that keeps a secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct CreateSecret {
    /// Letters, digits, hyphens and underscores; a letter or an underscore first. One of its kind in the organization.
    pub name: String,
    /// At most 16 KiB.
    pub value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Host names, with `*.` in front for all below one. Absent or empty for anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
}

/// Not to be seen in logs.
impl fmt::Debug for CreateSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CreateSecret({:?}, ..)", self.name)
    }
}

/// What is to be read of hosts.
const HOSTS: &str = "an array of strings";

impl FromBody for CreateSecret {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            name: fields.required("name", "a string"),
            value: fields.required("value", "a string"),
            description: fields.text("description"),
            hosts: fields.optional("hosts", HOSTS),
        }
    }
}

/// The body that changes a secret. What is absent stays.
#[derive(Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpdateSecret {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
}

impl fmt::Debug for UpdateSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpdateSecret(..)")
    }
}

impl FromBody for UpdateSecret {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            value: fields.text("value"),
            description: fields.text("description"),
            hosts: fields.optional("hosts", HOSTS),
        }
    }
}

/// The body that gives a sandbox its secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpdateSandboxSecrets {
    /// Each an object with one pair: the name of a variable and that of a secret. Only an empty list is taken.
    pub secrets: Vec<BTreeMap<String, String>>,
}

impl FromBody for UpdateSandboxSecrets {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            secrets: fields.required("secrets", "an array of objects of strings"),
        }
    }
}
