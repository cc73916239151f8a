//! A face over a folder of its own, and requests as SigV4 signs them.

use std::fmt::Write as _;
use std::sync::Arc;

use alcove_storage::s3::{AccessKeys, S3Face};
use alcove_storage::{Bucket, FolderStore, Key, Limits, ObjectStore as _, PutOptions, body_of};
use aws_lc_rs::{digest, hmac};
use http::{HeaderMap, Request, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tempfile::TempDir;

const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

pub const ACCESS_KEY: &str = "ALC0123456789ABCDEF";

/// Access keys have secrets, and `OWNER@ACCESSKEY` is the token of an owner for one.
#[derive(Debug)]
struct Tokens;

impl AccessKeys for Tokens {
    fn secret(&self, access_key: &str) -> String {
        format!("secret of {access_key}")
    }

    fn owner(&self, access_key: &str, session_token: &str) -> Option<String> {
        let (owner, key) = session_token.split_once('@')?;
        (key == access_key).then(|| owner.to_owned())
    }
}

pub struct TestFace {
    pub face: S3Face,
    pub store: FolderStore,
    _folder: TempDir,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// The text between two tags of the body.
    pub fn all(&self, tag: &str) -> Vec<&str> {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let parts = self.body.split(open.as_str()).skip(1);
        parts
            .filter_map(|part| Some(part.split_once(close.as_str())?.0))
            .collect()
    }

    pub fn code(&self) -> &str {
        self.all("Code").first().copied().unwrap_or_default()
    }
}

/// What a request is signed with.
#[derive(Debug, Clone)]
pub struct Signer {
    pub access_key: String,
    pub secret: String,
    pub token: Option<String>,
}

impl Default for Signer {
    fn default() -> Self {
        Self {
            access_key: ACCESS_KEY.to_owned(),
            secret: format!("secret of {ACCESS_KEY}"),
            token: Some(format!("org@{ACCESS_KEY}")),
        }
    }
}

impl TestFace {
    pub async fn open() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub async fn with_limits(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(folder.path(), limits).await.unwrap();
        Self {
            face: S3Face::new(Arc::new(store.clone()), Arc::new(Tokens)),
            store,
            _folder: folder,
        }
    }

    /// Writes past the face.
    pub async fn put(&self, path: &str, content: &str) {
        let key = Key::new(Bucket::CONTEXTS, path).unwrap();
        let body = body_of(content.to_owned());
        self.store
            .put(&key, body, PutOptions::default())
            .await
            .unwrap();
    }

    pub async fn send(&self, request: Request<s3s::Body>) -> Answer {
        let response = self.face.handle(request).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(axum::body::Body::new(body), usize::MAX);
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.await.unwrap().to_vec()).unwrap(),
        }
    }

    /// As someone of the organization `org`.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.ask_with(method, path, query, &[], body).await
    }

    pub async fn ask_with(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let request = Signer::default().sign(method, path, query, headers, body);
        self.send(request).await
    }
}

fn encoded(query: &[(&str, &str)]) -> String {
    let mut pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| {
            let part = |text| utf8_percent_encode(text, QUERY);
            format!("{}={}", part(name), part(value))
        })
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

#[expect(
    clippy::disallowed_methods,
    reason = "signatures are good for the real time only"
)]
fn now() -> (String, String) {
    let now = jiff::Timestamp::now();
    (
        now.strftime("%Y%m%d").to_string(),
        now.strftime("%Y%m%dT%H%M%SZ").to_string(),
    )
}

impl Signer {
    fn signature(&self, date: &str, text: &str) -> String {
        let sign = |key: &[u8], text: &str| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
        };
        let mut key = sign(format!("AWS4{}", self.secret).as_bytes(), date);
        for part in ["us-east-1", "s3", "aws4_request"] {
            key = sign(&key, part);
        }
        hex::encode(sign(&key, text))
    }

    /// `path` is `/BUCKET/KEY`, not encoded.
    pub fn sign(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        extra: &[(&str, &str)],
        body: &str,
    ) -> Request<s3s::Body> {
        let (date, time) = now();
        let (path, query) = (utf8_percent_encode(path, PATH).to_string(), encoded(query));
        let payload = sha256_hex(body.as_bytes());
        let mut headers = vec![
            ("host", "storage.test"),
            ("x-amz-content-sha256", payload.as_str()),
            ("x-amz-date", time.as_str()),
        ];
        if let Some(token) = &self.token {
            headers.push(("x-amz-security-token", token));
        }
        headers.extend(extra);
        headers.sort_unstable();
        let mut canonical = format!("{method}\n{path}\n{query}\n");
        for (name, value) in &headers {
            writeln!(canonical, "{name}:{value}").unwrap();
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        write!(canonical, "\n{names}\n{payload}").unwrap();
        let scope = format!("{date}/us-east-1/s3/aws4_request");
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            sha256_hex(canonical.as_bytes())
        );
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.access_key,
            self.signature(&date, &text)
        );
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{path}?{query}"))
            .header("authorization", authorization)
            .header("content-length", body.len());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.body(s3s::Body::from(body.to_owned())).unwrap()
    }

    /// A URL that is good by itself for some seconds.
    pub fn presign(&self, method: &str, path: &str, seconds: &str) -> Request<s3s::Body> {
        let (date, time) = now();
        let scope = format!("{date}/us-east-1/s3/aws4_request");
        let credential = format!("{}/{scope}", self.access_key);
        let mut pairs = vec![
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", credential.as_str()),
            ("X-Amz-Date", time.as_str()),
            ("X-Amz-Expires", seconds),
            ("X-Amz-SignedHeaders", "host"),
        ];
        if let Some(token) = &self.token {
            pairs.push(("X-Amz-Security-Token", token));
        }
        let query = encoded(&pairs);
        let path = utf8_percent_encode(path, PATH).to_string();
        let canonical =
            format!("{method}\n{path}\n{query}\nhost:storage.test\n\nhost\nUNSIGNED-PAYLOAD");
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            sha256_hex(canonical.as_bytes())
        );
        let signature = self.signature(&date, &text);
        Request::builder()
            .method(method)
            .uri(format!("{path}?{query}&X-Amz-Signature={signature}"))
            .header("host", "storage.test")
            .body(s3s::Body::empty())
            .unwrap()
    }
}
