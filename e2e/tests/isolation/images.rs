//! Layers that several sandboxes share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use alcove_e2e::runner::TestRunner;

use crate::support::{Inside, fingerprint};

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
