//! The benchmarks and the check of a first sandbox, as programs: what they say, and what they leave behind.
//!
//! No test here asks for a time: a busy machine would fail it. They ask that what is said was measured.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use alcove_e2e::host::{ReadyParts, Traces, names, until_no_traces};
use alcove_e2e::{prepared, wait};
use alcove_runner::net::Ipv4Pool;
use alcove_runner::{Programs, RunnerConfig};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Address pools of these tests: 10.219.0.0/24 and up.
static NEXT_POOL: AtomicU8 = AtomicU8::new(0);

fn own_pool() -> Ipv4Pool {
    let number = NEXT_POOL.fetch_add(1, Ordering::Relaxed);
    format!("10.219.{number}.0/24").parse().unwrap()
}

fn alcove() -> Command {
    let program = std::env::var_os("ALCOVE_BIN")
        .expect("ALCOVE_BIN is not set; run these tests with `make e2e`");
    let mut command = Command::new(program);
    for variable in ["DAYTONA_API_URL", "DAYTONA_API_KEY", "ALCOVE_DEFAULT_IMAGE"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

fn image() -> PathBuf {
    prepared("ALCOVE_IMAGES_DIR", "busybox.oci.tar")
}

fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.unwrap(), Signal::INT).unwrap();
}

/// What the server or runner on this folder has on the host.
fn traces(data_dir: &Path, pool: Ipv4Pool) -> Traces {
    let data_dir = data_dir.canonicalize().unwrap();
    let key = data_dir.as_os_str().as_encoded_bytes();
    let config = RunnerConfig::new(&data_dir, key, pool, Programs::default());
    Traces::of(
        &data_dir,
        &config.cgroup_parent,
        &config.network.prefix,
        &ReadyParts::default(),
    )
}

/// A server that checks itself, as `make run` starts it.
struct Serve {
    child: Child,
    out: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
    pool: Ipv4Pool,
}

/// How a server ended, and what it said.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Serve {
    fn start(image: Option<PathBuf>) -> Self {
        let (folder, pool) = (tempfile::tempdir().unwrap(), own_pool());
        let mut command = alcove();
        command
            .args([
                "serve",
                "--check",
                "--listen",
                "127.0.0.1:0",
                "--s3-listen",
                "127.0.0.1:0",
                "--ssh-listen",
                "127.0.0.1:0",
            ])
            // Nothing waits in pools, so that what is on the host belongs to a sandbox.
            .args(["--ready-parts", "0", "--warm-pool-memory", "0"])
            .args(["--network-pool", &pool.to_string()])
            .arg("--data-dir")
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(image) = image {
            command.arg("--default-image").arg(image);
        }
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            out,
            folder,
            pool,
        }
    }

    /// What it says until it has said everything.
    fn welcome(&mut self) -> String {
        let mut text = String::new();
        while !text.contains("Ctrl-C stops the server") {
            let read = self.out.read_line(&mut text).unwrap();
            assert!(read > 0, "the server ended after {text:?}");
        }
        text
    }

    fn traces(&self) -> Traces {
        traces(self.folder.path(), self.pool)
    }

    async fn until_empty(&self) {
        until_no_traces(|| self.traces()).await;
    }

    /// Waits for its end, and asserts that nothing is left on the host.
    fn end(mut self) -> Ended {
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut err).unwrap();
        let code = self.child.wait().unwrap().code();
        assert_eq!(self.traces(), Traces::default(), "{err}");
        Ended { code, out, err }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // A test that failed: what is left is not its subject, but must not outlive it.
            interrupt(&self.child);
            let _ = self.child.wait();
        }
    }
}

/// Runs a benchmark to its end and reads what it prints as JSON.
fn bench(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Value {
    let mut command = alcove();
    command.arg("bench").args(arguments).arg("--json");
    change(&mut command);
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {err}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {err}"))
}

fn number(value: &Value, pointer: &str) -> f64 {
    let found = value.pointer(pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{pointer} is no number in {value:#}"))
}

#[test]
fn the_check_runs_a_sandbox_and_removes_it_before_the_welcome_which_is_the_last_thing_said() {
    let mut serve = Serve::start(Some(image()));
    let text = serve.welcome();
    // Cables of the network are taken away in the background: the kernel takes long for each.
    let traces = Traces {
        interfaces: BTreeSet::new(),
        ..serve.traces()
    };
    assert_eq!(
        traces,
        Traces::default(),
        "the first sandbox is still there"
    );
    let (check, rest) = text.split_once("Alcove is ready at").unwrap();
    assert!(check.contains("answered \"hello\" after"), "{text}");
    assert!(check.contains("has no Python"), "{text}");
    assert!(rest.contains("DAYTONA_API_KEY=dtn_"), "{text}");
    interrupt(&serve.child);
    let ended = serve.end();
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""));
}

#[test]
fn a_check_that_fails_stops_the_server_and_says_what_to_do() {
    let ended = Serve::start(None).end();
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(!ended.out.contains("ready"), "{}", ended.out);
    let last = ended.err.lines().last().unwrap();
    for part in [
        "the first sandbox failed",
        "alcove doctor",
        "--default-image",
    ] {
        assert!(last.contains(part), "{part} is missing in {last:?}");
    }
}

#[test]
fn ctrl_c_during_the_check_stops_the_server_and_leaves_nothing() {
    type Moment = fn(&Serve) -> bool;
    let moments: [(&str, Moment); 3] = [
        ("it listens", |serve| {
            serve.folder.path().join("server.json").exists()
        }),
        ("the sandbox is half-made", |serve| {
            !names(&serve.folder.path().join("runner/journal")).is_empty()
        }),
        ("the agent runs", |serve| {
            !serve.traces().processes.is_empty()
        }),
    ];
    for (name, has_come) in moments {
        let mut serve = Serve::start(Some(image()));
        let began = std::time::Instant::now();
        while !has_come(&serve) {
            assert!(began.elapsed() < wait::DEADLINE, "never came: {name}");
            assert_eq!(serve.child.try_wait().unwrap(), None, "ended: {name}");
        }
        interrupt(&serve.child);
        let ended = serve.end();
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.err);
        assert!(!ended.err.contains("keep running"), "{name}: {}", ended.err);
    }
}

#[tokio::test]
async fn tti_measures_a_server_and_both_floors_as_often_as_asked_and_leaves_nothing() {
    let mut serve = Serve::start(Some(image()));
    serve.welcome();
    let scratch = tempfile::tempdir().unwrap();
    let result = bench(
        &["tti", "--rounds", "3", "--pause-ms", "0", "--with-floor"],
        |command| {
            command.arg("--data-dir").arg(serve.folder.path());
            command.arg("--image").arg(image());
            command.arg("--scratch").arg(scratch.path());
            command.args(["--network-pool", &own_pool().to_string()]);
        },
    );
    for measure in [
        "/measures/create",
        "/measures/firstOutput",
        "/measures/execute",
        "/measures/delete",
        "/floor/process",
        "/floor/isolated",
        "/floor/sandbox",
        "/floor/execute",
    ] {
        let count = number(&result, &format!("{measure}/count"));
        assert!((count - 3.0).abs() < f64::EPSILON, "{measure}: {result:#}");
        assert!(number(&result, &format!("{measure}/minMs")) > 0.0);
    }
    let first_output = number(&result, "/measures/firstOutput/p50Ms");
    assert!(first_output > number(&result, "/measures/create/p50Ms"));
    let floor = number(&result, "/floor/sandbox/p50Ms");
    let ratio = number(&result, "/ratios/firstOutputToSandboxFloor");
    assert!((ratio - first_output / floor).abs() < 1e-6, "{result:#}");
    assert!(number(&result, "/server/residentBytesAfter") > 0.0);
    serve.until_empty().await;
    assert!(names(scratch.path()).is_empty());
    interrupt(&serve.child);
    assert_eq!(serve.end().code, Some(0));
}

#[tokio::test]
async fn an_interrupted_tti_deletes_its_sandboxes_and_says_that_it_was_interrupted() {
    let mut serve = Serve::start(Some(image()));
    serve.welcome();
    let child = alcove()
        .args(["bench", "tti", "--json", "--rounds", "100000"])
        .args(["--pause-ms", "0", "--concurrency", "2", "--data-dir"])
        .arg(serve.folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait::until("a sandbox of the benchmark", async || {
        if serve.traces().processes.is_empty() {
            Err("none")
        } else {
            Ok(())
        }
    })
    .await;
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["interrupted"], true, "{result:#}");
    serve.until_empty().await;
    interrupt(&serve.child);
    assert_eq!(serve.end().code, Some(0));
}

#[test]
fn tti_without_a_server_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let output = alcove()
        .args(["bench", "tti", "--data-dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(err.contains("server.json"), "{err}");
}

#[test]
fn restart_and_idle_measure_servers_of_their_own_and_remove_them() {
    let scratch = tempfile::tempdir().unwrap();
    let place = |command: &mut Command| {
        command.arg("--image").arg(image());
        command.arg("--scratch").arg(scratch.path());
        command.args(["--network-pool", &own_pool().to_string()]);
    };
    let result = bench(&["restart", "-n", "2", "--rounds", "2"], place);
    for measure in ["listens", "firstAnswers", "allAnswer"] {
        let count = number(&result, &format!("/measures/{measure}/count"));
        assert!((count - 2.0).abs() < f64::EPSILON, "{result:#}");
    }
    let (first, all) = (
        number(&result, "/measures/firstAnswers/maxMs"),
        number(&result, "/measures/allAnswer/maxMs"),
    );
    assert!(0.0 < first && first <= all, "{result:#}");

    let result = bench(&["idle", "-n", "2", "--settle-s", "0"], place);
    assert!(number(&result, "/mibPerSandbox/charged") > 0.0);
    assert!(number(&result, "/mibPerSandbox/allTold") >= number(&result, "/mibPerSandbox/charged"));
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn api_measures_requests_to_a_server_of_its_own_and_removes_it() {
    let scratch = tempfile::tempdir().unwrap();
    let arguments = ["api", "--rounds=3", "--clients=2", "--seconds=1"];
    let result = bench(&arguments, |command| {
        command.arg("--image").arg(image());
        command.arg("--scratch").arg(scratch.path());
        command.args(["--network-pool", &own_pool().to_string()]);
    });
    let count = number(&result, "/measures/oneClient/count");
    assert!((count - 3.0).abs() < f64::EPSILON, "{result:#}");
    let rates = result["measures"]["rates"].as_array().unwrap();
    let are_measured = rates.iter().all(|rate| rate.as_f64().unwrap() > 0.0);
    assert!(rates.len() == 3 && are_measured, "{result:#}");
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn edge_measures_ports_of_its_own_server_and_removes_both() {
    let scratch = tempfile::tempdir().unwrap();
    let arguments = [
        "edge",
        "--rounds=3",
        "--clients=2",
        "--size-mib=3",
        "--seconds=1",
        "--sockets=20",
        "--sessions=4",
    ];
    let result = bench(&arguments, |command| {
        command.arg("--image").arg(image());
        command.arg("--scratch").arg(scratch.path());
        command.args(["--network-pool", &own_pool().to_string()]);
    });
    for way in ["proxied", "direct"] {
        let count = number(&result, &format!("/measures/{way}/count"));
        assert!((count - 3.0).abs() < f64::EPSILON, "{way}: {result:#}");
        for measure in ["download", "upload"] {
            let speed = number(&result, &format!("/measures/{measure}/{way}"));
            assert!(speed > 0.0, "{measure} {way}: {result:#}");
        }
    }
    // nginx may not be there; so few sockets may take no page of memory.
    let rates = &result["measures"]["rates"];
    let measured = rates["proxied"].as_f64().is_some_and(|rate| rate > 0.0);
    assert!(rates.is_null() || measured, "{result:#}");
    assert!(number(&result, "/measures/socketBytes") >= 0.0);
    assert!(number(&result, "/measures/sessionBytes") >= 0.0);
    for measure in [
        "gate/through",
        "gate/straight",
        "policy/everything",
        "policy/networks",
        "policy/names",
    ] {
        let count = number(&result, &format!("/measures/{measure}/count"));
        assert!((count - 3.0).abs() < f64::EPSILON, "{measure}: {result:#}");
    }
    for way in ["proxied", "direct"] {
        assert!(number(&result, &format!("/measures/gate/speed/{way}")) > 0.0);
    }
    assert!(names(scratch.path()).is_empty());
    let cables = names(Path::new("/sys/class/net"));
    // With a hyphen it is one of a sandbox of another test, whose tag may begin with the same letter.
    let left = |name: &String| name.starts_with("alcb") && !name.contains('-');
    assert!(!cables.iter().any(left), "{cables:?}");
}

#[test]
fn toolbox_measures_a_sandbox_of_its_own_server_and_removes_both() {
    let scratch = tempfile::tempdir().unwrap();
    let arguments = [
        "toolbox",
        // The image has no Python.
        "--only=quiet,execute,transfer,follow",
        "--rounds=3",
        "--clients=2",
        "--size-mib=3",
        "--seconds=1",
    ];
    let result = bench(&arguments, |command| {
        command.arg("--image").arg(image());
        command.arg("--scratch").arg(scratch.path());
        command.args(["--network-pool", &own_pool().to_string()]);
    });
    for measure in ["api", "agent", "bare"] {
        let count = number(&result, &format!("/measures/execute/{measure}/count"));
        assert!((count - 3.0).abs() < f64::EPSILON, "{measure}: {result:#}");
    }
    for measure in [
        "/measures/execute/throughput/perSecond",
        "/measures/execute/throughput/barePerSecond",
        "/measures/transfer/upload/api",
        "/measures/transfer/upload/loopback",
        "/measures/transfer/download/api",
        "/measures/transfer/download/loopback",
        "/measures/transfer/upload/file",
        "/measures/transfer/download/file",
        "/measures/follow/mibPerSecond",
        "/measures/quiet/residentBytes",
        "/measures/quiet/threads",
    ] {
        assert!(number(&result, measure) > 0.0, "{measure}: {result:#}");
    }
    assert!(number(&result, "/measures/follow/bytes") >= f64::from(3 << 20));
    let resident = number(&result, "/measures/quiet/residentBytes");
    assert!(
        resident <= f64::from(5 << 20),
        "the agent at rest is resident with {resident} bytes; are the programs built with the profile `inside`?"
    );
    assert!(result["measures"]["interpreter"].is_null(), "{result:#}");
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn life_measures_a_server_of_its_own_and_removes_it() {
    let scratch = tempfile::tempdir().unwrap();
    let arguments = [
        "life",
        "--rounds=2",
        "--burst=3",
        "--lanes=2",
        "--seconds=1",
        "--size-mib=6",
        "--files=30",
        "--copies=2",
        "--stopped=2",
    ];
    let result = bench(&arguments, |command| {
        command.arg("--image").arg(image());
        command.arg("--scratch").arg(scratch.path());
        command.args(["--network-pool", &own_pool().to_string()]);
    });
    for (measure, expected) in [
        ("stop/stop", 2.0),
        ("stop/start", 2.0),
        ("stop/firstOutput", 2.0),
        ("burst/create", 3.0),
        ("copies/fork", 2.0),
        ("copies/snapshot", 2.0),
        ("copies/floor", 2.0),
        ("copies/copiedFile", 2.0),
    ] {
        let count = number(&result, &format!("/measures/{measure}/count"));
        assert!(
            (count - expected).abs() < f64::EPSILON,
            "{measure}: {result:#}"
        );
        assert!(number(&result, &format!("/measures/{measure}/minMs")) > 0.0);
    }
    for measure in ["sustained/perSecond", "stopped/residentBytes"] {
        assert!(number(&result, &format!("/measures/{measure}")) > 0.0);
    }
    assert!(names(scratch.path()).is_empty());
}

#[tokio::test]
async fn an_interrupted_restart_removes_its_server_and_its_sandboxes() {
    let (scratch, pool) = (tempfile::tempdir().unwrap(), own_pool());
    let mut child = alcove()
        .args([
            "bench", "restart", "-n", "20", "--rounds", "1000", "--image",
        ])
        .arg(image())
        .arg("--scratch")
        .arg(scratch.path())
        .args(["--network-pool", &pool.to_string()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let data_dir = wait_for_sandbox(scratch.path(), pool).await;
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(names(scratch.path()).is_empty());
    assert!(!data_dir.exists());
}

/// The data folder of the benchmark's server, once a sandbox runs on it.
async fn wait_for_sandbox(scratch: &Path, pool: Ipv4Pool) -> PathBuf {
    let mut found = None;
    wait::until("a sandbox of the benchmark's server", async || {
        for name in names(scratch) {
            let folder = scratch.join(name);
            if !traces(&folder, pool).processes.is_empty() {
                found = Some(folder);
                return Ok(());
            }
        }
        Err("none")
    })
    .await;
    found.unwrap()
}
