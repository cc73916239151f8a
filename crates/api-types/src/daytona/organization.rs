//! Members of organizations, their roles and invitations, as owners and the administrator of the server handle them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody};
use crate::daytona::User;

/// The role that is offered where an invitation says none.
const DEVELOPER: &str = "00000000-0000-0000-0000-000000000001";

/// An organization to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateOrganization {
    pub name: String,
    /// The server's one region when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_region_id: Option<String>,
}

impl FromBody for CreateOrganization {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            name: fields.required("name", "a string"),
            default_region_id: fields.text("defaultRegionId"),
        }
    }
}

/// The body that sets the region where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateOrganizationDefaultRegion {
    pub default_region_id: String,
}

impl FromBody for UpdateOrganizationDefaultRegion {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            default_region_id: fields.required("defaultRegionId", "a string"),
        }
    }
}

/// Why an organization is suspended, and how long. All of it may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationSuspension {
    /// Told to whoever is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until it is lifted, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Hours until what runs is stopped; 24 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspension_cleanup_grace_period_hours: Option<i64>,
}

impl FromBody for OrganizationSuspension {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            reason: fields.text("reason"),
            until: fields.optional("until", "a date with time and offset"),
            suspension_cleanup_grace_period_hours: fields
                .integer("suspensionCleanupGracePeriodHours"),
        }
    }
}

/// Rights that members are given together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationRole {
    pub id: String,
    pub name: String,
    pub description: String,
    pub permissions: Vec<String>,
    /// Whether it comes with the server. Such a role cannot be changed.
    pub is_global: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What a role is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateOrganizationRole {
    /// The roles of an organization have different names.
    pub name: String,
    pub description: String,
    /// At least one.
    pub permissions: Vec<String>,
}

impl FromBody for CreateOrganizationRole {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            name: fields.required("name", "a string"),
            description: fields.required("description", "a string"),
            permissions: fields.required("permissions", "an array of strings"),
        }
    }
}

/// What a role is to be from now on, in place of all that it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
pub struct UpdateOrganizationRole(pub CreateOrganizationRole);

impl FromBody for UpdateOrganizationRole {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self(CreateOrganizationRole::from_fields(fields))
    }
}

/// A user in an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationUser {
    pub user_id: String,
    pub organization_id: String,
    pub name: String,
    pub email: String,
    /// `owner` or `member`.
    pub role: String,
    /// What a member may do. Owners may do everything.
    pub assigned_roles: Vec<OrganizationRole>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What a member is to be, in place of what the member was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateOrganizationMemberAccess {
    /// `owner` or `member`.
    pub role: String,
    pub assigned_role_ids: Vec<String>,
}

impl FromBody for UpdateOrganizationMemberAccess {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            role: fields.required("role", "a string"),
            assigned_role_ids: fields.required("assignedRoleIds", "an array of strings"),
        }
    }
}

/// An offer to the holder of a mail address to become a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationInvitation {
    pub id: String,
    pub email: String,
    /// The address of the owner who invites.
    pub invited_by: String,
    pub organization_id: String,
    pub organization_name: String,
    pub expires_at: Timestamp,
    /// `pending`, `accepted`, `declined` or `cancelled`.
    pub status: String,
    /// `owner` or `member`.
    pub role: String,
    pub assigned_roles: Vec<OrganizationRole>,
    /// Where whoever is invited can accept it without an account, for owners. Our own field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Whom to invite, and to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateOrganizationInvitation {
    pub email: String,
    /// `owner` or `member`; `member` when absent.
    pub role: String,
    /// The role Developer when absent.
    pub assigned_role_ids: Vec<String>,
    /// A week from now when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl FromBody for CreateOrganizationInvitation {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            email: fields.required("email", "a string"),
            role: fields.text("role").unwrap_or_else(|| "member".to_owned()),
            assigned_role_ids: fields
                .optional("assignedRoleIds", "an array of strings")
                .unwrap_or_else(|| vec![DEVELOPER.to_owned()]),
            expires_at: fields.optional("expiresAt", "a date with time and offset"),
        }
    }
}

/// What is offered from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateOrganizationInvitation {
    /// `owner` or `member`.
    pub role: String,
    pub assigned_role_ids: Vec<String>,
    /// As before, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl FromBody for UpdateOrganizationInvitation {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            role: fields.required("role", "a string"),
            assigned_role_ids: fields.required("assignedRoleIds", "an array of strings"),
            expires_at: fields.optional("expiresAt", "a date with time and offset"),
        }
    }
}

/// A user to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateUser {
    /// Letters, digits, `-`, `_` and `.`.
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the address is known to be the user's; invitations to it are then the user's to accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// `admin` or `user`; `user` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personal_organization_default_region_id: Option<String>,
    /// Whether to make a key to all of the user, too. Our own field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_api_key: Option<bool>,
    /// Of the contract, but not of this server; told apart so that it can be refused.
    #[serde(skip)]
    pub has_quota: bool,
}

impl FromBody for CreateUser {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            id: fields.required("id", "a string"),
            name: fields.required("name", "a string"),
            email: fields.text("email"),
            email_verified: fields.boolean("emailVerified"),
            role: fields.text("role"),
            personal_organization_default_region_id: fields
                .text("personalOrganizationDefaultRegionId"),
            with_api_key: fields.boolean("withApiKey"),
            has_quota: fields.is_given("personalOrganizationQuota"),
        }
    }
}

/// A user that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedUser {
    #[serde(flatten)]
    pub user: User,
    /// A key to all of the user, if one was asked for. Shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
}

/// A class of sandboxes that an organization can make in a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AvailableSandboxClass {
    pub region_id: String,
    pub sandbox_class: String,
    pub gpu_available: bool,
}
