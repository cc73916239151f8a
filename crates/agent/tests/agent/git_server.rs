//! A real `git http-backend` behind a small web server, and real repositories for it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

pub const USER: &str = "alice";
pub const PASSWORD: &str = "s3cret/pass word";

const CERTIFICATE: &str = include_str!("fixtures/git-server.cert.pem");
const KEY: &str = include_str!("fixtures/git-server.key.pem");

/// Serves the repositories of a folder: `open/NAME` to everybody, `closed/NAME` to [`USER`], `forbidden/NAME` to
/// nobody, `moved/NAME` as a redirection to `open/NAME`, `slow/NAME` not before the end of time.
pub struct GitServer {
    pub dir: tempfile::TempDir,
    origin: String,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    root: PathBuf,
    waiting: AtomicUsize,
}

impl GitServer {
    pub async fn start() -> Self {
        Self::serve(None).await
    }

    pub async fn start_tls() -> Self {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::serve(Some(tokio_rustls::TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = Arc::new(State {
            root: dir.path().to_path_buf(),
            waiting: AtomicUsize::new(0),
        });
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve_connection(stream, state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve_connection(stream, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            dir,
            origin: format!("{scheme}://{address}"),
            state,
            task,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}.git", self.origin)
    }

    /// The address with credentials in it.
    pub fn url_with(&self, user_info: &str, path: &str) -> String {
        self.url(path)
            .replacen("://", &format!("://{user_info}@"), 1)
    }

    /// Requests that will never be answered.
    pub fn waiting(&self) -> usize {
        self.state.waiting.load(Ordering::Relaxed)
    }

    pub fn bare(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.git"))
    }

    /// Makes a repository with a first commit on `main`: `README` and `src/code`.
    pub fn create(&self, name: &str) -> Seed {
        let bare = self.bare(name);
        git(
            self.dir.path(),
            &["init", "-q", "--bare", "-b", "main", bare.to_str().unwrap()],
        );
        git(&bare, &["config", "http.receivepack", "true"]);
        let seed = Seed::new(&bare);
        seed.write("README", "hello\n");
        seed.write("src/code", "1\n");
        seed.commit("first");
        seed.push();
        seed
    }

    pub fn certificate(&self) -> PathBuf {
        let path = self.dir.path().join("certificate.pem");
        std::fs::write(&path, CERTIFICATE).unwrap();
        path
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Somebody else's work tree of a repository, driven by the real git.
pub struct Seed {
    pub dir: tempfile::TempDir,
}

impl Seed {
    fn new(bare: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["clone", "-q", bare.to_str().unwrap(), "."]);
        git(dir.path(), &["checkout", "-q", "-B", "main"]);
        Self { dir }
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Commits everything; the new commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn push(&self) {
        self.git(&["push", "-q", "origin", "--all"]);
        self.git(&["push", "-q", "origin", "--tags"]);
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        git(self.dir.path(), arguments)
    }
}

/// Runs the real git, away from this machine's configuration; its output without the last newline.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let (is_success, text) = try_git(folder, arguments);
    assert!(is_success, "git {arguments:?}: {text}");
    text
}

pub fn try_git(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("git")
        .current_dir(folder)
        .args([
            "-c",
            "user.name=Seed",
            "-c",
            "user.email=seed@x",
            "-c",
            "safe.directory=*",
        ])
        .args(arguments)
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env_remove("GIT_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (
        output.status.success(),
        text.trim_end_matches('\n').to_owned(),
    )
}

async fn serve_connection<S>(stream: S, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(request, &state).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Answer = Response<Full<Bytes>>;

fn refuse(status: StatusCode) -> Answer {
    let mut response = Response::new(Full::from("no"));
    *response.status_mut() = status;
    if status == StatusCode::UNAUTHORIZED {
        let challenge = http::HeaderValue::from_static("Basic realm=\"x\"");
        response.headers_mut().insert("www-authenticate", challenge);
    }
    response
}

async fn answer(request: Request<Incoming>, state: &State) -> Answer {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let (kind, rest) = path.split_once('/').unwrap_or_default();
    match kind {
        "closed" => {
            let pair = format!("{USER}:{PASSWORD}");
            let wanted = base64::engine::general_purpose::STANDARD.encode(pair);
            let given = request.headers().get("authorization");
            if given.is_none_or(|given| *given != format!("Basic {wanted}")) {
                return refuse(StatusCode::UNAUTHORIZED);
            }
        }
        "forbidden" => return refuse(StatusCode::FORBIDDEN),
        "page" => return Response::new(Full::from("<html>no repository</html>")),
        "moved" => {
            let query = request.uri().query().unwrap_or_default();
            let mut response = refuse(StatusCode::MOVED_PERMANENTLY);
            let target = format!("/open/{rest}?{query}").parse().unwrap();
            response.headers_mut().insert("location", target);
            return response;
        }
        "slow" => {
            state.waiting.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    if !state
        .root
        .join(rest.split(".git").next().unwrap().to_owned() + ".git")
        .exists()
    {
        return refuse(StatusCode::NOT_FOUND);
    }
    backend(request, rest, state).await
}

async fn backend(request: Request<Incoming>, path: &str, state: &State) -> Answer {
    let header = |name: &str| {
        let value = request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut command = tokio::process::Command::new("git");
    command
        .args(["-c", "safe.directory=*", "http-backend"])
        .env("GIT_PROJECT_ROOT", &state.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{path}"))
        .env("REQUEST_METHOD", request.method().as_str())
        .env("QUERY_STRING", request.uri().query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("REMOTE_USER", USER)
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("HOME", &state.root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let is_post = request.method() == Method::POST;
    let body = request.into_body().collect().await;
    let Ok(body) = body else {
        return refuse(StatusCode::BAD_REQUEST);
    };
    let body = body.to_bytes();
    if is_post {
        command.env("CONTENT_LENGTH", body.len().to_string());
    }
    let mut process = command.spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let feed = tokio::spawn(async move {
        let _ = stdin.write_all(&body).await;
    });
    let output = process.wait_with_output().await.unwrap().stdout;
    let _ = feed.await;
    let end = output
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or(output.len());
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(&value[..3]),
            _ => response.header(name, value),
        };
    }
    let body = Bytes::copy_from_slice(output.get(end + 4..).unwrap_or_default());
    response.body(Full::new(body)).unwrap()
}
