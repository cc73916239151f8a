//! Who comes in, and how far.

use http::StatusCode;

use crate::support::{TestRegistry, basic, digest_of};

#[tokio::test]
async fn without_good_credentials_there_is_a_challenge() {
    let test = TestRegistry::open().await;
    let wrong = basic("org", "wrong");
    for authorization in [
        None,
        Some("Bearer wrong"),
        Some("secret-of-org"),
        Some("Basic %%"),
        Some(wrong.as_str()),
    ] {
        for path in ["/v2/", "/v2/org/app/tags/list", "/v2/token"] {
            let answer = test.send(authorization, "GET", path, &[], "").await;
            assert_eq!(
                answer.status,
                StatusCode::UNAUTHORIZED,
                "{authorization:?} {path}"
            );
            assert_eq!(answer.code(), "UNAUTHORIZED");
            assert_eq!(
                answer.header("www-authenticate"),
                "Bearer realm=\"http://localhost:3000/v2/token\",service=\"alcove\""
            );
        }
    }
    let answer = test.ask("GET", "/v2/", "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.header("docker-distribution-api-version"),
        "registry/2.0"
    );
}

#[tokio::test]
async fn basic_credentials_are_exchanged_for_a_token_that_works() {
    let test = TestRegistry::open().await;
    let basic = basic("anybody", "secret-of-org");
    let path = "/v2/token?service=alcove&scope=repository:org/app:push,pull";
    let answer = test.send(Some(&basic), "GET", path, &[], "").await;
    assert_eq!(answer.status, StatusCode::OK);
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(answer.json()["expires_in"], 100);
    for authorization in [format!("Bearer {token}"), basic] {
        let answer = test
            .send(Some(&authorization), "GET", "/v2/", &[], "")
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{authorization}");
    }
    let posted = test.send(Some("Bearer secret-of-org"), "POST", "/v2/token", &[], "");
    assert_eq!(posted.await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn nothing_of_another_organization_is_reached() {
    let test = TestRegistry::open().await;
    let manifest = test.push_image("latest", "abc").await;
    let blob = digest_of("abc");
    let begun = test.ask("POST", "/v2/org/app/blobs/uploads/", "").await;
    let upload = begun.header("location").to_owned();
    let places = [
        ("GET", format!("/v2/org/app/blobs/{blob}")),
        ("HEAD", format!("/v2/org/app/blobs/{blob}")),
        ("DELETE", format!("/v2/org/app/blobs/{blob}")),
        ("POST", "/v2/org/app/blobs/uploads/".to_owned()),
        ("GET", upload.clone()),
        ("PATCH", upload.clone()),
        ("PUT", format!("{upload}?digest={blob}")),
        ("DELETE", upload.clone()),
        ("GET", "/v2/org/app/manifests/latest".to_owned()),
        ("GET", format!("/v2/org/app/manifests/{manifest}")),
        ("PUT", "/v2/org/app/manifests/latest".to_owned()),
        ("DELETE", "/v2/org/app/manifests/latest".to_owned()),
        ("GET", "/v2/org/app/tags/list".to_owned()),
    ];
    for (method, path) in &places {
        let answer = test
            .send(Some("Bearer secret-of-other"), method, path, &[], "")
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
    // Neither by a mount, nor by another organization's upload under one's own name, nor by a trick in the path.
    let other = Some("Bearer secret-of-other");
    let mount = format!("/v2/other/app/blobs/uploads/?mount={blob}&from=org/app");
    let answer = test.send(other, "POST", &mount, &[], "").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let own = upload.replace("/v2/org/", "/v2/other/");
    let answer = test.send(other, "PATCH", &own, &[], "x").await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN".to_owned())
    );
    let answer = test
        .send(
            other,
            "GET",
            &format!("/v2/other/app/blobs/{blob}"),
            &[],
            "",
        )
        .await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    for path in [
        "/v2/other/../org/app/tags/list",
        "/v2/other/%2e%2e/org/app/tags/list",
        "/v2/other/..%2forg/app/tags/list",
        "/v2//org/app/tags/list",
        "/v2/ORG/app/tags/list",
    ] {
        let answer = test.send(other, "GET", path, &[], "").await;
        assert!(
            matches!(
                answer.status,
                StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN
            ),
            "{path}: {answer:?}"
        );
    }
    // The control: who may, can.
    for (method, path) in places
        .iter()
        .filter(|(method, _)| matches!(*method, "GET" | "HEAD"))
    {
        let answer = test.ask(method, path, "").await;
        assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
    }
}
