//! A control plane over a fresh store and a fake runner.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alcove_control::{
    Caller, Clock as _, Control, KeyKeeper, PasswordCost, Probe, SealingKey, SealingKeys, Settings,
    TelemetrySettings,
};
use alcove_domain::{
    Access, ApiKey, ApiKeyHash, Member, MemberRole, OrganizationId, Permissions, User, UserId,
    UserRequest,
};
use alcove_store::Store;
use alcove_telemetry::Telemetry;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{FakeRunner, FakeWebhooks, LossyPostgres, ManualClock, SeededRng, template};

/// The text of the bootstrap key in tests.
const KEY: &str = "dtn_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// How often sandboxes of tests are asked what they use.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(30);

/// What outlives a control plane: the store's folder, the host, the clock.
#[derive(Debug)]
pub struct TestStore {
    folder: TempDir,
    telemetry: TempDir,
    /// The URL of a PostgreSQL database in place of a file in the folder.
    database: Option<String>,
    pub runner: FakeRunner,
    pub clock: Arc<ManualClock>,
    pub rng: Arc<SeededRng>,
    pub settings: Settings,
    pub webhooks: FakeWebhooks,
    pub keys: KeptKeys,
}

/// The keys that seal secrets, as a file would keep them. Clones are the same file.
#[derive(Debug, Clone)]
pub struct KeptKeys {
    keys: Arc<Mutex<Vec<SealingKey>>>,
    fails: Arc<AtomicBool>,
}

impl Default for KeptKeys {
    fn default() -> Self {
        Self {
            keys: Arc::new(Mutex::new(vec![SealingKey::new([7; 32])])),
            fails: Arc::default(),
        }
    }
}

impl KeptKeys {
    /// Reads them, as the start of a process does.
    pub fn open(&self) -> SealingKeys {
        let mut keys = self.lock().clone().into_iter();
        let current = keys.next().expect("a key");
        SealingKeys::new(current, keys.collect(), Arc::new(self.clone()))
    }

    /// Whether they cannot be written.
    pub fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SealingKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyKeeper for KeptKeys {
    fn keep(&self, keys: &[SealingKey]) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *self.lock() = keys.to_vec();
        Ok(())
    }
}

impl Default for TestStore {
    fn default() -> Self {
        let (webhooks, keys) = (FakeWebhooks::default(), KeptKeys::default());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let telemetry = tempfile::tempdir().expect("a temporary folder");
        let kept = Telemetry::open(telemetry.path().to_owned()).expect("a folder");
        Self {
            database: None,
            folder,
            telemetry,
            runner: FakeRunner::default(),
            clock: Arc::new(ManualClock::default()),
            rng: Arc::new(SeededRng::new(1)),
            settings: Settings {
                has_ssh: true,
                sealing_key: Some(keys.open()),
                password_cost: PasswordCost::LEAST,
                webhooks: Some(Arc::new(webhooks.clone())),
                telemetry: Some(TelemetrySettings {
                    kept: Arc::new(kept),
                    sample_every: Some(SAMPLE_EVERY),
                }),
                ..Settings::default()
            },
            webhooks,
            keys,
        }
    }
}

impl TestStore {
    /// With a PostgreSQL database of its own.
    pub async fn on_postgres() -> Self {
        Self {
            database: Some(template::new_postgres_database().await),
            ..Self::default()
        }
    }

    /// The same by a way on which an answer can be lost.
    pub async fn on_lossy_postgres() -> (Self, LossyPostgres) {
        let lossy = LossyPostgres::start(&template::new_postgres_database().await);
        let store = Self {
            database: Some(lossy.url().to_owned()),
            ..Self::default()
        };
        (store, lossy)
    }

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
        let store = match &self.database {
            None => {
                template::place_database(&self.path()).await;
                Store::open(&self.path()).await
            }
            Some(url) => Store::connect(url).await,
        }
        .expect("a store");
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
            webhooks: self.webhooks.clone(),
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
    pub webhooks: FakeWebhooks,
    parts: TestStore,
}

impl TestControl {
    pub async fn open() -> Self {
        TestStore::default().open().await
    }

    /// Where telemetry of sandboxes is.
    pub fn telemetry_folder(&self) -> PathBuf {
        self.parts.telemetry.path().to_owned()
    }

    pub fn keys(&self) -> &KeptKeys {
        &self.parts.keys
    }

    /// A user with a personal organization, whose address is trusted.
    pub async fn add_user(&self, id: &str) -> User {
        let request = UserRequest {
            id: id.to_owned(),
            name: id.to_owned(),
            email: Some(format!("{id}@example.com")),
            is_email_verified: true,
            role: None,
        };
        let made = self.control.create_user(&self.caller, request, None, false);
        made.await.expect("a user").0
    }

    /// A key of a user with every permission in an organization, which is written past all rules. What it opens is up to
    /// the user's membership.
    pub async fn add_key(&self, user: &UserId, org: &OrganizationId) -> String {
        let text = format!("dtn_{user}_{org}");
        let key = ApiKey {
            hash: ApiKeyHash(Sha256::digest(&text).into()),
            organization_id: org.clone(),
            user_id: user.clone(),
            name: "whole".to_owned(),
            prefix: "dtn".to_owned(),
            suffix: "key".to_owned(),
            permissions: Permissions::all(),
            created_at: self.clock.now(),
            expires_at: None,
            last_used_at: None,
        };
        let tx = self.store.begin().await.expect("a transaction");
        tx.api_key_replace(&key).await.expect("a key");
        tx.commit().await.expect("a commit");
        text
    }

    /// A user in the administrator's organization with these of the built-in roles (by number), and a key with every
    /// permission that the user has.
    pub async fn add_member(&self, id: &str, roles: &[u8]) -> Caller {
        let user = self.add_user(id).await;
        let org = &self.caller.organization;
        let assigned = roles.iter().map(|number| {
            let id = format!("00000000-0000-0000-0000-00000000000{number}");
            id.parse().expect("the id of a role")
        });
        let member = Member {
            organization_id: org.clone(),
            user_id: user.id.clone(),
            access: Access {
                role: MemberRole::Member,
                assigned: assigned.collect(),
            },
            created_at: self.clock.now(),
            updated_at: self.clock.now(),
        };
        let tx = self.store.begin().await.expect("a transaction");
        tx.member_put(&member).await.expect("a member");
        tx.commit().await.expect("a commit");
        let key = self.add_key(&user.id, org).await;
        self.control.authenticate(&key).await.expect("a member")
    }

    /// Another organization of a user of its own, with everything that an owner may.
    pub async fn add_stranger(&self, id: &str) -> (Caller, String) {
        let user = self.add_user(id).await;
        let personal = self.store.reader().organization_find_personal(&user.id);
        let personal = personal.await.expect("an answer").expect("an organization");
        let key = self.add_key(&user.id, &personal.id).await;
        let caller = self.control.authenticate(&key).await;
        (caller.expect("a stranger"), key)
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

    /// Kills it, and reads the keys that seal secrets as the next process does.
    pub async fn kill_and_read_keys(self) -> TestStore {
        let mut store = self.kill().await;
        store.settings.sealing_key = Some(store.keys.open());
        store
    }

    /// Kills it and starts anew.
    pub async fn restart(self) -> Self {
        self.kill().await.open().await
    }
}
