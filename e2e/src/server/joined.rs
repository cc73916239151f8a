//! A real `alcove runner` in a process of its own beside a server, which a test may kill and start again at will.

use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Folder, Instance, TestServer, own_pool, show};
use crate::host::Traces;
use crate::wait;

/// A runner of a region of its own. Whatever happens to the test, its drop removes all that it has on the host.
#[derive(Debug)]
pub struct JoinedRunner {
    pub instance: Instance,
    /// What it is registered as.
    pub id: String,
    key: String,
    server: String,
    pool: alcove_runner::net::Ipv4Pool,
    image: PathBuf,
    registries: Option<PathBuf>,
    /// Where it kills itself.
    kill_at: Option<String>,
    child: Option<Child>,
    // Dropped last: the instance is cleared before its folder goes.
    folder: Folder,
}

impl JoinedRunner {
    /// Makes a region of this name with a runner in it, and starts that.
    ///
    /// # Panics
    /// With the log of the runner, when it does not join in time.
    pub async fn start(server: &TestServer, region: &str) -> Self {
        let raw = server.raw();
        let made = raw.ask(
            "POST",
            "/api/regions",
            json!({ "name": region }).to_string(),
        );
        let made = made.await.json();
        let request = json!({ "regionId": made["id"], "name": "rack" });
        let registered = raw
            .ask("POST", "/api/runners", request.to_string())
            .await
            .json();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let folder = Folder::plain();
        let pool = own_pool();
        let mut runner = Self {
            instance: Instance::of(&folder.data_dir(), pool),
            id: text(&registered["id"]),
            key: text(&registered["apiKey"]),
            server: server.url(),
            pool,
            image: server.setup.image.clone(),
            registries: server.setup.registries.clone(),
            kill_at: None,
            child: None,
            folder,
        };
        runner.launch();
        runner.joined(server).await;
        runner
    }

    /// Starts the process without waiting for it to join.
    ///
    /// # Panics
    /// When there is no such program, or it runs already.
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "the runner runs already");
        let program = std::env::var_os("ALCOVE_BIN").expect("ALCOVE_BIN is not set");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the folder can be written");
        let mut command = Command::new(program);
        command
            .arg("runner")
            .args(["--server", &self.server])
            .arg("--data-dir")
            .arg(self.instance.data_dir())
            .arg("--network-pool")
            .arg(self.pool.to_string())
            .arg("--default-image")
            .arg(&self.image)
            .args(["--ready-parts", "0"])
            .args(["--disk-reserve-mib", "64", "--memory-reserve-mib", "64"])
            .args(
                self.registries
                    .iter()
                    .flat_map(|path| [Path::new("--registries"), path]),
            )
            .envs(self.kill_at.iter().map(|place| ("ALCOVE_KILL_AT", place)))
            .env("ALCOVE_RUNNER_KEY", &self.key)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(command.spawn().expect("the program can be started"));
    }

    /// Waits until the server takes sandboxes for it.
    ///
    /// # Panics
    /// When it ends, or does not join in time.
    pub async fn joined(&mut self, server: &TestServer) {
        let path = format!("/api/runners/{}", self.id);
        wait::until("the runner is ready", async || {
            if let Some(status) = self.exited() {
                panic!("the runner ended: {status}\n{}", self.log());
            }
            let seen = server.raw().ask("GET", &path, "").await.json();
            if seen["state"] == "ready" {
                Ok(())
            } else {
                Err(seen["state"].clone())
            }
        })
        .await;
    }

    /// Waits until the server has noticed that it is gone.
    ///
    /// # Panics
    /// When it does not notice in time.
    pub async fn gone(&self, server: &TestServer) {
        let path = format!("/api/runners/{}", self.id);
        wait::until("the runner is gone", async || {
            let seen = server.raw().ask("GET", &path, "").await.json();
            if seen["state"] == "ready" {
                Err(seen["state"].clone())
            } else {
                Ok(())
            }
        })
        .await;
    }

    fn exited(&mut self) -> Option<std::process::ExitStatus> {
        let child = self.child.as_mut()?;
        child.try_wait().expect("the child is ours")
    }

    /// `kill -9`, and waits for the process to be gone.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the runner runs");
        child.kill().expect("the child is ours");
        child.wait().expect("the child is ours");
    }

    /// Kills it and starts one that kills itself where it comes to a place, as [`TestServer::doom`] does.
    ///
    /// # Panics
    /// When the server does not notice, or it does not join again.
    pub async fn doom(&mut self, server: &TestServer, place: &str) {
        self.kill();
        self.gone(server).await;
        self.kill_at = Some(place.to_owned());
        self.launch();
        self.joined(server).await;
    }

    /// Waits until the doomed one has died where it should, and starts one that lives.
    ///
    /// # Panics
    /// When it does not die, or dies otherwise.
    pub async fn dies_and_joins_again(&mut self, server: &TestServer) {
        let place = self.kill_at.take().expect("the runner is doomed");
        let mut status = None;
        wait::until(&format!("the end of the runner at {place}"), async || {
            status = self.exited();
            status.map(drop).ok_or("it runs")
        })
        .await;
        let status = status.expect("it has ended");
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
        // Its number, so that no line of an earlier one is taken for its own.
        let pid = self.child.take().map(|child| child.id());
        let pid = pid.expect("it was started");
        let said = format!("process {pid} kills itself at {place}");
        assert!(
            self.log().contains(&said),
            "it died elsewhere than at {place}"
        );
        self.gone(server).await;
        self.launch();
        self.joined(server).await;
    }

    /// Waits for the end of a process that must end by itself, and says whether it ended well.
    pub async fn ends(&mut self) -> bool {
        let mut status = None;
        wait::until("the end of the runner", async || {
            status = self.exited();
            status.map(drop).ok_or("it runs")
        })
        .await;
        self.child = None;
        status.is_some_and(|status| status.success())
    }

    /// Stops it as Ctrl-C does, and waits until nothing of it is on the host. Its sandboxes must be gone before.
    ///
    /// # Panics
    /// With what is left.
    pub async fn finish(mut self) {
        crate::host::until_no_traces(|| self.instance.traces()).await;
        let child = self.child.as_ref().expect("the runner runs");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process number"), Signal::TERM).expect("the child is ours");
        assert!(self.ends().await, "the runner ended badly");
        wait::until("a host without the runner", async || {
            let (traces, parts) = (self.instance.traces(), self.instance.standing_parts());
            if traces == Traces::default() && parts.is_empty() {
                Ok(())
            } else {
                Err((traces, parts))
            }
        })
        .await;
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("runner.log")
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for JoinedRunner {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An ended one needs no signal.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            show("runner", &self.log_path());
        }
        self.instance.clear();
    }
}
