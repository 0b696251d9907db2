//! Aggregations that make one value of a group.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::grid::{Grid, Key, Steps};
use super::groups::{Groups, Wanted};
use super::{EvalError, Evaluator};
use crate::promql::AggregateOp;
use crate::promql::annotations::go_float;
use crate::promql::expr::{Aggregate, ExprKind, Grouping};
use crate::promql::functions::aggregation::Accumulator;
use crate::promql::labels::Labels;

impl Evaluator<'_> {
    /// Any aggregation.
    pub(super) fn aggregate(
        &mut self,
        aggregate: &Aggregate,
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let grid = self.vector(&aggregate.expr, steps)?;
        if aggregate.op == AggregateOp::CountValues {
            return self.count_values(aggregate, &grid, steps);
        }
        let parameter = match &aggregate.parameter {
            Some(parameter) => Some((self.scalar(parameter, steps)?, parameter.span)),
            None => None,
        };
        let wanted = Wanted::from(&aggregate.grouping);
        if aggregate.op.selects() {
            let k = parameter.map(|(k, _)| k).unwrap_or_default();
            return self.ranked(aggregate.op, wanted, grid, &k, steps);
        }
        if let Some((values, span)) = &parameter {
            values.iter().for_each(|phi| self.annotations.check_quantile(*phi, *span));
        }
        let phi = parameter.map(|(values, _)| values);
        self.grouped(aggregate.op, wanted, &grid, phi.as_deref(), steps)
    }

    fn grouped(
        &self,
        op: AggregateOp,
        wanted: Wanted<'_>,
        grid: &Grid,
        phi: Option<&[f64]>,
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let mut groups = Groups::new(wanted);
        let of_row: Vec<usize> = grid.keys.iter().map(|key| groups.of(&key.labels)).collect();
        let mut result = self.grid(groups.len(), steps)?;
        for group in 0..groups.len() {
            result.push_empty(Key { labels: groups.labels(group), drops_name: false });
        }
        for (row, key) in grid.keys.iter().enumerate() {
            result.keys[of_row[row]].drops_name |= key.drops_name;
        }
        let empty = Accumulator::new(op).expect("the other operators were taken before");
        let mut accumulators = vec![empty; groups.len()];
        for step in 0..steps.count {
            (self.check)()?;
            for (row, value) in grid.at(step) {
                accumulators[of_row[row]].add(value);
            }
            let phi = phi.map_or(f64::NAN, |phi| phi[step]);
            for (group, accumulator) in accumulators.iter_mut().enumerate() {
                if let Some(value) = accumulator.value(phi) {
                    result.set(group, step, value);
                    accumulator.clear();
                }
            }
        }
        Ok(result)
    }

    /// How many series have each value, the value in a label.
    fn count_values(
        &self,
        aggregate: &Aggregate,
        grid: &Grid,
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let label = match aggregate.parameter.as_ref().map(|parameter| &parameter.kind) {
            Some(ExprKind::String(label)) if !label.is_empty() => label,
            _ => return Err(EvalError::Failed("invalid label name \"\"".to_owned())),
        };
        let grouping = match &aggregate.grouping {
            Grouping::By(names) => Grouping::By([&**names, std::slice::from_ref(label)].concat()),
            without @ Grouping::Without(_) => without.clone(),
        };
        let wanted = Wanted::from(&grouping);
        let mut counts: BTreeMap<Labels, FxHashMap<usize, f64>> = BTreeMap::new();
        let mut values = 0;
        for step in 0..steps.count {
            for (row, value) in grid.at(step) {
                let labels = grid.keys[row].labels.with(label, &go_float(value));
                let labels = labels.filtered(|name| wanted.counts(name));
                values += 1;
                *counts.entry(labels).or_default().entry(step).or_default() += 1.0;
            }
            if values > self.options.limits.values_max {
                return Err(EvalError::TooManyValues(self.options.limits.values_max));
            }
        }
        let mut result = self.grid(counts.len(), steps)?;
        for (labels, by_step) in counts {
            let key = Key { labels, drops_name: false };
            result.push(key, |step| by_step.get(&step).copied());
        }
        Ok(result)
    }
}
