//! The system's trust store, in the way of Debian and what comes of it.

use std::fs;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// Where authorities of this machine's own are put.
const FOLDER: &str = "/usr/local/share/ca-certificates";
/// Takes them into the store.
const UPDATE: &str = "/usr/sbin/update-ca-certificates";

fn file_of(name: &str) -> PathBuf {
    let file: String = name
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    Path::new(FOLDER).join(format!("{file}.crt"))
}

pub(super) fn is_installed(name: &str) -> bool {
    file_of(name).is_file()
}

/// Has the system trust an authority. Doing it again changes nothing.
pub(super) fn install(name: &str, authority: &Path) -> anyhow::Result<()> {
    if !Path::new(UPDATE).exists() {
        anyhow::bail!(
            "this system has no {UPDATE} (on Debian: the package ca-certificates); have it trust {} in its own way, \
             on Fedora by a copy in /etc/pki/ca-trust/source/anchors and `update-ca-trust`",
            authority.display()
        );
    }
    let text =
        fs::read(authority).with_context(|| format!("cannot read {}", authority.display()))?;
    let file = file_of(name);
    fs::create_dir_all(FOLDER).with_context(|| format!("cannot make {FOLDER}"))?;
    fs::write(&file, text)
        .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o644)))
        .with_context(|| format!("cannot write {}; are you root?", file.display()))?;
    update()
}

pub(super) fn remove(name: &str) -> anyhow::Result<()> {
    let file = file_of(name);
    match fs::remove_file(&file) {
        Ok(()) => update(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", file.display())),
    }
}

fn update() -> anyhow::Result<()> {
    let output = Command::new(UPDATE)
        .output()
        .with_context(|| format!("cannot start {UPDATE}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{UPDATE} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Asks the person at the terminal; no without one.
pub(super) fn confirm() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    println!(
        "Python clients upload files for images only to a server whose certificate this system trusts."
    );
    print!(
        "Let this system trust a certificate authority that Alcove makes for this machine? [y/N] "
    );
    std::io::stdout().flush().context("cannot ask")?;
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("cannot read the answer")?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
