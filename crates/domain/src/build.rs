//! Images that are built from a Dockerfile, for a snapshot or for the sandboxes of a create.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::bounds;
use crate::resize::{CPU_MAX_CORES, DISK_MAX_GIB, MEMORY_MAX_GIB};
use crate::{
    BuildId, OrganizationId, Reason, Resources, SandboxClass, Snapshot, SnapshotId, SnapshotState,
    text,
};

/// Time for a build, from the moment that it was asked for.
pub const BUILD_LIMIT: SignedDuration = SignedDuration::from_hours(1);

/// How long an image that was built for sandboxes is kept when there is none of it any more.
pub const BUILT_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Images that an organization's creates have built and that no sandbox needs: the longest unused beyond this go.
pub const BUILT_MAX: usize = 50;

/// Most parts of a context.
pub const CONTEXTS_MAX: usize = 100;

/// Longest name of a part.
const CONTEXT_MAX_BYTES: usize = 128;

/// Longest Dockerfile.
const DOCKERFILE_MAX_BYTES: usize = 1 << 20;

/// What an image is built from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildInfo {
    pub dockerfile: String,
    /// Names of parts of the context, as the caller has uploaded them.
    pub context_hashes: Vec<String>,
}

/// A build that was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBuild {
    pub id: BuildId,
    pub organization_id: OrganizationId,
    /// What becomes of it.
    pub snapshot_id: SnapshotId,
    pub info: BuildInfo,
    pub created_at: Timestamp,
    /// It is given up then, wherever it is.
    pub deadline: Timestamp,
    pub is_open: bool,
}

/// A request for a snapshot as the caller wrote it. Nothing is checked yet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewBuiltSnapshot {
    pub name: String,
    pub info: BuildInfo,
    pub entrypoint: Option<Vec<String>>,
    pub cpu: Option<i64>,
    pub memory: Option<i64>,
    pub disk: Option<i64>,
    pub gpu: Option<i64>,
    pub gpu_types: Vec<String>,
    pub class: Option<String>,
    /// Id or name of a region.
    pub region: Option<String>,
}

/// Checks a request.
///
/// # Errors
/// Every reason that stands against it.
pub fn plan_built_snapshot(
    request: &NewBuiltSnapshot,
    otherwise: Resources,
) -> Result<Resources, Vec<Reason>> {
    let mut reasons = Vec::new();
    check_name(&request.name, &mut reasons);
    check_info(&request.info, &mut reasons);
    bounds::check_entrypoint(
        request.entrypoint.as_deref().unwrap_or_default(),
        &mut reasons,
    );
    let asked = AskedSizes {
        cpu: request.cpu,
        memory: request.memory,
        disk: request.disk,
        gpu: request.gpu,
        has_gpu_types: !request.gpu_types.is_empty(),
    };
    let resources = asked.check(otherwise, &mut reasons);
    let is_other = |class: &String| !class.is_empty() && class != SandboxClass::Container.as_str();
    if request.class.as_ref().is_some_and(is_other) {
        reasons.push(Reason::unsupported(
            "sandboxClass must be container on this server",
        ));
    }
    if reasons.is_empty() {
        Ok(resources)
    } else {
        Err(reasons)
    }
}

/// Sizes beside a build, as the caller wrote them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskedSizes {
    pub cpu: Option<i64>,
    pub memory: Option<i64>,
    pub disk: Option<i64>,
    pub gpu: Option<i64>,
    pub has_gpu_types: bool,
}

impl AskedSizes {
    /// What is not asked for is as `otherwise`.
    pub fn check(self, otherwise: Resources, reasons: &mut Vec<Reason>) -> Resources {
        let mut size = |field: &str, asked: Option<i64>, otherwise: u32, most: u32| match asked {
            None => otherwise,
            Some(asked) => match u32::try_from(asked) {
                Ok(asked) if (1..=most).contains(&asked) => asked,
                _ => {
                    reasons.push(Reason::invalid(format!(
                        "{field} must be a number of 1 to {most}"
                    )));
                    otherwise
                }
            },
        };
        let resources = Resources {
            cpu_cores: size("cpu", self.cpu, otherwise.cpu_cores, CPU_MAX_CORES),
            memory_gib: size("memory", self.memory, otherwise.memory_gib, MEMORY_MAX_GIB),
            disk_gib: size("disk", self.disk, otherwise.disk_gib, DISK_MAX_GIB),
            gpu: 0,
        };
        if self.gpu.is_some_and(|gpu| gpu != 0) || self.has_gpu_types {
            reasons.push(Reason::unsupported("gpu is not supported by this server"));
        }
        resources
    }
}

/// Which of the images that creates have built go: `unheld` are those that no sandbox needs, of all organizations.
pub fn built_to_go(mut unheld: Vec<Snapshot>, now: Timestamp) -> Vec<SnapshotId> {
    let last_use = |snapshot: &Snapshot| {
        let used = snapshot.last_used_at.unwrap_or(snapshot.created_at);
        used.max(snapshot.updated_at)
    };
    unheld.sort_by_key(|snapshot| std::cmp::Reverse(last_use(snapshot)));
    let mut kept: HashMap<Option<OrganizationId>, usize> = HashMap::new();
    unheld
        .into_iter()
        .filter(|snapshot| {
            // The log of a failure is of no use to anybody when the sandbox that waited is gone.
            let is_failed = snapshot.state == SnapshotState::BuildFailed;
            if is_failed || now.duration_since(last_use(snapshot)) >= BUILT_KEPT {
                return true;
            }
            let kept = kept.entry(snapshot.organization_id.clone()).or_default();
            *kept += 1;
            *kept > BUILT_MAX
        })
        .map(|snapshot| snapshot.id)
        .collect()
}

/// A name of a snapshot looks like one of an image.
fn check_name(name: &str, reasons: &mut Vec<Reason>) {
    if name.is_empty() {
        reasons.push(Reason::invalid("name should not be empty"));
        return;
    }
    text::check_display("name", name, reasons);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-:/@".contains(c);
    let ends_well = |c: char| c.is_ascii_alphanumeric();
    let is_good = name.len() <= text::NAME_MAX_BYTES
        && name.chars().all(is_plain)
        && name.starts_with(ends_well)
        && name.ends_with(ends_well)
        && !name.contains("//");
    if !is_good {
        reasons.push(Reason::invalid(
            "name must hold only letters, digits, '_', '.', '-', ':' and '/', and begin and end with a letter or digit",
        ));
    }
}

/// Checks what is to be built, apart from what the Dockerfile means.
pub fn check_info(info: &BuildInfo, reasons: &mut Vec<Reason>) {
    if info.dockerfile.trim().is_empty() {
        reasons.push(Reason::invalid(
            "buildInfo.dockerfileContent should not be empty",
        ));
    }
    if info.dockerfile.len() > DOCKERFILE_MAX_BYTES {
        reasons.push(Reason::invalid(format!(
            "buildInfo.dockerfileContent must have at most {DOCKERFILE_MAX_BYTES} bytes"
        )));
    }
    if info.dockerfile.contains('\0') {
        reasons.push(Reason::invalid(
            "buildInfo.dockerfileContent must not contain a NUL character",
        ));
    }
    if info.context_hashes.len() > CONTEXTS_MAX {
        reasons.push(Reason::invalid(format!(
            "buildInfo.contextHashes must have at most {CONTEXTS_MAX} entries"
        )));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_good = |key: &String| {
        !key.is_empty() && key.len() <= CONTEXT_MAX_BYTES && key.chars().all(is_plain)
    };
    if !info.context_hashes.iter().all(is_good) {
        reasons.push(Reason::invalid(
            "buildInfo.contextHashes must be hashes of uploaded contexts",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str) -> NewBuiltSnapshot {
        NewBuiltSnapshot {
            name: name.to_owned(),
            info: BuildInfo {
                dockerfile: "FROM x\n".to_owned(),
                context_hashes: vec!["0a".to_owned()],
            },
            ..NewBuiltSnapshot::default()
        }
    }

    #[test]
    fn an_ordinary_request_gets_its_sizes() {
        let asked = NewBuiltSnapshot {
            cpu: Some(2),
            ..request("my-image:1.0")
        };
        let planned = plan_built_snapshot(&asked, Resources::DEFAULT);
        let expected = Resources {
            cpu_cores: 2,
            ..Resources::DEFAULT
        };
        assert_eq!(planned, Ok(expected));
    }

    #[test]
    fn built_images_go_when_failed_or_long_unused_or_too_many() {
        let at = |hours: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
        let built = |number: u128, organization: u128, used: i64, state| Snapshot {
            id: SnapshotId::from_uuid(uuid::Uuid::from_u128(number)),
            organization_id: Some(OrganizationId::from_uuid(uuid::Uuid::from_u128(
                organization,
            ))),
            state,
            build_key: Some("k".to_owned()),
            last_used_at: Some(at(used)),
            ..crate::snapshot::sample()
        };
        let mut unheld = vec![
            built(1, 1, 200, SnapshotState::Active),
            built(2, 1, 200, SnapshotState::BuildFailed),
            built(3, 1, 31, SnapshotState::Active),
            built(4, 1, 33, SnapshotState::Active),
        ];
        let go = |unheld: &[Snapshot]| {
            let mut ids: Vec<String> = built_to_go(unheld.to_vec(), at(200))
                .iter()
                .map(|id| id.as_str().trim_start_matches(['0', '-']).to_owned())
                .collect();
            ids.sort();
            ids
        };
        assert_eq!(go(&unheld), ["2", "3"]);
        // Others' are counted apart; of one's own the longest unused go.
        for number in 0..BUILT_MAX as u128 {
            unheld.push(built(0x100 + number, 1, 100, SnapshotState::Active));
            unheld.push(built(0x200 + number, 2, 100, SnapshotState::Active));
        }
        assert_eq!(go(&unheld).len(), 4);
        assert!(go(&unheld).contains(&"4".to_owned()));
        assert!(!go(&unheld).contains(&"1".to_owned()));
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        let mut asked = request("-bad name");
        asked.info = BuildInfo {
            dockerfile: " ".to_owned(),
            context_hashes: vec!["../x".to_owned()],
        };
        asked.entrypoint = Some(vec![String::new()]);
        asked.memory = Some(0);
        asked.gpu = Some(1);
        let reasons = plan_built_snapshot(&asked, Resources::DEFAULT);
        assert_eq!(reasons.map_err(|reasons| reasons.len()), Err(6));
    }
}
