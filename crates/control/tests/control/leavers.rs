//! Callers that go away in the middle of a request: what is written down is noted in memory all the same.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use alcove_control::{CameWith, DeviceRefusal, DeviceRequest, NewRegion};
use alcove_domain::{EndpointRequest, SessionHash, SshPublicKey};
use alcove_testkit::{TestControl, eventually, within};
use futures_util::FutureExt as _;
use tokio::sync::Notify;

use crate::support::*;
use crate::webhooks::manager;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEl1lrEVneRQJCdiInsfJGRYdjC78dwfSnbPt8o6fwcL";
const ENDPOINT: &str = "https://a.example.com/";

/// What a request is woken by.
#[derive(Default)]
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// Goes away from a request as soon as what it writes is there, before it gets to do anything more.
async fn leave_once(is_written: impl AsyncFn() -> bool, request: impl Future) {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut request = pin!(request);
    let leaves = async {
        while !is_written().await {
            let polled = request.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                // On a busy machine it may be over before anybody sees: then this run shows nothing.
                return;
            }
            woken.0.notified().await;
        }
    };
    within("what is to be written", leaves).await;
}

/// The regions that memory has beside the server's own, and those that the store has.
async fn regions(kit: &TestControl) -> (usize, usize) {
    let shown = kit.control.list_regions(&kit.caller).await.unwrap();
    let written = kit.store.reader().region_list_all().await.unwrap();
    (shown.len() - 1, written.len())
}

#[tokio::test]
async fn a_region_is_known_and_forgotten_though_its_caller_goes_away() {
    let kit = TestControl::open().await;
    let request = NewRegion {
        name: "region".to_owned(),
        ..NewRegion::default()
    };
    let made = kit.control.create_region(&kit.caller, request);
    leave_once(async || regions(&kit).await.1 == 1, made).await;
    eventually("memory knows it", async || regions(&kit).await == (1, 1)).await;

    let written = kit.store.reader().region_list_all().await.unwrap();
    let id = written[0].id.as_str();
    let deleted = kit.control.delete_region(&kit.caller, id);
    leave_once(async || regions(&kit).await.1 == 0, deleted).await;
    eventually("memory forgets it", async || regions(&kit).await == (0, 0)).await;
}

#[tokio::test]
async fn a_message_that_is_written_is_sent_though_its_sender_goes_away() {
    let kit = TestControl::open().await;
    let who = manager(&kit);
    let request = EndpointRequest {
        url: Some(ENDPOINT.to_owned()),
        events: Some(words(&["volume.created"])),
        ..EndpointRequest::default()
    };
    kit.control.create_endpoint(&who, request).await.unwrap();
    let payload = "message".to_owned();
    let sent = kit
        .control
        .send_webhook(&who, "volume.created", payload, None);
    let is_written = async || {
        let written = kit.control.list_webhook_messages(&who).await.unwrap();
        !written.is_empty()
    };
    leave_once(is_written, sent).await;
    eventually("it is sent", async || {
        kit.webhooks.bodies(ENDPOINT) == ["message"]
    })
    .await;
}

#[tokio::test]
async fn sessions_of_a_key_that_is_gone_end_though_whoever_removed_it_goes_away() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let blob = SshPublicKey::parse(KEY).unwrap().0.as_bytes().to_vec();
    let key = kit.control.create_ssh_key(&kit.caller, KEY, None).await;
    let key = key.unwrap().id.to_string();
    let session = kit.control.open_ssh_by_key("box", &blob).await.unwrap();
    let is_gone = async || {
        let left = kit.control.list_ssh_keys(&kit.caller).await.unwrap();
        left.is_empty()
    };
    leave_once(is_gone, kit.control.delete_ssh_key(&kit.caller, &key)).await;
    within("the end of the session", session.ended()).await;
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
        assert!(asked.now_or_never().is_none(), "nothing can be written");
        kit.clock.advance(Duration::from_mins(1));
    }
    drop(writing);
    let redeemed = kit.control.redeem_device(&codes.device_code);
    let made = within("a key", redeemed).await.unwrap().unwrap();
    assert!(kit.control.authenticate(&made.text).await.is_ok());
    let again = kit.control.redeem_device(&codes.device_code).await.unwrap();
    assert_eq!(again.unwrap_err(), DeviceRefusal::InvalidGrant);
}
