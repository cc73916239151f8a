//! These need root: they change owners and make whiteouts.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use proptest::prelude::*;
use tar::EntryType;

use super::super::limits::Limits;
use super::super::tar_stream::TarStream;
use super::super::testing::{TarBytes, header};
use super::*;

/// A folder for the layer, in a folder that must stay as it is.
struct Place {
    outer: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("layer")).unwrap();
        fs::write(outer.path().join("secret"), "outside").unwrap();
        Self { outer }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.outer.path().join("layer").join(name)
    }

    fn write(&self, tar: TarBytes) -> Result<u64, EntryError> {
        let bytes = tar.finish();
        let mut stream = TarStream::new(&bytes[..], Limits::default());
        let mut tree = LayerTree::open(&self.path("")).unwrap();
        while let Some(entry) = stream.next_entry().unwrap() {
            tree.write(&entry, &mut stream)?;
        }
        Ok(tree.finish().unwrap())
    }

    fn is_untouched_outside(&self) -> bool {
        let mut names: Vec<_> = fs::read_dir(self.outer.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names == ["layer", "secret"]
            && fs::read_to_string(self.outer.path().join("secret")).unwrap() == "outside"
    }
}

fn written(tar: TarBytes) -> Place {
    let place = Place::new();
    place.write(tar).unwrap();
    place
}

fn refusal(tar: TarBytes) -> EntryError {
    let place = Place::new();
    let error = place.write(tar).unwrap_err();
    assert!(place.is_untouched_outside());
    error
}

fn is_marked_opaque(path: &Path) -> bool {
    let mut value = [0; 8];
    matches!(
        rustix::fs::getxattr(path, OPAQUE_ATTRIBUTE, &mut value[..]),
        Ok(1)
    ) && value[0] == b'y'
}

fn is_whiteout_at(path: &Path) -> bool {
    let found = fs::symlink_metadata(path).unwrap();
    found.file_type().is_char_device() && found.rdev() == 0
}

#[test]
fn owner_mode_time_and_attributes_are_those_of_the_archive() {
    let mut program = header(EntryType::Regular, "bin/tool", 3);
    program.set_mode(0o4755);
    program.set_uid(7);
    program.set_gid(9);
    let capability = [1, 0, 0, 2, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let place = written(
        TarBytes::default()
            .folder("bin")
            .raw(&mut program, b"abc")
            .pax(&[
                ("SCHILY.xattr.security.capability", &capability),
                ("mtime", b"-5.5"),
            ])
            .file("bin/ping", b"x")
            .symlink("bin/sh", "/does/not/exist")
            .entry(EntryType::Fifo, "pipe", "", b"")
            .hard_link("tool", "bin/tool"),
    );
    let tool = fs::metadata(place.path("bin/tool")).unwrap();
    assert_eq!(
        (tool.mode() & 0o7777, tool.uid(), tool.gid()),
        (0o4755, 7, 9)
    );
    assert_eq!((tool.mtime(), tool.nlink()), (1_700_000_000, 2));
    let ping = place.path("bin/ping");
    assert_eq!(fs::metadata(&ping).unwrap().mtime(), -6);
    let mut value = [0; 32];
    let length = rustix::fs::getxattr(&ping, "security.capability", &mut value[..]).unwrap();
    assert_eq!(value[..length], capability);
    assert_eq!(
        fs::read_link(place.path("bin/sh")).unwrap(),
        Path::new("/does/not/exist")
    );
    assert!(
        fs::symlink_metadata(place.path("pipe"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    // The time of the folder is its own, not that of the last file made in it.
    assert_eq!(
        fs::metadata(place.path("bin")).unwrap().mtime(),
        1_700_000_000
    );
}

#[test]
fn missing_folders_are_made_and_the_root_can_be_set() {
    let mut root = header(EntryType::Directory, "./", 0);
    root.set_mode(0o711);
    root.set_uid(5);
    let place = written(TarBytes::default().file("a/b/c", b"x").raw(&mut root, b""));
    let made = fs::metadata(place.path("a/b")).unwrap();
    assert_eq!((made.mode() & 0o7777, made.uid()), (0o755, 0));
    let root = fs::metadata(place.path("")).unwrap();
    assert_eq!((root.mode() & 0o7777, root.uid()), (0o711, 5));
    assert!(matches!(
        refusal(TarBytes::default().symlink("./", "/etc")),
        EntryError::RootNotFolder
    ));
}

#[test]
fn a_link_out_of_the_layer_ends_in_the_layer() {
    // As root of the layer, `/` and `..` are the layer itself.
    for target in ["/", "..", "../..", "/proc/self/root", "sub/../.."] {
        let place = Place::new();
        let tar = TarBytes::default()
            .folder("sub")
            .folder("proc")
            .folder("proc/self")
            .symlink("proc/self/root", "/")
            .symlink("way", target)
            .file("way/secret", b"hostile");
        place.write(tar).unwrap();
        assert!(place.is_untouched_outside(), "{target}");
        assert_eq!(
            fs::read(place.path("secret")).unwrap(),
            b"hostile",
            "{target}"
        );
    }
}

#[test]
fn a_link_to_nothing_is_not_a_folder() {
    for target in ["/nowhere", "../secret", "loop"] {
        assert!(matches!(
            refusal(
                TarBytes::default()
                    .symlink("loop", target)
                    .file("loop/x", b"")
            ),
            EntryError::NotBelowFolder
        ));
    }
    assert!(matches!(
        refusal(TarBytes::default().file("file", b"").file("file/x", b"")),
        EntryError::NotBelowFolder
    ));
}

#[test]
fn the_last_part_of_a_path_is_never_followed() {
    let place = Place::new();
    let outside = place.outer.path().join("secret");
    let tar = TarBytes::default()
        .symlink("a", outside.to_str().unwrap())
        .file("a", b"hostile")
        .symlink("b", outside.to_str().unwrap())
        .folder("b")
        .symlink("c", outside.to_str().unwrap())
        .hard_link("d", "c");
    place.write(tar).unwrap();
    assert!(place.is_untouched_outside());
    assert_eq!(fs::read(place.path("a")).unwrap(), b"hostile");
    assert!(fs::symlink_metadata(place.path("b")).unwrap().is_dir());
    assert!(fs::symlink_metadata(place.path("d")).unwrap().is_symlink());
    assert_eq!(fs::metadata(&outside).unwrap().nlink(), 1);
}

#[test]
fn hard_links_reach_only_files_of_the_layer() {
    let plain = || {
        TarBytes::default()
            .folder("folder")
            .entry(EntryType::Fifo, "pipe", "", b"")
    };
    for target in ["missing", "folder", "pipe", "folder/x", "."] {
        assert!(matches!(
            refusal(plain().hard_link("link", target)),
            EntryError::LinkTarget
        ));
    }
    for way in ["..", "/", "../../.."] {
        assert!(matches!(
            refusal(plain().symlink("up", way).hard_link("link", "up/secret")),
            EntryError::LinkTarget
        ));
    }
    let place = written(
        TarBytes::default()
            .file("a", b"1")
            .hard_link("a", "a")
            .hard_link("b", "a"),
    );
    assert_eq!(fs::metadata(place.path("a")).unwrap().nlink(), 2);
}

#[test]
fn devices_are_passed_over() {
    let place = Place::new();
    let skipped = place
        .write(
            TarBytes::default()
                .entry(EntryType::Char, "dev/null", "", b"")
                .entry(EntryType::Block, "dev/vda", "", b""),
        )
        .unwrap();
    assert_eq!(skipped, 2);
    assert!(!place.path("dev").exists());
}

#[test]
fn removed_names_become_whiteouts() {
    let place = written(
        TarBytes::default()
            .file("etc/.wh.gone", b"")
            .file("opaque/.wh..wh..opq", b"")
            .file("opaque/kept", b"")
            .file(".wh..wh.plnk/1.2", b"")
            .file(".wh..wh.aufs", b""),
    );
    assert!(is_whiteout_at(&place.path("etc/gone")));
    assert!(is_marked_opaque(&place.path("opaque")));
    assert!(place.path("opaque/kept").exists());
    assert!(!is_marked_opaque(&place.path("etc")));
    for entry in fs::read_dir(place.path("")).unwrap() {
        assert!(!entry.unwrap().file_name().as_bytes().starts_with(b".wh."));
    }
}

#[test]
fn a_whiteout_is_about_the_layers_below_only() {
    // In either order, the name of this layer stays and hides what is below.
    let place = written(
        TarBytes::default()
            .file("file", b"1")
            .file(".wh.file", b"")
            .file(".wh.later", b"")
            .file("later", b"2")
            .folder("first")
            .file(".wh.first", b"")
            .file(".wh.second", b"")
            .folder("second")
            .file(".wh.third", b"")
            .file("third/inside", b"3"),
    );
    assert_eq!(fs::read(place.path("file")).unwrap(), b"1");
    assert_eq!(fs::read(place.path("later")).unwrap(), b"2");
    for folder in ["first", "second", "third"] {
        assert!(is_marked_opaque(&place.path(folder)), "{folder}");
    }
    assert_eq!(fs::read(place.path("third/inside")).unwrap(), b"3");
}

#[test]
fn whiteouts_that_would_remove_a_folder_itself_are_refused() {
    for path in [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh.a/b"] {
        assert!(
            matches!(
                refusal(TarBytes::default().file(path, b"")),
                EntryError::BadWhiteout
            ),
            "{path}"
        );
    }
}

#[test]
fn later_entries_replace_files_but_not_folders() {
    let place = written(
        TarBytes::default()
            .file("a", b"1")
            .file("a", b"2")
            .symlink("b", "a")
            .symlink("b", "c")
            .folder("d")
            .file("d/x", b"kept")
            .folder("d"),
    );
    assert_eq!(fs::read(place.path("a")).unwrap(), b"2");
    assert_eq!(fs::read_link(place.path("b")).unwrap(), Path::new("c"));
    assert_eq!(fs::read(place.path("d/x")).unwrap(), b"kept");
    assert!(matches!(
        refusal(TarBytes::default().folder("d").file("d", b"")),
        EntryError::ReplacesFolder
    ));
}

#[test]
fn a_replaced_link_does_not_lead_to_where_it_used_to() {
    let place = written(
        TarBytes::default()
            .folder("one")
            .folder("two")
            .symlink("way", "one")
            .file("way/a", b"")
            .symlink("way", "two")
            .file("way/b", b""),
    );
    assert!(place.path("one/a").exists() && place.path("two/b").exists());
}

/// Entries over few names, so that they meet.
fn hostile_entry() -> impl Strategy<Value = (u8, String, String)> {
    let path = prop::collection::vec(
        prop::sample::select(vec![
            "a",
            "b",
            ".wh.a",
            ".wh..wh..opq",
            "..",
            ".",
            "secret",
            ".wh...",
        ]),
        1..4,
    )
    .prop_map(|parts| parts.join("/"));
    let target = prop::sample::select(vec![
        "a",
        "b",
        "a/b",
        "..",
        "../secret",
        "/",
        "/secret",
        "../../secret",
        "/proc/self/fd/0",
    ])
    .prop_map(str::to_owned);
    (prop::sample::select(b"0125367".to_vec()), path, target)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_archive_writes_outside(entries in prop::collection::vec(hostile_entry(), 1..12)) {
        let place = Place::new();
        let mut tree = LayerTree::open(&place.path("")).unwrap();
        for (kind, path, target) in entries {
            let bytes = TarBytes::default()
                .entry(EntryType::new(kind), &path, &target, b"")
                .finish();
            let mut stream = TarStream::new(&bytes[..], Limits::default());
            if let Ok(Some(entry)) = stream.next_entry() {
                // Refused or done: both are fine, as long as it stays inside.
                let _ = tree.write(&entry, &mut stream);
            }
            prop_assert!(place.is_untouched_outside());
        }
        tree.finish().unwrap();
        prop_assert!(place.is_untouched_outside());
    }
}

#[test]
fn a_folder_that_comes_often_is_remembered_once_and_has_its_last_time() {
    let place = Place::new();
    let mut tar = TarBytes::default();
    for time in 1..=1000 {
        let mut header = header(EntryType::Directory, "a/b", 0);
        header.set_mtime(time);
        tar = tar.raw(&mut header, b"");
    }
    let bytes = tar.finish();
    let mut stream = TarStream::new(&bytes[..], Limits::default());
    let mut tree = LayerTree::open(&place.path("")).unwrap();
    while let Some(entry) = stream.next_entry().unwrap() {
        tree.write(&entry, &mut stream).unwrap();
    }
    assert!(
        tree.folder_times.bytes < 1000,
        "{}",
        tree.folder_times.bytes
    );
    tree.finish().unwrap();
    assert_eq!(fs::metadata(place.path("a/b")).unwrap().mtime(), 1000);
}
