//! Addresses behind `ADD`.

use crate::step::{Fetch, Fetched};

const SCHEMES: [&str; 4] = ["http://", "https://", "git://", "ssh://"];

/// What stands in front of the name of a host in git's short form.
const SHORT_FORM: &str = "git@";

const GIT_ENDING: &str = ".git";

/// What a file is called whose address names none, in a target that is no folder.
const NAMELESS: &str = "file";

const DIGEST_PREFIX: &str = "sha256:";
const DIGEST_DIGITS: usize = 64;

/// Digits of the id of a commit.
const COMMIT_DIGITS: [usize; 2] = [40, 64];

/// What the flags say of all addresses of an instruction.
#[derive(Debug, Default)]
pub struct Wishes<'a> {
    pub checksum: Option<&'a str>,
    pub keeps_git_dir: bool,
    pub unpacks: bool,
    /// The target is a folder, in which a file needs a name.
    pub is_folder: bool,
}

/// Why a copy of an address is refused.
pub const NOT_BY_COPY: &str = "COPY takes nothing from an address: ADD does";

/// Whether a source is to be fetched from somewhere.
pub fn is_remote(path: &str) -> bool {
    SCHEMES.iter().any(|scheme| path.starts_with(scheme)) || path.starts_with(SHORT_FORM)
}

/// What an address means: a repository where it has a scheme of git's, or ends with `.git`, and a file else.
pub fn read(address: &str, wishes: &Wishes<'_>) -> Result<Fetch, String> {
    let (place, fragment) = match address.split_once('#') {
        Some((place, fragment)) => (place, Some(fragment)),
        None => (address, None),
    };
    let is_http = place.starts_with("http");
    let what = if !is_http || place.trim_end_matches('/').ends_with(GIT_ENDING) {
        if wishes.checksum.is_some() {
            return Err("--checksum is for files: name a commit behind #".to_owned());
        }
        let (reference, folder) = match fragment.unwrap_or_default().split_once(':') {
            Some((reference, folder)) => (reference, folder),
            None => (fragment.unwrap_or_default(), ""),
        };
        Fetched::Repository {
            reference: (!reference.is_empty()).then(|| reference.to_owned()),
            folder: super::copy::clean(folder),
            keeps_git_dir: wishes.keeps_git_dir,
        }
    } else {
        if wishes.keeps_git_dir {
            return Err("--keep-git-dir is for repositories".to_owned());
        }
        let name = name_of(place);
        if name.is_none() && wishes.is_folder {
            return Err(format!(
                "{place:?} names no file: give the target a name that does not end with a slash"
            ));
        }
        Fetched::File {
            name: name.unwrap_or(NAMELESS).to_owned(),
            checksum: wishes.checksum.map(digest).transpose()?,
            unpacks: wishes.unpacks,
        }
    };
    Ok(Fetch {
        address: place.to_owned(),
        what,
    })
}

/// Whether a reference is the id of a commit, whole.
pub fn is_commit(reference: &str) -> bool {
    COMMIT_DIGITS.contains(&reference.len())
        && reference.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn digest(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix(DIGEST_PREFIX).unwrap_or_default();
    if digits.len() == DIGEST_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(digits.to_ascii_lowercase());
    }
    Err(format!(
        "--checksum={text} is not supported: give {DIGEST_PREFIX} and {DIGEST_DIGITS} digits"
    ))
}

/// The last part of the path, as it is written: what is escaped in it stays so.
fn name_of(place: &str) -> Option<&str> {
    let (_, rest) = place.split_once("://")?;
    let path = rest.split('?').next().unwrap_or_default();
    let (_, name) = path.rsplit_once('/')?;
    (!matches!(name, "" | "." | "..")).then_some(name)
}
