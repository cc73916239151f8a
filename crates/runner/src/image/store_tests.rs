//! These need root: unpacking changes owners.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;
use std::time::{Duration, Instant};

use super::super::build::{BuildConfig, write_oci_archive};
use super::super::testing::TarBytes;
use super::super::{EntryError, LayerError};
use super::*;

/// A folder with a store to be and a place for archives.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self) -> ImageStore {
        ImageStore::open(&self.path("store")).unwrap()
    }

    fn archive(&self, name: &str, rootfs: TarBytes) -> PathBuf {
        let config: BuildConfig = serde_json::from_str(
            r#"{"User":"daytona","WorkingDir":"/home/daytona","Env":["A=1","B=x=y","A=2"],"Cmd":["/bin/sh"]}"#,
        )
        .unwrap();
        let path = self.path(name);
        write_oci_archive(&rootfs.finish()[..], &config, &path).unwrap();
        path
    }

    /// The archive as a folder.
    fn layout(&self, archive: &Path) -> PathBuf {
        let layout = self.path("layout");
        tar::Archive::new(File::open(archive).unwrap())
            .unpack(&layout)
            .unwrap();
        layout
    }

    fn count(&self, name: &str) -> usize {
        fs::read_dir(self.path("store").join(name)).unwrap().count()
    }
}

fn small() -> TarBytes {
    TarBytes::default().folder("bin").file("bin/sh", b"#!")
}

fn names(store: &ImageStore) -> Vec<String> {
    store.list().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn an_imported_image_is_there_after_a_restart() {
    let place = Place::new();
    let archive = place.archive("a.tar", small());
    let store = place.open();
    let entry = store.import_oci(&archive, "default").unwrap();
    assert_eq!(
        (entry.name.as_str(), entry.user.as_str(), entry.size_bytes),
        ("default", "daytona", 2)
    );
    let image = store.get(&entry.digest).unwrap();
    assert_eq!(image.config.env, ["A=2", "B=x=y"]);
    assert_eq!(image.config.workdir, "/home/daytona");
    assert_eq!(
        fs::read(image.layers[0].path().join("bin/sh")).unwrap(),
        b"#!"
    );
    drop(store);

    let store = place.open();
    assert_eq!(store.list(), std::slice::from_ref(&entry));
    assert_eq!(store.get(&entry.digest).unwrap(), image);
    assert_eq!(store.get_by_name("default").unwrap(), image);
    assert!(store.get_by_name("other").is_none());
    assert!(store.get(&ImageDigest("../../etc".to_owned())).is_none());
}

#[test]
fn only_root_can_come_near_the_layers() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let archive = place.archive("a.tar", small());
    let store = place.open();
    let entry = store.import_oci(&archive, "default").unwrap();
    let image = store.get(&entry.digest).unwrap();
    let fs_folder = image.layers[0].path();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(fs_folder), 0o755);
    assert_eq!(mode(fs_folder.parent().unwrap()), 0o700);
    assert_eq!(mode(&place.path("store")), 0o700);
}

#[test]
fn a_layout_comes_as_a_folder_or_as_an_archive_however_compressed() {
    let place = Place::new();
    let archive = place.archive("a.tar", small());
    let plain = fs::read(&archive).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    fs::write(place.path("a.tar.gz"), gzip.finish().unwrap()).unwrap();
    fs::write(
        place.path("a.tar.zst"),
        zstd::encode_all(&plain[..], 1).unwrap(),
    )
    .unwrap();
    place.layout(&archive);
    let mut digests = BTreeSet::new();
    for name in ["a.tar", "a.tar.gz", "a.tar.zst", "layout"] {
        let other = Place::new();
        digests.insert(
            other
                .open()
                .import_oci(&place.path(name), name)
                .unwrap()
                .digest,
        );
    }
    assert_eq!(digests.len(), 1);
}

#[test]
fn a_name_means_one_image_and_an_image_may_have_two_names() {
    let place = Place::new();
    let one = place.archive("1.tar", small());
    let two = place.archive("2.tar", small().file("two", b"2"));
    let store = place.open();
    let first = store.import_oci(&one, "default").unwrap();
    store.import_oci(&one, "tiny").unwrap();
    assert_eq!(names(&store), ["default", "tiny"]);
    let second = store.import_oci(&two, "default").unwrap();
    assert_eq!(names(&store), ["default", "tiny"]);
    assert_eq!(store.get_by_name("default").unwrap().digest, second.digest);
    store.import_oci(&two, "tiny").unwrap();
    assert_eq!(names(&store), ["default", "tiny", ""]);
    assert!(
        store.get(&first.digest).is_some(),
        "sandboxes may still use it"
    );
    for name in ["", "a\nb", &"x".repeat(256)] {
        assert!(matches!(
            store.import_oci(&one, name),
            Err(ImageError::BadName)
        ));
    }
}

#[test]
fn one_layer_in_two_images_is_kept_once() {
    let place = Place::new();
    let archive = place.archive("a.tar", small());
    let store = place.open();
    let image = store.import_oci(&archive, "a").unwrap();
    let config = BuildConfig::default();
    let other = place.path("b.tar");
    write_oci_archive(&small().finish()[..], &config, &other).unwrap();
    assert_ne!(store.import_oci(&other, "b").unwrap().digest, image.digest);
    assert_eq!((place.count("images"), place.count("layers")), (2, 1));
}

#[test]
fn a_changed_byte_anywhere_in_the_archive_is_found_or_harmless() {
    let place = Place::new();
    let archive = place.archive("a.tar", small());
    let whole = fs::read(&archive).unwrap();
    let right = Place::new().open().import_oci(&archive, "a").unwrap();
    for at in (0..whole.len()).step_by(37) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&archive, bytes).unwrap();
        let other = Place::new();
        // A changed index may name no platform or the like; the digest of what it names cannot change.
        if let Ok(entry) = other.open().import_oci(&archive, "a") {
            assert_eq!(entry, right, "byte {at}");
        }
    }
}

#[test]
fn a_blob_that_is_cut_missing_or_swapped_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let layout = place.layout(&place.archive("a.tar", small()));
    let store = place.open();
    let blobs = layout.join("blobs/sha256");
    for blob in fs::read_dir(&blobs).unwrap() {
        let path = blob.unwrap().path();
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        for wrong in [&whole[..whole.len() - 1], &changed, b""] {
            fs::write(&path, wrong).unwrap();
            assert!(store.import_oci(&layout, "a").is_err());
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            store.import_oci(&layout, "a"),
            Err(ImageError::MissingBlob { .. })
        ));
        // A link to the right bytes is not followed: it could as well lead to a file of the host.
        let aside = place.path("aside");
        fs::write(&aside, &whole).unwrap();
        std::os::unix::fs::symlink(&aside, &path).unwrap();
        assert!(matches!(
            store.import_oci(&layout, "a"),
            Err(ImageError::Blob { .. })
        ));
        fs::remove_file(&path).unwrap();
        fs::write(&path, &whole).unwrap();
    }
    for folder in ["images", "layers", "tmp"] {
        assert_eq!(place.count(folder), 0, "{folder}");
    }
    assert!(store.list().is_empty());
    store.import_oci(&layout, "a").unwrap();
}

#[test]
fn a_hostile_layer_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let archive = place.archive("a.tar", small().file("../../../escaped", b""));
    let store = place.open();
    assert!(matches!(
        store.import_oci(&archive, "a"),
        Err(ImageError::Layer {
            source: LayerError::Entry {
                source: EntryError::ParentFolder,
                ..
            },
            ..
        })
    ));
    assert_eq!((place.count("layers"), place.count("tmp")), (0, 0));
}

#[test]
fn what_is_not_an_image_for_this_machine_is_refused() {
    let place = Place::new();
    let layout = place.layout(&place.archive("a.tar", small()));
    let store = place.open();
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    fs::write(layout.join("index.json"), index.replace("amd64", "arm64")).unwrap();
    assert!(matches!(
        store.import_oci(&layout, "a"),
        Err(ImageError::NoPlatform)
    ));
    fs::write(layout.join("index.json"), "{}").unwrap();
    assert!(matches!(
        store.import_oci(&layout, "a"),
        Err(ImageError::BadJson { what: "index", .. })
    ));
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"2.0.0"}"#,
    )
    .unwrap();
    assert!(matches!(
        store.import_oci(&layout, "a"),
        Err(ImageError::LayoutVersion { .. })
    ));
    fs::remove_file(layout.join("oci-layout")).unwrap();
    assert!(matches!(
        store.import_oci(&layout, "a"),
        Err(ImageError::NotALayout { .. })
    ));
    assert!(matches!(
        store.import_oci(&place.path("missing"), "a"),
        Err(ImageError::Read { .. })
    ));
}

#[test]
fn a_configuration_that_would_fill_the_memory_is_refused() {
    let place = Place::new();
    let store = place.open();
    let import = |arguments: usize| {
        let words = vec!["a"; arguments];
        let config = serde_json::json!({ "Cmd": words, "Env": ["A=1"] });
        let config: BuildConfig = serde_json::from_value(config).unwrap();
        let path = place.path("words.tar");
        let _ = fs::remove_file(&path);
        write_oci_archive(&small().finish()[..], &config, &path).unwrap();
        store.import_oci(&path, "words")
    };
    let too_large = |error: &ImageError| matches!(error, ImageError::TooLarge { what, .. } if what.contains("configuration"));
    assert!(too_large(&import(100_000).unwrap_err()));
    assert!(names(&store).is_empty());
    assert_eq!(place.count("layers"), 0);
    // The control.
    let image = import(100).unwrap();
    let image = store.get(&image.digest).unwrap();
    let mut config = image.config.clone();
    config.build.labels = (0..10_000)
        .map(|n| (n.to_string(), "x".repeat(20)))
        .collect();
    let layers = store.layers_of(&image.digest).unwrap();
    assert!(too_large(
        &store.compose("built", &layers, config).unwrap_err()
    ));
}

#[test]
fn a_store_is_open_once() {
    let place = Place::new();
    let first = place.open();
    assert!(matches!(
        ImageStore::open(&place.path("store")),
        Err(ImageError::Locked { .. })
    ));
    drop(first);
    place.open();
}

#[test]
fn opening_removes_leftovers_and_layers_that_no_image_needs() {
    let place = Place::new();
    let archive = place.archive("a.tar", small());
    let entry = place.open().import_oci(&archive, "a").unwrap();
    let store = place.path("store");
    fs::create_dir_all(store.join("tmp/layer-x/fs/deep")).unwrap();
    fs::write(store.join("tmp/file"), "").unwrap();
    std::os::unix::fs::symlink(place.folder.path(), store.join("tmp/link")).unwrap();
    fs::create_dir_all(store.join("layers").join("0".repeat(64)).join("fs")).unwrap();
    let store = place.open();
    assert_eq!((place.count("tmp"), place.count("layers")), (0, 1));
    assert!(archive.exists(), "a link in tmp is not followed");
    assert!(store.get(&entry.digest).is_some());
}

#[test]
fn an_image_that_lost_a_layer_is_left_out_and_mended_by_an_import() {
    let place = Place::new();
    let archive = place.archive("a.tar", small());
    let other = place.archive("b.tar", small().file("b", b""));
    let (damaged, whole) = {
        let store = place.open();
        let damaged = store.import_oci(&archive, "a").unwrap();
        (damaged, store.import_oci(&other, "b").unwrap())
    };
    let image = place.open().get(&damaged.digest).unwrap();
    let layer = image.layers[0].path();
    fs::remove_file(layer.parent().unwrap().join("layer.json")).unwrap();
    let store = place.open();
    assert_eq!(store.list(), [whole]);
    drop(store);
    // What is left of the layer is in the way of the new one until then.
    fs::remove_dir_all(layer.parent().unwrap()).unwrap();
    let store = place.open();
    assert_eq!(store.import_oci(&archive, "a").unwrap(), damaged);
    assert_eq!(store.list().len(), 2);
}

#[test]
fn names_of_a_newer_version_are_not_thrown_away() {
    let place = Place::new();
    drop(place.open());
    fs::write(place.path("store/names.json"), r#"{"version":9}"#).unwrap();
    assert!(matches!(
        ImageStore::open(&place.path("store")),
        Err(ImageError::NewerRecord { found: 9, .. })
    ));
}

#[test]
fn imports_side_by_side_lose_no_name_and_make_each_layer_once() {
    let place = Place::new();
    let archives: Vec<_> = (0..4)
        .map(|number| {
            let own = small().file(&format!("own-{}", number / 2), b"x");
            place.archive(&format!("{number}.tar"), own)
        })
        .collect();
    let store = place.open();
    std::thread::scope(|scope| {
        for (number, archive) in archives.iter().enumerate() {
            let store = &store;
            scope.spawn(move || {
                store
                    .import_oci(archive, &format!("name-{number}"))
                    .unwrap()
            });
        }
    });
    assert_eq!(names(&store), ["name-0", "name-1", "name-2", "name-3"]);
    assert_eq!(
        (
            place.count("layers"),
            place.count("images"),
            place.count("tmp")
        ),
        (2, 2, 0)
    );
}

const CHILD: &str = "ALCOVE_TEST_IMPORT_INTO";

/// The child of the test below: this very program, told by a variable to import until it is killed.
#[test]
fn child_that_imports() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let folder = PathBuf::from(folder);
        let store = ImageStore::open(&folder.join("store")).unwrap();
        store.import_oci(&folder.join("big.tar"), "big").unwrap();
    }
}

#[test]
fn a_kill_at_any_point_leaves_whole_layers_or_none() {
    let place = Place::new();
    let count = 400;
    let mut rootfs = TarBytes::default();
    for number in 0..count {
        rootfs = rootfs.file(&format!("d{}/f{number}", number % 7), &[7; 3000]);
    }
    let archive = place.archive("big.tar", rootfs);
    let store_path = place.path("store");
    drop(place.open());
    // Files seen in tmp when the kill comes; the last two are after the unpacking, and at the very end.
    for seen in [0, 1, 50, 200, 390, 400] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg(format!(
                "{}::child_that_imports",
                module_path!().split_once("::").unwrap().1
            ))
            .env(CHILD, place.folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline
            && count_files(&store_path.join("tmp")) < seen
            && child.try_wait().unwrap().is_none()
        {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let store = place.open();
        assert_eq!(place.count("tmp"), 0, "after {seen}");
        for image in store.list() {
            let layer = &store.get(&image.digest).unwrap().layers[0];
            assert_eq!(count_files(layer.path()), count, "after {seen}");
        }
        assert_eq!(place.count("layers"), store.list().len(), "after {seen}");
        drop(store);
        fs::remove_dir_all(&store_path).unwrap();
        fs::create_dir(&store_path).unwrap();
    }
    let store = place.open();
    let entry = store.import_oci(&archive, "big").unwrap();
    assert_eq!(
        count_files(store.get(&entry.digest).unwrap().layers[0].path()),
        count
    );
}

fn count_files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count_files(&entry.path()),
            Ok(kind) if kind.is_file() => usize::from(entry.file_name() != "layer.json"),
            _ => 0,
        })
        .sum()
}
