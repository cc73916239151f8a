//! What a copy takes from elsewhere: fetched inside of its step, by the network of the step, and copied from there.
//!
//! So it is held by the same policy as a command of the step, and the host speaks to nobody.

use alcove_agent_api::{BuildCopyRequest, BuildFetchRequest, BuildFetched};
use alcove_build::{Fetch, Fetched, is_commit};

/// Folders for what is fetched have names that begin with this. They are on the disk of the step, since a file may be
/// large, and go before a layer is made of it.
const PREFIX: &str = "/.alcove-build-fetched-";

/// What is to be fetched, each into a folder of its own, and the copies from there, which are like the one of the other
/// sources.
pub fn requests(
    fetched: &[Fetch],
    like: &BuildCopyRequest,
) -> (Vec<BuildFetchRequest>, Vec<BuildCopyRequest>) {
    let each = fetched.iter().enumerate().map(|(number, fetch)| {
        let root = format!("{PREFIX}{number}");
        let copy = BuildCopyRequest {
            root: root.clone(),
            paths: vec![fetch.what.pattern()],
            inline: Vec::new(),
            unpacks: matches!(fetch.what, Fetched::File { unpacks: true, .. }),
            removes_root: true,
            ..like.clone()
        };
        let (path, what) = match &fetch.what {
            Fetched::File { name, checksum, .. } => {
                let checksum = checksum.clone();
                (format!("{root}/{name}"), BuildFetched::File { checksum })
            }
            Fetched::Repository {
                reference,
                keeps_git_dir,
                ..
            } => {
                let (branch, commit) = match reference.clone() {
                    Some(reference) if is_commit(&reference) => (None, Some(reference)),
                    reference => (reference, None),
                };
                let what = BuildFetched::Repository {
                    branch,
                    commit,
                    keeps_git_dir: *keeps_git_dir,
                };
                (root, what)
            }
        };
        let address = fetch.address.clone();
        let request = BuildFetchRequest {
            address,
            path,
            what,
        };
        (request, copy)
    });
    each.unzip()
}
