//! Caches that outlive a build.

use alcove_runner_api::{BuildFaultCode, ImageEntry};

use crate::more::file;
use crate::support::TestBuilds;

async fn built(builds: &TestBuilds, id: &str, text: &str) -> ImageEntry {
    match builds.run(builds.order(id, text, &[])).await {
        Ok(image) => image,
        Err(fault) => panic!("{id}: {fault:?}\n{}", builds.log(id).await),
    }
}

#[tokio::test]
async fn a_cache_is_there_for_the_next_build_of_the_same_organization() {
    let builds = TestBuilds::start().await;
    let text = |word: &str, options: &str| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,target=/cache{options} \
             cat /cache/* > /out 2>/dev/null; stat -c '%a %u:%g' /cache >> /out; echo {word} >> /cache/words; ls -d /root >> /out\n"
        )
    };
    let out =
        async |id: &str, text: &str| file(&builds.look(&built(&builds, id, text).await), "/out");
    let with = ",id=words,mode=0750,uid=5,gid=6";
    let first = out("first", &text("first", with)).await;
    assert_eq!(first, "644 0:0 file \"750 5:6\\n/root\\n\"");
    let second = out("second", &text("second", with)).await;
    assert_eq!(second, "644 0:0 file \"first\\n750 5:6\\n/root\\n\"");
    // Without an id, the place is the name.
    assert!(!out("place", &text("place", "")).await.contains("first"));
    assert!(
        out("place-again", &text("place again", ""))
            .await
            .contains("place")
    );

    let mut foreign = builds.order("foreign", &text("foreign", with), &[]);
    foreign.organization = "22222222-2222-2222-2222-222222222222".to_owned();
    let image = builds.run(foreign).await.expect("it is built");
    let found = file(&builds.look(&image), "/out");
    assert!(!found.contains("first"), "another's: {found}");

    // Read-only, and nothing of it is in the image.
    let text = "FROM busybox\nRUN --mount=type=cache,id=words,target=/deep/cache,ro cat /deep/cache/words > /out && ! touch /deep/cache/x\n";
    let image = built(&builds, "read-only", text).await;
    let found = builds.look(&image);
    assert!(
        file(&found, "/out").contains("first\\nsecond"),
        "{}",
        file(&found, "/out")
    );
    assert!(!found.files.contains_key("/deep"), "the mount point goes");
    // A failed step has used it too.
    let text =
        "FROM busybox\nRUN --mount=type=cache,id=words,target=/c echo kept >> /c/words; exit 1\n";
    let fault = builds
        .run(builds.order("failed", text, &[]))
        .await
        .expect_err("it fails");
    assert_eq!(fault.code, BuildFaultCode::StepFailed);
    let text =
        "FROM busybox\nRUN --mount=type=cache,id=words,target=/c grep kept /c/words > /out\n";
    built(&builds, "after", text).await;
    builds.end().await;
}

#[tokio::test]
async fn what_a_cache_is_shared_as_is_honoured() {
    let builds = TestBuilds::start().await;
    // Two builds at a time: each waits until it sees the other, or until it knows that it cannot.
    let text = |id: &str, sharing: &str, wait: &str, end: &str| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,id={sharing},sharing={sharing},target=/c \
             touch /c/{id}; n=0; while [ $(ls /c | wc -l) -lt 2 ] && [ $n -lt {wait} ]; do sleep 0.1; n=$((n+1)); done; \
             ls /c | tr '\\n' ' ' > /out; {end} /c/{id}\n"
        )
    };
    // Where both must be seen, what was put there stays: the other may look late.
    for (sharing, wait, end, together) in [
        ("shared", "600", "ls", true),
        ("private", "20", "rm", false),
        ("locked", "20", "rm", false),
    ] {
        let (one, two) = (format!("{sharing}-a"), format!("{sharing}-b"));
        let (first, second) = (text("a", sharing, wait, end), text("b", sharing, wait, end));
        let (first, second) =
            tokio::join!(built(&builds, &one, &first), built(&builds, &two, &second));
        for (image, own) in [(first, "a"), (second, "b")] {
            let found = file(&builds.look(&image), "/out");
            assert!(found.contains(&format!("{own} ")), "{sharing}: {found}");
            assert_eq!(found.contains("a b "), together, "{sharing}: {found}");
        }
    }
    builds.end().await;
}
