//! Pulls that nobody wants any more, or that have had their time, ask for nothing more.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::tests::{Place, order};
use super::*;

/// Looks for an image at a registry that hangs up, and tells how many times it was called.
fn find(cancel: &Cancel, began: Instant) -> (PullError, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    std::thread::spawn(move || {
        for _ in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let place = Place::plain(&host);
    let store = place.open();
    let order = order(&host, "1");
    let reference = parse_reference(&order.reference).unwrap();
    let endpoint = place.settings.endpoints(reference.registry(), None, false);
    let endpoint = endpoint.into_iter().next().unwrap();
    let puller = Puller {
        store: &store,
        client: Client::new(&place.settings, endpoint, reference.repository()).unwrap(),
        order: &order,
        owner: owner_name(&order.owner),
        parts: &PullParts {
            settings: &place.settings,
            cancel,
            progress: &|_| {},
        },
        began,
    };
    let error = puller.find(&reference).unwrap_err();
    (error, calls.load(Ordering::Relaxed))
}

#[test]
fn a_pull_that_nobody_wants_asks_for_nothing() {
    let cancel = Cancel::default();
    cancel.cancel();
    let (error, calls) = find(&cancel, Instant::now());
    assert!(matches!(error, PullError::Cancelled), "{error:?}");
    assert_eq!(calls, 0);
}

#[test]
fn a_pull_that_has_had_its_time_asks_for_nothing() {
    let began = Instant::now()
        .checked_sub(TIME_LIMIT + Duration::from_secs(1))
        .unwrap();
    let (error, calls) = find(&Cancel::never(), began);
    let fault = error.to_fault();
    assert_eq!(fault.code, PullFaultCode::Unreachable);
    assert!(
        fault.message.contains("longer than 60 minutes"),
        "{fault:?}"
    );
    assert_eq!(calls, 0);
}

#[test]
fn a_pull_that_is_wanted_and_has_time_asks_again_what_fails() {
    let (error, calls) = find(&Cancel::never(), Instant::now());
    assert_eq!(error.to_fault().code, PullFaultCode::Unreachable);
    assert!(calls >= ATTEMPTS as usize, "{calls}");
}
