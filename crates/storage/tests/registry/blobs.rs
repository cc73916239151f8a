//! Blobs in and out.

use alcove_storage::Limits;
use http::StatusCode;

use crate::support::{TestRegistry, digest_of};

async fn begin(test: &TestRegistry) -> String {
    let begun = test.ask("POST", "/v2/org/app/blobs/uploads/", "").await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{begun:?}");
    begun.header("location").to_owned()
}

async fn get(test: &TestRegistry, digest: &str) -> String {
    let answer = test
        .ask("GET", &format!("/v2/org/app/blobs/{digest}"), "")
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.header("docker-content-digest"), digest);
    assert_eq!(
        answer.header("content-length"),
        answer.body.len().to_string()
    );
    String::from_utf8(answer.body).unwrap()
}

#[tokio::test]
async fn a_blob_comes_whole_in_one_request() {
    let test = TestRegistry::open().await;
    let digest = test.push("content").await;
    assert_eq!(get(&test, &digest).await, "content");
    let head = test
        .ask("HEAD", &format!("/v2/org/app/blobs/{digest}"), "")
        .await;
    assert_eq!(head.header("content-length"), "7");
    assert!(head.body.is_empty());
    let empty = test.push("").await;
    assert_eq!(get(&test, &empty).await, "");
}

#[tokio::test]
async fn a_blob_comes_in_pieces_in_order() {
    let test = TestRegistry::open().await;
    let upload = begin(&test).await;
    let range = |range| [("content-range", range)];
    let added = test.ask_with("PATCH", &upload, &range("0-2"), "abc").await;
    assert_eq!(added.status, StatusCode::ACCEPTED, "{added:?}");
    assert_eq!(added.header("range"), "0-2");
    let gap = test.ask_with("PATCH", &upload, &range("4-5"), "ef").await;
    assert_eq!(gap.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(gap.header("range"), "0-2");
    let status = test.ask("GET", &upload, "").await;
    assert_eq!(
        (status.status, status.header("range")),
        (StatusCode::NO_CONTENT, "0-2")
    );
    let added = test.ask_with("PATCH", &upload, &range("3-4"), "de").await;
    assert_eq!(added.header("range"), "0-4");
    let digest = digest_of("abcdef");
    let wrong = format!("{upload}?digest={}", digest_of("other"));
    // The last piece may come with the end.
    let refused = test.ask("PUT", &wrong, "f").await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID".to_owned())
    );
    let right = format!("{upload}?digest={digest}");
    let headers = [("content-length", "0")];
    let done = test.ask_with("PUT", &right, &headers, "").await;
    assert_eq!(done.status, StatusCode::CREATED, "{done:?}");
    assert_eq!(
        done.header("location"),
        format!("/v2/org/app/blobs/{digest}")
    );
    assert_eq!(get(&test, &digest).await, "abcdef");
    let gone = test.ask("GET", &upload, "").await;
    assert_eq!(gone.code(), "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_stream_in_one_piece_and_an_end_without_content_are_what_most_clients_do() {
    let test = TestRegistry::open().await;
    let upload = begin(&test).await;
    test.ask("PATCH", &upload, "stream").await;
    let digest = digest_of("stream");
    let done = test
        .ask("PUT", &format!("{upload}?digest={digest}"), "")
        .await;
    assert_eq!(done.status, StatusCode::CREATED, "{done:?}");
    assert_eq!(get(&test, &digest).await, "stream");
}

#[tokio::test]
async fn a_blob_is_mounted_from_another_repository_of_the_organization() {
    let test = TestRegistry::open().await;
    let digest = test.push("content").await;
    let path = format!("/v2/org/deep/name/blobs/uploads/?mount={digest}&from=org/app");
    let mounted = test.ask("POST", &path, "").await;
    assert_eq!(mounted.status, StatusCode::CREATED, "{mounted:?}");
    let missing = digest_of("missing");
    let path = format!("/v2/org/deep/name/blobs/uploads/?mount={missing}&from=org/app");
    let begun = test.ask("POST", &path, "").await;
    assert_eq!(begun.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn part_of_a_blob_is_read() {
    let test = TestRegistry::open().await;
    let path = format!("/v2/org/app/blobs/{}", test.push("0123456789").await);
    let part = test
        .ask_with("GET", &path, &[("range", "bytes=2-4")], "")
        .await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.body, b"234");
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    let outside = test
        .ask_with("GET", &path, &[("range", "bytes=10-")], "")
        .await;
    assert_eq!(outside.status, StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test]
async fn an_upload_that_is_given_up_and_a_blob_that_is_removed_are_gone() {
    let test = TestRegistry::open().await;
    let upload = begin(&test).await;
    test.ask("PATCH", &upload, "abc").await;
    assert_eq!(
        test.ask("DELETE", &upload, "").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        test.ask("DELETE", &upload, "").await.status,
        StatusCode::NOT_FOUND
    );
    let path = format!("/v2/org/app/blobs/{}", test.push("abc").await);
    assert_eq!(
        test.ask("DELETE", &path, "").await.status,
        StatusCode::ACCEPTED
    );
    let gone = test.ask("GET", &path, "").await;
    assert_eq!(
        (gone.status, gone.code()),
        (StatusCode::NOT_FOUND, "BLOB_UNKNOWN".to_owned())
    );
}

#[tokio::test]
async fn content_that_is_not_its_digest_or_too_much_is_refused() {
    let test = TestRegistry::with_limits(Limits {
        bytes_per_owner: 10,
        ..Limits::default()
    })
    .await;
    let path = format!("/v2/org/app/blobs/uploads/?digest={}", digest_of("a"));
    let refused = test.ask("POST", &path, "b").await;
    assert_eq!(refused.code(), "DIGEST_INVALID");
    let path = format!(
        "/v2/org/app/blobs/uploads/?digest={}",
        digest_of("12345678901")
    );
    let refused = test.ask("POST", &path, "12345678901").await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::FORBIDDEN, "DENIED".to_owned())
    );
    test.push("1234567890").await;
}
