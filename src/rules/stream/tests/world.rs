//! Random streams: gaps, stale marks, restarts, late and doubled samples, labels that come and go.

use std::sync::Arc;

use fastrand::Rng;

use crate::sample::{Catalogue, STALE, Sample, SeriesId, Timestamp};

/// Targets, each of some series.
pub(super) struct World {
    targets: Vec<Target>,
    /// Now, in nanoseconds since the epoch.
    pub(super) now: i64,
    /// Whether values are rarely equal, for what chooses among equal ones.
    pub(super) distinct: bool,
}

struct Target {
    series: Vec<(SeriesId, Kind)>,
    values: Vec<f64>,
    /// When it was polled last.
    last: i64,
    down_until: i64,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Gauge,
    Counter,
    Up,
    Bucket,
}

pub(super) const START: i64 = 1_000_000_000 * SECOND;
const SECOND: i64 = 1_000_000_000;

impl World {
    pub(super) fn new(rng: &mut Rng, catalogue: &Arc<Catalogue>) -> Self {
        let targets = (1..=rng.usize(1..4))
            .map(|i| {
                let i = i.to_string();
                let mut series = Vec::new();
                for g in &["x", "y"][..rng.usize(1..3)] {
                    for v in &["", "1", "2"][..rng.usize(1..4)] {
                        let tags = [("i", &*i), ("g", *g), ("v", *v)];
                        for (name, kind) in
                            [("a", Kind::Gauge), ("b", Kind::Gauge), ("c_total", Kind::Counter)]
                        {
                            if rng.u32(..5) > 0 {
                                series.push((catalogue.intern(name, "", &tags), kind));
                            }
                        }
                    }
                    for le in ["0.5", "1", "2", "+Inf"] {
                        let tags = [("i", &*i), ("g", *g), ("le", le)];
                        series.push((catalogue.intern("h_bucket", "", &tags), Kind::Bucket));
                    }
                }
                series.push((catalogue.intern("up", "", &[("i", &i)]), Kind::Up));
                for w in ["p", "q"] {
                    let tags = [("i", &*i), ("w", w)];
                    series.push((catalogue.intern("info", "", &tags), Kind::Up));
                }
                let values = vec![0.0; series.len()];
                Target { series, values, last: 0, down_until: 0 }
            })
            .collect();
        Self { targets, now: START, distinct: false }
    }

    /// Lets some time pass, and says what a target delivers then.
    pub(super) fn batch(&mut self, rng: &mut Rng) -> (Timestamp, Vec<Sample>) {
        self.now += match rng.u32(..12) {
            0 => 0,
            1 => rng.i64(1..SECOND),
            2 => rng.i64(SECOND..7 * 60 * SECOND),
            3..=5 => rng.i64(1..100) * SECOND / 4,
            _ => (10 - self.now / SECOND % 10) * SECOND - self.now % SECOND,
        };
        let now = self.now;
        let distinct = self.distinct;
        let index = rng.usize(..self.targets.len());
        let target = &mut self.targets[index];
        let time = match rng.u32(..20) {
            0 => now - rng.i64(1..400) * SECOND,
            1 if target.last > 0 => target.last,
            _ => now,
        };
        let mut samples = Vec::new();
        if target.down_until > now {
            return (Timestamp::from_nanos(time), samples);
        }
        if rng.u32(..25) == 0 {
            // The target has failed: what it last said no longer holds.
            target.down_until = now + rng.i64(1..600) * SECOND;
            samples
                .extend(target.series.iter().map(|(id, _)| Sample { series: *id, value: STALE }));
            return (Timestamp::from_nanos(time), samples);
        }
        let restarts = rng.u32(..15) == 0;
        for (place, (series, kind)) in target.series.iter().enumerate() {
            let value = &mut target.values[place];
            match kind {
                Kind::Gauge if rng.u32(..80) == 0 => *value = f64::NAN,
                Kind::Gauge if rng.u32(..120) == 0 => *value = f64::INFINITY,
                Kind::Gauge if distinct => *value = rng.f64() * 200.0,
                Kind::Gauge => *value = f64::from(rng.i32(-8..400)) / 4.0,
                Kind::Counter | Kind::Bucket if restarts => *value = f64::from(rng.i32(0..3)),
                Kind::Counter if distinct => *value += rng.f64() * 50.0,
                Kind::Counter => *value += f64::from(rng.i32(0..50)),
                Kind::Bucket => *value += f64::from(rng.i32(0..3) * (1 + place as i32 % 4)),
                Kind::Up if distinct => *value = rng.f64(),
                Kind::Up => *value = f64::from(rng.i32(0..2)),
            }
            let (mut given, kept) = (*value, rng.u32(..40));
            if kept == 0 {
                given = STALE;
            }
            // A label that changes: one of two at a time.
            let leaves_out = *kind == Kind::Up && (now / (60 * SECOND) + place as i64) % 2 == 0;
            if kept != 1 && !(leaves_out && place + 3 > target.series.len()) {
                samples.push(Sample { series: *series, value: given });
            }
        }
        target.last = time;
        (Timestamp::from_nanos(time), samples)
    }
}
