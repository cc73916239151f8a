//! Every way to find a page against looking at every sandbox.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use alcove_domain::{
    DesiredState, Fault, FaultCode, Intervals, Lifecycle, Phase, Resources, SandboxClass,
    SandboxState,
};
use alcove_testkit::Postgres;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::search::Bounds;
use super::*;
use crate::Store;

const SANDBOXES: u128 = 60;
const SORTS: [SandboxSort; 11] = [
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
];

fn org(number: u128) -> OrganizationId {
    OrganizationId::from_uuid(Uuid::from_u128(number))
}

fn at(second: u128) -> Timestamp {
    Timestamp::from_second(i64::try_from(second).unwrap()).unwrap()
}

/// Sandboxes that differ in everything that lists look at, with many ties.
fn sandbox(n: u128) -> Sandbox {
    let scattered = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let pick = |among: u128, salt: u128| (scattered >> (salt * 7)) % among;
    let number = |among, salt| u32::try_from(pick(among, salt)).unwrap();
    let mut lifecycle = Lifecycle::created(at(pick(9, 1)));
    lifecycle.phase = match pick(5, 2) {
        0 => Phase::Started,
        1 | 2 => Phase::Stopped { fault: None },
        3 => Phase::Destroyed,
        _ => Phase::Error {
            fault: Fault::new(FaultCode::Lost, "x"),
            has_disk: pick(2, 3) == 0,
        },
    };
    if pick(4, 4) == 0 || lifecycle.phase == Phase::Destroyed {
        lifecycle.desired = DesiredState::Destroyed;
    }
    let created_at = at(pick(20, 13));
    let ttl_minutes = n.is_multiple_of(4).then_some(number(50, 12));
    let mut labels = BTreeMap::from([("all".to_owned(), "x".to_owned())]);
    if pick(11, 5) == 0 {
        labels.insert("rare".to_owned(), "y".repeat(300));
    }
    Sandbox {
        id: SandboxId::from_uuid(Uuid::from_u128(scattered)),
        organization_id: org(1 + u128::from(n % 10 == 9)),
        name: format!(
            "{}{}%_{n}",
            ["Box", "box", "Kiste"][n as usize % 3],
            pick(3, 6)
        ),
        snapshot_id: alcove_domain::SnapshotId::from_uuid(Uuid::from_u128(pick(3, 7))),
        snapshot: format!("snapshot{}", pick(3, 7)),
        image: "sha256:0".to_owned(),
        entrypoint: Vec::new(),
        class: SandboxClass::Container,
        user: "daytona".to_owned(),
        env: BTreeMap::new(),
        labels,
        is_public: pick(3, 8) == 0,
        region: ["us", "eu"][n as usize % 2].to_owned(),
        resources: Resources {
            cpu_cores: number(4, 9),
            memory_gib: number(4, 10),
            disk_gib: number(4, 11),
            gpu: 0,
        },
        intervals: Intervals {
            ttl_minutes,
            ..Intervals::default()
        },
        stop_at: None,
        is_unfinished: false,
        auto_destroy_at: ttl_minutes
            .map(|minutes| created_at + SignedDuration::from_mins(minutes.into())),
        network: alcove_domain::SandboxNetwork::new(alcove_domain::NetworkPolicy::default()),
        outbound_proxy: None,
        volumes: Vec::new(),
        parent_id: None,
        runner: None,
        linked_to: None,
        is_built: false,
        lifecycle,
        agent_version: None,
        created_at,
        updated_at: at(pick(20, 14)),
        last_activity_at: at(pick(20, 15)),
        version: 1,
    }
}

fn filters() -> Vec<SandboxFilter> {
    let all = SandboxFilter::default;
    let label = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    vec![
        all(),
        SandboxFilter {
            include_errored_deleted: true,
            ..all()
        },
        SandboxFilter {
            id_prefix: Some("0000000".to_owned()),
            ..all()
        },
        SandboxFilter {
            name_prefix: Some("bOx".to_owned()),
            ..all()
        },
        SandboxFilter {
            name_prefix: Some("box1%_1".to_owned()),
            ..all()
        },
        SandboxFilter {
            labels: label("all", "x"),
            is_public: Some(true),
            ..all()
        },
        SandboxFilter {
            labels: label("rare", &"y".repeat(300)),
            ..all()
        },
        SandboxFilter {
            labels: label("rare", &"y".repeat(299)),
            ..all()
        },
        SandboxFilter {
            states: vec![SandboxState::Started, SandboxState::Error],
            ..all()
        },
        SandboxFilter {
            snapshots: vec!["snapshot1".to_owned()],
            ..all()
        },
        SandboxFilter {
            regions: vec!["eu".to_owned()],
            min_cpu: Some(2),
            ..all()
        },
        SandboxFilter {
            max_memory_gib: Some(1),
            min_disk_gib: Some(1),
            max_cpu: Some(2),
            ..all()
        },
        SandboxFilter {
            classes: vec![SandboxClass::Windows],
            ..all()
        },
        SandboxFilter {
            is_recoverable: Some(true),
            ..all()
        },
        SandboxFilter {
            created_after: Some(at(3)),
            created_before: Some(at(9)),
            ..all()
        },
        SandboxFilter {
            last_event_after: Some(at(4)),
            last_event_before: Some(at(5)),
            ..all()
        },
        SandboxFilter {
            auto_destroy_before: Some(at(1500)),
            ..all()
        },
    ]
}

fn passes(sandbox: &Sandbox, filter: &SandboxFilter) -> bool {
    let life = &sandbox.lifecycle;
    let state = life.phase.state();
    let within = |value: i64, min: Option<i64>, max: Option<i64>| {
        min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max)
    };
    let between = |at: Option<Timestamp>, after: Option<Timestamp>, before: Option<Timestamp>| {
        after.is_none_or(|after| at.is_some_and(|at| at >= after))
            && before.is_none_or(|before| at.is_some_and(|at| at <= before))
    };
    let name = sandbox.name.to_lowercase();
    let resources = &sandbox.resources;
    sandbox.organization_id == org(1)
        && state != SandboxState::Destroyed
        && (filter.include_errored_deleted || sandbox.is_visible())
        && filter
            .id_prefix
            .iter()
            .all(|start| sandbox.id.as_str().starts_with(start))
        && filter
            .name_prefix
            .iter()
            .all(|start| name.starts_with(&start.to_lowercase()))
        && filter
            .labels
            .iter()
            .all(|(key, value)| sandbox.labels.get(key) == Some(value))
        && (filter.states.is_empty() || filter.states.contains(&state))
        && (filter.snapshots.is_empty() || filter.snapshots.contains(&sandbox.snapshot))
        && (filter.regions.is_empty() || filter.regions.contains(&sandbox.region))
        && (filter.classes.is_empty() || filter.classes.contains(&sandbox.class))
        && within(resources.cpu_cores.into(), filter.min_cpu, filter.max_cpu)
        && within(
            resources.memory_gib.into(),
            filter.min_memory_gib,
            filter.max_memory_gib,
        )
        && within(
            resources.disk_gib.into(),
            filter.min_disk_gib,
            filter.max_disk_gib,
        )
        && filter
            .is_public
            .is_none_or(|is_public| sandbox.is_public == is_public)
        && filter
            .is_recoverable
            .is_none_or(|expected| sandbox.is_recoverable() == expected)
        && between(
            Some(sandbox.created_at),
            filter.created_after,
            filter.created_before,
        )
        && between(
            Some(sandbox.last_activity_at),
            filter.last_event_after,
            filter.last_event_before,
        )
        && between(
            sandbox.auto_destroy_at,
            filter.auto_destroy_after,
            filter.auto_destroy_before,
        )
}

async fn every_page_is_what_looking_at_every_sandbox_gives(store: Store) {
    let sandboxes: Vec<Sandbox> = (1..=SANDBOXES).map(sandbox).collect();
    let tx = store.begin().await.unwrap();
    for sandbox in &sandboxes {
        tx.sandbox_insert(sandbox).await.unwrap();
    }
    tx.commit().await.unwrap();
    let tx = store.reader().begin_list().await.unwrap();
    // So small that every way is gone, and as large as in life.
    let small = Bounds { few: 5, window: 7 };
    for filter in &filters() {
        for sort in SORTS {
            for order in [SortOrder::Ascending, SortOrder::Descending] {
                let mut expected: Vec<&Sandbox> = sandboxes
                    .iter()
                    .filter(|sandbox| passes(sandbox, filter))
                    .collect();
                expected.sort_by_cached_key(|sandbox| {
                    let SandboxCursor { key, id } = SandboxCursor::of(sandbox, sort);
                    match key {
                        SortKey::Text(text) => (0, text, id),
                        SortKey::Number(number) => (number, String::new(), id),
                    }
                });
                if order == SortOrder::Descending {
                    expected.reverse();
                }
                let expected: Vec<SandboxId> = expected
                    .into_iter()
                    .map(|sandbox| sandbox.id.clone())
                    .collect();
                let as_in_life = (order == SortOrder::Ascending).then_some(search::BOUNDS);
                for bounds in std::iter::once(small).chain(as_in_life) {
                    let org = org(1);
                    let search = Search {
                        db: &tx,
                        org: &org,
                        filter,
                        sort,
                        order,
                        bounds,
                    };
                    let case = format!("{filter:?} {sort:?} {order:?} {bounds:?}");
                    assert_eq!(by_cursor(&search).await, expected, "{case}");
                    for offset in [3, 20] {
                        let (page, total) = search.page(offset, 4).await.unwrap();
                        let page: Vec<SandboxId> = page.into_iter().map(|found| found.id).collect();
                        let offset = usize::try_from(offset).unwrap();
                        let there: Vec<SandboxId> =
                            expected.iter().skip(offset).take(4).cloned().collect();
                        assert_eq!(page, there, "{case}");
                        assert_eq!(usize::try_from(total).unwrap(), expected.len(), "{case}");
                    }
                }
            }
        }
    }
}

async fn by_cursor(search: &Search<'_>) -> Vec<SandboxId> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = search.after(after.as_ref(), 16).await.unwrap();
        let Some(last) = page.last() else {
            return found;
        };
        after = Some(SandboxCursor::of(last, search.sort));
        found.extend(page.into_iter().map(|sandbox| sandbox.id));
    }
}

#[tokio::test]
async fn every_page_is_right_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("alcove.db")).await.unwrap();
    every_page_is_what_looking_at_every_sandbox_gives(store).await;
}

#[tokio::test]
async fn every_page_is_right_on_postgresql() {
    let store = Store::connect(&Postgres::new_database()).await.unwrap();
    every_page_is_what_looking_at_every_sandbox_gives(store).await;
}
