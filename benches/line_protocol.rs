//! What it costs to encode a sample as line protocol, by how many fields share a line.
//!
//! `cargo bench --bench line_protocol`; the bound is 80 ns a point.

#![expect(clippy::print_stdout, reason = "a table for people")]

use std::sync::Arc;

use tokio::time::Instant;
use watchpost::sample::{Batch, Catalogue, Sample, Timestamp};
use watchpost::sinks::influxdb::{Encoder, Limit, Lines};

/// Rows there are: beyond what the processor's caches hold of them at once.
const ROWS: usize = 10_000;

/// Points encoded in each measurement.
const POINTS: usize = 5_000_000;

fn batches(catalogue: &Catalogue, fields: usize, whole: bool) -> Vec<Batch> {
    (0..ROWS / 10)
        .map(|target| {
            let name = format!("switch-{target}.example.org");
            let mut samples = Vec::with_capacity(10 * fields);
            for row in 0..10 {
                let interface = format!("GigabitEthernet0/{row}");
                let tags = [("target", &*name), ("kind", "snmp"), ("ifName", &*interface)];
                for field in 0..fields {
                    let series = catalogue.intern("interface", &format!("ifHC{field}"), &tags);
                    let value = (target * 7_919 + row * 31 + field) as f64 * 1_000.0;
                    samples.push(Sample { series, value: if whole { value } else { value / 7.0 } });
                }
            }
            Batch { target: name.into(), time: Timestamp::from_secs(1_767_225_600), samples }
        })
        .collect()
}

/// Nanoseconds and bytes a point, encoded in requests of 5,000 points as the sink does.
fn measure(fields: usize, whole: bool) -> (f64, f64) {
    let catalogue = Arc::new(Catalogue::default());
    let batches = batches(&catalogue, fields, whole);
    let mut encoder = Encoder::new(catalogue);
    let limit = Limit { points: 5_000, bytes: 2 << 20 };
    let (mut points, mut bytes) = (0, 0);
    let mut started = Instant::now();
    let mut lines = Lines::default();
    let mut is_warm = false;
    while points < POINTS {
        for batch in &batches {
            let mut at = 0;
            while at < batch.samples.len() {
                at = encoder.encode(batch, at, limit, &mut lines);
                if at < batch.samples.len() || lines.len() * fields >= limit.points {
                    bytes += lines.text.len();
                    points += lines.len() * fields;
                    lines = Lines::default();
                }
            }
        }
        if !std::mem::replace(&mut is_warm, true) {
            (points, bytes) = (0, 0);
            started = Instant::now();
        }
    }
    let points = points as f64;
    (started.elapsed().as_nanos() as f64 / points, bytes as f64 / points)
}

fn main() {
    println!("fields a line | values   | ns a point | bytes a point");
    for fields in [1, 3, 10] {
        for (whole, values) in [(true, "whole"), (false, "fraction")] {
            let (nanos, bytes) = measure(fields, whole);
            println!("{fields:>13} | {values:<8} | {nanos:>10.1} | {bytes:>13.1}");
        }
    }
}
