//! Real sandboxes that are made ahead of need: taken, handed over, thrown away, and what is left behind.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use alcove_domain::SandboxId;
use alcove_e2e::host::names;
use alcove_e2e::runner::TestRunner;
use alcove_e2e::wait;
use alcove_runner::faults::{Faults, Step};
use alcove_runner_api::{FaultCode, Goal, Observed, SandboxSpec, WarmKind, WarmWish};
use rustix::process::{Pid, Signal, kill_process};

fn kind(host: &TestRunner) -> WarmKind {
    WarmKind {
        pool: "a".to_owned(),
        image: host.image.clone(),
        resources: host.spec().resources,
    }
}

fn wish(host: &TestRunner, size: u32) {
    let kind = kind(host);
    host.runner.keep_warm(vec![WarmWish { kind, size }]);
}

async fn ready(host: &TestRunner, count: u32) {
    wait::until(&format!("{count} members wait"), async || {
        let states = host.runner.warm_states();
        if states.iter().map(|state| state.ready).sum::<u32>() == count {
            Ok(())
        } else {
            Err(states)
        }
    })
    .await;
}

fn take(host: &TestRunner) -> SandboxId {
    host.runner
        .take_warm(&[kind(host)])
        .expect("a member waits")
}

/// Process numbers on the host of what is in a sandbox.
fn processes(host: &TestRunner, sandbox: &str) -> Vec<i32> {
    let suffix = format!("/{}/{sandbox}", host.config.cgroup_parent);
    let is_inside = |pid: &i32| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.lines().any(|line| line.ends_with(&suffix))
    };
    let pids = names(Path::new("/proc")).into_iter();
    pids.filter_map(|name| name.parse().ok())
        .filter(is_inside)
        .collect()
}

/// What can be seen from inside that should not depend on how the sandbox was made. The limit of file locks is the mark of
/// a job: a number by chance.
const LOOK: &str = "echo $PPID; hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf; id; pwd; umask; grep -v 'file locks' /proc/self/limits; \
    env | sort; cat /proc/1/comm; ls -l /proc/1/fd 2>&1 | wc -l; cat /proc/self/status | grep -E '^(Cap|Sec|NoNew)'; \
    cat /proc/mounts | cut -d' ' -f2-3,5-6 | sed 's/=[^,]*//g'; ls -a / ~; df -k / /dev/shm | awk '{print $2}'";

#[tokio::test]
async fn a_member_that_is_handed_over_is_like_one_that_was_made_for_its_owner() {
    let host = TestRunner::start().await;
    wish(&host, 1);
    ready(&host, 1).await;
    assert!(
        host.runner.inventory().is_empty(),
        "nobody owns a member, so no inventory tells of it"
    );
    assert!(!host.traces().cgroups.is_empty(), "the positive control");
    let member = take(&host);
    assert!(host.runner.dial_agent(&member).await.is_err());
    wish(&host, 0);

    let spec = |spec: SandboxSpec| SandboxSpec {
        env: BTreeMap::from([("A".to_owned(), "x".repeat(100_000))]),
        ..spec
    };
    let began = std::time::Instant::now();
    host.run_with(member.as_str(), spec).await;
    println!("handed over after {:?}", began.elapsed());
    let usual = host.run_with("usual", spec).await;
    let mut seen = Vec::new();
    for sandbox in [&member, &usual] {
        let (code, output) = host.execute(sandbox, LOOK).await;
        assert_eq!(code, 0, "{output}");
        seen.push(output.replace(sandbox.as_str(), "NAME"));
    }
    for (one, other) in seen[0].lines().zip(seen[1].lines()) {
        assert_eq!(one, other);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(host.runner.inventory().len(), 2);

    for (number, sandbox) in [&member, &usual].into_iter().enumerate() {
        let generation = u64::try_from(number).unwrap() + 2;
        host.apply(sandbox, generation, Goal::Absent).await;
    }
    host.expect_nothing_left().await;
    host.runner.close().await;
}

#[tokio::test]
async fn a_member_has_no_secret_and_runs_nothing_of_the_image_before_it_is_handed_over() {
    let host = TestRunner::start().await;
    wish(&host, 1);
    ready(&host, 1).await;
    let member = take(&host);
    wish(&host, 0);
    let processes = processes(&host, member.as_str());
    assert_eq!(processes.len(), 1, "its first process and no other");
    let environment = std::fs::read(format!("/proc/{}/environ", processes[0])).unwrap();
    assert!(environment.is_empty(), "{environment:?}");
    // It has not answered anybody: nobody can be let in who has no secret to show.
    let folder = std::fs::File::open(host.data_dir().join("run")).unwrap();
    let asked = alcove_runner::agent_probe::version(&folder, member.as_str(), "");
    let answer = tokio::time::timeout(std::time::Duration::from_millis(300), asked).await;
    assert!(answer.is_err(), "{answer:?}");
    host.apply(&member, 2, Goal::Absent).await;
    host.expect_nothing_left().await;
    host.runner.close().await;
}

#[tokio::test]
async fn a_member_that_died_costs_a_usual_create() {
    let host = TestRunner::start().await;
    wish(&host, 1);
    ready(&host, 1).await;
    let member = take(&host);
    wish(&host, 0);
    let pid = processes(&host, member.as_str())[0];
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    host.run(member.as_str()).await;
    assert_eq!(host.execute(&member, "echo $A").await.1, "1\n");
    // One that waits is replaced without anybody asking for it.
    wish(&host, 1);
    ready(&host, 1).await;
    let cgroups = host.traces().cgroups;
    let second = cgroups
        .iter()
        .find(|name| **name != member.as_str())
        .unwrap();
    let pid = processes(&host, second)[0];
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    wait::until("another member", async || {
        let now = host.traces().cgroups;
        if !now.contains(second) && now.len() == 2 {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;
    host.apply(&member, 2, Goal::Absent).await;
    wish(&host, 0);
    host.expect_nothing_left().await;
    host.runner.close().await;
}

#[tokio::test]
async fn an_order_that_differs_from_the_member_gets_what_it_asks_for() {
    let host = TestRunner::start().await;
    wish(&host, 1);
    ready(&host, 1).await;
    let member = take(&host);
    wish(&host, 0);
    host.run_with(member.as_str(), |mut spec| {
        spec.resources.memory_bytes = 128 << 20;
        spec
    })
    .await;
    let shm = host
        .execute(&member, "df -k /dev/shm | awk 'NR==2{print $2}'")
        .await
        .1;
    assert_eq!(shm.trim(), (64 << 10).to_string());
    host.apply(&member, 2, Goal::Absent).await;
    host.expect_nothing_left().await;
    host.runner.close().await;
}

#[tokio::test]
async fn a_user_that_the_image_does_not_have_is_named_when_a_member_is_handed_over() {
    let host = TestRunner::start().await;
    wish(&host, 1);
    ready(&host, 1).await;
    let member = take(&host);
    wish(&host, 0);
    let spec = SandboxSpec {
        user: "nobody-knows".to_owned(),
        ..host.spec()
    };
    let report = host.apply(&member, 1, Goal::Running(spec)).await;
    let Observed::Failed {
        fault,
        has_disk: false,
    } = report.observed
    else {
        panic!("{report:?}");
    };
    assert_eq!(fault.code, FaultCode::UserMissing);
    host.expect_nothing_left().await;
    host.runner.close().await;
}

#[tokio::test]
async fn what_is_not_wanted_any_more_goes_and_so_does_all_at_the_end() {
    let host = TestRunner::start().await;
    wish(&host, 3);
    ready(&host, 3).await;
    wish(&host, 1);
    ready(&host, 1).await;
    host.runner.keep_warm(Vec::new());
    host.expect_nothing_left().await;
    wish(&host, 2);
    ready(&host, 2).await;
    take(&host);
    host.runner.close().await;
    host.expect_nothing_left().await;
}

/// Fails one step, once armed.
#[derive(Debug, Default)]
struct FailAt(Mutex<Option<Step>>);

impl Faults for FailAt {
    fn at(&self, step: Step) -> io::Result<()> {
        if *self.0.lock().unwrap() == Some(step) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_member_that_fails_at_any_step_leaves_nothing() {
    let faults = Arc::new(FailAt::default());
    let host = TestRunner::start_with_faults(faults.clone()).await;
    for step in Step::PARKING {
        *faults.0.lock().unwrap() = Some(step);
        wish(&host, 1);
        wait::until("a member that cannot be made", async || {
            let states = host.runner.warm_states();
            let fault = states.iter().find_map(|state| state.fault.clone());
            fault.map(drop).ok_or(states)
        })
        .await;
        host.runner.keep_warm(Vec::new());
        host.expect_nothing_left().await;
        *faults.0.lock().unwrap() = None;
    }
    for step in Step::HANDING_OVER {
        wish(&host, 1);
        ready(&host, 1).await;
        let member = take(&host);
        host.runner.keep_warm(Vec::new());
        *faults.0.lock().unwrap() = Some(step);
        let report = host.apply(&member, 1, Goal::Running(host.spec())).await;
        *faults.0.lock().unwrap() = None;
        let is_of_hand_over = step == Step::HandedOver;
        match report.observed {
            // Made anew.
            Observed::Running { .. } if is_of_hand_over => {
                assert_eq!(host.execute(&member, "echo $A").await.1, "1\n");
                host.apply(&member, 2, Goal::Absent).await;
            }
            // The step is one of the usual way too.
            Observed::Failed {
                has_disk: false, ..
            } if !is_of_hand_over => {}
            other => panic!("{step:?}: {other:?}"),
        }
        host.expect_nothing_left().await;
    }
    host.runner.close().await;
}
