//! A data folder on a file system where files can share their blocks: forks and snapshots copy none.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use alcove_api_types::daytona::{CreateSandbox, SandboxState};
use alcove_e2e::server::{Folder, Port, TestServer};

use crate::support::{make, named, run, snapshot_is, within};

/// What the sandbox that is copied holds, and what a copy of it may take of its own: journals, records, logs.
const FULL_MIB: u64 = 192;
const OWN_MIB: u64 = 32;

/// Bytes taken on the file system.
fn taken(folder: &Path) -> u64 {
    rustix::fs::syncfs(std::fs::File::open(folder).unwrap()).unwrap();
    let found = rustix::fs::statvfs(folder).unwrap();
    (found.f_blocks - found.f_bfree) * found.f_frsize
}

/// Bytes of a file that it shares with another one.
fn shared(file: &Path) -> u64 {
    let output = Command::new("filefrag").arg("-v").arg(file).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|line| line.contains("shared"));
    // The fourth column, behind two ranges of blocks, is the length of an extent.
    let blocks = lines.filter_map(|line| line.split(':').nth(3)?.trim().parse::<u64>().ok());
    blocks.sum::<u64>() * 4096
}

#[tokio::test]
async fn a_fork_and_a_snapshot_share_the_blocks_of_a_full_sandbox() {
    let Some(folder) = Folder::sharing(2048) else {
        eprintln!("not tried: this kernel cannot mount xfs, so no file system here shares blocks");
        return;
    };
    let data_dir = folder.data_dir();
    let mut server = TestServer::start_in(folder, alcove_e2e::server::Setup::default()).await;
    let client = server.client();
    let parent = make(&client, "parent").await;
    let fill =
        format!("head -c {FULL_MIB}m /dev/urandom > noise; sha256sum noise > sum; sync; cat sum");
    let sum = run(&client, "parent", &fill).await;
    let before = taken(&data_dir);
    assert!(before > FULL_MIB << 20, "the control");

    let child = client.fork("parent", "child").await.unwrap();
    assert_eq!(child.state, Some(SandboxState::Started));
    client.snapshot("parent", "mine").await.unwrap();
    within(
        "a snapshot without a copy",
        Duration::from_secs(10),
        snapshot_is(&client, "mine", "active"),
    )
    .await;
    let own = taken(&data_dir).saturating_sub(before);
    assert!(own < OWN_MIB << 20, "{own} bytes were copied");
    let disk = data_dir.join(format!("runner/disks/{}.ext4", parent.id));
    assert!(shared(&disk) > FULL_MIB << 20, "{}", shared(&disk));

    // Each goes its own way all the same, and over a kill.
    run(&client, "parent", "echo over > noise; sync").await;
    server.kill();
    server.restart(Port::Same).await;
    let client = server.client();
    let request = CreateSandbox {
        snapshot: Some("mine".to_owned()),
        ..named("third")
    };
    client.create(&request).await.unwrap();
    for name in ["child", "third"] {
        assert_eq!(run(&client, name, "sha256sum noise").await, sum, "{name}");
    }
    server.finish().await;
}
