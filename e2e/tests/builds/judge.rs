//! Buildah, as the judge.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use alcove_e2e::prepared;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{BASE, Case};
use crate::tree::Built;

/// Buildah with a store of its own, which goes with it.
pub struct Judge {
    folder: TempDir,
}

impl Judge {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Without a policy of the system's, everything local is taken.
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        std::fs::write(folder.path().join("policy.json"), policy).expect("a file");
        std::fs::write(
            folder.path().join("registries.conf"),
            "short-name-mode = \"permissive\"\n",
        )
        .expect("a file");
        let judge = Self { folder };
        let archive = prepared("ALCOVE_IMAGES_DIR", "busybox.oci.tar");
        let policy = judge.path("policy.json");
        let source = format!("oci-archive:{}", archive.display());
        let id = judge.run(&["pull", "--quiet", "--signature-policy", &policy, &source]);
        judge.run(&["tag", id.trim(), "localhost/original"]);
        std::fs::write(
            judge.path("Dockerfile"),
            BASE.replace("busybox", "localhost/original"),
        )
        .expect("a file");
        let (file, empty) = (judge.path("Dockerfile"), judge.path("empty"));
        std::fs::create_dir(&empty).expect("a folder");
        judge.run(&[
            "bud",
            "--quiet",
            "--pull-never",
            "--signature-policy",
            &policy,
            "-f",
            &file,
            "-t",
            "localhost/busybox",
            &empty,
        ]);
        judge
    }

    fn path(&self, name: &str) -> String {
        self.folder
            .path()
            .join(name)
            .to_str()
            .expect("a plain path")
            .to_owned()
    }

    fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("buildah")
            .args([
                "--root",
                &self.path("root"),
                "--runroot",
                &self.path("run"),
                "--storage-driver",
                "vfs",
            ])
            .args(arguments)
            .env("CONTAINERS_REGISTRIES_CONF", self.path("registries.conf"))
            .env("BUILDAH_ISOLATION", "chroot")
            .output()
            .expect("buildah is installed: make setup");
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            return Err(format!("buildah {arguments:?}: {error}"));
        }
        Ok(String::from_utf8(output.stdout).expect("text"))
    }

    pub fn build(&self, case: &Case, context: &Path) -> Result<Built, String> {
        let dockerfile = self.path("Dockerfile");
        std::fs::write(&dockerfile, case.dockerfile).expect("a file");
        let policy = self.path("policy.json");
        let context = context.to_str().expect("a plain path");
        // The format that knows all that a Dockerfile can record.
        let arguments = [
            "bud",
            "--quiet",
            "--format",
            "docker",
            "--isolation",
            "chroot",
            "--layers",
            "--pull-never",
            "--signature-policy",
            &policy,
            "-f",
            &dockerfile,
            "-t",
            "localhost/out",
            context,
        ];
        self.try_run(&arguments)?;
        let container = self.run(&[
            "from",
            "--pull-never",
            "--signature-policy",
            &policy,
            "localhost/out",
        ]);
        let root = self.run(&["mount", container.trim()]);
        let text = self.run(&["inspect", "--type", "image", "localhost/out"]);
        let inspected: Value = serde_json::from_str(&text).expect("JSON");
        let built = Built::new(
            Path::new(root.trim()),
            config(&inspected["Docker"]["config"]),
        );
        self.run(&["rm", container.trim()]);
        self.run(&["rmi", "--force", "localhost/out"]);
        Ok(built)
    }
}

fn config(found: &Value) -> BTreeMap<&'static str, Value> {
    let or = |key: &str, otherwise: Value| match &found[key] {
        Value::Null => otherwise,
        value => value.clone(),
    };
    let keys = |key: &str| {
        let names = found[key]
            .as_object()
            .map(|map| map.keys().cloned().collect::<Vec<_>>());
        Value::from(names.unwrap_or_default())
    };
    let mut env: Vec<String> = or("Env", Value::from(Vec::<String>::new()))
        .as_array()
        .expect("a list")
        .iter()
        .map(|text| text.as_str().expect("text").to_owned())
        .collect();
    env.sort();
    let mut labels = or("Labels", serde_json::json!({}));
    if let Some(labels) = labels.as_object_mut() {
        labels.remove("io.buildah.version");
    }
    BTreeMap::from([
        ("env", Value::from(env)),
        ("user", or("User", Value::from(""))),
        ("workdir", or("WorkingDir", Value::from(""))),
        (
            "entrypoint",
            or("Entrypoint", Value::from(Vec::<String>::new())),
        ),
        ("cmd", or("Cmd", Value::from(Vec::<String>::new()))),
        ("labels", labels),
        ("ports", keys("ExposedPorts")),
        ("stop signal", or("StopSignal", Value::from(""))),
    ])
}
