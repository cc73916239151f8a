//! Nobody gets at what is not theirs. Each way is tried beside one that must work.

use alcove_storage::{Bucket, List, ObjectStore as _};
use http::StatusCode;

use crate::support::{ACCESS_KEY, Signer, TestFace};

/// Method, query and body.
type Operation<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str);

async fn with_neighbour() -> TestFace {
    let test = TestFace::open().await;
    test.put("org/own", "own").await;
    test.put("other/theirs", "theirs").await;
    test.put("organization/theirs", "theirs").await;
    test
}

#[tokio::test]
async fn another_organizations_objects_are_denied_to_every_operation() {
    let test = with_neighbour().await;
    let xml = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>";
    let id = "0".repeat(32);
    let operations: [Operation<'_>; 8] = [
        ("GET", vec![], ""),
        ("HEAD", vec![], ""),
        ("PUT", vec![], "mine"),
        ("DELETE", vec![], ""),
        ("POST", vec![("uploads", "")], ""),
        ("PUT", vec![("partNumber", "1"), ("uploadId", &id)], "x"),
        ("POST", vec![("uploadId", &id)], xml),
        ("DELETE", vec![("uploadId", &id)], ""),
    ];
    for key in ["other/theirs", "organization/theirs", "org", "theirs"] {
        for (method, query, body) in &operations {
            let path = format!("/contexts/{key}");
            let answer = test.ask(method, &path, query, body).await;
            assert_eq!(
                answer.status,
                StatusCode::FORBIDDEN,
                "{method} {path} {query:?}: {answer:?}"
            );
            if *method != "HEAD" {
                assert_eq!(answer.code(), "AccessDenied", "{method} {path}");
            }
        }
    }
    let own = test.ask("GET", "/contexts/org/own", &[], "").await;
    assert_eq!((own.status, own.body.as_str()), (StatusCode::OK, "own"));
    let list = List {
        prefix: "other/".to_owned(),
        max: 9,
        ..List::default()
    };
    let theirs = test.store.list(Bucket::CONTEXTS, list);
    assert_eq!(theirs.await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn dots_lead_nowhere() {
    let test = with_neighbour().await;
    for path in [
        "/contexts/org/../other/theirs",
        "/contexts/org/./../other/theirs",
        "/contexts/org/../../contexts/other/theirs",
        "/contexts/org/..",
        "/contexts/../contexts/other/theirs",
        "/contexts/./other/theirs",
        "/contexts//other/theirs",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = test.ask(method, path, &[], "").await;
            assert!(
                answer.status.is_client_error(),
                "{method} {path}: {answer:?}"
            );
        }
    }
    // Encoded twice, it is a name as any other, and there is nothing.
    let twice = test
        .ask("GET", "/contexts/org/%2e%2e/other/theirs", &[], "")
        .await;
    assert_eq!(
        (twice.status, twice.code()),
        (StatusCode::NOT_FOUND, "NoSuchKey")
    );
    let own = test.ask("GET", "/contexts/org/own", &[], "").await;
    assert_eq!(own.status, StatusCode::OK);
}

#[tokio::test]
async fn a_list_shows_what_is_below_ones_own_name_only() {
    let test = with_neighbour().await;
    for query in [
        vec![],
        vec![("prefix", "")],
        vec![("prefix", "o")],
        vec![("prefix", "org")],
        vec![("prefix", "other/")],
        vec![("prefix", "organization/")],
        vec![("delimiter", "/")],
        vec![("prefix", "org"), ("start-after", "org/")],
    ] {
        let mut query = query;
        query.push(("list-type", "2"));
        let answer = test.ask("GET", "/contexts", &query, "").await;
        assert_eq!(
            answer.status,
            StatusCode::FORBIDDEN,
            "{query:?}: {answer:?}"
        );
        assert!(!answer.body.contains("theirs"));
    }
    let query = [("list-type", "2"), ("prefix", "org/")];
    let own = test.ask("GET", "/contexts/", &query, "").await;
    assert_eq!(own.all("Key"), ["org/own"], "{own:?}");
    // A page that is said to begin elsewhere shows nothing of there.
    let query = [
        ("list-type", "2"),
        ("prefix", "org/"),
        ("start-after", "organization"),
    ];
    let elsewhere = test.ask("GET", "/contexts", &query, "").await;
    assert!(elsewhere.all("Key").is_empty(), "{elsewhere:?}");
}

#[tokio::test]
async fn deleting_many_deletes_ones_own_only() {
    let test = with_neighbour().await;
    let xml = "<Delete><Object><Key>org/own</Key></Object><Object><Key>other/theirs</Key></Object>\
               <Object><Key>org/../other/theirs</Key></Object></Delete>";
    let md5 = [("content-md5", &*md5_of(xml))];
    let answer = test
        .ask_with("POST", "/contexts", &[("delete", "")], &md5, xml)
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.all("Deleted").len(), 1, "{answer:?}");
    assert_eq!(answer.all("Code"), ["AccessDenied", "InvalidArgument"]);
    let own = test.ask("GET", "/contexts/org/own", &[], "").await;
    assert_eq!(own.status, StatusCode::NOT_FOUND);
}

fn md5_of(text: &str) -> String {
    use base64::Engine as _;
    use s3s::crypto::Checksum as _;
    base64::engine::general_purpose::STANDARD.encode(s3s::crypto::Md5::checksum(text.as_bytes()))
}

#[tokio::test]
async fn other_buckets_are_denied_whether_they_are_there_or_not() {
    let test = with_neighbour().await;
    for bucket in ["build-logs", "registry", "nowhere-at-all"] {
        let path = format!("/{bucket}/org/own");
        let answer = test.ask("GET", &path, &[], "").await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::FORBIDDEN, "AccessDenied")
        );
        let answer = test.ask("HEAD", &format!("/{bucket}"), &[], "").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(
        test.ask("GET", "/", &[], "").await.status,
        StatusCode::FORBIDDEN
    );
    let own = test.ask("HEAD", "/contexts", &[], "").await;
    assert_eq!(own.status, StatusCode::OK);
}

#[tokio::test]
async fn credentials_that_do_not_go_together_are_refused() {
    let test = with_neighbour().await;
    let good = Signer::default();
    let ask = async |signer: Signer| {
        let request = signer.sign("GET", "/contexts/org/own", &[], &[], "");
        test.send(request).await.status
    };
    assert_eq!(ask(good.clone()).await, StatusCode::OK);
    let with_token = |token: Option<&str>| Signer {
        token: token.map(str::to_owned),
        ..good.clone()
    };
    assert_eq!(ask(with_token(None)).await, StatusCode::FORBIDDEN);
    assert_eq!(
        ask(with_token(Some("expired"))).await,
        StatusCode::FORBIDDEN
    );
    // A token of another access key, and of another organization.
    assert_eq!(
        ask(with_token(Some("org@ALCOTHER"))).await,
        StatusCode::FORBIDDEN
    );
    let other = format!("other@{ACCESS_KEY}");
    assert_eq!(ask(with_token(Some(&other))).await, StatusCode::FORBIDDEN);
    let wrong_secret = Signer {
        secret: "guessed".to_owned(),
        ..good.clone()
    };
    assert_eq!(ask(wrong_secret).await, StatusCode::FORBIDDEN);
    let unsigned = http::Request::get("/contexts/org/own").header("host", "storage.test");
    let unsigned = test.send(unsigned.body(s3s::Body::empty()).unwrap()).await;
    assert_eq!(unsigned.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_signature_is_for_one_request() {
    let test = with_neighbour().await;
    let signed = || Signer::default().sign("PUT", "/contexts/org/new", &[], &[], "content");
    let mut moved = signed();
    *moved.uri_mut() = "/contexts/org/own?".parse().unwrap();
    assert_eq!(test.send(moved).await.code(), "SignatureDoesNotMatch");
    let mut method = signed();
    *method.method_mut() = http::Method::DELETE;
    assert_eq!(test.send(method).await.code(), "SignatureDoesNotMatch");
    // The signature covers the hash of the content.
    let mut other = signed();
    *other.body_mut() = s3s::Body::from("CONTENT".to_owned());
    assert!(test.send(other).await.status.is_client_error());
    let missing = test.ask("GET", "/contexts/org/new", &[], "").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(test.send(signed()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_signed_url_is_good_for_its_object_and_time() {
    let test = with_neighbour().await;
    let good = Signer::default();
    let answer = test
        .send(good.presign("GET", "/contexts/org/own", "60"))
        .await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (StatusCode::OK, "own")
    );
    let answer = test
        .send(good.presign("GET", "/contexts/other/theirs", "60"))
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let no_token = Signer {
        token: None,
        ..good.clone()
    };
    let answer = test
        .send(no_token.presign("GET", "/contexts/org/own", "60"))
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let mut changed = good.presign("GET", "/contexts/org/own", "60");
    let longer = changed
        .uri()
        .to_string()
        .replace("X-Amz-Expires=60", "X-Amz-Expires=600");
    *changed.uri_mut() = longer.parse().unwrap();
    assert_eq!(test.send(changed).await.code(), "SignatureDoesNotMatch");
}

#[tokio::test]
async fn what_is_not_offered_is_refused_by_name_and_before_its_body() {
    let test = with_neighbour().await;
    for (header, value) in [
        ("x-amz-acl", "public-read"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-copy-source", "/contexts/other/theirs"),
        ("x-amz-storage-class", "GLACIER"),
        ("cache-control", "max-age=5"),
        ("content-encoding", "gzip"),
        ("content-type", "multipart/form-data; boundary=x"),
    ] {
        let answer = test
            .ask_with("PUT", "/contexts/org/new", &[], &[(header, value)], "x")
            .await;
        assert_eq!(
            answer.status,
            StatusCode::NOT_IMPLEMENTED,
            "{header}: {answer:?}"
        );
        assert_eq!(answer.code(), "NotImplemented");
    }
    for query in [
        ("acl", ""),
        ("tagging", ""),
        ("versionId", "1"),
        ("response-content-type", "a"),
    ] {
        let answer = test.ask("GET", "/contexts/org/own", &[query], "").await;
        assert_eq!(
            answer.status,
            StatusCode::NOT_IMPLEMENTED,
            "{query:?}: {answer:?}"
        );
    }
    let list = test
        .ask("GET", "/contexts", &[("prefix", "org/")], "")
        .await;
    assert_eq!(list.code(), "NotImplemented");
    let created = test.ask("PUT", "/contexts", &[], "").await;
    assert_eq!(created.code(), "NotImplemented");
}
