//! A control plane over a fresh store and a fake runner.

use std::path::PathBuf;
use std::sync::Arc;

use alcove_control::{Caller, Control, Probe, SealingKey, Settings};
use alcove_store::Store;
use tempfile::TempDir;

use crate::{FakeRunner, ManualClock, SeededRng};

/// The text of the bootstrap key in tests.
const KEY: &str = "dtn_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What outlives a control plane: the store's folder, the host, the clock.
#[derive(Debug)]
pub struct TestStore {
    folder: TempDir,
    pub runner: FakeRunner,
    pub clock: Arc<ManualClock>,
    pub rng: Arc<SeededRng>,
    pub settings: Settings,
}

impl Default for TestStore {
    fn default() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            runner: FakeRunner::default(),
            clock: Arc::new(ManualClock::default()),
            rng: Arc::new(SeededRng::new(1)),
            settings: Settings {
                has_ssh: true,
                sealing_key: Some(SealingKey::new([7; 32])),
                ..Settings::default()
            },
        }
    }
}

impl TestStore {
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("alcove.db")
    }

    /// Starts a control plane, as a process start would.
    pub async fn open(self) -> TestControl {
        self.open_inner(None).await
    }

    /// Starts a control plane that a probe can hold.
    pub async fn open_probed(self, probe: Arc<dyn Probe>) -> TestControl {
        self.open_inner(Some(probe)).await
    }

    async fn open_inner(self, probe: Option<Arc<dyn Probe>>) -> TestControl {
        let store = Store::open(&self.path()).await.expect("a store");
        let runner = Arc::new(self.runner.clone());
        let (clock, rng) = (Arc::clone(&self.clock), Arc::clone(&self.rng));
        let settings = self.settings.clone();
        let control = match probe {
            None => Control::open(store.clone(), runner, clock, rng, settings).await,
            Some(probe) => {
                Control::open_probed(store.clone(), runner, clock, rng, settings, probe).await
            }
        }
        .expect("a control plane");
        control.bootstrap(KEY).await.expect("an administrator");
        let caller = control.authenticate(KEY).await.expect("the administrator");
        TestControl {
            control,
            store,
            caller,
            key: KEY.to_owned(),
            runner: self.runner.clone(),
            clock: Arc::clone(&self.clock),
            parts: self,
        }
    }
}

/// A running control plane with its surroundings.
#[derive(Debug)]
pub struct TestControl {
    pub control: Control,
    pub store: Store,
    /// The administrator, with every right.
    pub caller: Caller,
    /// The administrator's key.
    pub key: String,
    pub runner: FakeRunner,
    pub clock: Arc<ManualClock>,
    parts: TestStore,
}

impl TestControl {
    pub async fn open() -> Self {
        TestStore::default().open().await
    }

    /// Ends the control plane as `kill -9` would, and gives back what outlives it.
    pub async fn kill(self) -> TestStore {
        self.control.abandon().await;
        drop(self.control);
        self.store.close().await;
        // They end with the process.
        self.runner.end_members();
        self.parts
    }

    /// Kills it and starts anew.
    pub async fn restart(self) -> Self {
        self.kill().await.open().await
    }
}
