//! Aggregations that keep some series of a group as they are: `topk`, `bottomk`, `limitk`.

use std::cmp::Ordering;

use super::grid::{Grid, Steps};
use super::groups::{Groups, Wanted};
use super::{EvalError, Evaluator};
use crate::promql::AggregateOp;

impl Evaluator<'_> {
    /// The `k` of each group that an operator wants, at every step.
    pub(super) fn ranked(
        &self,
        op: AggregateOp,
        wanted: Wanted<'_>,
        grid: Grid,
        k: &[f64],
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        check_counts(k)?;
        let mut groups = Groups::new(wanted);
        let of_row: Vec<usize> = grid.keys.iter().map(|key| groups.of(&key.labels)).collect();
        let mut kept = self.grid(grid.rows(), steps)?;
        for key in &grid.keys {
            kept.push_empty(key.clone());
        }
        let mut members: Vec<Vec<(usize, f64)>> = vec![Vec::new(); groups.len()];
        let mut order = Vec::new();
        for step in 0..steps.count {
            (self.check)()?;
            for (row, value) in grid.at(step) {
                members[of_row[row]].push((row, value));
            }
            let k = count(k[step]);
            for group in &mut members {
                // Equal ones stay in their order, so that an answer does not flicker.
                group.sort_by(|(_, a), (_, b)| compare(op, *a, *b));
                for (row, value) in group.drain(..).take(k) {
                    kept.set(row, step, value);
                    order.push(row);
                }
            }
        }
        // Of one time the order of rank is shown.
        Ok(if steps.count == 1 { kept.ordered(&order) } else { kept })
    }
}

/// What is wanted first; NaN is wanted last.
fn compare(op: AggregateOp, a: f64, b: f64) -> Ordering {
    let (first, second) = match op {
        AggregateOp::Limitk => return Ordering::Equal,
        AggregateOp::Topk => (b, a),
        _ => (a, b),
    };
    first.partial_cmp(&second).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// As a number of series: whole, none where it is negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
fn count(k: f64) -> usize {
    k.max(0.0) as usize
}

fn check_counts(k: &[f64]) -> Result<(), EvalError> {
    /// The numbers of 64 bits, as Prometheus has it.
    const COUNT_MAX: f64 = 9_223_372_036_854_775_807.0;
    if k.iter().any(|k| k.is_nan()) {
        return Err(EvalError::Failed("Parameter value is NaN".to_owned()));
    }
    match k.iter().find(|k| k.abs() >= COUNT_MAX) {
        Some(k) if *k > 0.0 => Err(EvalError::Failed(format!("Scalar value {k} overflows int64"))),
        Some(k) => Err(EvalError::Failed(format!("Scalar value {k} underflows int64"))),
        None => Ok(()),
    }
}
