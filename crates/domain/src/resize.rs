//! From the sizes that a caller asks for to the sizes that a sandbox gets.

use crate::{Reason, Resources};

/// The most that one sandbox can be given: not a quota, but what no host passes.
pub const CPU_MAX_CORES: u32 = 1024;
pub const MEMORY_MAX_GIB: u32 = 65_536;
/// A file of ext4, which a disk is, ends at 16 TiB.
pub const DISK_MAX_GIB: u32 = 16_000;

/// A resize as the caller wrote it. What is absent stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResizeRequest {
    pub cpu: Option<i64>,
    pub memory: Option<i64>,
    pub disk: Option<i64>,
}

/// Checks a resize against what the sandbox has.
///
/// # Errors
/// Every reason against it: a number out of bounds, a smaller disk, or what a started sandbox cannot do
/// (less processor or memory, another disk).
pub fn plan_resize(
    now: Resources,
    request: ResizeRequest,
    is_started: bool,
) -> Result<Resources, Vec<Reason>> {
    let mut reasons = Vec::new();
    let to = Resources {
        cpu_cores: size(
            "cpu",
            request.cpu,
            now.cpu_cores,
            CPU_MAX_CORES,
            &mut reasons,
        ),
        memory_gib: size(
            "memory",
            request.memory,
            now.memory_gib,
            MEMORY_MAX_GIB,
            &mut reasons,
        ),
        disk_gib: size(
            "disk",
            request.disk,
            now.disk_gib,
            DISK_MAX_GIB,
            &mut reasons,
        ),
        gpu: now.gpu,
    };
    let mut refuse = |message: &str| reasons.push(Reason::invalid(message));
    if to.disk_gib < now.disk_gib {
        refuse("disk cannot be made smaller");
    } else if is_started && to.disk_gib != now.disk_gib {
        refuse("disk can only be resized while the sandbox is stopped");
    }
    if is_started && to.cpu_cores < now.cpu_cores {
        refuse("cpu can only be lowered while the sandbox is stopped");
    }
    if is_started && to.memory_gib < now.memory_gib {
        refuse("memory can only be lowered while the sandbox is stopped");
    }
    if reasons.is_empty() && to == now {
        reasons.push(Reason::invalid(
            "at least one of cpu, memory and disk must be given and must differ from what the sandbox has",
        ));
    }
    if reasons.is_empty() {
        Ok(to)
    } else {
        Err(reasons)
    }
}

fn size(field: &str, asked: Option<i64>, now: u32, max: u32, reasons: &mut Vec<Reason>) -> u32 {
    let Some(asked) = asked else { return now };
    match u32::try_from(asked) {
        Ok(size) if (1..=max).contains(&size) => size,
        _ => {
            reasons.push(Reason::invalid(format!(
                "{field} must be an integer between 1 and {max}"
            )));
            now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Resources = Resources {
        cpu_cores: 2,
        memory_gib: 4,
        disk_gib: 10,
        gpu: 0,
    };

    fn ask(cpu: Option<i64>, memory: Option<i64>, disk: Option<i64>) -> ResizeRequest {
        ResizeRequest { cpu, memory, disk }
    }

    #[test]
    fn a_started_sandbox_grows_in_processor_and_memory_only() {
        let grown = plan_resize(NOW, ask(Some(4), Some(8), None), true);
        assert_eq!(
            grown,
            Ok(Resources {
                cpu_cores: 4,
                memory_gib: 8,
                ..NOW
            })
        );
        for refused in [
            ask(Some(1), None, None),
            ask(None, Some(1), None),
            ask(None, None, Some(20)),
        ] {
            assert_eq!(plan_resize(NOW, refused, true).map_err(|r| r.len()), Err(1));
        }
    }

    #[test]
    fn a_stopped_sandbox_takes_every_size_but_a_smaller_disk() {
        let resized = plan_resize(NOW, ask(Some(1), Some(1), Some(20)), false);
        assert_eq!(resized.map(|to| to.disk_gib), Ok(20));
        assert!(plan_resize(NOW, ask(None, None, Some(9)), false).is_err());
    }

    #[test]
    fn nothing_that_changes_and_numbers_out_of_bounds_are_refused_with_every_reason() {
        assert!(plan_resize(NOW, ask(None, None, None), false).is_err());
        assert!(plan_resize(NOW, ask(Some(2), Some(4), Some(10)), true).is_err());
        let wrong = plan_resize(NOW, ask(Some(0), Some(-1), Some(i64::MAX)), false);
        assert_eq!(wrong.map_err(|reasons| reasons.len()), Err(3));
    }
}
