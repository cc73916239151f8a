//! What a runner makes of real sandboxes: held still, resized, copied, captured, archived and brought back.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::SandboxId;
use alcove_e2e::runner::TestRunner;
use alcove_e2e::wait;
use alcove_runner::faults::{Faults, Step};
use alcove_runner::limits::Limits;
use alcove_runner_api::{
    DiskOrigin, FaultCode, Generation, Goal, ImageEntry, Observed, Resources, SandboxSpec, Work,
};
use tokio::sync::Notify;

const DONE: Option<Work> = Some(Work::Done { image: None });

fn stop() -> Goal {
    Goal::Stopped {
        grace: Duration::from_secs(5),
    }
}

fn existing(spec: SandboxSpec) -> Goal {
    Goal::Running(SandboxSpec {
        disk: DiskOrigin::Existing,
        ..spec
    })
}

fn root(spec: SandboxSpec) -> SandboxSpec {
    SandboxSpec {
        user: "root".to_owned(),
        ..spec
    }
}

async fn runs(host: &TestRunner, sandbox: &SandboxId, generation: u64, goal: Goal) {
    let report = host.apply(sandbox, generation, goal).await;
    assert!(
        matches!(report.observed, Observed::Running { .. }),
        "{report:?}"
    );
}

async fn says(host: &TestRunner, sandbox: &SandboxId, command: &str) -> String {
    let (code, output) = host.execute(sandbox, command).await;
    assert_eq!(code, 0, "{command}: {output}");
    output
}

fn archive_of(host: &TestRunner, sandbox: &SandboxId) -> PathBuf {
    let name = format!("{sandbox}.archive");
    host.data_dir().join("archive").join(name)
}

fn disks(host: &TestRunner) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(host.data_dir().join("runner/disks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

async fn end(host: TestRunner, sandboxes: &[&SandboxId]) {
    for sandbox in sandboxes {
        let report = host.apply(sandbox, 1000, Goal::Absent).await;
        assert_eq!(report.observed, Observed::Absent);
    }
    host.expect_nothing_left().await;
    assert!(disks(&host).is_empty(), "{:?}", disks(&host));
    host.runner.close().await;
}

#[tokio::test]
async fn a_paused_sandbox_stands_still_and_goes_on_where_it_was() {
    let host = TestRunner::start().await;
    let sandbox = host.run("paused").await;
    let counter = "sh -c 'n=0; while :; do n=$((n+1)); echo $n > count; sleep 0.02; done' \
                   </dev/null >/dev/null 2>&1 & echo $!";
    let pid = says(&host, &sandbox, counter).await;
    let report = host.apply(&sandbox, 2, Goal::Paused).await;
    assert_eq!(report.work, DONE);
    assert!(matches!(report.observed, Observed::Paused { .. }));
    assert!(host.runner.dial_agent(&sandbox).await.is_err());

    // Another server finds it as it is.
    let host = host.reopen().await;
    let found = host.runner.inventory();
    assert!(
        matches!(found[0].observed, Observed::Paused { .. }),
        "{found:?}"
    );
    runs(&host, &sandbox, 3, Goal::Running(host.spec())).await;
    let before = says(&host, &sandbox, "cat count").await;
    says(&host, &sandbox, &format!("kill -0 {pid}")).await;
    wait::until("the counter goes on", async || {
        let now = says(&host, &sandbox, "cat count").await;
        if now == before { Err(now) } else { Ok(()) }
    })
    .await;

    // A paused one can be stopped, and removed, without being let go first.
    host.apply(&sandbox, 4, Goal::Paused).await;
    let report = host.apply(&sandbox, 5, stop()).await;
    assert_eq!(report.observed, Observed::Stopped { fault: None });
    runs(&host, &sandbox, 6, Goal::Running(host.spec())).await;
    host.apply(&sandbox, 7, Goal::Paused).await;
    end(host, &[&sandbox]).await;
}

#[tokio::test]
async fn a_pause_that_a_kill_cuts_short_before_all_is_held_never_was() {
    let host = TestRunner::start().await;
    let sandbox = host.run("cut").await;
    host.apply(&sandbox, 2, Goal::Paused).await;
    // As it is between the record and the first process that is held.
    let limits = Limits::open(&host.config.cgroup_parent).unwrap();
    limits.group(&sandbox).thaw().unwrap();
    wait::until("the processes go on", async || {
        let is_frozen = limits.group(&sandbox).is_frozen();
        if is_frozen { Err(is_frozen) } else { Ok(()) }
    })
    .await;
    let host = host.reopen().await;
    let found = host.runner.inventory();
    assert!(
        matches!(found[0].observed, Observed::Running { .. }),
        "{found:?}"
    );
    assert_eq!(says(&host, &sandbox, "echo on").await, "on\n");
    let report = host.apply(&sandbox, 2, Goal::Paused).await;
    assert!(matches!(report.observed, Observed::Paused { .. }));
    assert!(limits.group(&sandbox).is_frozen());
    end(host, &[&sandbox]).await;
}

#[tokio::test]
async fn limits_change_while_it_runs_and_a_disk_grows_while_it_is_stopped() {
    let host = TestRunner::start().await;
    let sandbox = host.run("sized").await;
    says(&host, &sandbox, "echo kept > file").await;
    let larger = Resources {
        memory_bytes: 512 << 20,
        cpu_millis: 2000,
        ..host.spec().resources
    };
    let report = host.apply(&sandbox, 2, Goal::Resized(larger)).await;
    assert_eq!(report.work, DONE);
    assert!(matches!(report.observed, Observed::Running { .. }));
    // More than the 256 MiB of before, and less than now.
    let eat = "head -c 300m /dev/zero | tail -c 300m | wc -c";
    assert_eq!(says(&host, &sandbox, eat).await, "314572800\n");

    host.apply(&sandbox, 3, stop()).await;
    let larger = Resources {
        disk_bytes: 256 << 20,
        ..larger
    };
    let report = host.apply(&sandbox, 4, Goal::Resized(larger)).await;
    assert_eq!(report.work, DONE, "{report:?}");
    assert_eq!(report.observed, Observed::Stopped { fault: None });
    let again = host.apply(&sandbox, 4, Goal::Resized(larger)).await;
    assert_eq!(again.work, DONE);
    runs(&host, &sandbox, 5, Goal::Running(host.spec())).await;
    assert_eq!(says(&host, &sandbox, "cat file").await, "kept\n");
    // More than the whole disk of before.
    says(&host, &sandbox, "head -c 72m /dev/zero > big").await;
    end(host, &[&sandbox]).await;
}

#[tokio::test]
async fn an_archived_sandbox_has_no_disk_and_comes_back_whole() {
    let host = TestRunner::start().await;
    let sandbox = host.run_with("put-away", root).await;
    let write = "echo kept > f; ln -s f link; ln f hard; mkdir d; chown 1000:1000 d; chmod 4755 f; \
                 head -c 3m /dev/urandom > noise; sha256sum noise > sum";
    says(&host, &sandbox, write).await;
    let running = host.apply(&sandbox, 2, Goal::Archived).await;
    assert!(
        matches!(running.work, Some(Work::Undone { .. })),
        "{running:?}"
    );
    assert!(matches!(running.observed, Observed::Running { .. }));
    host.apply(&sandbox, 3, stop()).await;
    let report = host.apply(&sandbox, 4, Goal::Archived).await;
    assert_eq!((report.work, report.observed), (DONE, Observed::Archived));
    assert!(disks(&host).is_empty());
    assert!(archive_of(&host, &sandbox).exists());

    let host = host.reopen().await;
    assert_eq!(host.runner.inventory()[0].observed, Observed::Archived);
    let spec = root(host.spec());
    runs(&host, &sandbox, 5, existing(spec)).await;
    assert!(!archive_of(&host, &sandbox).exists());
    let look = "cat link; stat -c '%u %a %h' d f; sha256sum -c sum";
    let found = says(&host, &sandbox, look).await;
    assert_eq!(found, "kept\n1000 755 2\n0 4755 2\nnoise: OK\n");

    // Gone from the archive too.
    host.apply(&sandbox, 6, stop()).await;
    host.apply(&sandbox, 7, Goal::Archived).await;
    host.apply(&sandbox, 8, Goal::Absent).await;
    assert!(!archive_of(&host, &sandbox).exists());
    end(host, &[]).await;
}

#[tokio::test]
async fn what_a_kill_leaves_of_an_archive_or_a_restore_is_one_sandbox() {
    let host = TestRunner::start().await;
    let sandbox = host.run("torn").await;
    says(&host, &sandbox, "echo kept > file").await;
    host.apply(&sandbox, 2, stop()).await;
    let disk = host.data_dir().join(format!("runner/disks/{sandbox}.ext4"));
    let record = host
        .data_dir()
        .join(format!("runner/journal/{sandbox}.json"));
    let aside = tempfile::tempdir().unwrap();
    let (kept_disk, kept_record) = (aside.path().join("disk"), aside.path().join("record"));
    std::fs::copy(&disk, &kept_disk).unwrap();
    std::fs::copy(&record, &kept_record).unwrap();
    host.apply(&sandbox, 3, Goal::Archived).await;

    // Killed before the record went: the disk is the sandbox, and the archive a leftover.
    let archive = archive_of(&host, &sandbox);
    std::fs::copy(&kept_disk, &disk).unwrap();
    std::fs::copy(&kept_record, &record).unwrap();
    let host = host.reopen().await;
    let found = host.runner.inventory();
    assert_eq!(found[0].observed, Observed::Stopped { fault: None });
    assert!(!archive.exists());
    host.apply(&sandbox, 4, Goal::Archived).await;

    // Killed before the disk went: the archive is the sandbox, and the disk a leftover.
    std::fs::copy(&kept_disk, &disk).unwrap();
    let host = host.reopen().await;
    assert_eq!(host.runner.inventory()[0].observed, Observed::Archived);
    assert!(!disk.exists());
    runs(&host, &sandbox, 5, existing(host.spec())).await;
    assert_eq!(says(&host, &sandbox, "cat file").await, "kept\n");
    end(host, &[&sandbox]).await;
}

#[tokio::test]
async fn a_copy_of_a_running_sandbox_has_its_files_and_a_life_of_its_own() {
    let host = TestRunner::start().await;
    let parent = host.run_with("parent", root).await;
    let child: SandboxId = "child".parse().unwrap();
    let write = "echo kept > file; chown 1000 file; rm /etc/group; \
                 (while :; do echo x >> log; sleep 0.01; done) </dev/null >/dev/null 2>&1 &";
    says(&host, &parent, write).await;
    let goal = || Goal::Copied {
        child: child.clone(),
        child_generation: Generation(1),
    };
    let report = host.apply(&parent, 2, goal()).await;
    assert_eq!(report.work, DONE);
    assert!(matches!(report.observed, Observed::Running { .. }));
    let again = host.apply(&parent, 2, goal()).await;
    assert_eq!(again.work, DONE);

    runs(&host, &child, 2, existing(root(host.spec()))).await;
    let look =
        "cat file; stat -c %u file; test -e /etc/group || echo gone; hostname; cat /etc/hostname";
    assert_eq!(
        says(&host, &child, look).await,
        "kept\n1000\ngone\nchild\nchild\n"
    );
    says(&host, &child, "echo other > file").await;
    assert_eq!(says(&host, &parent, "cat file").await, "kept\n");
    // The parent's writer was only made to wait.
    let before = says(&host, &parent, "wc -c < log").await;
    wait::until("the writer goes on", async || {
        let now = says(&host, &parent, "wc -c < log").await;
        if now == before { Err(now) } else { Ok(()) }
    })
    .await;

    // One that was ordered away before it came is not made.
    let late: SandboxId = "late".parse().unwrap();
    host.apply(&late, 2, Goal::Absent).await;
    let goal = Goal::Copied {
        child: late.clone(),
        child_generation: Generation(1),
    };
    assert_eq!(host.apply(&parent, 3, goal).await.work, DONE);
    assert_eq!(disks(&host), ["child.ext4", "parent.ext4"]);
    end(host, &[&parent, &child]).await;
}

/// Tells when a step is reached.
#[derive(Debug)]
struct TellOf(Step, Notify);

impl Faults for TellOf {
    fn at(&self, step: Step) -> io::Result<()> {
        if step == self.0 {
            self.1.notify_one();
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_copy_whose_caller_goes_away_and_asks_again_is_taken_in_once() {
    let reached = Arc::new(TellOf(Step::DiskCopied, Notify::new()));
    let host = TestRunner::start_with_faults(reached.clone()).await;
    let parent = host.run("parent").await;
    says(&host, &parent, "echo kept > file").await;
    let child: SandboxId = "child".parse().unwrap();
    let goal = || Goal::Copied {
        child: child.clone(),
        child_generation: Generation(1),
    };
    tokio::select! {
        biased;
        () = reached.1.notified() => {}
        report = host.apply(&parent, 2, goal()) => panic!("it came to its end before: {report:?}"),
    }
    wait::until("the copy is taken in", async || {
        let found = host.runner.inventory();
        if found.len() == 2 { Ok(()) } else { Err(found) }
    })
    .await;
    let late: SandboxId = "late".parse().unwrap();
    let goal = || Goal::Copied {
        child: late.clone(),
        child_generation: Generation(1),
    };
    let (first, second) = tokio::join!(
        host.apply(&parent, 3, goal()),
        host.apply(&parent, 3, goal())
    );
    assert_eq!((first.work, second.work), (DONE, DONE));
    for copy in [&child, &late] {
        runs(&host, copy, 2, existing(host.spec())).await;
        assert_eq!(says(&host, copy, "cat file").await, "kept\n");
    }
    end(host, &[&parent, &child, &late]).await;
}

async fn captured(host: &TestRunner, sandbox: &SandboxId, generation: u64) -> ImageEntry {
    let name = "+snapshot-1".to_owned();
    let report = host
        .apply(sandbox, generation, Goal::Captured { name })
        .await;
    match report.work {
        Some(Work::Done { image: Some(image) }) => image,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_captured_sandbox_is_an_image_with_all_that_was_done_to_it() {
    let host = TestRunner::start().await;
    let source = host.run_with("source", root).await;
    // What is of the image: removed, renamed, replaced, changed; and what is new.
    let change = "cd /; mv /etc /etc2; mkdir /etc; cp /etc2/passwd /etc2/group /etc/; \
                  rm -r /home/daytona; mkdir /home/daytona; chown 1000:1000 /home/daytona; \
                  echo new > /home/daytona/file; ln /home/daytona/file /home/daytona/hard; \
                  ln -s file /home/daytona/link; mkfifo /home/daytona/pipe; \
                  chmod 2750 /home/daytona/file; touch -d '2001-02-03 04:05:06' /home/daytona/file";
    says(&host, &source, change).await;
    let image = captured(&host, &source, 2).await;
    assert_eq!(
        captured(&host, &source, 2).await,
        image,
        "found, not made again"
    );
    assert_eq!(image.user, "daytona");

    let spec = SandboxSpec {
        image: image.digest.clone(),
        ..root(host.spec())
    };
    let second: SandboxId = "second".parse().unwrap();
    runs(&host, &second, 1, Goal::Running(spec.clone())).await;
    let look = "cd /home/daytona; ls -A; stat -c '%a %h %Y' file; cat hard link; test -p pipe; \
                ls /etc2/passwd; ls /etc | grep -c passwd; hostname; cat /etc/hostname";
    let found = says(&host, &second, look).await;
    assert_eq!(
        found,
        "file\nhard\nlink\npipe\n2750 2 981173106\nnew\nnew\n/etc2/passwd\n1\nsecond\nsecond\n"
    );

    // An image of an image, after a restart of the runner.
    let host = host.reopen().await;
    says(&host, &second, "rm /home/daytona/hard; rm -r /etc2").await;
    let name = "+snapshot-2".to_owned();
    let report = host.apply(&second, 2, Goal::Captured { name }).await;
    let Some(Work::Done { image: Some(image) }) = report.work else {
        panic!("{report:?}")
    };
    let spec = SandboxSpec {
        image: image.digest,
        ..spec
    };
    let third: SandboxId = "third".parse().unwrap();
    runs(&host, &third, 1, Goal::Running(spec)).await;
    let look = "ls -A /home/daytona; test -e /etc2 || echo gone";
    assert_eq!(says(&host, &third, look).await, "file\nlink\npipe\ngone\n");
    end(host, &[&source, &second, &third]).await;
}

#[tokio::test]
async fn a_newer_order_ends_an_archive_halfway_and_nothing_is_lost() {
    let host = TestRunner::start_with(|config| config).await;
    let sandbox = host.run("called-back").await;
    says(
        &host,
        &sandbox,
        "head -c 16m /dev/urandom > noise; sha256sum noise > sum",
    )
    .await;
    host.apply(&sandbox, 2, stop()).await;
    let archiving = host.apply(&sandbox, 3, Goal::Archived);
    let starting = host.apply(&sandbox, 4, existing(host.spec()));
    let (_, started) = tokio::join!(archiving, starting);
    assert!(
        matches!(started.observed, Observed::Running { .. }),
        "{started:?}"
    );
    assert_eq!(
        says(&host, &sandbox, "sha256sum -c sum").await,
        "noise: OK\n"
    );
    assert!(!archive_of(&host, &sandbox).exists());
    end(host, &[&sandbox]).await;
}

#[tokio::test]
async fn files_that_are_lost_are_not_replaced_by_none() {
    let host = TestRunner::start().await;
    let sandbox: SandboxId = "lost".parse().unwrap();
    let report = host.apply(&sandbox, 2, existing(host.spec())).await;
    let Observed::Failed { fault, has_disk } = report.observed else {
        panic!("{report:?}")
    };
    assert_eq!((fault.code, has_disk), (FaultCode::Lost, false));
    end(host, &[]).await;
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
async fn work_that_fails_at_any_step_leaves_the_sandbox_as_it_was_and_succeeds_the_next_time() {
    let faults = Arc::new(FailAt::default());
    let host = TestRunner::start_with_faults(faults.clone()).await;
    let sandbox = host.run("tried").await;
    says(&host, &sandbox, "echo kept > file").await;
    let child: SandboxId = "child".parse().unwrap();
    let larger = |disk_bytes| Resources {
        disk_bytes,
        ..host.spec().resources
    };
    let copy = || Goal::Copied {
        child: child.clone(),
        child_generation: Generation(1),
    };
    let name = || "+snapshot-1".to_owned();
    let mut generation = 2;
    for (step, goal) in [
        (Step::HoldNoted, Goal::Paused),
        (Step::Held, Goal::Paused),
        (Step::Sized, Goal::Resized(larger(64 << 20))),
        (Step::DiskCopied, copy()),
        (Step::ChildRecorded, copy()),
        (Step::DiskCopied, Goal::Captured { name: name() }),
    ] {
        *faults.0.lock().unwrap() = Some(step);
        let report = host.apply(&sandbox, generation, goal).await;
        let Some(Work::Undone { fault }) = report.work else {
            panic!("{step:?} did not fail: {report:?}");
        };
        assert_eq!(fault.code, FaultCode::HostDiskFull, "{step:?}");
        assert!(
            matches!(report.observed, Observed::Running { .. }),
            "{step:?}"
        );
        *faults.0.lock().unwrap() = None;
        assert_eq!(
            says(&host, &sandbox, "cat file").await,
            "kept\n",
            "{step:?}"
        );
        assert_eq!(disks(&host), ["tried.ext4"], "{step:?}");
        generation += 1;
    }
    host.apply(&sandbox, generation, stop()).await;
    for (step, goal) in [
        (Step::DiskGrown, Goal::Resized(larger(128 << 20))),
        (Step::ArchiveWritten, Goal::Archived),
    ] {
        *faults.0.lock().unwrap() = Some(step);
        let report = host.apply(&sandbox, generation + 1, goal.clone()).await;
        assert!(
            matches!(report.work, Some(Work::Undone { .. })),
            "{step:?}: {report:?}"
        );
        assert_eq!(
            report.observed,
            Observed::Stopped { fault: None },
            "{step:?}"
        );
        assert_eq!(disks(&host), ["tried.ext4"], "{step:?}");
        assert!(!archive_of(&host, &sandbox).exists(), "{step:?}");
        *faults.0.lock().unwrap() = None;
        let report = host.apply(&sandbox, generation + 2, goal).await;
        assert_eq!(report.work, DONE, "{step:?}");
        generation += 2;
    }
    for step in [Step::RestoreWritten, Step::RestoreRecorded] {
        *faults.0.lock().unwrap() = Some(step);
        generation += 1;
        let report = host
            .apply(&sandbox, generation, existing(host.spec()))
            .await;
        assert!(
            matches!(report.observed, Observed::Failed { has_disk: true, .. }),
            "{step:?}: {report:?}"
        );
        assert!(disks(&host).is_empty(), "{step:?}");
        assert!(archive_of(&host, &sandbox).exists(), "{step:?}");
    }
    *faults.0.lock().unwrap() = None;
    runs(&host, &sandbox, generation + 1, existing(host.spec())).await;
    assert_eq!(says(&host, &sandbox, "cat file").await, "kept\n");
    end(host, &[&sandbox]).await;
}
