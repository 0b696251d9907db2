//! `quantile_over_time`: the values inside, in order.

use super::Function;
use crate::promql::functions::statistics::quantile_of_sorted;

/// Values in order, what is not a number first (promql/functions.go, vectorByValueHeap).
#[derive(Debug, Default)]
pub(super) struct Ordered(Vec<f64>);

/// So many are counted through, several at once, in less time than a search takes, of which each
/// step waits for the one before.
const COUNTED_MOST: usize = 64;

/// Values there is room for at first, and at least each time there is more needed.
const ROOM: usize = 4;

impl Ordered {
    pub(super) fn insert(&mut self, value: f64) {
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact((self.0.len() / 4).max(ROOM));
        }
        self.0.insert(self.place(value), value);
    }

    pub(super) fn remove(&mut self, value: f64) {
        self.0.remove(self.place(value));
    }

    /// Where a value is, or belongs.
    fn place(&self, value: f64) -> usize {
        if value.is_nan() {
            return 0;
        }
        #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "what is not a number comes first")]
        let is_before = |known: &f64| !(*known >= value);
        if self.0.len() <= COUNTED_MOST {
            self.0.iter().map(|known| u64::from(is_before(known))).sum::<u64>() as usize
        } else {
            self.0.partition_point(is_before)
        }
    }

    pub(super) fn read(&self, function: Function) -> f64 {
        let Function::Quantile(q) = function else { return f64::NAN };
        quantile_of_sorted(q.0, self.0.len(), |place| self.0[place])
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<f64>()
    }
}
