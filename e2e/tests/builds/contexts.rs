//! Contexts as clients send them: in parts, one for each line that copies.

use std::fs::File;
use std::process::Command;

use crate::more::file;
use crate::support::{Case, ORGANIZATION, TestBuilds};

#[tokio::test]
async fn a_part_may_be_named_twice_and_two_parts_may_be_the_same() {
    let builds = TestBuilds::start().await;
    let case = Case::new("twice", "").file("a", "once");
    for part in ["part", "same"] {
        builds.upload(ORGANIZATION, part, case.write().path());
    }
    let other = Case::new("other", "").file("b", "other");
    builds.upload(ORGANIZATION, "other", other.write().path());
    let text = "FROM busybox\nCOPY a /one\nCOPY a /two\nCOPY b /other\n";
    let parts = ["part", "other", "part", "same"];
    let image = builds.run(builds.order("twice", text, &parts)).await;
    let image = image.unwrap_or_else(|fault| panic!("{fault:?}"));
    let built = builds.look(&image);
    for (path, content) in [("/one", "once"), ("/two", "once"), ("/other", "other")] {
        assert_eq!(file(&built, path), format!("644 0:0 file \"{content}\""));
    }
    builds.end().await;
}

/// What the layers of a runner take on the disk.
fn taken_bytes(builds: &TestBuilds) -> u64 {
    let found = Command::new("du")
        .args(["--summarize", "--block-size=1"])
        .arg(builds.host.data_dir().join("images"))
        .output()
        .expect("du runs");
    let text = String::from_utf8(found.stdout).expect("a number");
    let number = text.split_whitespace().next().expect("a number");
    number.parse().expect("a number")
}

#[tokio::test]
async fn zeros_of_a_context_and_of_a_step_take_no_space_of_the_host() {
    const BYTES: u64 = 256 << 20;
    let builds = TestBuilds::start().await;
    let context = tempfile::tempdir().expect("a folder");
    let zeros = File::create(context.path().join("zeros")).expect("a file");
    zeros.set_len(BYTES).expect("a length");
    builds.upload(ORGANIZATION, "part", context.path());
    let before = taken_bytes(&builds);
    let text = "FROM busybox\nCOPY zeros /zeros\nRUN truncate -s 256M /more\n";
    let image = builds.run(builds.order("zeros", text, &["part"])).await;
    let image = image.unwrap_or_else(|fault| panic!("{fault:?}"));
    assert!(image.size_bytes >= 2 * BYTES, "what the files say");
    let taken = taken_bytes(&builds) - before;
    assert!(taken < BYTES / 2, "{} MiB", taken >> 20);
    builds.end().await;
}
