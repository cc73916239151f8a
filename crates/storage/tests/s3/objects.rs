//! Whole objects.

use alcove_storage::Limits;
use http::StatusCode;

use crate::support::TestFace;

#[tokio::test]
async fn an_object_is_written_read_and_removed() {
    let test = TestFace::open().await;
    let path = "/contexts/org/a b/ü+%.tar";
    let headers = [
        ("content-type", "application/x-tar"),
        ("x-amz-meta-who", "me"),
    ];
    let put = test.ask_with("PUT", path, &[], &headers, "content").await;
    assert_eq!(put.status, StatusCode::OK, "{put:?}");
    let head = test.ask("HEAD", path, &[], "").await;
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(head.headers["content-length"], "7");
    assert_eq!(head.headers["content-type"], "application/x-tar");
    assert_eq!(head.headers["x-amz-meta-who"], "me");
    assert_eq!(head.headers["etag"], put.headers["etag"]);
    assert!(head.headers.contains_key("last-modified"));
    let got = test.ask("GET", path, &[], "").await;
    assert_eq!((got.status, got.body.as_str()), (StatusCode::OK, "content"));
    let part = test
        .ask_with("GET", path, &[], &[("range", "bytes=1-3")], "")
        .await;
    assert_eq!(
        (part.status, part.body.as_str()),
        (StatusCode::PARTIAL_CONTENT, "ont")
    );
    assert_eq!(part.headers["content-range"], "bytes 1-3/7");
    let outside = test
        .ask_with("GET", path, &[], &[("range", "bytes=7-")], "")
        .await;
    assert_eq!(outside.code(), "InvalidRange");
    for _ in 0..2 {
        let gone = test.ask("DELETE", path, &[], "").await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
    }
    let missing = test.ask("GET", path, &[], "").await;
    assert_eq!(
        (missing.status, missing.code()),
        (StatusCode::NOT_FOUND, "NoSuchKey")
    );
    let missing = test.ask("HEAD", path, &[], "").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_said_of_the_content_must_be_true() {
    let test = TestFace::open().await;
    let put = async |name: &str, value: &str| {
        test.ask_with("PUT", "/contexts/org/a", &[], &[(name, value)], "hello")
            .await
    };
    // By the tools of others: crc32, md5 and sha256 of "hello", in base64.
    for (name, right) in [
        ("x-amz-checksum-crc32", "NhCmhg=="),
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="),
        (
            "x-amz-checksum-sha256",
            "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
        ),
    ] {
        let answer = put(name, right).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {answer:?}");
        let wrong = right.replacen(&right[..1], "A", 1);
        let answer = put(name, &wrong).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}: {answer:?}");
        assert_eq!(answer.code(), "BadDigest", "{name}");
    }
}

#[tokio::test]
async fn conditions_are_held() {
    let test = TestFace::open().await;
    let path = "/contexts/org/a";
    let new = [("if-none-match", "*")];
    let first = test.ask_with("PUT", path, &[], &new, "first").await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    let second = test.ask_with("PUT", path, &[], &new, "second").await;
    assert_eq!(
        (second.status, second.code()),
        (StatusCode::PRECONDITION_FAILED, "PreconditionFailed")
    );
    let tag = first.headers["etag"].to_str().unwrap();
    let same = test
        .ask_with("GET", path, &[], &[("if-none-match", tag)], "")
        .await;
    assert_eq!(same.status, StatusCode::NOT_MODIFIED);
    let wanted = test
        .ask_with("GET", path, &[], &[("if-match", tag)], "")
        .await;
    assert_eq!(wanted.body, "first");
    let other = test
        .ask_with("GET", path, &[], &[("if-match", "\"other\"")], "")
        .await;
    assert_eq!(other.status, StatusCode::PRECONDITION_FAILED);
}

#[tokio::test]
async fn lists_come_in_pages_and_by_folder() {
    let test = TestFace::open().await;
    for name in ["org/a/1", "org/a/2", "org/b", "org/c d"] {
        test.put(name, "x").await;
    }
    let list = async |query: &[(&str, &str)]| {
        let mut all = vec![("list-type", "2"), ("prefix", "org/")];
        all.extend(query);
        test.ask("GET", "/contexts/", &all, "").await
    };
    let first = list(&[("max-keys", "3")]).await;
    assert_eq!(first.all("Key"), ["org/a/1", "org/a/2", "org/b"]);
    assert_eq!(first.all("IsTruncated"), ["true"]);
    let token = first.all("NextContinuationToken")[0];
    let rest = list(&[("max-keys", "3"), ("continuation-token", token)]).await;
    assert_eq!(rest.all("Key"), ["org/c d"]);
    assert_eq!(rest.all("IsTruncated"), ["false"]);
    let folders = list(&[("delimiter", "/")]).await;
    assert_eq!(folders.all("Key"), ["org/b", "org/c d"]);
    assert_eq!(folders.all("CommonPrefixes"), ["<Prefix>org/a/</Prefix>"]);
    let encoded = list(&[("encoding-type", "url"), ("start-after", "org/b")]).await;
    assert_eq!(encoded.all("Key"), ["org%2Fc%20d"]);
    let one = list(&[("max-keys", "1")]).await;
    assert_eq!(
        (one.all("Key"), one.all("KeyCount")),
        (vec!["org/a/1"], vec!["1"])
    );
    assert_eq!(
        list(&[("continuation-token", "??")]).await.code(),
        "InvalidArgument"
    );
}

#[tokio::test]
async fn more_than_an_organization_may_have_is_refused() {
    let test = TestFace::with_limits(Limits {
        object_bytes: 8,
        bytes_per_owner: 10,
        ..Limits::default()
    })
    .await;
    let put = async |name: &str, content: &str| {
        test.ask("PUT", &format!("/contexts/org/{name}"), &[], content)
            .await
    };
    assert_eq!(put("a", "123456789").await.code(), "EntityTooLarge");
    assert_eq!(put("a", "12345678").await.status, StatusCode::OK);
    let full = put("b", "123").await;
    assert_eq!(full.code(), "EntityTooLarge");
    assert!(full.body.contains("organization"), "{full:?}");
    assert_eq!(put("b", "12").await.status, StatusCode::OK);
}
