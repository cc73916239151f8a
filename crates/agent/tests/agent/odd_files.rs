//! Files that are not quite files: what the API says to each of them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use http::Method;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use serde_json::json;

use crate::support::TestAgent;

/// A name that no JSON can carry.
const NO_TEXT: &[u8] = b"bad-\xff";

async fn post(agent: &TestAgent, uri: &str, body: &[u8]) -> crate::support::Answer {
    agent.call(Method::POST, uri, &[], body.to_vec()).await
}

#[tokio::test]
async fn a_name_that_is_no_text_is_shown_and_goes_with_its_folder() {
    let agent = TestAgent::start().await;
    let folder = agent.dir.path().join("d");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(OsStr::from_bytes(NO_TEXT)), "needle").unwrap();
    let list = agent.get("/files?path=d").await.expect(200).json();
    assert_eq!(list[0]["name"], "bad-\u{fffd}");
    assert_eq!(list[0]["size"], 6);
    let found = agent
        .get("/files/find?path=d&pattern=needle")
        .await
        .expect(200)
        .json();
    assert_eq!(found[0]["file"], "d/bad-\u{fffd}");
    let names = agent
        .get("/files/search?path=d&pattern=bad*")
        .await
        .expect(200)
        .json();
    assert_eq!(names["files"], json!(["d/bad-\u{fffd}"]));
    // By itself it has no name here: neither what was shown is one, nor do its bytes pass.
    agent
        .get("/files/info?path=d/bad-%EF%BF%BD")
        .await
        .expect(404);
    agent.get("/files/info?path=d/bad-%FF").await.expect(400);
    post(&agent, "/files/move?source=d&destination=e", b"")
        .await
        .expect(200);
    let moved = agent.dir.path().join("e").join(OsStr::from_bytes(NO_TEXT));
    assert_eq!(std::fs::read(moved).unwrap(), b"needle");
    agent
        .delete("/files?path=e&recursive=true")
        .await
        .expect(204);
}

#[tokio::test]
async fn pipes_and_devices_are_listed_refused_for_reading_and_deleted() {
    let agent = TestAgent::start().await;
    agent.execute("mkfifo fifo; ln -s /dev/zero zero").await;
    let list = agent.get("/files").await.expect(200).json();
    let mode = |name: &str| {
        let entry = list
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["name"] == name)
            .unwrap();
        entry["mode"].as_str().unwrap().to_owned()
    };
    assert!(mode("fifo").starts_with('p') && mode("zero").starts_with("Dc"));
    for name in ["fifo", "zero"] {
        agent
            .get(&format!("/files/download?path={name}"))
            .await
            .expect(400);
        let request = json!({ "files": [name], "pattern": "a", "newValue": "b" });
        assert_eq!(
            agent.post("/files/replace", &request).await.json()[0]["success"],
            false
        );
        assert_eq!(
            agent
                .get(&format!("/files/find?path={name}&pattern=a"))
                .await
                .json(),
            json!([])
        );
    }
    // Nobody reads the pipe; a device takes what it gets.
    post(&agent, "/files/upload-v2?path=fifo", b"x")
        .await
        .expect(400);
    std::os::unix::fs::symlink("/dev/null", agent.path("null")).unwrap();
    post(&agent, "/files/upload-v2?path=null", b"x")
        .await
        .expect(200);
    assert!(Path::new(&agent.path("null")).is_symlink());
    for name in ["fifo", "zero", "null"] {
        agent
            .delete(&format!("/files?path={name}"))
            .await
            .expect(204);
    }
    assert!(Path::new("/dev/zero").exists());
}

#[tokio::test]
async fn a_pipe_with_a_reader_is_written_to() {
    let agent = TestAgent::start().await;
    agent
        .execute("mkfifo fifo; (cat fifo >out; echo >done) >/dev/null 2>&1 &")
        .await;
    // Until `cat` has opened its end there is no reader.
    let start = std::time::Instant::now();
    while post(&agent, "/files/upload-v2?path=fifo", b"through")
        .await
        .status
        != 200
    {
        assert!(start.elapsed() < crate::support::PATIENCE);
    }
    crate::support::eventually("the reader is done", || {
        Path::new(&agent.path("done")).exists()
    })
    .await;
    assert_eq!(std::fs::read(agent.path("out")).unwrap(), b"through");
}

#[tokio::test]
async fn holes_are_read_as_zeros_and_stay_holes_in_a_move() {
    let agent = TestAgent::start().await;
    let size = 64_u64 << 20;
    let sparse = std::fs::File::create(agent.path("sparse")).unwrap();
    sparse.set_len(size).unwrap();
    drop(sparse);
    let range = [("range", "bytes=1000-1003")];
    let answer = agent
        .call(Method::GET, "/files/download?path=sparse", &range, "")
        .await
        .expect(206);
    assert_eq!(&answer.body[..], [0; 4]);
    assert_eq!(
        agent.get("/files/info?path=sparse").await.json()["size"],
        size
    );
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let moved = other.path().join("moved");
    post(
        &agent,
        &format!("/files/move?source=sparse&destination={}", moved.display()),
        b"",
    )
    .await
    .expect(200);
    let metadata = std::fs::metadata(moved).unwrap();
    assert_eq!(metadata.len(), size);
    assert!(metadata.blocks() < 1000, "{} blocks", metadata.blocks());
}

#[tokio::test]
async fn links_in_circles_and_files_as_folders_have_a_reason() {
    let agent = TestAgent::start().await;
    std::os::unix::fs::symlink("b", agent.path("a")).unwrap();
    std::os::unix::fs::symlink("a", agent.path("b")).unwrap();
    std::fs::write(agent.path("f"), "").unwrap();
    for uri in [
        "/files/info?path=a",
        "/files/download?path=a",
        "/files/info?path=f/x",
        "/files?path=f",
    ] {
        let error = agent.get(uri).await.expect(400).json();
        assert_eq!(error["code"], "INVALID_FILE_PATH", "{uri}");
    }
    post(&agent, "/files/upload-v2?path=a", b"x")
        .await
        .expect(400);
    post(&agent, "/files/folder?path=f", b"").await.expect(400);
    let names = agent.get("/files").await.expect(200).json();
    assert!(
        names
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["name"] == "a")
    );
    agent.delete("/files?path=a").await.expect(204);
}

#[tokio::test]
async fn a_work_dir_that_vanished_is_missing_until_something_is_put_there() {
    let home = tempfile::tempdir().unwrap();
    let work = home.path().join("work");
    let agent = TestAgent::start_with(json!({ "workdir": work })).await;
    std::fs::remove_dir(&work).unwrap();
    agent.get("/files").await.expect(404);
    assert_eq!(
        agent
            .get("/files/find?path=.&pattern=x")
            .await
            .expect(200)
            .json(),
        json!([])
    );
    agent.delete("/files?path=x").await.expect(404);
    post(&agent, "/files/move?source=/etc/passwd&destination=x", b"")
        .await
        .expect(404);
    post(&agent, "/files/upload-v2?path=x", b"back")
        .await
        .expect(200);
    assert_eq!(std::fs::read(work.join("x")).unwrap(), b"back");
    agent.get("/files").await.expect(200);
}

#[tokio::test]
async fn a_file_cut_short_while_it_is_sent_breaks_the_answer_off() {
    let agent = TestAgent::start().await;
    let path = agent.path("f");
    for uri in ["/files/download?path=f", "/files/bulk-download"] {
        std::fs::File::create(&path)
            .unwrap()
            .set_len(64 << 20)
            .unwrap();
        let (method, paths) = match uri {
            "/files/bulk-download" => (Method::POST, json!({ "paths": ["f"] }).to_string()),
            _ => (Method::GET, String::new()),
        };
        let request = TestAgent::request(method, uri).body(Full::new(Bytes::from(paths)));
        let mut body = agent.send(request.unwrap()).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        // More than all buffers on the way hold is still to come.
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(10)
            .unwrap();
        let end = loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                end => break end,
            }
        };
        assert!(
            matches!(end, Some(Err(_))),
            "{uri} ended as if it were whole"
        );
    }
}

#[tokio::test]
async fn a_replace_on_a_full_disk_fails_and_keeps_the_file() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let agent = TestAgent::start().await;
    let command = "mkdir small; unshare -m sh -c 'mount -t tmpfs -o size=1m none small && head -c 700000 /dev/zero | tr \"\\0\" a >small/f && \
                   echo $$ >pid && exec sleep 100' & for i in $(seq 100); do [ -s pid ] && break; sleep 0.05; done; cat pid";
    let (_, pid) = agent.execute(command).await;
    if pid.trim().parse::<u32>().is_err() {
        return;
    }
    let folder = format!("/proc/{}/root{}", pid.trim(), agent.path("small"));
    let path = format!("{folder}/f");
    let before = std::fs::metadata(&path).unwrap();
    let request = json!({ "files": [path], "pattern": "a", "newValue": "bb" });
    let result = agent
        .post("/files/replace", &request)
        .await
        .expect(200)
        .json();
    assert_eq!(result[0]["success"], false);
    assert!(
        result[0]["error"].as_str().unwrap().contains("no space"),
        "{result}"
    );
    let after = std::fs::metadata(&path).unwrap();
    assert_eq!((before.ino(), before.len()), (after.ino(), after.len()));
    assert_eq!(
        std::fs::read_dir(&folder).unwrap().count(),
        1,
        "no part is left"
    );
    // Nor does half a move stay there.
    std::fs::write(agent.path("big"), vec![1; 2_000_000]).unwrap();
    let uri = format!("/files/move?source=big&destination={folder}/big");
    post(&agent, &uri, b"").await.expect(507);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    assert_eq!(
        std::fs::metadata(agent.path("big")).unwrap().len(),
        2_000_000
    );
    agent
        .delete(&format!("/files?path={path}"))
        .await
        .expect(204);
}
