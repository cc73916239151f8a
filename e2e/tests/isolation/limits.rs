//! What a sandbox may use: memory, processes, disk, processors.

use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

use alcove_e2e::runner::TestRunner;
use alcove_e2e::wait;
use alcove_runner_api::{Goal, Observed, Resources, SandboxSpec};

use crate::support::Inside;

fn limited(change: impl FnOnce(&mut Resources)) -> impl FnOnce(SandboxSpec) -> SandboxSpec {
    |mut spec| {
        change(&mut spec.resources);
        spec
    }
}

const MEMORY_NOW: [&str; 2] = ["memory.current", "memory.usage_in_bytes"];
const MEMORY_PEAK: [&str; 2] = ["memory.peak", "memory.max_usage_in_bytes"];
const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_program_that_wants_too_much_memory_is_killed_and_the_agent_lives() {
    let host = TestRunner::start().await;
    let small = limited(|resources| resources.memory_bytes = 64 * MIB);
    let inside = Inside::start(&host, "small", small).await;
    let neighbour = Inside::as_user(&host).await;
    let agent = inside.agent_pid();
    assert_eq!(inside.probe("eat 16").await, "ok 16", "the control");
    for _ in 0..3 {
        let (code, output) = inside.sh("/tmp/probe eat 200").await;
        assert_eq!(code, 137, "{output}");
    }
    assert!(inside.figure(MEMORY_PEAK) <= 64 * MIB);
    assert!(
        inside.figure(MEMORY_PEAK) > 48 * MIB,
        "the control: the figure moves"
    );
    assert_eq!(inside.agent_pid(), agent);
    assert_eq!(inside.probe("eat 16").await, "ok 16");
    assert_eq!(neighbour.probe("eat 100").await, "ok 100");
}

#[tokio::test]
async fn files_in_memory_count_as_memory() {
    let host = TestRunner::start().await;
    let small = limited(|resources| resources.memory_bytes = 64 * MIB);
    let inside = Inside::start(&host, "small", small).await;
    let before = inside.figure(MEMORY_NOW);
    inside
        .expect("dd if=/dev/zero of=/dev/shm/a bs=1M count=20 2>/dev/null")
        .await;
    let after = inside.figure(MEMORY_NOW);
    assert!(after > before + 18 * MIB, "{before} {after}");
    // Half of the memory is all that goes in there.
    let (code, output) = inside
        .sh("dd if=/dev/zero of=/dev/shm/b bs=1M count=40 2>&1")
        .await;
    assert!(code != 0 && output.contains("No space left"), "{output}");
    assert!(inside.figure(MEMORY_PEAK) <= 64 * MIB);
    let (code, output) = inside
        .sh("dd if=/dev/zero of=/dev/c bs=1M count=1 2>&1")
        .await;
    assert_ne!(code, 0, "{output}");
    inside
        .expect("rm /dev/shm/a /dev/shm/b && echo alive")
        .await;
}

#[tokio::test]
async fn a_fork_bomb_ends_at_the_sandbox() {
    let host = TestRunner::start().await;
    let few = limited(|resources| (resources.pids, resources.cpu_millis) = (64, 300));
    let inside = Inside::start(&host, "bomb", few).await;
    let neighbour = Inside::as_user(&host).await;
    let made = inside.probe("children 1000").await;
    let made: u32 = made.strip_prefix("ok ").unwrap().parse().unwrap();
    assert!((32..64).contains(&made), "{made}");
    assert_eq!(
        neighbour.probe("children 100").await,
        "ok 100",
        "the control"
    );

    // Ends by itself, should it get away.
    inside
        .expect("/tmp/probe bomb 30000 >/dev/null 2>&1 &")
        .await;
    let pids = ["pids.current", "pids.current"];
    alcove_e2e::wait::until("a bomb that went off", async || {
        let now = inside.figure(pids);
        if now >= 60 { Ok(()) } else { Err(now) }
    })
    .await;
    for _ in 0..20 {
        assert!(inside.figure(pids) <= 64);
        let start = Instant::now();
        let (status, _) = host
            .call(&inside.id, "GET", "/version", Vec::new().into())
            .await;
        assert_eq!(status, 200, "the agent answers");
        assert!(start.elapsed().as_secs() < 5);
        assert_eq!(neighbour.expect("echo alive").await, "alive");
    }
    let report = host.apply(&inside.id, 2, Goal::Absent).await;
    assert_eq!(report.observed, Observed::Absent);
    assert_eq!(neighbour.expect("echo alive").await, "alive");
}

#[tokio::test]
async fn a_full_disk_is_full_for_its_sandbox_only() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    let limit = host.spec().resources.disk_bytes;
    for inside in [&user, &root] {
        let (code, output) = inside
            .sh("dd if=/dev/zero of=/tmp/full bs=1M count=200 2>&1")
            .await;
        assert!(code != 0 && output.contains("No space left"), "{output}");
        let written: u64 = inside.expect("stat -c %s /tmp/full").await.parse().unwrap();
        assert!(written > limit / 4 && written < limit, "{written}");
        let (code, _) = inside
            .sh("dd if=/dev/zero of=/tmp/more bs=1M count=1 2>/dev/null")
            .await;
        assert_ne!(code, 0);
    }
    for inside in [&user, &root] {
        let disk = host
            .data_dir()
            .join("runner/disks")
            .join(format!("{}.ext4", inside.id));
        let disk = std::fs::metadata(disk).unwrap();
        let blocks = disk.blocks() * 512;
        assert!(
            disk.len() <= limit && blocks <= limit + MIB,
            "{} {blocks}",
            disk.len()
        );
    }
    let late = Inside::start(&host, "late", |spec| spec).await;
    late.expect("dd if=/dev/zero of=/tmp/file bs=1M count=10 2>/dev/null")
        .await;
    user.expect("rm /tmp/full && echo again >/tmp/more").await;
}

#[tokio::test]
async fn a_disk_without_room_for_names_is_so_for_its_sandbox_only() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    user.expect("mkdir /tmp/many").await;
    let outcome = user.probe("files /tmp/many 1000000").await;
    let (count, reason) = outcome
        .strip_prefix("ok ")
        .unwrap()
        .split_once(' ')
        .unwrap();
    assert_eq!(reason, "ENOSPC");
    assert!(count.parse::<u32>().unwrap() > 1000, "{count}");
    assert_eq!(user.expect("echo alive").await, "alive");
    root.expect("mkdir /tmp/many").await;
    assert_eq!(
        root.probe("files /tmp/many 1000").await,
        "ok no end",
        "the control"
    );
}

#[tokio::test]
async fn a_busy_program_gets_its_share_of_the_processors_and_no_more() {
    let host = TestRunner::start().await;
    let start = |name, millis| {
        Inside::start(
            &host,
            name,
            limited(move |resources| resources.cpu_millis = millis),
        )
    };
    let slow = start("slow", 200).await;
    let fast = start("fast", 2000).await;
    let share = async |inside: &Inside<'_>| {
        let start = Instant::now();
        let used = inside.probe("spin 4 1500").await;
        let used: f64 = used.strip_prefix("ok ").unwrap().parse().unwrap();
        used / (start.elapsed().as_secs_f64() * 1000.0)
    };
    // On a busy host it may take more than one run until it comes to its limit.
    wait::until("the slow one is held back", async || {
        let share = share(&slow).await;
        assert!(share < 0.2 * 1.5, "{share}");
        assert!(share > 0.02, "the control: it ran: {share}");
        match slow.times_held_back() {
            3.. => Ok(()),
            times => Err(times),
        }
    })
    .await;
    share(&fast).await;
    // What a busy machine leaves for the second says nothing; that it was held back less does.
    let (slow, fast) = (slow.times_held_back(), fast.times_held_back());
    assert!(fast < slow, "the control: {slow} and {fast}");
}
