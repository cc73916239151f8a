use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::support::{Answer, TestAgent};

/// The parts of a bulk download: headers and content.
fn parts_of(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let kind = answer.headers["content-type"].to_str().unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let delimiter = format!("--{boundary}\r\n");
    let end = format!("--{boundary}--\r\n");
    let body = answer
        .body
        .strip_suffix(end.as_bytes())
        .expect("the closing boundary");
    let mut parts = Vec::new();
    let mut rest = body
        .strip_prefix(delimiter.as_bytes())
        .expect("the first boundary");
    loop {
        let next = memchr::memmem::find(rest, delimiter.as_bytes());
        let part = &rest[..next.unwrap_or(rest.len())];
        let head = memchr::memmem::find(part, b"\r\n\r\n").unwrap();
        let content = part[head + 4..].strip_suffix(b"\r\n").unwrap();
        parts.push((
            String::from_utf8(part[..head].to_vec()).unwrap(),
            content.to_vec(),
        ));
        match next {
            Some(at) => rest = &rest[at + delimiter.len()..],
            None => return parts,
        }
    }
}

#[tokio::test]
async fn many_downloads_come_in_order_with_a_part_for_each_failure() {
    let agent = TestAgent::start().await;
    let old_boundary = b"--DAYTONA-FILE-BOUNDARY\r\n--DAYTONA-FILE-BOUNDARY--\r\n";
    std::fs::write(agent.path("a \"é\".txt"), old_boundary).unwrap();
    std::fs::write(agent.path("empty"), "").unwrap();
    agent
        .execute("mkfifo fifo; mkdir dir; ln -s nowhere dangling")
        .await;
    let paths = [
        "a \"é\".txt",
        "nope",
        "empty",
        "fifo",
        "/dev/zero",
        "dir",
        "dangling",
        "",
        "./empty",
    ];
    let request = json!({ "paths": paths });
    let answer = agent
        .post("/files/bulk-download", &request)
        .await
        .expect(200);
    let parts = parts_of(&answer);
    assert_eq!(parts.len(), paths.len());
    for (path, (head, _)) in paths.iter().zip(&parts) {
        let plain = format!(
            "; filename=\"{}\"; filename*=utf-8''",
            path.replace('"', "\\\"")
        );
        assert!(head.contains(&plain), "{head}");
    }
    assert!(
        parts[0]
            .0
            .starts_with("Content-Disposition: form-data; name=\"file\"")
    );
    assert!(
        parts[0]
            .0
            .contains(&format!("\r\nContent-Length: {}\r\n", old_boundary.len()))
    );
    assert!(
        parts[0]
            .0
            .contains("filename*=utf-8''a%20%22%C3%A9%22.txt\r\n")
    );
    assert!(
        parts[0]
            .0
            .ends_with("\r\nContent-Type: text/plain; charset=utf-8")
    );
    assert!(
        parts[2]
            .0
            .ends_with("\r\nContent-Type: application/octet-stream")
    );
    assert_eq!(parts[0].1, old_boundary);
    assert!(parts[2].0.contains("Content-Length: 0") && parts[2].1.is_empty());
    let codes = [
        (1, 404, "FILE_NOT_FOUND"),
        (3, 400, "INVALID_FILE_PATH"),
        (4, 400, "INVALID_FILE_PATH"),
        (5, 400, "INVALID_FILE_PATH"),
        (6, 404, "FILE_NOT_FOUND"),
        (7, 400, "INVALID_FILE_PATH"),
    ];
    for (at, status, code) in codes {
        let (head, content) = &parts[at];
        assert!(
            head.contains("name=\"error\"") && head.contains("application/json"),
            "{head}"
        );
        let error: Value = serde_json::from_slice(content).unwrap();
        assert_eq!(
            (&error["statusCode"], &error["code"]),
            (&json!(status), &json!(code))
        );
        assert_eq!(
            (&error["path"], &error["source"]),
            (&json!(paths[at]), &json!("DAYTONA_DAEMON"))
        );
    }
}

#[tokio::test]
async fn a_name_beyond_latin1_reaches_a_client_that_keeps_names_as_latin1() {
    let agent = TestAgent::start().await;
    std::fs::write(agent.path("☃"), "snow").unwrap();
    let request = TestAgent::request(Method::POST, "/files/bulk-download")
        .header("x-daytona-source", "sdk-python")
        .body(http_body_util::Full::new(Bytes::from(r#"{"paths":["☃"]}"#)))
        .unwrap();
    let answer = agent.send(request).await.unwrap().into_body();
    let body = answer.collect().await.unwrap().to_bytes();
    let head = std::str::from_utf8(&body).unwrap();
    let (_, rest) = head.split_once("; filename=\"").unwrap();
    let (plain, rest) = rest.split_once('"').unwrap();
    let kept: Vec<u8> = plain
        .chars()
        .map(|letter| u8::try_from(u32::from(letter)).expect("Latin-1"))
        .collect();
    assert_eq!(kept, "☃".as_bytes());
    assert!(
        rest.starts_with("; filename*=utf-8''%E2%98%83\r\n"),
        "{rest}"
    );
}

#[tokio::test]
async fn a_file_cut_while_it_is_sent_breaks_the_connection() {
    let agent = TestAgent::start().await;
    let file = std::fs::File::create(agent.path("f")).unwrap();
    file.set_len(500_000_000).unwrap();
    for (method, uri, body) in [
        (Method::POST, "/files/bulk-download", r#"{"paths":["f"]}"#),
        (Method::GET, "/files/download?path=f", ""),
    ] {
        file.set_len(500_000_000).unwrap();
        let request = TestAgent::request(method, uri);
        let request = request
            .body(http_body_util::Full::new(Bytes::from(body)))
            .unwrap();
        let mut body = agent.send(request).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        file.set_len(10).unwrap();
        let broken = loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(broken, "{uri} ended as if it were whole");
    }
    agent.get("/version").await.expect(200);
}

#[tokio::test]
async fn a_single_download_has_ranges_and_dates() {
    let agent = TestAgent::start().await;
    std::fs::write(agent.path("é\".bin"), "0123456789").unwrap();
    let uri = "/files/download?path=%C3%A9%22.bin";
    let whole = agent.get(uri).await.expect(200);
    assert_eq!(whole.text(), "0123456789");
    let header = |headers: &HeaderMap, name: &str| headers[name].as_bytes().to_vec();
    assert_eq!(
        header(&whole.headers, "content-type"),
        b"application/octet-stream"
    );
    let disposition = header(&whole.headers, "content-disposition");
    assert_eq!(
        disposition,
        b"attachment; filename=\"\xe9\\\".bin\"; filename*=UTF-8''%C3%A9%22.bin"
    );
    let date = whole.headers["last-modified"].to_str().unwrap().to_owned();

    let part = agent
        .call(Method::GET, uri, &[("range", "bytes=2-4")], "")
        .await
        .expect(206);
    assert_eq!(part.text(), "234");
    assert_eq!(part.headers["content-range"], "bytes 2-4/10");
    let outside = agent
        .call(Method::GET, uri, &[("range", "bytes=10-")], "")
        .await
        .expect(416);
    assert_eq!(outside.headers["content-range"], "bytes */10");
    assert_eq!(outside.json()["source"], "DAYTONA_DAEMON");
    let unchanged = agent
        .call(Method::GET, uri, &[("if-modified-since", &date)], "")
        .await;
    assert_eq!(unchanged.expect(304).text(), "");
    let stale = [
        ("range", "bytes=2-4"),
        ("if-range", "Mon, 01 Jan 2001 00:00:00 GMT"),
    ];
    agent.call(Method::GET, uri, &stale, "").await.expect(200);
    let proc = agent
        .get("/files/download?path=/proc/self/status")
        .await
        .expect(200);
    assert!(proc.text().contains("alcove-agent"));
}
