#![expect(clippy::unwrap_used, reason = "a test may panic")]
use alcove_agent_api::ErrorCode;

use super::*;

fn write(path: &Path, content: &[u8]) -> Result<u64, FileError> {
    let mut writing = Writing::open(path)?;
    writing.write(content)?;
    writing.commit().map(|written| written.bytes)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_new_file_appears_with_its_folders() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    assert_eq!(write(&path, b"xyz").unwrap(), 3);
    assert_eq!(std::fs::read(&path).unwrap(), b"xyz");
    assert_eq!(names(path.parent().unwrap()), ["c"]);
}

#[test]
fn a_broken_off_write_leaves_the_old_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, "old").unwrap();
    let mut writing = Writing::open(&path).unwrap();
    writing.write(b"half").unwrap();
    drop(writing);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(names(dir.path()), ["f"]);
}

#[test]
fn a_replaced_file_keeps_mode_and_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, "a much longer old content").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4711)).unwrap();
    let is_root = rustix::process::getuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4711)).unwrap();
    }
    write(&path, b"new").unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o4711);
    if is_root {
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 4321));
    }
    assert_eq!(names(dir.path()), ["f"]);
}

#[test]
fn a_link_is_written_through() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::write(dir.path().join("d/real"), "old").unwrap();
    std::os::unix::fs::symlink("d/real", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("d/new", dir.path().join("dangling")).unwrap();
    write(&dir.path().join("link"), b"1").unwrap();
    write(&dir.path().join("dangling"), b"2").unwrap();
    assert_eq!(std::fs::read(dir.path().join("d/real")).unwrap(), b"1");
    assert_eq!(std::fs::read(dir.path().join("d/new")).unwrap(), b"2");
    assert!(dir.path().join("link").is_symlink());
}

#[test]
fn the_hidden_name_works_as_the_nameless_file_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, "old").unwrap();
    let writing = |content: &[u8]| {
        let metadata = std::fs::metadata(&path).ok();
        let place =
            Writing::open_hidden(&path, dir.path(), metadata, Fallback::WriteInPlace).unwrap();
        assert!(matches!(place, Place::Hidden { .. }));
        let (path, target) = (path.clone(), path.clone());
        let mut writing = Writing {
            path,
            target,
            place,
            traffic: Traffic::default(),
        };
        writing.write(content).unwrap();
        writing
    };
    drop(writing(b"half"));
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    writing(b"new").commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["f"]);
}

#[test]
fn a_rewrite_elsewhere_leaves_the_old_content_until_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, "a longer old content").unwrap();
    let place = Place::Elsewhere(open_elsewhere().unwrap());
    let (target, shown) = (path.clone(), path.clone());
    let mut writing = Writing {
        path: shown,
        target,
        place,
        traffic: Traffic::default(),
    };
    writing.write(b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"a longer old content");
    writing.commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
}

#[test]
fn a_large_file_that_is_replaced_is_handed_to_the_caller() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let replaced = |size: u64| {
        File::create(&path).unwrap().set_len(size).unwrap();
        let mut writing = Writing::open(&path).unwrap();
        writing.write(b"new").unwrap();
        let written = writing.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        written.replaced
    };
    assert!(replaced(LARGE_BYTES - 1).is_none());
    let old = rustix::fs::fstat(replaced(LARGE_BYTES).unwrap()).unwrap();
    assert_eq!(
        (old.st_size.cast_unsigned(), old.st_nlink),
        (LARGE_BYTES, 0)
    );
}

#[test]
fn pieces_arrive_in_order_and_empty_ones_do_not_end_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let mut writing = Writing::open(&path).unwrap();
    let pieces: [&[u8]; 5] = [b"", b"ab", b"", b"c", b""];
    writing.write_pieces(pieces).unwrap();
    writing.write_pieces([]).unwrap();
    writing.write(b"d").unwrap();
    assert_eq!(writing.commit().unwrap().bytes, 4);
    assert_eq!(std::fs::read(&path).unwrap(), b"abcd");
}

#[test]
fn what_is_no_file_is_refused_or_written_directly() {
    let dir = tempfile::tempdir().unwrap();
    let code = |path: &Path| write(path, b"x").unwrap_err().code;
    assert_eq!(code(dir.path()), ErrorCode::InvalidFilePath);
    assert_eq!(code(&dir.path().join("new/")), ErrorCode::InvalidFilePath);
    std::fs::write(dir.path().join("f"), "").unwrap();
    assert_eq!(code(&dir.path().join("f/g")), ErrorCode::InvalidFilePath);
    assert_eq!(write(Path::new("/dev/null"), b"x").unwrap(), 1);
}
