//! Output of one command, kept within a bound.
//!
//! Short output stays in memory. Longer output goes to an unlinked file: the beginning is kept, then the end in
//! a ring, and a line in between says how much was left out. The agent's memory does not grow with the output.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags};

/// How much is kept and where.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "units belong into names")]
pub struct CaptureLimits {
    /// In memory; everything up to here never touches a disk.
    pub memory_bytes: usize,
    /// Of the beginning, memory included.
    pub head_bytes: u64,
    /// Of the end.
    pub tail_bytes: u64,
}

impl Default for CaptureLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 10,
            head_bytes: 16 << 20,
            tail_bytes: 16 << 20,
        }
    }
}

/// Collects output.
#[derive(Debug)]
pub struct Capture {
    limits: CaptureLimits,
    memory: Vec<u8>,
    spill: Spill,
    /// Bytes seen so far.
    total: u64,
}

#[derive(Debug)]
enum Spill {
    NotNeeded,
    File(File),
    /// No file could be made or written; what did not fit in memory is gone.
    Failed,
}

impl Capture {
    pub fn new(limits: CaptureLimits) -> Self {
        Self {
            limits,
            memory: Vec::new(),
            spill: Spill::NotNeeded,
            total: 0,
        }
    }

    /// Appends a piece. May write to disk.
    pub fn push(&mut self, piece: &[u8]) {
        let room = self.limits.memory_bytes - self.memory.len();
        let (for_memory, mut rest) = piece.split_at(room.min(piece.len()));
        self.memory.extend_from_slice(for_memory);
        self.total += for_memory.len() as u64;
        while !rest.is_empty() {
            let (offset, room) = self.place(self.total);
            let take = usize::try_from(room).map_or(rest.len(), |room| room.min(rest.len()));
            self.write_spill(&rest[..take], offset);
            self.total += take as u64;
            rest = &rest[take..];
        }
    }

    /// Where byte number `at` of the output lies in the file, and how many may follow it there.
    fn place(&self, at: u64) -> (u64, u64) {
        let CaptureLimits {
            head_bytes,
            tail_bytes,
            ..
        } = self.limits;
        if at < head_bytes {
            (at, head_bytes - at)
        } else {
            let in_ring = (at - head_bytes) % tail_bytes;
            (head_bytes + in_ring, tail_bytes - in_ring)
        }
    }

    fn write_spill(&mut self, piece: &[u8], offset: u64) {
        if matches!(self.spill, Spill::NotNeeded) {
            self.spill = open_spill_file().map_or(Spill::Failed, Spill::File);
        }
        if let Spill::File(file) = &self.spill
            && file.write_all_at(piece, offset).is_err()
        {
            self.spill = Spill::Failed;
        }
    }

    /// Ends the collection.
    pub fn finish(self) -> Captured {
        let kept_end = match self.spill {
            Spill::Failed => self.memory.len() as u64,
            Spill::NotNeeded | Spill::File(_) => self.total.min(self.limits.head_bytes),
        };
        let tail_start = match self.spill {
            Spill::Failed => self.total,
            Spill::NotNeeded | Spill::File(_) => {
                let tail = self.total.saturating_sub(self.limits.head_bytes);
                self.total - tail.min(self.limits.tail_bytes)
            }
        };
        Captured {
            at: 0,
            head_end: kept_end,
            tail_start,
            capture: self,
        }
    }
}

/// Finished output, read once from its beginning.
#[derive(Debug)]
pub struct Captured {
    capture: Capture,
    at: u64,
    head_end: u64,
    tail_start: u64,
}

impl Captured {
    const PIECE: u64 = 64 << 10;

    /// Whether reading touches no disk.
    pub fn is_in_memory(&self) -> bool {
        self.capture.total == self.capture.memory.len() as u64
    }

    /// The next piece, nothing at the end.
    pub fn next_piece(&mut self) -> Option<Vec<u8>> {
        if self.at == self.head_end && self.at < self.tail_start {
            let missing = self.tail_start - self.at;
            self.at = self.tail_start;
            return Some(format!("\n[... {missing} bytes of output left out ...]\n").into_bytes());
        }
        if self.at >= self.capture.total {
            return None;
        }
        let memory = &mut self.capture.memory;
        if self.at == 0 && !memory.is_empty() {
            self.at = memory.len() as u64;
            return Some(std::mem::take(memory));
        }
        let end = if self.at < self.head_end {
            self.head_end
        } else {
            self.capture.total
        };
        let (offset, room) = self.capture.place(self.at);
        let take = room.min(end - self.at).min(Self::PIECE);
        let mut piece = vec![0; usize::try_from(take).unwrap_or(0)];
        let Spill::File(file) = &self.capture.spill else {
            return None;
        };
        if file.read_exact_at(&mut piece, offset).is_err() {
            crate::log::warn(format_args!("cannot read back a command's output"));
            return None;
        }
        self.at += take;
        Some(piece)
    }
}

fn open_spill_file() -> Option<File> {
    ["/tmp", "/var/tmp", "/dev/shm"]
        .into_iter()
        .find_map(|folder| {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)
                .ok()
                .map(File::from)
                .or_else(|| open_and_unlink(folder))
        })
}

// Not every file system has files without a name.
fn open_and_unlink(folder: &str) -> Option<File> {
    let path = format!("{folder}/.alcove-{}", uuid::Uuid::new_v4());
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .ok()?;
    std::fs::remove_file(&path).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(output: &[u8], piece: usize) -> Vec<u8> {
        let mut capture = Capture::new(CaptureLimits {
            memory_bytes: 8,
            head_bytes: 20,
            tail_bytes: 10,
        });
        for piece in output.chunks(piece) {
            capture.push(piece);
        }
        let mut captured = capture.finish();
        std::iter::from_fn(|| captured.next_piece())
            .flatten()
            .collect()
    }

    proptest! {
        #[test]
        fn beginning_and_end_are_kept_and_the_gap_is_named(
            output in proptest::collection::vec(any::<u8>(), 0..100), piece in 1usize..40
        ) {
            let wanted = if output.len() <= 30 {
                output.clone()
            } else {
                let gap = format!("\n[... {} bytes of output left out ...]\n", output.len() - 30);
                [&output[..20], gap.as_bytes(), &output[output.len() - 10..]].concat()
            };
            prop_assert_eq!(kept(&output, piece), wanted);
        }
    }
}
