//! What the kernel counts for each user of a host. All sandboxes are started by one user of the host; if the kernel
//! counted them as that user's, one of them could leave nothing for the others and for the host.

use alcove_e2e::runner::TestRunner;

use crate::support::{Inside, on_host};

fn count(outcome: &str) -> u32 {
    outcome
        .strip_prefix("ok ")
        .unwrap_or_else(|| panic!("{outcome}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn queues_of_file_events_run_out_for_their_sandbox_only() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    let before = count(&root.probe("inotify").await);
    let held = count(&user.hold("inotify hold").await);
    assert!(held >= 16, "{held}");
    assert_eq!(
        count(&user.probe("inotify").await),
        0,
        "the control: they have run out"
    );
    assert_eq!(count(&root.probe("inotify").await), before);
    assert!(count(&on_host("inotify")) > 0);
}

#[tokio::test]
async fn waiting_signals_run_out_for_their_sandbox_only() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    let held = count(&user.hold("signals hold").await);
    assert!(held > 1000, "{held}");
    assert!(
        count(&user.probe("signals").await) < 100,
        "the control: they have run out"
    );
    assert!(count(&root.probe("signals").await) > 1000);
    assert!(count(&on_host("signals")) > 1000);
}

#[tokio::test]
async fn terminals_run_out_for_their_sandbox_only() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    let held = count(&user.hold("terminals hold").await);
    assert!((32..=256).contains(&held), "{held}");
    assert_eq!(
        count(&user.probe("terminals").await),
        0,
        "the control: they have run out"
    );
    assert!(count(&root.probe("terminals").await) >= 32);
}

/// The kernel has one number of waiting requests for the whole host, so there is nothing to share out.
#[tokio::test]
async fn requests_to_disks_that_nobody_waits_for_are_not_to_be_had() {
    let host = TestRunner::start().await;
    let attempt = format!("syscall {} 65536 0", libc::SYS_io_setup);
    assert_eq!(on_host(&attempt), "EFAULT", "the control");
    for inside in Inside::both(&host).await {
        assert_eq!(inside.probe(&attempt).await, "ENOSYS");
    }
}
