//! The server's own registry, judged by a client that knows nothing of this server: skopeo.

use std::path::Path;
use std::process::Command;

use alcove_e2e::server::{Setup, TestServer};
use http::StatusCode;
use serde_json::Value;

/// Runs skopeo to its end; what it printed, or its complaint.
async fn skopeo(arguments: Vec<String>) -> Result<String, String> {
    let run = move || {
        Command::new("skopeo")
            .args(["--command-timeout", "60s"])
            .args(arguments)
            .output()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let output = output.expect("skopeo is installed by scripts/setup.sh");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

struct Access {
    host: String,
    project: String,
    credentials: String,
}

async fn access(server: &TestServer) -> Access {
    let path = "/api/docker-registry/registry-push-access";
    let answer = server.raw().ask("GET", path, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let body: Value = answer.json();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    Access {
        host: text("registryUrl"),
        project: text("project"),
        credentials: format!("{}:{}", text("username"), text("secret")),
    }
}

impl Access {
    fn image(&self, project: &str) -> String {
        format!("docker://{}/{project}/tools/busybox:1", self.host)
    }

    async fn push(
        &self,
        archive: &Path,
        project: &str,
        credentials: &str,
    ) -> Result<String, String> {
        let arguments = [
            "copy",
            "--dest-tls-verify=false",
            "--dest-creds",
            credentials,
            &format!("oci-archive:{}", archive.display()),
            &self.image(project),
        ];
        skopeo(arguments.map(str::to_owned).to_vec()).await
    }

    async fn pull(&self, folder: &Path) -> Result<String, String> {
        let arguments = [
            "copy",
            "--src-tls-verify=false",
            "--src-creds",
            &self.credentials,
            &self.image(&self.project),
            &format!("dir:{}", folder.display()),
        ];
        skopeo(arguments.map(str::to_owned).to_vec()).await
    }
}

/// Names and contents of the files that make an image.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn an_image_is_pushed_and_pulled_by_skopeo_and_outlives_a_kill() {
    let setup = Setup::default();
    let archive = setup.image.clone();
    let mut server = TestServer::start_with(setup).await;
    let reach = access(&server).await;
    reach
        .push(&archive, &reach.project, &reach.credentials)
        .await
        .unwrap();
    // What is wrong is refused: the secret, and the repository.
    let wrong = reach.push(&archive, &reach.project, "alcove:wrong").await;
    assert!(wrong.is_err());
    let elsewhere = reach.push(&archive, "another", &reach.credentials).await;
    assert!(elsewhere.is_err());

    let folder = tempfile::tempdir().unwrap();
    let (original, first, second) = (
        folder.path().join("original"),
        folder.path().join("first"),
        folder.path().join("second"),
    );
    let from = format!("oci-archive:{}", archive.display());
    let arguments = [
        "copy",
        from.as_str(),
        &format!("dir:{}", original.display()),
    ];
    skopeo(arguments.map(str::to_owned).to_vec()).await.unwrap();
    reach.pull(&first).await.unwrap();
    assert!(
        files(&first) == files(&original),
        "the image changed on its way"
    );

    server.kill_and_restart().await;
    let again = access(&server).await;
    // The old secret is good still; the port is another one.
    let reach = Access {
        host: again.host,
        ..reach
    };
    reach.pull(&second).await.unwrap();
    assert!(files(&second) == files(&first));
    let tags = [
        "list-tags",
        "--tls-verify=false",
        "--creds",
        &reach.credentials,
        &format!("docker://{}/{}/tools/busybox", reach.host, reach.project),
    ];
    let tags = skopeo(tags.map(str::to_owned).to_vec()).await.unwrap();
    let tags: Value = serde_json::from_str(&tags).unwrap();
    assert_eq!(tags["Tags"], serde_json::json!(["1"]));
    server.finish().await;
}
