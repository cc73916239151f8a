//! Callers that go away in the middle of a request: what is written down is noted in memory all the same.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use alcove_control::{CameWith, DeviceRefusal, DeviceRequest, NewRegion};
use alcove_domain::{EndpointRequest, SessionHash, SshPublicKey};
use alcove_testkit::{TestControl, eventually, within};

use crate::support::*;
use crate::webhooks::manager;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEl1lrEVneRQJCdiInsfJGRYdjC78dwfSnbPt8o6fwcL";
const ENDPOINT: &str = "https://a.example.com/";

/// Goes away from a request that has waited so many times and waits again. Whether it was done before that.
async fn leave_after(waits: usize, request: impl Future) -> bool {
    let mut request = pin!(request);
    let mut left = waits;
    poll_fn(|context| match request.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending if left == 0 => Poll::Ready(false),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Waits for a turn to write: what was written before is there then.
async fn turn(kit: &TestControl) {
    drop(within("a turn to write", kit.store.begin()).await.unwrap());
}

/// Whether memory and store have the same regions, and how many.
async fn regions_agree(kit: &TestControl) -> Option<usize> {
    let shown = kit.control.list_regions(&kit.caller).await.unwrap();
    let written = kit.store.reader().region_list_all().await.unwrap();
    // The server's own has no row.
    (shown.len() - 1 == written.len()).then_some(written.len())
}

#[tokio::test]
async fn a_region_is_known_and_forgotten_wherever_its_caller_goes_away() {
    let kit = TestControl::open().await;
    for waits in 0.. {
        let request = NewRegion {
            name: format!("region-{waits}"),
            ..NewRegion::default()
        };
        let is_done = leave_after(waits, kit.control.create_region(&kit.caller, request)).await;
        turn(&kit).await;
        eventually(
            &format!("memory knows what is written, left after {waits} waits"),
            async || regions_agree(&kit).await.is_some(),
        )
        .await;
        if is_done {
            break;
        }
    }
    let made = kit.control.list_regions(&kit.caller).await.unwrap();
    for waits in 0.. {
        let written = kit.store.reader().region_list_all().await.unwrap();
        let Some(region) = written.first() else {
            assert!(made.len() > 1);
            break;
        };
        let deleted = kit.control.delete_region(&kit.caller, region.id.as_str());
        leave_after(waits, deleted).await;
        turn(&kit).await;
        eventually(
            &format!("memory forgets what is gone, left after {waits} waits"),
            async || regions_agree(&kit).await.is_some(),
        )
        .await;
    }
}

#[tokio::test]
async fn a_message_that_is_written_is_sent_wherever_its_sender_goes_away() {
    let kit = TestControl::open().await;
    let who = manager(&kit);
    let request = EndpointRequest {
        url: Some(ENDPOINT.to_owned()),
        events: Some(words(&["volume.created"])),
        ..EndpointRequest::default()
    };
    kit.control.create_endpoint(&who, request).await.unwrap();
    for waits in 0.. {
        let payload = format!("message {waits}");
        let sent = kit
            .control
            .send_webhook(&who, "volume.created", payload, None);
        let is_done = leave_after(waits, sent).await;
        turn(&kit).await;
        eventually(
            &format!("all that is written is sent, left after {waits} waits"),
            async || {
                let written = kit.control.list_webhook_messages(&who).await.unwrap();
                written.len() == kit.webhooks.bodies(ENDPOINT).len()
            },
        )
        .await;
        if is_done {
            assert!(!kit.webhooks.bodies(ENDPOINT).is_empty());
            break;
        }
    }
}

#[tokio::test]
async fn sessions_of_a_key_that_is_gone_end_wherever_whoever_removed_it_goes_away() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let blob = SshPublicKey::parse(KEY).unwrap().0.as_bytes().to_vec();
    for waits in 0.. {
        let key = kit.control.create_ssh_key(&kit.caller, KEY, None).await;
        let key = key.unwrap().id.to_string();
        let session = kit.control.open_ssh_by_key("box", &blob).await.unwrap();
        let removed = kit.control.delete_ssh_key(&kit.caller, &key);
        let is_done = leave_after(waits, removed).await;
        turn(&kit).await;
        let left = kit.control.list_ssh_keys(&kit.caller).await.unwrap();
        if left.is_empty() {
            let what = format!("the session ends, left after {waits} waits");
            within(&what, session.ended()).await;
        } else {
            // It may be on its way still.
            let _ = kit.control.delete_ssh_key(&kit.caller, &key).await;
        }
        if is_done {
            break;
        }
    }
}

#[tokio::test]
async fn a_program_that_goes_away_before_it_has_its_key_gets_it_when_it_asks_again() {
    let kit = TestControl::open().await;
    let mut person = kit.caller.clone();
    person.came_with = CameWith::Session(SessionHash([1; 32]));
    let request = DeviceRequest {
        client: "alcove".to_owned(),
        device: None,
    };
    let codes = kit.control.begin_device(request, None).await.unwrap();
    let decided = kit
        .control
        .decide_on_device(&person, &codes.user_code, true);
    decided.await.unwrap();
    let writing = kit.store.begin().await.unwrap();
    for _ in 0..3 {
        let asked = kit.control.redeem_device(&codes.device_code);
        assert!(!leave_after(0, asked).await, "nothing can be written");
        kit.clock.advance(Duration::from_mins(1));
    }
    drop(writing);
    let redeemed = kit.control.redeem_device(&codes.device_code);
    let made = within("a key", redeemed).await.unwrap().unwrap();
    assert!(kit.control.authenticate(&made.text).await.is_ok());
    let again = kit.control.redeem_device(&codes.device_code).await.unwrap();
    assert_eq!(again.unwrap_err(), DeviceRefusal::InvalidGrant);
}
