//! What passes through the agent's memory on its way to or from a file.

use crate::sys;

/// Less than this leaves nothing behind that is worth a look.
const LARGE_BYTES: u64 = 1 << 20;

/// Counts the bytes of one transfer. The pieces are freed and taken again from the allocator's own stock, which is
/// given back when a large transfer is over: idle memory is paid for by every sandbox.
#[derive(Debug, Default)]
pub struct Traffic(u64);

impl Traffic {
    pub fn count(&mut self, bytes: usize) {
        self.0 += bytes as u64;
    }

    pub fn bytes(&self) -> u64 {
        self.0
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        if self.0 > LARGE_BYTES {
            sys::give_memory_back();
        }
    }
}
