//! A process that is killed while it writes into another store.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use alcove_storage::{
    ForeignSettings, ForeignStore, Limits, List, ObjectStore as _, PutOptions, body_of,
};

use crate::support::{OtherStore, Ours, key};

const PLACE: &str = "ALCOVE_STORAGE_TEST_PLACE";
const KILLS: usize = 3;
/// Every fourth object goes in parts.
const LARGE: usize = 17 << 20;

fn content(round: u8) -> Vec<u8> {
    let size = if round % 4 == 3 { LARGE } else { 300_000 };
    vec![round; size + usize::from(round)]
}

/// Nothing in a run of all tests; the writer when the next test starts it.
#[tokio::test]
async fn writer_that_is_killed() {
    let Ok(place) = std::env::var(PLACE) else {
        return;
    };
    let [folder, endpoint, bucket, access_key, secret_key] = place
        .split(' ')
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let settings = ForeignSettings {
        endpoint,
        bucket,
        region: "us-east-1".to_owned(),
        prefix: "alcove/test".to_owned(),
        access_key,
        secret_key,
        is_virtual_hosted: false,
    };
    let store = ForeignStore::open(settings, Path::new(&folder), Limits::default())
        .await
        .unwrap();
    for round in 0..=u8::MAX {
        let path = key(&format!("org/{}", round % 3));
        store
            .put(&path, body_of(content(round)), PutOptions::default())
            .await
            .unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "WROTE {round}").unwrap();
        out.flush().unwrap();
    }
}

/// Starts the writer and kills it after it said so often that it wrote; tells of its last write.
fn killed_writer(place: &str, writes: usize) -> u8 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::writer_that_is_killed", "--nocapture"])
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut wrote = lines.map_while(Result::ok).filter_map(|line| {
        let (_, round) = line.split_once("WROTE ")?;
        round.parse().ok()
    });
    let last = wrote.nth(writes - 1).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    wrote.last().unwrap_or(last)
}

#[tokio::test]
async fn a_killed_writer_leaves_whole_objects_and_all_that_it_acknowledged() {
    let mut other = OtherStore::start();
    for kill in 0..KILLS {
        let mut settings = other.settings.clone();
        let ours = Ours::on(&settings).await;
        let place = [
            ours.folder.path().to_str().unwrap(),
            &settings.endpoint,
            &settings.bucket,
            &settings.access_key,
            &settings.secret_key,
        ]
        .join(" ");
        let last = tokio::task::spawn_blocking(move || killed_writer(&place, 3 + kill * 2))
            .await
            .unwrap();
        settings.region.clone_from(&other.settings.region);
        let ours = ours.reopen().await;
        let before = std::time::SystemTime::UNIX_EPOCH;
        ours.store.remove_stale_uploads(before).await.unwrap();
        assert_eq!(other.uploads(), [""; 0], "after {last}");
        for place in 0..3 {
            let acknowledged = (0..=last).rev().find(|round| round % 3 == place).unwrap();
            let bytes = ours.bytes(&format!("org/{place}")).await.unwrap();
            let found = bytes[0];
            assert!(bytes == content(found), "org/{place} is not whole");
            // Or one that the kill came upon.
            let is_newest = found == acknowledged || (found == last + 1 && found % 3 == place);
            assert!(is_newest, "org/{place} is of round {found} after {last}");
        }
        // Counts what is there.
        ours.put("org/more", "").await;
        let listed = ours.list(List {
            max: 10,
            ..List::default()
        });
        let objects = listed.await.entries;
        let bytes: u64 = objects.iter().map(|entry| entry.object.size).sum();
        assert_eq!((objects.len(), ours.used()), (4, bytes));
        assert_eq!((ours.left("drafts"), ours.left("pushes")), (0, 0));
    }
}
