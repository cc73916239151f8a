//! A sandbox with the probe program in it, and the same program on the host.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use alcove_domain::SandboxId;
use alcove_e2e::host::cgroup_trees;
use alcove_e2e::runner::TestRunner;
use alcove_e2e::{prepared, wait};
use alcove_runner_api::SandboxSpec;

/// Where the program is inside.
pub const PROBE: &str = "/tmp/probe";

pub fn program() -> PathBuf {
    prepared("ALCOVE_PARTS_DIR", "alcove-probe")
}

pub struct Inside<'a> {
    pub host: &'a TestRunner,
    pub id: SandboxId,
}

impl<'a> Inside<'a> {
    pub async fn as_user(host: &'a TestRunner) -> Self {
        Self::start(host, "of-user", |spec| spec).await
    }

    pub async fn as_root(host: &'a TestRunner) -> Self {
        Self::start(host, "of-root", root).await
    }

    /// One sandbox whose programs run as an ordinary user, and one whose programs run as root.
    pub async fn both(host: &'a TestRunner) -> [Self; 2] {
        [Self::as_user(host).await, Self::as_root(host).await]
    }

    pub async fn start(
        host: &'a TestRunner,
        name: &str,
        change: impl FnOnce(SandboxSpec) -> SandboxSpec,
    ) -> Self {
        let id = host.run_with(name, change).await;
        let inside = Self { host, id };
        let bytes = std::fs::read(program()).unwrap();
        inside.upload(PROBE, bytes).await;
        inside.expect(&format!("chmod 755 {PROBE}")).await;
        inside
    }

    /// Writes a file through the agent.
    pub async fn upload(&self, path: &str, bytes: Vec<u8>) {
        let (status, answer) = self.try_upload(path, bytes).await;
        assert_eq!(status, 200, "{answer}");
    }

    pub async fn try_upload(&self, path: &str, bytes: Vec<u8>) -> (u16, String) {
        let path = format!("/files/upload?path={path}");
        let (status, answer) = self.host.call(&self.id, "POST", &path, bytes.into()).await;
        (status, String::from_utf8_lossy(&answer).into_owned())
    }

    /// Reads a file through the agent.
    pub async fn try_download(&self, path: &str) -> (u16, Vec<u8>) {
        let path = format!("/files/download?path={path}");
        let (status, answer) = self
            .host
            .call(&self.id, "GET", &path, Vec::new().into())
            .await;
        (status, answer.to_vec())
    }

    pub async fn sh(&self, command: &str) -> (i64, String) {
        self.host.execute(&self.id, command).await
    }

    /// What a command prints that has to succeed.
    pub async fn expect(&self, command: &str) -> String {
        let (code, output) = self.sh(command).await;
        assert_eq!(code, 0, "{command}: {output}");
        output.trim_end().to_owned()
    }

    /// What came of an attempt.
    pub async fn probe(&self, attempt: &str) -> String {
        self.expect(&format!("{PROBE} {attempt}")).await
    }

    /// What came of several attempts that run side by side.
    pub async fn probes(&self, attempts: &[String]) -> Vec<String> {
        let start =
            |(index, attempt): (usize, &String)| format!("{PROBE} {attempt} >/tmp/o{index} & ");
        let starts: Vec<String> = attempts.iter().enumerate().map(start).collect();
        let files: Vec<String> = (0..attempts.len())
            .map(|index| format!(" /tmp/o{index}"))
            .collect();
        let outcomes = self
            .expect(&format!("{} wait; cat{}", starts.concat(), files.concat()))
            .await;
        let outcomes: Vec<String> = outcomes.lines().map(str::to_owned).collect();
        assert_eq!(outcomes.len(), attempts.len(), "{outcomes:?}");
        outcomes
    }

    /// Starts an attempt that keeps what it got, and returns its first line.
    pub async fn hold(&self, attempt: &str) -> String {
        let file = self.hold_in(attempt).await;
        self.expect(&format!("head -n 1 {file}")).await
    }

    /// Starts an attempt that stays, waits for its first line and returns the file that it writes to.
    pub async fn hold_in(&self, attempt: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let file = format!("/tmp/held-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let command = format!(": >{file}; sleep 1000 | {PROBE} {attempt} >{file} 2>&1 &");
        self.expect(&command).await;
        self.line(&file, 1).await;
        file
    }

    pub async fn second_line(&self, file: &str) -> String {
        self.line(file, 2).await
    }

    /// Waits for this line of the file.
    async fn line(&self, file: &str, number: usize) -> String {
        wait::until("a line that a probe prints", async || {
            let text = self.expect(&format!("cat {file}")).await;
            if text.lines().count() < number {
                Err(text)
            } else {
                Ok(())
            }
        })
        .await;
        self.expect(&format!("sed -n {number}p {file}")).await
    }

    /// The sandbox's groups, one in each tree that has any.
    pub fn groups(&self) -> Vec<PathBuf> {
        let parent = &self.host.config.cgroup_parent;
        let groups = cgroup_trees()
            .into_iter()
            .map(|tree| tree.join(parent).join(self.id.as_str()));
        groups.filter(|group| group.is_dir()).collect()
    }

    /// A number that the kernel keeps of the sandbox, under the first of these names that a tree has: the one of
    /// version 2, then the one of version 1.
    pub fn figure(&self, names: [&str; 2]) -> u64 {
        let groups = self.groups();
        let mut texts = names
            .iter()
            .flat_map(|name| groups.iter().map(move |group| group.join(name)));
        let text = texts.find_map(|path| std::fs::read_to_string(path).ok());
        let text = text.unwrap_or_else(|| panic!("none of {names:?} in {groups:?}"));
        text.trim().parse().unwrap()
    }

    /// Periods in which the sandbox had used up its share of the processors.
    pub fn times_held_back(&self) -> u64 {
        let stats = self.groups().into_iter();
        let texts = stats.filter_map(|group| std::fs::read_to_string(group.join("cpu.stat")).ok());
        let numbers = texts.filter_map(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("nr_throttled "));
            line.map(|number| number.parse().unwrap())
        });
        numbers.max().unwrap()
    }

    /// The host's number of process 1 of the sandbox.
    pub fn agent_pid(&self) -> i32 {
        let procs = self.groups()[0].join("cgroup.procs");
        let procs = std::fs::read_to_string(procs).unwrap();
        let is_first = |pid: &i32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            numbers.is_some_and(|numbers| numbers.split_whitespace().last() == Some("1"))
        };
        procs
            .lines()
            .filter_map(|pid| pid.parse().ok())
            .find(is_first)
            .unwrap()
    }

    /// The sandbox's root folder as the host can see it.
    pub fn root_on_host(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.agent_pid()))
    }
}

pub fn root(spec: SandboxSpec) -> SandboxSpec {
    SandboxSpec {
        user: "root".to_owned(),
        ..spec
    }
}

/// What comes of an attempt on the host, as root.
pub fn on_host(attempt: &str) -> String {
    let output = Command::new(program())
        .args(attempt.split_whitespace())
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// A process of the host that ends with the test.
pub struct HostProcess(Child);

impl HostProcess {
    /// Starts an attempt that stays, and waits for its first line.
    pub fn hold(attempt: &str) -> Self {
        let mut command = Command::new(program());
        command.args(attempt.split_whitespace());
        let mut process = Self::start(&mut command);
        let mut line = String::new();
        BufReader::new(process.0.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(
            line.starts_with("ready") || line.starts_with("ok"),
            "{attempt}: {line}"
        );
        process
    }

    pub fn start(command: &mut Command) -> Self {
        Self(
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end and returns what it printed since the last look.
    pub fn output(&mut self) -> String {
        let mut text = String::new();
        self.0
            .stdout
            .as_mut()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    pub fn end(&mut self) {
        self.0.kill().unwrap();
    }

    pub fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // By the end of its input first, so that it takes back what it made.
        drop(self.0.stdin.take());
        for _ in 0..100 {
            if self.0.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A hash of what is in a file.
pub fn fingerprint(path: &Path) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    std::fs::read(path).unwrap().hash(&mut hasher);
    hasher.finish()
}
