#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::super::testing::{TarBytes, header};
use super::*;

fn entries_of(bytes: &[u8]) -> Result<Vec<Entry>, LayerError> {
    let mut stream = TarStream::new(bytes, Limits::default());
    let mut entries = Vec::new();
    while let Some(entry) = stream.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

fn refusal(tar: TarBytes) -> EntryError {
    match entries_of(&tar.finish()) {
        Err(LayerError::Entry { source, .. }) => source,
        other => panic!("not refused: {other:?}"),
    }
}

fn shown(path: &LayerPath) -> String {
    String::from_utf8(path.parts().join(&b'/')).unwrap()
}

#[test]
fn paths_from_the_root_stay_below_it_where_they_are_taken() {
    let limits = Limits {
        takes_absolute_paths: true,
        ..Limits::default()
    };
    let parse = |path: &str| LayerPath::parse(path.as_bytes(), &limits);
    for (path, wanted) in [
        ("/tmp/a.txt", "tmp/a.txt"),
        ("//a", "a"),
        ("/", ""),
        ("a/b", "a/b"),
    ] {
        assert_eq!(shown(&parse(path).unwrap()), wanted);
    }
    assert!(matches!(parse("/../etc"), Err(EntryError::ParentFolder)));
}

#[test]
fn paths_that_could_leave_the_layer_are_refused() {
    assert!(matches!(
        refusal(TarBytes::default().file("/etc/passwd", b"")),
        EntryError::Absolute
    ));
    for path in ["..", "../x", "a/../b", "a/..", "./../x"] {
        assert!(matches!(
            refusal(TarBytes::default().file(path, b"")),
            EntryError::ParentFolder
        ));
        assert!(matches!(
            refusal(TarBytes::default().hard_link("a", path)),
            EntryError::ParentFolder
        ));
    }
    assert!(matches!(
        refusal(
            TarBytes::default()
                .pax(&[("path", b"a/../../b")])
                .file("a", b"")
        ),
        EntryError::ParentFolder
    ));
    assert!(matches!(
        refusal(TarBytes::default().pax(&[("path", b"a\0b")]).file("a", b"")),
        EntryError::BadPath
    ));
    assert!(matches!(
        refusal(TarBytes::default().hard_link("a", "")),
        EntryError::BadPath
    ));
}

#[test]
fn the_extended_header_wins_over_the_long_name_and_that_over_the_plain_one() {
    let tar = TarBytes::default()
        .entry(EntryType::GNULongName, "././@LongLink", "", b"long/name\0")
        .file("plain", b"")
        .pax(&[("path", b"extended"), ("mtime", b"5.25"), ("uid", b"7")])
        .entry(EntryType::GNULongName, "././@LongLink", "", b"long/name\0")
        .file("plain", b"")
        .file("./plain//name/", b"")
        .finish();
    let entries = entries_of(&tar).unwrap();
    let paths: Vec<_> = entries.iter().map(|entry| shown(&entry.path)).collect();
    assert_eq!(paths, ["long/name", "extended", "plain/name"]);
    assert_eq!((entries[1].uid, entries[1].mtime), (7, (5, 250_000_000)));
    assert_eq!(entries[2].uid, 0, "an extension holds for one entry");
    assert_eq!(entries[2].kind, EntryKind::Folder);
}

#[test]
fn bytes_of_files_can_be_read_or_passed_over() {
    let tar = TarBytes::default()
        .file("a", &[1; 700])
        .pax(&[("size", b"5")])
        .raw(&mut header(EntryType::Regular, "b", 0), b"hello")
        .finish();
    let mut stream = TarStream::new(&tar[..], Limits::default());
    stream.next_entry().unwrap().unwrap();
    let mut first = [0; 3];
    stream.read_exact(&mut first).unwrap();
    let second = stream.next_entry().unwrap().unwrap();
    assert_eq!(second.kind, EntryKind::File { bytes: 5 });
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    assert!(stream.next_entry().unwrap().is_none());
}

#[test]
fn owners_beyond_a_sandbox_are_refused() {
    let tar = |uid: &'static [u8]| TarBytes::default().pax(&[("uid", uid)]).file("a", b"");
    assert_eq!(entries_of(&tar(b"65535").finish()).unwrap()[0].uid, 65_535);
    assert!(matches!(
        refusal(tar(b"65536")),
        EntryError::Owner { id: 65_536, .. }
    ));
    assert!(matches!(
        refusal(tar(b"4294967296")),
        EntryError::Owner { .. }
    ));
    let mut big = header(EntryType::Regular, "a", 0);
    big.set_gid(100_000);
    assert!(matches!(
        refusal(TarBytes::default().raw(&mut big, b"")),
        EntryError::Owner { id: 100_000, .. }
    ));
}

#[test]
fn fields_left_blank_are_zero_and_others_that_are_no_number_are_refused() {
    for blank in [0, b' '] {
        let mut portable = header(EntryType::Regular, "a", 0);
        let plain = portable.as_old_mut();
        plain.uid.fill(blank);
        plain.gid.fill(blank);
        plain.mtime.fill(blank);
        let entries = entries_of(&TarBytes::default().raw(&mut portable, b"").finish()).unwrap();
        assert_eq!((entries[0].uid, entries[0].gid), (0, 0));
        assert_eq!(entries[0].mtime, (0, 0));
    }
    let mut wrong = header(EntryType::Regular, "a", 0);
    wrong.as_old_mut().uid.fill(b'x');
    assert!(matches!(
        refusal(TarBytes::default().raw(&mut wrong, b"")),
        EntryError::BadNumber { field: "uid" }
    ));
}

#[test]
fn only_harmless_attributes_come_through() {
    let tar = TarBytes::default()
        .pax(&[
            ("SCHILY.xattr.user.mime", b"text"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.security.selinux", b"x"),
            ("SCHILY.xattr.system.posix_acl_access", b"x"),
            ("SCHILY.xattr.security.capability", &[1; 20]),
            ("SCHILY.xattr.security.capability", &[1; 24]),
        ])
        .file("a", b"")
        .finish();
    let names: Vec<_> = entries_of(&tar).unwrap()[0]
        .xattrs
        .iter()
        .map(|(name, _)| String::from_utf8(name.clone()).unwrap())
        .collect();
    assert_eq!(names, ["user.mime", "security.capability"]);
}

#[test]
fn kinds_that_cannot_be_honoured_are_refused_and_devices_are_told() {
    assert!(matches!(
        refusal(TarBytes::default().entry(EntryType::GNUSparse, "a", "", b"")),
        EntryError::Sparse
    ));
    assert!(matches!(
        refusal(TarBytes::default().entry(EntryType::new(b'V'), "a", "", b"")),
        EntryError::Kind { kind: 'V' }
    ));
    let tar = TarBytes::default()
        .entry(EntryType::Char, "dev/null", "", b"")
        .entry(EntryType::Block, "dev/vda", "", b"")
        .finish();
    let kinds: Vec<_> = entries_of(&tar)
        .unwrap()
        .into_iter()
        .map(|entry| entry.kind)
        .collect();
    assert_eq!(kinds, [EntryKind::Device, EntryKind::Device]);
}

#[test]
fn names_and_counts_have_bounds() {
    let long = "x/".repeat(3000);
    assert!(matches!(
        refusal(
            TarBytes::default()
                .pax(&[("path", long.as_bytes())])
                .file("a", b"")
        ),
        EntryError::TooLong { .. }
    ));
    let deep = "x/".repeat(300);
    assert!(matches!(
        refusal(
            TarBytes::default()
                .pax(&[("path", deep.as_bytes())])
                .file("a", b"")
        ),
        EntryError::TooDeep { .. }
    ));
    // The size alone is refused: nothing is read into memory for it.
    for kind in [
        EntryType::XHeader,
        EntryType::GNULongName,
        EntryType::GNULongLink,
    ] {
        let mut huge = header(kind, "x", 1 << 30);
        assert!(matches!(
            refusal(TarBytes::default().raw(&mut huge, b"")),
            EntryError::BadExtension | EntryError::TooLong { .. }
        ));
    }
    let limits = Limits {
        layer_entries: 2,
        ..Limits::default()
    };
    let tar = TarBytes::default()
        .file("a", b"")
        .file("b", b"")
        .file("c", b"")
        .finish();
    let mut stream = TarStream::new(&tar[..], limits);
    stream.next_entry().unwrap();
    stream.next_entry().unwrap();
    assert!(matches!(
        stream.next_entry(),
        Err(LayerError::TooLarge {
            what: "entries",
            limit: 2
        })
    ));
}

#[test]
fn an_archive_that_ends_early_is_told_from_one_that_ends() {
    let tar = TarBytes::default().file("a", &[7; 600]).finish();
    // Without the empty blocks, and with one of them, it is still whole.
    assert_eq!(entries_of(&tar[..1536]).unwrap().len(), 1);
    assert_eq!(entries_of(&tar[..2048]).unwrap().len(), 1);
    for length in [1, 511, 513, 1100, 1535] {
        assert!(
            matches!(entries_of(&tar[..length]), Err(LayerError::Truncated)),
            "{length}"
        );
    }
    let mut damaged = tar;
    damaged[3] = b'x';
    assert!(matches!(entries_of(&damaged), Err(LayerError::BadHeader)));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = entries_of(&bytes);
    }

    #[test]
    fn no_field_of_a_header_makes_it_panic(
        fields in prop::collection::vec(any::<u8>(), 512),
        at in 0_usize..480,
        count in 1_usize..32,
        kind in prop::sample::select(vec![b'0', b'1', b'2', b'5', b'6', b'7', b'L', b'K', b'x', b'g']),
    ) {
        let mut plain = header(EntryType::new(kind), "name", 0);
        plain.as_mut_bytes()[at..at + count].copy_from_slice(&fields[at..at + count]);
        let _ = entries_of(&TarBytes::default().raw(&mut plain, b"").finish());
    }

    #[test]
    fn an_accepted_path_has_only_plain_parts(text in "[a./\\x00]{0,12}") {
        if let Ok(path) = LayerPath::parse(text.as_bytes(), &Limits::default()) {
            prop_assert!(!text.starts_with('/'));
            for part in path.parts() {
                prop_assert!(!part.is_empty() && part != b"." && part != b"..");
                prop_assert!(!part.contains(&b'/') && !part.contains(&0));
            }
        }
    }
}
