//! `ADD` of addresses, from a machine behind the host.

use std::fs;
use std::process::{Child, Command, Stdio};

use alcove_e2e::wait;
use alcove_runner_api::BuildFaultCode;
use tempfile::TempDir;

use crate::judge::Judge;
use crate::more::file;
use crate::support::{Case, TestBuilds, tar};

/// Where the machine is, and the host's end of the cable to it. Sandboxes may go there: it is no private network.
const THERE: &str = "198.51.100.70";
const HERE: &str = "198.51.100.69";

const INTERFACE: &str = "alcv-add0";

/// A machine in a network namespace of its own, with a web server.
struct Web {
    name: String,
    server: Child,
    folder: TempDir,
}

fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status()
        .expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

/// With the namespace it would go some time later, and the next test wants its name.
fn unplug() {
    let _ = Command::new("ip")
        .args(["link", "delete", INTERFACE])
        .stderr(Stdio::null())
        .status();
}

impl Web {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let name = format!("alcove-add-{}", std::process::id());
        // One that was killed leaves it.
        unplug();
        ip(&format!("netns add {name}"));
        ip(&format!(
            "link add {INTERFACE} type veth peer name wan netns {name}"
        ));
        ip(&format!("address add {HERE}/30 dev {INTERFACE}"));
        ip(&format!("link set {INTERFACE} up"));
        ip(&format!("-n {name} address add {THERE}/30 dev wan"));
        ip(&format!("-n {name} link set wan up"));
        ip(&format!("-n {name} route add default via {HERE}"));
        let server = Command::new("ip")
            .args(["netns", "exec", &name, "busybox", "httpd", "-f", "-p", "80"])
            .arg("-h")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("busybox runs");
        wait::until("the web server answers", async || {
            tokio::net::TcpStream::connect((THERE, 80)).await.map(drop)
        })
        .await;
        Self {
            name,
            server,
            folder,
        }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        unplug();
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
    }
}

#[tokio::test]
async fn what_is_fetched_is_as_buildah_has_it_and_held_by_its_checksum() {
    let web = Web::start().await;
    let served = web.folder.path();
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
    let web = Web::start().await;
    let served = web.folder.path().join("f");
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
