//! Binary operators: between scalars, between a vector and a scalar, and sets of series.

use super::grid::{Grid, Steps, Value};
use super::groups::{Groups, Wanted};
use super::{EvalError, Evaluator};
use crate::promql::expr::{Binary, Matching, ValueType};
use crate::promql::operator::{BinaryOp, SetOp};

impl Evaluator<'_> {
    /// Any binary operator.
    pub(super) fn binary(&mut self, binary: &Binary, steps: Steps) -> Result<Value, EvalError> {
        let scalar = |side: &crate::promql::Expr| side.value_type() == ValueType::Scalar;
        match (scalar(&binary.left), scalar(&binary.right)) {
            (true, true) => {
                let left = self.scalar(&binary.left, steps)?;
                let right = self.scalar(&binary.right, steps)?;
                let both = left.into_iter().zip(right);
                // Between scalars a comparison always says whether it holds.
                let value = |(a, b)| combined(binary.op, true, a, b).unwrap_or(f64::NAN);
                Ok(Value::Scalar(both.map(value).collect()))
            }
            (false, true) => {
                let grid = self.vector(&binary.left, steps)?;
                let right = self.scalar(&binary.right, steps)?;
                Ok(Value::Vector(with_scalar(grid, binary, |step, value| (value, right[step]))))
            }
            (true, false) => {
                let left = self.scalar(&binary.left, steps)?;
                let grid = self.vector(&binary.right, steps)?;
                Ok(Value::Vector(with_scalar(grid, binary, |step, value| (left[step], value))))
            }
            (false, false) => {
                let left = self.vector(&binary.left, steps)?;
                let right = self.vector(&binary.right, steps)?;
                match binary.op {
                    BinaryOp::Set(op) => self.set(op, left, &right, &binary.matching, steps),
                    _ => self.matched(binary, &left, &right, steps),
                }
                .map(Value::Vector)
            }
        }
    }

    /// `and`, `or`, `unless`, at every step.
    fn set(
        &self,
        op: SetOp,
        left: Grid,
        right: &Grid,
        matching: &Matching,
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let mut groups = Groups::new(Wanted::from(&matching.on));
        let left_groups: Vec<usize> = left.keys.iter().map(|key| groups.of(&key.labels)).collect();
        let right_groups: Vec<usize> =
            right.keys.iter().map(|key| groups.of(&key.labels)).collect();
        let by_step = |grid: &Grid, rows: &[usize]| {
            let mut present = vec![false; groups.len() * steps.count];
            for step in 0..steps.count {
                for (row, _) in grid.at(step) {
                    present[rows[row] * steps.count + step] = true;
                }
            }
            present
        };
        if groups.len().saturating_mul(steps.count) > self.options.limits.values_max {
            return Err(EvalError::TooManyValues(self.options.limits.values_max));
        }
        if op == SetOp::Or {
            let present = by_step(&left, &left_groups);
            let mut grid = self.grid(left.rows() + right.rows(), steps)?;
            for (row, key) in left.keys.iter().enumerate() {
                grid.push(key.clone(), |step| left.get(row, step));
            }
            for (row, key) in right.keys.iter().enumerate() {
                let absent = |step: &usize| !present[right_groups[row] * steps.count + step];
                grid.push(key.clone(), |step| {
                    Some(step).filter(absent).and_then(|step| right.get(row, step))
                });
            }
            return super::result::merged(grid, steps);
        }
        let present = by_step(right, &right_groups);
        let mut grid = self.grid(left.rows(), steps)?;
        for (row, key) in left.keys.iter().enumerate() {
            let kept =
                |step: &usize| present[left_groups[row] * steps.count + step] == (op == SetOp::And);
            grid.push(key.clone(), |step| {
                Some(step).filter(kept).and_then(|step| left.get(row, step))
            });
        }
        Ok(grid)
    }
}

/// What two numbers yield; `None` where a comparison does not hold and is not asked whether.
pub(super) fn combined(op: BinaryOp, returns_bool: bool, left: f64, right: f64) -> Option<f64> {
    match op {
        BinaryOp::Arithmetic(op) => Some(op.apply(left, right)),
        BinaryOp::Comparison(op) if returns_bool => Some(f64::from(op.holds(left, right))),
        BinaryOp::Comparison(op) => op.holds(left, right).then_some(left),
        BinaryOp::Set(_) => unreachable!("sets are combined by their members, not by values"),
    }
}

/// Whether the result of an operator is another quantity than its operands.
pub(super) fn changes_quantity(binary: &Binary) -> bool {
    binary.returns_bool || matches!(binary.op, BinaryOp::Arithmetic(_))
}

fn with_scalar(grid: Grid, binary: &Binary, sides: impl Fn(usize, f64) -> (f64, f64)) -> Grid {
    grid.mapped_by_step(changes_quantity(binary), |step, value| {
        let (left, right) = sides(step, value);
        let result = combined(binary.op, binary.returns_bool, left, right)?;
        // What is kept is the series' value, on whichever side it stands.
        let kept = matches!(binary.op, BinaryOp::Comparison(_)) && !binary.returns_bool;
        Some(if kept { value } else { result })
    })
}
