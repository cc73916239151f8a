//! Language servers. A script plays the server, so that it fails when and as it is told; the real ones run in the
//! tests with the official clients.

mod faults;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Answer, TestAgent, eventually};

/// An agent whose Python and TypeScript servers are the script, and a project in its work dir.
struct Lsp {
    agent: TestAgent,
    project: PathBuf,
    language: &'static str,
    _home: tempfile::TempDir,
}

impl Lsp {
    /// Not started yet.
    async fn of(language: &'static str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (programs, project) = (home.path().join("bin"), home.path().join("project"));
        std::fs::create_dir(&programs).unwrap();
        std::fs::create_dir(&project).unwrap();
        for name in ["pylsp", "typescript-language-server"] {
            let path = programs.join(name);
            std::fs::write(&path, include_str!("lsp/fake_language_server.py")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let search_path = std::env::var("PATH").unwrap();
        let search_path = format!("{}:{search_path}", programs.display());
        let env = json!({ "PATH": search_path, "HOME": home.path() });
        Self {
            agent: TestAgent::start_with(json!({ "env": env })).await,
            project,
            language,
            _home: home,
        }
    }

    async fn started() -> Self {
        let lsp = Self::of("python").await;
        lsp.post("start", json!({})).await.expect(200);
        lsp
    }

    /// Keys of `more` are added to those that every request has.
    async fn post(&self, call: &str, more: Value) -> Answer {
        let mut body = json!({ "languageId": self.language, "pathToProject": self.project });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.agent.post(&format!("/lsp/{call}"), &body).await
    }

    fn query(&self, call: &str, more: &str) -> String {
        let project = self.project.display();
        format!(
            "/lsp/{call}?languageId={}&pathToProject={project}&{more}",
            self.language
        )
    }

    async fn open(&self, name: &str) -> Answer {
        self.post("did-open", json!({ "uri": format!("file://{name}") }))
            .await
    }

    async fn symbols(&self, name: &str) -> Value {
        let uri = self.query("document-symbols", &format!("uri=file://{name}"));
        self.agent.get(&uri).await.expect(200).json()
    }

    async fn search(&self, query: &str) -> Answer {
        let uri = self.query("workspacesymbols", &format!("query={query}"));
        self.agent.get(&uri).await
    }

    /// Names of the symbols found.
    async fn found(&self, query: &str) -> Vec<String> {
        let found = self.search(query).await.expect(200).json();
        let names = found.as_array().unwrap().iter();
        names
            .map(|symbol| symbol["name"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn pid(&self) -> u32 {
        self.found("pid").await[0].parse().unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.project.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// What the script got of a method, over all of its lives.
    fn received(&self, method: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.project.join("received.jsonl")).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["method"] == method)
            .map(|message| message["params"].clone())
            .collect()
    }
}

#[tokio::test]
async fn the_server_of_the_language_runs_once_in_its_project() {
    let lsp = Lsp::started().await;
    lsp.post("start", json!({})).await.expect(200);
    let greetings = lsp.received("initialize");
    assert_eq!(greetings.len(), 1);
    assert_eq!(
        greetings[0]["rootUri"],
        format!("file://{}", lsp.project.display())
    );
    assert_eq!(greetings[0]["processId"], Value::Null);
    eventually("the end of the greeting", || {
        lsp.received("initialized").len() == 1
    })
    .await;
    let program = std::fs::read_to_string(format!("/proc/{}/cmdline", lsp.pid().await)).unwrap();
    assert!(program.contains("/pylsp\0"), "{program:?}");
}

#[tokio::test]
async fn both_languages_of_the_typescript_server_have_one_of_their_own() {
    let mut lsp = Lsp::of("typescript").await;
    let mut pids = Vec::new();
    for language in ["typescript", "javascript"] {
        lsp.language = language;
        lsp.post("start", json!({})).await.expect(200);
        let pid = lsp.pid().await;
        let program = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(
            program.ends_with("/typescript-language-server\0--stdio\0"),
            "{program:?}"
        );
        pids.push(pid);
    }
    assert_ne!(pids[0], pids[1]);
    for (name, kind) in [
        ("a.ts", "typescript"),
        ("b.tsx", "typescriptreact"),
        ("c.js", "javascript"),
    ] {
        lsp.write(name, "");
        lsp.open(name).await.expect(200);
        assert_eq!(lsp.symbols(name).await[0]["name"], format!("{kind} 1"));
    }
}

#[tokio::test]
async fn zero_is_a_place_and_a_trigger() {
    let lsp = Lsp::started().await;
    lsp.write("a.py", "");
    let answer = lsp
        .post(
            "completions",
            json!({ "uri": "file://a.py", "position": { "line": 0, "character": 0 },
                "context": { "triggerKind": 0, "triggerCharacter": "." } }),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(answer["isIncomplete"], false);
    let item = &answer["items"][0];
    assert_eq!(
        item["documentation"],
        json!({ "kind": "plaintext", "value": "words" })
    );
    let asked: Value = serde_json::from_str(item["label"].as_str().unwrap()).unwrap();
    assert_eq!(
        asked,
        json!({
            "textDocument": { "uri": format!("file://{}/a.py", lsp.project.display()) },
            "position": { "line": 0, "character": 0 },
            "context": { "triggerKind": 1, "triggerCharacter": "." },
        })
    );
}

#[tokio::test]
async fn a_document_opened_again_is_a_change() {
    let lsp = Lsp::started().await;
    lsp.write("a.py", "one");
    lsp.open("a.py").await.expect(200);
    lsp.write("a.py", "two");
    assert_eq!(lsp.symbols("a.py").await[1]["name"], "one");
    lsp.open("a.py").await.expect(200);
    let symbols = lsp.symbols("a.py").await;
    let uri = format!("file://{}/a.py", lsp.project.display());
    let range = |line: u32| json!({ "start": { "line": line, "character": 0 }, "end": { "line": line, "character": 1 } });
    assert_eq!(
        symbols,
        json!([
            { "name": "python 2", "kind": 5, "location": { "uri": uri, "range": range(0) } },
            { "name": "two", "kind": 13, "location": { "uri": uri, "range": range(2) } },
        ])
    );
    for _ in 0..2 {
        lsp.post("did-close", json!({ "uri": "file://a.py" }))
            .await
            .expect(200);
    }
    assert_eq!(lsp.symbols("a.py").await[0]["name"], "not open");
    assert_eq!(lsp.received("textDocument/didClose").len(), 1);
    lsp.open("a.py").await.expect(200);
    assert_eq!(lsp.symbols("a.py").await[0]["name"], "python 1");
}

#[tokio::test]
async fn documents_are_found_however_their_names_are_written() {
    let lsp = Lsp::started().await;
    let project = lsp.project.display().to_string();
    for name in ["a b.py", "ünï.py", "per%20cent.py", "in/ner.py"] {
        lsp.write(name, name);
        for uri in [
            format!("file://{project}/{name}"),
            format!("file://{name}"),
            // The work dir is the folder above.
            format!("file://project/{name}"),
            name.to_owned(),
        ] {
            lsp.post("did-open", json!({ "uri": uri }))
                .await
                .expect(200);
            let uri =
                percent_encoding::utf8_percent_encode(&uri, percent_encoding::NON_ALPHANUMERIC);
            let query = lsp.query("document-symbols", &format!("uri={uri}"));
            let symbols = lsp.agent.get(&query).await.expect(200).json();
            assert_eq!(symbols[1]["name"], *name, "{uri}");
        }
    }
    // Each is one document, opened once.
    assert_eq!(lsp.received("textDocument/didOpen").len(), 4);
    let decoded = json!({ "uri": format!("file://{project}/a%20b.py") });
    lsp.post("did-close", decoded).await.expect(200);
    // A notification has no answer, but what comes behind it has.
    lsp.search("x").await.expect(200);
    assert_eq!(lsp.received("textDocument/didClose").len(), 1);
}

#[tokio::test]
async fn symbols_are_searched_under_both_names_and_nothing_is_a_list() {
    let lsp = Lsp::started().await;
    for call in ["workspacesymbols", "workspace-symbols"] {
        let uri = lsp.query(call, "query=word");
        let found = lsp.agent.get(&uri).await.expect(200).json();
        assert_eq!(found[0]["name"], "word");
        assert_eq!(found[0]["location"]["uri"], "file:///somewhere");
    }
    assert_eq!(lsp.search("null").await.expect(200).text(), "[]");
    assert_eq!(lsp.found("").await, [""]);
}

#[tokio::test]
async fn what_the_server_asks_is_answered() {
    let lsp = Lsp::started().await;
    let replies: Vec<Value> = lsp
        .found("ask")
        .await
        .iter()
        .map(|reply| serde_json::from_str(reply).unwrap())
        .collect();
    assert_eq!(replies[0], json!([null, null]));
    assert_eq!(
        replies[1][0]["uri"],
        format!("file://{}", lsp.project.display())
    );
    assert_eq!(replies[2..4], [Value::Null, Value::Null]);
    assert_eq!(replies[4]["code"], -32601);
}

#[tokio::test]
async fn answers_find_their_requests_in_any_order() {
    let lsp = Lsp::started().await;
    let (one, two, three, release) = tokio::join!(
        lsp.found("hold"),
        lsp.found("hold"),
        lsp.found("hold"),
        async {
            eventually("all are held", || {
                lsp.received("workspace/symbol").len() == 3
            })
            .await;
            lsp.found("release").await
        }
    );
    assert_eq!(release, ["release"]);
    let mut all = [one, two, three].concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 3, "{all:?}");
}

#[tokio::test]
async fn documents_that_cannot_be_read_are_refused() {
    let lsp = Lsp::started().await;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        lsp.project.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    lsp.write("folder/file", "");
    let long = std::fs::File::create(lsp.project.join("long")).unwrap();
    long.set_len((8 << 20) + 1).unwrap();
    for name in ["pipe", "folder", "missing", "long", "/dev/zero"] {
        lsp.open(name).await.expect(400);
    }
    lsp.post("did-open", json!({ "uri": "http://host/a" }))
        .await
        .expect(400);
    std::fs::write(lsp.project.join("latin"), b"\xe9").unwrap();
    lsp.open("latin").await.expect(200);
    assert_eq!(lsp.symbols("latin").await[1]["name"], "\u{fffd}");
}

#[tokio::test]
async fn a_server_that_was_not_started_has_its_own_error() {
    let lsp = Lsp::of("python").await;
    let answer = lsp.open("a.py").await.expect(400).json();
    assert_eq!(answer["code"], "LSP_SERVER_NOT_INITIALIZED");
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let lsp = Lsp::started().await;
    let uri = json!("file://a.py");
    for (call, more) in [
        ("start", json!({ "languageId": "cobol" })),
        ("start", json!({ "languageId": "" })),
        ("start", json!({ "languageId": 5 })),
        ("start", json!({ "pathToProject": "" })),
        ("start", json!({ "pathToProject": "/nowhere" })),
        ("start", json!({ "pathToProject": "/a\0b" })),
        (
            "start",
            json!({ "pathToProject": lsp.project.join("received.jsonl") }),
        ),
        ("stop", json!({ "pathToProject": "/" })),
        ("did-open", json!({})),
        ("did-open", json!({ "uri": "file://" })),
        ("did-close", json!({ "uri": "" })),
        ("completions", json!({ "uri": uri })),
        (
            "completions",
            json!({ "uri": uri, "position": { "line": 0 } }),
        ),
        (
            "completions",
            json!({ "uri": uri, "position": { "line": -1, "character": 0 } }),
        ),
        (
            "completions",
            json!({ "position": { "line": 0, "character": 0 } }),
        ),
        (
            "completions",
            json!({ "uri": uri, "position": { "line": 0, "character": 0 }, "context": {} }),
        ),
    ] {
        let answer = lsp.post(call, more.clone()).await;
        assert_eq!(answer.status, 400, "{call} {more}");
        assert_ne!(answer.json()["message"], "");
    }
    for (call, more) in [
        ("workspacesymbols", ""),
        ("document-symbols", ""),
        ("document-symbols", "uri="),
        ("document-symbols", "uri=ftp://a"),
    ] {
        lsp.agent.get(&lsp.query(call, more)).await.expect(400);
    }
    lsp.agent
        .get("/lsp/workspacesymbols?query=a&languageId=python")
        .await
        .expect(400);
    lsp.agent.post("/lsp/start", &json!([])).await.expect(400);
}
