//! Who belongs to an organization, and what it gives them.

use jiff::Timestamp;

use crate::{OrganizationId, Permissions, Reason, Role, RoleId, UserId};

/// Roles that one member can be given.
const ASSIGNED_MAX: usize = 100;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberRole {
    /// May do everything, and says who else may do what.
    Owner,
    /// May do what the assigned roles allow.
    Member,
}

impl MemberRole {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Member => "member",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "owner" => Some(Self::Owner),
            "member" => Some(Self::Member),
            _ => None,
        }
    }
}

/// What somebody is given in an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub role: MemberRole,
    /// In order, each once.
    pub assigned: Vec<RoleId>,
}

impl Access {
    /// `known` are the roles that the organization has.
    ///
    /// # Errors
    /// Everything that is wrong: a role that is neither owner nor member, roles that the organization does not have.
    pub fn parse(role: &str, assigned: &[String], known: &[Role]) -> Result<Self, Vec<Reason>> {
        let mut reasons = Vec::new();
        let role = MemberRole::parse(role);
        if role.is_none() {
            reasons.push(Reason::invalid(
                "role must be one of the following values: owner, member",
            ));
        }
        let mut ids = Vec::new();
        for text in assigned {
            match known.iter().find(|role| role.id.as_str() == text) {
                Some(role) => ids.push(role.id.clone()),
                None => reasons.push(Reason::invalid(format!("There is no role with ID {text}"))),
            }
        }
        ids.sort();
        ids.dedup();
        if assigned.len() > ASSIGNED_MAX {
            reasons = vec![Reason::invalid(format!(
                "assignedRoleIds must contain no more than {ASSIGNED_MAX} elements"
            ))];
        }
        match role {
            Some(role) if reasons.is_empty() => Ok(Self {
                role,
                assigned: ids,
            }),
            _ => Err(reasons),
        }
    }

    /// What it comes to. `roles` are those that the organization has; what is not among them gives nothing.
    pub fn rights(&self, roles: &[Role]) -> Permissions {
        if self.role == MemberRole::Owner {
            return Permissions::all();
        }
        roles
            .iter()
            .filter(|role| self.assigned.contains(&role.id))
            .flat_map(|role| role.permissions.iter())
            .collect()
    }
}

/// A user in an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub organization_id: OrganizationId,
    pub user_id: UserId,
    pub access: Access,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Why a membership stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemberRefusal {
    #[error("You cannot change your own access")]
    Oneself,
    #[error("An organization must have an owner, and this is the last one")]
    LastOwner,
}

impl Member {
    /// Whether `by` may give this member another access, in an organization with so many owners.
    ///
    /// # Errors
    /// Which rule stands against it.
    pub fn check_change(
        &self,
        by: &UserId,
        next: &Access,
        owners: u64,
    ) -> Result<(), MemberRefusal> {
        if *by == self.user_id {
            return Err(MemberRefusal::Oneself);
        }
        if next.role == MemberRole::Owner {
            return Ok(());
        }
        self.check_end(owners)
    }

    /// Whether the member can go, by itself or not.
    ///
    /// # Errors
    /// [`MemberRefusal::LastOwner`] for the last of so many owners.
    pub fn check_end(&self, owners: u64) -> Result<(), MemberRefusal> {
        if self.access.role == MemberRole::Owner && owners <= 1 {
            return Err(MemberRefusal::LastOwner);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::{Permission, role};

    fn user(number: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(number))
    }

    fn member(number: u128, role: MemberRole) -> Member {
        Member {
            organization_id: OrganizationId::from_uuid(Uuid::nil()),
            user_id: user(number),
            access: Access {
                role,
                assigned: Vec::new(),
            },
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn owners_may_everything_and_members_what_their_roles_say() {
        let roles = role::built_in(Timestamp::UNIX_EPOCH);
        let ids = |numbers: &[usize]| {
            let ids = numbers.iter().map(|number| roles[*number].id.to_string());
            ids.collect::<Vec<_>>()
        };
        let parse = |role: &str, numbers: &[usize]| Access::parse(role, &ids(numbers), &roles);
        let owner = parse("owner", &[]).expect("an access");
        assert_eq!(owner.rights(&roles), Permissions::all());
        let plain = parse("member", &[]).expect("an access");
        assert!(plain.rights(&roles).is_empty());
        let both = parse("member", &[6, 0, 6]).expect("an access");
        assert_eq!(both.assigned.len(), 2);
        let rights: Vec<Permission> = both.rights(&roles).iter().collect();
        assert_eq!(
            rights,
            [Permission::WriteSandboxes, Permission::ReadAuditLogs]
        );
        // A role that is gone gives nothing.
        assert!(both.rights(&[]).is_empty());
        assert!(Access::parse("boss", &["x".to_owned()], &roles).is_err_and(|r| r.len() == 2));
    }

    proptest! {
        /// Whatever is done to the members of an organization, in whatever order: an owner remains.
        #[test]
        fn an_owner_always_remains(steps in prop::collection::vec((0..4u128, 0..4u128, 0..3u8), 0..60)) {
            let mut members = vec![member(0, MemberRole::Owner)];
            for (by, whom, what) in steps {
                let owners = members.iter().filter(|m| m.access.role == MemberRole::Owner);
                let owners = owners.count() as u64;
                let place = members.iter().position(|member| member.user_id == user(whom));
                let Some(place) = place else {
                    members.push(member(whom, MemberRole::Member));
                    continue;
                };
                let next = Access {
                    role: if what == 0 { MemberRole::Owner } else { MemberRole::Member },
                    assigned: Vec::new(),
                };
                if what < 2 {
                    if members[place].check_change(&user(by), &next, owners).is_ok() {
                        prop_assert_ne!(by, whom);
                        members[place].access = next;
                    }
                } else if members[place].check_end(owners).is_ok() {
                    members.remove(place);
                }
                prop_assert!(members.iter().any(|m| m.access.role == MemberRole::Owner));
            }
        }
    }
}
