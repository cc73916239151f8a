//! The numbers that a sample is told as.

use crate::point::Point;

/// A number that is measured.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    /// As UCUM writes it.
    pub unit: &'static str,
    /// Whether it only grows while the sandbox runs.
    pub is_total: bool,
    /// What of a sample it is.
    pub value: fn(&Point) -> Option<f64>,
}

const fn gauge(name: &'static str, unit: &'static str, value: fn(&Point) -> Option<f64>) -> Metric {
    Metric {
        name,
        unit,
        is_total: false,
        value,
    }
}

const fn total(name: &'static str, unit: &'static str, value: fn(&Point) -> Option<f64>) -> Metric {
    Metric {
        is_total: true,
        ..gauge(name, unit, value)
    }
}

pub const METRICS: [Metric; 13] = [
    gauge("daytona.sandbox.cpu.utilization", "%", |point| {
        share(point.cpu_millis?, float(point.cpu_limit_millis))
    }),
    gauge("daytona.sandbox.cpu.limit", "{cpu}", |point| {
        Some(float(point.cpu_limit_millis) / 1000.0)
    }),
    gauge("daytona.sandbox.memory.usage", "By", |point| {
        Some(point.memory_bytes)
    }),
    gauge("daytona.sandbox.memory.limit", "By", |point| {
        Some(float(point.memory_limit_bytes))
    }),
    gauge("daytona.sandbox.memory.cache", "By", |point| {
        Some(point.cache_bytes)
    }),
    gauge("daytona.sandbox.memory.utilization", "%", |point| {
        share(point.memory_bytes, float(point.memory_limit_bytes))
    }),
    gauge("daytona.sandbox.filesystem.usage", "By", |point| {
        Some(point.disk?.used_bytes)
    }),
    gauge("daytona.sandbox.filesystem.total", "By", |point| {
        Some(float(point.disk?.total_bytes))
    }),
    gauge("daytona.sandbox.filesystem.available", "By", |point| {
        let disk = point.disk?;
        Some((float(disk.total_bytes) - disk.used_bytes).max(0.0))
    }),
    gauge("daytona.sandbox.filesystem.utilization", "%", |point| {
        let disk = point.disk?;
        share(disk.used_bytes, float(disk.total_bytes))
    }),
    total("daytona.sandbox.network.received", "By", |point| {
        Some(float(point.traffic?.received_bytes))
    }),
    total("daytona.sandbox.network.sent", "By", |point| {
        Some(float(point.traffic?.sent_bytes))
    }),
    // What `cpu.utilization` is a share of the limit of.
    gauge("daytona.sandbox.cpu.usage", "{cpu}", |point| {
        Some(point.cpu_millis? / 1000.0)
    }),
];

/// In per cent.
fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| (part / whole * 100.0).max(0.0))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nobody takes other numbers, and these are exact up to 8 PiB"
)]
fn float(number: u64) -> f64 {
    number as f64
}
