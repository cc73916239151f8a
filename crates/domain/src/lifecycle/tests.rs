#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn fault(code: FaultCode) -> Fault {
    Fault::new(code, "text")
}

fn resizing() -> Phase {
    Phase::Resizing {
        to: Resources::DEFAULT,
    }
}

fn snapshotting() -> Phase {
    Phase::Snapshotting {
        snapshot: SnapshotId::from_uuid(uuid::Uuid::from_u128(7)),
    }
}

fn forking() -> Phase {
    Phase::Forking {
        child: SandboxId::from_uuid(uuid::Uuid::from_u128(8)),
    }
}

fn every_command() -> Vec<(&'static str, Command)> {
    vec![
        ("start", Command::Start),
        ("stop", Command::Stop { force: false }),
        ("forced stop", Command::Stop { force: true }),
        ("delete", Command::Delete),
        ("pause", Command::Pause),
        ("archive", Command::Archive),
        ("recover", Command::Recover { skip_start: false }),
        ("recover, stopped", Command::Recover { skip_start: true }),
        (
            "resize",
            Command::Resize {
                to: Resources::DEFAULT,
            },
        ),
        (
            "snapshot",
            Command::Snapshot {
                snapshot: SnapshotId::from_uuid(uuid::Uuid::from_u128(7)),
            },
        ),
        (
            "fork",
            Command::Fork {
                child: SandboxId::from_uuid(uuid::Uuid::from_u128(8)),
            },
        ),
    ]
}

/// Every phase with a wish that may stand beside it.
fn every_phase() -> Vec<(&'static str, Phase, DesiredState)> {
    use DesiredState as D;
    let internal = || fault(FaultCode::Internal);
    vec![
        ("creating", Phase::Creating, D::Started),
        ("restoring", Phase::Restoring, D::Started),
        ("destroyed", Phase::Destroyed, D::Destroyed),
        ("destroying", Phase::Destroying, D::Destroyed),
        ("started", Phase::Started, D::Started),
        ("stopped", Phase::Stopped { fault: None }, D::Stopped),
        ("starting", Phase::Starting, D::Started),
        ("stopping", Phase::Stopping, D::Stopped),
        (
            "error with disk",
            Phase::Error {
                fault: internal(),
                has_disk: true,
            },
            D::Started,
        ),
        (
            "error with disk, to be stopped",
            Phase::Error {
                fault: internal(),
                has_disk: true,
            },
            D::Stopped,
        ),
        (
            "error without disk",
            Phase::Error {
                fault: internal(),
                has_disk: false,
            },
            D::Started,
        ),
        (
            "build_failed",
            Phase::BuildFailed { fault: internal() },
            D::Started,
        ),
        ("pending_build", Phase::PendingBuild, D::Started),
        ("building_snapshot", Phase::BuildingSnapshot, D::Started),
        ("unknown", Phase::Unknown, D::Started),
        ("pulling_snapshot", Phase::PullingSnapshot, D::Started),
        ("archived", Phase::Archived, D::Archived),
        ("archiving", Phase::Archiving, D::Archived),
        ("resizing", resizing(), D::Started),
        ("resizing, stopped", resizing(), D::Stopped),
        ("snapshotting", snapshotting(), D::Started),
        ("snapshotting, stopped", snapshotting(), D::Stopped),
        ("forking", forking(), D::Started),
        ("forking, stopped", forking(), D::Stopped),
        ("pausing", Phase::Pausing, D::Paused),
        ("paused", Phase::Paused, D::Paused),
        ("resuming", Phase::Resuming, D::Started),
    ]
}

fn every_observation() -> Vec<(&'static str, Observation)> {
    vec![
        ("running", Observation::Running),
        ("stopped", Observation::Stopped { fault: None }),
        (
            "stopped by fault",
            Observation::Stopped {
                fault: Some(fault(FaultCode::OutOfMemory)),
            },
        ),
        (
            "failed with disk",
            Observation::Failed {
                fault: fault(FaultCode::AgentSilent),
                has_disk: true,
            },
        ),
        (
            "failed without disk",
            Observation::Failed {
                fault: fault(FaultCode::HostDiskFull),
                has_disk: false,
            },
        ),
        ("absent", Observation::Absent),
        ("paused", Observation::Paused),
        ("archived", Observation::Archived),
    ]
}

fn every_news() -> Vec<(&'static str, BuildNews)> {
    vec![
        ("begun", BuildNews::Begun),
        ("made", BuildNews::Made),
        ("failed", BuildNews::Failed(fault(FaultCode::BuildFailed))),
    ]
}

const ORIGINS: [Origin; 3] = [Origin::Answer, Origin::Stream, Origin::Inventory];

fn lifecycle(phase: Phase, desired: DesiredState) -> Lifecycle {
    Lifecycle {
        phase,
        desired,
        generation: 5,
        state_changed_at: at(0),
    }
}

fn describe(step: &Step) -> String {
    let mut text = match step.effect {
        Effect::Keep => return "keep".to_owned(),
        Effect::Settle => String::new(),
        Effect::Order(goal) => format!("order {goal:?}: "),
    };
    let state = step.lifecycle.phase.state();
    let _ = write!(
        text,
        "{state}/{} g{}",
        step.lifecycle.desired, step.lifecycle.generation
    );
    if let Some(fault) = step.lifecycle.phase.fault() {
        let _ = write!(text, " {}", fault.code);
    }
    if let Phase::Error { has_disk, .. } = step.lifecycle.phase {
        text.push_str(if has_disk { " disk" } else { " no disk" });
    }
    text
}

#[test]
fn every_state_has_one_outcome_for_every_event() {
    let mut table = String::new();
    for (name, phase, desired) in every_phase() {
        assert!(may_coexist(desired, phase.state()), "{name}");
        let _ = writeln!(table, "{name} (wish {desired})");
        for (said, command) in every_command() {
            let outcome = match lifecycle(phase.clone(), desired).command(command, at(9)) {
                Ok(step) => describe(&step),
                Err(refusal) => format!("refused: {refusal:?}"),
            };
            let _ = writeln!(table, "  {said}: {outcome}");
        }
        for origin in ORIGINS {
            for (seen, observation) in every_observation() {
                let step = lifecycle(phase.clone(), desired).observe(origin, 5, observation, at(9));
                let _ = writeln!(table, "  {origin:?} {seen}: {}", describe(&step));
            }
        }
        let given_up = lifecycle(phase.clone(), desired).give_up(fault(FaultCode::TimedOut), at(9));
        let _ = writeln!(table, "  give up: {}", describe(&given_up));
        let begun = lifecycle(phase.clone(), desired).begin(at(9));
        let _ = writeln!(table, "  begin: {}", describe(&begun));
        for (told, news) in every_news() {
            let step = lifecycle(phase.clone(), desired).take_build(news, at(9));
            let _ = writeln!(table, "  build {told}: {}", describe(&step));
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn an_observation_of_an_older_generation_changes_nothing() {
    for (name, phase, desired) in every_phase() {
        for origin in ORIGINS {
            for (seen, observation) in every_observation() {
                let before = lifecycle(phase.clone(), desired);
                let step = before.clone().observe(origin, 4, observation, at(9));
                assert_eq!(step.lifecycle, before, "{name}, {origin:?} {seen}");
                assert_eq!(step.effect, Effect::Keep);
            }
        }
    }
}

#[test]
fn delete_is_taken_in_every_state_but_destroyed() {
    for (name, phase, desired) in every_phase() {
        let outcome = lifecycle(phase.clone(), desired).command(Command::Delete, at(9));
        if phase == Phase::Destroyed {
            assert_eq!(outcome, Err(Refusal::Gone));
        } else {
            let step = outcome.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
            assert_eq!(step.lifecycle.phase, Phase::Destroying, "{name}");
            assert!(!step.lifecycle.holds_name());
        }
    }
}

#[test]
fn the_shown_state_follows_the_wish_where_nothing_moves_yet() {
    use DesiredState as D;
    let shown = |phase: Phase, desired| lifecycle(phase, desired).display_state();
    assert_eq!(shown(Phase::Started, D::Stopped), SandboxState::Stopping);
    assert_eq!(
        shown(Phase::Started, D::Destroyed),
        SandboxState::Destroying
    );
    let stopped = || Phase::Stopped { fault: None };
    assert_eq!(shown(stopped(), D::Destroyed), SandboxState::Destroying);
    assert_eq!(shown(stopped(), D::Started), SandboxState::Starting);
    assert_eq!(shown(stopped(), D::Archived), SandboxState::Archiving);
    assert_eq!(shown(Phase::Unknown, D::Started), SandboxState::Creating);
    assert_eq!(shown(Phase::Archived, D::Started), SandboxState::Restoring);
    assert_eq!(shown(Phase::Started, D::Started), SandboxState::Started);
}

#[test]
fn the_time_of_the_last_state_change_moves_with_the_state_only() {
    let started = lifecycle(Phase::Started, DesiredState::Started);
    let kept = started.clone().command(Command::Start, at(9)).unwrap();
    assert_eq!(kept.lifecycle.state_changed_at, at(0));
    let stopped = started
        .command(Command::Stop { force: false }, at(9))
        .unwrap();
    assert_eq!(stopped.lifecycle.state_changed_at, at(9));
}

#[derive(Debug, Clone)]
enum Happening {
    Command(Command),
    /// An observation made under a generation this much older (or newer, if negative).
    Observed(Origin, i64, Observation),
    GiveUp,
    Begin,
    Build(BuildNews),
    Outrank(u64),
}

fn observation() -> impl Strategy<Value = Observation> {
    let kinds: Vec<Observation> = every_observation()
        .into_iter()
        .map(|(_, seen)| seen)
        .collect();
    prop::sample::select(kinds)
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => prop::sample::select(
            every_command().into_iter().map(|(_, command)| command).collect::<Vec<_>>(),
        )
        .prop_map(Happening::Command),
        6 => (prop::sample::select(ORIGINS.to_vec()), -1i64..4, observation())
            .prop_map(|(origin, age, seen)| Happening::Observed(origin, age, seen)),
        1 => Just(Happening::GiveUp),
        1 => Just(Happening::Begin),
        2 => prop::sample::select(every_news().into_iter().map(|(_, news)| news).collect::<Vec<_>>())
            .prop_map(Happening::Build),
        1 => (0u64..20).prop_map(Happening::Outrank),
    ]
}

fn born() -> impl Strategy<Value = Lifecycle> {
    prop::sample::select(vec![
        Lifecycle::created(at(0)),
        Lifecycle::awaiting_copy(at(0)),
        Lifecycle::awaiting_image(at(0)),
    ])
}

proptest! {
    #[test]
    fn no_run_of_events_reaches_a_forbidden_pair(
        mut life in born(),
        events in prop::collection::vec(happening(), 1..60),
    ) {
        for (second, event) in (1..).zip(events) {
            let before = life.clone();
            let mut effect = Effect::Settle;
            life = match event {
                Happening::Command(command) => match life.clone().command(command, at(second)) {
                    Ok(step) => { effect = step.effect; step.lifecycle }
                    Err(_) => life,
                },
                Happening::Observed(origin, age, seen) => {
                    let generation = life.generation.saturating_add_signed(-age);
                    let step = life.observe(origin, generation, seen.clone(), at(second));
                    // Said twice is said once.
                    let again = step.lifecycle.clone().observe(origin, generation, seen, at(second));
                    prop_assert_eq!(&again.lifecycle, &step.lifecycle);
                    prop_assert_eq!(again.effect, Effect::Keep);
                    effect = step.effect;
                    step.lifecycle
                }
                Happening::GiveUp => life.give_up(fault(FaultCode::TimedOut), at(second)).lifecycle,
                Happening::Begin => {
                    let step = life.begin(at(second));
                    effect = step.effect;
                    step.lifecycle
                }
                Happening::Build(news) => {
                    let step = life.take_build(news, at(second));
                    effect = step.effect;
                    step.lifecycle
                }
                Happening::Outrank(current) => life.outrank(current),
            };
            prop_assert!(may_coexist(life.desired, life.phase.state()), "{:?}", life);
            prop_assert!(life.generation >= before.generation);
            if effect == Effect::Keep {
                prop_assert_eq!(&life, &before);
            }
            if let Effect::Order(_) = effect {
                prop_assert!(life.generation > before.generation);
                prop_assert!(life.open_goal().is_some());
            }
            // What is being made of a sandbox ends where it began, or with the sandbox.
            if matches!(before.phase, Phase::Resizing { .. } | Phase::Snapshotting { .. } | Phase::Forking { .. })
                && life.phase == Phase::Started
            {
                prop_assert_eq!(before.desired, DesiredState::Started);
            }
            // Gone is gone.
            if before.phase == Phase::Destroyed {
                prop_assert_eq!(&life.phase, &Phase::Destroyed);
            }
            if before.desired == DesiredState::Destroyed {
                prop_assert_eq!(life.desired, DesiredState::Destroyed);
            }
        }
    }

    #[test]
    fn a_deleted_sandbox_ends_destroyed_once_the_runner_says_so(
        mut life in born(),
        events in prop::collection::vec(happening(), 0..30),
    ) {
        for event in events {
            life = match event {
                Happening::Command(command) => life.clone().command(command, at(1)).map_or(life, |step| step.lifecycle),
                Happening::Observed(origin, age, seen) => {
                    let generation = life.generation.saturating_add_signed(-age);
                    life.observe(origin, generation, seen, at(1)).lifecycle
                }
                Happening::GiveUp => life.give_up(fault(FaultCode::TimedOut), at(1)).lifecycle,
                Happening::Begin => life.begin(at(1)).lifecycle,
                Happening::Build(news) => life.take_build(news, at(1)).lifecycle,
                Happening::Outrank(current) => life.outrank(current),
            };
        }
        if let Ok(step) = life.clone().command(Command::Delete, at(2)) {
            life = step.lifecycle;
        }
        let generation = life.generation;
        let end = life.observe(Origin::Answer, generation, Observation::Absent, at(3));
        prop_assert_eq!(end.lifecycle.phase, Phase::Destroyed);
    }
}
