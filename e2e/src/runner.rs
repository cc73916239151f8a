//! A real runner on a data folder of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alcove_domain::SandboxId;
use alcove_runner::agent_probe::TOKEN_HEADER;
use alcove_runner::faults::{Faults, NoFaults};
use alcove_runner::{Programs, Runner, RunnerConfig};
use alcove_runner_api::{
    DiskOrigin, Generation, Goal, ImageDigest, NetworkSpec, Observed, Order, Report, Resources,
    SandboxSpec,
};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

use crate::host::Traces;
use crate::instance::Instance;
pub use crate::instance::own_pool;
use crate::prepared;

/// For a command that must end by itself.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);

/// A runner for one test. Whatever becomes of the test, nothing of it stays on the host; see [`Instance`].
#[derive(Debug)]
pub struct TestRunner {
    pub runner: Runner,
    pub image: ImageDigest,
    pub config: RunnerConfig,
    /// After the runner: what it still holds is removed by force.
    pub instance: Instance,
}

impl TestRunner {
    pub async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    pub async fn start_with_faults(faults: Arc<dyn Faults>) -> Self {
        Self::start_with(|config| RunnerConfig { faults, ..config }).await
    }

    /// # Panics
    /// When the runner does not start; a test has nothing to say then.
    pub async fn start_with(change: impl FnOnce(RunnerConfig) -> RunnerConfig) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let data_dir = folder.path().canonicalize().expect("the folder exists");
        let program = |name| prepared("ALCOVE_PARTS_DIR", name);
        let programs = Programs {
            agent: program("alcove-agent"),
            git: program("alcove-git"),
            spawner: program("alcove-spawner"),
        };
        let key = data_dir.as_os_str().as_encoded_bytes().to_vec();
        let mut config = RunnerConfig::new(&data_dir, &key, own_pool(), programs);
        config.ready_parts = 0;
        config.network.ready_slots = 0;
        config.network.quarantine = Duration::ZERO;
        config.ready_disk_bytes = 64 << 20;
        let config = change(config);
        Self::open(Instance::new(folder, &config), config).await
    }

    async fn open(instance: Instance, config: RunnerConfig) -> Self {
        let runner = Runner::open(config.clone())
            .await
            .expect("the runner starts");
        let archive = prepared("ALCOVE_IMAGES_DIR", "busybox.oci.tar");
        let importer = runner.clone();
        let import = move || importer.import_image(&archive, "busybox");
        let entry = tokio::task::spawn_blocking(import).await.expect("no panic");
        let image = entry.expect("the image can be imported").digest;
        Self {
            runner,
            image,
            config,
            instance,
        }
    }

    /// Closes this runner and opens another on the same data folder, as after a restart of the server.
    pub async fn reopen(self) -> Self {
        let Self {
            runner,
            image,
            config,
            instance,
        } = self;
        runner.close().await;
        drop((runner, image));
        let config = RunnerConfig {
            faults: Arc::new(NoFaults),
            ..config
        };
        Self::open(instance, config).await
    }

    pub fn data_dir(&self) -> &Path {
        &self.config.data_dir
    }

    pub fn spec(&self) -> SandboxSpec {
        SandboxSpec {
            image: self.image.clone(),
            resources: Resources {
                cpu_millis: 1000,
                memory_bytes: 256 << 20,
                disk_bytes: 64 << 20,
                pids: 256,
            },
            user: "daytona".to_owned(),
            env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
            disk: DiskOrigin::New,
            entrypoint: Vec::new(),
            volumes: Vec::new(),
            network: NetworkSpec::default(),
        }
    }

    /// Applies an order and returns what came of it.
    ///
    /// # Panics
    /// When the runner does not take the order.
    pub async fn apply(&self, sandbox: &SandboxId, generation: u64, goal: Goal) -> Report {
        let order = Order {
            sandbox: sandbox.clone(),
            generation: Generation(generation),
            goal,
        };
        self.runner
            .apply(order)
            .await
            .expect("the runner takes the order")
    }

    /// Makes a sandbox run.
    ///
    /// # Panics
    /// When it does not.
    pub async fn run(&self, name: &str) -> SandboxId {
        self.run_with(name, |spec| spec).await
    }

    /// Makes a sandbox run that differs from the usual one.
    ///
    /// # Panics
    /// When it does not.
    pub async fn run_with(
        &self,
        name: &str,
        change: impl FnOnce(SandboxSpec) -> SandboxSpec,
    ) -> SandboxId {
        let sandbox: SandboxId = name.parse().expect("the name is an id");
        let goal = Goal::Running(change(self.spec()));
        let report = self.apply(&sandbox, 1, goal).await;
        assert!(
            matches!(report.observed, Observed::Running { .. }),
            "{report:?}"
        );
        sandbox
    }

    /// Runs a shell command inside and returns exit code and output.
    ///
    /// # Panics
    /// When the agent does not answer as the toolbox API says.
    pub async fn execute(&self, sandbox: &SandboxId, command: &str) -> (i64, String) {
        let limit = crate::wait::patience(COMMAND_LIMIT).as_secs();
        let body = serde_json::json!({ "command": command, "timeout": limit }).to_string();
        let (status, answer) = self
            .call(sandbox, "POST", "/process/execute", body.into())
            .await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        let value: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
        let code = value["exitCode"].as_i64().expect("an exit code");
        (code, value["result"].as_str().expect("a result").to_owned())
    }

    /// One request to the agent.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn call(
        &self,
        sandbox: &SandboxId,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> (u16, Bytes) {
        self.call_with(sandbox, method, path, body, |token| Some(token.to_owned()))
            .await
    }

    /// One request to the agent with another token than the right one, or none.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn call_with(
        &self,
        sandbox: &SandboxId,
        method: &str,
        path: &str,
        body: Bytes,
        token: impl FnOnce(&str) -> Option<String>,
    ) -> (u16, Bytes) {
        let (stream, right) = self
            .runner
            .dial_agent(sandbox)
            .await
            .expect("the agent takes connections");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("an HTTP connection");
        let connection = tokio::spawn(connection);
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "agent")
            .header("Content-Type", "application/json");
        if let Some(token) = token(&right) {
            request = request.header(TOKEN_HEADER, token);
        }
        let request = request.body(Full::new(body)).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let bytes = answer
            .into_body()
            .collect()
            .await
            .expect("a whole answer")
            .to_bytes();
        connection.abort();
        (status, bytes)
    }

    /// What this instance has on the host.
    pub fn traces(&self) -> Traces {
        self.instance.names.traces()
    }

    /// Waits until nothing of any sandbox is left.
    ///
    /// # Panics
    /// With what is left, when something is.
    pub async fn expect_nothing_left(&self) {
        crate::host::until_no_traces(|| self.traces()).await;
    }
}
