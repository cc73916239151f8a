//! The schema, forward only. Each step is frozen once released; the schema snapshot test tells.

use sea_orm_migration::{MigrationTrait, MigratorTrait, async_trait};

mod columns;
mod m0001_first;
mod m0002_work;
mod m0003_usage;
mod m0004_lists;
mod m0005_images;
mod m0006_volumes;
mod m0007_registries;
mod m0008_builds;
mod m0009_warm_pools;
mod m0010_built;
mod m0012_previews;
mod m0013_network;
mod m0014_ssh;
mod m0015_ssh_keys;
mod m0016_links;
mod m0020_sessions;
mod m0022_key_use;
mod m0023_signing_keys;
mod m0024_outbound_proxy;
mod m0025_lineage;
mod m0026_drives;
mod m0027_members;
mod m0028_invitations;
mod m0029_departed;
mod m0030_sign_in;
mod m0031_totp;
mod m0032_identities;
mod m0033_webhooks;
mod m0034_audit;
mod m0035_vault;
mod m0037_usage_periods;
mod m0038_runners;
mod m0039_regions;
mod m0040_administration;
mod m0041_mails_and_links;
mod m0042_services;
mod m0043_organization_settings;
mod m0044_identity_providers;
mod m0046_unfinished;
mod m0047_volume_sources;
mod m0048_runner_of_sandbox;
mod m0049_capabilities;
mod m0050_device_logins;
mod m0051_volume_heirs;

#[derive(Debug)]
pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first::Migration),
            Box::new(m0002_work::Migration),
            Box::new(m0003_usage::Migration),
            Box::new(m0004_lists::Migration),
            Box::new(m0005_images::Migration),
            Box::new(m0006_volumes::Migration),
            Box::new(m0007_registries::Migration),
            Box::new(m0008_builds::Migration),
            Box::new(m0009_warm_pools::Migration),
            Box::new(m0010_built::Migration),
            Box::new(m0012_previews::Migration),
            Box::new(m0013_network::Migration),
            Box::new(m0014_ssh::Migration),
            Box::new(m0015_ssh_keys::Migration),
            Box::new(m0016_links::Migration),
            Box::new(m0022_key_use::Migration),
            Box::new(m0023_signing_keys::Migration),
            Box::new(m0020_sessions::Migration),
            Box::new(m0027_members::Migration),
            Box::new(m0028_invitations::Migration),
            Box::new(m0024_outbound_proxy::Migration),
            Box::new(m0029_departed::Migration),
            Box::new(m0025_lineage::Migration),
            Box::new(m0026_drives::Migration),
            Box::new(m0030_sign_in::Migration),
            Box::new(m0031_totp::Migration),
            Box::new(m0032_identities::Migration),
            Box::new(m0033_webhooks::Migration),
            Box::new(m0037_usage_periods::Migration),
            Box::new(m0035_vault::Migration),
            Box::new(m0034_audit::Migration),
            Box::new(m0040_administration::Migration),
            Box::new(m0042_services::Migration),
            Box::new(m0043_organization_settings::Migration),
            Box::new(m0041_mails_and_links::Migration),
            Box::new(m0038_runners::Migration),
            Box::new(m0039_regions::Migration),
            Box::new(m0044_identity_providers::Migration),
            Box::new(m0046_unfinished::Migration),
            Box::new(m0048_runner_of_sandbox::Migration),
            Box::new(m0047_volume_sources::Migration),
            Box::new(m0049_capabilities::Migration),
            Box::new(m0050_device_logins::Migration),
            Box::new(m0051_volume_heirs::Migration),
        ]
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use alcove_domain::{SandboxFilter, SandboxSort, SortOrder};
    use alcove_testkit::Postgres;
    use sea_orm::{ConnectionTrait as _, Database};

    use super::*;
    use crate::{QuotaKey, Store};

    const ORG: &str = "00000000-0000-4000-8000-000000000001";

    /// Rows as the first release wrote them: never to be changed.
    fn rows_of_the_first_release() -> [String; 4] {
        let id = |number: u32| format!("00000000-0000-4000-8000-00000000000{number}");
        let sandbox = |number: u32, state: &str, desired: &str| {
            format!(
                "('{}', '{ORG}', 'box{number}', 'box{number}', '{}', 'default', 'sha256:0', 'container', \
                 'daytona', '{{\"A\":\"1\"}}', '{{\"k\":\"v\"}}', false, 'us', 2, 4, 8, 0, 15, 10080, NULL, \
                 NULL, NULL, '{state}', '{desired}', 3, 1000, NULL, NULL, false, false, NULL, 1000, 1000, \
                 1000, 5)",
                id(number),
                id(9)
            )
        };
        [
            format!(
                "INSERT INTO sandboxes VALUES {}, {}, {}",
                sandbox(1, "started", "started"),
                sandbox(2, "stopped", "stopped"),
                sandbox(3, "destroyed", "destroyed")
            ),
            format!("INSERT INTO sandbox_labels VALUES ('{}', 'k', 'v')", id(1)),
            format!(
                "INSERT INTO commands VALUES ('{}', 3, 'running', false, 1, 'me', 5, 5)",
                id(1)
            ),
            format!(
                "INSERT INTO organizations VALUES ('{ORG}', 'Personal', '{}', true, 5)",
                id(8)
            ),
        ]
    }

    /// The database as the first release left it, filled.
    async fn fill(url: &str) {
        let connection = Database::connect(url).await.unwrap();
        Migrator::up(&connection, Some(1)).await.unwrap();
        for rows in rows_of_the_first_release() {
            connection.execute_unprepared(&rows).await.unwrap();
        }
        connection.close().await.unwrap();
    }

    async fn check_filled(store: Store) {
        let reader = store.reader();
        let live = reader.sandbox_list_live().await.unwrap();
        assert_eq!(live.len(), 2);
        assert_eq!(reader.command_list().await.unwrap().len(), 1);
        let labelled = SandboxFilter {
            labels: [("k".to_owned(), "v".to_owned())].into(),
            ..SandboxFilter::default()
        };
        let org = ORG.parse().unwrap();
        let (sort, order) = (SandboxSort::Name, SortOrder::Ascending);
        let page = reader.sandbox_list_after(&org, &labelled, sort, order, None, 9);
        let names: Vec<String> = page
            .await
            .unwrap()
            .into_iter()
            .map(|sandbox| sandbox.name)
            .collect();
        assert_eq!(names, ["box1"]);
        // So are members: whoever made an organization owns it.
        let members = reader.member_list(&org).await.unwrap();
        let owner = alcove_domain::MemberRole::Owner;
        assert_eq!(members.len(), 1);
        assert_eq!(members[0].access.role, owner);
        // The ledger is younger than the rows.
        let tx = store.begin().await.unwrap();
        assert!(tx.usage_recount(jiff::Timestamp::UNIX_EPOCH).await.unwrap());
        tx.commit().await.unwrap();
        let total = reader.usage_total(&QuotaKey::of(&live[0])).await.unwrap();
        assert_eq!(
            (total.sandboxes, total.cpu_cores, total.disk_gib),
            (2, 2, 16)
        );
        store.close().await;
    }

    #[tokio::test]
    async fn a_filled_sqlite_database_comes_through_every_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alcove.db");
        fill(&format!("sqlite://{}?mode=rwc", path.display())).await;
        check_filled(Store::open(&path).await.unwrap()).await;
    }

    #[tokio::test]
    async fn a_filled_postgresql_database_comes_through_every_step() {
        let url = Postgres::new_database();
        fill(&url).await;
        check_filled(Store::connect(&url).await.unwrap()).await;
    }

    #[tokio::test]
    async fn an_empty_database_is_brought_up_to_date_once_and_found_so_again() {
        let url = Postgres::new_database();
        for _ in 0..2 {
            let store = Store::connect(&url).await.unwrap();
            assert!(store.reader().usage_is_exact().await.unwrap());
            store.close().await;
        }
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let store = Store::open(&folder.path().join("alcove.db")).await.unwrap();
            assert!(store.reader().usage_is_exact().await.unwrap());
            store.close().await;
        }
    }
}
