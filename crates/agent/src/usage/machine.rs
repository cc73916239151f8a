//! The kernel's general tables.

use std::io;
use std::time::Duration;

use super::Memory;

/// In what programs are told, the kernel counts in hundredths of a second whatever it counts in itself.
const TICK: Duration = Duration::from_millis(10);

/// Of the machine.
pub fn memory() -> io::Result<Memory> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let bytes = |name: &str| kib(&text, name).map_or(0, |kib| kib * 1024);
    let total = bytes("MemTotal:");
    Ok(Memory {
        total,
        used: total.saturating_sub(bytes("MemAvailable:")),
        cache: bytes("Cached:"),
    })
}

fn kib(text: &str, wanted: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(wanted))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Processors that we may run on, in thousandths.
pub fn cpu_millis() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64) * 1000
}

/// What all processes that we see have used, with those that they have waited for.
pub fn processor_time() -> io::Result<Duration> {
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let is_process = entry.file_name().as_encoded_bytes()[0].is_ascii_digit();
        // It may be gone by now; then its time is in its parent's account.
        if is_process && let Ok(stat) = std::fs::read(entry.path().join("stat")) {
            ticks += ticks_of(&stat).unwrap_or(0);
        }
    }
    Ok(TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// Own time and that of children waited for, each in user and in kernel mode: fields 14 to 17. The name in the second
/// field may hold anything.
fn ticks_of(stat: &[u8]) -> Option<u64> {
    let behind_name = memchr::memrchr(b')', stat)? + 1;
    let fields = std::str::from_utf8(&stat[behind_name..]).ok()?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut sum = 0;
    for _ in 0..4 {
        sum += fields.next()?.parse::<u64>().ok()?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn the_four_times_of_a_process_are_added_up_whatever_its_name() {
        let stat = b"7 (a ) 1 (\xff) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5";
        assert_eq!(ticks_of(stat), Some(100));
        assert_eq!(ticks_of(b"7 (a"), None);
    }

    #[test]
    fn this_machine_has_memory_and_a_processor() {
        let memory = memory().unwrap();
        assert!(memory.total > memory.used && memory.used > 0);
        assert!(cpu_millis() >= 1000);
        assert!(processor_time().unwrap() > Duration::ZERO);
    }
}
