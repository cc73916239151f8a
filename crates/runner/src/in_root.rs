//! Paths that others decide, followed as if a folder was the root.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// How often a path is followed before the host is taken for too busy.
const TRIES: usize = 1000;

/// Opens what a path leads to, whose links and ways up stay below `root`. `resolve` is what else it has to heed.
///
/// The kernel gives up on a way up when anything on the host was mounted or renamed meanwhile, since it cannot tell then whether
/// it led out. That says nothing about the path, so it is followed again.
pub fn open_in_root<P: rustix::path::Arg + Copy>(
    root: impl AsFd,
    path: P,
    flags: OFlags,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | resolve;
    let flags = flags | OFlags::CLOEXEC;
    for _ in 1..TRIES {
        match openat2(root.as_fd(), path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => std::thread::yield_now(),
            other => return other,
        }
    }
    openat2(root.as_fd(), path, flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs::{self, File};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_way_up_is_followed_while_others_rename() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        let root = File::open(folder.path()).unwrap();
        let path = "inner/../".repeat(50) + "inner";
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::write(&one, "").unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    fs::rename(&one, &two).unwrap();
                    fs::rename(&two, &one).unwrap();
                }
            });
            let deadline = Instant::now() + Duration::from_mins(1);
            // The control: the kernel gives up now and then.
            let mut given_up = 0;
            while given_up < 20 && Instant::now() < deadline {
                let bare = openat2(
                    &root,
                    &path[..],
                    OFlags::PATH,
                    Mode::empty(),
                    ResolveFlags::IN_ROOT,
                );
                given_up += usize::from(bare.is_err_and(|error| error == Errno::AGAIN));
                let opened = open_in_root(&root, &path[..], OFlags::PATH, ResolveFlags::NO_XDEV);
                if let Err(error) = opened {
                    is_over.store(true, Ordering::Relaxed);
                    panic!("{error} after {given_up}");
                }
            }
            is_over.store(true, Ordering::Relaxed);
            assert!(given_up > 0, "nothing disturbed the walk");
        });
    }
}
