//! Every operation with input that is missing, of the wrong kind, too long, or no text: each request gets a status of
//! 4xx with a reason in the standard object, and nothing of it is left.
//!
//! A row of [`TABLE`] is a request as it should be and what of it is required; the bad ones are made from it. What
//! cannot be made that way stands in `also`. `operations.txt` lists the toolbox API: a route that is not in it, and
//! an operation that is not there or has neither a row nor a reason to have none, fails a test here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use crate::errors::assert_standard;
use crate::support::{Answer, PATIENCE, TestAgent, children_of, eventually};

/// Longer than any path or id that there can be.
const LONG_BYTES: usize = 5000;

/// Longer than any JSON body that is taken.
const HUGE_BYTES: usize = (64 << 20) + 2;

const MULTIPART: &str = "multipart/form-data; boundary=b";

/// A bad request that is not made from the good one.
#[derive(Clone, Copy)]
struct Bad {
    query: &'static str,
    content_type: &'static str,
    body: &'static [u8],
}

const fn query(query: &'static str) -> Bad {
    Bad {
        query,
        content_type: "application/json",
        body: b"",
    }
}

const fn body(body: &'static [u8]) -> Bad {
    Bad {
        query: "",
        content_type: "application/json",
        body,
    }
}

const fn form(query: &'static str, body: &'static [u8]) -> Bad {
    Bad {
        query,
        content_type: MULTIPART,
        body,
    }
}

/// One operation and a request to it that could be good, if only what it names existed.
#[derive(Clone, Copy)]
struct Row {
    /// Method and path as `operations.txt` has them.
    operation: &'static str,
    query: &'static str,
    /// JSON, or nothing.
    body: &'static str,
    /// Parameters and members that must be there and not be empty.
    required: &'static [&'static str],
    also: &'static [Bad],
}

const fn row(operation: &'static str) -> Row {
    Row {
        operation,
        query: "",
        body: "",
        required: &[],
        also: &[],
    }
}

impl Row {
    const fn query(mut self, query: &'static str) -> Self {
        self.query = query;
        self
    }

    const fn body(mut self, body: &'static str) -> Self {
        self.body = body;
        self
    }

    const fn required(mut self, required: &'static [&'static str]) -> Self {
        self.required = required;
        self
    }

    const fn also(mut self, also: &'static [Bad]) -> Self {
        self.also = also;
        self
    }
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    row("POST /build/copy").body(r#"{"root":"/none","paths":["x"],"target":"/proc/none"}"#).required(&["target"]),
    row("POST /build/fetch").body(r#"{"address":"none","path":"/proc/none/x","what":{"kind":"file"}}"#).required(&["address", "path", "what"]),
    row("POST /build/run").body(r#"{"argv":["/none"],"cwd":"/none"}"#).required(&["argv", "cwd"]),
    row("GET /files").query("path=/none")
        .also(&[query("depth=0"), query("depth=-1"), query("depth=x"), query("path=/etc/passwd"), query("path=../../../../../none")]),
    row("DELETE /files").query("path=/none").required(&["path"])
        .also(&[query("path=/proc"), query("path=/none&recursive=true"), query("path=a/../../none")]),
    row("GET /files/info").query("path=/none").required(&["path"]),
    row("GET /files/download").query("path=/none").required(&["path"])
        .also(&[query("path=/dev/zero"), query("path=/"), query("path=/etc/passwd/x")]),
    row("GET /files/find").query("path=/none&pattern=x").required(&["path", "pattern"]),
    row("GET /files/search").query("path=/none&pattern=x").required(&["path", "pattern"]),
    row("POST /files/replace").body(r#"{"files":["/none"],"pattern":"a","newValue":"b"}"#).required(&["files", "pattern"])
        .also(&[body(br#"{"files":["x"],"pattern":"a"}"#), body(br#"{"files":[1],"pattern":"a","newValue":""}"#)]),
    row("POST /files/folder").query("path=/proc/none&mode=755").required(&["path"])
        .also(&[query("path=x&mode=9"), query("path=x&mode=-1"), query("path=x&mode=77777"), query("path=/etc/passwd&mode=755")]),
    row("POST /files/move").query("source=/none&destination=/none2").required(&["source", "destination"])
        .also(&[query("source=/etc/passwd&destination=/etc/group"), query("source=/&destination=/none/x"), query("source=/etc&destination=/etc/x")]),
    row("POST /files/permissions").query("path=/none").required(&["path"])
        .also(&[query("path=.&mode=8"), query("path=.&owner=no-such-user"), query("path=.&group=no-such-group"), query("path=.&owner=-2")]),
    row("POST /files/unpack").query("path=/proc/none").required(&["path"])
        .also(&[Bad { query: "path=x", content_type: "application/gzip", body: b"no archive" }, query("path=x")]),
    row("POST /exec").body(r#"{"command":"no-such-program"}"#).required(&["command"])
        .also(&[body(br#"{"command":"true","timeout":0}"#), body(br#"{"command":"true","args":"x"}"#), body(br#"{"command":"true","args":["\u0000"]}"#),
            body(br#"{"command":"true","env":{"A=B":"x"}}"#), body(br#"{"command":"true","cwd":"/none"}"#)]),
    row("GET /exec/interactive"),
    row("GET /exec/{execId}"),
    row("GET /exec/{execId}/logs"),
    row("POST /exec/{execId}/kill").body("{}").also(&[body(br#"{"signal":"TERM"}"#)]),
    row("POST /exec/{execId}/stdin").query("offset=0&close=true").also(&[query("offset=-1"), query("offset=x"), query("close=x")]),
    row("POST /files/upload").query("path=/proc/none").required(&["path"])
        .also(&[form("path=x", b""), form("path=x", b"--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nhalf"),
            form("path=x", b"--b\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\n\r\n--b--"), form("path=/", b"--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n\r\n--b--")]),
    row("POST /files/upload-v2").query("path=/proc/none").required(&["path"])
        .also(&[form("path=x", b"--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nhalf"), query("path=/etc/"), query("path=/etc/passwd/x")]),
    row("POST /files/bulk-upload")
        .also(&[body(b"{}"), form("", b"no boundary"), form("", b"--b\r\nContent-Disposition: form-data; name=\"files[0].file\"\r\n\r\nx\r\n--b--"),
            form("", b"--b\r\nContent-Disposition: form-data; name=\"files[0].path\"\r\n\r\n \r\n--b--"),
            form("", b"--b\r\nContent-Disposition: form-data; name=\"files[0].path\"\r\n\r\n\xff\r\n--b--"),
            form("", b"--b\r\nContent-Disposition: form-data; name=\"files[0].path\"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=\"files[0].file\"\r\n\r\nhalf"),
            form("", b"--b\r\nContent-Disposition: form-data; name=\"files[0].path\"\r\n\r\n../../../../../../proc/none\r\n--b\r\nContent-Disposition: form-data; name=\"files[0].file\"\r\n\r\nx\r\n--b--")]),
    row("POST /files/bulk-download").body(r#"{"paths":["/none"]}"#).required(&["paths"])
        .also(&[body(br#"{"paths":[]}"#), body(br#"{"paths":[1]}"#)]),
    row("POST /init").body(r#"{"token":"x"}"#),
    row("POST /env").body(r#"{"set":{"A":"b"},"unset":["B"],"unsetValuePrefix":"c"}"#)
        .also(&[body(br#"{"set":{"A-B":"c"}}"#), body(br#"{"set":{"":"c"}}"#), body(br#"{"set":{"A":1}}"#), body(br#"{"set":{"A":"\u0000"}}"#), body(br#"{"unset":[1]}"#)]),
    row("POST /git/clone").body(r#"{"url":"http://127.0.0.1:1/x.git","path":"/none","branch":"b","commit_id":"c","username":"u","password":"p","insecure_skip_tls":true,"depth":1}"#).required(&["url", "path"])
        .also(&[body(br#"{"url":"ftp://h/x","path":"/none"}"#), body(br#"{"url":"--x","path":"/none"}"#), body(br#"{"url":"http://h/x","path":"/none","depth":-1}"#), body(br#"{"url":"http://h/x","path":"/none","branch":"--x"}"#)]),
    row("GET /git/status").query("path=/none").required(&["path"]),
    row("GET /git/history").query("path=/none").required(&["path"]),
    row("GET /git/branches").query("path=/none").required(&["path"]),
    row("POST /git/branches").body(r#"{"path":"/none","name":"x"}"#).required(&["path", "name"]),
    row("DELETE /git/branches").body(r#"{"path":"/none","name":"x"}"#).required(&["path", "name"]),
    row("POST /git/checkout").body(r#"{"path":"/none","branch":"x"}"#).required(&["path", "branch"]),
    row("POST /git/add").body(r#"{"path":"/none","files":["."]}"#).required(&["path", "files"])
        .also(&[body(br#"{"path":"/none","files":[1]}"#)]),
    row("POST /git/commit").body(r#"{"path":"/none","message":"m","author":"a","email":"e","allow_empty":true}"#).required(&["path", "message", "author", "email"]),
    row("POST /git/push").body(r#"{"path":"/none","username":"u","password":"p","branch":"b","remote":"r","set_upstream":true}"#).required(&["path"]),
    row("POST /git/pull").body(r#"{"path":"/none","username":"u","password":"p","branch":"b","remote":"r"}"#).required(&["path"]),
    row("POST /git/init").body(r#"{"path":"/proc/none","bare":true,"initial_branch":"b"}"#).required(&["path"])
        .also(&[body(br#"{"path":"none","initial_branch":"--x"}"#), body(br#"{"path":"none","initial_branch":"a..b"}"#)]),
    row("POST /git/reset").body(r#"{"path":"/none","mode":"hard","target":"x","files":["a"]}"#).required(&["path"])
        .also(&[body(br#"{"path":"/none","mode":"x"}"#)]),
    row("POST /git/restore").body(r#"{"path":"/none","files":["a"],"staged":true,"worktree":true,"source":"x"}"#).required(&["path", "files"])
        .also(&[body(br#"{"path":"/none","files":[]}"#)]),
    row("GET /git/remotes").query("path=/none").required(&["path"]),
    row("POST /git/remotes").body(r#"{"path":"/none","name":"n","url":"http://h/x","fetch":false,"overwrite":false}"#).required(&["path", "name", "url"]),
    row("GET /git/config").query("path=/none&key=a.b&scope=local").required(&["key"])
        .also(&[query("key=a.b&scope=x"), query("key=a"), query("key=a.b&scope=local")]),
    row("POST /git/config").body(r#"{"key":"a.b","value":"c","scope":"local","path":"/none"}"#).required(&["key", "value"])
        .also(&[body(br#"{"key":"a","value":"c"}"#), body(br#"{"key":"a.b","value":"c","scope":"x"}"#), body(br#"{"key":"a.b","value":"c","scope":"local"}"#)]),
    row("POST /git/config/user").body(r#"{"name":"n","email":"e","scope":"local","path":"/none"}"#).required(&["name", "email"]),
    row("POST /git/credentials").body(r#"{"username":"u","password":"p","host":"h","protocol":"https"}"#).required(&["username", "password"])
        .also(&[body(br#"{"username":"u\nhost=x","password":"p"}"#), body(br#"{"username":"u","password":"p","host":"a b"}"#)]),
    row("GET /port/{port}/in-use"),
    row("GET /proxy/{port_and_path}"),
    row("POST /process/execute").body(r#"{"command":"true","cwd":"/","envs":{"A":"b"},"timeout":1}"#).required(&["command"])
        .also(&[body(br#"{"command":"true","envs":{"A-B":"c"}}"#), body(br#"{"command":"true","timeout":-1}"#), body(br#"{"command":"true","envs":{"A":1}}"#)]),
    row("POST /process/code-run").body(r#"{"code":"1","language":"python","argv":["a"],"envs":{"A":"b"},"timeout":1}"#).required(&["code", "language"])
        .also(&[body(br#"{"code":"1","language":"cobol"}"#), body(br#"{"code":"1","language":"python","argv":[1]}"#)]),
    row("POST /process/interpreter/context").body(r#"{"cwd":"/","language":"cobol"}"#),
    row("DELETE /process/interpreter/context/{id}"),
    row("GET /process/interpreter/execute"),
    row("POST /process/pty").body(r#"{"id":"a","cwd":"/none","envs":{"A":"b"},"cols":80,"rows":24,"lazyStart":false}"#).required(&["id"])
        .also(&[body(br#"{"id":"a","cols":0}"#), body(br#"{"id":"a","rows":1001}"#), body(br#"{"id":"a","rows":-1}"#), body(br#"{"id":"create-connect"}"#),
            body(br#"{"id":"a","envs":{"A-B":"c"}}"#), body(br#"{"id":"a","envs":{"A":"\u0000"}}"#), body(br#"{"id":"a","cwd":"/none"}"#), body(br#"{"id":"a","cwd":"/etc/passwd"}"#)]),
    row("GET /process/pty/create-connect").query("id=a&cols=80&rows=24&cwd=/none").required(&["id"])
        .also(&[query("id=a&cols=0"), query("id=a&rows=1001"), query("id=a&cols=x"), query("id=create-connect"), query("id=a")]),
    row("GET /process/pty/{sessionId}"),
    row("DELETE /process/pty/{sessionId}"),
    row("GET /process/pty/{sessionId}/connect").query("scrollback=true").also(&[query("scrollback=x"), query("scrollback="), query("from=x"), query("from=-1"), query("from=")]),
    row("POST /process/pty/{sessionId}/resize").body(r#"{"cols":80,"rows":24}"#).required(&["cols", "rows"])
        .also(&[body(br#"{"cols":0,"rows":24}"#), body(br#"{"cols":80,"rows":1001}"#), body(br#"{"cols":-1,"rows":1}"#)]),
    row("POST /process/session").body(r#"{"sessionId":"entrypoint"}"#).required(&["sessionId"]),
    row("GET /process/session/{sessionId}"),
    row("DELETE /process/session/{sessionId}"),
    row("GET /process/session/entrypoint"),
    row("GET /process/session/entrypoint/logs"),
    row("POST /process/session/{sessionId}/exec").body(r#"{"command":"true","runAsync":false,"async":false,"suppressInputEcho":false}"#).required(&["command"]),
    row("GET /process/session/{sessionId}/command/{commandId}"),
    row("GET /process/session/{sessionId}/command/{commandId}/logs").query("follow=true"),
    row("POST /process/session/{sessionId}/command/{commandId}/input").body(r#"{"data":"x"}"#),
    row("POST /lsp/start").body(r#"{"languageId":"python","pathToProject":"/none"}"#).required(&["languageId", "pathToProject"]),
    row("POST /lsp/stop").body(r#"{"languageId":"python","pathToProject":"/none"}"#).required(&["languageId", "pathToProject"]),
    row("POST /lsp/did-open").body(r#"{"languageId":"python","pathToProject":"/none","uri":"file://a"}"#).required(&["languageId", "pathToProject", "uri"]),
    row("POST /lsp/did-close").body(r#"{"languageId":"python","pathToProject":"/none","uri":"file://a"}"#).required(&["languageId", "pathToProject", "uri"]),
    row("POST /lsp/completions").body(r#"{"languageId":"python","pathToProject":"/none","uri":"file://a","position":{"line":0,"character":0}}"#).required(&["languageId", "pathToProject", "uri", "position"]),
    row("GET /lsp/document-symbols").query("languageId=python&pathToProject=/none&uri=a").required(&["languageId", "pathToProject", "uri"]),
    row("GET /lsp/workspacesymbols").query("languageId=python&pathToProject=/none&query=a").required(&["languageId", "pathToProject"]),
    row("GET /lsp/workspace-symbols").query("languageId=python&pathToProject=/none&query=a").required(&["languageId", "pathToProject"]),
];

/// Operations that take nothing that could be bad.
const WITHOUT_INPUT: &[&str] = &[
    "GET /attached/run",
    "GET /attached/sftp",
    "GET /version",
    "GET /work-dir",
    "GET /user-home-dir",
    "GET /project-dir",
    "GET /system/metrics",
    "GET /port",
    "GET /exec",
    "GET /process/session",
    "GET /process/pty",
    "GET /process/interpreter/context",
];

fn operations() -> BTreeSet<&'static str> {
    include_str!("operations.txt").lines().collect()
}

/// A request with something wrong with it.
struct Request {
    uri: String,
    content_type: String,
    body: Vec<u8>,
}

impl Row {
    fn method(&self) -> Method {
        self.operation.split(' ').next().unwrap().parse().unwrap()
    }

    fn path(&self) -> &'static str {
        self.operation.split_once(' ').unwrap().1
    }

    /// The path with each of its parameters replaced by something that does not exist.
    fn sample_path(&self) -> String {
        fill(self.path(), |name| sample(name).to_owned())
    }

    fn bad_requests(&self) -> Vec<Request> {
        let mut bad = Vec::new();
        let path = self.sample_path();
        let good_query: BTreeMap<&str, &str> = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let mut request = |path: &str, query: String, body: Vec<u8>| {
            let separator = if query.is_empty() { "" } else { "?" };
            bad.push(Request {
                uri: format!("{path}{separator}{query}"),
                content_type: "application/json".into(),
                body,
            });
        };
        let good = |body: &str| body.as_bytes().to_vec();

        for value in [
            "%FF",
            "..",
            "%2e%2e%2f",
            "%00",
            "a%2Fb",
            "0",
            "65536",
            "-1",
            &"x".repeat(LONG_BYTES),
        ] {
            if self.path().contains('{') {
                let path = fill(self.path(), |_| value.to_owned());
                request(&path, self.query.to_owned(), good(self.body));
            }
        }
        for name in good_query.keys() {
            let with = |value: Option<&str>| {
                let mut query = good_query.clone();
                match value {
                    Some(value) => query.insert(name, value),
                    None => query.remove(name),
                };
                let pairs: Vec<_> = query
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                pairs.join("&")
            };
            request(&path, with(Some("%FF")), good(self.body));
            if ["path", "source", "destination", "cwd"].contains(name) {
                request(&path, with(Some("a%00b")), good(self.body));
                request(&path, with(Some(&"x".repeat(LONG_BYTES))), good(self.body));
            }
            if self.required.contains(name) {
                request(&path, with(None), good(self.body));
                request(&path, with(Some("")), good(self.body));
            }
        }
        if !self.body.is_empty() {
            for (query, body) in bad_bodies(self.body, self.required) {
                request(&path, query, body);
            }
        }
        bad.extend(self.also.iter().map(|bad| Request {
            uri: format!("{path}?{}", bad.query),
            content_type: bad.content_type.into(),
            body: bad.body.to_vec(),
        }));
        if self.also.is_empty() && self.query.is_empty() && self.body.is_empty() {
            bad.push(Request {
                uri: path,
                content_type: String::new(),
                body: Vec::new(),
            });
        }
        bad
    }
}

fn bad_bodies(sample: &str, required: &[&str]) -> Vec<(String, Vec<u8>)> {
    let good: Value = serde_json::from_str(sample).unwrap();
    let mut bad: Vec<Vec<u8>> = [
        &b""[..],
        b"{",
        b"[]",
        b"null",
        b"7",
        b"\"x\"",
        b"{\"\xff\":1}",
        b"\xff",
    ]
    .map(Vec::from)
    .into();
    for (name, value) in good.as_object().unwrap() {
        let mut with = |value: Option<Value>| {
            let mut body = good.clone();
            match value {
                Some(value) => body[name] = value,
                None => drop(body.as_object_mut().unwrap().remove(name)),
            }
            bad.push(body.to_string().into_bytes());
        };
        // No member is both an object and a list.
        with(Some(if value.is_object() {
            json!(["x"])
        } else {
            json!({ "x": {} })
        }));
        with(Some(if value.is_boolean() || value.is_number() {
            json!("x")
        } else {
            json!(7)
        }));
        if required.contains(&name.as_str()) {
            with(None);
            with(Some(Value::Null));
            if value.is_string() {
                with(Some(json!("")));
            }
        }
        if value.is_string() {
            let text = value.as_str().unwrap().as_bytes();
            let mut bytes = sample.as_bytes().to_vec();
            let at = sample.find(&format!("\"{name}\":\"")).unwrap() + name.len() + 4;
            bytes.splice(at..at + text.len(), [0xff]);
            bad.push(bytes);
        }
    }
    bad.into_iter().map(|body| (String::new(), body)).collect()
}

/// What a parameter of a path is in a request that is wrong in another way, or just for what it names.
fn sample(parameter: &str) -> &'static str {
    match parameter {
        "port" => "1",
        "port_and_path" => "none/",
        _ => "none",
    }
}

fn fill(path: &str, value: impl Fn(&str) -> String) -> String {
    let segments = path.split('/').map(|segment| {
        let name = segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        name.map_or_else(|| segment.to_owned(), &value)
    });
    segments.collect::<Vec<_>>().join("/")
}

/// All below the agent's home.
fn tree(dir: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            names.insert(entry.path().to_string_lossy().into_owned());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    names
}

async fn send(agent: &TestAgent, method: Method, request: &Request) -> Answer {
    let headers = [("content-type", request.content_type.as_str())];
    agent
        .call(method, &request.uri, &headers, request.body.clone())
        .await
}

#[tokio::test]
async fn bad_input_gets_a_reason_and_leaves_nothing() {
    let agent = TestAgent::start_with(json!({ "build": true })).await;
    agent.get("/version").await.expect(200);
    let before = (tree(agent.dir.path()), children_of(agent.pid()));
    let descriptors = agent.descriptor_count();
    let mut wrong = Vec::new();
    for row in TABLE {
        for request in row.bad_requests() {
            let answer = send(&agent, row.method(), &request).await;
            let uri: String = request.uri.chars().take(100).collect();
            let what = format!(
                "{} {uri} {:?}",
                row.method(),
                String::from_utf8_lossy(&request.body)
            );
            if !answer.status.is_client_error() {
                wrong.push(format!("{what}: {} {}", answer.status, answer.text()));
                continue;
            }
            assert_standard(
                &answer,
                &row.method(),
                request.uri.split('?').next().unwrap(),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let now = (tree(agent.dir.path()), children_of(agent.pid()));
    assert_eq!(now, before);
    eventually("descriptors are closed", || {
        agent.descriptor_count() <= descriptors
    })
    .await;
    agent.get("/version").await.expect(200);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_is_held() {
    let agent = TestAgent::start().await;
    for operation in ["POST /files/replace", "POST /process/execute", "POST /env"] {
        let row = TABLE.iter().find(|row| row.operation == operation).unwrap();
        let request = agent.call(Method::POST, row.path(), &[], vec![b' '; HUGE_BYTES]);
        let answer = tokio::time::timeout(PATIENCE, request)
            .await
            .unwrap()
            .expect(400);
        assert_standard(&answer, &Method::POST, row.path());
        assert!(answer.text().contains("longer than"), "{}", answer.text());
    }
}

#[tokio::test]
async fn every_operation_is_there_and_has_rows() {
    let agent = TestAgent::start_with(json!({ "build": true })).await;
    for operation in operations() {
        let row = row(operation);
        let answer = agent.call(row.method(), &row.sample_path(), &[], "").await;
        let is_there = !answer.text().contains("no such route");
        assert!(is_there, "{operation} is not there");
        let has_row = TABLE.iter().any(|row| row.operation == operation)
            || WITHOUT_INPUT.contains(&operation);
        assert!(has_row, "{operation} has no row in this file");
    }
    for row in TABLE {
        assert!(
            operations().contains(row.operation),
            "{} is not in operations.txt",
            row.operation
        );
    }
}

#[test]
fn every_route_is_a_listed_operation() {
    let plain = |path: &str| fill(path.trim_end_matches('/'), |_| "{}".into());
    let listed: BTreeSet<_> = operations()
        .iter()
        .map(|operation| plain(operation.split_once(' ').unwrap().1))
        .collect();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut count = 0;
    for source in tree(&sources)
        .into_iter()
        .chain([format!("{}.rs", sources.display())])
    {
        let text = std::fs::read_to_string(source).unwrap_or_default();
        for call in text.split(".route(").skip(1) {
            let Some(path) = call
                .trim_start()
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next())
            else {
                continue;
            };
            count += 1;
            assert!(
                listed.contains(&plain(path)),
                "{path} is not in operations.txt"
            );
        }
    }
    assert!(
        count > 20,
        "routes are no longer written as this test reads them"
    );
}
