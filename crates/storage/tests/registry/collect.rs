//! Blobs that no manifest needs.

use std::time::{Duration, SystemTime};

use alcove_storage::registry::CollectedBlobs;
use http::StatusCode;

use crate::support::{INDEX, MANIFEST, TestRegistry, digest_of, image};

const HOUR: Duration = Duration::from_hours(1);

impl TestRegistry {
    async fn collect(&self, before: SystemTime) -> u64 {
        let collected = self.registry.collect(before).await.unwrap();
        collected.blobs
    }

    async fn has(&self, digest: &str) -> bool {
        let path = format!("/v2/org/app/blobs/{digest}");
        let status = self.ask("GET", &path, "").await.status;
        assert!(matches!(status, StatusCode::OK | StatusCode::NOT_FOUND));
        status == StatusCode::OK
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "as the file system's own clock says"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// After everything that has happened so far, whatever steps the file system's clock goes in.
fn later() -> SystemTime {
    now() + HOUR
}

#[tokio::test]
async fn blobs_go_that_no_manifest_names_and_all_others_stay() {
    let test = TestRegistry::open().await;
    let kept = test.push_image("v1", "kept").await;
    // One that only an index leads to, and one of another repository of the organization.
    let below = test.push_image("below", "below").await;
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"digest":"{below}"}}]}}"#
    );
    assert_eq!(
        test.put_manifest("all", INDEX, &index).await.status,
        StatusCode::CREATED
    );
    let path = "/v2/org/app/manifests/below";
    assert_eq!(
        test.ask("DELETE", path, "").await.status,
        StatusCode::ACCEPTED
    );
    let gone = test.push_image("v2", "gone").await;
    let loose = test.push("loose").await;
    let path = format!("/v2/org/app/manifests/{gone}");
    assert_eq!(
        test.ask("DELETE", &path, "").await.status,
        StatusCode::ACCEPTED
    );

    // Nothing is old enough: the control.
    assert_eq!(test.collect(now() - HOUR).await, 0);
    assert!(test.has(&loose).await && test.has(&digest_of("gone")).await);

    let collected = test.registry.collect(later()).await.unwrap();
    let bytes = ("loose".len() + "gone".len()) as u64;
    assert_eq!(collected, CollectedBlobs { blobs: 2, bytes });
    assert!(!test.has(&loose).await && !test.has(&digest_of("gone")).await);
    for layer in ["kept", "below", "{}"] {
        assert!(test.has(&digest_of(layer)).await, "{layer}");
    }
    let path = format!("/v2/org/app/manifests/{kept}");
    assert_eq!(test.ask("GET", &path, "").await.status, StatusCode::OK);
    assert_eq!(
        test.collect(later()).await,
        0,
        "the second round finds nothing"
    );
}

#[tokio::test]
async fn a_push_that_counts_on_an_old_blob_makes_it_young() {
    let test = TestRegistry::open().await;
    let (config, layer) = (test.push("{}").await, test.push("abc").await);
    let old = now() - 2 * HOUR;
    test.age(old);
    // The client learns that the layer is there, and pushes it no more.
    let path = format!("/v2/org/app/blobs/{layer}");
    assert_eq!(test.ask("HEAD", &path, "").await.status, StatusCode::OK);
    assert_eq!(
        test.collect(now() - HOUR).await,
        1,
        "the configuration alone"
    );
    assert!(test.has(&layer).await && !test.has(&config).await);

    // A manifest that was put counts for all that it names.
    let config = test.push("{}").await;
    test.age(old);
    let manifest = image(&config, &layer);
    let put = test.put_manifest("v1", MANIFEST, &manifest).await;
    assert_eq!(put.status, StatusCode::CREATED, "{put:?}");
    let path = format!(
        "/v2/org/app/manifests/{}",
        put.header("docker-content-digest")
    );
    test.ask("DELETE", &path, "").await;
    assert_eq!(test.collect(now() - HOUR).await, 0);
    assert_eq!(test.collect(later()).await, 2);
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_keeps_all_blobs_of_its_organization() {
    let test = TestRegistry::open().await;
    test.push_image("v1", "abc").await;
    let loose = test.push("loose").await;
    test.damage_a_manifest();
    assert_eq!(test.collect(later()).await, 0);
    assert!(test.has(&loose).await);
}
