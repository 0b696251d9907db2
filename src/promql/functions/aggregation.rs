//! What aggregations make of the values of a group.

use super::statistics::{Mean, Moments, Sum, quantile};
use crate::promql::AggregateOp;

/// The values of one group, taken one by one.
#[derive(Debug, Clone)]
pub struct Accumulator {
    count: f64,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Sum(Sum),
    Avg(Mean),
    Min(f64),
    Max(f64),
    Count,
    Group,
    Moments { moments: Moments, root: bool },
    Values(Vec<f64>),
}

impl Accumulator {
    /// Of nothing yet; `None` for operators that do not make one value of a group.
    #[must_use]
    pub fn new(op: AggregateOp) -> Option<Self> {
        let state = match op {
            AggregateOp::Sum => State::Sum(Sum::default()),
            AggregateOp::Avg => State::Avg(Mean::default()),
            AggregateOp::Min => State::Min(f64::NAN),
            AggregateOp::Max => State::Max(f64::NAN),
            AggregateOp::Count => State::Count,
            AggregateOp::Group => State::Group,
            AggregateOp::Stddev => State::Moments { moments: Moments::default(), root: true },
            AggregateOp::Stdvar => State::Moments { moments: Moments::default(), root: false },
            AggregateOp::Quantile => State::Values(Vec::new()),
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::CountValues => return None,
        };
        Some(Self { count: 0.0, state })
    }

    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        match &mut self.state {
            State::Sum(sum) => sum.add(value),
            State::Avg(mean) => mean.add(value),
            State::Min(least) => {
                if value < *least || least.is_nan() {
                    *least = value;
                }
            }
            State::Max(greatest) => {
                if value > *greatest || greatest.is_nan() {
                    *greatest = value;
                }
            }
            State::Count | State::Group => {}
            State::Moments { moments, .. } => moments.add(value),
            State::Values(values) => values.push(value),
        }
    }

    /// The result, φ being the parameter of `quantile`; `None` of nothing.
    #[must_use]
    pub fn value(&mut self, phi: f64) -> Option<f64> {
        if self.count == 0.0 {
            return None;
        }
        Some(match &mut self.state {
            State::Sum(sum) => sum.value(),
            State::Avg(mean) => mean.value(),
            State::Min(value) | State::Max(value) => *value,
            State::Count => self.count,
            State::Group => 1.0,
            State::Moments { moments, root: true } => moments.variance().sqrt(),
            State::Moments { moments, root: false } => moments.variance(),
            State::Values(values) => quantile(phi, values),
        })
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.count = 0.0;
        match &mut self.state {
            State::Sum(sum) => *sum = Sum::default(),
            State::Avg(mean) => *mean = Mean::default(),
            State::Min(value) | State::Max(value) => *value = f64::NAN,
            State::Count | State::Group => {}
            State::Moments { moments, .. } => *moments = Moments::default(),
            State::Values(values) => values.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_becomes_one_value() {
        for (op, value) in [
            (AggregateOp::Sum, 10.0),
            (AggregateOp::Avg, 2.5),
            (AggregateOp::Min, 1.0),
            (AggregateOp::Max, 4.0),
            (AggregateOp::Count, 4.0),
            (AggregateOp::Group, 1.0),
            (AggregateOp::Stdvar, 1.25),
            (AggregateOp::Quantile, 2.5),
        ] {
            let mut group = Accumulator::new(op).unwrap();
            assert_eq!(group.value(0.5), None);
            [1.0, 2.0, 3.0, 4.0].into_iter().for_each(|value| group.add(value));
            assert_eq!(group.value(0.5), Some(value), "{op}");
            group.clear();
            assert_eq!(group.value(0.5), None);
        }
        assert!(Accumulator::new(AggregateOp::Topk).is_none());
    }
}
