//! `ADD` of addresses, from a machine behind the host.

use std::fs;

use alcove_e2e::web::{Place, Web};
use alcove_runner_api::BuildFaultCode;

use crate::judge::Judge;
use crate::more::file;
use crate::support::{Case, TestBuilds, tar};

/// Where the machine is, and the host's end of the cable to it. Sandboxes may go there: it is no private network.
const THERE: &str = "198.51.100.70";
const HERE: &str = "198.51.100.69";

const PLACE: Place = Place {
    name: "alcove-add",
    interface: "alcv-add0",
    here: HERE,
    there: THERE,
};

#[tokio::test]
async fn what_is_fetched_is_as_buildah_has_it_and_held_by_its_checksum() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = folder.path();
    let _web = Web::start(PLACE, served).await;
    fs::write(served.join("plain.txt"), "from afar").expect("a file");
    let inner = tempfile::tempdir().expect("a folder");
    fs::write(inner.path().join("packed"), "in it").expect("a file");
    tar(inner.path(), &served.join("pack.tar"), &[]);
    let builds = TestBuilds::start().await;
    let judge = Judge::new();
    let case = Case::new(
        "addresses",
        "FROM busybox\nADD http://198.51.100.70/plain.txt /into/\nADD http://198.51.100.70/plain.txt /other\n\
         ADD --chown=7:8 --chmod=640 http://198.51.100.70/plain.txt here.txt /both/\n\
         ADD http://198.51.100.70/pack.tar /packed/\n",
    )
    .file("here.txt", "from here");
    let context = case.write();
    let theirs = judge
        .build(&case, context.path())
        .expect("buildah builds it");
    let ours = builds.build(&case, context.path()).await;
    let ours = ours.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(theirs.differences(&ours), Vec::<String>::new());
    assert_eq!(file(&ours, "/into/plain.txt"), "600 0:0 file \"from afar\"");
    assert_eq!(file(&ours, "/both/here.txt"), "640 7:8 file \"from here\"");

    let unpacked = "FROM busybox\nADD --unpack http://198.51.100.70/pack.tar /to/\n";
    let image = builds.run(builds.order("unpacked", unpacked, &[])).await;
    let built = builds.look(&image.expect("it is built"));
    assert!(file(&built, "/to/packed").ends_with("\"in it\""));
    let left: Vec<&String> = built
        .files
        .keys()
        .filter(|path| path.contains("alcove"))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    let zeros = "0".repeat(64);
    let wrong =
        format!("FROM busybox\nADD --checksum=sha256:{zeros} http://{THERE}/plain.txt /x\n");
    let missing = format!("FROM busybox\nADD http://{THERE}/missing /x\n");
    let host = format!("FROM busybox\nADD http://{HERE}/plain.txt /x\n");
    for (id, text, words) in [
        ("wrong", wrong, "has the checksum sha256:"),
        ("missing", missing, "HTTP 404"),
        ("host", host, ""),
    ] {
        let fault = builds.run(builds.order(id, &text, &[])).await;
        let fault = fault.expect_err(id);
        assert_eq!(fault.code, BuildFaultCode::StepFailed, "{fault:?}");
        assert!(fault.message.contains("line 2"), "{fault:?}");
        assert!(fault.message.contains(words), "{fault:?}");
    }
    builds.end().await;
}

#[tokio::test]
async fn a_file_that_has_not_changed_is_fetched_and_found_again_and_a_changed_one_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = folder.path().join("f");
    let _web = Web::start(PLACE, folder.path()).await;
    fs::write(&served, "one").expect("a file");
    let builds = TestBuilds::start().await;
    let text = format!("FROM busybox\nADD http://{THERE}/f /f\nRUN echo ran\n");
    let first = builds.run(builds.order("first", &text, &[])).await;
    let second = builds.run(builds.order("second", &text, &[])).await;
    let (first, second) = (first.expect("it is built"), second.expect("it is built"));
    assert_eq!(first.digest, second.digest);
    assert_eq!(
        builds.log("second").await.matches("known already").count(),
        2
    );
    fs::write(&served, "two").expect("a file");
    let third = builds.run(builds.order("third", &text, &[])).await;
    let built = builds.look(&third.expect("it is built"));
    assert_eq!(file(&built, "/f"), "600 0:0 file \"two\"");
    builds.end().await;
}
