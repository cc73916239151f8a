use std::os::unix::fs::{MetadataExt, PermissionsExt};

use http::Method;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::support::{TestAgent, eventually};

fn write(agent: &TestAgent, name: &str, content: impl AsRef<[u8]>) {
    let path = agent.dir.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn text_is_found_as_it_stands_line_by_line() {
    let agent = TestAgent::start().await;
    write(&agent, "p/b.txt", "one\n\u{e9} a.*b here\r\n");
    write(&agent, "p/.hidden/a.txt", "a.*b");
    write(&agent, "p/binary", "a.*b\0");
    write(&agent, "p/other.txt", "axxb");
    let found = agent
        .get("/files/find?path=p&pattern=a.*b")
        .await
        .expect(200);
    assert_eq!(found.headers["x-result-limit"], "100000");
    assert_eq!(
        found.json(),
        json!([
            { "file": "p/.hidden/a.txt", "line": 1, "content": "a.*b" },
            { "file": "p/b.txt", "line": 2, "content": "\u{e9} a.*b here" },
        ])
    );
    let absolute = agent.path("p/.hidden/../b.txt");
    let found = agent
        .get(&format!("/files/find?path={absolute}&pattern=one"))
        .await
        .json();
    assert_eq!(found[0]["file"], agent.path("p/b.txt"));
    for (path, status) in [("none", 200), ("p/b.txt/x", 200), ("p%00", 400)] {
        let answer = agent
            .get(&format!("/files/find?path={path}&pattern=x"))
            .await
            .expect(status);
        assert!(status == 400 || answer.json() == json!([]));
    }
}

#[tokio::test]
async fn a_line_of_a_megabyte_is_cut_around_its_match_and_the_next_one_is_found() {
    let agent = TestAgent::start().await;
    let half = "x".repeat(1 << 20);
    write(&agent, "f", format!("{half}needle{half}\nneedle\n"));
    let found = agent
        .get("/files/find?path=.&pattern=needle")
        .await
        .expect(200)
        .json();
    let matches: Vec<&Value> = found
        .as_array()
        .unwrap()
        .iter()
        .filter(|found| found["file"] == "f")
        .collect();
    assert_eq!(matches.len(), 2);
    let content = matches[0]["content"].as_str().unwrap();
    assert!(
        content.contains("needle") && content.len() == 64 << 10,
        "{}",
        content.len()
    );
    assert_eq!(
        (&matches[1]["line"], &matches[1]["content"]),
        (&json!(2), &json!("needle"))
    );
}

#[tokio::test]
async fn a_search_stops_at_its_limit_and_says_so_in_a_trailer() {
    let agent = TestAgent::start().await;
    write(&agent, "f", "x\n".repeat(100_001));
    let request =
        TestAgent::request(Method::GET, "/files/find?path=f&pattern=x").header("te", "trailers");
    let response = agent
        .send(request.body(Empty::<Bytes>::new()).unwrap())
        .await
        .unwrap();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-result-cut"], "true");
    let found: Value = serde_json::from_slice(&collected.to_bytes()).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 100_000);
}

#[tokio::test]
async fn a_search_that_nobody_waits_for_ends_and_takes_little_memory() {
    let agent = TestAgent::start().await;
    // Nothing is found in it for hours.
    let sparse = std::fs::File::create(agent.path("sparse")).unwrap();
    std::io::Write::write_all(&mut &sparse, &[b' '; 512]).unwrap();
    sparse.set_len(1 << 42).unwrap();
    agent.get("/version").await.expect(200);
    let before = agent.private_kib();
    let is_open = |agent: &TestAgent| {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap();
        fds.flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path.ends_with("sparse")))
    };
    let uri = "/files/find?path=.&pattern=needle";
    let request = TestAgent::request(Method::GET, uri)
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = agent.send(request).await.unwrap();
    eventually("the file is searched", || is_open(&agent)).await;
    let (grown, mut looks) = (agent.private_kib().saturating_sub(before), 0);
    eventually("some time passes", || {
        looks += 1;
        looks > 20
    })
    .await;
    assert!(grown < 16 << 10, "grew by {grown} KiB");
    assert!(is_open(&agent));
    drop(response);
    eventually("the search is given up", || !is_open(&agent)).await;
}

#[tokio::test]
async fn names_are_found_by_pattern() {
    let agent = TestAgent::start().await;
    for name in ["s/a.py", "s/d/b.py", "s/d/c.txt", "s/[x].py"] {
        write(&agent, name, "");
    }
    std::os::unix::fs::symlink("nowhere", agent.path("s/link.py")).unwrap();
    let search = async |query: &str| {
        let answer = agent
            .get(&format!("/files/search?{query}"))
            .await
            .expect(200)
            .json();
        answer["files"].clone()
    };
    let all = json!(["s/[x].py", "s/a.py", "s/d/b.py", "s/link.py"]);
    assert_eq!(search("path=s&pattern=*.py").await, all);
    assert_eq!(
        search("path=./s/&pattern=%5B%5Ea%5D").await,
        json!(["s", "s/d"])
    );
    assert_eq!(search("path=s&pattern=%5C%5Bx*").await, json!(["s/[x].py"]));
    assert_eq!(search("path=s&pattern=d/b.py").await, json!([]));
    assert_eq!(search("path=s&pattern=%5B").await, json!([]));
    assert_eq!(search("path=none&pattern=*").await, json!([]));
}

#[tokio::test]
async fn a_replace_tells_of_each_file_what_became_of_it() {
    let agent = TestAgent::start().await;
    write(&agent, "a", "old and old");
    write(&agent, "b", "nothing");
    std::fs::set_permissions(agent.path("a"), std::fs::Permissions::from_mode(0o710)).unwrap();
    let before = std::fs::metadata(agent.path("b")).unwrap();
    agent.execute("mkfifo fifo").await;
    let request = json!({ "files": ["a", "none", "b", "fifo", "/dev/zero", ""], "pattern": "old", "newValue": "" });
    let results = agent
        .post("/files/replace", &request)
        .await
        .expect(200)
        .json();
    let outcome: Vec<_> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["success"] == true)
        .collect();
    assert_eq!(outcome, [true, false, true, false, false, false]);
    assert_eq!(results[0], json!({ "file": "a", "success": true }));
    assert!(
        results[1]["error"]
            .as_str()
            .unwrap()
            .contains("no such file")
    );
    assert_eq!(std::fs::read_to_string(agent.path("a")).unwrap(), " and ");
    assert_eq!(
        std::fs::metadata(agent.path("a")).unwrap().mode() & 0o777,
        0o710
    );
    let after = std::fs::metadata(agent.path("b")).unwrap();
    assert_eq!(
        (before.ino(), before.mtime_nsec()),
        (after.ino(), after.mtime_nsec())
    );
}

#[tokio::test]
async fn a_replace_in_a_large_file_takes_little_memory() {
    let agent = TestAgent::start().await;
    write(&agent, "f", "0123456789abcdef\n".repeat(4 << 20));
    agent.get("/version").await.expect(200);
    let before = agent.private_kib();
    let request = json!({ "files": ["f"], "pattern": "9a", "newValue": "-" });
    let replace = agent.post("/files/replace", &request);
    tokio::pin!(replace);
    let mut peak = 0;
    let answer = loop {
        tokio::select! {
            answer = &mut replace => break answer,
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => peak = peak.max(agent.private_kib()),
        }
    };
    assert_eq!(answer.expect(200).json()[0]["success"], true);
    let grown = peak.saturating_sub(before);
    assert!(grown < 8 << 10, "grew by {grown} KiB");
    assert_eq!(
        std::fs::metadata(agent.path("f")).unwrap().len(),
        16 * (4 << 20)
    );
}
