//! Identity providers of organizations.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// By what a provider is found, and what it knows this server by.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OidcIdPConfig {
    /// As the provider's tokens name it, such as `https://id.example.com`.
    pub issuer_url: String,
    pub client_id: String,
    /// Kept sealed, and shown to nobody.
    pub client_secret: String,
    /// What is asked for: words with spaces between, one of which is `openid`. `openid email profile` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl fmt::Debug for OidcIdPConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcIdPConfig")
            .field("issuer_url", &self.issuer_url)
            .finish_non_exhaustive()
    }
}

/// What is changed of it. What is absent stays.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateOidcIdPConfig {
    /// Needs a `clientSecret` beside it: no issuer is sent the secret of another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl fmt::Debug for UpdateOidcIdPConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateOidcIdPConfig")
            .field("issuer_url", &self.issuer_url)
            .finish_non_exhaustive()
    }
}

/// The same as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OidcIdPConfigResponse {
    pub issuer_url: String,
    pub client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// An identity provider that lets people into an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityProvider {
    pub id: String,
    pub organization_id: String,
    pub name: String,
    pub oidc_config: OidcIdPConfigResponse,
    pub email_domains: Vec<String>,
    pub allow_any_domain: bool,
    pub trust_email_verified: bool,
    pub default_assigned_role_ids: Vec<String>,
    pub enabled: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateIdentityProvider {
    pub name: String,
    pub oidc_config: OidcIdPConfig,
    /// Domains of addresses that are let in. Not empty, unless `allowAnyDomain`.
    pub email_domains: Option<Vec<String>>,
    /// Whether every address is let in, and people without one. False when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_any_domain: Option<bool>,
    /// Whether a member is taken for the person whose address, verified by the provider, is known to be the member's. Else that is
    /// for the member to confirm. False when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_email_verified: Option<bool>,
    /// What new members are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_assigned_role_ids: Option<Vec<String>>,
    /// Whether people are let in. True when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

const TEXTS: &str = "an array of strings";

impl FromBody for CreateIdentityProvider {
    fn from_fields(fields: &mut BodyFields) -> Self {
        let config = "an object with issuerUrl, clientId and clientSecret as strings";
        Self {
            name: fields.required("name", "a string"),
            oidc_config: fields.required("oidcConfig", config),
            email_domains: fields.optional("emailDomains", TEXTS),
            allow_any_domain: fields.boolean("allowAnyDomain"),
            trust_email_verified: fields.boolean("trustEmailVerified"),
            default_assigned_role_ids: fields.optional("defaultAssignedRoleIds", TEXTS),
            enabled: fields.boolean("enabled"),
        }
    }
}

/// What is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateIdentityProvider {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc_config: Option<UpdateOidcIdPConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_domains: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_any_domain: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_email_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_assigned_role_ids: Option<Vec<String>>,
    /// Where false, nobody is let in, and the sessions that it began end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

impl FromBody for UpdateIdentityProvider {
    fn from_fields(fields: &mut BodyFields) -> Self {
        let config = "an object with issuerUrl, clientId, clientSecret or scope as strings";
        Self {
            name: fields.text("name"),
            oidc_config: fields.optional("oidcConfig", config),
            email_domains: fields.optional("emailDomains", TEXTS),
            allow_any_domain: fields.boolean("allowAnyDomain"),
            trust_email_verified: fields.boolean("trustEmailVerified"),
            default_assigned_role_ids: fields.optional("defaultAssignedRoleIds", TEXTS),
            enabled: fields.boolean("enabled"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestIdentityProviderConnection {
    pub issuer_url: String,
}

impl FromBody for TestIdentityProviderConnection {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            issuer_url: fields.required("issuerUrl", "a string"),
        }
    }
}

/// What came of asking an issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestIdentityProviderConnectionResponse {
    /// Whether people could come by it.
    pub success: bool,
    /// What it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A provider as the vendor WorkOS would list it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkosSsoConnection {
    pub id: String,
    pub name: String,
    /// Always `GenericOIDC`: there are no others.
    pub connection_type: String,
    /// `active` or `inactive`.
    pub state: String,
    pub domains: Vec<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What the portal is wanted for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkosAdminPortalIntent {
    #[default]
    Sso,
    Dsync,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerateWorkosAdminPortalLink {
    pub intent: WorkosAdminPortalIntent,
}

impl FromBody for GenerateWorkosAdminPortalLink {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            intent: fields.required("intent", "one of the following values: sso, dsync"),
        }
    }
}

/// A browser that is to be sent to a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DepartBySso {
    /// The provider's id.
    pub provider: String,
}

impl FromBody for DepartBySso {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            provider: fields.required("provider", "a string"),
        }
    }
}

/// Where it is to go. The cookie that it has to bring back is beside this in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SsoDeparture {
    pub url: String,
}

/// What the provider has sent the browser back with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArriveBySso {
    pub state: String,
    /// Absent where the provider let nobody in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl fmt::Debug for ArriveBySso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArriveBySso").finish_non_exhaustive()
    }
}

impl FromBody for ArriveBySso {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            state: fields.required("state", "a string"),
            code: fields.text("code"),
        }
    }
}
