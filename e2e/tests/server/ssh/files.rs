//! `sftp`, `scp` and `rsync`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use tokio::process::Command;

use super::*;

async fn sum(access: &Access, name: &str) -> String {
    let line = said(access.ssh([format!("sha256sum {name}")])).await;
    line.split(' ').next().unwrap().to_owned()
}

fn sum_here(path: &Path) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(fs::read(path).unwrap());
    hex::encode(digest)
}

#[tokio::test]
async fn scp_carries_files_and_folders_there_and_back() {
    let (_server, access) = start().await;
    let (big, back) = (access.path("big"), access.path("back"));
    fs::write(&big, noise(24 << 20)).unwrap();
    fs::set_permissions(&big, fs::Permissions::from_mode(0o750)).unwrap();
    let mut there = access.program("scp");
    there
        .arg("-p")
        .arg(&big)
        .arg(format!("{}:big", access.login()));
    said(there).await;
    assert_eq!(sum(&access, "big").await, sum_here(&big));
    assert_eq!(said(access.ssh(["stat -c %a big"])).await, "750\n");
    let mut here = access.program("scp");
    here.arg(format!("{}:big", access.login())).arg(&back);
    said(here).await;
    assert_eq!(sum_here(&back), sum_here(&big));

    let tree = access.path("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    for number in 0..150 {
        fs::write(tree.join(format!("a/{number}")), number.to_string()).unwrap();
    }
    fs::write(tree.join("a/b/c"), "deep").unwrap();
    let mut there = access.program("scp");
    there
        .arg("-r")
        .arg(&tree)
        .arg(format!("{}:", access.login()));
    said(there).await;
    assert_eq!(
        said(access.ssh(["cat tree/a/b/c; ls tree/a | wc -l"]))
            .await
            .trim(),
        "deep151"
    );
    let mut here = access.program("scp");
    here.arg("-r")
        .arg(format!("{}:tree", access.login()))
        .arg(back.with_extension("tree"));
    said(here).await;
    assert_eq!(
        fs::read_dir(back.with_extension("tree").join("a"))
            .unwrap()
            .count(),
        151
    );
}

#[tokio::test]
async fn sftp_does_what_its_commands_say() {
    let (_server, access) = start().await;
    fs::write(access.path("one"), "first").unwrap();
    let batch = access.path("batch");
    let commands = format!(
        "put {one} one\nrename one two\nln -s two link\nln two hard\nchmod 600 two\nmkdir folder\nput {one} folder/x\n\
         rm folder/x\nrmdir folder\nls -l\nget link {back}\ndf\n-get missing {back}\n",
        one = access.path("one").display(),
        back = access.path("back").display()
    );
    // The server does not tell of its disk.
    fs::write(&batch, commands.replace("df\n", "")).unwrap();
    let mut sftp = access.program("sftp");
    sftp.arg("-b").arg(&batch).arg(access.login());
    let ended = output(sftp).await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(text(&ended.stderr).contains("not found"), "{ended:?}");
    assert_eq!(fs::read(access.path("back")).unwrap(), b"first");
    let seen = said(access.ssh([
        "stat -c '%a %h' two; readlink link; ls -d folder".to_owned() + " 2>/dev/null || echo gone",
    ]))
    .await;
    assert_eq!(seen, "600 2\ntwo\ngone\n");
}

/// The image has no rsync: the host's goes there with what it is linked with.
#[tokio::test]
async fn rsync_sends_a_tree_and_then_only_what_changed() {
    let (_server, access) = start().await;
    let linked = Command::new("ldd")
        .arg("/usr/bin/rsync")
        .output()
        .await
        .unwrap();
    let linked = text(&linked.stdout);
    let libraries: Vec<&str> = linked
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .collect();
    let loader = libraries
        .iter()
        .find_map(|path| {
            path.rsplit('/')
                .next()
                .filter(|name| name.starts_with("ld-"))
        })
        .expect("rsync is linked with a loader");
    said(access.ssh(["mkdir rs"])).await;
    let mut there = access.program("scp");
    there
        .args(&libraries)
        .arg("/usr/bin/rsync")
        .arg(format!("{}:rs/", access.login()));
    said(there).await;

    let tree = access.path("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("sub/big"), noise(8 << 20)).unwrap();
    fs::write(tree.join("small"), "one").unwrap();
    symlink("small", tree.join("link")).unwrap();
    let remote = format!("--rsync-path=rs/{loader} --library-path rs rs/rsync");
    let rsync = |from: String, to: String| {
        let mut shell = vec!["ssh".to_owned()];
        shell.extend(access.options());
        let mut command = Command::new("rsync");
        command
            .args(["-a", "--stats", "-e", &shell.join(" "), &remote])
            .args([from, to])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    };
    let (here, far) = (
        format!("{}/", tree.display()),
        format!("{}:copy", access.login()),
    );
    said(rsync(here.clone(), far.clone())).await;
    assert_eq!(
        sum(&access, "copy/sub/big").await,
        sum_here(&tree.join("sub/big"))
    );
    assert_eq!(said(access.ssh(["readlink copy/link"])).await, "small\n");
    fs::write(tree.join("small"), "changed").unwrap();
    let again = said(rsync(here, far.clone())).await;
    assert!(
        again.contains("Number of regular files transferred: 1\n"),
        "{again}"
    );
    let back = access.path("back");
    said(rsync(format!("{far}/"), back.display().to_string())).await;
    assert_eq!(fs::read(back.join("small")).unwrap(), b"changed");
    assert_eq!(
        sum_here(&back.join("sub/big")),
        sum_here(&tree.join("sub/big"))
    );
}
