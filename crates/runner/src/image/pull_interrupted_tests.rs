//! Pulls that break off, are killed, fail at a step, run side by side, or are not wanted any more. With a real registry; they need root.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use alcove_runner_api::PullFaultCode;
use alcove_testkit::registry::{CuttingProxy, OCI_LAYER, TestRegistry};

use super::tests::{Place, big, insecure, layer, order, push, small};
use super::*;
use crate::image::Limits;

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    let registry = TestRegistry::open();
    let layer = big();
    let (digest, size) = (Sha256Digest::of(&layer.blob), layer.blob.len());
    push(&registry, "1", "amd64", &[layer]);
    let proxy = CuttingProxy::start(registry.port());
    let place = Place::plain(&proxy.host());
    let store = place.open();
    proxy.cut_after(1 << 20);
    let fault = place.pull(&store, &order(&proxy.host(), "1")).unwrap_err();
    assert_eq!(fault.code, PullFaultCode::Unreachable, "{fault:?}");
    assert_eq!(place.count("downloads"), 1);
    proxy.mend();
    let before = proxy.requests().len();
    place.pull(&store, &order(&proxy.host(), "1")).unwrap();
    let requests = proxy.requests().split_off(before);
    let last = requests
        .iter()
        .find(|request| request.contains(&digest.to_string()));
    let from = last.and_then(|request| request.split_once("bytes="));
    let from = from.and_then(|(_, range)| range.trim_end_matches('-').parse::<usize>().ok());
    let from = from.unwrap_or_else(|| panic!("no range: {requests:?}"));
    assert!((500_000..size).contains(&from), "{from}");
    assert_eq!(place.count("downloads"), 0);
}

const CHILD: &str = "ALCOVE_TEST_PULL";

/// The child of the test below: this very program, told by a variable to pull until it is killed.
#[test]
fn child_that_pulls() {
    if let Some(told) = std::env::var_os(CHILD) {
        let told = told.into_string().unwrap();
        let (folder, host) = told.split_once(' ').unwrap();
        let settings = RegistrySettings {
            hosts: [(host.to_owned(), insecure())].into(),
        };
        let store = ImageStore::open(&Path::new(folder).join("store")).unwrap();
        let parts = PullParts {
            settings: &Arc::new(settings),
            cancel: &Cancel::never(),
            progress: &|_| {},
        };
        store.pull(&order(host, "1"), &parts).unwrap();
    }
}

#[test]
fn a_pull_that_is_killed_goes_on_where_it_was() {
    let registry = TestRegistry::open();
    let layer = big();
    let digest = Sha256Digest::of(&layer.blob).to_string();
    push(&registry, "1", "amd64", &[layer]);
    let proxy = CuttingProxy::start(registry.port());
    let place = Place::plain(&proxy.host());
    for held in [300_u64 << 10, 600 << 10, 900 << 10] {
        proxy.hold_after(held);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg(format!(
                "{}::child_that_pulls",
                module_path!().split_once("::").unwrap().1
            ))
            .env(
                CHILD,
                format!("{} {}", place.folder.path().display(), proxy.host()),
            )
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !(proxy.is_used_up() && place.downloaded() > 0) && Instant::now() < deadline {
            assert_eq!(child.try_wait().unwrap(), None, "it has ended by itself");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        proxy.mend();
        let store = place.open();
        assert_eq!((store.list(), place.count("layers")), (Vec::new(), 0));
    }
    let store = place.open();
    place.pull(&store, &order(&proxy.host(), "1")).unwrap();
    let ranges: Vec<String> = proxy.requests_for(&digest);
    assert_eq!(ranges.len(), 4, "{ranges:?}");
    assert!(!ranges[0].contains("bytes="), "{ranges:?}");
    assert!(
        ranges[1..].iter().all(|one| one.contains("bytes=")),
        "{ranges:?}"
    );
}

#[test]
fn pulls_side_by_side_fetch_a_layer_once() {
    let registry = TestRegistry::open();
    let digest = Sha256Digest::of(&big().blob).to_string();
    push(
        &registry,
        "1",
        "amd64",
        &[big(), layer(OCI_LAYER, small("a"))],
    );
    push(
        &registry,
        "2",
        "amd64",
        &[big(), layer(OCI_LAYER, small("b"))],
    );
    let proxy = CuttingProxy::start(registry.port());
    let place = Place::plain(&proxy.host());
    let store = place.open();
    std::thread::scope(|scope| {
        for tag in ["1", "2"] {
            let (place, store, order) = (&place, &store, order(&proxy.host(), tag));
            scope.spawn(move || place.pull(store, &order).unwrap());
        }
    });
    assert_eq!(proxy.requests_for(&digest).len(), 1);
    assert_eq!(place.count("layers"), 3);
}

#[test]
fn a_pull_that_nobody_wants_any_more_ends() {
    let registry = TestRegistry::open();
    push(&registry, "1", "amd64", &[big()]);
    let place = Place::plain(&registry.host());
    let store = place.open();
    let cancel = Cancel::default();
    let seen = Mutex::new(Vec::new());
    let parts = PullParts {
        settings: &place.settings,
        cancel: &cancel,
        progress: &|progress| {
            seen.lock().unwrap().push(progress);
            if progress.done_bytes > 1 << 20 {
                cancel.cancel();
            }
        },
    };
    let error = store
        .pull(&order(&registry.host(), "1"), &parts)
        .unwrap_err();
    assert_eq!(error.to_fault().code, PullFaultCode::Cancelled);
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted_by_key(|progress| progress.done_bytes));
    assert!(seen.iter().all(|progress| progress.total_bytes > 3 << 20));
    // What has come stays for the next one.
    assert_eq!(place.count("downloads"), 1);
    place.pull(&store, &order(&registry.host(), "1")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_was_given_up_names_nothing_and_stands_in_nobodys_way() {
    use alcove_runner_api::PullState;
    let registry = TestRegistry::open();
    let layer = big();
    let digest = Sha256Digest::of(&layer.blob).to_string();
    push(&registry, "1", "amd64", &[layer]);
    let proxy = CuttingProxy::start(registry.port());
    let place = Place::plain(&proxy.host());
    let store = Arc::new(place.open());
    let settings = RegistrySettings {
        hosts: [(proxy.host(), insecure())].into(),
    };
    let pulls = crate::pulls::Pulls::new(Arc::clone(&store), settings);
    let order = order(&proxy.host(), "1");
    proxy.hold_at(&digest);
    let mut first = pulls.start(order.clone()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while proxy.requests_for(&digest).is_empty() {
        assert!(Instant::now() < deadline, "it asks for no layer");
        tokio::task::yield_now().await;
    }
    // The registry does not answer, and that takes the first one time to see.
    pulls.give_up(&order.name);
    store.forget_name(&order.name).unwrap();
    let mut second = pulls.start(order.clone()).unwrap();
    assert!(!second.borrow().is_over() && !first.borrow().is_over());
    proxy.mend();
    let limit = Duration::from_secs(30);
    let ended = tokio::time::timeout(limit, first.wait_for(PullState::is_over)).await;
    let ended = ended.unwrap().unwrap().clone();
    assert!(
        matches!(&ended, PullState::Failed { fault } if fault.code == PullFaultCode::Cancelled),
        "{ended:?}"
    );
    let ended = tokio::time::timeout(limit, second.wait_for(PullState::is_over)).await;
    let ended = ended.unwrap().unwrap().clone();
    assert!(matches!(ended, PullState::Done { .. }), "{ended:?}");
    // The end of the first one did not make the second one unknown, and neither holds the other's name.
    assert!(store.get_by_name(&order.name).is_some());
    pulls.close().await;
}

#[test]
fn a_pull_leaves_the_host_its_reserve_and_itself_no_trace() {
    let registry = TestRegistry::open();
    push(&registry, "1", "amd64", &[layer(OCI_LAYER, small("a"))]);
    let place = Place::plain(&registry.host());
    let all = Limits {
        disk_reserve_bytes: 1 << 60,
        ..Limits::default()
    };
    let store = ImageStore::open_with(&place.path("store"), all).unwrap();
    let fault = place
        .pull(&store, &order(&registry.host(), "1"))
        .unwrap_err();
    assert_eq!(fault.code, PullFaultCode::HostDiskFull, "{fault:?}");
    for folder in ["downloads", "layers", "tmp", "images"] {
        assert_eq!(place.count(folder), 0, "{folder}");
    }
    drop(store);
    // The control: with room it comes.
    place
        .pull(&place.open(), &order(&registry.host(), "1"))
        .unwrap();
}

/// Ends the pull at a step of it, once.
#[derive(Debug)]
struct FailAt(Step);

impl crate::faults::Faults for FailAt {
    fn at(&self, step: Step) -> io::Result<()> {
        if step == self.0 {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        Ok(())
    }
}

#[test]
fn a_pull_that_fails_at_any_step_leaves_no_image_and_its_layers_to_the_collector() {
    let registry = TestRegistry::open();
    push(&registry, "1", "amd64", &[layer(OCI_LAYER, small("a"))]);
    let order = order(&registry.host(), "1");
    for step in [
        Step::ImageDescribed,
        Step::LayerFetched,
        Step::LayerUnpacked,
        Step::LayerNamed,
        Step::LayerOwned,
        Step::ImageWritten,
    ] {
        let place = Place::plain(&registry.host());
        let store = place.open().with_faults(Arc::new(FailAt(step)));
        let fault = place.pull(&store, &order).unwrap_err();
        assert_eq!(fault.code, PullFaultCode::HostDiskFull, "{step:?}");
        assert_eq!(store.get_by_name(&order.name), None, "{step:?}");
        let store = store.with_faults(Arc::new(crate::faults::NoFaults));
        // Nothing has a name: the collector takes all of it, in this process as in the next.
        store.collect(&std::collections::BTreeSet::new()).unwrap();
        for folder in ["layers", "tmp", "images"] {
            assert_eq!(place.count(folder), 0, "{step:?}: {folder}");
        }
        place.pull(&store, &order).unwrap();
        assert!(store.get_by_name(&order.name).is_some(), "{step:?}");
    }
}
