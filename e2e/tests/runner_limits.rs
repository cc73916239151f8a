//! What a sandbox may use, enforced by the kernel: memory, processor time, processes. Run on hosts of both
//! versions of control groups (`make e2e` here, `make guest` for version 2).
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use alcove_domain::SandboxId;
use alcove_e2e::runner::TestRunner;
use alcove_runner_api::{Goal, Observed, Resources, Sample, SandboxSpec};

async fn run_limited(
    host: &TestRunner,
    name: &str,
    limit: impl FnOnce(&mut Resources),
) -> SandboxId {
    let sandbox: SandboxId = name.parse().unwrap();
    let mut spec: SandboxSpec = host.spec();
    limit(&mut spec.resources);
    let report = host.apply(&sandbox, 1, Goal::Running(spec)).await;
    assert!(
        matches!(report.observed, Observed::Running { .. }),
        "{report:?}"
    );
    sandbox
}

async fn remove(host: TestRunner, sandbox: &SandboxId) {
    host.apply(sandbox, 2, Goal::Absent).await;
    host.expect_nothing_left().await;
    host.runner.close().await;
}

/// A text that doubles so many times from one byte on.
fn doubling(times: u32) -> String {
    format!("awk 'BEGIN {{ s = \"x\"; for (i = 0; i < {times}; i++) s = s s; print length(s) }}'")
}

#[tokio::test]
async fn a_job_that_wants_more_memory_than_its_sandbox_has_is_killed_and_the_agent_lives() {
    let host = TestRunner::start().await;
    let sandbox = run_limited(&host, "memory", |r| r.memory_bytes = 64 << 20).await;
    let (code, output) = host.execute(&sandbox, &doubling(22)).await;
    assert_eq!(
        (code, output.trim()),
        (0, "4194304"),
        "the positive control: 4 MiB are there"
    );

    for _ in 0..3 {
        // Double the limit, and as much again while it is copied.
        let (code, output) = host.execute(&sandbox, &doubling(27)).await;
        assert_eq!(code, 137, "{output}");
    }
    let (code, output) = host.execute(&sandbox, "echo lives").await;
    assert_eq!((code, output.as_str()), (0, "lives\n"));
    let used = host.runner.memory_bytes(&sandbox).unwrap();
    assert!(used > 0 && used <= 64 << 20, "{used} bytes are charged");
    remove(host, &sandbox).await;
}

#[tokio::test]
async fn a_sandbox_makes_no_more_processes_than_it_may_and_all_of_them_go_with_it() {
    let host = TestRunner::start().await;
    let sandbox = run_limited(&host, "processes", |r| r.pids = 40).await;
    let burst =
        "i=0; while [ $i -lt 200 ]; do sleep 1000 >/dev/null 2>&1 & i=$((i+1)); done; echo all";
    let (code, output) = host.execute(&sandbox, burst).await;
    assert!(code != 0 && !output.contains("all"), "{code}: {output}");
    let count = host.traces().processes.len();
    assert!((20..=40).contains(&count), "{count} processes");

    // The control: with room for them, all come up.
    let roomy = run_limited(&host, "roomy", |r| r.pids = 400).await;
    let (code, output) = host.execute(&roomy, burst).await;
    assert_eq!((code, output.trim()), (0, "all"));
    host.apply(&roomy, 2, Goal::Absent).await;
    remove(host, &sandbox).await;
}

/// Processor seconds that a busy loop gets in 2 seconds by the clock, and the seconds by our clock.
async fn busy_seconds(host: &TestRunner, sandbox: &SandboxId) -> (f64, f64) {
    let start = Instant::now();
    let loop_for_two = "timeout 2 sh -c 'while :; do :; done'; times";
    let (_, output) = host.execute(sandbox, loop_for_two).await;
    // The second line is about children: user and system, as in `0m1.980s 0m0.010s`.
    let line = output.lines().last().unwrap();
    let seconds = line.split_whitespace().map(|text| {
        let (minutes, seconds) = text.trim_end_matches('s').split_once('m').unwrap();
        minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
    });
    (seconds.sum(), start.elapsed().as_secs_f64())
}

#[tokio::test]
async fn a_sandbox_gets_no_more_processor_time_than_it_may() {
    let host = TestRunner::start().await;
    let limited = run_limited(&host, "tenth", |r| r.cpu_millis = 100).await;
    let (used, elapsed) = busy_seconds(&host, &limited).await;
    // A period may be overrun by one tick of each processor.
    assert!(
        used <= elapsed * 0.1 + 0.1,
        "{used} s of processor time in {elapsed} s"
    );
    let free = run_limited(&host, "whole", |r| r.cpu_millis = 1000).await;
    let (control, _) = busy_seconds(&host, &free).await;
    assert!(
        control > used * 1.5,
        "the control got {control} s, the limited one {used} s"
    );
    host.apply(&free, 2, Goal::Absent).await;
    remove(host, &limited).await;
}

#[tokio::test]
async fn a_sandbox_that_forks_all_the_time_is_ended_and_leaves_nothing() {
    let host = TestRunner::start().await;
    let sandbox = run_limited(&host, "forks", |r| r.pids = 60).await;
    let restless =
        "f() { while :; do sleep 0.01; (:) & done; }; f >/dev/null 2>&1 & f >/dev/null 2>&1 &";
    host.execute(&sandbox, restless).await;
    let start = Instant::now();
    remove(host, &sandbox).await;
    let limit = alcove_e2e::wait::patience(Duration::from_secs(10));
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
}

async fn sample(host: &TestRunner, sandbox: &SandboxId) -> Sample {
    let samples = host.runner.samples().await;
    let found = samples.into_iter().find(|one| one.sandbox == *sandbox);
    found.expect("it has processes")
}

#[tokio::test]
async fn what_a_sandbox_uses_is_seen_from_the_host() {
    let host = TestRunner::start().await;
    let sandbox = run_limited(&host, "used", |r| {
        r.cpu_millis = 700;
        r.memory_bytes = 200 << 20;
    })
    .await;
    let before = sample(&host, &sandbox).await;
    assert_eq!(before.cpu_millis, 700);
    assert_eq!(before.memory_limit_bytes, 200 << 20);
    assert!(before.memory_bytes > 0, "{before:?}");

    // 16 MiB on the disk, some processor time, and a question to the resolver, whatever that says.
    let work = "head -c 16777216 /dev/urandom > /tmp/file && sync /tmp/file && \
        { timeout 3 nslookup a-name-of-some-length.invalid || true; } && \
        awk 'BEGIN { for (i = 0; i < 3000000; i++) s += i }'";
    let began = Instant::now();
    let (code, output) = host.execute(&sandbox, work).await;
    assert_eq!(code, 0, "{output}");
    let passed = began.elapsed();
    let after = sample(&host, &sandbox).await;
    let (before_cpu, after_cpu) = (before.cpu_used.unwrap(), after.cpu_used.unwrap());
    let used = after_cpu.checked_sub(before_cpu).expect("it only grows");
    assert!(used > Duration::from_millis(50), "{used:?} of {passed:?}");
    // A period of the kernel's at the ends.
    assert!(
        used <= passed.mul_f64(0.7) + Duration::from_millis(300),
        "{used:?} of {passed:?}"
    );
    let (before_disk, after_disk) = (before.disk.unwrap(), after.disk.unwrap());
    let written = after_disk.used_bytes - before_disk.used_bytes;
    assert!((15 << 20..40 << 20).contains(&written), "{written}");
    assert_eq!(after_disk.total_bytes, before_disk.total_bytes);
    assert!(after.cache_bytes > before.cache_bytes, "{after:?}");
    let (before_net, after_net) = (before.network.unwrap(), after.network.unwrap());
    let sent = after_net.sent_bytes - before_net.sent_bytes;
    assert!((40..1 << 20).contains(&sent), "{sent}");

    // Held still it is seen, and uses nothing more; stopped it is not.
    host.apply(&sandbox, 2, Goal::Paused).await;
    let first = sample(&host, &sandbox).await;
    let second = sample(&host, &sandbox).await;
    assert_eq!(first.cpu_used, second.cpu_used);
    let grace = Duration::ZERO;
    host.apply(&sandbox, 3, Goal::Stopped { grace }).await;
    assert!(host.runner.samples().await.is_empty());
    host.apply(&sandbox, 4, Goal::Absent).await;
    host.expect_nothing_left().await;
    host.runner.close().await;
}
