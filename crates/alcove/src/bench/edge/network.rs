//! Another process's network, and work that is done in it.

use std::fs::File;
use std::os::fd::AsFd as _;

use anyhow::Context;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

#[derive(Debug)]
pub struct Network(File);

impl Network {
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{process}/ns/net");
        let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        Ok(Self(file))
    }

    /// Takes the calling thread into it for good.
    pub fn enter(&self) -> anyhow::Result<()> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .context("cannot step into another network")
    }

    /// Does it in a thread of its own, which ends in there. Sockets that it makes stay where they were made.
    pub fn within<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            let working = scope.spawn(|| {
                self.enter()?;
                work()
            });
            working
                .join()
                .map_err(|_| anyhow::anyhow!("a thread in another network has panicked"))?
        })
    }
}
