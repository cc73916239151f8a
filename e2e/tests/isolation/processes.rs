//! Processes of the host, and of other sandboxes.

use std::process::Command;

use alcove_e2e::runner::TestRunner;

use crate::support::{HostProcess, Inside, PROBE, on_host};

/// Looks for a command line with this text, without finding itself.
fn search(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    format!(
        "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c '[{first}]{rest}'; true"
    )
}

fn sh_on_host(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn processes_of_the_host_and_of_neighbours_are_not_seen() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    let number = format!("7{:07}", std::process::id());
    let _sleeper = HostProcess::start(Command::new("sleep").arg(&number));
    assert_eq!(
        sh_on_host(&search(&number)),
        "1",
        "the control: the host sees it"
    );
    for inside in [&user, &root] {
        assert_eq!(inside.expect(&search(&number)).await, "0");
    }

    user.expect(&format!("sleep 8{number} >/dev/null 2>&1 &"))
        .await;
    let search = search(&format!("8{number}"));
    assert_eq!(
        user.expect(&search).await,
        "1",
        "the control: its own are seen"
    );
    assert_eq!(
        sh_on_host(&search),
        "1",
        "the control: the host sees it too"
    );
    assert_eq!(root.expect(&search).await, "0");
}

#[tokio::test]
async fn a_process_of_the_host_cannot_be_signalled() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    let mut sleeper = HostProcess::start(Command::new("sleep").arg("1000"));
    // The same user as the sandbox's: a number that is mapped differently must not match.
    let mut twin = HostProcess::start(Command::new(crate::support::program()).args([
        "as",
        "1000",
        "/bin/sleep",
        "1000",
    ]));
    for inside in [&user, &root] {
        for pid in [sleeper.pid(), twin.pid(), std::process::id(), 2] {
            let (code, output) = inside.sh(&format!("kill -9 {pid} 2>&1")).await;
            // Number 2 may be a process of the sandbox itself.
            assert!(code != 0 || pid == 2, "{pid}: {output}");
        }
        let attempt = format!("take-descriptor {} 0", sleeper.pid());
        assert_eq!(inside.probe(&attempt).await, "ESRCH");
        // Everything that can be signalled at all; the agent must not be among it.
        let (code, _) = inside.sh("kill -9 -1").await;
        assert_ne!(code, 0, "the shell itself was hit");
        assert_eq!(inside.expect("echo alive").await, "alive");
    }
    assert!(sleeper.is_alive() && twin.is_alive());
    let attempt = format!("take-descriptor {} 0", sleeper.pid());
    assert_eq!(on_host(&attempt), "ok", "the control");
}

#[tokio::test]
async fn a_root_that_kills_everything_does_not_reach_its_neighbour() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    user.expect("sleep 1000 >/dev/null 2>&1 &").await;
    root.expect("sleep 1000 >/dev/null 2>&1 &").await;
    root.sh("kill -9 -1").await;
    assert_eq!(
        root.expect("pidof sleep; true").await,
        "",
        "the control: its own are gone"
    );
    user.expect("pidof sleep").await;
}

#[tokio::test]
async fn process_1_is_the_agent_and_cannot_be_looked_into() {
    let host = TestRunner::start().await;
    for inside in Inside::both(&host).await {
        assert_eq!(inside.expect("cat /proc/1/comm").await, "alcove-agent");
        inside
            .expect("sleep 1000 >/dev/null 2>&1 & echo $! >/tmp/own")
            .await;
        let own = inside.expect("cat /tmp/own").await;

        assert_eq!(inside.probe("trace 1").await, "EPERM");
        assert_eq!(inside.probe("read-memory 1 0x10000").await, "EPERM");
        assert_eq!(inside.probe("take-descriptor 1 3").await, "EPERM");
        assert_eq!(
            inside.probe(&format!("trace {own}")).await,
            "ok",
            "the control"
        );
        assert_eq!(
            inside.probe(&format!("read-memory {own} 0x10")).await,
            "EFAULT",
            "the control"
        );
        assert_eq!(
            inside.probe(&format!("take-descriptor {own} 0")).await,
            "ok",
            "the control"
        );
        assert_eq!(inside.probe("trace-child").await, "ok", "the control");

        for file in ["environ", "mem", "maps", "auxv", "syscall", "stack"] {
            let outcome = inside.probe(&format!("open /proc/1/{file} read")).await;
            assert!(
                ["EACCES", "EPERM"].contains(&outcome.as_str()),
                "{file}: {outcome}"
            );
        }
        assert_eq!(
            inside.probe(&format!("open /proc/{own}/maps read")).await,
            "ok 256 bytes"
        );
        for link in ["exe", "root", "cwd", "fd/0", "fd/3", "ns/mnt"] {
            let (code, output) = inside.sh(&format!("readlink /proc/1/{link}")).await;
            assert_ne!(code, 0, "{link}: {output}");
        }
        inside
            .expect(&format!(
                "readlink /proc/{own}/exe && readlink /proc/{own}/root"
            ))
            .await;
        // Root sees how many descriptors there are, and not what they are.
        let all = "for fd in /proc/1/fd/*; do readlink $fd; done 2>/dev/null | wc -l";
        assert_eq!(inside.expect(all).await, "0");
        assert_ne!(inside.sh("ls /proc/1/root/").await.0, 0);
    }
}

#[tokio::test]
async fn programs_inherit_no_descriptor_but_their_own_three() {
    let host = TestRunner::start().await;
    for inside in Inside::both(&host).await {
        // The fourth is the folder that `ls` reads.
        let list = "ls /proc/self/fd | tr '\\n' ' '";
        assert_eq!(inside.expect(list).await, "0 1 2 3");
        let targets = inside
            .expect("for fd in 0 1 2; do readlink /proc/self/fd/$fd; done")
            .await;
        for target in targets.lines() {
            assert!(
                target == "/dev/null" || target.starts_with("pipe:"),
                "{targets}"
            );
        }
        assert_eq!(
            inside.expect(&format!("exec 7</etc/passwd; {list}")).await,
            "0 1 2 3 7",
            "the control"
        );
        inside.expect(&format!("{PROBE} syscall 39")).await;
    }
}
