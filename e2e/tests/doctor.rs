//! `alcove doctor` tells what a host lacks, and `alcove serve` refuses to start without it. The hosts that lack
//! something are this one with something taken away: a capability, a device, a program, a setting.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use alcove_domain::Capability;
use alcove_e2e::host::names;
use alcove_e2e::wait::patience;
use alcove_runner::net::{Ipv4Pool, NetworkConfig};
use alcove_runner::probe::checks_of;
use serde_json::Value;

/// No sandbox gets an address in these tests, so they can share it with whoever has it.
const POOL: &str = "10.240.0.0/24";

/// A shell that does something to what it sees of the host before it becomes the program behind it.
const THEN_PROGRAM: &str = r#" && exec "$0" "$@""#;

struct Host {
    folder: tempfile::TempDir,
    /// What comes before the program on the command line.
    wrapper: Vec<String>,
    path: Option<PathBuf>,
}

impl Host {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            wrapper: Vec::new(),
            path: None,
        }
    }

    fn wrapped(words: &[&str]) -> Self {
        Self {
            wrapper: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Self::new()
        }
    }

    fn without_capability(name: &str) -> Self {
        let set = format!("-{name}");
        Self::wrapped(&["setpriv", "--bounding-set", &set, "--inh-caps", &set, "--"])
    }

    /// In namespaces of its own, in which the script is run first.
    fn changed(unshare: &[&str], script: &str) -> Self {
        let script = format!("{script}{THEN_PROGRAM}");
        let words: Vec<&str> = ["unshare"]
            .iter()
            .chain(unshare)
            .chain(&["--", "sh", "-c", &script])
            .copied()
            .collect();
        Self::wrapped(&words)
    }

    fn data_dir(&self) -> PathBuf {
        // Not there before the server makes it.
        self.folder.path().canonicalize().unwrap().join("data")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let program = std::env::var("ALCOVE_BIN")
            .expect("ALCOVE_BIN is not set; run these tests with `make e2e`");
        let words: Vec<String> = self.wrapper.iter().cloned().chain([program]).collect();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(arguments)
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(["--network-pool", POOL])
            .stdin(Stdio::null());
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command.output().unwrap()
    }

    fn report(&self) -> Report {
        let output = self.run(&["doctor", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!(
                "{error} in {text}, {}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
        assert_eq!(json["reportVersion"], 1);
        assert_eq!(json["fit"], output.status.success(), "{json:#}");
        Report(json)
    }

    /// Starts a server that is expected to refuse, and returns why.
    fn refusal(&self) -> String {
        let output = self.run(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--s3-listen",
            "127.0.0.1:0",
            "--ssh-listen",
            "127.0.0.1:0",
        ]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{text}");
        assert!(text.contains("this host cannot run sandboxes"), "{text}");
        text
    }
}

struct Report(Value);

impl Report {
    fn status(&self, name: &str) -> &str {
        self.check(name)["status"].as_str().unwrap()
    }

    fn check(&self, name: &str) -> &Value {
        let checks = self.0["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("there is no check {name} in {:#}", self.0))
    }

    fn missing(&self) -> Vec<&str> {
        let checks = self.0["checks"].as_array().unwrap();
        checks
            .iter()
            .filter(|check| check["status"] == "missing")
            .map(|check| check["name"].as_str().unwrap())
            .collect()
    }

    #[track_caller]
    fn assert_lacks(&self, name: &str, word: &str) {
        assert_eq!(self.status(name), "missing", "{:#}", self.0);
        let check = self.check(name).to_string();
        assert!(check.contains(word), "{word} in {check}");
    }
}

#[test]
fn this_host_has_all_that_is_required() {
    let report = Host::new().report();
    assert_eq!(report.missing(), Vec::<&str>::new(), "{:#}", report.0);
    assert_eq!(report.0["fit"], true);
    for check in report.0["checks"].as_array().unwrap() {
        // Whoever reads it must learn what to do.
        let is_ok = check["status"] == "ok";
        assert_eq!(check["advice"] == "", is_ok, "{check}");
        assert_ne!(check["need"], "", "{check}");
        assert_ne!(check["found"], "", "{check}");
    }
}

#[test]
fn what_a_runner_says_that_it_can_do_rests_on_checks_that_are_made() {
    let report = Host::new().report();
    for capability in Capability::ALL {
        for name in checks_of(capability) {
            report.check(name);
        }
    }
}

#[test]
fn the_doctor_is_quick_and_leaves_nothing_behind() {
    let host = Host::new();
    let before = names(host.folder.path());
    let start = Instant::now();
    let first = host.report();
    let elapsed = start.elapsed();
    assert!(elapsed < patience(Duration::from_secs(2)), "{elapsed:?}");
    for name in [
        "loop-devices",
        "overlay",
        "control-groups",
        "nft",
        "first-process",
    ] {
        assert_eq!(first.status(name), "ok", "the control: {name} was tried");
    }

    assert_eq!(names(host.folder.path()), before, "files");
    let folder = host.folder.path().canonicalize().unwrap();
    let below = |text: String| text.contains(&*folder.to_string_lossy());
    let loops = names(Path::new("/sys/block")).into_iter().filter(|name| {
        fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).is_ok_and(&below)
    });
    assert_eq!(loops.count(), 0, "loop devices");
    assert!(
        !below(fs::read_to_string("/proc/self/mounts").unwrap()),
        "mounts"
    );
    let processes = names(Path::new("/proc")).into_iter().filter(|pid| {
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(&folder))
    });
    assert_eq!(processes.count(), 0, "processes");
    let key = host.data_dir();
    let pool: Ipv4Pool = POOL.parse().unwrap();
    let config = NetworkConfig::for_instance(key.as_os_str().as_encoded_bytes(), pool);
    let tables = Command::new("nft")
        .args(["list", "tables"])
        .output()
        .unwrap();
    assert!(tables.status.success());
    assert!(
        !String::from_utf8_lossy(&tables.stdout).contains(&config.table),
        "firewall tables"
    );
    let interfaces = names(Path::new("/sys/class/net"));
    assert!(
        !interfaces.iter().any(|name| name.starts_with("trial")),
        "interfaces"
    );
}

#[test]
fn the_groups_of_a_trial_are_gone_after_it() {
    let trees = fs::read_to_string("/proc/self/mounts").unwrap();
    let groups = || -> Vec<String> {
        trees
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(' ').skip(1);
                let point = fields.next()?;
                fields.next()?.starts_with("cgroup").then_some(point)
            })
            .flat_map(|point| names(Path::new(point)))
            .filter(|name| name.starts_with("alcove-probe-"))
            .collect()
    };
    Host::new().report();
    // Somebody else's trial may be under way; ours is over.
    eventually("no groups of trials", || groups().is_empty());
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience(Duration::from_secs(20));
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_without_cap_sys_admin_refuses_to_start_and_says_so() {
    let host = Host::without_capability("sys_admin");
    let report = host.report();
    report.assert_lacks("capabilities", "CAP_SYS_ADMIN");
    report.assert_lacks("namespaces", "CAP_SYS_ADMIN");
    report.assert_lacks("first-process", "CAP_SYS_ADMIN");
    let refusal = host.refusal();
    assert!(
        refusal.contains("capabilities: found without CAP_SYS_ADMIN"),
        "{refusal}"
    );
}

#[test]
fn a_server_without_cap_net_admin_refuses_to_start_and_says_so() {
    let host = Host::without_capability("net_admin");
    let report = host.report();
    report.assert_lacks("capabilities", "CAP_NET_ADMIN");
    report.assert_lacks("veth", "CAP_NET_ADMIN");
    report.assert_lacks("nft", "Operation not permitted");
    assert_eq!(
        report.status("overlay"),
        "ok",
        "what does not need it works"
    );
    assert!(host.refusal().contains("CAP_NET_ADMIN"));
}

#[test]
fn a_host_without_loop_devices_is_refused_for_that_alone() {
    let hide = "mount --bind /dev/null /dev/loop-control";
    let host = Host::changed(&["--mount", "--propagation", "private"], hide);
    let report = host.report();
    report.assert_lacks("loop-devices", "module loop");
    assert_eq!(report.missing(), ["loop-devices"]);
    assert_eq!(report.check("overlay")["found"], "not tried");
    assert!(host.refusal().contains("loop-devices"));
}

#[test]
fn a_host_without_nft_is_refused_for_that_alone() {
    let mut host = Host::new();
    let programs = host.folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    let mkfs = ["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"];
    let mkfs = mkfs
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap();
    symlink(mkfs, programs.join("mkfs.ext4")).unwrap();
    host.path = Some(programs.clone());
    let report = host.report();
    report.assert_lacks("nft", "nftables");
    assert_eq!(report.missing(), ["nft"]);
    assert!(host.refusal().contains("nft"));

    fs::remove_file(programs.join("mkfs.ext4")).unwrap();
    host.report().assert_lacks("mkfs.ext4", "e2fsprogs");
}

#[test]
fn a_host_that_gives_no_user_namespaces_is_refused_by_the_name_of_the_setting() {
    let forbid = "echo 0 >/proc/sys/user/max_user_namespaces";
    let host = Host::changed(&["--user", "--map-root-user"], forbid);
    let report = host.report();
    report.assert_lacks("namespaces", "user.max_*_namespaces");
    report.assert_lacks("namespace-limits", "user.max_user_namespaces");
    assert!(host.refusal().contains("namespaces: found refused: user"));
}

#[test]
fn a_pool_that_the_host_uses_is_refused_with_the_address_that_is_in_the_way() {
    let take = "ip link set lo up && ip address add 10.240.0.77/32 dev lo";
    let host = Host::changed(&["--net"], take);
    let report = host.report();
    report.assert_lacks("address-pool", "10.240.0.77");
    assert_eq!(report.missing(), ["address-pool"]);
    assert!(host.refusal().contains("address-pool"));
}

#[test]
#[expect(
    unsafe_code,
    reason = "a thread of its own enters a network of its own"
)]
fn a_name_server_that_listens_everywhere_is_in_the_way() {
    let thread = std::thread::spawn(|| {
        // SAFETY: only what this thread sees changes, and it ends with the test.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
        let mut up = Command::new("ip");
        assert!(
            up.args(["link", "set", "lo", "up"])
                .status()
                .unwrap()
                .success()
        );
        let listener = UdpSocket::bind("0.0.0.0:53").unwrap();
        let report = Host::new().report();
        drop(listener);
        (report, Host::new().report())
    });
    let (taken, free) = thread.join().unwrap();
    taken.assert_lacks("dns-port", "in use");
    assert_eq!(taken.missing(), ["dns-port"]);
    assert_eq!(free.status("dns-port"), "ok", "the control");
}

#[test]
fn a_firewall_that_drops_is_told_and_does_not_keep_the_server_from_starting() {
    let docker = "ip link set lo up && nft 'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }'";
    let report = Host::changed(&["--net"], docker).report();
    assert_eq!(report.status("other-firewalls"), "degraded");
    let found = report.check("other-firewalls")["found"].as_str().unwrap();
    assert!(found.contains("ip filter FORWARD"), "{found}");
    assert_eq!(report.missing(), Vec::<&str>::new());
    let open = Host::changed(&["--net"], "ip link set lo up").report();
    assert_eq!(open.status("other-firewalls"), "ok", "the control");
}

#[test]
fn a_data_folder_that_cannot_be_written_is_refused() {
    let host = Host::new();
    let folder = host.folder.path().display();
    let freeze = format!("mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}");
    let frozen = Host::changed(&["--mount", "--propagation", "private"], &freeze);
    let frozen = Host {
        folder: host.folder,
        ..frozen
    };
    frozen.report().assert_lacks("data-folder", "Read-only");
}

#[test]
fn a_full_data_folder_does_not_make_the_host_unfit() {
    let host = Host::new();
    let folder = host.folder.path().display();
    let script = format!(
        "mount -t tmpfs -o size=1m full {folder} && {{ head -c 2m /dev/zero >{folder}/filling 2>/dev/null || true; }}"
    );
    let full = Host::changed(&["--mount", "--propagation", "private"], &script);
    let full = Host {
        folder: host.folder,
        ..full
    };
    let report = full.report();
    assert_eq!(report.missing(), Vec::<&str>::new(), "{:#}", report.0);
    assert_eq!(report.status("space"), "degraded");
    assert_eq!(report.status("overlay"), "degraded", "not tried");
}

#[test]
fn a_covered_proc_of_the_server_is_no_obstacle() {
    // As container engines do it. The spawner takes /proc without what lies on top of it.
    let cover = "mount --bind /dev/null /proc/kallsyms";
    let report = Host::changed(&["--mount", "--propagation", "private"], cover).report();
    assert_eq!(report.status("first-process"), "ok");
    assert_eq!(report.missing(), Vec::<&str>::new());
}
