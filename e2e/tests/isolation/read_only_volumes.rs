//! Volumes that a sandbox may only read, whoever it is inside, while others write to them.

use alcove_e2e::runner::TestRunner;
use alcove_runner_api::{Goal, SandboxSpec, VolumeMount};

use crate::support::{Inside, root};
use crate::volumes::{finish, make, mount, with};

fn read_only(mount: VolumeMount) -> VolumeMount {
    VolumeMount {
        is_read_only: true,
        ..mount
    }
}

/// Ways to change what is in `/data`: contents, names, owners, modes, times, attributes.
const CHANGES: [&str; 10] = [
    "echo x > /data/file",
    "echo x >> /data/file",
    "touch /data/new",
    "mkdir /data/new",
    "rm -f /data/file",
    "mv /data/file /data/other",
    "ln /data/file /data/linked",
    "ln -s file /data/named",
    "chmod 777 /data/file",
    "truncate -s 0 /data/file",
];

/// Ways to make it writable, or to come to it by another way.
const WAYS: [&str; 8] = [
    "mount -o remount,rw /data",
    "mount -o remount,rw,bind /data",
    "mount -o bind /data /mnt",
    "mount --bind -o rw /data /mnt",
    "umount /data",
    "umount -l /data",
    "mount --move /data /mnt",
    "unshare -Urm mount -o remount,rw,bind /data",
];

#[tokio::test]
async fn root_inside_can_neither_write_to_a_read_only_volume_nor_make_it_writable() {
    let host = TestRunner::start().await;
    make(&host, "shared").await;
    let as_root = |mount: VolumeMount| move |spec: SandboxSpec| root(with(mount)(spec));
    let writes = Inside::start(&host, "writes", as_root(mount("shared", None))).await;
    let mounted = read_only(mount("shared", None));
    let reads = Inside::start(&host, "reads", as_root(mounted)).await;

    writes.expect("echo one > /data/file").await;
    assert_eq!(reads.expect("cat /data/file").await, "one");
    for change in CHANGES {
        let (code, said) = reads.sh(change).await;
        assert_ne!(code, 0, "{change}: {said}");
        assert!(said.contains("Read-only file system"), "{change}: {said}");
    }
    for way in WAYS {
        let (code, said) = reads.sh(way).await;
        assert_ne!(code, 0, "{way}: {said}");
    }
    assert_eq!(reads.probe("open /data/file write").await, "EROFS");
    // What is open for reading cannot be opened for writing by another name.
    let (code, _) = reads
        .sh("exec 3< /data/file; echo x > /proc/self/fd/3")
        .await;
    assert_ne!(code, 0);
    assert_eq!(reads.expect("cat /data/file; ls /data").await, "one\nfile");
    let options = reads.expect("grep ' /data ' /proc/self/mountinfo").await;
    assert!(options.contains(" ro,"), "{options}");

    for change in CHANGES {
        writes
            .expect(&format!("rm -rf /data/*; echo one > /data/file; {change}"))
            .await;
    }
    // Also a map of a file that was opened for writing; the same is refused above.
    writes.expect("echo one > /data/file").await;
    assert_eq!(
        writes.probe("map /data/file two").await,
        "ok",
        "the control"
    );
    assert_eq!(reads.probe("map /data/file six").await, "EROFS");
    assert_eq!(
        reads.expect("head -c 3 /data/file").await,
        "two",
        "as it is written"
    );
    let read = reads.probe("open /data/file read").await;
    assert!(read.starts_with("ok"), "the control: {read}");
    finish(&host, &[&writes.id, &reads.id], &["shared"]).await;
}

#[tokio::test]
async fn a_volume_stays_read_only_over_a_stop_and_under_the_next_runner() {
    let host = TestRunner::start().await;
    make(&host, "shared").await;
    let mounted = read_only(mount("shared", Some("deep/er")));
    let reads = Inside::start(&host, "reads", with(mounted.clone())).await;
    let id = reads.id.clone();
    let (code, said) = reads.sh("touch /data/x").await;
    assert_ne!(code, 0);
    assert!(said.contains("Read-only file system"), "{said}");
    let stop = Goal::Stopped {
        grace: std::time::Duration::ZERO,
    };
    host.apply(&id, 2, stop).await;
    let host = host.reopen().await;
    let spec = root(with(mounted)(host.spec()));
    host.apply(&id, 3, Goal::Running(spec)).await;
    let reads = Inside { host: &host, id };
    let (code, said) = reads.sh("touch /data/x").await;
    assert_ne!(code, 0);
    assert!(said.contains("Read-only file system"), "{said}");
    finish(&host, &[&reads.id], &["shared"]).await;
}
