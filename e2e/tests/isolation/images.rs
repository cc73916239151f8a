//! Layers that several sandboxes share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use alcove_e2e::runner::TestRunner;

use crate::support::{Inside, fingerprint, on_host};

/// All files below a folder with what is in them.
fn contents(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.insert(entry.path(), fingerprint(&entry.path()));
            } else {
                found.insert(entry.path(), 0);
            }
        }
    }
    found
}

#[tokio::test]
async fn what_root_does_to_the_image_stays_in_its_sandbox() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    let stores = [
        host.data_dir().join("images"),
        host.data_dir().join("runner/host-layer"),
    ];
    let before = stores.each_ref().map(|store| contents(store));
    assert!(before.iter().all(|files| !files.is_empty()), "the control");

    let hash = "sha256sum /bin/busybox /etc/passwd /etc/resolv.conf; ls -lR /bin /etc | sha256sum";
    let of_neighbour = user.expect(hash).await;
    let of_own = root.expect(hash).await;
    root.expect(
        "cp /bin/busybox /bin/b && echo changed >>/bin/b && mv /bin/b /bin/busybox && echo 'evil:x:0:0::/:/bin/sh' >>/etc/passwd && \
         echo nameserver 1.2.3.4 >/etc/resolv.conf && rm /bin/vi && chmod 777 /bin && mv /etc/group /etc/gone && \
         chown 1000 /etc/shells && ln /bin/busybox /bin/hard",
    )
    .await;
    assert_ne!(root.expect(hash).await, of_own, "the control");

    assert_eq!(user.expect(hash).await, of_neighbour);
    for (store, before) in stores.iter().zip(&before) {
        assert_eq!(&contents(store), before, "{}", store.display());
    }
    let late = Inside::start(&host, "late", |spec| spec).await;
    assert_eq!(
        late.expect("sha256sum /bin/busybox").await,
        user.expect("sha256sum /bin/busybox").await
    );
}

/// The layers are not copied, so the kernel keeps one copy of a file for all. Its locks and its watches must not be
/// shared with it.
#[tokio::test]
async fn locks_of_a_shared_file_end_at_the_sandbox() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    assert_eq!(user.hold("lock /etc/shells hold").await, "ready");
    assert_eq!(
        user.probe("lock /etc/shells").await,
        "EAGAIN",
        "the control"
    );
    assert_eq!(root.probe("lock /etc/shells").await, "ok");
}

/// By such attributes and nodes overlayfs knows in a lower layer what was removed, renamed or has its content elsewhere. The
/// writable layer of a sandbox is a lower one of those that are made from its snapshot.
#[tokio::test]
async fn the_marks_of_a_layer_cannot_be_set_from_inside() {
    let host = TestRunner::start().await;
    let marks = [
        ("opaque", "y"),
        ("opaque", "x"),
        ("redirect", "/etc"),
        ("metacopy", ""),
        ("whiteout", ""),
        ("origin", ""),
        ("overlay.opaque", "y"),
    ];
    let control = tempfile::tempdir().unwrap();
    let file = control.path().join("file");
    std::fs::write(&file, "").unwrap();
    for inside in Inside::both(&host).await {
        inside.expect("mkdir /tmp/folder; touch /tmp/file").await;
        for (mark, value) in marks {
            let attempt =
                |path: &str| format!("set-attribute {path} trusted.overlay.{mark} '{value}'");
            for path in ["/tmp/folder", "/tmp/file"] {
                assert_eq!(inside.probe(&attempt(path)).await, "EPERM", "{mark} {path}");
            }
        }
        let attempt = "set-attribute /tmp/file user.overlay.opaque y";
        assert_eq!(inside.probe(attempt).await, "ok", "the control");
        let (code, output) = inside.sh("mknod /tmp/mark c 0 0 2>&1").await;
        assert_ne!(code, 0, "{output}");
    }
    let attempt = format!("set-attribute {} trusted.overlay.opaque y", file.display());
    assert_eq!(on_host(&attempt), "ok", "the control");
    let made = std::process::Command::new("mknod")
        .arg(control.path().join("mark"))
        .args(["c", "0", "0"])
        .status();
    assert!(made.unwrap().success(), "the control");
}
