use alcove_domain::{Phase, Quota, Resources, Sandbox, Usage};
use alcove_store::{QuotaKey, Store};

use crate::support::*;

on_both_databases! {
    the_ledger_follows_every_write_of_a_sandbox,
    what_a_resize_may_come_to_counts_while_it_goes_on,
    a_write_that_falls_leaves_the_ledger_as_it_was,
    a_recount_mends_a_ledger_that_is_off,
    limits_are_kept_replaced_and_taken_away,
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
    assert!(!tx.usage_recount().await.unwrap(), "nothing to mend");
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
    assert!(tx.usage_recount().await.unwrap());
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
