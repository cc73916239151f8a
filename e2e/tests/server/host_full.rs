//! A host that has no room left: the create fails with a reason, nothing stays, the server lives, and the
//! next create works once there is room again.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use alcove_api_types::daytona::{Sandbox, SandboxState};
use alcove_client::Client;
use alcove_e2e::server::{Folder, PidsLimit, Setup, TestServer};

use crate::support::{execute, make, named, refusal, within};

/// A refused create answers at once; nothing about it is worth a wait.
const REFUSED_WITHIN: Duration = Duration::from_secs(15);

/// A create that must fail for this reason. Returns what was said, and the sandbox that it leaves.
async fn refused(server: &TestServer, name: &str, code: &str) -> (String, Sandbox) {
    let client = server.client();
    let wanted = named(name);
    let error = within(
        "a create without room",
        REFUSED_WITHIN,
        client.create(&wanted),
    )
    .await
    .expect_err("there is no room");
    assert_eq!(refusal(&error), (400, "SANDBOX_START_FAILED"), "{error:?}");
    let refused = error.refusal().unwrap();
    assert_eq!(refused.details["errorCode"], code, "{error:?}");
    assert_eq!(refused.details["state"], "error");

    let sandbox = client.get(name).await.unwrap();
    assert_eq!(refused.details["sandboxId"], sandbox.id);
    assert_eq!(sandbox.state, Some(SandboxState::Error));
    assert_eq!(sandbox.error_code.as_deref(), Some(code));
    (refused.message.clone(), sandbox)
}

/// The same on a host without other sandboxes: nothing of it is there afterwards.
async fn refused_create(server: &TestServer, name: &str, code: &str, words: &str) -> Sandbox {
    let (message, sandbox) = refused(server, name, code).await;
    for told in [&message, sandbox.error_reason.as_ref().unwrap()] {
        assert!(told.contains(words), "{words:?} not in {told:?}");
    }
    server.nothing_left().await;
    let health = server.client().health().await;
    assert!(health.is_ok(), "the server lives");
    sandbox
}

async fn works(client: &Client, name: &str) {
    make(client, name).await;
    assert_eq!(
        execute(client, name, "echo works").await.unwrap().result,
        "works\n"
    );
}

fn left_mib(path: &Path) -> u64 {
    let space = rustix::fs::statvfs(path).unwrap();
    (space.f_bavail * space.f_frsize) >> 20
}

/// Fills a file system with one file until so much is left.
pub fn fill(folder: &Path, leave_mib: u64) -> std::path::PathBuf {
    let path = folder.join("filler");
    let file = fs::File::create(&path).unwrap();
    let mib = vec![1_u8; 1 << 20];
    let mut at = 0;
    while left_mib(folder) > leave_mib {
        match file.write_all_at(&mib, at) {
            Ok(()) => at += 1 << 20,
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => break,
            Err(error) => panic!("{error}"),
        }
    }
    if leave_mib == 0 {
        // The last blocks, one by one.
        let mut at = file.metadata().unwrap().len();
        while file.write_all_at(&mib[..4096], at).is_ok() {
            at += 4096;
        }
    }
    file.sync_all().unwrap();
    path
}

#[tokio::test]
async fn a_create_that_would_take_the_hosts_disk_reserve_is_refused() {
    let setup = Setup {
        disk_reserve_mib: 48,
        ..Setup::default()
    };
    let server = TestServer::start_in(Folder::small(160), setup).await;
    let client = server.client();
    works(&client, "before").await;
    client.delete("before").await.unwrap();
    server.nothing_left().await;

    let filler = fill(server.instance.data_dir(), 40);
    let words = "MiB of disk left and keeps 48 MiB for itself";
    refused_create(&server, "full", "host_disk_full", words).await;
    fs::remove_file(filler).unwrap();

    works(&client, "after").await;
    // The name of the one that failed is free once it is deleted.
    client.delete("full").await.unwrap();
    works(&client, "full").await;
    server.finish().await;
}

#[tokio::test]
async fn a_disk_that_is_full_to_the_last_block_costs_a_create_and_nothing_more() {
    let setup = Setup {
        disk_reserve_mib: 0,
        ..Setup::default()
    };
    let server = TestServer::start_in(Folder::small(160), setup).await;
    let client = server.client();
    works(&client, "stays").await;

    let filler = fill(server.instance.data_dir(), 0);
    // Sandboxes run on, and what needs no room is done.
    assert_eq!(
        execute(&client, "stays", "echo runs").await.unwrap().result,
        "runs\n"
    );
    for round in 0..3 {
        let wanted = named(&format!("full-{round}"));
        let error = within(
            "a create on a full disk",
            REFUSED_WITHIN,
            client.create(&wanted),
        )
        .await
        .expect_err("the disk is full");
        let refused = error
            .refusal()
            .unwrap_or_else(|| panic!("no answer: {error:?}"));
        let is_typed = refused.code == "HOST_DISK_FULL"
            || refused
                .details
                .get("errorCode")
                .is_some_and(|code| code == "host_disk_full");
        assert!(is_typed, "{refused:?}");
    }
    let on_host = server.instance.sandboxes();
    assert_eq!(on_host.len(), 1, "only the one that runs: {on_host:?}");
    assert!(client.health().await.is_ok(), "the server lives");
    fs::remove_file(filler).unwrap();

    assert_eq!(
        execute(&client, "stays", "echo runs").await.unwrap().result,
        "runs\n"
    );
    works(&client, "after").await;
    server.finish().await;
}

#[tokio::test]
async fn a_create_that_would_take_the_hosts_memory_reserve_is_refused() {
    let reserve_all = Setup {
        // 64 TiB: no host has them.
        memory_reserve_mib: 64 << 20,
        ..Setup::default()
    };
    let normal = Setup::default();
    let mut server = TestServer::start_with(reserve_all).await;
    let words = "MiB of memory left and keeps 67108864 MiB for itself";
    refused_create(&server, "full", "host_memory_full", words).await;
    refused_create(&server, "full-too", "host_memory_full", words).await;

    server.stop().await;
    server.setup = normal;
    server.restart(alcove_e2e::server::Port::Same).await;
    let full = server.client().get("full").await.unwrap();
    assert_eq!(
        full.error_code.as_deref(),
        Some("host_memory_full"),
        "kept over a restart"
    );
    works(&server.client(), "after").await;
    server.finish().await;
}

#[tokio::test]
async fn a_host_without_process_numbers_refuses_a_create_and_keeps_what_runs() {
    let server = TestServer::start().await;
    let client = server.client();
    works(&client, "stays").await;
    let spawner = server.instance.spawners();
    assert_eq!(spawner.len(), 1);
    let name = format!("{}-limit", server.instance.cgroup_parent());

    // The spawner alone: what makes sandboxes has no number left.
    let limit = PidsLimit::around(&name, &spawner);
    limit.close();
    refused_create_beside(&server, "full", 1).await;
    assert!(limit.refusals() > 0, "the limit was what refused");
    limit.open();
    works(&client, "after").await;
    drop(limit);

    // The server too: no thread and no program either. At its worst after a rest, when it has let go of the
    // threads that it had for earlier work.
    rests(&server).await;
    let limit = PidsLimit::around(&name, &[spawner[0], server.pid()]);
    limit.close();
    for round in 0..3 {
        refused_create_beside(&server, &format!("full-too-{round}"), 2).await;
    }
    assert_eq!(
        execute(&client, "stays", "echo runs").await.unwrap().result,
        "runs\n"
    );
    assert!(limit.refusals() > 0, "the limit was what refused");
    limit.open();
    works(&client, "after-too").await;
    drop(limit);
    server.finish().await;
}

/// Like [`refused_create`], with other sandboxes on the host.
async fn refused_create_beside(server: &TestServer, name: &str, others: usize) {
    refused(server, name, "host_pids_full").await;
    let on_host = server.instance.sandboxes();
    assert_eq!(on_host.len(), others, "{on_host:?}");
}

/// Waits for the threads of earlier work to go, for as long as the runtime usually keeps them; it may keep
/// some for good.
async fn rests(server: &TestServer) {
    let folder = std::path::PathBuf::from(format!("/proc/{}/task", server.pid()));
    let threads = || alcove_e2e::host::names(&folder).len();
    let before = threads();
    let fewer = async {
        while threads() >= before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(12), fewer).await;
}

#[tokio::test]
async fn what_the_operator_lets_the_host_promise_bounds_all_sandboxes_together() {
    // A file system of 160 MiB, less what it takes for itself, times thirty: room for one disk of 3 GiB, not for two.
    let setup = Setup {
        arguments: ["--host-disk-overcommit", "3000"]
            .map(str::to_owned)
            .to_vec(),
        ..Setup::default()
    };
    let server = TestServer::start_in(Folder::small(160), setup).await;
    let client = server.client();
    works(&client, "first").await;
    let error = client.create(&named("second")).await.expect_err("no room");
    assert_eq!(refusal(&error), (400, "NO_AVAILABLE_RUNNERS"), "{error:?}");
    let said = &error.refusal().unwrap().message;
    assert!(said.contains("6 GiB of disk would be promised"), "{said}");
    // It makes nothing, and is no longer so once the first is gone.
    assert!(client.get("second").await.is_err());
    client.delete("first").await.unwrap();
    works(&client, "second").await;
    server.finish().await;
}
