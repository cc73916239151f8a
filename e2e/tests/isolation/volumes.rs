//! Volumes: shared by the sandboxes that mount them, and by nobody else.
//!
//! What is in a volume was written by somebody who may have wanted to harm whoever mounts it next.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use alcove_domain::{SandboxId, VolumeId};
use alcove_e2e::host::names;
use alcove_e2e::runner::TestRunner;
use alcove_runner::disk::backing_files;
use alcove_runner::faults::{Faults, Step};
use alcove_runner_api::{
    FaultCode, Goal, Observed, SandboxSpec, VolumeGoal, VolumeMount, VolumeOrder, VolumeOutcome,
};

use crate::support::{Inside, PROBE, root};

pub(crate) const SIZE: u64 = 32 << 20;

pub(crate) fn volume(name: &str) -> VolumeId {
    name.parse().unwrap()
}

pub(crate) async fn order(host: &TestRunner, name: &str, goal: VolumeGoal) -> VolumeOutcome {
    let volume = volume(name);
    let order = VolumeOrder { volume, goal };
    host.runner.apply_volume(order).await.unwrap()
}

pub(crate) async fn make(host: &TestRunner, name: &str) {
    let empty = VolumeGoal::Present {
        bytes: SIZE,
        source: None,
    };
    let made = order(host, name, empty).await;
    assert_eq!(made, VolumeOutcome::Done);
}

pub(crate) fn mount(name: &str, subpath: Option<&str>) -> VolumeMount {
    VolumeMount {
        volume: volume(name),
        mount_path: "/data".to_owned(),
        subpath: subpath.map(str::to_owned),
        is_read_only: false,
    }
}

pub(crate) fn with(mount: VolumeMount) -> impl FnOnce(SandboxSpec) -> SandboxSpec {
    |spec| SandboxSpec {
        volumes: vec![mount],
        ..spec
    }
}

fn image(host: &TestRunner, name: &str) -> PathBuf {
    host.data_dir().join(format!("runner/volumes/{name}.ext4"))
}

/// Removes sandboxes and volumes, and makes sure that nothing of them is left.
pub(crate) async fn finish(host: &TestRunner, sandboxes: &[&SandboxId], volumes: &[&str]) {
    for sandbox in sandboxes {
        host.apply(sandbox, 9, Goal::Absent).await;
    }
    host.expect_nothing_left().await;
    for name in volumes {
        assert_eq!(
            order(host, name, VolumeGoal::Absent).await,
            VolumeOutcome::Done
        );
        assert_eq!(
            order(host, name, VolumeGoal::Absent).await,
            VolumeOutcome::Done
        );
    }
    let left = names(&host.data_dir().join("runner/volumes"));
    assert!(
        left.iter().all(|name| name.starts_with(".template")),
        "{left:?}"
    );
    // One that still works puts back the table that is taken away at the end.
    host.runner.close().await;
}

#[tokio::test]
async fn sandboxes_see_what_others_write_as_it_is_written_and_whose_it_is() {
    let host = TestRunner::start().await;
    make(&host, "shared").await;
    make(&host, "other").await;
    let user = Inside::start(&host, "user", with(mount("shared", None))).await;
    let as_root = |spec| root(with(mount("shared", None))(spec));
    let roots = Inside::start(&host, "root", as_root).await;
    let apart = Inside::start(&host, "apart", with(mount("other", None))).await;

    user.expect("id -u > /data/uid; echo one > /data/file")
        .await;
    assert_eq!(roots.expect("cat /data/file").await, "one");
    let uid = roots.expect("cat /data/uid").await;
    assert_ne!(uid, "0", "the control: it is not root");
    assert_eq!(roots.expect("stat -c %u /data/file").await, uid);
    roots
        .expect("echo two >> /data/file; echo r > /data/of-root")
        .await;
    assert_eq!(user.expect("cat /data/file").await, "one\ntwo");
    assert_eq!(user.expect("stat -c %u /data/of-root").await, "0");
    let (code, _) = user.sh("echo x > /data/of-root").await;
    assert_ne!(code, 0, "owners and modes count across sandboxes");
    user.expect("mv /data/file /data/renamed; ln -s renamed /data/link; mkdir /data/d")
        .await;
    assert_eq!(
        roots.expect("cat /data/link; ls /data | wc -l").await,
        "one\ntwo\n5"
    );
    assert_eq!(user.probe("map /data/renamed TWO").await, "ok");
    assert_eq!(roots.expect("head -c 3 /data/renamed").await, "TWO");

    assert_eq!(
        apart.expect("ls -A /data").await,
        "",
        "another volume is another"
    );
    let of_host = fs::metadata(image(&host, "shared")).unwrap();
    assert_eq!(of_host.len(), SIZE);
    let ids = [&user.id, &roots.id, &apart.id];
    finish(&host, &ids, &["shared", "other"]).await;
}

#[tokio::test]
async fn locks_of_both_kinds_exclude_across_sandboxes() {
    let host = TestRunner::start().await;
    make(&host, "shared").await;
    let one = Inside::start(&host, "one", with(mount("shared", None))).await;
    let other = Inside::start(&host, "other", with(mount("shared", None))).await;
    for kind in ["lock", "record-lock"] {
        let file = format!("/data/{kind}");
        one.expect(&format!("echo x > {file}")).await;
        assert_eq!(
            other.probe(&format!("{kind} {file}")).await,
            "ok",
            "the control"
        );
        let held = one.hold(&format!("{kind} {file} hold")).await;
        assert_eq!(held, "ready");
        let refused = other.probe(&format!("{kind} {file}")).await;
        assert!(
            ["EAGAIN", "EACCES"].contains(&refused.as_str()),
            "{refused}"
        );
    }
    finish(&host, &[&one.id, &other.id], &["shared"]).await;
}

#[tokio::test]
async fn a_full_volume_is_full_for_its_sandboxes_and_for_nobody_else() {
    let host = TestRunner::start().await;
    make(&host, "shared").await;
    make(&host, "other").await;
    let one = Inside::start(&host, "one", with(mount("shared", None))).await;
    let other = Inside::start(&host, "other", with(mount("other", None))).await;
    let (code, said) = one.sh("dd if=/dev/zero of=/data/big bs=1M count=100").await;
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    let size: u64 = one.expect("stat -c %s /data/big").await.parse().unwrap();
    assert!(size > SIZE / 2 && size < SIZE, "{size}");
    let taken = fs::metadata(image(&host, "shared")).unwrap().blocks() * 512;
    assert!(taken <= SIZE, "{taken}");
    // Its own disk, other volumes and new sandboxes go on.
    one.expect("echo x > /tmp/own").await;
    other
        .expect("dd if=/dev/zero of=/data/some bs=1M count=8")
        .await;
    let third = Inside::start(&host, "third", with(mount("shared", None))).await;
    third.expect("rm /data/big && echo x > /data/small").await;
    assert_eq!(one.expect("cat /data/small").await, "x");
    let ids = [&one.id, &other.id, &third.id];
    finish(&host, &ids, &["shared", "other"]).await;
}

#[tokio::test]
async fn a_subpath_is_made_and_is_all_that_is_seen() {
    let host = TestRunner::start().await;
    make(&host, "shared").await;
    let deep = mount("shared", Some("users/alice"));
    let alice = Inside::start(&host, "alice", with(deep)).await;
    let bob = Inside::start(&host, "bob", with(mount("shared", Some("users/bob")))).await;
    let whole = Inside::start(&host, "whole", with(mount("shared", None))).await;
    alice.expect("echo a > /data/mine").await;
    bob.expect("echo b > /data/mine").await;
    assert_eq!(alice.expect("cat /data/mine").await, "a");
    assert_eq!(
        whole
            .expect("cat /data/users/alice/mine /data/users/bob/mine")
            .await,
        "a\nb",
        "the control"
    );
    // What is above a mount is the sandbox's own root, whichever way it is asked for.
    alice
        .expect("ln -s ../bob/mine /data/over; ln -s /data/../bob /data/up")
        .await;
    for path in ["/data/../bob/mine", "/data/over", "/data/up/mine"] {
        let (code, said) = alice.sh(&format!("cat {path}")).await;
        assert_ne!(code, 0, "{path}: {said}");
    }
    // Nor does it help to move the folder while it is mounted.
    whole.expect("mv /data/users/alice /data/moved").await;
    assert_eq!(
        alice
            .expect("cat /data/mine; ls /data/..  | grep -c moved || true")
            .await,
        "a\n0"
    );
    let ids = [&alice.id, &bob.id, &whole.id];
    finish(&host, &ids, &["shared"]).await;
}

#[tokio::test]
async fn a_link_that_one_sandbox_leaves_leads_no_other_one_out_of_the_volume() {
    let host = TestRunner::start().await;
    make(&host, "shared").await;
    let evil = Inside::start(&host, "evil", with(mount("shared", None))).await;
    evil.expect(
        "mkdir -p /data/real /data/half; ln -s / /data/root; ln -s /etc /data/half/etc; \
         ln -s ../../../../.. /data/up; ln -s real /data/beside; echo x > /data/file",
    )
    .await;
    let etc = names("/etc".as_ref());
    for (number, subpath) in [
        "root",
        "root/etc",
        "half/etc",
        "half/etc/new",
        "up",
        "up/tmp/new",
        "beside",
        "file",
        "file/x",
    ]
    .iter()
    .enumerate()
    {
        let id: SandboxId = format!("victim-{number}").parse().unwrap();
        let spec = with(mount("shared", Some(subpath)))(host.spec());
        let report = host.apply(&id, 1, Goal::Running(spec)).await;
        let Observed::Failed { fault, has_disk } = &report.observed else {
            panic!("{subpath}: {report:?}");
        };
        assert_eq!(fault.code, FaultCode::VolumeUnusable, "{fault:?}");
        assert!(!has_disk);
        assert!(fault.message.contains(subpath), "{fault:?}");
        let data_dir = host.data_dir().to_str().unwrap();
        assert!(!fault.message.contains(data_dir), "{fault:?}");
    }
    assert_eq!(names("/etc".as_ref()), etc);
    let control = Inside::start(&host, "control", with(mount("shared", Some("real/new")))).await;
    control.expect("echo x > /data/y").await;
    assert_eq!(evil.expect("cat /data/real/new/y").await, "x");
    finish(&host, &[&evil.id, &control.id], &["shared"]).await;
}

#[tokio::test]
async fn a_mount_path_is_followed_within_the_root_and_into_no_other_volume() {
    let host = TestRunner::start().await;
    make(&host, "one").await;
    make(&host, "two").await;
    let at = |name: &str, path: &str| VolumeMount {
        volume: volume(name),
        mount_path: path.to_owned(),
        subpath: None,
        is_read_only: false,
    };
    let both = |spec| SandboxSpec {
        volumes: vec![at("one", "/opt/a/b"), at("two", "/home/daytona/my data")],
        ..spec
    };
    let id = host.run_with("both", |spec| root(both(spec))).await;
    let (code, said) = host
        .execute(
            &id,
            "echo 1 > /opt/a/b/f && echo 2 > '/home/daytona/my data/f' && stat -c %u /opt/a",
        )
        .await;
    assert_eq!((code, said.trim()), (0, "0"));
    // Its own root leaves links in the way for the next start: to another volume, to the root, and beyond it.
    let links = "umount /opt/a/b 2>/dev/null; rm -rf /srv /mnt; ln -s /opt/a/b /srv; ln -s / /mnt; \
                 ln -s ../../../../../../tmp /beyond";
    host.execute(&id, links).await;
    let stop = Goal::Stopped {
        grace: std::time::Duration::ZERO,
    };
    let mut generation = 2;
    for (path, starts) in [("/srv/x", false), ("/mnt", false), ("/beyond/x", true)] {
        host.apply(&id, generation, stop.clone()).await;
        let spec = SandboxSpec {
            volumes: vec![at("one", "/opt/a/b"), at("two", path)],
            ..root(host.spec())
        };
        let report = host.apply(&id, generation + 1, Goal::Running(spec)).await;
        generation += 2;
        match report.observed {
            Observed::Running { .. } if starts => {
                let (_, said) = host.execute(&id, "cat /tmp/x/f").await;
                assert_eq!(said.trim(), "2", "below its own root");
            }
            Observed::Failed {
                fault,
                has_disk: true,
            } if !starts => {
                assert_eq!(fault.code, FaultCode::VolumeUnusable, "{path}: {fault:?}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    host.apply(&id, 100, Goal::Absent).await;
    finish(&host, &[], &["one", "two"]).await;
}

#[tokio::test]
async fn set_user_id_programs_and_devices_in_a_volume_mean_nothing() {
    let host = TestRunner::start().await;
    make(&host, "shared").await;
    let as_root = |spec| root(with(mount("shared", None))(spec));
    let evil = Inside::start(&host, "evil", as_root).await;
    evil.expect("mkdir /own; chmod 755 /own; echo secret > /own/secret; chmod 600 /own/secret")
        .await;
    for folder in ["/own", "/data"] {
        let make = format!("cp {PROBE} {folder}/suid; chmod 4755 {folder}/suid");
        evil.expect(&make).await;
    }
    let by = async |folder: &str| {
        evil.probe(&format!("as 1000 {folder}/suid open /own/secret read"))
            .await
    };
    assert!(
        by("/own").await.contains("ok"),
        "the control: it works on its own disk"
    );
    assert!(
        by("/data").await.contains("EACCES"),
        "{}",
        by("/data").await
    );

    let (code, _) = evil.sh("mknod /data/null c 1 3").await;
    assert_ne!(code, 0, "no device can be made inside");
    // One that came there in another way.
    let device = backing_files()[&image(&host, "shared")].path();
    let point = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).status().unwrap();
        assert!(status.success(), "{program} {arguments:?}");
    };
    let (device, on_host) = (device.to_str().unwrap(), point.path().to_str().unwrap());
    run("mount", &[device, on_host]);
    let planted = format!("{on_host}/files/zero");
    run("mknod", &["-m", "666", &planted, "c", "1", "5"]);
    let on_the_host = fs::File::open(&planted).is_ok();
    run("umount", &[on_host]);
    assert!(on_the_host, "the control: it is a device");
    assert_eq!(evil.probe("open /data/zero read").await, "EACCES");
    evil.expect("rm /data/zero").await;

    let mounts = evil.expect("grep ' /data ' /proc/self/mountinfo").await;
    assert!(
        mounts.contains("nosuid") && mounts.contains("nodev"),
        "{mounts}"
    );
    for change in [
        "mount -o remount,suid,dev /data",
        "umount /data",
        "mount -o bind /data /mnt",
    ] {
        let (code, _) = evil.sh(change).await;
        assert_ne!(code, 0, "{change}");
    }
    finish(&host, &[&evil.id], &["shared"]).await;
}

#[tokio::test]
async fn the_next_runner_finds_volumes_mounted_and_mounts_the_same_file_system() {
    let host = TestRunner::start().await;
    make(&host, "shared").await;
    let id = Inside::start(&host, "one", with(mount("shared", None)))
        .await
        .id
        .clone();
    let device = backing_files()[&image(&host, "shared")];
    let host = host.reopen().await;
    let one = Inside { host: &host, id };
    let other = Inside::start(&host, "other", with(mount("shared", None))).await;
    other.expect("echo x > /data/file").await;
    assert_eq!(one.expect("cat /data/file").await, "x");
    let devices = backing_files();
    assert_eq!(devices[&image(&host, "shared")], device);
    let on_it = devices.keys().filter(|path| path.ends_with("shared.ext4"));
    assert_eq!(on_it.count(), 1, "two devices would be two file systems");
    // Kept when nobody mounts it, and found again.
    for id in [&one.id, &other.id] {
        host.apply(id, 2, Goal::Absent).await;
    }
    host.expect_nothing_left().await;
    let third = Inside::start(&host, "third", with(mount("shared", None))).await;
    assert_eq!(third.expect("cat /data/file").await, "x");
    finish(&host, &[&third.id], &["shared"]).await;
}

#[tokio::test]
async fn a_volume_in_use_is_not_removed_before_its_last_sandbox_has_gone() {
    let host = TestRunner::start().await;
    make(&host, "shared").await;
    let one = Inside::start(&host, "one", with(mount("shared", None))).await;
    one.expect("echo kept > /data/file").await;
    let runner = host.runner.clone();
    let removing = tokio::spawn(async move {
        let (volume, goal) = (volume("shared"), VolumeGoal::Absent);
        runner.apply_volume(VolumeOrder { volume, goal }).await
    });
    assert_eq!(one.expect("sync; cat /data/file").await, "kept");
    assert!(!removing.is_finished() && image(&host, "shared").exists());
    host.apply(
        &one.id,
        2,
        Goal::Stopped {
            grace: std::time::Duration::ZERO,
        },
    )
    .await;
    assert_eq!(removing.await.unwrap().unwrap(), VolumeOutcome::Done);
    assert!(!image(&host, "shared").exists());
    // A start without it fails, and leaves the sandbox's own files alone.
    let spec = with(mount("shared", None))(host.spec());
    let report = host.apply(&one.id, 3, Goal::Running(spec)).await;
    let Observed::Failed {
        fault,
        has_disk: true,
    } = report.observed
    else {
        panic!("{report:?}");
    };
    assert_eq!(fault.code, FaultCode::VolumeUnusable);
    finish(&host, &[&one.id], &[]).await;
}

#[derive(Debug)]
struct FailAt(Step);

impl Faults for FailAt {
    fn at(&self, step: Step) -> std::io::Result<()> {
        if step == self.0 {
            return Err(std::io::Error::other("failed on purpose"));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_start_with_volumes_that_fails_at_any_step_lets_go_of_them() {
    for step in Step::ALL {
        let host = TestRunner::start_with_faults(Arc::new(FailAt(step))).await;
        make(&host, "one").await;
        make(&host, "two").await;
        let id: SandboxId = "box".parse().unwrap();
        let spec = SandboxSpec {
            volumes: vec![
                mount("one", Some("a")),
                VolumeMount {
                    mount_path: "/two".to_owned(),
                    ..mount("two", None)
                },
            ],
            ..host.spec()
        };
        let report = host.apply(&id, 1, Goal::Running(spec)).await;
        assert!(
            matches!(report.observed, Observed::Failed { .. }),
            "{step:?}: {report:?}"
        );
        finish(&host, &[&id], &["one", "two"]).await;
    }
}
