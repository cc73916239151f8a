//! Gives back memory that the server, or a runner in a process of its own, does not need any more.
//!
//! A start runs much of the program once, reads what the program carries for sandboxes, and makes documents of all
//! routes; an image that is unpacked takes buffers. The C library's allocator keeps what was freed, and the kernel the
//! pages of the program that were touched, where nothing else is in want of memory. A host has better uses for both. It is
//! done when the process is at rest, so that nobody waits for it.

use std::fs;
use std::time::Duration;

use alcove_runner::give_back_memory;
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

/// How often what is held is looked at, which reads one small file.
const LOOK_PAUSE: Duration = Duration::from_secs(15);

/// A process that took less of a processor than this since the last look is at rest: one part in a hundred.
const REST: Duration = Duration::from_millis(150);

/// Growth since the last time that makes it worth looking through what was freed.
const WORTH_BYTES: u64 = 8 << 20;

/// Of x86-64.
const PAGE_BYTES: u64 = 4096;

/// Gives back what the start took, and from then on what work took, until the process stops.
pub async fn keep_small(stop: CancellationToken) {
    let mut last = Look {
        held: 0,
        worked: processor_time(),
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_PAUSE) => {}
        }
        if last.is_worth_it(resident_bytes(), processor_time()) {
            // It takes the allocator's locks one after the other, and a call of the system for each gap.
            let _ = tokio::task::spawn_blocking(give_back_memory).await;
            last.held = resident_bytes().unwrap_or(u64::MAX);
        }
    }
}

/// What was seen at the last look.
struct Look {
    /// Bytes in memory after they were given back last.
    held: u64,
    worked: Duration,
}

impl Look {
    /// Whether to give back what is there now, and notes how much has been worked.
    fn is_worth_it(&mut self, resident: Option<u64>, worked: Duration) -> bool {
        let before = std::mem::replace(&mut self.worked, worked);
        let is_at_rest = worked.saturating_sub(before) < REST;
        is_at_rest && resident.is_some_and(|now| now > self.held.saturating_add(WORTH_BYTES))
    }
}

/// What all threads of this process have computed so far.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime)
        .try_into()
        .unwrap_or_default()
}

/// What of this process is in memory.
fn resident_bytes() -> Option<u64> {
    // In pages: the size, what of it is in memory, and more.
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn what_is_resident_is_read_in_bytes() {
        let resident = resident_bytes().unwrap();
        assert!(
            resident > 1 << 20 && resident.is_multiple_of(PAGE_BYTES),
            "{resident}"
        );
    }

    #[test]
    fn it_is_given_back_at_rest_alone_and_where_there_is_more_than_last_time() {
        let mut last = Look {
            held: 0,
            worked: Duration::ZERO,
        };
        let much = Some(WORTH_BYTES + 1);
        let second = Duration::from_secs(1);
        assert!(!last.is_worth_it(much, second), "it worked");
        assert!(last.is_worth_it(much, second + REST / 2), "it rested since");
        last.held = WORTH_BYTES;
        assert!(!last.is_worth_it(much, second + REST), "nothing has grown");
        let grown = Some(2 * WORTH_BYTES + 1);
        assert!(last.is_worth_it(grown, second + REST));
        assert!(!last.is_worth_it(None, second + REST), "nobody knows");
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_until_the_server_stops() {
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep_small(stop.clone()));
        tokio::time::sleep(3 * LOOK_PAUSE).await;
        assert!(!task.is_finished());
        stop.cancel();
        task.await.unwrap();
    }
}
