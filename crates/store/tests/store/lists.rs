use alcove_domain::{
    DesiredState, Fault, FaultCode, Phase, SandboxClass, SandboxFilter, SandboxId, SandboxSort,
    SandboxState, SortOrder,
};
use alcove_store::{SandboxCursor, Store};
use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    filters_must_all_hold_and_wildcards_stand_for_themselves,
    pages_by_cursor_neither_skip_nor_repeat_in_any_sort,
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

async fn filters_must_all_hold_and_wildcards_stand_for_themselves(place: Place) {
    let store = place.open().await;
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

async fn pages_by_cursor_neither_skip_nor_repeat_in_any_sort(place: Place) {
    let store = place.open().await;
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
