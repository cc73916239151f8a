#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

use super::super::testing::TarBytes;
use super::*;

fn config() -> BuildConfig {
    serde_json::from_str(
        r#"{"User":"daytona","WorkingDir":"/home/daytona","Env":["A=1"],"Cmd":["/bin/sh"]}"#,
    )
    .unwrap()
}

#[test]
fn the_same_input_makes_the_same_archive() {
    let folder = tempfile::tempdir().unwrap();
    let rootfs = TarBytes::default().file("a", b"1").finish();
    let paths = [folder.path().join("1.tar"), folder.path().join("2.tar")];
    let digests = paths
        .each_ref()
        .map(|path| write_oci_archive(&rootfs[..], &config(), path).unwrap());
    assert_eq!(digests[0], digests[1]);
    assert_eq!(fs::read(&paths[0]).unwrap(), fs::read(&paths[1]).unwrap());
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        2,
        "nothing else is left"
    );
}

#[test]
fn an_input_that_breaks_off_leaves_no_archive() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.tar");
    let broken = write_oci_archive([1; 600].chain(Broken), &config(), &out);
    assert!(matches!(broken, Err(BuildError::Input(_))));
    assert!(matches!(
        write_oci_archive(&b""[..], &config(), &out),
        Err(BuildError::Empty)
    ));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_misspelt_key_of_the_configuration_is_refused() {
    assert!(serde_json::from_str::<BuildConfig>(r#"{"Workdir":"/"}"#).is_err());
}

#[test]
fn every_tar_reader_finds_the_parts_of_the_layout() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.tar");
    let rootfs = TarBytes::default().file("a", b"1").finish();
    write_oci_archive(&rootfs[..], &config(), &out).unwrap();
    let mut archive = tar::Archive::new(File::open(&out).unwrap());
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(names.len(), 5);
    assert!(
        names[..3]
            .iter()
            .all(|name| name.starts_with("blobs/sha256/"))
    );
    assert_eq!(names[3..], ["index.json", "oci-layout"]);
}
