//! Uploads in parts.

use http::StatusCode;

use crate::support::TestFace;

const PATH: &str = "/contexts/org/hash/context.tar";

async fn begin(test: &TestFace) -> String {
    let begun = test.ask("POST", PATH, &[("uploads", "")], "").await;
    assert_eq!(begun.status, StatusCode::OK, "{begun:?}");
    begun.all("UploadId")[0].to_owned()
}

async fn part(test: &TestFace, id: &str, number: &str, content: &str) -> String {
    let query = [("partNumber", number), ("uploadId", id)];
    let answer = test.ask("PUT", PATH, &query, content).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.headers["etag"].to_str().unwrap().to_owned()
}

fn listed(parts: &[(&str, &str)]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|(number, tag)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
        })
        .collect();
    let parts = parts.concat();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

#[tokio::test]
async fn parts_become_an_object() {
    let test = TestFace::open().await;
    let id = begin(&test).await;
    let second = part(&test, &id, "2", "def").await;
    let first = part(&test, &id, "1", "abc").await;
    let finish = async |parts: &[(&str, &str)]| {
        test.ask("POST", PATH, &[("uploadId", &id)], &listed(parts))
            .await
    };
    assert_eq!(
        finish(&[("2", &second), ("1", &first)]).await.code(),
        "InvalidPartOrder"
    );
    assert_eq!(finish(&[("1", &second)]).await.code(), "InvalidPart");
    assert_eq!(finish(&[("1", "x")]).await.code(), "InvalidPart");
    assert!(finish(&[]).await.status.is_client_error());
    let done = finish(&[("1", &first), ("2", &second)]).await;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
    let got = test.ask("GET", PATH, &[], "").await;
    assert_eq!(got.body, "abcdef");
    assert_eq!(finish(&[("1", &first)]).await.code(), "NoSuchUpload");
}

#[tokio::test]
async fn an_upload_that_is_given_up_is_gone() {
    let test = TestFace::open().await;
    let id = begin(&test).await;
    part(&test, &id, "1", "abc").await;
    let query = [("uploadId", id.as_str())];
    let gone = test.ask("DELETE", PATH, &query, "").await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{gone:?}");
    let again = test.ask("DELETE", PATH, &query, "").await;
    assert_eq!(again.code(), "NoSuchUpload");
    let query = [("partNumber", "1"), ("uploadId", "../../drafts")];
    let odd = test.ask("PUT", PATH, &query, "x").await;
    assert_eq!(odd.code(), "NoSuchUpload");
}
