//! What crashing programs leave on the host.

use alcove_e2e::runner::TestRunner;

use crate::support::Inside;

/// Where the host hands crashes to a program of its own (systemd, apport), that program would run as the host's
/// root on what a sandbox wrote, and keep it on the host's disk.
#[tokio::test]
async fn a_crash_inside_is_not_handed_to_the_host() {
    let host = TestRunner::start().await;
    for inside in Inside::both(&host).await {
        // A limit of one byte, other than zero, also stops a core pattern that is a program.
        let limit = inside
            .expect("grep 'core file' /proc/self/limits | tr -s ' '")
            .await;
        assert_eq!(limit, "Max core file size 1 1 bytes");
        inside.sh("cd /tmp && ulimit -c unlimited").await;
        let (code, _) = inside.sh("cd /tmp && sh -c 'kill -SEGV $$'").await;
        assert_eq!(code, 139, "the control: it crashed");
        assert_eq!(inside.expect("ls /tmp | grep core; true").await, "");
    }
}
