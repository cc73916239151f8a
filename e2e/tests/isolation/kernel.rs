//! The kernel's calls.

use alcove_e2e::runner::TestRunner;

use crate::support::{Inside, PROBE, on_host};

/// A call with arguments that do nothing even where it is allowed, and whether the host's root may make it on every
/// machine: there it must fail for another reason than a missing right, or succeed.
struct Call {
    name: &'static str,
    number: i64,
    arguments: &'static str,
    is_open_on_host: bool,
}

const fn open(name: &'static str, number: i64, arguments: &'static str) -> Call {
    Call {
        name,
        number,
        arguments,
        is_open_on_host: true,
    }
}

/// Not every kernel has it, or not every root may.
const fn rare(name: &'static str, number: i64, arguments: &'static str) -> Call {
    Call {
        name,
        number,
        arguments,
        is_open_on_host: false,
    }
}

const NEWUSER: &str = "0x10000000";

const REFUSED: &[Call] = &[
    // Namespaces and mounts.
    open("unshare user", libc::SYS_unshare, NEWUSER),
    open("unshare mount", libc::SYS_unshare, "0x20000"),
    open("unshare network", libc::SYS_unshare, "0x40000000"),
    open("unshare nothing", libc::SYS_unshare, "0"),
    open("setns", libc::SYS_setns, "-1 0"),
    open("mount", libc::SYS_mount, "0 0 0 0 0"),
    open("umount2", libc::SYS_umount2, "0 0"),
    open("pivot_root", libc::SYS_pivot_root, "0 0"),
    open("open_tree", libc::SYS_open_tree, "-1 0 1"),
    open("move_mount", libc::SYS_move_mount, "-1 0 -1 0 0"),
    open("fsopen", libc::SYS_fsopen, "0 0"),
    open("fsconfig", libc::SYS_fsconfig, "-1 0 0 0 0"),
    open("fsmount", libc::SYS_fsmount, "-1 0 0"),
    open("fspick", libc::SYS_fspick, "-1 0 0"),
    open("mount_setattr", libc::SYS_mount_setattr, "-1 0 0 0 0"),
    rare("statmount", 457, "0 0 0 0"),
    rare("listmount", 458, "0 0 0 0"),
    open("open_by_handle_at", libc::SYS_open_by_handle_at, "-1 0 0"),
    rare("quotactl", libc::SYS_quotactl, "0 0 0 0"),
    open("swapon", libc::SYS_swapon, "0 0"),
    open("swapoff", libc::SYS_swapoff, "0"),
    // Programs in the kernel, and looks into it.
    open("bpf", libc::SYS_bpf, "0x7fffffff 0 0"),
    open("perf_event_open", libc::SYS_perf_event_open, "0 0 0 0 0"),
    open("userfaultfd", libc::SYS_userfaultfd, "0x7fffffff"),
    open("io_submit", libc::SYS_io_submit, "0 0 0"),
    open("io_destroy", libc::SYS_io_destroy, "0"),
    open("io_uring_setup", libc::SYS_io_uring_setup, "0 0"),
    open("io_uring_enter", libc::SYS_io_uring_enter, "-1 0 0 0 0 0"),
    open("io_uring_register", libc::SYS_io_uring_register, "-1 0 0 0"),
    open("fanotify_init", libc::SYS_fanotify_init, "0x7fffffff 0"),
    open("kcmp", libc::SYS_kcmp, "0 0 0x7fffffff 0 0"),
    open("syslog", libc::SYS_syslog, "0x7fffffff 0 0"),
    rare("lookup_dcookie", libc::SYS_lookup_dcookie, "0 0 0"),
    // Keys.
    open("add_key", libc::SYS_add_key, "0 0 0 0 0"),
    open("request_key", libc::SYS_request_key, "0 0 0 0"),
    open("keyctl", libc::SYS_keyctl, "0x7fffffff 0 0 0 0"),
    // Modules, other kernels, the end of this one.
    rare("init_module", libc::SYS_init_module, "0 0 0"),
    rare("finit_module", libc::SYS_finit_module, "-1 0 0"),
    rare("delete_module", libc::SYS_delete_module, "0 0"),
    rare("kexec_load", libc::SYS_kexec_load, "0 0 0 0x7fffffff"),
    rare(
        "kexec_file_load",
        libc::SYS_kexec_file_load,
        "-1 -1 0 0 0x7fffffff",
    ),
    open("reboot", libc::SYS_reboot, "0 0 0 0"),
    // The machine and its clocks.
    open("settimeofday", libc::SYS_settimeofday, "1 0"),
    open("clock_settime", libc::SYS_clock_settime, "-1 0"),
    rare("iopl", libc::SYS_iopl, "7"),
    rare("ioperm", libc::SYS_ioperm, "0xfffff 1 0"),
    open("sethostname", libc::SYS_sethostname, "0 -1"),
    open("setdomainname", libc::SYS_setdomainname, "0 -1"),
    open("acct", libc::SYS_acct, "1"),
    open("vm86 and other leftovers", libc::SYS_uselib, "0"),
    // Memory of other processors and processes.
    rare("mbind", libc::SYS_mbind, "0 0 0x7fffffff 0 0 0"),
    rare("migrate_pages", libc::SYS_migrate_pages, "0 0 0 0"),
    rare("move_pages", libc::SYS_move_pages, "0 0 0 0 0 0x7fffffff"),
];

#[tokio::test]
async fn calls_that_reach_for_the_host_are_refused() {
    let host = TestRunner::start().await;
    let mut open_on_host = 0;
    for call in REFUSED {
        let outcome = on_host(&format!("syscall {} {}", call.number, call.arguments));
        let is_open = !["EPERM", "ENOSYS"].contains(&outcome.as_str());
        // This one has gone from new kernels.
        assert!(
            is_open || !call.is_open_on_host || call.number == libc::SYS_uselib,
            "the control: {}: {outcome}",
            call.name
        );
        open_on_host += usize::from(is_open);
    }
    assert!(
        open_on_host > 35,
        "the control: {open_on_host} of {}",
        REFUSED.len()
    );

    let script: Vec<String> = REFUSED
        .iter()
        .map(|call| format!("{PROBE} syscall {} {}; ", call.number, call.arguments))
        .collect();
    let script = script.concat();
    for inside in Inside::both(&host).await {
        let outcomes = inside.expect(&script).await;
        assert_eq!(outcomes.lines().count(), REFUSED.len());
        for (call, outcome) in REFUSED.iter().zip(outcomes.lines()) {
            assert_eq!(outcome, "EPERM", "{}", call.name);
        }
    }
}

#[tokio::test]
async fn calls_of_ordinary_programs_work() {
    let host = TestRunner::start().await;
    for inside in Inside::both(&host).await {
        for (name, number, arguments) in [
            ("getpid", libc::SYS_getpid, ""),
            ("socket, local", libc::SYS_socket, "1 1 0"),
            ("socket, IPv4", libc::SYS_socket, "2 1 0"),
            ("socket, routes", libc::SYS_socket, "16 3 0"),
            (
                "memfd_create is given a bad name",
                libc::SYS_memfd_create,
                "0 0",
            ),
            ("personality", libc::SYS_personality, "0xffffffff"),
            ("inotify_init1", libc::SYS_inotify_init1, "0"),
            (
                "landlock, version",
                libc::SYS_landlock_create_ruleset,
                "0 0 1",
            ),
        ] {
            let outcome = inside.probe(&format!("syscall {number} {arguments}")).await;
            assert!(
                outcome.starts_with("ok") || outcome == "EFAULT",
                "{name}: {outcome}"
            );
        }
    }
}

#[tokio::test]
async fn no_child_is_born_into_a_namespace_of_its_own() {
    let host = TestRunner::start().await;
    let flags = [
        NEWUSER,
        "0x20000",
        "0x20000000",
        "0x40000000",
        "0x8000000",
        "0x4000000",
        "0x2000000",
    ];
    for flag in flags {
        assert_eq!(
            on_host(&format!("clone {flag}")),
            "ok child",
            "the control: {flag}"
        );
    }
    assert_eq!(
        on_host(&format!("syscall {} 0 0", libc::SYS_clone3)),
        "EINVAL",
        "the control"
    );
    for inside in Inside::both(&host).await {
        assert_eq!(inside.probe("clone 0").await, "ok child", "the control");
        for flag in flags {
            assert_eq!(
                inside.probe(&format!("clone {flag}")).await,
                "EPERM",
                "{flag}"
            );
        }
        // Not EPERM: the C library then falls back to `clone`.
        assert_eq!(
            inside
                .probe(&format!("syscall {} 0 0", libc::SYS_clone3))
                .await,
            "ENOSYS"
        );
        let (code, _) = inside.sh("unshare -U true").await;
        assert_ne!(code, 0);
    }
}

#[tokio::test]
async fn numbers_of_other_machines_are_no_way_round_the_filter() {
    let host = TestRunner::start().await;
    let of_host = on_host("other-abi");
    for inside in Inside::both(&host).await {
        // 128 and SIGSYS. On a host without 32-bit programs the call is refused before the filter sees it.
        let (code, output) = inside.sh(&format!("{PROBE} other-abi")).await;
        assert!(code == 159 || of_host != "ok pid", "{code} {output}");
        assert_eq!(inside.probe("x32").await, "EPERM");
    }
}

#[tokio::test]
async fn nothing_is_typed_into_a_terminal_by_force() {
    let host = TestRunner::start().await;
    assert_eq!(on_host("tiocsti"), "ok", "the control");
    assert_eq!(
        on_host("tiocsti high-bits"),
        "ok",
        "the control: the kernel looks at 32 bits only"
    );
    for inside in Inside::both(&host).await {
        assert_eq!(inside.probe("tiocsti").await, "EPERM");
        assert_eq!(inside.probe("tiocsti high-bits").await, "EPERM");
    }
}

#[tokio::test]
async fn socket_families_without_use_are_closed() {
    let host = TestRunner::start().await;
    // Packets, Bluetooth, the kernel's ciphers, virtual machines, express data path, and one with high bits set.
    let families = [
        "17 3 0",
        "31 3 1",
        "38 5 0",
        "40 1 0",
        "44 3 0",
        "21 5 0",
        "30 5 0",
        "29 3 1",
        "0x100000026 5 0",
    ];
    let refused_on_host = families
        .iter()
        .filter(|family| on_host(&format!("syscall {} {family}", libc::SYS_socket)) == "EPERM")
        .count();
    assert_eq!(
        refused_on_host, 0,
        "the control: absent families have another error"
    );
    for inside in Inside::both(&host).await {
        for family in families {
            let attempt = format!("syscall {} {family}", libc::SYS_socket);
            assert_eq!(inside.probe(&attempt).await, "EPERM", "{family}");
        }
    }
}

#[tokio::test]
async fn every_process_runs_under_the_filter() {
    let host = TestRunner::start().await;
    for inside in Inside::both(&host).await {
        let modes = inside
            .expect("grep -h ^Seccomp: /proc/1/status /proc/self/status")
            .await;
        assert_eq!(modes, "Seccomp:\t2\nSeccomp:\t2");
    }
    let of_host = std::fs::read_to_string("/proc/self/status").unwrap();
    assert!(of_host.contains("\nSeccomp:\t"), "the control");
}
