//! The topmost layer of every image: what depends on the host and not on the image.
//!
//! It holds the name server's address, the certificates that the host trusts, and the folders that a sandbox's
//! own mounts go on. It is a plain folder named after its contents, shared by all sandboxes.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Where Debian and most of its relatives keep the bundle of trusted certificates.
pub const CA_BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Where an administrator puts certificates of their own; `update-ca-certificates` reads them again.
const LOCAL_CERTIFICATES: &str = "usr/local/share/ca-certificates";

/// The operator's own for sandboxes, among those.
const EXTRA_CERTIFICATES: &str = "alcove-extra.crt";

/// Makes the layer below `folder`, or finds the one of the same contents, and returns its path.
///
/// `extra` are more certificates to trust, as PEM.
pub fn ensure(folder: &Path, gateway: Ipv4Addr, extra: &str) -> io::Result<PathBuf> {
    ensure_from(folder, gateway, None, extra, Path::new("/"))
}

/// Like [`ensure`], with a table of hosts: a sandbox has one on its disk, a step of a build must not.
pub fn ensure_with_hosts(
    folder: &Path,
    gateway: Ipv4Addr,
    extra: &str,
    hosts: &str,
) -> io::Result<PathBuf> {
    ensure_from(folder, gateway, Some(hosts), extra, Path::new("/"))
}

fn ensure_from(
    folder: &Path,
    gateway: Ipv4Addr,
    hosts: Option<&str>,
    extra: &str,
    host: &Path,
) -> io::Result<PathBuf> {
    let mut files = vec![(
        "etc/resolv.conf".to_owned(),
        format!("nameserver {gateway}\n").into_bytes(),
    )];
    if let Some(hosts) = hosts {
        files.push(("etc/hosts".to_owned(), hosts.as_bytes().to_vec()));
    }
    if let Ok(mut bundle) = fs::read(host.join(CA_BUNDLE)) {
        if !extra.is_empty() {
            // The last line of a bundle may lack its end.
            bundle.extend(b"\n");
            bundle.extend(extra.as_bytes());
        }
        files.push((CA_BUNDLE.to_owned(), bundle));
    }
    if !extra.is_empty() {
        let name = format!("{LOCAL_CERTIFICATES}/{EXTRA_CERTIFICATES}");
        files.push((name, extra.as_bytes().to_vec()));
    }
    for entry in fs::read_dir(host.join(LOCAL_CERTIFICATES))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|e| e == "crt")
            && let Ok(bytes) = fs::read(entry.path())
        {
            files.push((format!("{LOCAL_CERTIFICATES}/{name}"), bytes));
        }
    }
    files.sort();

    let mut hash = Sha256::new();
    for (name, bytes) in &files {
        hash.update(name.as_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    let name = hex::encode(&hash.finalize()[..12]);
    let path = folder.join(&name);
    if path.is_dir() {
        return Ok(path);
    }
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    let draft = tempfile::tempdir_in(folder)?;
    write(draft.path(), &files)?;
    // Two that do this at once make the same contents; the second finds the first one's in its way.
    match fs::rename(draft.path(), &path) {
        Err(error) if !path.is_dir() => return Err(error),
        _ => {}
    }
    Ok(path)
}

fn write(root: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    open(root, 0o755)?;
    for folder in ["proc", "sys", "dev"] {
        fs::create_dir(root.join(folder))?;
        open(&root.join(folder), 0o755)?;
    }
    for (name, bytes) in files {
        let path = root.join(name);
        let mut folder = root.to_owned();
        for part in Path::new(name).parent().into_iter().flatten() {
            folder.push(part);
            if !folder.is_dir() {
                fs::create_dir(&folder)?;
                open(&folder, 0o755)?;
            }
        }
        fs::write(&path, bytes)?;
        open(&path, 0o644)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_layer_changes_its_name_with_what_the_host_trusts_and_stays_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let host = tempfile::tempdir().unwrap();
        let gateway = Ipv4Addr::new(10, 200, 0, 1);
        let bare = ensure_from(folder.path(), gateway, None, "", host.path()).unwrap();
        assert_eq!(
            fs::read_to_string(bare.join("etc/resolv.conf")).unwrap(),
            "nameserver 10.200.0.1\n"
        );
        assert_eq!(
            ensure_from(folder.path(), gateway, None, "", host.path()).unwrap(),
            bare
        );

        fs::create_dir_all(host.path().join("etc/ssl/certs")).unwrap();
        fs::write(host.path().join(CA_BUNDLE), "a certificate").unwrap();
        let trusting = ensure_from(folder.path(), gateway, None, "", host.path()).unwrap();
        assert_ne!(trusting, bare);
        assert_eq!(
            fs::read_to_string(trusting.join(CA_BUNDLE)).unwrap(),
            "a certificate"
        );
        let more = ensure_from(folder.path(), gateway, None, "one more", host.path()).unwrap();
        let trusted = fs::read_to_string(more.join(CA_BUNDLE)).unwrap();
        assert_eq!(trusted, "a certificate\none more");
        let own = more.join(LOCAL_CERTIFICATES).join(EXTRA_CERTIFICATES);
        assert_eq!(fs::read_to_string(own).unwrap(), "one more");
        assert_eq!(
            fs::metadata(&trusting).unwrap().permissions().mode() & 0o777,
            0o755
        );
    }
}
