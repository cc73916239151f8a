//! Points of one sandbox in a file of fixed size.
//!
//! ```text
//!   | mark | every 30 s, 2 h | every 5 min, 1 day | every hour, 14 days |
//! ```
//!
//! The place of a point is its time, divided by the step and taken modulo the number of places, so nothing has to be found
//! or moved, and what is overwritten is what has become too old. A sample goes into all three rings, where it becomes
//! part of the average of its step. A point carries its own time: one from an earlier round is known by it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use jiff::Timestamp;

use crate::point::{BYTES, Point};

/// Begins the file. Raised when a point changes its meaning; a file that begins otherwise is begun anew.
const MARK: [u8; 8] = *b"alcove-1";

struct Ring {
    step_ms: i64,
    places: i64,
    /// Of its first place in the file, in bytes.
    offset: u64,
}

const RINGS: [Ring; 3] = [
    Ring {
        step_ms: 30_000,
        places: 240,
        offset: 8,
    },
    Ring {
        step_ms: 300_000,
        places: 288,
        offset: 8 + 240 * BYTES as u64,
    },
    Ring {
        step_ms: 3_600_000,
        places: 336,
        offset: 8 + (240 + 288) * BYTES as u64,
    },
];

/// No file is larger.
#[cfg(test)]
pub(crate) const FILE_MAX_BYTES: u64 = 8 + (240 + 288 + 336) * BYTES as u64;

impl Ring {
    fn place(&self, step: i64) -> u64 {
        let index = step.rem_euclid(self.places).cast_unsigned();
        self.offset + index * BYTES as u64
    }

    /// The step that a time is in.
    fn step(&self, at: Timestamp) -> i64 {
        at.as_millisecond().div_euclid(self.step_ms)
    }

    /// The first step that is kept.
    fn oldest(&self, now: Timestamp) -> i64 {
        self.step(now) - self.places + 1
    }
}

#[derive(Debug)]
pub(crate) struct Series {
    file: File,
}

impl Series {
    /// Opens the file to write, makes it where it is not there.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let mut mark = [0; MARK.len()];
        if file.read_exact_at(&mut mark, 0).is_err() || mark != MARK {
            file.set_len(0)?;
            file.write_all_at(&MARK, 0)?;
        }
        Ok(Self { file })
    }

    /// Opens the file to read. None where there is none that can be.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut mark = [0; MARK.len()];
        let is_ours = file.read_exact_at(&mut mark, 0).is_ok() && mark == MARK;
        Ok(is_ours.then_some(Self { file }))
    }

    /// Takes a sample in. One that is older than what its place has is left out.
    pub fn add(&self, sample: Point) -> io::Result<()> {
        for ring in &RINGS {
            let step = ring.step(sample.at);
            let place = ring.place(step);
            let merged = match self.point_at(place)? {
                Some(kept) if ring.step(kept.at) == step => kept.with(sample),
                Some(kept) if ring.step(kept.at) > step => continue,
                _ => sample,
            };
            self.file.write_all_at(&merged.encode(), place)?;
        }
        Ok(())
    }

    /// Points from one time to another, both included, in the finest resolution that is kept of each time, in order.
    pub fn read(&self, from: Timestamp, to: Timestamp, now: Timestamp) -> io::Result<Vec<Point>> {
        let mut points = Vec::new();
        // Where the finer ring takes over, in its own and the coarser steps alike.
        let mut until_ms = i64::MAX;
        for (index, ring) in RINGS.iter().enumerate() {
            let oldest_ms = ring.oldest(now) * ring.step_ms;
            let begin_ms = match RINGS.get(index + 1) {
                Some(coarser) => {
                    let step = coarser.step_ms;
                    oldest_ms.div_euclid(step) * step + step
                }
                None => oldest_ms,
            };
            let mut found = Vec::new();
            let first = (begin_ms / ring.step_ms).max(ring.step(from));
            let last = ring.step(to).min(ring.step(now));
            for step in first..=last.min(first + ring.places) {
                if step * ring.step_ms >= until_ms {
                    break;
                }
                let point = self.point_at(ring.place(step))?;
                let point = point.filter(|point| ring.step(point.at) == step);
                found.extend(point.filter(|point| (from..=to).contains(&point.at)));
            }
            points.splice(0..0, found);
            until_ms = begin_ms;
        }
        Ok(points)
    }

    fn point_at(&self, place: u64) -> io::Result<Option<Point>> {
        let mut bytes = [0; BYTES];
        match self.file.read_exact_at(&mut bytes, place) {
            Ok(()) => Ok(Point::decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
