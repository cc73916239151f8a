//! Uploads of images to the server's own registry. Build contexts go the same way.

use alcove_e2e::server::{Raw, TestServer};
use alcove_testkit::registry::digest_of;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A repository of the caller's organization, and requests to it.
struct Repository {
    raw: Raw,
    path: String,
}

impl Repository {
    async fn of(server: &TestServer) -> Self {
        let path = "/api/docker-registry/registry-push-access";
        let access: Value = server.raw().ask("GET", path, "").await.json();
        let text = |name: &str| access[name].as_str().unwrap().to_owned();
        let login = format!("{}:{}", text("username"), text("secret"));
        let basic = format!("Basic {}", STANDARD.encode(login));
        Self {
            raw: server.raw().with_authorization(Some(&basic)),
            path: format!("/v2/{}/tools", text("project")),
        }
    }

    async fn status(&self, tail: &str) -> u16 {
        let path = format!("{}/{tail}", self.path);
        self.raw.ask("HEAD", &path, "").await.status.as_u16()
    }

    /// Pushes a blob in two pieces, as far as the server lives.
    async fn push(&self, content: &[u8]) -> Option<()> {
        let path = format!("{}/blobs/uploads/", self.path);
        let begun = self.raw.ask_if_alive("POST", &path, "").await?;
        assert_eq!(begun.status, 202, "{begun:?}");
        let place = begun.headers["location"].to_str().unwrap().to_owned();
        let (head, tail) = content.split_at(content.len() / 2);
        let sent = self.raw.ask_if_alive("PATCH", &place, head.to_vec());
        assert_eq!(sent.await?.status, 202);
        let last = format!("{place}?digest={}", digest_of(content));
        let done = self.raw.ask_if_alive("PUT", &last, tail.to_vec()).await?;
        assert_eq!(done.status, 201, "{done:?}");
        Some(())
    }

    /// Removes a blob, as far as the server lives.
    async fn delete(&self, content: &[u8]) -> Option<()> {
        let path = format!("{}/blobs/{}", self.path, digest_of(content));
        let gone = self.raw.ask_if_alive("DELETE", &path, "").await?;
        assert!(matches!(gone.status.as_u16(), 202 | 404), "{gone:?}");
        Some(())
    }
}

#[tokio::test]
async fn a_push_that_a_kill_cuts_short_anywhere_is_whole_or_not_there_and_can_be_repeated() {
    let mut server = TestServer::start().await;
    let places = [
        "storage:UploadBegun",
        "storage:Filled",
        "storage:Sealed",
        "storage:PartNamed",
        "storage:Filled#2",
        "storage:Sealed#2",
        "storage:PartNamed#2",
        "storage:Named",
        "storage:UploadJoined",
        "storage:UploadBuried",
    ];
    for (round, place) in places.iter().enumerate() {
        let content = format!("content of round {round}; ").repeat(1000 + round);
        let content = content.as_bytes();
        let blob = format!("blobs/{}", digest_of(content));
        server.doom(place).await;
        let doomed = Repository::of(&server).await;
        let (pushed, ()) = tokio::join!(doomed.push(content), server.dies_and_restarts());
        assert_eq!(pushed, None, "{place}: nothing was acknowledged");
        let repository = Repository::of(&server).await;
        // Not there, or whole: what is there has the right size.
        if repository.status(&blob).await == 200 {
            let path = format!("{}/{blob}", repository.path);
            let answer = repository.raw.ask("GET", &path, "").await;
            assert!(answer.body == content, "{place}: half a blob");
        }
        drafts_are_gone(&server, place);
        repository.push(content).await.unwrap();
        let config = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "x/y", "digest": digest_of(content), "size": content.len()},
            "layers": [],
        });
        let path = format!("{}/manifests/{round}", repository.path);
        let config = config.to_string();
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let put = repository.raw.send_as("PUT", &path, kind, config).await;
        assert_eq!(put.unwrap().status, 201, "{place}");

        server.doom("storage:Deleted").await;
        let doomed = Repository::of(&server).await;
        let (gone, ()) = tokio::join!(doomed.delete(content), server.dies_and_restarts());
        assert_eq!(gone, None);
        assert_eq!(Repository::of(&server).await.status(&blob).await, 404);
    }
    server.finish().await;
}

fn drafts_are_gone(server: &TestServer, place: &str) {
    let drafts = server.instance.data_dir().join("storage/drafts");
    let left = alcove_e2e::host::names(&drafts);
    assert!(left.is_empty(), "{place}: {left:?}");
}

/// Makes all blobs of the registry look as if nobody had pushed or asked for them in days.
fn age_blobs(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age_blobs(&path);
        } else if path
            .parent()
            .is_some_and(|parent| parent.ends_with("dblobs"))
        {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            let old = std::time::UNIX_EPOCH + std::time::Duration::from_hours(24);
            file.set_modified(old).unwrap();
        }
    }
}

#[tokio::test]
async fn blobs_that_no_manifest_names_go_also_if_a_kill_comes_between() {
    let mut server = TestServer::start().await;
    let loose: Vec<Vec<u8>> = (0..3)
        .map(|it| format!("loose {it}").into_bytes())
        .collect();
    let repository = Repository::of(&server).await;
    for content in &loose {
        repository.push(content).await.unwrap();
    }
    let named = b"named".to_vec();
    repository.push(&named).await.unwrap();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "x/y", "digest": digest_of(&named), "size": named.len()},
        "layers": [],
    });
    let path = format!("{}/manifests/kept", repository.path);
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let put = repository
        .raw
        .send_as("PUT", &path, kind, manifest.to_string());
    assert_eq!(put.await.unwrap().status, 201);
    server.kill();
    age_blobs(&server.instance.data_dir().join("storage/objects"));
    // A start looks for them, and dies with the first one gone.
    server.setup.kill_at = Some("storage:Deleted".to_owned());
    server.launch();
    server.dies_and_restarts().await;
    let repository = Repository::of(&server).await;
    for content in &loose {
        let blob = format!("blobs/{}", digest_of(content));
        alcove_e2e::wait::until("a loose blob goes", async || {
            let path = format!("{}/{blob}", repository.path);
            // Not HEAD, which makes it young.
            match repository.raw.ask("GET", &path, "").await.status.as_u16() {
                404 => Ok(()),
                status => Err(status),
            }
        })
        .await;
    }
    assert_eq!(
        repository
            .status(&format!("blobs/{}", digest_of(&named)))
            .await,
        200
    );
    server.finish().await;
}
