//! What a sandbox used.

use jiff::Timestamp;

/// Numbers of a point as they are written down.
const WORDS: usize = 12;
/// Bytes of a point on disk, its checksum included.
pub(crate) const BYTES: usize = (WORDS + 1) * 8;

/// What a sandbox used at one moment, or on average over some.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Of the last sample in it.
    pub at: Timestamp,
    /// How many samples it stands for.
    pub samples: u32,
    /// Processors in use since the sample before, in thousandths of one. None where that is not known.
    pub cpu_millis: Option<f64>,
    pub cpu_limit_millis: u64,
    /// Memory without the cache of files that nobody has used of late, which the kernel gives up first.
    pub memory_bytes: f64,
    /// The cache of files.
    pub cache_bytes: f64,
    pub memory_limit_bytes: u64,
    pub disk: Option<Disk>,
    pub traffic: Option<Traffic>,
    /// What the averages that may be missing stand for.
    pub(crate) cpu_samples: u32,
    pub(crate) disk_samples: u32,
}

/// The file system that a sandbox writes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disk {
    pub used_bytes: f64,
    pub total_bytes: u64,
}

/// Since the sandbox was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    pub received_bytes: u64,
    pub sent_bytes: u64,
}

impl Point {
    /// One sample.
    #[expect(clippy::too_many_arguments, reason = "each is a number of its own")]
    pub fn new(
        at: Timestamp,
        cpu_millis: Option<f64>,
        cpu_limit_millis: u64,
        memory_bytes: u64,
        cache_bytes: u64,
        memory_limit_bytes: u64,
        disk: Option<(u64, u64)>,
        traffic: Option<Traffic>,
    ) -> Self {
        Self {
            at,
            samples: 1,
            cpu_millis,
            cpu_limit_millis,
            memory_bytes: float(memory_bytes),
            cache_bytes: float(cache_bytes),
            memory_limit_bytes,
            disk: disk.map(|(used, total_bytes)| Disk {
                used_bytes: float(used),
                total_bytes,
            }),
            traffic,
            cpu_samples: u32::from(cpu_millis.is_some()),
            disk_samples: u32::from(disk.is_some()),
        }
    }

    /// The average of all samples in both. Limits and counters are those of the later one.
    #[must_use]
    pub fn with(self, later: Self) -> Self {
        let mean = |a: f64, a_count: u32, b: f64, b_count: u32| {
            let all = f64::from(a_count) + f64::from(b_count);
            a + (b - a) * f64::from(b_count) / all
        };
        let (a, b) = (self.samples, later.samples);
        let cpu_millis = match (self.cpu_millis, later.cpu_millis) {
            (Some(x), Some(y)) => Some(mean(x, self.cpu_samples, y, later.cpu_samples)),
            (x, y) => x.or(y),
        };
        let disk = match (self.disk, later.disk) {
            (Some(x), Some(y)) => Some(Disk {
                used_bytes: mean(
                    x.used_bytes,
                    self.disk_samples,
                    y.used_bytes,
                    later.disk_samples,
                ),
                total_bytes: y.total_bytes,
            }),
            (x, y) => x.or(y),
        };
        Self {
            at: later.at,
            samples: a.saturating_add(b),
            cpu_millis,
            cpu_limit_millis: later.cpu_limit_millis,
            memory_bytes: mean(self.memory_bytes, a, later.memory_bytes, b),
            cache_bytes: mean(self.cache_bytes, a, later.cache_bytes, b),
            memory_limit_bytes: later.memory_limit_bytes,
            disk,
            traffic: later.traffic.or(self.traffic),
            cpu_samples: self.cpu_samples.saturating_add(later.cpu_samples),
            disk_samples: self.disk_samples.saturating_add(later.disk_samples),
        }
    }

    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let disk = self.disk.unwrap_or(Disk {
            used_bytes: 0.0,
            total_bytes: 0,
        });
        let traffic = self.traffic.unwrap_or(Traffic {
            received_bytes: 0,
            sent_bytes: 0,
        });
        let words: [u64; WORDS] = [
            self.at.as_millisecond().cast_unsigned(),
            pair(self.samples, self.cpu_samples),
            pair(self.disk_samples, u32::from(self.traffic.is_some())),
            self.cpu_millis.unwrap_or_default().to_bits(),
            self.cpu_limit_millis,
            self.memory_bytes.to_bits(),
            self.cache_bytes.to_bits(),
            self.memory_limit_bytes,
            disk.used_bytes.to_bits(),
            disk.total_bytes,
            traffic.received_bytes,
            traffic.sent_bytes,
        ];
        let mut bytes = [0; BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let sum = checksum(&bytes[..WORDS * 8]);
        bytes[WORDS * 8..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// None for what was never written, or only half.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut words = [0; WORDS + 1];
        for (word, place) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(place.try_into().ok()?);
        }
        if bytes.len() != BYTES || words[WORDS] != checksum(&bytes[..WORDS * 8]) {
            return None;
        }
        let low = |word: u64| u32::try_from(word & u64::from(u32::MAX)).ok();
        let high = |word: u64| u32::try_from(word >> 32).ok();
        let (samples, cpu_samples) = (low(words[1])?, high(words[1])?);
        let (disk_samples, has_traffic) = (low(words[2])?, high(words[2])? != 0);
        Some(Self {
            at: Timestamp::from_millisecond(words[0].cast_signed()).ok()?,
            samples,
            cpu_millis: (cpu_samples > 0).then(|| f64::from_bits(words[3])),
            cpu_limit_millis: words[4],
            memory_bytes: f64::from_bits(words[5]),
            cache_bytes: f64::from_bits(words[6]),
            memory_limit_bytes: words[7],
            disk: (disk_samples > 0).then(|| Disk {
                used_bytes: f64::from_bits(words[8]),
                total_bytes: words[9],
            }),
            traffic: has_traffic.then_some(Traffic {
                received_bytes: words[10],
                sent_bytes: words[11],
            }),
            cpu_samples,
            disk_samples,
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 8 PiB, and an average above"
)]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

/// FNV-1a. Tells what was torn from what was written, which is all that is asked of it. Not zero for zeros.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
