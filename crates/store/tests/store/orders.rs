use alcove_domain::{DesiredState, Goal, SandboxState};
use alcove_store::{Claim, NewOutboxEntry, OpenCommand, OutboxChange, OutboxEvent, OwnerId};

use crate::support::*;

on_both_databases! {
    a_newer_order_takes_the_place_of_the_older_and_the_older_cannot_be_finished,
    a_claim_needs_a_lapsed_lease_or_ones_own_or_a_dead_holder,
    the_outbox_keeps_order_and_the_whole_sandbox,
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

async fn a_newer_order_takes_the_place_of_the_older_and_the_older_cannot_be_finished(place: Place) {
    let store = place.open().await;
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

async fn a_claim_needs_a_lapsed_lease_or_ones_own_or_a_dead_holder(place: Place) {
    let store = place.open().await;
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

async fn the_outbox_keeps_order_and_the_whole_sandbox(place: Place) {
    let store = place.open().await;
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
    assert_eq!(tx.commit_events().await.unwrap(), sequence);
    let read = store.reader().outbox_list_after(0, 10).await.unwrap();
    let wanted = changes.map(|change| OutboxEvent::Sandbox {
        change,
        sandbox: Box::new(first.clone()),
    });
    let found: Vec<_> = read.iter().map(|entry| entry.event.clone()).collect();
    assert_eq!(found, wanted);
    let last = store.reader().outbox_last_sequence().await.unwrap();
    assert_eq!(last, read[2].sequence);
    assert_eq!(sequence, Some(last));
    let tx = store.begin().await.unwrap();
    assert_eq!(tx.outbox_prune(at(21), i64::MAX).await.unwrap(), 3);
    tx.outbox_append(&entries[..1]).await.unwrap();
    tx.commit().await.unwrap();
    let next = store.reader().outbox_list_after(last, 10).await.unwrap();
    assert_eq!(next.len(), 1, "a sequence is never used twice");
}
