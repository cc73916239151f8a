//! The store as the control plane uses it, on a database of its own per test.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use alcove_domain::{
    ApiKey, ApiKeyHash, Command, DesiredState, Fault, FaultCode, Goal, Intervals, Lifecycle,
    Organization, OrganizationId, Permissions, Phase, Resources, Sandbox, SandboxClass,
    SandboxFilter, SandboxId, SandboxSort, SandboxState, SnapshotId, SortOrder, User, UserId,
};
use alcove_store::{
    Claim, NewOutboxEntry, OpenCommand, OutboxChange, OwnerId, SandboxCursor, Store, StoreError,
};
use jiff::Timestamp;
use uuid::Uuid;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn org() -> OrganizationId {
    OrganizationId::from_uuid(Uuid::from_u128(7))
}

fn sandbox(number: u128, name: &str) -> Sandbox {
    Sandbox {
        id: SandboxId::from_uuid(Uuid::from_u128(number)),
        organization_id: org(),
        name: name.to_owned(),
        snapshot_id: SnapshotId::from_uuid(Uuid::from_u128(3)),
        snapshot: "default".to_owned(),
        image: "sha256:0".to_owned(),
        class: SandboxClass::Container,
        user: "daytona".to_owned(),
        env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
        labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        is_public: false,
        region: "us".to_owned(),
        resources: Resources::DEFAULT,
        intervals: Intervals::default(),
        lifecycle: Lifecycle::created(at(10)),
        agent_version: None,
        created_at: at(10),
        updated_at: at(10),
        last_activity_at: at(10),
        version: 1,
    }
}

async fn insert(store: &Store, sandbox: &Sandbox) -> Result<(), StoreError> {
    let tx = store.begin().await?;
    tx.sandbox_insert(sandbox).await?;
    tx.commit().await
}

async fn open(folder: &Path) -> Store {
    Store::open(&folder.join("alcove.db")).await.unwrap()
}

#[tokio::test]
async fn a_sandbox_comes_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let written = {
        let store = open(folder.path()).await;
        let mut first = sandbox(1, "Über %_\\ 'x'");
        first.lifecycle.phase = Phase::Error {
            fault: Fault::new(FaultCode::OutOfMemory, "no memory"),
            has_disk: true,
        };
        first.intervals = Intervals {
            auto_stop_minutes: 0,
            auto_archive_minutes: 7,
            auto_delete_minutes: Some(0),
            ttl_minutes: Some(9),
        };
        insert(&store, &first).await.unwrap();
        store.close().await;
        first
    };
    let store = open(folder.path()).await;
    let read = store.reader().sandbox_find(&written.id).await.unwrap();
    assert_eq!(read, Some(written));
}

#[tokio::test]
async fn a_name_is_unique_among_live_sandboxes_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut first = sandbox(1, "box");
    insert(&store, &first).await.unwrap();
    let refused = insert(&store, &sandbox(2, "box")).await;
    assert!(matches!(refused, Err(StoreError::NameTaken)), "{refused:?}");
    let mut foreign = sandbox(3, "box");
    foreign.organization_id = OrganizationId::from_uuid(Uuid::from_u128(8));
    insert(&store, &foreign).await.unwrap();

    first.lifecycle = first
        .lifecycle
        .command(Command::Delete, at(11))
        .unwrap()
        .lifecycle;
    first.version += 1;
    let tx = store.begin().await.unwrap();
    tx.sandbox_update(&first).await.unwrap();
    tx.commit().await.unwrap();
    insert(&store, &sandbox(2, "box")).await.unwrap();
}

#[tokio::test]
async fn a_stale_version_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let first = sandbox(1, "box");
    insert(&store, &first).await.unwrap();
    let mut second = first.clone();
    second.version = 2;
    second.is_public = true;
    let tx = store.begin().await.unwrap();
    tx.sandbox_update(&second).await.unwrap();
    tx.commit().await.unwrap();
    let tx = store.begin().await.unwrap();
    let refused = tx.sandbox_update(&second).await;
    assert!(matches!(refused, Err(StoreError::Changed { .. })));
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let tx = store.begin().await.unwrap();
    tx.sandbox_insert(&sandbox(1, "box")).await.unwrap();
    drop(tx);
    insert(&store, &sandbox(2, "box")).await.unwrap();
    assert_eq!(store.reader().sandbox_list_live().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path()).await;
    let refused = Store::open(&folder.path().join("alcove.db")).await;
    assert!(matches!(refused, Err(StoreError::Lock { .. })));
}

#[tokio::test]
async fn readers_cannot_write_and_see_what_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let tx = store.begin().await.unwrap();
    tx.sandbox_insert(&sandbox(1, "box")).await.unwrap();
    assert!(store.reader().sandbox_list_live().await.unwrap().is_empty());
    tx.commit().await.unwrap();
    assert_eq!(store.reader().sandbox_list_live().await.unwrap().len(), 1);
}

fn order(generation: u64, goal: Goal, owner: &str) -> OpenCommand {
    OpenCommand {
        sandbox: sandbox(1, "").id,
        generation,
        goal,
        attempt: 1,
        owner: OwnerId(owner.to_owned()),
        lease_until: at(100),
        created_at: at(10),
    }
}

#[tokio::test]
async fn a_newer_order_takes_the_place_of_the_older_and_the_older_cannot_be_finished() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let id = sandbox(1, "").id;
    let tx = store.begin().await.unwrap();
    tx.command_open(&order(1, Goal::Running, "a"))
        .await
        .unwrap();
    let newer = order(2, Goal::Stopped { force: true }, "a");
    tx.command_open(&newer).await.unwrap();
    assert!(!tx.command_finish(&id, 1).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.reader().command_list().await.unwrap(), [newer]);
    let tx = store.begin().await.unwrap();
    assert!(tx.command_finish(&id, 2).await.unwrap());
    tx.commit().await.unwrap();
    assert!(store.reader().command_list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_claim_needs_a_lapsed_lease_or_ones_own_or_a_dead_holder() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let id = sandbox(1, "").id;
    let (a, b) = (OwnerId("a".to_owned()), OwnerId("b".to_owned()));
    let tx = store.begin().await.unwrap();
    tx.command_open(&order(1, Goal::Absent, "a")).await.unwrap();
    let claim = async |owner: &OwnerId, generation, now, claim| {
        tx.command_claim(&id, generation, owner, at(now), at(now + 90), claim)
            .await
            .unwrap()
    };
    assert!(!claim(&b, 1, 50, Claim::Attempt).await, "held by a");
    assert!(claim(&a, 1, 50, Claim::Renew).await);
    assert!(
        !claim(&b, 1, 130, Claim::Attempt).await,
        "renewed until 140"
    );
    assert!(claim(&b, 1, 141, Claim::Attempt).await);
    assert!(
        !claim(&b, 2, 141, Claim::Attempt).await,
        "another generation"
    );
    assert!(claim(&a, 1, 142, Claim::TakeOver).await);
    tx.commit().await.unwrap();
    let open = store.reader().command_list().await.unwrap();
    assert_eq!(open[0].attempt, 3);
    assert_eq!(open[0].owner, a);
}

#[tokio::test]
async fn the_outbox_keeps_order_and_the_whole_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let first = sandbox(1, "box");
    let changes = [
        OutboxChange::Created,
        OutboxChange::State {
            old: SandboxState::Creating,
            new: SandboxState::Started,
        },
        OutboxChange::DesiredState {
            old: DesiredState::Started,
            new: DesiredState::Stopped,
        },
    ];
    let entries = changes.map(|change| NewOutboxEntry {
        change,
        sandbox: &first,
        at: at(20),
    });
    let tx = store.begin().await.unwrap();
    let sequence = tx.outbox_append(&entries).await.unwrap();
    tx.commit().await.unwrap();
    let read = store.reader().outbox_list_after(0, 10).await.unwrap();
    assert_eq!(
        read.iter().map(|entry| entry.change).collect::<Vec<_>>(),
        changes
    );
    assert!(read.iter().all(|entry| entry.sandbox == first));
    let last = store.reader().outbox_last_sequence().await.unwrap();
    assert_eq!(last, read[2].sequence);
    assert_eq!(sequence, Some(last));
    let tx = store.begin().await.unwrap();
    assert_eq!(tx.outbox_prune(at(21)).await.unwrap(), 3);
    tx.outbox_append(&entries[..1]).await.unwrap();
    tx.commit().await.unwrap();
    let next = store.reader().outbox_list_after(last, 10).await.unwrap();
    assert_eq!(next.len(), 1, "a sequence is never used twice");
}

async fn names(store: &Store, filter: &SandboxFilter) -> Vec<String> {
    let listed = store
        .reader()
        .sandbox_list_after(
            &org(),
            filter,
            SandboxSort::Name,
            SortOrder::Ascending,
            None,
            50,
        )
        .await
        .unwrap();
    listed.into_iter().map(|sandbox| sandbox.name).collect()
}

#[tokio::test]
async fn filters_must_all_hold_and_wildcards_stand_for_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut a = sandbox(1, "a%b");
    a.labels.insert("x".to_owned(), "1".to_owned());
    let mut b = sandbox(2, "Axb");
    b.lifecycle.phase = Phase::Started;
    let mut c = sandbox(3, "c");
    c.labels.clear();
    c.lifecycle.phase = Phase::Error {
        fault: Fault::new(FaultCode::Lost, "x"),
        has_disk: false,
    };
    c.lifecycle.desired = DesiredState::Destroyed;
    for sandbox in [&a, &b, &c] {
        insert(&store, sandbox).await.unwrap();
    }
    assert_eq!(
        names(&store, &SandboxFilter::default()).await,
        ["Axb", "a%b"]
    );
    let errored = SandboxFilter {
        include_errored_deleted: true,
        ..SandboxFilter::default()
    };
    assert_eq!(names(&store, &errored).await.len(), 3);
    let prefix = |prefix: &str| SandboxFilter {
        name_prefix: Some(prefix.to_owned()),
        ..SandboxFilter::default()
    };
    assert_eq!(names(&store, &prefix("a%")).await, ["a%b"]);
    assert_eq!(names(&store, &prefix("A")).await, ["Axb", "a%b"]);
    let labels = SandboxFilter {
        labels: a.labels.clone(),
        ..SandboxFilter::default()
    };
    assert_eq!(names(&store, &labels).await, ["a%b"]);
    let started = SandboxFilter {
        states: vec![SandboxState::Started],
        min_cpu: Some(1),
        max_memory_gib: Some(1),
        created_after: Some(at(10)),
        created_before: Some(at(10)),
        is_public: Some(false),
        snapshots: vec!["default".to_owned()],
        regions: vec!["us".to_owned()],
        classes: vec![SandboxClass::Container],
        ..SandboxFilter::default()
    };
    assert_eq!(names(&store, &started).await, ["Axb"]);
}

#[tokio::test]
async fn pages_by_cursor_neither_skip_nor_repeat_in_any_sort() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for number in 1..=7 {
        let mut next = sandbox(number, &format!("n{}", number % 3));
        next.id = SandboxId::from_uuid(Uuid::from_u128(number * 0x9e37_79b9));
        next.organization_id = org();
        next.name = format!("n{}-{number}", number % 3);
        next.resources.cpu_cores = u32::try_from(number % 2).unwrap();
        insert(&store, &next).await.unwrap();
    }
    let all = SandboxFilter::default();
    for sort in [
        SandboxSort::Name,
        SandboxSort::Cpu,
        SandboxSort::MemoryGib,
        SandboxSort::DiskGib,
        SandboxSort::LastActivityAt,
        SandboxSort::CreatedAt,
        SandboxSort::Id,
        SandboxSort::State,
        SandboxSort::Snapshot,
        SandboxSort::Region,
        SandboxSort::UpdatedAt,
    ] {
        for order in [SortOrder::Ascending, SortOrder::Descending] {
            let reader = store.reader();
            let (expected, total) = reader
                .sandbox_list_page(&org(), &all, sort, order, 0, 50)
                .await
                .unwrap();
            assert_eq!(total, 7);
            let mut paged = Vec::new();
            let mut after = None;
            loop {
                let page = reader
                    .sandbox_list_after(&org(), &all, sort, order, after.as_ref(), 2)
                    .await
                    .unwrap();
                let Some(last) = page.last() else { break };
                after = Some(SandboxCursor::of(last, sort));
                paged.extend(page);
            }
            assert_eq!(paged, expected, "{sort:?} {order:?}");
        }
    }
}

#[tokio::test]
async fn a_key_is_found_by_its_hash_and_replaced_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let user = User {
        id: UserId::from_uuid(Uuid::from_u128(1)),
        name: "admin".to_owned(),
        email: "admin@localhost".to_owned(),
        is_admin: true,
        created_at: at(1),
    };
    let personal = Organization {
        id: org(),
        name: "Personal".to_owned(),
        created_by: user.id.clone(),
        is_personal: true,
        created_at: at(1),
    };
    let key = |byte: u8| ApiKey {
        hash: ApiKeyHash([byte; 32]),
        organization_id: org(),
        user_id: user.id.clone(),
        name: "bootstrap".to_owned(),
        prefix: "dtn".to_owned(),
        suffix: "abc".to_owned(),
        permissions: Permissions::all(),
        created_at: at(1),
        expires_at: Some(at(9)),
    };
    let tx = store.begin().await.unwrap();
    tx.user_insert(&user).await.unwrap();
    tx.organization_insert(&personal).await.unwrap();
    tx.api_key_replace(&key(1)).await.unwrap();
    tx.api_key_replace(&key(2)).await.unwrap();
    tx.commit().await.unwrap();
    let reader = store.reader();
    assert_eq!(reader.user_find_admin().await.unwrap(), Some(user.clone()));
    let found = reader.organization_find_personal(&user.id).await.unwrap();
    assert_eq!(found, Some(personal));
    assert_eq!(
        reader.api_key_find(ApiKeyHash([1; 32])).await.unwrap(),
        None
    );
    assert_eq!(
        reader.api_key_find(ApiKeyHash([2; 32])).await.unwrap(),
        Some(key(2))
    );
}

#[tokio::test]
async fn destroyed_rows_are_pruned_after_a_while_and_live_ones_never() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut gone = sandbox(1, "gone");
    gone.lifecycle.phase = Phase::Destroyed;
    gone.lifecycle.desired = DesiredState::Destroyed;
    insert(&store, &gone).await.unwrap();
    insert(&store, &sandbox(2, "live")).await.unwrap();
    let tx = store.begin().await.unwrap();
    assert_eq!(tx.sandbox_prune(at(10), 100).await.unwrap(), 0);
    assert_eq!(tx.sandbox_prune(at(11), 100).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(store.reader().sandbox_list_live().await.unwrap().len(), 1);
}
