//! How much room a host has, as one number.
//!
//! The host stands somewhere between an ideal and a critical point, in as many dimensions as there are numbers about it;
//! the score is how far it is from the critical one, of both distances. Above some marks it falls off steeply besides: a
//! host whose memory is nearly full is no good one however idle its processors are.

use super::{Capacity, Load};

/// Weights of the dimensions, and where in them the ideal and the critical point are.
struct Dimension {
    weight: f64,
    ideal: f64,
    critical: f64,
}

const CPU: Dimension = Dimension::new(0.25, 0.0, 100.0);
const MEMORY: Dimension = Dimension::new(0.4, 0.0, 100.0);
const DISK: Dimension = Dimension::new(0.4, 0.0, 100.0);
/// Of what was promised, in percent of what there is: a host that is promised fully is used well.
const ALLOCATED: Dimension = Dimension::new(0.03, 100.0, 500.0);
const STARTED: Dimension = Dimension::new(0.1, 0.0, 100.0);

/// Marks above which the score falls off.
const CPU_MARK: f64 = 90.0;
const LOAD_MARK: f64 = 0.7;
const MEMORY_MARK: f64 = 75.0;
const DISK_MARK: f64 = 75.0;
/// How steeply: at the end of a scale a twentieth is left.
const STEEPNESS: f64 = 3.0;

impl Dimension {
    const fn new(weight: f64, ideal: f64, critical: f64) -> Self {
        Self {
            weight,
            ideal,
            critical,
        }
    }

    /// The squares of the distances from the ideal and from the critical point, in parts of what is between them.
    fn distances(&self, value: f64) -> (f64, f64) {
        let width = (self.critical - self.ideal).abs();
        let value = value.clamp(0.0, self.critical);
        let part = |from: f64| ((value - from) / width).powi(2) * self.weight;
        (part(self.ideal), part(self.critical))
    }
}

/// 0 for a host that is full to 100 for one that is free.
pub fn availability(capacity: &Capacity, load: &Load) -> u32 {
    let [cpu, memory, disk] = promised(capacity, load);
    let started = u32::try_from(load.started_sandboxes).unwrap_or(u32::MAX);
    let (mut to_ideal, mut to_critical) = (0.0, 0.0);
    for (dimension, value) in [
        (&CPU, load.cpu_percent),
        (&MEMORY, load.memory_percent),
        (&DISK, load.disk_percent),
        (&ALLOCATED, cpu),
        (&ALLOCATED, memory),
        (&ALLOCATED, disk),
        (&STARTED, f64::from(started)),
    ] {
        let (ideal, critical) = dimension.distances(value);
        to_ideal += ideal;
        to_critical += critical;
    }
    let (to_ideal, to_critical) = (to_ideal.sqrt(), to_critical.sqrt());
    let score = 100.0 * to_critical / (to_ideal + to_critical);
    let score = score
        * falls_off(load.cpu_percent, CPU_MARK, 100.0)
        * falls_off(load.load_average, LOAD_MARK, 1.0)
        * falls_off(load.memory_percent, MEMORY_MARK, 100.0)
        * falls_off(load.disk_percent, DISK_MARK, 100.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 100"
    )]
    let score = score.round().clamp(0.0, 100.0) as u32;
    score
}

/// What was promised in percent of what there is; nothing of what there is none of.
fn promised(capacity: &Capacity, load: &Load) -> [f64; 3] {
    #[expect(clippy::cast_precision_loss, reason = "sizes of a host")]
    let of = |allocated: f64, has: u64, unit: f64| {
        if has == 0 {
            0.0
        } else {
            100.0 * allocated * unit / has as f64
        }
    };
    [
        of(load.allocated_cpu, capacity.cpu_millis, 1000.0),
        of(load.allocated_memory_gib, capacity.memory_mib, 1024.0),
        of(load.allocated_disk_gib, capacity.disk_mib, 1024.0),
    ]
}

fn falls_off(value: f64, mark: f64, end: f64) -> f64 {
    let beyond = (value - mark).max(0.0) / (end - mark);
    (-STEEPNESS * beyond).exp()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: Capacity = Capacity {
        cpu_millis: 8_000,
        memory_mib: 32 << 10,
        disk_mib: 500 << 10,
        gpu: 0,
    };

    #[test]
    fn a_free_host_scores_high_and_a_full_one_low() {
        let free = availability(&HOST, &Load::default());
        let half = availability(
            &HOST,
            &Load {
                cpu_percent: 50.0,
                memory_percent: 50.0,
                disk_percent: 50.0,
                started_sandboxes: 50,
                ..Load::default()
            },
        );
        let full = Load {
            load_average: 2.0,
            cpu_percent: 100.0,
            memory_percent: 100.0,
            disk_percent: 100.0,
            allocated_cpu: 40.0,
            allocated_memory_gib: 160.0,
            allocated_disk_gib: 2500.0,
            snapshots: 0,
            started_sandboxes: 100,
        };
        assert!(free > 80, "{free}");
        assert!((40..60).contains(&half), "{half}");
        assert_eq!(availability(&HOST, &full), 0);
    }

    #[test]
    fn a_host_that_is_promised_fully_beats_one_that_is_promised_many_times_over() {
        let promised = |times: f64| {
            let load = Load {
                allocated_cpu: 8.0 * times,
                allocated_memory_gib: 32.0 * times,
                allocated_disk_gib: 500.0 * times,
                ..Load::default()
            };
            availability(&HOST, &load)
        };
        assert_eq!(promised(1.0), 100);
        assert!(promised(5.0) < promised(1.0));
    }

    fn load() -> impl Strategy<Value = Load> {
        let percent = || 0.0..150.0f64;
        (
            0.0..4.0f64,
            percent(),
            percent(),
            percent(),
            (0.0..100.0f64, 0.0..1000.0f64, 0.0..9000.0f64),
            0..300u64,
        )
            .prop_map(|(average, cpu, memory, disk, allocated, started)| Load {
                load_average: average,
                cpu_percent: cpu,
                memory_percent: memory,
                disk_percent: disk,
                allocated_cpu: allocated.0,
                allocated_memory_gib: allocated.1,
                allocated_disk_gib: allocated.2,
                snapshots: 0,
                started_sandboxes: started,
            })
    }

    proptest! {
        #[test]
        fn the_score_is_a_percentage_whatever_a_host_says(load in load(), has_host: bool) {
            let capacity = if has_host { HOST } else { Capacity::default() };
            prop_assert!(availability(&capacity, &load) <= 100);
        }

        #[test]
        fn who_uses_more_never_scores_better(
            load in load(), which in 0..5usize, more in 0.0..100.0f64
        ) {
            let mut worse = load;
            match which {
                0 => worse.cpu_percent += more,
                1 => worse.memory_percent += more,
                2 => worse.disk_percent += more,
                3 => worse.load_average += more / 50.0,
                _ => worse.started_sandboxes += 30,
            }
            prop_assert!(availability(&HOST, &worse) <= availability(&HOST, &load));
        }
    }
}
