//! Which runner takes a new sandbox.

use jiff::Timestamp;

use super::{Load, Needs, Placing, Runner, RunnerState, availability};
use crate::{Reason, Resources};

/// How much more than a host has may be promised to sandboxes on it, in hundredths: most of what is promised is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overcommit {
    pub cpu_percent: u32,
    pub memory_percent: u32,
    pub disk_percent: u32,
}

impl Default for Overcommit {
    /// Five times, which is where the score of a host that is promised away comes to nothing.
    fn default() -> Self {
        Self {
            cpu_percent: 500,
            memory_percent: 500,
            disk_percent: 500,
        }
    }
}

/// What the operator says about placing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlacingRules {
    pub overcommit: Overcommit,
    /// Below this score ([`availability`], 0 to 100) a runner is left alone. 0 leaves it to the runner itself, which
    /// refuses what it has no memory or disk for.
    pub score_min: u32,
}

/// A runner that may be asked to take a sandbox.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub runner: &'a Runner,
    pub load: &'a Load,
    /// What sandboxes on it count now, all together.
    pub promised: Resources,
    /// Whether it has the image, or can get it.
    pub gets_image: bool,
}

impl Candidate<'_> {
    fn has_room(&self, wanted: &Resources, overcommit: &Overcommit) -> bool {
        let has = &self.runner.capacity;
        let fits = |promised: u32, wanted: u32, has: u64, unit: u64, percent: u32| {
            (u64::from(promised) + u64::from(wanted)) * unit * 100
                <= has.saturating_mul(u64::from(percent))
        };
        fits(
            self.promised.cpu_cores,
            wanted.cpu_cores,
            has.cpu_millis,
            1000,
            overcommit.cpu_percent,
        ) && fits(
            self.promised.memory_gib,
            wanted.memory_gib,
            has.memory_mib,
            1024,
            overcommit.memory_percent,
        ) && fits(
            self.promised.disk_gib,
            wanted.disk_gib,
            has.disk_mib,
            1024,
            overcommit.disk_percent,
        ) && self.promised.gpu + wanted.gpu <= has.gpu
    }
}

/// The best of these runners for a sandbox of these sizes that needs this.
///
/// # Errors
/// What is wrong with the one that came furthest.
pub fn choose<'a>(
    candidates: &[Candidate<'a>],
    wanted: &Resources,
    needs: &Needs,
    rules: &PlacingRules,
    now: Timestamp,
) -> Result<&'a Runner, Reason> {
    let mut left: Vec<&Candidate<'a>> = candidates.iter().collect();
    keep(
        &mut left,
        |it| it.runner.state(now) == RunnerState::Ready,
        "none of the region is connected",
    )?;
    keep(
        &mut left,
        |it| it.runner.lets(Placing::Take),
        "those of the region take no new sandboxes now",
    )?;
    if let Some(missing) = needs.missing(left.iter().map(|it| it.runner)) {
        return Err(Reason::unsupported(format!(
            "No available runners: none of the region has {missing}"
        )));
    }
    left.retain(|it| needs.are_met_by(it.runner));
    keep(
        &mut left,
        |it| it.gets_image,
        "none of the region has the snapshot or can get it",
    )?;
    keep(
        &mut left,
        |it| it.has_room(wanted, &rules.overcommit),
        "what those of the region have is promised to others",
    )?;
    keep(
        &mut left,
        |it| availability(&it.runner.capacity, it.load) >= rules.score_min,
        "those of the region have too much to do",
    )?;
    let best = left.into_iter().max_by_key(|it| {
        let score = availability(&it.runner.capacity, it.load);
        (score, std::cmp::Reverse(&it.runner.id))
    });
    best.map(|it| it.runner)
        .ok_or_else(|| Reason::invalid("No available runners"))
}

/// Leaves those of which something is true, or says why there is none.
fn keep(
    left: &mut Vec<&Candidate<'_>>,
    is_kept: impl Fn(&Candidate<'_>) -> bool,
    why: &str,
) -> Result<(), Reason> {
    left.retain(|candidate| is_kept(candidate));
    if left.is_empty() {
        return Err(Reason::invalid(format!("No available runners: {why}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::{Capabilities, Capability, Capacity, RunnerAddress, RunnerId};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn runner(number: u128) -> Runner {
        Runner {
            id: RunnerId::from_uuid(uuid::Uuid::from_u128(number)),
            region: "lab".to_owned(),
            organization_id: None,
            name: format!("host-{number}"),
            is_built_in: false,
            key: None,
            tags: Vec::new(),
            address: RunnerAddress::default(),
            is_unschedulable: false,
            is_draining: false,
            is_decommissioned: false,
            capacity: Capacity {
                cpu_millis: 2_000,
                memory_mib: 4_096,
                disk_mib: 102_400,
                gpu: 0,
            },
            gpu_type: None,
            capabilities: None,
            app_version: None,
            fault: None,
            instance: None,
            heard_at: Some(NOW),
            created_at: NOW,
            updated_at: NOW,
        }
    }

    const NOTHING: Resources = Resources {
        cpu_cores: 0,
        memory_gib: 0,
        disk_gib: 0,
        gpu: 0,
    };

    fn idle(runner: &Runner) -> Candidate<'_> {
        static IDLE: std::sync::OnceLock<Load> = std::sync::OnceLock::new();
        Candidate {
            runner,
            load: IDLE.get_or_init(Load::default),
            promised: NOTHING,
            gets_image: true,
        }
    }

    fn refusal(candidate: Candidate<'_>) -> String {
        let rules = PlacingRules {
            score_min: 10,
            ..PlacingRules::default()
        };
        let chosen = choose(
            &[candidate],
            &Resources::DEFAULT,
            &Needs::default(),
            &rules,
            NOW,
        );
        chosen.unwrap_err().message
    }

    #[test]
    fn an_idle_runner_that_is_open_is_taken() {
        let runner = runner(1);
        let chosen = choose(
            &[idle(&runner)],
            &Resources::DEFAULT,
            &Needs::default(),
            &PlacingRules::default(),
            NOW,
        );
        assert_eq!(chosen.unwrap().id, runner.id);
    }

    #[test]
    fn the_one_with_less_to_do_is_taken() {
        let (busy, free) = (runner(1), runner(2));
        let load = Load {
            cpu_percent: 80.0,
            ..Load::default()
        };
        let candidates = [
            Candidate {
                load: &load,
                ..idle(&busy)
            },
            idle(&free),
        ];
        let chosen = choose(
            &candidates,
            &Resources::DEFAULT,
            &Needs::default(),
            &PlacingRules::default(),
            NOW,
        );
        assert_eq!(chosen.unwrap().id, free.id);
    }

    #[test]
    fn one_that_is_silent_closed_without_the_image_or_full_is_not_taken_and_the_reason_says_why() {
        let mut silent = runner(1);
        silent.heard_at = None;
        assert!(refusal(idle(&silent)).contains("connected"));
        let mut closed = runner(1);
        closed.is_unschedulable = true;
        assert!(refusal(idle(&closed)).contains("no new sandboxes"));
        let open = runner(1);
        let lacking = Candidate {
            gets_image: false,
            ..idle(&open)
        };
        assert!(refusal(lacking).contains("snapshot"));
        let full = Candidate {
            promised: Resources {
                memory_gib: 20,
                ..NOTHING
            },
            ..idle(&open)
        };
        assert!(refusal(full).contains("promised"));
        let load = Load {
            cpu_percent: 100.0,
            memory_percent: 99.0,
            disk_percent: 99.0,
            load_average: 5.0,
            ..Load::default()
        };
        let busy = Candidate {
            load: &load,
            ..idle(&open)
        };
        assert!(refusal(busy).contains("too much to do"));
    }

    fn with(capabilities: &[Capability], number: u128) -> Runner {
        Runner {
            capabilities: Some(Capabilities {
                architecture: "x86_64".to_owned(),
                can: capabilities.iter().copied().collect(),
            }),
            ..runner(number)
        }
    }

    fn needing(capabilities: &[Capability], architecture: &str) -> Needs {
        Needs {
            capabilities: capabilities.iter().copied().collect(),
            architecture: Some(architecture.to_owned()),
        }
    }

    #[test]
    fn what_is_needed_is_looked_for_and_what_nobody_has_is_named() {
        use Capability::{NetworkPolicies, Pause, Volumes};
        let unsaid = runner(9);
        let runners = [
            with(&[], 1),
            with(&[Pause], 2),
            with(&[Pause, NetworkPolicies], 3),
        ];
        let candidates = runners.each_ref().map(idle);
        let rules = PlacingRules::default();
        let sizes = Resources::DEFAULT;
        for (needs, taken) in [
            (needing(&[], "x86_64"), Ok(1)),
            (needing(&[Pause], "x86_64"), Ok(2)),
            (needing(&[Pause, NetworkPolicies], "x86_64"), Ok(3)),
            (needing(&[Pause, Volumes], "x86_64"), Err("has volumes")),
            (needing(&[], "aarch64"), Err("has images for aarch64")),
        ] {
            let chosen = choose(&candidates, &sizes, &needs, &rules, NOW);
            match (chosen, taken) {
                (Ok(chosen), Ok(number)) => {
                    assert_eq!(chosen.id, runner(number).id, "{needs:?}");
                }
                (Err(reason), Err(why)) => {
                    assert!(reason.message.contains(why), "{reason:?}");
                    assert_eq!(reason.kind, crate::reason::ReasonKind::Unsupported);
                }
                (chosen, taken) => panic!("{needs:?}: {chosen:?}, and not {taken:?}"),
            }
        }
        // One from before runners said it can what all could.
        let needs = needing(&[Pause, NetworkPolicies], "x86_64");
        assert!(choose(&[idle(&unsaid)], &sizes, &needs, &rules, NOW).is_ok());
        let needs = needing(&[Volumes], "x86_64");
        assert!(choose(&[idle(&unsaid)], &sizes, &needs, &rules, NOW).is_err());
    }

    #[test]
    fn what_is_promised_may_be_as_much_as_the_overcommit_says_and_no_more() {
        let runner = runner(1);
        let with = |memory_gib| {
            let candidate = Candidate {
                promised: Resources {
                    memory_gib,
                    ..NOTHING
                },
                ..idle(&runner)
            };
            let mut rules = PlacingRules::default();
            rules.overcommit.memory_percent = 200;
            choose(
                &[candidate],
                &Resources::DEFAULT,
                &Needs::default(),
                &rules,
                NOW,
            )
            .is_ok()
        };
        assert!(with(7));
        assert!(!with(8));
    }
}
