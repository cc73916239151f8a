use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use futures_util::stream;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::json;

use crate::support::{Answer, TestAgent};

const MULTIPART: (&str, &str) = ("content-type", "multipart/form-data; boundary=BOUND");

/// Pieces of 64 KiB in a large upload: 200 MiB.
const CHUNKS: usize = 3200;

/// A body of parts: field name and content.
fn multipart(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in parts {
        let head = format!(
            "--BOUND\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"/ignored\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--BOUND--\r\n");
    body
}

async fn bulk_upload(agent: &TestAgent, parts: &[(&str, &[u8])]) -> Answer {
    agent
        .call(
            Method::POST,
            "/files/bulk-upload",
            &[MULTIPART],
            multipart(parts),
        )
        .await
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "socket" && name != "config")
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn many_files_arrive_whatever_the_order_of_their_parts() {
    let agent = TestAgent::start().await;
    let absolute = agent.path("abs/b");
    let answer = bulk_upload(
        &agent,
        &[
            ("files[0].path", b" rel/a "),
            ("other", b"skipped"),
            ("files[1].path", absolute.as_bytes()),
            ("files[0].file", b"first"),
            ("files[1].file", b""),
            ("files[x].path", b"c"),
            ("files[x].file", b"\r\n--BOUN\r\n"),
        ],
    )
    .await
    .expect(200);
    let files = json!([
        { "path": "rel/a", "bytes": 5 }, { "path": absolute, "bytes": 0 }, { "path": "c", "bytes": 10 }
    ]);
    assert_eq!(answer.json(), json!({ "files": files, "errors": [] }));
    assert_eq!(std::fs::read(agent.path("rel/a")).unwrap(), b"first");
    assert_eq!(std::fs::read(agent.path("abs/b")).unwrap(), b"");
    assert_eq!(std::fs::read(agent.path("c")).unwrap(), b"\r\n--BOUN\r\n");
}

#[tokio::test]
async fn one_bad_destination_does_not_keep_the_others_out() {
    let agent = TestAgent::start().await;
    let big = vec![7; 1_000_000];
    let answer = bulk_upload(
        &agent,
        &[
            ("files[0].path", b"a"),
            ("files[1].path", b"/proc/nope/b"),
            ("files[2].path", b"c"),
            ("files[9].file", b"no path"),
            ("files[0].file", b"a"),
            ("files[1].file", &big),
            ("files[2].file", b"c"),
        ],
    )
    .await
    .expect(400)
    .json();
    assert_eq!(
        answer["files"],
        json!([{ "path": "a", "bytes": 1 }, { "path": "c", "bytes": 1 }])
    );
    let errors = answer["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{answer}");
    let joined: Vec<_> = errors.iter().map(|error| error.as_str().unwrap()).collect();
    assert_eq!(answer["message"], joined.join(", "));
    assert_eq!(names(agent.dir.path()), ["a", "c"]);
}

#[tokio::test]
async fn a_chunked_upload_without_a_length_works_and_one_broken_off_leaves_nothing() {
    let agent = TestAgent::start().await;
    std::fs::write(agent.path("f"), "old").unwrap();
    let body = multipart(&[
        ("files[0].path", b"f"),
        ("files[0].file", &vec![1; 3_000_000]),
    ]);
    let cut = body.len() / 2;
    for is_whole in [false, true] {
        let mut chunks: Vec<Result<_, std::io::Error>> = body
            [..if is_whole { body.len() } else { cut }]
            .chunks(10_000)
            .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))))
            .collect();
        if !is_whole {
            chunks.push(Err(std::io::ErrorKind::BrokenPipe.into()));
        }
        let request =
            TestAgent::request(Method::POST, "/files/bulk-upload").header(MULTIPART.0, MULTIPART.1);
        let request = request.body(StreamBody::new(stream::iter(chunks))).unwrap();
        let response = agent.send(request).await;
        if is_whole {
            assert_eq!(response.unwrap().status(), 200);
            assert_eq!(std::fs::metadata(agent.path("f")).unwrap().len(), 3_000_000);
        } else {
            assert!(response.is_err());
            assert_eq!(std::fs::read(agent.path("f")).unwrap(), b"old");
        }
        assert_eq!(names(agent.dir.path()), ["f"]);
    }
}

#[tokio::test]
async fn a_large_upload_takes_little_memory_and_keeps_mode_and_link() {
    let agent = TestAgent::start().await;
    std::fs::write(agent.path("real"), "old").unwrap();
    std::fs::set_permissions(agent.path("real"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("real", agent.path("link")).unwrap();
    agent.get("/version").await.expect(200);
    let before = agent.private_kib();
    let chunk = Bytes::from(vec![0x5a; 64 << 10]);
    let head = format!(
        "{}{}",
        "--BOUND\r\nContent-Disposition: form-data; name=\"files[0].path\"\r\n\r\nlink\r\n",
        "--BOUND\r\nContent-Disposition: form-data; name=\"files[0].file\"\r\n\r\n"
    );
    let frames = std::iter::once(Bytes::from(head))
        .chain(std::iter::repeat_n(chunk, CHUNKS))
        .chain(std::iter::once(Bytes::from_static(b"\r\n--BOUND--\r\n")))
        .map(|bytes| Ok::<_, std::io::Error>(Frame::data(bytes)));
    let request =
        TestAgent::request(Method::POST, "/files/bulk-upload").header(MULTIPART.0, MULTIPART.1);
    let request = request.body(StreamBody::new(stream::iter(frames))).unwrap();
    let sending = agent.send(request);
    tokio::pin!(sending);
    let mut peak = 0;
    let response = loop {
        tokio::select! {
            response = &mut sending => break response.unwrap(),
            () = tokio::time::sleep(std::time::Duration::from_millis(10)) => peak = peak.max(agent.private_kib()),
        }
    };
    assert_eq!(response.status(), 200);
    let grown = peak.saturating_sub(before);
    assert!(grown < 16 << 10, "grew by {grown} KiB");
    let metadata = std::fs::metadata(agent.path("real")).unwrap();
    assert_eq!(metadata.len(), (CHUNKS as u64) * (64 << 10));
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert!(Path::new(&agent.path("link")).is_symlink());

    // And out again.
    let request = json!({ "paths": ["link"] }).to_string();
    let request = TestAgent::request(Method::POST, "/files/bulk-download")
        .body(http_body_util::Full::new(Bytes::from(request)))
        .unwrap();
    let mut body = agent.send(request).await.unwrap().into_body();
    let (mut length, mut peak) = (0, 0);
    while let Some(frame) = body.frame().await {
        length += frame.unwrap().into_data().map_or(0, |data| data.len());
        peak = peak.max(agent.private_kib());
    }
    assert!(length > CHUNKS * (64 << 10));
    let grown = peak.saturating_sub(before);
    assert!(grown < 16 << 10, "grew by {grown} KiB");
}

#[tokio::test]
async fn a_form_with_nothing_in_it_is_an_empty_file() {
    let agent = TestAgent::start().await;
    for path in ["/files/upload", "/files/upload-v2"] {
        std::fs::write(agent.path("a"), "old").unwrap();
        let uri = format!("{path}?path=a");
        // As the Go client writes it, and without its first line break.
        for form in ["\r\n--b--\r\n", "--b--\r\n"] {
            let kind = ("content-type", "multipart/form-data; boundary=b");
            agent
                .call(Method::POST, &uri, &[kind], form)
                .await
                .expect(200);
            assert_eq!(std::fs::read(agent.path("a")).unwrap(), b"");
        }
    }
}

#[tokio::test]
async fn one_file_can_be_uploaded_as_a_field_or_as_the_body() {
    let agent = TestAgent::start().await;
    let told = json!({ "name": "a.txt", "path": "d/a.txt", "type": "file" });
    for (path, told) in [("/files/upload", json!({})), ("/files/upload-v2", told)] {
        let body = multipart(&[("x", b"skipped"), ("file", b"field")]);
        let uri = format!("{path}?path=d%2Fa.txt");
        let answer = agent
            .call(Method::POST, &uri, &[MULTIPART], body)
            .await
            .expect(200)
            .json();
        assert_eq!(answer, told);
        assert_eq!(std::fs::read(agent.path("d/a.txt")).unwrap(), b"field");
        agent.call(Method::POST, &uri, &[], "raw").await.expect(200);
        assert_eq!(std::fs::read(agent.path("d/a.txt")).unwrap(), b"raw");
        agent
            .call(Method::POST, &uri, &[MULTIPART], multipart(&[("x", b"")]))
            .await
            .expect(400);
        agent
            .call(Method::POST, path, &[], vec![0; 2_000_000])
            .await
            .expect(400);
        agent
            .call(
                Method::POST,
                &format!("{path}?path=d"),
                &[],
                vec![0; 2_000_000],
            )
            .await
            .expect(400);
    }
}

#[tokio::test]
async fn folders_are_made_listed_moved_and_deleted() {
    let agent = TestAgent::start().await;
    let post = async |uri: &str| agent.call(Method::POST, uri, &[], "").await;
    post("/files/folder?path=d/e&mode=0700").await.expect(201);
    post("/files/folder?path=d/e").await.expect(201);
    assert_eq!(
        std::fs::metadata(agent.path("d/e")).unwrap().mode() & 0o777,
        0o700
    );
    std::fs::write(agent.path("d/f"), "12345").unwrap();
    std::os::unix::fs::symlink("nowhere", agent.path("d/dangling")).unwrap();

    let list = agent.get("/files?path=d").await.expect(200).json();
    let listed: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    assert_eq!(listed, ["dangling", "e", "f"]);
    let file = &list[2];
    assert_eq!(
        (&file["size"], &file["isDir"], &file["path"]),
        (&json!(5), &json!(false), &json!("d/f"))
    );
    assert_eq!(
        agent.get("/files/info?path=d/f").await.expect(200).json(),
        *file
    );
    let deep = agent.get("/files?depth=3").await.expect(200).json();
    assert!(
        deep.as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["path"].as_str().unwrap().ends_with("/d/f"))
    );
    assert_eq!(
        agent.get("/files?path=d/e").await.expect(200).json(),
        json!([])
    );
    agent.get("/files?path=d/f").await.expect(400);
    let strict = [
        ("x-daytona-source", "sdk-go"),
        ("x-daytona-sdk-version", "0.150.0"),
    ];
    let entry = agent
        .call(Method::GET, "/files/info?path=d/f", &strict, "")
        .await
        .json();
    for newer in ["path", "modifiedAt"] {
        assert!(entry.get(newer).is_none(), "{entry}");
    }
    let time = entry["modTime"].as_str().unwrap();
    assert!(time.contains('T') && time.ends_with('Z'), "{time}");

    post("/files/move?source=d/f&destination=d/g")
        .await
        .expect(200);
    post("/files/move?source=d/g&destination=d/e")
        .await
        .expect(409);
    post("/files/move?source=d&destination=d/e/x")
        .await
        .expect(400);
    post("/files/move?source=d/g&destination=no/g")
        .await
        .expect(404);
    assert_eq!(names(Path::new(&agent.path("d"))), ["dangling", "e", "g"]);

    post("/files/permissions?path=d/g&mode=640")
        .await
        .expect(200);
    assert_eq!(
        std::fs::metadata(agent.path("d/g")).unwrap().mode() & 0o777,
        0o640
    );
    post("/files/permissions?path=d/g&owner=nobody-of-that-name")
        .await
        .expect(400);

    agent.delete("/files?path=d/dangling").await.expect(204);
    agent.delete("/files?path=d").await.expect(400);
    agent
        .delete("/files?path=d&recursive=True")
        .await
        .expect(400);
    agent
        .delete("/files?path=d&recursive=true")
        .await
        .expect(204);
    agent
        .delete("/files?path=d&recursive=true")
        .await
        .expect(404);
}

#[tokio::test]
async fn a_move_to_another_file_system_keeps_the_tree() {
    let agent = TestAgent::start().await;
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
    if device(other.path()) == device(agent.dir.path()) {
        return;
    }
    agent
        .execute(
            "mkdir -p t/d; echo x >t/d/f; ln t/d/f t/g; ln -s d/f t/l; mkfifo t/p; chmod 2750 t/d",
        )
        .await;
    let destination = other.path().join("moved");
    let uri = format!("/files/move?source=t&destination={}", destination.display());
    agent.call(Method::POST, &uri, &[], "").await.expect(200);
    let file = std::fs::metadata(destination.join("d/f")).unwrap();
    assert_eq!(
        file.ino(),
        std::fs::metadata(destination.join("g")).unwrap().ino()
    );
    assert_eq!(
        std::fs::metadata(destination.join("d")).unwrap().mode() & 0o7777,
        0o2750
    );
    assert_eq!(
        std::fs::read_link(destination.join("l")).unwrap(),
        Path::new("d/f")
    );
    assert!(!Path::new(&agent.path("t")).exists());
    agent
        .call(Method::POST, "/files/folder?path=t2", &[], "")
        .await
        .expect(201);
    let taken = format!(
        "/files/move?source=t2&destination={}",
        destination.display()
    );
    agent.call(Method::POST, &taken, &[], "").await.expect(409);
    assert_eq!(names(other.path()), ["moved"]);
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_the_old_file() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let agent = TestAgent::start().await;
    // In a mount namespace of the command, which the agent reaches through the folder of the process there.
    let command = "mkdir small; unshare -m sh -c 'mount -t tmpfs -o size=1m none small && echo old >small/f && \
                   echo $$ >pid && exec sleep 100' & for i in $(seq 100); do [ -s pid ] && break; sleep 0.05; done; cat pid";
    let (_, pid) = agent.execute(command).await;
    if pid.trim().parse::<u32>().is_err() {
        return;
    }
    let path = format!("/proc/{}/root{}", pid.trim(), agent.path("small/f"));
    let uri = format!("/files/upload-v2?path={path}");
    let announced = agent
        .call(Method::POST, &uri, &[], vec![0; 2_000_000])
        .await
        .expect(507)
        .json();
    assert_eq!(announced["code"], "NO_SPACE");
    let body = multipart(&[("file", &vec![0; 2_000_000])]);
    let streamed = agent
        .call(Method::POST, &uri, &[MULTIPART], body)
        .await
        .expect(507)
        .json();
    assert_eq!(streamed["code"], "NO_SPACE");
    assert_eq!(std::fs::read(&path).unwrap(), b"old\n");
    assert_eq!(
        std::fs::read_dir(Path::new(&path).parent().unwrap())
            .unwrap()
            .count(),
        1
    );
}
