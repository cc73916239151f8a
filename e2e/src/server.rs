//! A real `alcove serve` in a process of its own, which a test may kill and start again at will.
//!
//! Beside the two folders of [`crate::prepared`] it needs `ALCOVE_BIN`, the program. Whatever happens to the
//! test, [`TestServer`]'s drop removes all that the instance has on the host: server, spawners, sandboxes,
//! control groups, interfaces, firewall table, gateway address, loop devices and the folder.

mod dice;
mod folder;
mod instance;
mod joined;
mod pids;
mod raw;

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use alcove_client::Client;
use alcove_runner::net::Ipv4Pool;
use rustix::process::{Pid, Signal, kill_process};

pub use self::dice::Dice;
pub use self::folder::Folder;
pub use self::instance::{Instance, kill};
pub use self::joined::JoinedRunner;
pub use self::pids::PidsLimit;
pub use self::raw::{Answer, Raw};
use crate::host::Traces;
use crate::instance::own_pool;
use crate::{prepared, wait};

/// The administrator's key of every test server.
pub const KEY: &str = "dtn_of-a-test-server";

/// Lines of a log that a failed test shows.
const SHOWN_LINES: usize = 120;

/// How long a start may take: the first one unpacks the image, and the default one is half a gigabyte.
const READY_WITHIN: Duration = Duration::from_mins(2);

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Setup {
    pub ready_parts: usize,
    pub disk_reserve_mib: u64,
    pub memory_reserve_mib: u64,
    pub volume_size_mib: u64,
    /// Archive of the default image.
    pub image: PathBuf,
    /// What members of warm pools may take; 0 makes none.
    pub warm_pool_mib: u64,
    /// What the server is told about registries.
    pub registries: Option<PathBuf>,
    /// Whom the server asks for names; those of the host if there is none.
    pub dns_servers: Vec<String>,
    /// What else is said to `alcove serve`.
    pub arguments: Vec<String>,
    /// Where the server that is started next kills itself: `runner:StepRun`, and so on.
    pub kill_at: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            // Nothing waits in pools, so that what is on the host belongs to a sandbox.
            ready_parts: 0,
            disk_reserve_mib: 64,
            memory_reserve_mib: 64,
            volume_size_mib: 64,
            warm_pool_mib: 0,
            image: prepared("ALCOVE_IMAGES_DIR", "busybox.oci.tar"),
            registries: None,
            dns_servers: Vec::new(),
            arguments: Vec::new(),
            kill_at: None,
        }
    }
}

/// Where a server that is started again listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    Same,
    New,
}

#[derive(Debug)]
pub struct TestServer {
    pub instance: Instance,
    pub setup: Setup,
    pool: Ipv4Pool,
    child: Option<Child>,
    port: u16,
    // Dropped last: the instance is cleared before its folder goes.
    folder: Folder,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    pub async fn start_with(setup: Setup) -> Self {
        Self::start_in(Folder::plain(), setup).await
    }

    /// # Panics
    /// With the log of the server, when it does not get ready.
    pub async fn start_in(folder: Folder, setup: Setup) -> Self {
        let pool = own_pool();
        let data_dir = folder.data_dir();
        let mut server = Self {
            instance: Instance::of(&data_dir, pool),
            setup,
            pool,
            child: None,
            port: 0,
            folder,
        };
        server.launch();
        server.ready().await;
        server
    }

    /// Starts the process without waiting for it to be ready.
    ///
    /// # Panics
    /// When there is no such program, or the server runs already.
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        let program = std::env::var_os("ALCOVE_BIN")
            .expect("ALCOVE_BIN is not set; run these tests with `make e2e`");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the folder can be written");
        let setup = &self.setup;
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(self.instance.data_dir())
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", self.port))
            .args(["--s3-listen", "127.0.0.1:0"])
            .args(["--ssh-listen", "127.0.0.1:0"])
            .arg("--network-pool")
            .arg(self.pool.to_string())
            .arg("--default-image")
            .arg(&setup.image)
            .arg("--ready-parts")
            .arg(setup.ready_parts.to_string())
            .arg("--disk-reserve-mib")
            .arg(setup.disk_reserve_mib.to_string())
            .arg("--memory-reserve-mib")
            .arg(setup.memory_reserve_mib.to_string())
            .args(
                setup
                    .registries
                    .iter()
                    .flat_map(|path| [Path::new("--registries"), path]),
            )
            .args(
                setup
                    .dns_servers
                    .iter()
                    .flat_map(|server| ["--dns-servers", server]),
            )
            .arg("--volume-size")
            .arg(setup.volume_size_mib.to_string())
            .arg("--warm-pool-memory")
            .arg(setup.warm_pool_mib.to_string())
            .args(&setup.arguments)
            .env("ALCOVE_ADMIN_API_KEY", KEY)
            .envs(setup.kill_at.iter().map(|place| ("ALCOVE_KILL_AT", place)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(command.spawn().expect("the program can be started"));
    }

    /// Waits until the server that was launched answers.
    ///
    /// # Panics
    /// When it ends, or does not answer in time.
    pub async fn ready(&mut self) {
        let (start, limit) = (Instant::now(), wait::patience(READY_WITHIN));
        loop {
            if let Some(status) = self.exited() {
                panic!("the server ended while it started: {status}");
            }
            if let Some(port) = self.announced_port() {
                self.port = port;
                if self.client().health().await.is_ok() {
                    return;
                }
            }
            assert!(
                start.elapsed() < limit,
                "the server did not get ready within {limit:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The port that this very process says it listens on; a killed one leaves its own word behind.
    fn announced_port(&self) -> Option<u16> {
        let text = fs::read(self.instance.data_dir().join("server.json")).ok()?;
        let value: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let is_own = value["pid"].as_u64()? == u64::from(self.child.as_ref()?.id());
        let uri: http::Uri = value["apiUrl"].as_str()?.parse().ok()?;
        uri.port_u16().filter(|_| is_own)
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        child.try_wait().expect("the child is ours")
    }

    /// The server's process number.
    ///
    /// # Panics
    /// When the server does not run.
    pub fn pid(&self) -> i32 {
        let child = self.child.as_ref().expect("the server runs");
        i32::try_from(child.id()).expect("process numbers are small")
    }

    /// `kill -9`, and waits for the process to be gone.
    ///
    /// # Panics
    /// When the server does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().expect("the child is ours");
        child.wait().expect("the child is ours");
    }

    /// Kills the server and starts one that kills itself where it comes to a place: a step of the runner, of the storage
    /// or of the control plane, as `runner:StepRun`, or `…#2` for the second time that it comes there.
    pub async fn doom(&mut self, place: &str) {
        self.kill();
        self.setup.kill_at = Some(place.to_owned());
        self.restart(Port::Same).await;
    }

    /// Waits until the doomed server has died where it should, and starts one that lives.
    ///
    /// # Panics
    /// When it does not die, or dies otherwise.
    pub async fn dies_and_restarts(&mut self) {
        let place = self.setup.kill_at.take().expect("the server is doomed");
        let mut status = None;
        wait::until(&format!("the end of the server at {place}"), async || {
            status = self.exited();
            status.map(drop).ok_or("it runs")
        })
        .await;
        let status = status.expect("it has ended");
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
        // Its number, so that no line of an earlier one is taken for its own.
        let (pid, at) = (self.pid(), place.split('#').next().unwrap_or_default());
        let said = format!("process {pid} kills itself at {at}");
        assert!(self.log().contains(&said), "it died elsewhere than at {at}");
        self.child = None;
        self.restart(Port::Same).await;
    }

    /// Starts a killed or stopped server again on the same data.
    pub async fn restart(&mut self, port: Port) {
        if port == Port::New {
            self.port = 0;
        }
        self.launch();
        self.ready().await;
    }

    /// `kill -9` and a new start.
    pub async fn kill_and_restart(&mut self) {
        self.kill();
        self.restart(Port::Same).await;
    }

    /// Stops the server as Ctrl-C does.
    ///
    /// # Panics
    /// When it does not end in time, or not well.
    pub async fn stop(&mut self) {
        let pid = Pid::from_raw(self.pid()).expect("a process number");
        kill_process(pid, Signal::TERM).expect("the child is ours");
        wait::until("the end of the server", async || {
            if self.exited().is_some() {
                Ok(())
            } else {
                Err("it runs")
            }
        })
        .await;
        let status = self.exited().expect("it has ended");
        self.child = None;
        assert!(status.success(), "the server ended badly: {status}");
    }

    /// The address of the server, without a path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// # Panics
    /// Never: the address is well-formed.
    pub fn client(&self) -> Client {
        Client::new(&format!("{}/api", self.url()), KEY).expect("a well-formed address")
    }

    /// Requests that the typed client would not send.
    pub fn raw(&self) -> Raw {
        Raw::new(self.port, KEY)
    }

    pub fn traces(&self) -> Traces {
        self.instance.traces()
    }

    /// Deletes every sandbox and waits until nothing of any is left, while the server runs.
    ///
    /// # Panics
    /// With what is left.
    pub async fn delete_all(&self) {
        self.delete_listed().await;
        self.nothing_left().await;
    }

    /// Waits until no sandbox has anything on the host any more.
    ///
    /// # Panics
    /// With what is left.
    pub async fn nothing_left(&self) {
        crate::host::until_no_traces(|| self.traces()).await;
    }

    /// Deletes every sandbox, stops the server, and waits until nothing of the whole instance is on the host.
    ///
    /// # Panics
    /// With what is left.
    pub async fn finish(mut self) {
        // With pools, what waits in them counts as a trace; their end is part of the last look.
        if self.setup.warm_pool_mib > 0 {
            self.delete_known().await;
        } else if self.setup.ready_parts == 0 {
            self.delete_all().await;
        } else {
            self.delete_known().await;
            wait::until("a host without sandboxes", async || {
                let left = self.instance.sandboxes();
                if left.is_empty() { Ok(()) } else { Err(left) }
            })
            .await;
        }
        self.stop().await;
        wait::until("a host without the instance", async || {
            let (traces, parts) = (self.traces(), self.instance.standing_parts());
            if traces == Traces::default() && parts.is_empty() {
                Ok(())
            } else {
                Err((traces, parts))
            }
        })
        .await;
    }

    /// Asks for the deletion of every sandbox that is listed. One that the test deleted is listed until it is gone.
    async fn delete_listed(&self) {
        let client = self.client();
        let all = client.list(&alcove_client::ListFilter::default()).await;
        for sandbox in all.expect("a list") {
            match client.delete(&sandbox.id).await {
                Ok(_) => {}
                Err(error) if error.status() == Some(http::StatusCode::NOT_FOUND) => {}
                Err(error) => panic!("cannot delete {}: {error:?}", sandbox.id),
            }
        }
    }

    /// Deletes every sandbox that is listed and waits until none is. Members of warm pools stay.
    async fn delete_known(&self) {
        self.delete_listed().await;
        let client = self.client();
        wait::until("no sandbox in the list", async || {
            let all = client.list(&alcove_client::ListFilter::default()).await;
            let left = all.expect("a list");
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// What the server has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An ended one needs no signal.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            show("server", &self.log_path());
            let spawner = self.instance.data_dir().join("runner/spawner.log");
            show("spawner", &spawner);
        }
        self.instance.clear();
    }
}

/// Prints the end of a log.
fn show(whose: &str, path: &Path) {
    use std::io::Read;
    let mut text = String::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.read_to_string(&mut text);
    }
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(SHOWN_LINES);
    eprintln!("--- log of the {whose}, {skipped} lines before it ---");
    for line in &lines[skipped..] {
        eprintln!("{line}");
    }
}
