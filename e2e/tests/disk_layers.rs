//! Snapshots whose layer is a copy of a disk: shared, stacked, turned into files, kept over restarts.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use alcove_domain::SandboxId;
use alcove_e2e::runner::TestRunner;
use alcove_runner_api::{Goal, ImageDigest, ImageEntry, Needed, Observed, SandboxSpec, Work};

async fn says(host: &TestRunner, sandbox: &SandboxId, command: &str) -> String {
    let (code, output) = host.execute(sandbox, command).await;
    assert_eq!(code, 0, "{command}: {output}");
    output
}

async fn captured(
    host: &TestRunner,
    sandbox: &SandboxId,
    generation: u64,
    name: &str,
) -> ImageEntry {
    let name = name.to_owned();
    let report = host
        .apply(sandbox, generation, Goal::Captured { name })
        .await;
    match report.work {
        Some(Work::Done { image: Some(image) }) => image,
        other => panic!("{other:?}"),
    }
}

async fn run_on(host: &TestRunner, name: &str, image: &ImageDigest) -> SandboxId {
    host.run_with(name, |spec| SandboxSpec {
        image: image.clone(),
        user: "root".to_owned(),
        ..spec
    })
    .await
}

fn stop() -> Goal {
    Goal::Stopped {
        grace: Duration::from_secs(5),
    }
}

/// Files of layers that are disks.
fn disks(host: &TestRunner) -> Vec<PathBuf> {
    let layers = std::fs::read_dir(host.data_dir().join("images/layers")).unwrap();
    layers
        .map(|layer| layer.unwrap().path().join("disk.ext4"))
        .filter(|disk| disk.exists())
        .collect()
}

/// Loop devices that stand on a layer.
fn devices_on(file: &Path) -> usize {
    let blocks = std::fs::read_dir("/sys/block").unwrap();
    blocks
        .filter(|block| {
            let path = block.as_ref().unwrap().path().join("loop/backing_file");
            std::fs::read_to_string(path).is_ok_and(|text| Path::new(text.trim_end()) == file)
        })
        .count()
}

async fn end(host: TestRunner, sandboxes: &[&SandboxId]) {
    for sandbox in sandboxes {
        let report = host.apply(sandbox, 1000, Goal::Absent).await;
        assert_eq!(report.observed, Observed::Absent);
    }
    host.expect_nothing_left().await;
    host.runner.close().await;
}

#[tokio::test]
async fn sandboxes_of_one_snapshot_share_its_device_also_after_a_restart_and_write_apart() {
    let host = TestRunner::start().await;
    let source = run_on(&host, "source", &host.image).await;
    says(
        &host,
        &source,
        "echo kept > /file; mv /etc /etc2; mkdir /etc; cp /etc2/passwd /etc2/group /etc",
    )
    .await;
    let image = captured(&host, &source, 2, "+snapshot-1").await;
    let layers = disks(&host);
    assert_eq!(layers.len(), 1, "a snapshot is one disk");
    assert_eq!(devices_on(&layers[0]), 0, "and rests on no device");

    let one = run_on(&host, "one", &image.digest).await;
    let host = host.reopen().await;
    let two = run_on(&host, "two", &image.digest).await;
    assert_eq!(devices_on(&layers[0]), 1);
    for sandbox in [&one, &two] {
        assert_eq!(says(&host, sandbox, "cat /file").await, "kept\n");
        says(&host, sandbox, "ls /etc2/passwd && rm /etc2/passwd").await;
        says(
            &host,
            sandbox,
            &format!("echo {sandbox} > /file; rm -r /etc2"),
        )
        .await;
    }
    assert_eq!(says(&host, &one, "cat /file").await, "one\n");
    assert_eq!(
        says(&host, &source, "cat /file; ls /etc2/passwd").await,
        "kept\n/etc2/passwd\n"
    );

    // What needs it keeps it, a stopped sandbox too.
    host.apply(&one, 3, stop()).await;
    host.apply(&two, 3, Goal::Absent).await;
    host.runner.release_image("+snapshot-1").await.unwrap();
    let collected = host.runner.collect(Needed::default()).await.unwrap();
    assert_eq!(collected.layers, 0);
    let spec = SandboxSpec {
        image: image.digest.clone(),
        ..host.spec()
    };
    host.apply(&one, 4, Goal::Running(spec)).await;
    assert_eq!(says(&host, &one, "cat /file").await, "one\n");
    for sandbox in [&one, &source] {
        host.apply(sandbox, 5, Goal::Absent).await;
    }
    let collected = host.runner.collect(Needed::default()).await.unwrap();
    assert_eq!(collected.layers, 1);
    assert_eq!(disks(&host), Vec::<PathBuf>::new());
    end(host, &[&one, &two, &source]).await;
}

#[tokio::test]
async fn snapshots_of_snapshots_become_files_before_they_are_too_many_disks() {
    let host = TestRunner::start().await;
    let mut image = host.image.clone();
    let mut most = 0;
    for number in 0..10 {
        let sandbox = run_on(&host, &format!("step-{number}"), &image).await;
        most = most.max(disks(&host).iter().map(|disk| devices_on(disk)).sum());
        // Each has something new, and takes something away of the one before.
        let write = format!(
            "mkdir -p /steps/{number}; echo {number} > /steps/{number}/file; echo {number} >> /all; \
             rm -rf /steps/$(({number} - 2)); mv /at-{} /at-{number} || mkdir /at-{number}; \
             touch /at-{number}/{number}",
            number - 1
        );
        says(&host, &sandbox, &format!("sh -c '{write}' 2>/dev/null")).await;
        image = captured(&host, &sandbox, 2, &format!("+snapshot-{number}"))
            .await
            .digest;
        host.apply(&sandbox, 3, Goal::Absent).await;
    }
    assert_eq!(most, 8, "devices of one sandbox");
    let last = run_on(&host, "last", &image).await;
    let look = "ls /steps; cat /steps/*/file; cat /all | wc -l; ls -d /at-*; ls /at-9 | wc -l";
    assert_eq!(
        says(&host, &last, look).await,
        "8\n9\n8\n9\n10\n/at-9\n10\n"
    );
    end(host, &[&last]).await;
}

#[tokio::test]
async fn a_disk_that_was_not_unmounted_is_made_clean_first() {
    let host = TestRunner::start().await;
    let source = run_on(&host, "source", &host.image).await;
    says(&host, &source, "echo kept > /file; sync").await;
    let disk = host.data_dir().join(format!("runner/disks/{source}.ext4"));
    // What a host that loses its power leaves of it.
    let torn = disk.with_extension("torn");
    std::fs::copy(&disk, &torn).unwrap();
    host.apply(&source, 2, stop()).await;
    std::fs::rename(&torn, &disk).unwrap();
    let image = captured(&host, &source, 3, "+snapshot-1").await;
    let second = run_on(&host, "second", &image.digest).await;
    assert_eq!(says(&host, &second, "cat /file").await, "kept\n");
    end(host, &[&source, &second]).await;
}
