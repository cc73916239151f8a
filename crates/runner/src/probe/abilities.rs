//! What a host can do for sandboxes, of what was tried on it.

use std::env::consts::ARCH;

use alcove_domain::Capability;
use alcove_runner_api::HostCapabilities;

use super::{Check, Status};

/// The checks that must have found something for it, by their names. Nothing is taken on trust: one that was not tried counts as
/// one that failed.
pub const fn checks_of(capability: Capability) -> &'static [&'static str] {
    match capability {
        Capability::Pause => &["freezer"],
        Capability::Reflink => &["reflink"],
        Capability::NetworkPolicies => &["nft"],
        Capability::Volumes => &["loop-devices", "ext4", "idmapped-mounts"],
        Capability::Snapshots | Capability::Builds => &["overlay", "idmapped-mounts"],
    }
}

/// What a host can do of which these are the checks.
pub fn abilities(checks: &[Check]) -> HostCapabilities {
    let is_there = |name: &&str| {
        let mut found = checks.iter().filter(|check| check.name == *name);
        found.any(|check| check.status == Status::Ok)
    };
    let can = Capability::ALL.into_iter();
    HostCapabilities {
        architecture: ARCH.to_owned(),
        can: can
            .filter(|capability| checks_of(*capability).iter().all(is_there))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Subject;
    use super::*;

    #[test]
    fn a_host_can_do_what_all_checks_of_it_found_and_nothing_else() {
        const NAMES: [&str; 7] = [
            "freezer",
            "reflink",
            "nft",
            "loop-devices",
            "ext4",
            "idmapped-mounts",
            "overlay",
        ];
        let checks = |without: &str| {
            NAMES.map(|name| match Subject::wished(name, "it") {
                subject if name == without => subject.lacking("not there", ""),
                subject => subject.ok("there"),
            })
        };
        let can = |without: &str| abilities(&checks(without)).can;
        assert_eq!(can(""), Capability::ALL.into());
        assert!(!can("freezer").contains(&Capability::Pause));
        assert!(can("freezer").contains(&Capability::Volumes));
        let left = can("idmapped-mounts");
        assert!(!left.contains(&Capability::Volumes) && !left.contains(&Capability::Builds));
        assert!(abilities(&[]).can.is_empty());
        assert_eq!(abilities(&[]).architecture, ARCH);
    }
}
