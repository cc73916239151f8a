//! Signing in with a password. The paths and bodies are our own: the original leaves it to another service.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody};
use crate::daytona::User;

/// What somebody shows at the door.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignIn {
    /// The id of a user, or the address that is known to be the user's.
    pub username: String,
    pub password: String,
    /// What the user's authenticator shows, or one of the codes that stand for it; where the user has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl FromBody for SignIn {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            username: fields.required("username", "a string"),
            password: fields.required("password", "a string"),
            code: fields.text("code"),
        }
    }
}

/// A session. The cookie that stands for it is beside it in the answer that begins it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignInSession {
    pub user: User,
    /// What requests with the cookie that may change something must have as `X-CSRF-Token`.
    pub csrf_token: String,
    /// Whether the user has an authenticator, which is asked for at each sign-in.
    pub totp_enabled: bool,
    pub created_at: Timestamp,
    /// When it ends, unless it is used before; at the latest at `expiresAt`.
    pub idle_expires_at: Timestamp,
    pub expires_at: Timestamp,
    /// The only organization that it opens, where that one's identity provider began it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangePassword {
    pub current_password: String,
    /// At least 12 characters, at most 1,024 bytes.
    pub new_password: String,
}

impl FromBody for ChangePassword {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            current_password: fields.required("currentPassword", "a string"),
            new_password: fields.required("newPassword", "a string"),
        }
    }
}

/// A password that is set by a link.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetPassword {
    /// What stands behind `#` in the link.
    pub token: String,
    /// At least 12 characters, at most 1,024 bytes.
    pub password: String,
}

impl FromBody for SetPassword {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            token: fields.required("token", "a string"),
            password: fields.required("password", "a string"),
        }
    }
}

/// What a link that sets a password does beside it. Nothing, when absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatePasswordLink {
    /// Whether the user's authenticator goes when the link is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_totp: Option<bool>,
}

impl FromBody for CreatePasswordLink {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            remove_totp: fields.boolean("removeTotp"),
        }
    }
}

/// Who has signed in shows the password again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BeginTotp {
    pub password: String,
}

impl FromBody for BeginTotp {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            password: fields.required("password", "a string"),
        }
    }
}

/// The secret of an authenticator, for typing and as a picture holds it. Told this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewTotp {
    /// In base 32.
    pub secret: String,
    /// An `otpauth:` address.
    pub url: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfirmTotp {
    /// What the authenticator shows.
    pub code: String,
}

impl FromBody for ConfirmTotp {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            code: fields.required("code", "a string"),
        }
    }
}

/// Codes that stand for one of the authenticator, each once. Told this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryCodes {
    pub recovery_codes: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemoveTotp {
    pub password: String,
    /// What the authenticator shows, or one of the codes that stand for it.
    pub code: String,
}

impl FromBody for RemoveTotp {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            password: fields.required("password", "a string"),
            code: fields.required("code", "a string"),
        }
    }
}

/// A link by which a user sets a password, once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordLink {
    /// A page of this server. Told this once: the server keeps only a hash of what is in it.
    pub url: String,
    pub expires_at: Timestamp,
}

/// None of them is for a log.
macro_rules! hide {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}
hide!(
    SignIn,
    ChangePassword,
    SetPassword,
    PasswordLink,
    BeginTotp,
    NewTotp,
    ConfirmTotp,
    RecoveryCodes,
    RemoveTotp
);

/// A link of an invitation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LookAtInvitation {
    /// What is behind the `#` of the link.
    pub token: String,
}

impl fmt::Debug for LookAtInvitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookAtInvitation").finish_non_exhaustive()
    }
}

impl FromBody for LookAtInvitation {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            token: fields.required("token", "a string"),
        }
    }
}

/// What an invitation offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvitationOffer {
    pub email: String,
    pub organization_name: String,
    /// The address of the owner who invites.
    pub invited_by: String,
    /// `owner` or `member`.
    pub role: String,
    pub expires_at: Timestamp,
    /// Whether accepting it makes an account. Else there is one of this address.
    pub needs_account: bool,
    /// Whether the address counts as the user's then: the link came by mail.
    pub proves_email: bool,
}

/// Whoever is invited, and accepts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcceptByLink {
    /// What is behind the `#` of the link.
    pub token: String,
    /// The id of the new user; one is made up when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The address when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At least 12 characters, at most 1,024 bytes. Only where an account is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

impl fmt::Debug for AcceptByLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptByLink")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl FromBody for AcceptByLink {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            token: fields.required("token", "a string"),
            username: fields.text("username"),
            name: fields.text("name"),
            password: fields.text("password"),
        }
    }
}

/// Who has become a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinedByLink {
    /// What the user signs in by.
    pub username: String,
    pub organization_id: String,
}

/// An identity provider that the caller can be linked with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountProvider {
    /// For clients before 0.204, the same as `provider`.
    pub name: String,
    pub provider: String,
    pub display_name: String,
    pub linked: bool,
}

/// Whom to link the caller with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateLinkedAccount {
    pub provider: String,
    /// The subject of the provider's tokens.
    pub user_id: String,
    /// A token of the provider, which proves that the account is the caller's. Our own field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl fmt::Debug for CreateLinkedAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateLinkedAccount")
            .field("provider", &self.provider)
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

impl FromBody for CreateLinkedAccount {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            provider: fields.required("provider", "a string"),
            user_id: fields.required("userId", "a string"),
            token: fields.text("token"),
        }
    }
}

/// A person of an organization's identity provider who waits to be linked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingSsoLink {
    pub id: String,
    pub idp_name: String,
    pub organization_id: String,
    #[schema(required = true)]
    pub provider_email: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}
