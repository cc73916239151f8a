//! Roles: rights that members of an organization are given together.

use jiff::Timestamp;

use crate::{OrganizationId, Permission, Permissions, Reason, RoleId, text};

/// Roles that an organization can have of its own.
pub const ROLES_MAX: u64 = 100;
/// The role that new members get where nobody says.
pub const DEVELOPER: &str = "00000000-0000-0000-0000-000000000001";

/// A role of an organization, or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub id: RoleId,
    /// None for those that come with the server, which nobody can change.
    pub organization_id: Option<OrganizationId>,
    pub name: String,
    pub description: String,
    pub permissions: Permissions,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What a role is to be, as far as it is well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRole {
    pub name: String,
    pub description: String,
    pub permissions: Permissions,
}

impl NewRole {
    /// # Errors
    /// Everything that is wrong: an empty or unfit name, an unfit description, words that are no permissions, or none at all.
    pub fn parse(
        name: String,
        description: String,
        permissions: &[String],
    ) -> Result<Self, Vec<Reason>> {
        let mut reasons = Vec::new();
        text::check_given_name(&name, &mut reasons);
        text::check_text("description", &description, &mut reasons);
        let known = Permissions::parse(permissions, &mut reasons);
        if permissions.is_empty() {
            reasons.push(Reason::invalid("permissions should not be empty"));
        }
        if !reasons.is_empty() {
            return Err(reasons);
        }
        Ok(Self {
            name,
            description,
            permissions: known,
        })
    }
}

struct BuiltIn {
    number: u8,
    name: &'static str,
    description: &'static str,
    permissions: &'static [Permission],
}

/// Those of the contract. Super Admin has every permission that there is, newer ones than the contract's too.
const BUILT_IN: [BuiltIn; 8] = [
    BuiltIn {
        number: 1,
        name: "Developer",
        description: "Makes and uses sandboxes",
        permissions: &[Permission::WriteSandboxes],
    },
    BuiltIn {
        number: 2,
        name: "Sandboxes Admin",
        description: "Makes, uses and deletes sandboxes",
        permissions: &[Permission::WriteSandboxes, Permission::DeleteSandboxes],
    },
    BuiltIn {
        number: 3,
        name: "Snapshots Admin",
        description: "Makes and deletes snapshots",
        permissions: &[Permission::WriteSnapshots, Permission::DeleteSnapshots],
    },
    BuiltIn {
        number: 4,
        name: "Registries Admin",
        description: "Adds and removes registries",
        permissions: &[Permission::WriteRegistries, Permission::DeleteRegistries],
    },
    BuiltIn {
        number: 5,
        name: "Super Admin",
        description: "Everything that a member can be allowed",
        permissions: Permission::ALL,
    },
    BuiltIn {
        number: 6,
        name: "Volumes Admin",
        description: "Sees, makes and deletes volumes",
        permissions: &[
            Permission::ReadVolumes,
            Permission::WriteVolumes,
            Permission::DeleteVolumes,
        ],
    },
    BuiltIn {
        number: 7,
        name: "Auditor",
        description: "Reads the audit log",
        permissions: &[Permission::ReadAuditLogs],
    },
    BuiltIn {
        number: 8,
        name: "Infrastructure Admin",
        description: "Manages regions and runners",
        permissions: &[
            Permission::WriteRegions,
            Permission::DeleteRegions,
            Permission::ReadRunners,
            Permission::WriteRunners,
            Permission::DeleteRunners,
        ],
    },
];

/// The roles that every organization has, there since the server was set up.
pub fn built_in(since: Timestamp) -> Vec<Role> {
    BUILT_IN
        .iter()
        .map(|role| Role {
            id: RoleId::from_uuid(uuid::Uuid::from_u128(role.number.into())),
            organization_id: None,
            name: role.name.to_owned(),
            description: role.description.to_owned(),
            permissions: role.permissions.iter().copied().collect(),
            created_at: since,
            updated_at: since,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_roles_have_the_contracts_ids() {
        let roles = built_in(Timestamp::UNIX_EPOCH);
        assert_eq!(roles[0].id.as_str(), DEVELOPER);
        assert_eq!(roles[7].id.as_str(), "00000000-0000-0000-0000-000000000008");
        assert_eq!(roles[4].permissions, Permissions::all());
        assert!(roles.iter().all(|role| !role.permissions.is_empty()));
    }

    #[test]
    fn a_role_without_a_name_or_a_right_is_refused() {
        let refused = NewRole::parse(" ".to_owned(), "<b>".to_owned(), &[]);
        assert_eq!(refused.map_err(|reasons| reasons.len()), Err(3));
        let words = ["write:sandboxes".to_owned(), "fly".to_owned()];
        assert!(NewRole::parse("x".to_owned(), String::new(), &words).is_err());
        let made = NewRole::parse("x".to_owned(), String::new(), &words[..1]);
        assert!(made.is_ok_and(|role| role.permissions.contains(Permission::WriteSandboxes)));
    }
}
