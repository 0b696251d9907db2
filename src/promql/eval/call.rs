//! Calls of functions: of scalars, of instant vectors, and on to those of windows.

use super::grid::{Grid, Key, Steps, Value};
use super::over_time::absent_labels;
use super::{EvalError, Evaluator};
use crate::promql::Function;
use crate::promql::expr::{Call, Expr, ExprKind};
use crate::promql::functions::{elementwise, statistics};
use crate::promql::labels::Labels;

impl Evaluator<'_> {
    /// A call of any function.
    pub(super) fn call(&mut self, call: &Call, steps: Steps) -> Result<Value, EvalError> {
        let arguments = &*call.arguments;
        if let Some(at) = call.function.window_argument() {
            return self.over_time(call, &arguments[at], steps).map(Value::Vector);
        }
        let grid = match call.function {
            Function::Time => return Ok(Value::Scalar(seconds(steps))),
            Function::Pi => return Ok(Value::Scalar(vec![std::f64::consts::PI; steps.count])),
            Function::Scalar => return self.only_value(&arguments[0], steps).map(Value::Scalar),
            Function::MinOf => return self.of_two(arguments, steps, elementwise::clamp_max),
            Function::MaxOf => return self.of_two(arguments, steps, elementwise::clamp_min),
            Function::Vector => {
                let values = self.scalar(&arguments[0], steps)?;
                self.single(&values, steps)?
            }
            Function::Timestamp => self.timestamp(&arguments[0], steps)?,
            Function::Absent => self.absent(&arguments[0], steps)?,
            Function::Round | Function::Clamp | Function::ClampMin | Function::ClampMax => {
                self.limited(call, steps)?
            }
            Function::Sort | Function::SortDesc => {
                let grid = self.vector(&arguments[0], steps)?;
                sorted(grid, steps, call.function == Function::SortDesc)
            }
            Function::LabelReplace => self.label_replace(arguments, steps)?,
            Function::LabelJoin => self.label_join(arguments, steps)?,
            Function::SortByLabel | Function::SortByLabelDesc => self.sort_by_label(call, steps)?,
            Function::HistogramQuantile => self.histogram_quantile(arguments, steps)?,
            Function::HistogramQuantiles => self.histogram_quantiles(arguments, steps)?,
            Function::HistogramFraction => self.histogram_fraction(arguments, steps)?,
            function => {
                let to = elementwise::unary(function)
                    .expect("every function is one of the above or of one value");
                let grid = match arguments.first() {
                    Some(vector) => self.vector(vector, steps)?,
                    // `hour()` is of now.
                    None => self.single(&seconds(steps), steps)?,
                };
                grid.mapped(to)
            }
        };
        Ok(Value::Vector(grid))
    }

    fn of_two(
        &mut self,
        arguments: &[Expr],
        steps: Steps,
        to: impl Fn(f64, f64) -> f64,
    ) -> Result<Value, EvalError> {
        let (a, b) = (self.scalar(&arguments[0], steps)?, self.scalar(&arguments[1], steps)?);
        Ok(Value::Scalar(a.into_iter().zip(b).map(|(a, b)| to(a, b)).collect()))
    }

    /// One row without labels.
    fn single(&self, values: &[f64], steps: Steps) -> Result<Grid, EvalError> {
        let mut grid = self.grid(1, steps)?;
        let key = Key { labels: Labels::default(), drops_name: false };
        grid.push(key, |step| Some(values[step]));
        Ok(grid)
    }

    /// The value where there is exactly one, NaN elsewhere.
    fn only_value(&mut self, vector: &Expr, steps: Steps) -> Result<Vec<f64>, EvalError> {
        let grid = self.vector(vector, steps)?;
        let only = |step| {
            let mut values = grid.at(step).map(|(_, value)| value);
            values.next().filter(|_| values.next().is_none()).unwrap_or(f64::NAN)
        };
        Ok((0..steps.count).map(only).collect())
    }

    /// The time of each sample where a selector is asked, the time of the step where a result is.
    fn timestamp(&mut self, vector: &Expr, steps: Steps) -> Result<Grid, EvalError> {
        if let ExprKind::Selector(selector) = &vector.kind {
            let grid = self.newest(selector, steps, |point| point.time.as_secs_f64())?;
            return Ok(grid.mapped(|seconds| seconds));
        }
        let grid = self.vector(vector, steps)?;
        Ok(grid.mapped_by_step(true, |step, _| Some(steps.time(step).as_secs_f64())))
    }

    /// 1 at every step at which there is no series.
    fn absent(&mut self, vector: &Expr, steps: Steps) -> Result<Grid, EvalError> {
        let found = self.vector(vector, steps)?;
        let mut grid = self.grid(1, steps)?;
        let key = Key { labels: absent_labels(vector), drops_name: false };
        grid.push(key, |step| found.at(step).next().is_none().then_some(1.0));
        Ok(grid)
    }

    fn limited(&mut self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        let grid = self.vector(&call.arguments[0], steps)?;
        let mut numbers = Vec::new();
        for number in &call.arguments[1..] {
            numbers.push(self.scalar(number, steps)?);
        }
        let number = |at: usize, step: usize| numbers.get(at).map_or(1.0, |values| values[step]);
        let function = call.function;
        Ok(grid.mapped_by_step(true, |step, value| match function {
            Function::Clamp => elementwise::clamp(value, number(0, step), number(1, step)),
            Function::ClampMin => Some(elementwise::clamp_min(value, number(0, step))),
            Function::ClampMax => Some(elementwise::clamp_max(value, number(0, step))),
            _ => Some(elementwise::round(value, number(0, step))),
        }))
    }
}

fn seconds(steps: Steps) -> Vec<f64> {
    steps.times().map(|time| time.as_secs_f64()).collect()
}

/// By value, NaN last either way. Over several steps there is no such order.
fn sorted(grid: Grid, steps: Steps, descending: bool) -> Grid {
    if steps.count != 1 {
        return grid;
    }
    let mut rows: Vec<(usize, f64)> = grid.at(0).collect();
    rows.sort_by(|(_, a), (_, b)| match (a.is_nan(), b.is_nan(), descending) {
        (false, false, true) => statistics::nan_first(b, a),
        (false, false, false) => statistics::nan_first(a, b),
        (a, b, _) => a.cmp(&b),
    });
    let order: Vec<usize> = rows.into_iter().map(|(row, _)| row).collect();
    grid.ordered(&order)
}
