use alcove_domain::audit::{NumberFilter, TextFilter};
use alcove_domain::{AuditEntry, AuditFilter, AuditKey, AuditScope, OrganizationId};
use alcove_store::{AuditFault, AuditPage, Deed, Store, acting};

use uuid::Uuid;

use crate::support::*;

on_both_databases! {
    rows_are_kept_as_they_were_written,
    an_action_is_written_with_the_first_transaction_that_ends_well,
    what_is_asked_for_is_found_and_nothing_of_another_organization,
    pages_by_place_stay_while_rows_are_added,
    whatever_is_done_to_rows_is_found,
    the_head_of_a_log_goes_and_the_rest_still_holds,
    what_happened_to_one_is_told_in_the_order_of_time,
}

fn other_org() -> OrganizationId {
    OrganizationId::from_uuid(Uuid::from_u128(8))
}

fn entry(number: i64) -> AuditEntry {
    let mut entry = AuditEntry::new(format!("id{number}"), at(number), "create");
    entry.organization = Some(org());
    entry
}

async fn write(store: &Store, entries: Vec<AuditEntry>) {
    let tx = store.begin().await.unwrap();
    tx.audit_append(entries).await.unwrap();
    tx.commit().await.unwrap();
}

fn newest() -> AuditPage {
    AuditPage::Before {
        sequence: None,
        limit: 100,
    }
}

async fn ids(store: &Store, scope: &AuditScope, filter: &AuditFilter) -> Vec<String> {
    let rows = store.reader().audit_list(scope, filter, newest()).await;
    let rows = rows.unwrap();
    let count = store.reader().audit_count(scope, filter).await.unwrap();
    assert_eq!(count, rows.len() as u64);
    rows.into_iter().map(|row| row.entry.id).collect()
}

async fn rows_are_kept_as_they_were_written(place: Place) {
    let store = place.open().await;
    let mut full = entry(1);
    "u".clone_into(&mut full.actor_id);
    "é@b.c".clone_into(&mut full.actor_email);
    full.actor_key = Some(AuditKey {
        name: "k".to_owned(),
        prefix: "dtn".to_owned(),
        suffix: "xyz".to_owned(),
    });
    full.target_type = Some("sandbox".to_owned());
    full.target_id = Some("s".to_owned());
    full.status = Some(200);
    full.error = Some("e".to_owned());
    full.address = Some("::1".to_owned());
    full.user_agent = Some("a".to_owned());
    full.source = Some("cli".to_owned());
    full.metadata.insert("path".to_owned(), "/\"x".to_owned());
    let mut of_server = entry(2);
    of_server.organization = None;
    write(&store, vec![full.clone(), of_server.clone()]).await;
    write(&store, vec![entry(3)]).await;
    let page = AuditPage::After {
        sequence: 0,
        limit: 9,
    };
    let all = store.reader();
    let all = all
        .audit_list(&AuditScope::All, &AuditFilter::default(), page)
        .await;
    let all = all.unwrap();
    let entries: Vec<_> = all.iter().map(|row| row.entry.clone()).collect();
    assert_eq!(entries, [full, of_server, entry(3)]);
    let numbers: Vec<_> = all.iter().map(|row| row.number).collect();
    assert_eq!(numbers, [1, 1, 2]);
    assert_eq!(all[2].previous_hash, all[0].hash);
    let checked = store.reader().audit_verify().await.unwrap().unwrap();
    let rows: Vec<_> = checked.iter().map(|log| (log.rows, log.last.0)).collect();
    assert_eq!(rows, [(1, 1), (2, 2)]);
}

async fn an_action_is_written_with_the_first_transaction_that_ends_well(place: Place) {
    let store = place.open().await;
    let mut deed = entry(1);
    deed.target_type = Some("user".to_owned());
    let deed = Deed::new(deed, 201);
    deed.note_actor(Some(&org()), |entry| "me".clone_into(&mut entry.actor_id));
    acting(Some(deed.clone()), async {
        let tx = store.begin().await.unwrap().beside_the_action();
        tx.commit().await.unwrap();
        drop(store.begin().await.unwrap());
        assert!(
            ids(&store, &AuditScope::All, &AuditFilter::default())
                .await
                .is_empty()
        );
        for _ in 0..2 {
            store.begin().await.unwrap().commit().await.unwrap();
        }
    })
    .await;
    store.begin().await.unwrap().commit().await.unwrap();
    let rows = store.reader();
    let rows = rows
        .audit_list(&AuditScope::All, &AuditFilter::default(), newest())
        .await;
    let rows = rows.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].entry.status, Some(201));
    assert_eq!(rows[0].entry.actor_id, "me");
    assert_eq!(deed.finish("2".to_owned(), 201, None), None);
}

async fn what_is_asked_for_is_found_and_nothing_of_another_organization(place: Place) {
    let store = place.open().await;
    let mut entries = Vec::new();
    for number in 1..=4_u8 {
        let mut entry = entry(i64::from(number));
        entry.status = (number != 4).then_some(198 + u16::from(number));
        entry.target_id = Some(format!("t{}", number % 2));
        entry.source = (number == 2).then(|| "cli".to_owned());
        entry.actor_key = (number == 2).then(|| AuditKey {
            name: "k".to_owned(),
            prefix: "dtn".to_owned(),
            suffix: "xyz".to_owned(),
        });
        entries.push(entry);
    }
    let mut of_other = entry(5);
    of_other.organization = Some(other_org());
    of_other.target_id = Some("t1".to_owned());
    entries.push(of_other);
    write(&store, entries).await;
    let mine = AuditScope::Organization(org());
    let all = AuditFilter::default();
    assert_eq!(ids(&store, &mine, &all).await, ["id4", "id3", "id2", "id1"]);
    assert_eq!(ids(&store, &AuditScope::All, &all).await.len(), 5);
    let target = AuditScope::Target(org(), "t1".to_owned());
    assert_eq!(ids(&store, &target, &all).await, ["id3", "id1"]);

    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    for (wanted, found) in [
        (
            TextFilter {
                equals: Some("dtn".to_owned()),
                ..TextFilter::default()
            },
            &["id2"][..],
        ),
        (
            TextFilter {
                not: Some("dtn".to_owned()),
                ..TextFilter::default()
            },
            &["id4", "id3", "id1"],
        ),
        (
            TextFilter {
                among: texts(&["dtn", "x"]),
                ..TextFilter::default()
            },
            &["id2"],
        ),
        (
            TextFilter {
                not_among: texts(&["dtn"]),
                ..TextFilter::default()
            },
            &["id4", "id3", "id1"],
        ),
    ] {
        let filter = AuditFilter {
            key_prefix: wanted,
            ..AuditFilter::default()
        };
        assert_eq!(ids(&store, &mine, &filter).await, found);
    }
    let number = NumberFilter::default;
    for (wanted, found) in [
        (
            NumberFilter {
                equals: Some(200),
                ..number()
            },
            &["id2"][..],
        ),
        (
            NumberFilter {
                not: Some(200),
                ..number()
            },
            &["id4", "id3", "id1"],
        ),
        (
            NumberFilter {
                among: vec![199, 201],
                ..number()
            },
            &["id3", "id1"],
        ),
        (
            NumberFilter {
                not_among: vec![199, 201],
                ..number()
            },
            &["id4", "id2"],
        ),
        (
            NumberFilter {
                from: Some(200),
                ..number()
            },
            &["id3", "id2"],
        ),
        (
            NumberFilter {
                to: Some(200),
                ..number()
            },
            &["id2", "id1"],
        ),
        (
            NumberFilter {
                above: Some(200),
                ..number()
            },
            &["id3"],
        ),
        (
            NumberFilter {
                below: Some(200),
                ..number()
            },
            &["id1"],
        ),
    ] {
        let filter = AuditFilter {
            status: wanted,
            ..AuditFilter::default()
        };
        assert_eq!(ids(&store, &mine, &filter).await, found, "{filter:?}");
    }
}

async fn pages_by_place_stay_while_rows_are_added(place: Place) {
    let store = place.open().await;
    write(&store, (1..=5).map(entry).collect()).await;
    let scope = AuditScope::Organization(org());
    let all = AuditFilter::default();
    let mut seen = Vec::new();
    let mut sequence = None;
    loop {
        let page = AuditPage::Before { sequence, limit: 2 };
        let rows = store.reader().audit_list(&scope, &all, page).await.unwrap();
        let Some(last) = rows.last() else { break };
        sequence = Some(last.sequence);
        seen.extend(rows.into_iter().map(|row| row.entry.id));
        write(&store, vec![entry(9)]).await;
    }
    assert_eq!(seen, ["id5", "id4", "id3", "id2", "id1"]);
    let page = AuditPage::Skipping { rows: 3, limit: 2 };
    let rows = store.reader().audit_list(&scope, &all, page).await.unwrap();
    let ids: Vec<_> = rows.into_iter().map(|row| row.entry.id).collect();
    assert_eq!(ids, ["id5", "id4"]);
}

async fn whatever_is_done_to_rows_is_found(place: Place) {
    let store = place.open().await;
    write(&store, (1..=5).map(entry).collect()).await;
    let found = async || {
        let broken = store.reader().audit_verify().await.unwrap().unwrap_err();
        assert_eq!(broken.log, org().as_str());
        (broken.number, broken.fault)
    };
    for (change, back, expected) in [
        (
            "UPDATE audit_rows SET actor_id = 'x' WHERE number = 3",
            "UPDATE audit_rows SET actor_id = '' WHERE number = 3",
            (3, AuditFault::Changed),
        ),
        (
            "UPDATE audit_rows SET number = 33 WHERE number = 3",
            "UPDATE audit_rows SET number = 3 WHERE number = 33",
            (3, AuditFault::Missing),
        ),
        (
            "UPDATE audit_logs SET last_number = 4",
            "UPDATE audit_logs SET last_number = 5",
            (5, AuditFault::Surplus),
        ),
        (
            "UPDATE audit_logs SET last_number = 6",
            "UPDATE audit_logs SET last_number = 5",
            (6, AuditFault::Missing),
        ),
        (
            "UPDATE audit_logs SET log = 'x'",
            "SELECT 1",
            (1, AuditFault::Surplus),
        ),
    ] {
        assert!(store.reader().audit_verify().await.unwrap().is_ok());
        place.execute(change).await;
        assert_eq!(found().await, expected, "{change}");
        place.execute(back).await;
    }
}

async fn the_head_of_a_log_goes_and_the_rest_still_holds(place: Place) {
    let store = place.open().await;
    write(&store, (1..=7).map(entry).collect()).await;
    let prune = async |before: i64, limit| {
        let tx = store.begin().await.unwrap();
        let more = tx.audit_prune(org().as_str(), at(before), limit).await;
        tx.commit().await.unwrap();
        more.unwrap()
    };
    assert!(prune(5, 2).await);
    assert!(prune(5, 2).await);
    assert!(!prune(5, 2).await);
    let scope = AuditScope::Organization(org());
    let all = AuditFilter::default();
    assert_eq!(ids(&store, &scope, &all).await, ["id7", "id6", "id5"]);
    let checked = store.reader().audit_verify().await.unwrap().unwrap();
    assert_eq!((checked[0].rows, checked[0].last.0), (3, 7));
    assert_eq!(
        store.reader().audit_hash(org().as_str(), 7).await.unwrap(),
        Some(checked[0].last.1.clone())
    );
    assert!(!prune(9, 100).await);
    assert!(ids(&store, &scope, &all).await.is_empty());
    assert!(store.reader().audit_verify().await.unwrap().is_ok());
    write(&store, vec![entry(8)]).await;
    let checked = store.reader().audit_verify().await.unwrap().unwrap();
    assert_eq!((checked[0].rows, checked[0].last.0), (1, 8));
    assert_eq!(store.reader().audit_logs().await.unwrap(), [org().as_str()]);
}

async fn what_happened_to_one_is_told_in_the_order_of_time(place: Place) {
    let store = place.open().await;
    // The rows of what a host saw come later than they happened.
    let times = [5, 3, 9, 3, 7];
    let entries = times.iter().zip(1..).map(|(second, number)| {
        let mut entry = entry(number);
        entry.at = at(*second);
        entry.target_id = Some("t".to_owned());
        entry
    });
    write(&store, entries.collect()).await;
    let mut other = entry(9);
    other.target_id = Some("t".to_owned());
    other.organization = Some(other_org());
    write(&store, vec![other]).await;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let all = AuditFilter::default();
        let rows = store.reader();
        let rows = rows.audit_history(&org(), "t", &all, after, 2).await;
        let rows = rows.unwrap();
        let Some(last) = rows.last() else { break };
        after = Some((last.entry.at, last.sequence));
        seen.extend(rows.into_iter().map(|row| row.entry.id));
    }
    assert_eq!(seen, ["id2", "id4", "id1", "id5", "id3"]);
}
