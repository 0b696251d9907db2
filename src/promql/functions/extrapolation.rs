//! How `rate`, `increase` and `delta` carry what changed between samples on to the bounds of their
//! window, rounding as Prometheus does (promql/functions.go, extrapolatedRate).

use super::Point;
use super::window::seconds;
use crate::sample::Timestamp;

/// How far beyond the mean distance of samples a bound still belongs to the series.
const THRESHOLD: f64 = 1.1;

/// Samples are thought to go on for up to half their mean distance beyond the first and the last,
/// or to the window's bound where that is nearer than [`THRESHOLD`] distances. A counter that grew
/// is not thought to have been below zero.
#[derive(Debug, Clone, Copy)]
pub struct Extrapolation {
    /// By what the change between the first and the last sample is multiplied for all of the window.
    pub factor: f64,
    /// How far from a sample a bound is too far, in seconds.
    pub threshold: f64,
    /// Whether the window's start is too far from the first sample.
    pub starts_far: bool,
    /// Whether its end is too far from the last one.
    pub ends_far: bool,
    /// Whether it reaches back to where the counter was zero.
    pub begins_at_zero: bool,
}

impl Extrapolation {
    /// Of so many samples, at least two, by the first and the last of them. How much a counter grew
    /// matters, a gauge's change does not.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "no window holds 2^52 samples")]
    pub fn new(
        (first, last): (Point, Point),
        count: usize,
        (start, end): (Timestamp, Timestamp),
        counter_growth: Option<f64>,
    ) -> Self {
        let sampled = seconds(last.time, first.time);
        let distance = sampled / (count - 1) as f64;
        let threshold = distance * THRESHOLD;
        let (mut before, mut after) = (seconds(first.time, start), seconds(end, last.time));
        let (starts_far, ends_far) = (before >= threshold, after >= threshold);
        if starts_far {
            before = distance / 2.0;
        }
        if ends_far {
            after = distance / 2.0;
        }
        let mut begins_at_zero = false;
        if let Some(growth) = counter_growth
            && growth > 0.0
            && first.value >= 0.0
        {
            let to_zero = sampled * (first.value / growth);
            if to_zero < before {
                before = to_zero;
                begins_at_zero = true;
            }
        }
        let factor = (sampled + before + after) / sampled;
        Self { factor, threshold, starts_far, ends_far, begins_at_zero }
    }

    /// The factor for a change per second of a window.
    #[inline]
    #[must_use]
    pub fn per_second(&self, (start, end): (Timestamp, Timestamp)) -> f64 {
        self.factor / seconds(end, start)
    }
}
