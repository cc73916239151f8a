//! What is set for the whole of libgit2, while there is one thread that uses it.

#![expect(unsafe_code, reason = "settings of libgit2 have no safe wrapper")]

use git2::Error;
use git2::transport::{self, SmartSubtransport, Transport};

/// How much of a pack is mapped at a time, and how much of all of them.
const WINDOW_BYTES: usize = 32 << 20;
const MAPPED_BYTES: usize = 256 << 20;

/// Objects kept in memory because they may be wanted again.
const CACHE_BYTES: isize = 64 << 20;

/// Sets bounds for memory, and has any owner of a repository accepted: the caller has named it.
pub fn configure() -> Result<(), Error> {
    // SAFETY: the calls write globals of libgit2, which no other thread uses yet. JUSTIFICATION: git2 leaves the care
    // for that to its caller.
    unsafe {
        git2::opts::set_verify_owner_validation(false)?;
        git2::opts::set_mwindow_size(WINDOW_BYTES)?;
        git2::opts::set_mwindow_mapped_limit(MAPPED_BYTES)?;
        git2::opts::set_cache_max_size(CACHE_BYTES)
    }
}

/// Has HTTP remotes use a transport of ours from now on.
pub fn register_http_transport<S, F>(make: F) -> Result<(), Error>
where
    S: SmartSubtransport,
    F: Fn() -> S + Clone + Send + Sync + 'static,
{
    for scheme in ["http", "https"] {
        let make = make.clone();
        // SAFETY: the table of transports is written here only, by the one thread that uses libgit2. JUSTIFICATION:
        // git2 leaves the care for that to its caller.
        unsafe {
            transport::register(scheme, move |remote| Transport::smart(remote, true, make()))?;
        }
    }
    Ok(())
}
