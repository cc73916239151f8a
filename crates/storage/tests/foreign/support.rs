//! A store that is not ours, and a way there that can be cut.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use alcove_storage::{
    Body, Bucket, ForeignSettings, ForeignStore, Key, Limits, List, Listing, Object,
    ObjectStore as _, PutOptions, body_of,
};
use futures_util::TryStreamExt as _;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The interpreter in an environment of which `scripts/setup.sh` made one.
const PYTHON: &str = "ALCOVE_S3_STORE_PYTHON";

/// Another store. Ends with the process that started it.
pub struct OtherStore {
    _child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub settings: ForeignSettings,
}

impl OtherStore {
    pub fn start() -> Self {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = std::env::var_os(PYTHON).map_or_else(
            || tree.join("../../.cache/s3-store/bin/python"),
            PathBuf::from,
        );
        let mut child = Command::new(&python)
            .arg(tree.join("tests/foreign/store.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "cannot run {}, which scripts/setup.sh makes: {error}",
                    python.display()
                )
            });
        let orders = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).expect("the store has started");
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        Self {
            _child: child,
            orders,
            answers,
            settings: ForeignSettings {
                endpoint: text("endpoint"),
                bucket: text("bucket"),
                region: "us-east-1".to_owned(),
                prefix: "alcove/test".to_owned(),
                access_key: text("accessKey"),
                secret_key: text("secretKey"),
                is_virtual_hosted: false,
            },
        }
    }

    fn ask(&mut self, order: &str) -> Vec<String> {
        writeln!(self.orders, "{order}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Names of uploads in parts that are under way.
    pub fn uploads(&mut self) -> Vec<String> {
        self.ask("uploads")
    }

    /// Names of all objects.
    pub fn names(&mut self) -> Vec<String> {
        self.ask("names")
    }

    /// Puts an object of zeros there, past us.
    pub fn put(&mut self, name: &str) {
        self.ask(&format!("put {name}"));
    }

    /// Makes all objects two days older.
    pub fn age(&mut self) {
        self.ask("age");
    }
}

/// What becomes of the way to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    All,
    Nothing,
    /// Requests to put something come there. Their answers wait.
    HoldsAnswersToPuts,
    /// Requests to put something come there. Their answers do not come back.
    LosesAnswersToPuts,
    /// With the next request to put something, which does not come there, the way is closed.
    EndsAtPut,
}

/// A place that leads to the store while it is open.
pub struct Way {
    pub endpoint: String,
    passes: Arc<watch::Sender<Passes>>,
}

impl Way {
    pub async fn to(settings: &ForeignSettings) -> Self {
        let target: SocketAddr = settings
            .endpoint
            .trim_start_matches("http://")
            .parse()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let passes = Arc::new(watch::Sender::new(Passes::All));
        let shared = Arc::clone(&passes);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target, Arc::clone(&shared)));
            }
        });
        Self { endpoint, passes }
    }

    /// Cuts all connections, and takes no new ones.
    pub fn close(&self) {
        self.set(Passes::Nothing);
    }

    pub fn open(&self) {
        self.set(Passes::All);
    }

    pub fn set(&self, passes: Passes) {
        self.passes.send_replace(passes);
    }
}

async fn carry(client: TcpStream, target: SocketAddr, passes: Arc<watch::Sender<Passes>>) {
    let mut closed = passes.subscribe();
    if *closed.borrow_and_update() == Passes::Nothing {
        return;
    }
    let server = TcpStream::connect(target).await.unwrap();
    tokio::select! {
        _ = carry_both(client, server, &passes) => {}
        _ = closed.wait_for(|passes| *passes == Passes::Nothing) => {}
    }
}

async fn carry_both(
    mut client: TcpStream,
    mut server: TcpStream,
    passes: &watch::Sender<Passes>,
) -> std::io::Result<()> {
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut is_put = false;
    loop {
        tokio::select! {
            count = client.read(&mut asked) => {
                let asked = &asked[..count?];
                if asked.is_empty() {
                    return Ok(());
                }
                // A request begins with a piece: the next one waits for the answer.
                is_put |= asked.starts_with(b"PUT ");
                if is_put && *passes.borrow() == Passes::EndsAtPut {
                    passes.send_replace(Passes::Nothing);
                    return Ok(());
                }
                server.write_all(asked).await?;
            }
            count = server.read(&mut answered) => {
                let answered = &answered[..count?];
                if answered.is_empty() {
                    return Ok(());
                }
                if is_put {
                    let mut now = passes.subscribe();
                    let now = *now
                        .wait_for(|passes| *passes != Passes::HoldsAnswersToPuts)
                        .await
                        .expect("the way is there");
                    if now == Passes::LosesAnswersToPuts {
                        return Ok(());
                    }
                }
                is_put = false;
                client.write_all(answered).await?;
            }
        }
    }
}

/// Our store on the other one.
pub struct Ours {
    pub store: ForeignStore,
    pub folder: TempDir,
    settings: ForeignSettings,
}

impl Ours {
    pub async fn on(settings: &ForeignSettings) -> Self {
        Self::with(settings, Limits::default()).await
    }

    pub async fn with(settings: &ForeignSettings, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = ForeignStore::open(settings.clone(), folder.path(), limits);
        Self {
            store: store.await.unwrap(),
            settings: settings.clone(),
            folder,
        }
    }

    /// As the next process finds it.
    pub async fn reopen(self) -> Self {
        drop(self.store);
        let settings = self.settings.clone();
        let store = ForeignStore::open(settings, self.folder.path(), Limits::default());
        Self {
            store: store.await.unwrap(),
            ..self
        }
    }

    pub async fn put(&self, path: &str, content: impl Into<bytes::Bytes>) -> Object {
        let key = key(path);
        let put = self
            .store
            .put(&key, body_of(content), PutOptions::default());
        put.await.unwrap()
    }

    pub async fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let content = self.store.get(&key(path), None).await.unwrap()?;
        Some(bytes_of(content.body).await)
    }

    pub async fn list(&self, list: List) -> Listing {
        self.store.list(Bucket::CONTEXTS, list).await.unwrap()
    }

    pub fn used(&self) -> u64 {
        self.store.used_bytes(Bucket::CONTEXTS, "org")
    }

    /// Files that stand in a folder of what is on its way.
    pub fn left(&self, folder: &str) -> usize {
        std::fs::read_dir(self.folder.path().join(folder))
            .unwrap()
            .count()
    }
}

pub fn key(path: &str) -> Key {
    Key::new(Bucket::CONTEXTS, path).unwrap()
}

pub async fn bytes_of(body: Body) -> Vec<u8> {
    let pieces: Vec<bytes::Bytes> = body.try_collect().await.unwrap();
    pieces.concat()
}

/// The error with all that is behind it.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
