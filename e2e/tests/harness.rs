//! The tests' own tools: what a test that panics leaves behind.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::mpsc;

use alcove_e2e::host::Traces;
use alcove_e2e::instance::{Foundations, Names, own_pool};
use alcove_e2e::runner::TestRunner;

/// Starts a runner with a sandbox, shows that both are on the host, and panics.
fn panic_with_a_sandbox() -> Names {
    let (names_to, names) = mpsc::sync_channel(1);
    let test = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let host = TestRunner::start().await;
            host.run("left-behind").await;
            let names = host.instance.names.clone();
            let (traces, foundations) = (names.traces(), names.foundations());
            names_to.send((names, traces, foundations)).unwrap();
            panic!("on purpose: the harness has to clean up");
        });
    });
    let (names, traces, foundations) = names.recv().unwrap();
    assert!(test.join().is_err(), "the test was meant to panic");

    assert!(!traces.cgroups.is_empty(), "{traces:?}");
    assert!(!traces.interfaces.is_empty(), "{traces:?}");
    assert!(!traces.loop_devices.is_empty(), "{traces:?}");
    assert!(!traces.processes.is_empty(), "{traces:?}");
    assert_eq!(foundations.spawners.len(), 1, "{foundations:?}");
    assert!(foundations.has_table && foundations.has_gateway && foundations.has_groups);
    names
}

#[test]
fn a_test_that_panics_leaves_nothing_on_the_host() {
    let names = panic_with_a_sandbox();
    assert_eq!(names.traces(), Traces::default());
    assert_eq!(names.foundations(), Foundations::default());
    assert!(!names.data_dir.exists());
}

#[test]
fn two_tests_never_get_the_same_pool() {
    let (first, second) = (own_pool(), own_pool());
    assert_ne!(first, second);
    assert!(!first.contains(second.gateway()), "{first} and {second}");
}
