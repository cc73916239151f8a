//! These need root: unpacking changes owners.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::build::{BuildConfig, write_oci_archive};
use super::super::testing::TarBytes;
use super::*;

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

    fn import(&self, store: &ImageStore, name: &str, tar: TarBytes) -> ImageDigest {
        let path = self.path("archive.tar");
        write_oci_archive(&tar.finish()[..], &BuildConfig::default(), &path).unwrap();
        store.import_oci(&path, name).unwrap().digest
    }

    fn count(&self, name: &str) -> usize {
        let folder = self.path("store").join(name);
        fs::read_dir(folder).unwrap().count()
    }
}

fn of(content: &str) -> TarBytes {
    TarBytes::default().file("a", content.as_bytes())
}

#[test]
fn an_image_stays_for_as_long_as_it_has_a_name_or_is_needed() {
    let place = Place::new();
    let store = place.open();
    let nothing = BTreeSet::new();
    let image = place.import(&store, "a", of("x"));
    // The same content under another name is the same image.
    place.import(&store, "b", of("x"));
    store.forget_name("a").unwrap();
    store.forget_name("never there").unwrap();
    assert_eq!(store.collect(&nothing).unwrap(), Collected::default());
    store.forget_name("b").unwrap();
    let needed = BTreeSet::from([image.clone()]);
    assert_eq!(store.collect(&needed).unwrap(), Collected::default());
    assert!(store.get(&image).is_some());
    let gone = store.collect(&nothing).unwrap();
    assert_eq!((gone.images, gone.layers), (1, 1));
    assert_eq!(store.get(&image), None);
    for folder in ["images", "layers", "tmp"] {
        assert_eq!(place.count(folder), 0, "{folder}");
    }
    // It can come again.
    place.import(&store, "a", of("x"));
    drop(store);
    assert_eq!(place.open().list().len(), 1);
}

#[test]
fn layers_of_an_image_that_is_being_made_stay() {
    let place = Place::new();
    let store = place.open();
    place.import(&store, "a", of("x"));
    let layer = store.get_by_name("a").unwrap().layers[0].path().to_owned();
    let name = layer
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap();
    let digest: Sha256Digest = format!("sha256:{name}").parse().unwrap();
    store.forget_name("a").unwrap();
    let pins = [
        store.pin([digest].into_iter()),
        store.pin([digest].into_iter()),
    ];
    for pin in pins {
        let gone = store.collect(&BTreeSet::new()).unwrap();
        assert_eq!(gone.layers, 0);
        assert!(layer.exists());
        drop(pin);
    }
    assert_eq!(store.collect(&BTreeSet::new()).unwrap().layers, 1);
    assert!(!layer.exists());
}

#[test]
fn nothing_goes_while_there_is_an_image_that_cannot_be_read() {
    let place = Place::new();
    let store = place.open();
    place.import(&store, "a", of("x"));
    drop(store);
    let records = place.path("store").join("images");
    fs::write(records.join("broken.json"), "{").unwrap();
    let store = place.open();
    store.forget_name("a").unwrap();
    let gone = store.collect(&BTreeSet::new()).unwrap();
    assert_eq!((gone.images, gone.layers), (1, 0));
}

const CHILD: &str = "ALCOVE_TEST_COLLECT";

/// The child of the test below: this very program, told by a variable to collect until it is killed.
#[test]
fn child_that_collects() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let store = ImageStore::open(&PathBuf::from(folder)).unwrap();
        store.collect(&BTreeSet::new()).unwrap();
    }
}

#[test]
fn a_kill_at_any_point_leaves_whole_images_or_none() {
    let place = Place::new();
    let many = |number: usize| {
        let tar = TarBytes::default().file("own", number.to_string().as_bytes());
        (0..300).fold(tar, |tar, file| {
            tar.file(&format!("d{}/f{file}", file % 7), &[7; 100])
        })
    };
    let mut left = usize::MAX;
    for micros in [0_u64, 500, 2_000, 5_000, 10_000, 20_000, 50_000] {
        let store = place.open();
        place.import(&store, "kept", of("kept"));
        for number in 0..5 {
            place.import(&store, &format!("gone-{number}"), many(number));
            store.forget_name(&format!("gone-{number}")).unwrap();
        }
        drop(store);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg(format!(
                "{}::child_that_collects",
                module_path!().split_once("::").unwrap().1
            ))
            .env(CHILD, place.path("store"))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // From the moment that it has begun: the first image has gone.
        let deadline = Instant::now() + Duration::from_secs(10);
        while place.count("images") == 6 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let until = Instant::now() + Duration::from_micros(micros);
        while Instant::now() < until {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().unwrap();
        let store = place.open();
        assert_eq!(place.count("tmp"), 0);
        for image in store.list() {
            let found = store.get(&image.digest).unwrap();
            assert!(found.layers.iter().all(|layer| layer.path().exists()));
        }
        assert!(store.get_by_name("kept").is_some());
        assert_eq!(place.count("layers"), store.list().len());
        left = left.min(store.list().len());
        store.collect(&BTreeSet::new()).unwrap();
        assert_eq!((place.count("images"), place.count("layers")), (1, 1));
    }
    assert!(
        left < 6,
        "it was killed before it had done anything, each time"
    );
}
