//! Who calls and what they may do.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;

use crate::{OrganizationId, Reason, Suspension, UserId, text};

/// A person or a program with an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub name: String,
    /// In lower case. Empty where none is known.
    pub email: String,
    /// Whether somebody whom the server trusts says that the address is the user's.
    pub is_email_verified: bool,
    /// Whether the user administers the whole server.
    pub is_admin: bool,
    pub created_at: Timestamp,
}

/// A user to be made, as somebody asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserRequest {
    pub id: String,
    pub name: String,
    pub email: Option<String>,
    pub is_email_verified: bool,
    /// `admin` or `user`; the latter where none is said.
    pub role: Option<String>,
}

/// A user to be made, as far as it is well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    pub id: UserId,
    pub name: String,
    pub email: String,
    pub is_email_verified: bool,
    pub is_admin: bool,
}

impl UserRequest {
    /// # Errors
    /// Everything that is wrong: an id that is none, an empty or unfit name, an address that is none, an unknown role.
    pub fn check(self) -> Result<NewUser, Vec<Reason>> {
        let mut reasons = Vec::new();
        let id = self
            .id
            .parse()
            .map_err(|error| reasons.push(Reason::invalid(format!("id is not usable: {error}"))));
        text::check_given_name(&self.name, &mut reasons);
        let email = self.email.as_deref().map(str::trim);
        let email = match email.filter(|email| !email.is_empty()) {
            None => Ok(String::new()),
            Some(email) => text::parse_email("email", email).map_err(|reason| reasons.push(reason)),
        };
        let is_admin = match self.role.as_deref() {
            None | Some("user") => false,
            Some("admin") => true,
            Some(_) => {
                reasons.push(Reason::invalid(
                    "role must be one of the following values: admin, user",
                ));
                false
            }
        };
        match (id, email) {
            (Ok(id), Ok(email)) if reasons.is_empty() => Ok(NewUser {
                id,
                name: self.name,
                email,
                is_email_verified: self.is_email_verified,
                is_admin,
            }),
            _ => Err(reasons),
        }
    }
}

/// A tenant: owner of sandboxes, snapshots and keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    pub id: OrganizationId,
    pub name: String,
    pub created_by: UserId,
    /// Each user has exactly one personal organization.
    pub is_personal: bool,
    /// Whether what its sandboxes send is marked, so that the host can limit it.
    pub is_egress_limited: bool,
    pub suspension: Option<Suspension>,
    /// Since when it is being deleted. Nobody is a member of it from then on.
    pub closing_since: Option<Timestamp>,
    pub created_at: Timestamp,
}

/// What an administrator tells organizations by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrganizationState {
    Active,
    Suspended,
    Deleting,
}

impl OrganizationState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleting => "deleting",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Deleting]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

impl Organization {
    pub fn state(&self, now: Timestamp) -> OrganizationState {
        if self.closing_since.is_some() {
            OrganizationState::Deleting
        } else if self.suspension.as_ref().is_some_and(|it| it.holds(now)) {
            OrganizationState::Suspended
        } else {
            OrganizationState::Active
        }
    }
}

/// Organizations that one user can have made that are no personal ones.
pub const ORGANIZATIONS_MAX: u64 = 10;

/// SHA-256 of a key's full text. The text itself is shown once and kept nowhere.
///
/// Keys carry 256 random bits, so a plain hash is enough, and looking one up by its hash tells an
/// attacker nothing by its timing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApiKeyHash(pub [u8; 32]);

impl fmt::Debug for ApiKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyHash(..)")
    }
}

/// A user's API key in one organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub hash: ApiKeyHash,
    pub organization_id: OrganizationId,
    pub user_id: UserId,
    pub name: String,
    /// First and last three characters, for display.
    pub prefix: String,
    pub suffix: String,
    pub permissions: Permissions,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// Written down now and then; a use of the last seconds may be missing.
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// What may be shown of the text: its ends, with asterisks for what is between.
    pub fn masked(&self) -> String {
        format!("{}{}{}", self.prefix, "*".repeat(20), self.suffix)
    }
}

/// A key to be made, as far as it is well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    pub name: String,
    pub permissions: Permissions,
    pub expires_at: Option<Timestamp>,
}

impl NewApiKey {
    /// # Errors
    /// Everything that is wrong: an empty, overlong or unfit name, words that are no permissions, an end that has passed.
    pub fn parse(
        name: String,
        permissions: &[String],
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, Vec<Reason>> {
        let mut reasons = Vec::new();
        text::check_given_name(&name, &mut reasons);
        let known = Permissions::parse(permissions, &mut reasons);
        if expires_at.is_some_and(|at| at <= now) {
            reasons.push(Reason::invalid("expiresAt must be in the future"));
        }
        if !reasons.is_empty() {
            return Err(reasons);
        }
        Ok(Self {
            name,
            permissions: known,
            expires_at,
        })
    }
}

macro_rules! permissions {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// One right that a key or a role can hold.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission { $($name),* }

        impl Permission {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

permissions! {
    WriteRegistries = "write:registries",
    DeleteRegistries = "delete:registries",
    WriteSnapshots = "write:snapshots",
    DeleteSnapshots = "delete:snapshots",
    WriteSandboxes = "write:sandboxes",
    DeleteSandboxes = "delete:sandboxes",
    ReadVolumes = "read:volumes",
    WriteVolumes = "write:volumes",
    DeleteVolumes = "delete:volumes",
    WriteRegions = "write:regions",
    DeleteRegions = "delete:regions",
    ReadRunners = "read:runners",
    WriteRunners = "write:runners",
    DeleteRunners = "delete:runners",
    ReadAuditLogs = "read:audit_logs",
    ManageApiKeys = "manage:api_keys",
    ManageSecrets = "manage:secrets",
    ReadLimits = "read:limits",
    ManageSso = "manage:sso",
    ReadBilling = "read:billing",
    ManageBilling = "manage:billing",
}

/// A set of rights.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions(BTreeSet<Permission>);

impl Permissions {
    pub fn all() -> Self {
        Self(Permission::ALL.iter().copied().collect())
    }

    /// Those that the words name. Words that are none are a reason.
    pub fn parse(words: &[String], reasons: &mut Vec<Reason>) -> Self {
        if words.iter().any(|word| Permission::parse(word).is_none()) {
            let known: Vec<&str> = Permission::ALL.iter().map(|p| p.as_str()).collect();
            reasons.push(Reason::invalid(format!(
                "each value in permissions must be one of the following values: {}",
                known.join(", ")
            )));
        }
        words
            .iter()
            .filter_map(|word| Permission::parse(word))
            .collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        Self(self.0.intersection(&others.0).copied().collect())
    }

    pub fn contains(&self, permission: Permission) -> bool {
        self.0.contains(&permission)
    }

    pub fn iter(&self) -> impl Iterator<Item = Permission> + '_ {
        self.0.iter().copied()
    }

    /// Those that `others` does not have.
    pub fn beyond(&self, others: &Self) -> Vec<Permission> {
        self.0.difference(&others.0).copied().collect()
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().collect())
    }
}
