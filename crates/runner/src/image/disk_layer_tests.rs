//! These need root: unpacking changes owners.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;

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

    fn open(&self) -> ImageStore {
        ImageStore::open(&self.folder.path().join("store")).unwrap()
    }

    fn count(&self, name: &str) -> usize {
        let folder = self.folder.path().join("store").join(name);
        fs::read_dir(folder).unwrap().count()
    }

    fn base(&self, store: &ImageStore) -> ImageEntry {
        let path = self.folder.path().join("base.tar");
        let files = TarBytes::default().file("a", b"x").finish();
        write_oci_archive(&files[..], &BuildConfig::default(), &path).unwrap();
        store.import_oci(&path, "base").unwrap()
    }
}

fn written(store: &ImageStore) -> DiskDraft {
    let draft = store.draft_disk().unwrap();
    fs::write(draft.path(), vec![7; 1 << 20]).unwrap();
    draft
}

#[test]
fn a_disk_is_a_layer_above_its_base_also_after_a_restart() {
    let place = Place::new();
    let store = place.open();
    let base = place.base(&store);
    let made = store
        .capture_disk("one", &base.digest, written(&store))
        .unwrap();
    assert!(made.size_bytes > base.size_bytes + (1 << 20) - 1);
    let again = store
        .capture_disk("one", &base.digest, written(&store))
        .unwrap();
    assert_eq!(again, made, "found, not made again");
    // The same bytes are another layer: nobody has looked at them.
    let other = store
        .capture_disk("two", &base.digest, written(&store))
        .unwrap();
    assert_ne!(other.digest, made.digest);
    let layers = store.get(&made.digest).unwrap().layers.clone();
    assert!(matches!(
        &layers[..],
        [Layer::Folder(_), Layer::Disk(file)] if fs::read(file).unwrap().len() == 1 << 20
    ));
    drop(store);

    let store = place.open();
    assert_eq!(store.get(&made.digest).unwrap().layers, layers);
    assert_eq!(place.count("tmp"), 0);
}

#[test]
fn a_disk_goes_when_no_image_has_it_and_a_draft_goes_by_itself() {
    let place = Place::new();
    let store = place.open();
    let base = place.base(&store);
    drop(written(&store));
    assert_eq!(place.count("tmp"), 0);
    // One that a kill leaves behind.
    std::mem::forget(written(&store));
    assert_eq!(place.count("tmp"), 1);
    let made = store
        .capture_disk("one", &base.digest, written(&store))
        .unwrap();
    store.forget_name("one").unwrap();
    let needed = BTreeSet::from([made.digest]);
    assert_eq!(store.collect(&needed).unwrap().layers, 0);
    let gone = store.collect(&BTreeSet::new()).unwrap();
    assert_eq!((gone.images, gone.layers), (1, 1));
    assert_eq!(place.count("layers"), 1);
    drop(store);
    drop(place.open());
    assert_eq!(place.count("tmp"), 0);
}

#[test]
fn more_layers_than_an_image_may_have_are_refused() {
    let place = Place::new();
    let limits = super::super::Limits {
        layers: 2,
        ..super::super::Limits::default()
    };
    let store = ImageStore::open_with(&place.folder.path().join("store"), limits).unwrap();
    let base = place.base(&store);
    let made = store
        .capture_disk("one", &base.digest, written(&store))
        .unwrap();
    let error = store
        .capture_disk("two", &made.digest, written(&store))
        .unwrap_err();
    assert!(
        matches!(error, ImageError::TooLarge { limit: 2, .. }),
        "{error}"
    );
    assert_eq!(place.count("layers"), 2);
}
