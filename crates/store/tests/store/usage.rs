use alcove_domain::{Phase, Quota, Resources, Sandbox, Usage};
use alcove_store::{QuotaKey, Store, UsagePeriods};

use crate::support::*;

on_both_databases! {
    the_ledger_follows_every_write_of_a_sandbox,
    what_a_resize_may_come_to_counts_while_it_goes_on,
    a_write_that_falls_leaves_the_ledger_as_it_was,
    a_recount_mends_a_ledger_that_is_off,
    limits_are_kept_replaced_and_taken_away,
    periods_follow_every_change_without_a_gap,
    a_recount_mends_periods_too,
}

async fn update(store: &Store, sandbox: &mut Sandbox, phase: Phase) {
    sandbox.lifecycle.phase = phase;
    sandbox.version += 1;
    let tx = store.begin().await.unwrap();
    tx.sandbox_update(sandbox).await.unwrap();
    tx.commit().await.unwrap();
}

async fn total(store: &Store) -> Usage {
    let key = QuotaKey::of(&sandbox(1, ""));
    store.reader().usage_total(&key).await.unwrap()
}

async fn is_exact(store: &Store) -> bool {
    store.reader().usage_is_exact().await.unwrap()
}

async fn the_ledger_follows_every_write_of_a_sandbox(place: Place) {
    let store = place.open().await;
    let mut first = sandbox(1, "a");
    let mut second = sandbox(2, "b");
    insert(&store, &first).await.unwrap();
    insert(&store, &second).await.unwrap();
    let both = total(&store).await;
    assert_eq!((both.sandboxes, both.cpu_cores, both.disk_gib), (2, 2, 6));
    update(&store, &mut first, Phase::Stopped { fault: None }).await;
    update(&store, &mut second, Phase::Destroying).await;
    let left = total(&store).await;
    assert_eq!((left.sandboxes, left.cpu_cores, left.disk_gib), (1, 0, 3));
    assert!(is_exact(&store).await);
    update(&store, &mut first, Phase::Destroying).await;
    update(&store, &mut first, Phase::Destroyed).await;
    assert_eq!(total(&store).await, Usage::default());
    assert!(is_exact(&store).await);
}

async fn what_a_resize_may_come_to_counts_while_it_goes_on(place: Place) {
    let store = place.open().await;
    let mut one = sandbox(1, "a");
    insert(&store, &one).await.unwrap();
    let to = Resources {
        cpu_cores: 4,
        disk_gib: 9,
        ..Resources::DEFAULT
    };
    update(&store, &mut one, Phase::Resizing { to }).await;
    let held = total(&store).await;
    assert_eq!((held.cpu_cores, held.memory_gib, held.disk_gib), (4, 1, 9));
    assert!(is_exact(&store).await);
    update(&store, &mut one, Phase::Started).await;
    assert_eq!(total(&store).await.cpu_cores, 1, "it failed");
    assert!(is_exact(&store).await);
}

async fn a_write_that_falls_leaves_the_ledger_as_it_was(place: Place) {
    let store = place.open().await;
    insert(&store, &sandbox(1, "a")).await.unwrap();
    let tx = store.begin().await.unwrap();
    tx.sandbox_insert(&sandbox(2, "b")).await.unwrap();
    let key = QuotaKey::of(&sandbox(1, ""));
    assert_eq!(tx.usage_total(&key).await.unwrap().sandboxes, 2);
    drop(tx);
    assert!(insert(&store, &sandbox(3, "a")).await.is_err(), "taken");
    assert_eq!(total(&store).await.sandboxes, 1);
    assert!(is_exact(&store).await);
}

async fn a_recount_mends_a_ledger_that_is_off(place: Place) {
    let store = place.open().await;
    insert(&store, &sandbox(1, "a")).await.unwrap();
    let tx = store.begin().await.unwrap();
    assert!(!tx.usage_recount(at(9)).await.unwrap(), "nothing to mend");
    drop(tx);
    let foreign = sandbox(9, "").id;
    for sql in [
        "UPDATE usage_entries SET cpu_cores = 5".to_owned(),
        "UPDATE usage_totals SET sandboxes = 7".to_owned(),
        format!(
            "INSERT INTO usage_entries VALUES ('{foreign}', '{}', 'us', 'container', 1, 1, 1, 1, 0)",
            org()
        ),
    ] {
        place.execute(&sql).await;
        assert!(!is_exact(&store).await, "{sql}");
    }
    let tx = store.begin().await.unwrap();
    assert!(tx.usage_recount(at(9)).await.unwrap());
    tx.commit().await.unwrap();
    assert!(is_exact(&store).await);
    assert_eq!(total(&store).await.cpu_cores, 1);
}

async fn limits_are_kept_replaced_and_taken_away(place: Place) {
    let store = place.open().await;
    let key = QuotaKey::of(&sandbox(1, ""));
    let quota = |cpu| Quota {
        total_cpu_cores: Some(cpu),
        sandbox_lasting_disk_gib: Some(0),
        ..Quota::default()
    };
    assert_eq!(store.reader().quota_find(&key).await.unwrap(), None);
    let tx = store.begin().await.unwrap();
    tx.quota_put(&key, &quota(1)).await.unwrap();
    tx.quota_put(&key, &quota(2)).await.unwrap();
    tx.commit().await.unwrap();
    let listed = store.reader().quota_list(&org()).await.unwrap();
    assert_eq!(listed, [(key.clone(), quota(2))]);
    let tx = store.begin().await.unwrap();
    assert!(tx.quota_delete(&key).await.unwrap());
    assert!(!tx.quota_delete(&key).await.unwrap());
}

fn all() -> UsagePeriods {
    UsagePeriods {
        organization: org(),
        sandbox: None,
        from: at(0),
        to: at(1_000_000),
    }
}

/// Processors, disk, beginning and end, in seconds.
async fn periods(store: &Store, wanted: &UsagePeriods) -> Vec<(u64, u64, i64, Option<i64>)> {
    let page = store.reader().usage_period_page(wanted, 1, 100).await;
    let page = page.unwrap();
    assert_eq!(page.total, page.items.len() as u64);
    let items = page.items.into_iter();
    items
        .map(|period| {
            (
                period.cpu_cores,
                period.disk_gib,
                period.started_at.as_second(),
                period.ended_at.map(jiff::Timestamp::as_second),
            )
        })
        .collect()
}

async fn periods_follow_every_change_without_a_gap(place: Place) {
    let store = place.open().await;
    let mut one = sandbox(1, "a");
    one.updated_at = at(10);
    insert(&store, &one).await.unwrap();
    let mut change = async |second: i64, phase: Phase| {
        one.updated_at = at(second);
        update(&store, &mut one, phase).await;
    };
    change(20, Phase::Started).await;
    change(30, Phase::Stopped { fault: None }).await;
    change(50, Phase::Destroying).await;
    change(60, Phase::Destroyed).await;
    let told = periods(&store, &all()).await;
    assert_eq!(told[0], (1, 3, 10, Some(30)), "{told:?}");
    assert_eq!(told[1].2, 30);
    assert!(told.iter().all(|period| period.3.is_some()), "{told:?}");
    let ends = told.windows(2).all(|pair| pair[0].3 == Some(pair[1].2));
    assert!(ends, "no gap: {told:?}");
    assert!(is_exact(&store).await);

    for (from, to, count) in [
        (0, 10, 0),
        (0, 11, 1),
        (29, 30, 1),
        (30, 31, 1),
        (29, 31, 2),
    ] {
        let wanted = UsagePeriods {
            from: at(from),
            to: at(to),
            ..all()
        };
        assert_eq!(periods(&store, &wanted).await.len(), count, "{from} {to}");
    }
    let other = UsagePeriods {
        sandbox: Some(sandbox(2, "").id),
        ..all()
    };
    assert!(periods(&store, &other).await.is_empty());
    let page = store.reader().usage_period_page(&all(), 2, 1).await;
    assert_eq!(page.unwrap().items[0].started_at, at(30));

    let tx = store.begin().await.unwrap();
    tx.usage_period_prune(at(31)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(periods(&store, &all()).await, &told[1..]);
}

async fn a_recount_mends_periods_too(place: Place) {
    let store = place.open().await;
    let mut one = sandbox(1, "a");
    one.updated_at = at(10);
    insert(&store, &one).await.unwrap();
    place
        .execute("UPDATE usage_periods SET cpu_cores = 7")
        .await;
    assert!(!is_exact(&store).await);
    let tx = store.begin().await.unwrap();
    assert!(tx.usage_recount(at(40)).await.unwrap());
    tx.commit().await.unwrap();
    assert!(is_exact(&store).await);
    let told = periods(&store, &all()).await;
    assert_eq!(told, [(7, 3, 10, Some(40)), (1, 3, 40, None)]);
}
