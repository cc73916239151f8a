//! The git operations, each checked with the real git.

mod failures;
mod large;
mod local;
mod remote;
mod rescue;

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};

use crate::git_server::git;
use crate::support::{Answer, TestAgent};

/// A repository in the agent's home.
struct Repo<'a> {
    agent: &'a TestAgent,
    path: PathBuf,
}

impl<'a> Repo<'a> {
    /// With one commit on `main`: `kept` and `changed`.
    async fn new(agent: &'a TestAgent) -> Self {
        let repo = Self::empty(agent, "repo").await;
        repo.write("kept", "kept\n");
        repo.write("changed", "one\n");
        repo.add(&["."]).await;
        repo.commit("first").await;
        repo
    }

    async fn empty(agent: &'a TestAgent, name: &str) -> Self {
        let body = json!({ "path": name, "initial_branch": "main" });
        agent.post("/git/init", &body).await.expect(201);
        Self::at(agent, name)
    }

    fn at(agent: &'a TestAgent, name: &str) -> Self {
        let path = agent.dir.path().join(name);
        Self { agent, path }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path.join(name)).ok()
    }

    fn body(&self, mut more: Value) -> Value {
        more["path"] = json!(self.path);
        more
    }

    async fn post(&self, operation: &str, more: Value) -> Answer {
        let uri = format!("/git/{operation}");
        self.agent.post(&uri, &self.body(more)).await
    }

    async fn add(&self, files: &[&str]) {
        let answer = self
            .post("add", json!({ "files": files }))
            .await
            .expect(200);
        assert!(answer.body.is_empty());
    }

    async fn commit(&self, message: &str) -> String {
        let body = json!({ "message": message, "author": "Ada", "email": "ada@x" });
        let answer = self.post("commit", body).await.expect(200).json();
        answer["hash"].as_str().unwrap().to_owned()
    }

    async fn status(&self) -> Value {
        let uri = format!("/git/status?path={}", self.path.display());
        self.agent.get(&uri).await.expect(200).json()
    }

    async fn branches(&self) -> Value {
        let uri = format!("/git/branches?path={}", self.path.display());
        self.agent.get(&uri).await.expect(200).json()
    }

    async fn delete_branch(&self, name: &str) -> Answer {
        let body = self.body(json!({ "name": name })).to_string();
        self.agent
            .call(Method::DELETE, "/git/branches", &[], body)
            .await
    }

    /// What the real git says.
    fn git(&self, arguments: &[&str]) -> String {
        git(&self.path, arguments)
    }
}

#[track_caller]
fn assert_code(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.json()["code"], code, "{}", answer.text());
}

/// Files below a folder, git's own left out, with their content.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with(".git") {
                    open.push(path);
                }
            } else {
                let name = path
                    .strip_prefix(folder)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}
