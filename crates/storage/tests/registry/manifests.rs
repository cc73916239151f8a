//! Manifests and tags.

use http::StatusCode;
use serde_json::json;

use crate::support::{INDEX, MANIFEST, TestRegistry, digest_of, image};

#[tokio::test]
async fn an_image_is_found_by_tag_and_by_digest() {
    let test = TestRegistry::open().await;
    let digest = test.push_image("v1", "abc").await;
    for reference in ["v1", digest.as_str()] {
        for method in ["GET", "HEAD"] {
            let path = format!("/v2/org/app/manifests/{reference}");
            let answer = test.ask(method, &path, "").await;
            assert_eq!(answer.status, StatusCode::OK, "{method} {path}");
            assert_eq!(answer.header("content-type"), MANIFEST);
            assert_eq!(answer.header("docker-content-digest"), digest);
            assert_eq!(answer.body.is_empty(), method == "HEAD");
        }
    }
    for path in ["/v2/org/app/manifests/v2", "/v2/org/other/manifests/v1"] {
        assert_eq!(test.ask("GET", path, "").await.code(), "MANIFEST_UNKNOWN");
    }
    // A manifest is its repository's.
    let path = format!("/v2/org/other/manifests/{digest}");
    assert_eq!(test.ask("GET", &path, "").await.code(), "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn a_tag_moves_to_a_newer_image() {
    let test = TestRegistry::open().await;
    let old = test.push_image("v1", "old").await;
    let new = test.push_image("v1", "new").await;
    assert_ne!(old, new);
    let answer = test.ask("HEAD", "/v2/org/app/manifests/v1", "").await;
    assert_eq!(answer.header("docker-content-digest"), new);
    let path = format!("/v2/org/app/manifests/{old}");
    assert_eq!(test.ask("GET", &path, "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_manifest_that_names_what_is_not_there_is_refused() {
    let test = TestRegistry::open().await;
    let config = test.push("{}").await;
    let missing = image(&config, &digest_of("missing"));
    let refused = test.put_manifest("v1", MANIFEST, &missing).await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN".to_owned())
    );
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [{"digest": digest_of("missing")}]
    });
    let refused = test.put_manifest("v1", INDEX, &index.to_string()).await;
    assert_eq!(refused.code(), "MANIFEST_BLOB_UNKNOWN");
    let known = test.push_image("part", "abc").await;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"digest": known}]});
    let taken = test.put_manifest("v1", INDEX, &index.to_string()).await;
    assert_eq!(taken.status, StatusCode::CREATED, "{taken:?}");
}

#[tokio::test]
async fn what_is_no_manifest_is_refused() {
    let test = TestRegistry::open().await;
    let good = image(&test.push("{}").await, &test.push("abc").await);
    let both = json!({"schemaVersion": 2, "layers": [], "manifests": []}).to_string();
    for (media_type, text) in [
        (MANIFEST, "not json"),
        (MANIFEST, "{}"),
        (MANIFEST, r#"{"schemaVersion": 1}"#),
        (INDEX, good.as_str()),
        ("text/plain", r#"{"schemaVersion": 2}"#),
        (MANIFEST, both.as_str()),
    ] {
        let refused = test.put_manifest("v1", media_type, text).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{text}");
        assert_eq!(refused.code(), "MANIFEST_INVALID", "{text}");
    }
    let long = " ".repeat(5 << 20);
    let refused = test.put_manifest("v1", MANIFEST, &long).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let refused = test
        .put_manifest(&digest_of("other"), MANIFEST, &good)
        .await;
    assert_eq!(refused.code(), "DIGEST_INVALID");
    let taken = test.put_manifest(&digest_of(&good), MANIFEST, &good).await;
    assert_eq!(taken.status, StatusCode::CREATED, "{taken:?}");
}

#[tokio::test]
async fn tags_are_listed_in_pages() {
    let test = TestRegistry::open().await;
    let unknown = test.ask("GET", "/v2/org/app/tags/list", "").await;
    assert_eq!(
        (unknown.status, unknown.code()),
        (StatusCode::NOT_FOUND, "NAME_UNKNOWN".to_owned())
    );
    for tag in ["c", "a", "b", "B.1"] {
        test.push_image(tag, "abc").await;
    }
    let all = test.ask("GET", "/v2/org/app/tags/list", "").await;
    assert_eq!(
        all.json(),
        json!({"name": "org/app", "tags": ["B.1", "a", "b", "c"]})
    );
    let first = test.ask("GET", "/v2/org/app/tags/list?n=3", "").await;
    assert_eq!(first.json()["tags"], json!(["B.1", "a", "b"]));
    assert_eq!(
        first.header("link"),
        "</v2/org/app/tags/list?n=3&last=b>; rel=\"next\""
    );
    let rest = test
        .ask("GET", "/v2/org/app/tags/list?n=3&last=b", "")
        .await;
    assert_eq!(rest.json()["tags"], json!(["c"]));
    assert!(!rest.headers.contains_key("link"));
}

#[tokio::test]
async fn a_tag_goes_alone_and_a_manifest_with_its_tags() {
    let test = TestRegistry::open().await;
    let digest = test.push_image("a", "abc").await;
    test.push_image("b", "abc").await;
    test.push_image("other", "def").await;
    let gone = test.ask("DELETE", "/v2/org/app/manifests/a", "").await;
    assert_eq!(gone.status, StatusCode::ACCEPTED);
    let path = format!("/v2/org/app/manifests/{digest}");
    assert_eq!(test.ask("GET", &path, "").await.status, StatusCode::OK);
    assert_eq!(
        test.ask("DELETE", &path, "").await.status,
        StatusCode::ACCEPTED
    );
    assert_eq!(
        test.ask("DELETE", &path, "").await.status,
        StatusCode::NOT_FOUND
    );
    let tags = test.ask("GET", "/v2/org/app/tags/list", "").await;
    assert_eq!(tags.json()["tags"], json!(["other"]));
}

#[tokio::test]
async fn a_manifest_that_never_ends_is_given_up() {
    let test = TestRegistry::open().await;
    let endless = futures_util::stream::pending::<Result<&str, std::io::Error>>();
    let body = axum::body::Body::from_stream(endless);
    let headers = [("content-type", MANIFEST)];
    tokio::time::pause();
    let refused = test
        .ask_with("PUT", "/v2/org/app/manifests/v1", &headers, body)
        .await;
    assert_eq!(refused.code(), "MANIFEST_INVALID");
}
