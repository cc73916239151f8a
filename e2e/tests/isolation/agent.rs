//! What stands between a sandbox's programs and the program that serves it.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use alcove_e2e::prepared;
use alcove_e2e::runner::TestRunner;

use crate::support::{Inside, PROBE, fingerprint};

#[tokio::test]
async fn a_request_without_the_agents_token_is_refused() {
    let host = TestRunner::start().await;
    let id = host.run("guarded").await;
    let other = host.run("other").await;
    let (_, foreign) = host.runner.dial_agent(&other).await.unwrap();
    let ask = async |token: Option<String>| {
        let body = Vec::new().into();
        host.call_with(&id, "GET", "/version", body, |_| token)
            .await
            .0
    };
    let (_, right) = host.runner.dial_agent(&id).await.unwrap();
    assert_eq!(ask(Some(right.to_string())).await, 200, "the control");
    assert_eq!(ask(None).await, 401);
    assert_eq!(ask(Some(String::new())).await, 401);
    assert_eq!(ask(Some(foreign.to_string())).await, 401);
    assert_eq!(ask(Some(right[..63].to_owned())).await, 401);
}

#[tokio::test]
async fn the_agents_token_is_nowhere_inside() {
    let host = TestRunner::start().await;
    for inside in Inside::both(&host).await {
        let (_, token) = host.runner.dial_agent(&inside.id).await.unwrap();
        // The pattern is put together inside, so that no command line holds it.
        let (first, rest) = token.split_at(30);
        let search = |pattern: &str| {
            format!(
                "p={pattern}; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline >/dev/shm/all 2>/dev/null; \
                 grep -ac \"$p\" /dev/shm/all; \
                 grep -arlF \"$p\" /etc /home /run /var /root /tmp 2>/dev/null | head -n 3"
            )
        };
        assert_eq!(
            inside.expect(&search(&format!("{first}\"\"{rest}"))).await,
            "0"
        );
        // Until the new process has become the program, its environment is that of the shell's start.
        let control = "export SECRET=findme; sleep 9 & p=find\"\"me; \
                       until grep -aq \"$p\" /proc/$!/environ; do :; done; echo 1";
        let (_, found) = inside.sh(control).await;
        assert_eq!(found.trim(), "1", "the control");
    }
}

#[tokio::test]
async fn sockets_of_agents_can_be_reached_by_no_path_inside() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    for inside in [&user, &root] {
        let path = host.data_dir().join("run").join(inside.id.as_str());
        let attempt = format!("unix {}", path.display());
        assert_eq!(crate::support::on_host(&attempt), "ok", "the control");
        assert_eq!(inside.probe(&attempt).await, "ENOENT");
        assert_eq!(
            inside
                .expect("find / -xdev -type s 2>/dev/null; true")
                .await,
            ""
        );
        let listed = inside.expect("cat /proc/net/unix").await;
        assert!(
            !listed.contains("spawner") && !listed.contains("/run/"),
            "{listed}"
        );
    }
}

#[tokio::test]
async fn the_agent_holds_nothing_of_the_host_but_its_log_its_program_and_what_counts_its_usage() {
    let host = TestRunner::start().await;
    for inside in Inside::both(&host).await {
        let folder = format!("/proc/{}/fd", inside.agent_pid());
        let links: BTreeMap<_, _> = fs::read_dir(folder)
            .unwrap()
            .flatten()
            .map(|entry| (entry.file_name(), fs::read_link(entry.path()).unwrap()))
            .collect();
        let log = host
            .data_dir()
            .join(format!("runner/logs/{}.log", inside.id));
        assert!(
            links.values().any(|to| *to == log),
            "the control: {links:?}"
        );
        for (fd, to) in &links {
            let text = to.to_string_lossy();
            // Files of its own group, and the program to start helpers from: neither can be written through.
            let is_count = text.starts_with("/sys/fs/cgroup/") && text.contains(inside.id.as_str());
            if is_count || text.ends_with("/alcove-git") {
                let info = format!("/proc/{}/fdinfo/{}", inside.agent_pid(), fd.display());
                assert!(!can_write(&fs::read_to_string(info).unwrap()), "{text}");
                continue;
            }
            let is_own = ["socket:", "pipe:", "anon_inode:"]
                .iter()
                .any(|kind| text.starts_with(kind))
                || text == "/dev/null"
                || text == "/dev/urandom"
                || text.ends_with("/oom_score_adj");
            assert!(is_own || *to == log, "{text}: {links:?}");
        }
    }
}

/// The log is the one file of the host that the agent holds. Through the agent's own `/proc/self`, its file API
/// could be asked to write there.
#[tokio::test]
async fn the_agents_log_cannot_be_written_through_its_file_api() {
    let host = TestRunner::start().await;
    for inside in Inside::both(&host).await {
        let log = host
            .data_dir()
            .join(format!("runner/logs/{}.log", inside.id));
        let before = fs::read(&log).unwrap();
        inside
            .expect("ln -s /proc/self/fd/1 /tmp/link && ln -s /proc/self/fd/2 /tmp/link2")
            .await;
        for path in [
            "/proc/self/fd/1",
            "/proc/self/fd/2",
            "/tmp/link",
            "/tmp/link2",
            "/proc/1/fd/1",
        ] {
            inside.try_upload(path, b"overwritten".to_vec()).await;
            assert_eq!(fs::read(&log).unwrap(), before, "{path}");
        }
        inside.upload("/tmp/file", b"written".to_vec()).await;
        assert_eq!(
            inside.expect("cat /tmp/file").await,
            "written",
            "the control"
        );
    }
}

/// A file that the agent can read only because it runs outside of the user's rights would be a way out of them.
#[tokio::test]
async fn the_file_api_has_the_rights_of_the_sandboxs_user_and_sees_its_root_only() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    let secret = host.data_dir().join("secret");
    fs::write(&secret, "of the host").unwrap();
    for inside in [&user, &root] {
        let up = "../".repeat(20);
        inside
            .expect(&format!(
                "mkdir -p /tmp/l && ln -s / /tmp/l/root && ln -s {} /tmp/l/secret",
                secret.display()
            ))
            .await;
        for path in [
            secret.display().to_string(),
            format!("/tmp/l/root{}", secret.display()),
            "/tmp/l/secret".to_owned(),
            format!("{up}{}", secret.display()),
            format!("/proc/self/root{}", secret.display()),
            format!("/proc/self/cwd/{up}{}", secret.display()),
        ] {
            assert_eq!(inside.try_download(&path).await.0, 404, "{path}");
        }
    }
    let list = |inside: &Inside<'_>| {
        let id = inside.id.clone();
        let host = &host;
        async move {
            host.call(&id, "GET", "/files?path=/root", Vec::new().into())
                .await
                .0
        }
    };
    assert_eq!(list(&root).await, 200, "the control");
    assert_eq!(list(&user).await, 403);
}

#[tokio::test]
async fn the_agents_program_cannot_be_overwritten_from_inside() {
    let host = TestRunner::start().await;
    let program = prepared("ALCOVE_PARTS_DIR", "alcove-agent");
    let before = fingerprint(&program);
    let inside = Inside::as_root(&host).await;

    // The control: the same attack on a program of the sandbox's own.
    inside.expect(&format!("cp {PROBE} /tmp/victim")).await;
    let attack = inside.hold_in("overwrite-program victim 8000").await;
    inside
        .expect("(sleep 0.3 | /tmp/victim serve 127.0.0.1:9999) >/dev/null")
        .await;
    assert_eq!(inside.second_line(&attack).await, "ok open for writing");

    // The shell becomes a script whose interpreter is the process that starts it: the agent.
    let attack = inside.hold_in("overwrite-program alcove-agent 20000").await;
    inside.expect("printf '#!/proc/self/exe\\n' >/bin/trick && chmod 755 /bin/trick && cp -a /bin/sh /bin/real-sh").await;
    inside.expect("mv /bin/trick /bin/sh").await;
    let mut text = Vec::new();
    // The process lives for a moment only, so it takes some of them until one is caught.
    let deadline = Instant::now() + Duration::from_mins(1);
    while !text.ends_with(b"EACCES\n") && Instant::now() < deadline {
        let body = serde_json::json!({ "command": "true" }).to_string();
        host.call(&inside.id, "POST", "/process/execute", body.into())
            .await;
        text = inside.try_download(&attack).await.1;
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(
        text, "ready\nEACCES\n",
        "the agent's file was found and refused"
    );
    assert_eq!(fingerprint(&program), before);

    inside
        .try_upload("/proc/self/exe", b"overwritten".to_vec())
        .await;
    assert_eq!(fingerprint(&program), before);
    // The program that the agent holds open. A look by the same name finds it.
    let git = prepared("ALCOVE_PARTS_DIR", "alcove-git");
    let before = fingerprint(&git);
    let held = format!("/proc/self/fd/{}", alcove_agent_api::GIT_FD);
    let (status, bytes) = inside.try_download(&held).await;
    assert!(
        status == 200 && bytes.starts_with(b"\x7fELF"),
        "the control"
    );
    inside.try_upload(&held, b"overwritten".to_vec()).await;
    assert_eq!(fingerprint(&git), before);
}

/// What reads the bytes of strange repositories and servers is not in process 1, not even unused.
#[test]
fn the_agents_program_holds_no_c_library_but_the_systems() {
    let holds = |program: &str, word: &str| {
        let bytes = fs::read(prepared("ALCOVE_PARTS_DIR", program)).unwrap();
        bytes
            .windows(word.len())
            .any(|part| part == word.as_bytes())
    };
    for word in ["libgit2", "AWS-LC"] {
        assert!(holds("alcove-git", word), "the control: {word}");
        assert!(!holds("alcove-agent", word), "{word}");
    }
}

/// Whether what `/proc` says of a descriptor has it open for writing.
fn can_write(info: &str) -> bool {
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .expect("a descriptor has flags");
    let flags = i32::from_str_radix(flags.trim(), 8).expect("flags are octal");
    flags & libc::O_ACCMODE != libc::O_RDONLY
}
