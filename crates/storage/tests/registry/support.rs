//! A registry over a folder of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use alcove_storage::registry::{Door, Registry, Visitor};
use alcove_storage::{FolderStore, Limits};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Lets everybody in whose secret is `secret-of-OWNER`.
#[derive(Debug)]
struct SecretsOf;

impl Door for SecretsOf {
    fn visitor(&self, secret: &str) -> Option<Visitor> {
        Some(Visitor {
            owner: secret.strip_prefix("secret-of-")?.to_owned(),
            seconds_left: 100,
        })
    }
}

pub struct TestRegistry {
    pub registry: Registry,
    folder: TempDir,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn code(&self) -> String {
        let json = self.json();
        json["errors"][0]["code"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

impl TestRegistry {
    pub async fn open() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub async fn with_limits(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(folder.path(), limits).await.unwrap();
        let door = Arc::new(SecretsOf);
        Self {
            registry: Registry::new(Arc::new(store), door, "http://localhost:3000"),
            folder,
        }
    }

    /// Makes all blobs look as if they had been written then.
    pub fn age(&self, to: SystemTime) {
        for path in files(&self.folder.path().join("objects")) {
            let is_blob = path.components().any(|part| part.as_os_str() == "dblobs");
            if is_blob {
                let file = File::options().write(true).open(&path).unwrap();
                file.set_modified(to).unwrap();
            }
        }
    }

    /// Takes the end of some manifest away.
    pub fn damage_a_manifest(&self) {
        let all = files(&self.folder.path().join("objects"));
        let is_manifest = |path: &&PathBuf| {
            path.components()
                .any(|part| part.as_os_str() == "dmanifests")
        };
        let path = all.iter().find(is_manifest).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        let bytes = file.metadata().unwrap().len();
        file.set_len(bytes - 1).unwrap();
    }

    pub async fn send(
        &self,
        authorization: Option<&str>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self
            .registry
            .handle(request.body(body.into()).unwrap())
            .await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.to_vec(),
        }
    }

    /// As someone of the organization `org`.
    pub async fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        self.ask_with(method, path, &[], body).await
    }

    pub async fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        self.send(Some("Bearer secret-of-org"), method, path, headers, body)
            .await
    }

    /// Pushes a blob in one request.
    pub async fn push(&self, content: &str) -> String {
        let digest = digest_of(content);
        let path = format!("/v2/org/app/blobs/uploads/?digest={digest}");
        let answer = self.ask("POST", &path, content.to_owned()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        digest
    }

    /// Pushes an image of one layer under a tag.
    pub async fn push_image(&self, tag: &str, layer: &str) -> String {
        let manifest = image(&self.push("{}").await, &self.push(layer).await);
        let answer = self.put_manifest(tag, MANIFEST, &manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.header("docker-content-digest").to_owned()
    }

    pub async fn put_manifest(&self, reference: &str, media_type: &str, text: &str) -> Answer {
        let path = format!("/v2/org/app/manifests/{reference}");
        let headers = [("content-type", media_type)];
        self.ask_with("PUT", &path, &headers, text.to_owned()).await
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

pub fn image(config: &str, layer: &str) -> String {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 3}],
    })
    .to_string()
}

pub fn digest_of(content: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content.as_bytes())))
}

pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
