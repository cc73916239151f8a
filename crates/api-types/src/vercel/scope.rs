//! Who asks, and where: what the vendor's command line looks up where it is not told.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopeUser {
    pub id: String,
    /// By which clients call the user; a name, or an address where there is none.
    pub username: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The organization that a credential opens where nobody chooses one.
    pub default_team_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeUserAnswer {
    pub user: ScopeUser,
}

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Team {
    pub id: String,
    /// The id again: names of organizations are not unique, and may have spaces.
    pub slug: String,
    pub name: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub membership: TeamMembership,
    pub billing: TeamBilling,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamMembership {
    /// `OWNER` or `MEMBER`.
    pub role: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamBilling {
    pub plan: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamPage {
    pub teams: Vec<Team>,
    pub pagination: TeamPagination,
}

/// The next page is of what was made before `next`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamPagination {
    pub count: usize,
    pub next: Option<i64>,
}

/// A word by which sandboxes are grouped. It is there as soon as somebody uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopeProject {
    pub id: String,
    pub name: String,
    /// The organization that the credential opens.
    pub account_id: String,
}
