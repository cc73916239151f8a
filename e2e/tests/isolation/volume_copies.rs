//! Copies of volumes: each of one moment, whoever writes meanwhile.

use alcove_e2e::runner::TestRunner;
use alcove_runner_api::{FaultCode, VolumeGoal, VolumeOutcome};

use crate::support::Inside;
use crate::volumes::{SIZE, finish, make, mount, order, volume, with};

fn copy_of(source: &str) -> VolumeGoal {
    VolumeGoal::Present {
        bytes: SIZE,
        source: Some(volume(source)),
    }
}

/// Numbers go to the end of one file and then into another, so that at each moment the second is the last of the first,
/// or the one before it. What is before them makes a copy take its time.
const WRITER: &str = "dd if=/dev/urandom of=/data/much bs=1M count=20 2>/dev/null; echo 0 > /data/all; echo 0 > /data/last; \
     (n=0; while :; do n=$((n+1)); echo $n >> /data/all; echo $n > /data/next; mv /data/next /data/last; done) \
     </dev/null >/dev/null 2>&1 &";

#[tokio::test]
async fn copies_made_at_once_of_a_volume_that_is_written_to_are_each_of_one_moment() {
    let host = TestRunner::start().await;
    make(&host, "source").await;
    let writer = Inside::start(&host, "writer", with(mount("source", None))).await;
    writer.expect(WRITER).await;
    let names = ["copy-0", "copy-1", "copy-2"];
    let made = tokio::join!(
        order(&host, names[0], copy_of("source")),
        order(&host, names[1], copy_of("source")),
        order(&host, names[2], copy_of("source")),
    );
    assert_eq!(
        [made.0, made.1, made.2],
        [const { VolumeOutcome::Done }; 3],
        "none disturbs another"
    );
    let sum = writer.expect("sha256sum < /data/much").await;
    let mut readers = Vec::new();
    for name in names {
        let reader = Inside::start(&host, &format!("of-{name}"), with(mount(name, None))).await;
        assert_eq!(reader.expect("sha256sum < /data/much").await, sum);
        let last: u64 = reader.expect("cat /data/last").await.parse().unwrap();
        let end: u64 = reader.expect("tail -n 1 /data/all").await.parse().unwrap();
        assert!(end == last || end == last + 1, "{name}: {end} {last}");
        let count = reader.expect("wc -l < /data/all").await;
        assert_eq!(count.parse(), Ok(end + 1), "{name}");
        readers.push(reader);
    }
    // Each is a volume of its own, and the same order again leaves it as it is.
    readers[0].expect("echo own > /data/last").await;
    let again = order(&host, names[0], copy_of("source")).await;
    assert_eq!(again, VolumeOutcome::Done);
    assert_eq!(readers[0].expect("cat /data/last").await, "own");
    // The source goes on: nobody holds it any more.
    let before: u64 = writer.expect("cat /data/last").await.parse().unwrap();
    writer
        .expect(&format!(
            "i=0; while [ $(cat /data/last) -le {before} ]; do i=$((i+1)); [ $i -lt 1000000 ]; done"
        ))
        .await;
    let ids: Vec<_> = readers
        .iter()
        .chain([&writer])
        .map(|inside| &inside.id)
        .collect();
    finish(&host, &ids, &["source", "copy-0", "copy-1", "copy-2"]).await;
}

#[tokio::test]
async fn a_copy_of_a_volume_that_is_not_there_fails_and_leaves_nothing() {
    let host = TestRunner::start().await;
    let VolumeOutcome::Failed { fault } = order(&host, "copy", copy_of("none")).await else {
        panic!("a copy of nothing");
    };
    assert_eq!(fault.code, FaultCode::VolumeUnusable);
    finish(&host, &[], &["copy"]).await;
}
