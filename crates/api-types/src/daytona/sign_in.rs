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
}

impl FromBody for SignIn {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            username: fields.required("username", "a string"),
            password: fields.required("password", "a string"),
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
    pub created_at: Timestamp,
    /// When it ends, unless it is used before; at the latest at `expiresAt`.
    pub idle_expires_at: Timestamp,
    pub expires_at: Timestamp,
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
hide!(SignIn, ChangePassword, SetPassword, PasswordLink);
