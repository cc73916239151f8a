//! What a sandbox may reach.

use serde::Serialize;
use utoipa::ToSchema;

use crate::body::{BodyFields, FromBody};

/// The body that changes a sandbox's network settings. At least one field must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateSandboxNetworkSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_block_all: Option<bool>,
    /// Comma-separated IPv4 networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_allow_list: Option<String>,
    /// Comma-separated host names, `*.` in front of one for all below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_allow_list: Option<String>,
}

impl FromBody for UpdateSandboxNetworkSettings {
    fn from_fields(fields: &mut BodyFields) -> Self {
        fields.refuse(
            "outboundProxyUrl",
            "is set when a sandbox is made and cannot be changed",
        );
        Self {
            network_block_all: fields.boolean("networkBlockAll"),
            network_allow_list: fields.text("networkAllowList"),
            domain_allow_list: fields.text("domainAllowList"),
        }
    }
}

/// The body that says whether what an organization's sandboxes send is limited by the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationLimitedEgress {
    /// Takes effect for a sandbox when it is made or started.
    pub sandbox_default_limited_network_egress: bool,
}

impl FromBody for OrganizationLimitedEgress {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            sandbox_default_limited_network_egress: fields
                .required("sandboxDefaultLimitedNetworkEgress", "true or false"),
        }
    }
}
