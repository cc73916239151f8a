//! A runner that builds, and Dockerfiles with their contexts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use alcove_e2e::runner::TestRunner;
use alcove_runner::{ContextSource, RunnerConfig};
use alcove_runner_api::{BaseImage, Build, BuildFault, BuildOutcome, ImageEntry};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tree::Built;

pub const ORGANIZATION: &str = "11111111-1111-1111-1111-111111111111";

/// What all cases start from: the image of the tests, without its user.
pub const BASE: &str = "FROM busybox\nUSER root\nWORKDIR /\n";

/// A Dockerfile and what is beside it.
pub struct Case {
    pub name: &'static str,
    pub dockerfile: &'static str,
    files: Vec<(&'static str, What)>,
}

enum What {
    File(&'static str),
    Link(&'static str),
    Mode(u32),
    Archive,
}

impl Case {
    pub fn new(name: &'static str, dockerfile: &'static str) -> Self {
        Self {
            name,
            dockerfile,
            files: Vec::new(),
        }
    }

    fn with(mut self, path: &'static str, what: What) -> Self {
        self.files.push((path, what));
        self
    }

    pub fn file(self, path: &'static str, content: &'static str) -> Self {
        self.with(path, What::File(content))
    }

    pub fn link(self, path: &'static str, target: &'static str) -> Self {
        self.with(path, What::Link(target))
    }

    pub fn mode(self, path: &'static str, mode: u32) -> Self {
        self.with(path, What::Mode(mode))
    }

    pub fn archive(self, path: &'static str) -> Self {
        self.with(path, What::Archive)
    }

    /// The context as a folder.
    pub fn write(&self) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, what) in &self.files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
            match what {
                What::File(content) => fs::write(&path, content).expect("a file"),
                What::Link(target) => symlink(target, &path).expect("a link"),
                What::Mode(mode) => {
                    fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("a mode");
                }
                What::Archive => pack(&path),
            }
        }
        folder
    }
}

/// An archive with a bit of everything.
fn pack(path: &Path) {
    let inner = tempfile::tempdir().expect("a folder");
    let at = |name: &str| inner.path().join(name);
    fs::create_dir_all(at("in/side")).expect("a folder");
    fs::write(at("in/f"), "packed").expect("a file");
    fs::write(at("in/side/run"), "#!/bin/sh\n").expect("a file");
    fs::set_permissions(at("in/side/run"), fs::Permissions::from_mode(0o755)).expect("a mode");
    symlink("f", at("in/l")).expect("a link");
    fs::hard_link(at("in/f"), at("in/again")).expect("a link");
    tar(inner.path(), path, &["--owner=12", "--group=34", "-a"]);
}

pub fn tar(folder: &Path, archive: &Path, more: &[&str]) {
    let done = Command::new("tar")
        .args(more)
        .arg("--sort=name")
        .arg("-C")
        .arg(folder)
        .arg("-cf")
        .arg(archive)
        .arg(".")
        .status()
        .expect("tar runs");
    assert!(done.success());
}

/// A runner whose contexts are folders.
pub struct TestBuilds {
    pub host: TestRunner,
    pub contexts: PathBuf,
    _folder: Arc<TempDir>,
}

impl TestBuilds {
    pub async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    pub async fn start_with(change: impl FnOnce(RunnerConfig) -> RunnerConfig) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let contexts = folder.path().to_owned();
        let source = Arc::new(FolderContexts(contexts.clone()));
        let host = TestRunner::start_with(|config| {
            change(RunnerConfig {
                contexts: source,
                ..config
            })
        })
        .await;
        let mut builds = Self {
            host,
            contexts,
            _folder: folder,
        };
        let base = builds.run(builds.order("base", BASE, &[])).await;
        builds.host.image = base.expect("the base is built").digest;
        builds
    }

    /// Puts a folder there as a part of a context.
    pub fn upload(&self, organization: &str, key: &str, folder: &Path) {
        let place = self.contexts.join(organization).join(key);
        fs::create_dir_all(&place).expect("a folder");
        tar(folder, &place.join("context.tar"), &[]);
    }

    pub fn order(&self, id: &str, dockerfile: &str, contexts: &[&str]) -> Build {
        Build {
            id: id.to_owned(),
            name: format!("+test-{id}"),
            organization: ORGANIZATION.to_owned(),
            dockerfile: dockerfile.to_owned(),
            contexts: contexts.iter().map(ToString::to_string).collect(),
            images: BTreeMap::from([(
                "busybox".to_owned(),
                BaseImage::Here {
                    digest: self.host.image.clone(),
                },
            )]),
            limit: Duration::from_mins(2),
            is_limited: false,
        }
    }

    pub async fn run(&self, order: Build) -> Result<ImageEntry, BuildFault> {
        match self
            .host
            .runner
            .build(order)
            .await
            .expect("the runner is open")
        {
            BuildOutcome::Done { image } => Ok(image),
            BuildOutcome::Failed { fault } => Err(fault),
        }
    }

    pub async fn log(&self, id: &str) -> String {
        let mut log = Vec::new();
        loop {
            let from = log.len() as u64;
            let piece = self
                .host
                .runner
                .build_log(id, from, true)
                .await
                .expect("a log");
            log.extend(piece.bytes);
            if piece.is_over {
                return String::from_utf8_lossy(&log).into_owned();
            }
        }
    }

    pub async fn build(&self, case: &Case, context: &Path) -> Result<Built, String> {
        let id: String = case.name.replace(' ', "-");
        self.upload(ORGANIZATION, &id, context);
        let image = match self.run(self.order(&id, case.dockerfile, &[&id])).await {
            Ok(image) => image,
            Err(fault) => return Err(format!("{fault:?}\n{}", self.log(&id).await)),
        };
        Ok(self.look(&image))
    }

    /// The files and the configuration of an image, from the runner's store.
    pub fn look(&self, image: &ImageEntry) -> Built {
        let store = self.host.data_dir().join("images");
        let hex = image.digest.0.strip_prefix("sha256:").expect("a digest");
        let text =
            fs::read_to_string(store.join("images").join(format!("{hex}.json"))).expect("a record");
        let record: Value = serde_json::from_str(&text).expect("JSON");
        let layers: Vec<String> = record["layers"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|layer| layer.as_str().expect("text").replace("sha256:", ""))
            .collect();
        let mount = Mounted::new(&store.join("layers"), &layers);
        Built::new(mount.0.path(), config(&record["config"]))
    }

    pub async fn end(&self) {
        self.host.expect_nothing_left().await;
        self.host.runner.close().await;
    }
}

/// Layers over each other for as long as it lives.
struct Mounted(TempDir);

impl Mounted {
    fn new(layers: &Path, names: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let empty = layers.with_file_name("tmp");
        let mut lower: Vec<String> = names
            .iter()
            .rev()
            .map(|name| format!("{name}/fs"))
            .collect();
        lower.push(empty.display().to_string());
        if lower.len() == 1 {
            lower.push(folder.path().display().to_string());
        }
        let done = Command::new("mount")
            .current_dir(layers)
            .args(["-t", "overlay", "overlay", "-o"])
            .arg(format!("ro,lowerdir={}", lower.join(":")))
            .arg(folder.path())
            .status()
            .expect("mount runs");
        assert!(done.success());
        Self(folder)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn config(found: &Value) -> BTreeMap<&'static str, Value> {
    let build = &found["build"];
    let or = |value: &Value, otherwise: Value| match value {
        Value::Null => otherwise,
        value => value.clone(),
    };
    let mut env: Vec<String> = found["env"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|text| text.as_str().expect("text").to_owned())
        .collect();
    env.sort();
    BTreeMap::from([
        ("env", Value::from(env)),
        ("user", found["user"].clone()),
        ("workdir", found["workdir"].clone()),
        ("entrypoint", found["entrypoint"].clone()),
        ("cmd", found["cmd"].clone()),
        ("labels", or(&build["labels"], json!({}))),
        ("ports", or(&build["exposedPorts"], json!([]))),
        ("stop signal", or(&build["stopSignal"], json!(""))),
    ])
}

/// Contexts in a folder: `<organization>/<key>/context.tar`.
#[derive(Debug, Clone)]
struct FolderContexts(PathBuf);

impl ContextSource for FolderContexts {
    fn open(&self, organization: &str, key: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        let path = self.0.join(organization).join(key).join("context.tar");
        match File::open(path) {
            Ok(file) => Ok(Some(Box::new(BufReader::with_capacity(256 << 10, file)))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
