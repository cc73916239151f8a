//! With a real registry. These need root: unpacking changes owners.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use alcove_runner_api::{PullFault, PullFaultCode, RegistryCredentials};
use alcove_testkit::registry::{
    Asks, CuttingProxy, DOCKER_CONFIG, DOCKER_INDEX, DOCKER_LAYER, DOCKER_MANIFEST, OCI_CONFIG,
    OCI_INDEX, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST, PASSWORD, TestRegistry,
    USER,
};
use serde_json::{Value, json};
use tar::EntryType;

use super::super::testing::{TarBytes, header};
use super::*;
use crate::registry::HostSettings;

pub(super) const REPOSITORY: &str = "team/tiny";

pub(super) struct Place {
    pub(super) folder: tempfile::TempDir,
    pub(super) settings: Arc<RegistrySettings>,
}

impl Place {
    fn new(hosts: impl IntoIterator<Item = (String, HostSettings)>) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            settings: Arc::new(RegistrySettings {
                hosts: hosts.into_iter().collect(),
            }),
        }
    }

    pub(super) fn plain(host: &str) -> Self {
        Self::new([(host.to_owned(), insecure())])
    }

    pub(super) fn open(&self) -> ImageStore {
        ImageStore::open(&self.path("store")).unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn count(&self, name: &str) -> usize {
        let folder = self.path("store").join(name);
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Bytes of all downloads.
    pub(super) fn downloaded(&self) -> u64 {
        let folder = self.path("store").join("downloads");
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files
            .map(|file| file.metadata().map_or(0, |m| m.len()))
            .sum()
    }

    pub(super) fn pull(&self, store: &ImageStore, order: &Pull) -> Result<ImageEntry, PullFault> {
        self.pull_until(store, order, &Cancel::never())
    }

    fn pull_until(
        &self,
        store: &ImageStore,
        order: &Pull,
        cancel: &Cancel,
    ) -> Result<ImageEntry, PullFault> {
        let parts = PullParts {
            settings: &self.settings,
            cancel,
            progress: &|_| {},
        };
        store.pull(order, &parts).map_err(|error| error.to_fault())
    }
}

pub(super) fn insecure() -> HostSettings {
    HostSettings {
        is_insecure: true,
        ..HostSettings::default()
    }
}

pub(super) fn order(host: &str, tag: &str) -> Pull {
    Pull {
        name: format!("+snapshot-{tag}"),
        reference: format!("{host}/{REPOSITORY}:{tag}"),
        owner: "org-a".to_owned(),
        credentials: None,
        is_plain: false,
        max_bytes: 1 << 30,
    }
}

fn known_user() -> RegistryCredentials {
    RegistryCredentials {
        username: USER.to_owned(),
        password: PASSWORD.to_owned(),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// A layer as a plain archive, as it is pushed, and its media type.
pub(super) struct Layer {
    pub(super) plain: Vec<u8>,
    pub(super) blob: Vec<u8>,
    pub(super) kind: &'static str,
}

pub(super) fn layer(kind: &'static str, tar: TarBytes) -> Layer {
    let plain = tar.finish();
    let blob = match kind {
        OCI_LAYER => plain.clone(),
        OCI_LAYER_ZSTD => zstd(&plain),
        _ => gzip(&plain),
    };
    Layer { plain, blob, kind }
}

fn with(kind: &str, mut descriptor: Value) -> Value {
    descriptor["mediaType"] = kind.into();
    descriptor
}

fn config_of(architecture: &str, layers: &[Layer]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers
        .iter()
        .map(|layer| Sha256Digest::of(&layer.plain))
        .collect();
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"User": "daytona", "Entrypoint": ["/bin/sh"], "Env": ["A=1"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
    .into_bytes()
}

/// Pushes an image in the words of OCI or of Docker, and returns what an index says of it.
pub(super) fn push(
    registry: &TestRegistry,
    tag: &str,
    architecture: &str,
    layers: &[Layer],
) -> Value {
    let is_docker = layers.iter().any(|layer| layer.kind == DOCKER_LAYER);
    let (kind, config_kind) = if is_docker {
        (DOCKER_MANIFEST, DOCKER_CONFIG)
    } else {
        (OCI_MANIFEST, OCI_CONFIG)
    };
    let config = registry.push_blob(REPOSITORY, &config_of(architecture, layers));
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| with(layer.kind, registry.push_blob(REPOSITORY, &layer.blob)))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": with(config_kind, config),
        "layers": layers,
    });
    registry.push_manifest(REPOSITORY, tag, kind, &manifest)
}

pub(super) fn small(name: &str) -> TarBytes {
    TarBytes::default().folder("bin").file(name, b"#!")
}

/// Bytes that no compression makes small.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(count);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

pub(super) fn big() -> Layer {
    layer(
        OCI_LAYER_GZIP,
        TarBytes::default().file("noise", &noise(3 << 20)),
    )
}

fn top(store: &ImageStore, image: &ImageEntry) -> PathBuf {
    store
        .get(&image.digest)
        .unwrap()
        .layers
        .last()
        .unwrap()
        .path()
        .to_owned()
}

#[test]
fn layers_of_every_compression_come_with_their_links_owners_and_whiteouts() {
    let registry = TestRegistry::open();
    let mut owned = header(EntryType::Regular, "owned", 0);
    owned.set_uid(1000);
    owned.set_gid(7);
    let first = TarBytes::default()
        .raw(&mut owned, b"")
        .file("one", b"1")
        .hard_link("two", "one")
        .pax(&[("SCHILY.xattr.user.note", b"kept")])
        .file("noted", b"x");
    let layers = [
        layer(OCI_LAYER, first),
        layer(OCI_LAYER_GZIP, small("bin/sh")),
        layer(OCI_LAYER_ZSTD, TarBytes::default().file(".wh.one", b"")),
    ];
    push(&registry, "1", "amd64", &layers);
    let place = Place::plain(&registry.host());
    let store = place.open();
    let image = place.pull(&store, &order(&registry.host(), "1")).unwrap();
    assert_eq!(
        (image.user.as_str(), image.entrypoint.len()),
        ("daytona", 1)
    );
    let found = store.get(&image.digest).unwrap();
    assert_eq!(found.layers.len(), 3);
    let lowest = found.layers[0].path();
    let owned = std::fs::metadata(lowest.join("owned")).unwrap();
    assert_eq!((owned.uid(), owned.gid()), (1000, 7));
    let (one, two) = (lowest.join("one"), lowest.join("two"));
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&one), inode(&two));
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(lowest.join("noted"), "user.note", &mut value).unwrap();
    assert_eq!(&value[..length], b"kept");
    // Overlayfs's own word for what is removed: a device of number zero.
    let whiteout = std::fs::symlink_metadata(found.layers[2].path().join("one")).unwrap();
    assert_eq!(whiteout.rdev(), 0);
    assert_eq!(place.count("downloads"), 0);
}

#[test]
fn of_an_index_the_image_for_this_host_is_taken_whoever_wrote_it() {
    let registry = TestRegistry::open();
    for (tag, index, kind) in [
        ("oci", OCI_INDEX, OCI_LAYER_GZIP),
        ("docker", DOCKER_INDEX, DOCKER_LAYER),
    ] {
        let image = |architecture: &str| {
            let own = layer(kind, small(architecture));
            let mut descriptor = push(
                &registry,
                &format!("{tag}-{architecture}"),
                architecture,
                &[own],
            );
            descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
            descriptor
        };
        let manifests = [image("arm64"), image("amd64")];
        let document = json!({"schemaVersion": 2, "mediaType": index, "manifests": manifests});
        registry.push_manifest(REPOSITORY, tag, index, &document);
        let place = Place::plain(&registry.host());
        let store = place.open();
        let image = place.pull(&store, &order(&registry.host(), tag)).unwrap();
        assert!(top(&store, &image).join("amd64").exists(), "{tag}");
    }
    let place = Place::plain(&registry.host());
    let store = place.open();
    let other = place.pull(&store, &order(&registry.host(), "oci-arm64"));
    assert_eq!(other.unwrap_err().code, PullFaultCode::NotFound);
}

#[test]
fn an_image_is_pulled_by_its_digest_and_once_under_a_name() {
    let registry = TestRegistry::open();
    let pushed = push(&registry, "1", "amd64", &[layer(OCI_LAYER, small("a"))]);
    let digest = pushed["digest"].as_str().unwrap();
    let place = Place::plain(&registry.host());
    let store = place.open();
    let by_digest = Pull {
        reference: format!("{}/{REPOSITORY}@{digest}", registry.host()),
        ..order(&registry.host(), "1")
    };
    let image = place.pull(&store, &by_digest).unwrap();
    assert_eq!(image.digest.0, digest);
    drop(registry);
    assert_eq!(place.pull(&store, &by_digest).unwrap(), image);
}

#[test]
fn a_registry_with_a_certificate_of_its_own_is_trusted_where_the_operator_says_so() {
    let registry = TestRegistry::start(Asks::Password, true);
    push(&registry, "1", "amd64", &[layer(OCI_LAYER, small("a"))]);
    let host = registry.host();
    let named = HostSettings {
        ca: Some(registry.ca()),
        ..HostSettings::default()
    };
    let trusting = Place::new([(host.clone(), named)]);
    let store = trusting.open();
    let anonymous = trusting.pull(&store, &order(&host, "1")).unwrap_err();
    assert_eq!(anonymous.code, PullFaultCode::Unauthorized, "{anonymous:?}");
    let known = Pull {
        credentials: Some(known_user()),
        ..order(&host, "1")
    };
    trusting.pull(&store, &known).unwrap();

    let wary = Place::new([(host.clone(), HostSettings::default())]);
    let fault = wary.pull(&wary.open(), &known).unwrap_err();
    assert_eq!(fault.code, PullFaultCode::Unreachable);
    assert!(fault.message.contains("certificate"), "{fault:?}");
}

#[test]
fn a_token_is_fetched_with_the_right_password_and_not_with_another() {
    let registry = TestRegistry::start(Asks::Token, false);
    push(&registry, "1", "amd64", &[layer(OCI_LAYER, small("a"))]);
    let place = Place::plain(&registry.host());
    let store = place.open();
    let wrong = Some(RegistryCredentials {
        username: USER.to_owned(),
        password: "wrong".to_owned(),
    });
    for credentials in [None, wrong] {
        let order = Pull {
            credentials,
            ..order(&registry.host(), "1")
        };
        let fault = place.pull(&store, &order).unwrap_err();
        assert_eq!(fault.code, PullFaultCode::Unauthorized, "{fault:?}");
        assert!(!fault.message.contains("wrong"), "{fault:?}");
    }
    let known = Pull {
        credentials: Some(known_user()),
        ..order(&registry.host(), "1")
    };
    place.pull(&store, &known).unwrap();
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_itself_where_it_cannot() {
    let registry = TestRegistry::open();
    push(&registry, "1", "amd64", &[layer(OCI_LAYER, small("a"))]);
    let mirrored = HostSettings {
        mirrors: vec![registry.host()],
        ..HostSettings::default()
    };
    // Nobody answers for the registry itself.
    let place = Place::new([
        ("registry.invalid".to_owned(), mirrored),
        (registry.host(), insecure()),
    ]);
    let store = place.open();
    place.pull(&store, &order("registry.invalid", "1")).unwrap();

    let dead = CuttingProxy::start(registry.port());
    dead.cut_after(0);
    let mirrored = HostSettings {
        mirrors: vec![dead.host()],
        ..insecure()
    };
    let place = Place::new([(registry.host(), mirrored), (dead.host(), insecure())]);
    place
        .pull(&place.open(), &order(&registry.host(), "1"))
        .unwrap();
    assert!(!dead.requests().is_empty());
}

#[test]
fn hosts_of_private_networks_are_asked_only_where_the_operator_names_them() {
    let registry = TestRegistry::open();
    push(&registry, "1", "amd64", &[layer(OCI_LAYER, small("a"))]);
    let proxy = CuttingProxy::start(registry.port());
    let place = Place::new([]);
    let store = place.open();
    for host in [proxy.host(), format!("localhost:{}", registry.port())] {
        let fault = place.pull(&store, &order(&host, "1")).unwrap_err();
        assert_eq!(fault.code, PullFaultCode::Unreachable);
        assert!(
            fault.message.contains("not at a public address"),
            "{fault:?}"
        );
    }
    assert_eq!(proxy.requests(), Vec::<String>::new());
    // The positive control.
    let named = Place::plain(&proxy.host());
    named
        .pull(&named.open(), &order(&proxy.host(), "1"))
        .unwrap();
}

#[test]
fn what_is_not_there_or_not_answered_is_told_apart() {
    let registry = TestRegistry::open();
    push(&registry, "1", "amd64", &[layer(OCI_LAYER, small("a"))]);
    let place = Place::plain(&registry.host());
    let store = place.open();
    let fault = place
        .pull(&store, &order(&registry.host(), "2"))
        .unwrap_err();
    assert_eq!(fault.code, PullFaultCode::NotFound);
    assert!(fault.message.contains("team/tiny:2"), "{fault:?}");
    let host = registry.host();
    drop(registry);
    let fault = place.pull(&store, &order(&host, "1")).unwrap_err();
    assert_eq!(fault.code, PullFaultCode::Unreachable);
    let fault = place.pull(&store, &order("Bad Host", "1")).unwrap_err();
    assert_eq!(fault.code, PullFaultCode::NotFound);
}

#[test]
fn an_image_over_the_limit_is_refused_with_both_sizes() {
    let registry = TestRegistry::open();
    push(&registry, "big", "amd64", &[big()]);
    let zeros = TarBytes::default().file("zeros", &vec![0; 80 << 20]);
    push(&registry, "bomb", "amd64", &[layer(OCI_LAYER_GZIP, zeros)]);
    let proxy = CuttingProxy::start(registry.port());
    let place = Place::plain(&proxy.host());
    let store = place.open();
    let limited = |tag| Pull {
        max_bytes: 1 << 20,
        ..order(&proxy.host(), tag)
    };
    let fault = place.pull(&store, &limited("big")).unwrap_err();
    assert_eq!(fault.code, PullFaultCode::TooLarge);
    assert!(fault.message.starts_with("the image has 3."), "{fault:?}");
    let end = " MiB of compressed layers, and 1.00 MiB are allowed";
    assert!(fault.message.ends_with(end), "{fault:?}");
    // Before anything but descriptions is fetched.
    assert_eq!(place.count("downloads"), 0);
    let fault = place.pull(&store, &limited("bomb")).unwrap_err();
    assert_eq!(fault.code, PullFaultCode::TooLarge, "{fault:?}");
    assert_eq!((place.count("layers"), place.count("tmp")), (0, 0));
}

#[test]
fn nobody_gets_at_a_layer_of_another_owner_by_its_name() {
    let registry = TestRegistry::open();
    let secret = || layer(OCI_LAYER, TarBytes::default().file("secret", b"of a"));
    push(&registry, "1", "amd64", &[secret()]);
    let place = Place::plain(&registry.host());
    let store = place.open();
    place.pull(&store, &order(&registry.host(), "1")).unwrap();

    // An image that names the same content, from a registry that does not have it.
    let hostile = TestRegistry::open();
    let named = secret();
    let config = hostile.push_blob(REPOSITORY, &config_of("amd64", &[secret()]));
    let other = hostile.push_blob(REPOSITORY, b"something else");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": with(OCI_CONFIG, config),
        "layers": [with(OCI_LAYER, other)],
    });
    hostile.push_manifest(REPOSITORY, "1", OCI_MANIFEST, &manifest);
    let place_b = Place {
        settings: Arc::new(RegistrySettings {
            hosts: [(registry.host(), insecure()), (hostile.host(), insecure())].into(),
        }),
        folder: place.folder,
    };
    let theirs = |host: &str, name: &str| Pull {
        owner: "org-b".to_owned(),
        name: name.to_owned(),
        ..order(host, "1")
    };
    let fault = place_b.pull(&store, &theirs(&hostile.host(), "+snapshot-b"));
    assert_eq!(fault.unwrap_err().code, PullFaultCode::WrongDigest);
    // The positive control: who can fetch it may have it, and it is unpacked once.
    place_b
        .pull(&store, &theirs(&registry.host(), "+snapshot-c"))
        .unwrap();
    assert_eq!(place_b.count("layers"), 1);
    assert_eq!(place_b.count("downloads"), 0);
    drop(named);
}
