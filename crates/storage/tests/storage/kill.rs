//! A process that is killed while it writes.
//!
//! The test starts itself once more as the writer, kills it, and looks at what it finds. What a kill cannot show is
//! whether the disk would have kept it through a loss of power; that is what the syncs are for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use alcove_storage::{Bucket, FolderStore, Limits, List, ObjectStore as _, PutOptions, body_of};

use crate::support::{below, bytes_of, key};

const FOLDER: &str = "ALCOVE_STORAGE_TEST_FOLDER";
const SIZE: usize = 300_000;
const KILLS: usize = 8;

fn content(number: u8) -> Vec<u8> {
    vec![number; SIZE + usize::from(number)]
}

/// Nothing in a run of all tests; the writer when the next test starts it.
#[tokio::test]
async fn writer_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let store = FolderStore::open(Path::new(&folder), Limits::default())
        .await
        .unwrap();
    let options = PutOptions::default;
    for round in 0..=u8::MAX {
        let path = key(&format!("org/{}/object", round % 3));
        if round % 2 == 0 {
            store
                .put(&path, body_of(content(round)), options())
                .await
                .unwrap();
        } else {
            let id = store.upload_begin(&path, options()).await.unwrap();
            let whole = content(round);
            let (head, tail) = whole.split_at(SIZE / 3);
            let mut parts = Vec::new();
            for (number, piece) in [(1, head), (2, tail)] {
                let body = body_of(piece.to_vec());
                let part = store.upload_part(&path, &id, number, body, options());
                parts.push((number, part.await.unwrap().object.sha256));
            }
            store
                .upload_finish(&path, &id, &path, &parts, options())
                .await
                .unwrap();
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "WROTE {round}").unwrap();
        out.flush().unwrap();
        drop(out);
        if round % 7 == 6 {
            store.delete(&path).await.unwrap();
            println!("DELETED {round}");
        }
    }
}

/// Starts the writer and kills it after so many of its lines; gives back the lines that it got to say.
fn killed_writer(folder: &Path, lines: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::writer_that_is_killed", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    while said.len() < lines {
        let line = out.next().unwrap().unwrap();
        // The harness begins the line of a test with its name.
        if let Some(at) = line.find("WROTE ").or_else(|| line.find("DELETED ")) {
            said.push(line[at..].to_owned());
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    said.extend(
        out.map_while(Result::ok)
            .filter(|line| line.contains("WROTE ") || line.contains("DELETED ")),
    );
    said
}

#[tokio::test]
async fn a_killed_writer_leaves_whole_objects_and_all_that_it_acknowledged() {
    for kill in 0..KILLS {
        let folder = tempfile::tempdir().unwrap();
        let lines = 3 + kill * 4;
        let path: PathBuf = folder.path().into();
        let said = tokio::task::spawn_blocking(move || killed_writer(&path, lines))
            .await
            .unwrap();
        let last = said
            .iter()
            .rev()
            .find_map(|line| line.strip_prefix("WROTE "))
            .unwrap();
        let last: u8 = last.parse().unwrap();

        let store = FolderStore::open(folder.path(), Limits::default())
            .await
            .unwrap();
        for place in 0..3 {
            let path = key(&format!("org/{place}/object"));
            // The last write of this object that was acknowledged, or one that the kill came upon.
            let Some(acknowledged) = (0..=last).rev().find(|round| round % 3 == place) else {
                continue;
            };
            let Some(got) = store.get(&path, None).await.unwrap() else {
                assert_eq!(acknowledged % 7, 6, "{path} is lost after {said:?}");
                continue;
            };
            let bytes = bytes_of(got.body).await;
            let found = bytes[0];
            assert!(bytes == content(found), "{path} is not whole");
            let is_deleted = said.contains(&format!("DELETED {acknowledged}"));
            let is_newest =
                (found == acknowledged && !is_deleted) || (found == last + 1 && found % 3 == place);
            assert!(is_newest, "{path} is of round {found} after {said:?}");
        }
        let all = List {
            max: 100,
            ..List::default()
        };
        let listed = store.list(Bucket::CONTEXTS, all).await.unwrap();
        let objects: u64 = listed.entries.iter().map(|entry| entry.object.size).sum();
        let parts: u64 = below(folder.path().join("uploads"))
            .iter()
            .filter(|path| path.is_file() && !path.ends_with("upload.json"))
            .map(|path| path.metadata().unwrap().len() - 4096)
            .sum();
        assert_eq!(store.used_bytes(Bucket::CONTEXTS, "org"), objects + parts);
        assert!(below(folder.path().join("drafts")).is_empty());
    }
}
