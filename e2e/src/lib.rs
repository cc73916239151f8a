//! What the whole-system tests share: real programs, real images, and a look at what is left on the host.
//!
//! The tests need root and two folders that `make e2e` prepares: `ALCOVE_PARTS_DIR` with the static programs,
//! `ALCOVE_IMAGES_DIR` with the image archives. Each test has a data folder, an address pool and control
//! groups of its own, so that they can run side by side.

pub mod host;
pub mod instance;
pub mod runner;
pub mod server;
pub mod wait;
pub mod web;

use std::path::PathBuf;

/// A program or archive that `make e2e` has prepared.
///
/// # Panics
/// With what to do, where it is missing: a test that is skipped would look like one that passed.
pub fn prepared(variable: &str, name: &str) -> PathBuf {
    let folder = std::env::var_os(variable).map_or_else(
        || panic!("{variable} is not set; run these tests with `make e2e`"),
        PathBuf::from,
    );
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing; run `make e2e`",
        path.display()
    );
    path
}
