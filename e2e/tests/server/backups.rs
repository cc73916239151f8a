//! Backups of the platform: made while it is used, restored elsewhere.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use alcove_api_types::daytona::{CreateSandbox, SandboxState, SandboxVolume};
use alcove_client::{Client, ListFilter};
use alcove_e2e::server::{Folder, KEY, Setup, TestServer};
use alcove_e2e::wait;
use serde_json::json;

use crate::support::{becomes, counter_goes_on, make, named, run, start_counter, state};

const PROXY: &str = "http://user:pass-of-the-proxy@proxy.example.com:3128";

async fn alcove(arguments: &[&str]) -> Output {
    let program = std::env::var_os("ALCOVE_BIN").unwrap();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

async fn done(arguments: &[&str]) -> String {
    let output = alcove(arguments).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Why it was not done.
async fn refused(arguments: &[&str]) -> String {
    let output = alcove(arguments).await;
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn back_up(server: &TestServer, to: &Path) -> String {
    let data_dir = server.instance.data_dir();
    done(&["backup", text(to), "--data-dir", text(data_dir)]).await
}

/// A server on what comes out of a backup.
async fn restored(backup: &Path) -> TestServer {
    let folder = Folder::plain();
    let data_dir = folder.data_dir();
    done(&["restore", text(backup), "--data-dir", text(&data_dir)]).await;
    TestServer::start_in(folder, Setup::default()).await
}

fn with_volume(name: &str) -> CreateSandbox {
    CreateSandbox {
        volumes: vec![SandboxVolume {
            volume_id: "data".to_owned(),
            mount_path: "/data".to_owned(),
            subpath: None,
        }],
        ..named(name)
    }
}

async fn write(client: &Client, sandbox: &str, word: &str) {
    run(client, sandbox, &format!("echo {word} > file")).await;
}

async fn has(client: &Client, sandbox: &str, word: &str) {
    client.start(sandbox).await.unwrap();
    let found = run(client, sandbox, "cat file").await;
    assert_eq!(found.trim(), word, "{sandbox}");
}

#[tokio::test]
async fn what_was_there_when_a_backup_began_is_there_on_another_server() {
    let server = TestServer::start().await;
    let (client, raw) = (server.client(), server.raw());
    let body = json!({"name": "data"}).to_string();
    let answer = raw.ask("POST", "/api/volumes", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for name in ["running", "stopped", "archived"] {
        make(&client, name).await;
        write(&client, name, name).await;
    }
    let wanted = CreateSandbox {
        outbound_proxy_url: Some(PROXY.to_owned()),
        ..with_volume("with-volume")
    };
    client.create(&wanted).await.unwrap();
    run(
        &client,
        "with-volume",
        "echo in-volume > /data/file; echo with-volume > file",
    )
    .await;
    client.stop("stopped", false).await.unwrap();
    client.stop("archived", false).await.unwrap();
    client.archive("archived").await.unwrap();
    becomes(&client, "archived", SandboxState::Archived).await;
    let body = json!({"name": "of-running"}).to_string();
    let answer = raw.ask("POST", "/api/sandbox/running/snapshot", body).await;
    assert!(answer.status.is_success(), "{answer:?}");
    becomes(&client, "running", SandboxState::Started).await;
    let body = json!({"name": "another", "permissions": []}).to_string();
    let made = raw.ask("POST", "/api/api-keys", body).await;
    assert!(made.status.is_success(), "{made:?}");
    let key = made.json()["value"].as_str().unwrap().to_owned();

    // Somebody writes all the time, to a disk and to a volume, and makes and removes sandboxes.
    let counter = start_counter(&client, "running").await;
    let place = Folder::plain();
    let backup = place.path().join("backup");
    let busy = async {
        for number in 0..3 {
            let name = format!("late-{number}");
            make(&client, &name).await;
            let count = format!("echo {number} >> /data/more");
            run(&client, "with-volume", &count).await;
            client.delete(&name).await.unwrap();
        }
    };
    let (said, ()) = tokio::join!(back_up(&server, &backup), busy);
    assert!(said.contains("sandboxes"), "{said}");
    // Nothing is held still any more.
    counter_goes_on(&client, "running", &counter).await;
    run(&client, "with-volume", "echo end >> /data/more").await;
    let names = hidden(place.path());
    assert!(names.is_empty(), "{names:?}");

    let other = restored(&backup).await;
    let client = other.client();
    becomes(&client, "running", SandboxState::Stopped).await;
    for name in ["running", "stopped", "archived", "with-volume"] {
        has(&client, name, name).await;
    }
    let found = run(&client, "with-volume", "cat /data/file").await;
    assert_eq!(found, "in-volume\n");
    let found = client.get("with-volume").await.unwrap();
    assert_eq!(found.outbound_proxy_url.as_deref(), Some(PROXY));
    let of_snapshot = CreateSandbox {
        snapshot: Some("of-running".to_owned()),
        ..named("child")
    };
    client.create(&of_snapshot).await.unwrap();
    assert_eq!(run(&client, "child", "cat file").await, "running\n");
    make(&client, "new").await;
    let with_key = Client::new(&format!("{}/api", other.url()), &key).unwrap();
    with_key.list(&ListFilter::default()).await.unwrap();
    other.finish().await;
    server.finish().await;
}

/// Names that begin with a dot.
fn hidden(folder: &Path) -> Vec<String> {
    let names = alcove_e2e::host::names(folder).into_iter();
    names.filter(|name| name.starts_with('.')).collect()
}

#[tokio::test]
async fn a_damaged_backup_and_a_folder_in_use_are_refused_with_the_reason() {
    let server = TestServer::start().await;
    let client = server.client();
    make(&client, "box").await;
    write(&client, "box", "kept").await;
    client.stop("box", false).await.unwrap();
    let place = Folder::plain();
    let backup = place.path().join("backup");
    back_up(&server, &backup).await;
    let again = server.instance.data_dir();
    let again = ["backup", text(&backup), "--data-dir", text(again)];
    assert!(refused(&again).await.contains("is there already"));

    let target = place.path().join("restored");
    let restore = ["restore", text(&backup), "--data-dir", text(&target)];
    let own = server.instance.data_dir();
    let into_use = ["restore", text(&backup), "--data-dir", text(own)];
    let said = refused(&into_use).await;
    assert!(said.contains("a server uses"), "{said}");

    let disks = backup.join("runner/disks");
    let names = alcove_e2e::host::names(&disks);
    let disk = disks.join(names.first().unwrap());
    let layer = first_tree(&backup);
    let database = backup.join("alcove.db");
    for path in [&disk, &layer, &database] {
        let file = fs::File::options().read(true).write(true).open(path);
        let file = file.unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 1100).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 1100).unwrap();
        let said = refused(&restore).await;
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(said.contains("damaged") && said.contains(name), "{said}");
        file.write_all_at(&byte, 1100).unwrap();
        assert!(!target.exists(), "nothing half-made has the name");
    }
    let aside = place.path().join("aside");
    fs::rename(&disk, &aside).unwrap();
    let said = refused(&restore).await;
    assert!(said.contains("is missing"), "{said}");
    fs::rename(&aside, &disk).unwrap();
    let manifest = backup.join("manifest.json");
    let whole = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, whole.replacen("true", "false", 1)).unwrap();
    let said = refused(&restore).await;
    assert!(said.contains("manifest.sha256"), "{said}");
    fs::write(&manifest, whole).unwrap();
    assert!(hidden(place.path()).is_empty());

    // The control: mended, it is a backup again.
    done(&restore).await;
    assert!(target.join("alcove.db").exists());
    let said = refused(&restore).await;
    assert!(said.contains("is not empty"), "{said}");
    server.finish().await;
}

fn first_tree(backup: &Path) -> PathBuf {
    let layers = backup.join("images/layers");
    let names = alcove_e2e::host::names(&layers);
    let trees = names.iter().map(|name| layers.join(name).join("fs.tree"));
    trees.into_iter().find(|tree| tree.exists()).unwrap()
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_makes_a_backup_leaves_none_and_holds_nothing_still() {
    let mut server = TestServer::start().await;
    let (client, raw) = (server.client(), server.raw());
    let body = json!({"name": "data"}).to_string();
    let answer = raw.ask("POST", "/api/volumes", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    client.create(&with_volume("box")).await.unwrap();
    let counter = start_counter(&client, "box").await;
    let place = Folder::plain();
    let backup = place.path().join("backup");
    for step in ["runner:DiskCopied", "runner:VolumeHeld"] {
        server.doom(step).await;
        let data_dir = server.instance.data_dir();
        let said = refused(&["backup", text(&backup), "--data-dir", text(data_dir)]).await;
        assert!(said.contains("ended before it was done"), "{said}");
        server.dies_and_restarts().await;
        assert!(!backup.exists());
        let client = server.client();
        counter_goes_on(&client, "box", &counter).await;
        run(&client, "box", "echo more >> /data/file").await;
    }
    back_up(&server, &backup).await;
    server.finish().await;
}

#[tokio::test]
async fn who_gives_a_backup_up_leaves_nothing_of_it() {
    let server = TestServer::start().await;
    let client = server.client();
    make(&client, "box").await;
    let counter = start_counter(&client, "box").await;
    let place = Folder::plain();
    let backup = place.path().join("backup");
    let program = std::env::var_os("ALCOVE_BIN").unwrap();
    let mut asking = Command::new(program)
        .args(["backup", text(&backup), "--data-dir"])
        .arg(server.instance.data_dir())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It has begun when it says something.
    let mut said = [0];
    let mut output = asking.stderr.take().unwrap();
    let begun = tokio::task::spawn_blocking(move || std::io::Read::read(&mut output, &mut said));
    assert_eq!(begun.await.unwrap().unwrap(), 1);
    asking.kill().unwrap();
    asking.wait().unwrap();
    wait::until("nothing is left of it", async || {
        let left = hidden(place.path());
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    // It may have been whole already.
    if backup.exists() {
        assert!(backup.join("manifest.sha256").exists());
    }
    counter_goes_on(&client, "box", &counter).await;
    assert_eq!(state(&client, "box").await, Some(SandboxState::Started));
    server.finish().await;
}

#[tokio::test]
async fn a_backup_without_keys_needs_the_key_of_its_server_and_a_new_key_is_one_order() {
    let server = TestServer::start().await;
    let client = server.client();
    let with_proxy = CreateSandbox {
        outbound_proxy_url: Some(PROXY.to_owned()),
        ..named("box")
    };
    client.create(&with_proxy).await.unwrap();
    let data_dir = server.instance.data_dir();
    let at = ["--data-dir", text(data_dir)];
    let before = fs::read_to_string(data_dir.join("sealing.key")).unwrap();
    let said = done(&["key", "rotate", at[0], at[1]]).await;
    assert!(said.contains("everything is sealed with"), "{said}");
    let key = fs::read_to_string(data_dir.join("sealing.key")).unwrap();
    assert_ne!(key, before);
    assert_eq!(key.lines().count(), 1);
    let found = client.get("box").await.unwrap();
    assert_eq!(found.outbound_proxy_url.as_deref(), Some(PROXY));

    let place = Folder::plain();
    let backup = place.path().join("backup");
    let target = text(&backup);
    done(&[
        "backup",
        target,
        "--without-keys",
        "--without-disks",
        at[0],
        at[1],
    ])
    .await;
    for secret in [key.trim(), KEY] {
        assert_eq!(files_with(&backup, secret), Vec::<PathBuf>::new());
    }
    let folder = Folder::plain();
    let restored = folder.data_dir();
    let restore = ["restore", target, "--data-dir", text(&restored)];
    assert!(refused(&restore).await.contains("--sealing-key"));
    let file = data_dir.join("sealing.key");
    let with_key = [&restore[..], &["--sealing-key", text(&file)]].concat();
    done(&with_key).await;
    let other = TestServer::start_in(folder, Setup::default()).await;
    let client = other.client();
    let found = becomes(&client, "box", SandboxState::Error).await;
    assert_eq!(found.outbound_proxy_url.as_deref(), Some(PROXY));
    other.finish().await;
    server.finish().await;
}

/// Files below a folder that have this text in them.
fn files_with(folder: &Path, wanted: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                let mut windows = bytes.windows(wanted.len());
                if windows.any(|window| window == wanted.as_bytes()) {
                    found.push(path);
                }
            }
        }
    }
    found
}
