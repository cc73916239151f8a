//! A registry of images for one test: Debian's `docker-registry` on a free port of the loopback address.
//!
//! It keeps its images in a temporary folder and ends with the process that started it, however that ends. A machine
//! without it fails the tests that want it: `scripts/setup.sh` installs it. Another instance over the same folder, without
//! TLS and credentials, takes what tests push.

mod proxy;
mod token;

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

pub use self::proxy::CuttingProxy;
use self::token::TokenService;

/// Whom a registry with credentials knows.
pub const USER: &str = "tester";
pub const PASSWORD: &str = "registry-secret";
/// The password, as the registry's file of passwords has it.
const PASSWORD_LINE: &str = "tester:$2y$05$fYrOKBWfguprQmdiwcwL.efwjT5rZ52CZmfJQ3.C8J3XR35JSk7Ly\n";

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

const START_DEADLINE: Duration = Duration::from_secs(30);

/// Serves until the standard input ends.
const SCRIPT: &str = r#"
docker-registry serve "$1" >"$2" 2>&1 &
server=$!
read -r _ || true
kill -KILL $server
wait $server || true
"#;

/// What a registry asks of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    Nothing,
    Password,
    /// A token, which its service gives to [`USER`] only.
    Token,
}

#[derive(Debug)]
struct Server {
    port: u16,
    shell: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its standard input ends the server.
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A running registry.
#[derive(Debug)]
pub struct TestRegistry {
    server: Server,
    /// Takes pushes, where the other one asks for more.
    door: Option<Server>,
    has_tls: bool,
    _tokens: Option<TokenService>,
    folder: TempDir,
}

impl TestRegistry {
    /// # Panics
    /// When it does not start.
    pub fn start(asks: Asks, has_tls: bool) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("alcove-registry-")
            .tempdir()
            .expect("a temporary folder");
        let path = folder.path();
        if has_tls {
            make_certificates(path);
        }
        let tokens = (asks == Asks::Token).then(|| TokenService::start(path));
        let server = serve(path, "front", |port| {
            let mut config = config(path, port);
            if has_tls {
                config["http"]["tls"] = json!({
                    "certificate": path.join("server.pem"),
                    "key": path.join("server.key"),
                });
            }
            match asks {
                Asks::Nothing => {}
                Asks::Password => {
                    let file = path.join("passwords");
                    fs::write(&file, PASSWORD_LINE).expect("a file of passwords");
                    config["auth"] = json!({"htpasswd": {"realm": "test", "path": file}});
                }
                Asks::Token => {
                    config["auth"] = json!({"token": {
                        "realm": tokens.as_ref().expect("made above").address(),
                        "service": "test-registry",
                        "issuer": "test-tokens",
                        "rootcertbundle": path.join("tokens.pem"),
                    }});
                }
            }
            config
        });
        let is_open = asks == Asks::Nothing && !has_tls;
        let door = (!is_open).then(|| serve(path, "door", |port| config(path, port)));
        Self {
            server,
            door,
            has_tls,
            _tokens: tokens,
            folder,
        }
    }

    /// One that anybody may use, without TLS.
    pub fn open() -> Self {
        Self::start(Asks::Nothing, false)
    }

    /// Host and port, as they stand in references.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.server.port)
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    pub fn has_tls(&self) -> bool {
        self.has_tls
    }

    /// The certificate that the registry's own is signed by.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn door(&self) -> u16 {
        self.door.as_ref().unwrap_or(&self.server).port
    }

    fn url(&self, repository: &str, tail: &str) -> String {
        format!("http://127.0.0.1:{}/v2/{repository}/{tail}", self.door())
    }

    /// Pushes a blob, and returns what a manifest says of it but for its type.
    ///
    /// # Panics
    /// When the registry does not take it.
    pub fn push_blob(&self, repository: &str, bytes: &[u8]) -> Value {
        let digest = digest_of(bytes);
        let begun = agent()
            .post(self.url(repository, "blobs/uploads/"))
            .send_empty()
            .expect("an upload");
        let place = begun.headers()["location"].to_str().expect("a place");
        let start = if place.contains('?') { '&' } else { '?' };
        agent()
            .put(format!("{place}{start}digest={digest}"))
            .header("content-type", "application/octet-stream")
            .send(bytes)
            .expect("a blob");
        json!({"digest": digest, "size": bytes.len()})
    }

    /// Pushes a manifest or an index under a tag, and returns what an index says of it.
    ///
    /// # Panics
    /// When the registry does not take it.
    pub fn push_manifest(
        &self,
        repository: &str,
        tag: &str,
        kind: &str,
        manifest: &Value,
    ) -> Value {
        let bytes = serde_json::to_vec(manifest).expect("plain data");
        self.push_manifest_bytes(repository, tag, kind, &bytes)
    }

    fn push_manifest_bytes(&self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) -> Value {
        agent()
            .put(self.url(repository, &format!("manifests/{tag}")))
            .header("content-type", kind)
            .send(bytes)
            .expect("a manifest");
        json!({"mediaType": kind, "digest": digest_of(bytes), "size": bytes.len()})
    }

    /// Pushes the image of an OCI archive, and returns the digest of its manifest.
    ///
    /// # Panics
    /// When it is no such archive, or the registry does not take it.
    pub fn push_archive(&self, repository: &str, tag: &str, archive: &Path) -> String {
        let (blobs, digest) = read_archive(archive);
        for (name, bytes) in &blobs {
            if *name != digest {
                self.push_blob(repository, bytes);
            }
        }
        self.push_manifest_bytes(repository, tag, OCI_MANIFEST, &blobs[&digest]);
        digest
    }

    /// Pushes the image of an OCI archive with one more layer that holds one file.
    ///
    /// # Panics
    /// When it is no such archive, or the registry does not take it.
    pub fn push_variant(
        &self,
        repository: &str,
        tag: &str,
        archive: &Path,
        path: &str,
        content: &[u8],
    ) {
        let (blobs, digest) = read_archive(archive);
        let read = |digest: &Value| -> Value {
            let bytes = &blobs[digest.as_str().expect("a digest")];
            serde_json::from_slice(bytes).expect("a description")
        };
        let mut manifest = read(&digest.into());
        let mut config = read(&manifest["config"]["digest"]);
        for layer in manifest["layers"].as_array().expect("layers") {
            let digest = layer["digest"].as_str().expect("a digest");
            self.push_blob(repository, &blobs[digest]);
        }
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content)
            .expect("an entry");
        let layer = tar.into_inner().expect("an archive");
        let push_to = |list: &mut Value, item: Value| {
            list.as_array_mut().expect("a list").push(item);
        };
        push_to(&mut config["rootfs"]["diff_ids"], digest_of(&layer).into());
        let with = |kind: &str, mut pushed: Value| {
            pushed["mediaType"] = kind.into();
            pushed
        };
        let pushed = with(OCI_LAYER, self.push_blob(repository, &layer));
        push_to(&mut manifest["layers"], pushed);
        let config = self.push_blob(repository, config.to_string().as_bytes());
        manifest["config"] = with(OCI_CONFIG, config);
        self.push_manifest(repository, tag, OCI_MANIFEST, &manifest);
    }

    /// What the registry has written.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("front.log")).unwrap_or_default()
    }
}

/// Whatever proxy there is, it is not for this.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().proxy(None).build().into()
}

/// The blobs of an OCI archive by their digests, and the digest of its manifest.
fn read_archive(archive: &Path) -> (HashMap<String, Vec<u8>>, String) {
    let mut blobs = HashMap::new();
    let mut index = Value::Null;
    let file = fs::File::open(archive).expect("an archive");
    for entry in tar::Archive::new(file).entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("an entry's bytes");
        match name.strip_prefix("blobs/sha256/") {
            Some(hex) => {
                blobs.insert(format!("sha256:{hex}"), bytes);
            }
            None if name == "index.json" => {
                index = serde_json::from_slice(&bytes).expect("an index");
            }
            None => {}
        }
    }
    let digest = index["manifests"][0]["digest"].as_str();
    let digest = digest.expect("a digest").to_owned();
    (blobs, digest)
}

/// `sha256:` and the digits.
pub fn digest_of(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        // A text takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn config(folder: &Path, port: u16) -> Value {
    json!({
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": false}},
        "storage": {
            "filesystem": {"rootdirectory": folder.join("storage")},
            "delete": {"enabled": true},
        },
        "http": {"addr": format!("127.0.0.1:{port}"), "secret": "test"},
    })
}

/// Starts an instance on a free port. Somebody may take the port in between: another one is tried then.
fn serve(folder: &Path, name: &str, config: impl Fn(u16) -> Value) -> Server {
    let deadline = Instant::now() + START_DEADLINE;
    let log = folder.join(format!("{name}.log"));
    loop {
        let port = free_port();
        let file = folder.join(format!("{name}.yml"));
        // JSON is YAML.
        fs::write(&file, config(port).to_string()).expect("a configuration");
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .args([&file, &log])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let server = Server { port, shell };
        while Instant::now() < deadline {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            let text = fs::read_to_string(&log).unwrap_or_default();
            if text.contains("address already in use") {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(
            Instant::now() < deadline,
            "no docker-registry: run scripts/setup.sh; {}",
            fs::read_to_string(&log).unwrap_or_default()
        );
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A certificate authority of its own, and a certificate of it for the loopback address.
fn make_certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let ca = params.self_signed(&ca_key).expect("a certificate");
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let params = CertificateParams::new(names).expect("names");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    for (name, text) in [
        ("ca.pem", ca.pem()),
        ("server.pem", certificate.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        fs::write(folder.join(name), text).expect("a file");
    }
}
