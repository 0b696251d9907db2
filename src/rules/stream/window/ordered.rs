//! `quantile_over_time`: the values inside, in order.

use std::cmp::Ordering;

use crate::promql::functions::statistics::nan_first;

/// Values in order, what is not a number first (promql/functions.go, vectorByValueHeap).
#[derive(Debug, Default)]
pub(super) struct Ordered(Vec<f64>);

impl Ordered {
    pub(super) fn insert(&mut self, value: f64) {
        let place = self.0.partition_point(|known| nan_first(known, &value) == Ordering::Less);
        self.0.insert(place, value);
    }

    pub(super) fn remove(&mut self, value: f64) {
        let place = self.0.partition_point(|known| nan_first(known, &value) == Ordering::Less);
        self.0.remove(place);
    }

    pub(super) fn quantile(&self, q: f64) -> f64 {
        quantile(q, self.0.len(), |place| self.0[place])
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<f64>()
    }
}

/// As [`quantile`](crate::promql::functions::statistics::quantile), of `count` values that are in
/// order already.
pub(in crate::rules::stream) fn quantile(q: f64, count: usize, at: impl Fn(usize) -> f64) -> f64 {
    if count == 0 || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (count - 1) as f64;
    let lower = rank.floor();
    let weight = rank - lower;
    let upper = (lower as usize + 1).min(count - 1);
    at(lower as usize) * (1.0 - weight) + at(upper) * weight
}
