//! A database of its own for each test, of either kind.

use std::collections::BTreeMap;

use alcove_domain::{
    Intervals, Lifecycle, OrganizationId, Resources, Sandbox, SandboxClass, SandboxId, SnapshotId,
};
use alcove_store::{Store, StoreError};
use alcove_testkit::template;
use jiff::Timestamp;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, QueryResult, Statement};
use tempfile::TempDir;
use uuid::Uuid;

/// Runs each of these functions as a test on a fresh database of both kinds.
macro_rules! on_both_databases {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::support::Place::sqlite().await).await;
            })*
        }

        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::support::Place::postgres().await).await;
            })*
        }
    };
}
pub(crate) use on_both_databases;

/// Where a database is, through any number of openings.
pub enum Place {
    Sqlite(TempDir),
    Postgres(String),
}

impl Place {
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        template::place_database(&folder.path().join("alcove.db")).await;
        Self::Sqlite(folder)
    }

    pub async fn postgres() -> Self {
        Self::Postgres(template::new_postgres_database().await)
    }

    pub async fn try_open(&self) -> Result<Store, StoreError> {
        match self {
            Self::Sqlite(folder) => Store::open(&folder.path().join("alcove.db")).await,
            Self::Postgres(url) => Store::connect(url).await,
        }
    }

    pub async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    async fn connect(&self) -> DatabaseConnection {
        let url = match self {
            Self::Sqlite(folder) => format!("sqlite://{}/alcove.db", folder.path().display()),
            Self::Postgres(url) => url.clone(),
        };
        Database::connect(url).await.unwrap()
    }

    /// Writes past the store, as only a person with a database client can.
    pub async fn execute(&self, sql: &str) {
        let connection = self.connect().await;
        connection.execute_unprepared(sql).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Reads past the store.
    pub async fn query(&self, sql: &str) -> Vec<QueryResult> {
        let connection = self.connect().await;
        let query = Statement::from_string(connection.get_database_backend(), sql);
        let rows = connection.query_all_raw(query).await.unwrap();
        connection.close().await.unwrap();
        rows
    }
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub fn org() -> OrganizationId {
    OrganizationId::from_uuid(Uuid::from_u128(7))
}

pub fn sandbox(number: u128, name: &str) -> Sandbox {
    Sandbox {
        id: SandboxId::from_uuid(Uuid::from_u128(number)),
        organization_id: org(),
        name: name.to_owned(),
        snapshot_id: SnapshotId::from_uuid(Uuid::from_u128(3)),
        snapshot: "default".to_owned(),
        image: "sha256:0".to_owned(),
        entrypoint: Vec::new(),
        class: SandboxClass::Container,
        user: "daytona".to_owned(),
        env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
        labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        is_public: false,
        region: "us".to_owned(),
        resources: Resources::DEFAULT,
        intervals: Intervals::default(),
        auto_destroy_at: None,
        stop_at: None,
        is_unfinished: false,
        network: alcove_domain::SandboxNetwork::new(alcove_domain::NetworkPolicy::default()),
        outbound_proxy: None,
        volumes: Vec::new(),
        parent_id: None,
        runner: None,
        linked_to: None,
        is_built: false,
        lifecycle: Lifecycle::created(at(10)),
        agent_version: None,
        created_at: at(10),
        updated_at: at(10),
        last_activity_at: at(10),
        version: 1,
    }
}

pub async fn insert(store: &Store, sandbox: &Sandbox) -> Result<(), StoreError> {
    let tx = store.begin().await?;
    tx.sandbox_insert(sandbox).await?;
    tx.commit().await
}
