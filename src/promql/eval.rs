//! Evaluates expressions over a source of series: at one time, or at many in equal steps.
//!
//! Every node is evaluated for all steps at once, so that each selector is read once and labels
//! are looked at once, not once a step. It computes only what is asked for, within [`Limits`], and
//! asks its caller now and then whether to go on.

mod aggregate;
mod binary;
mod call;
mod grid;
mod groups;
mod histogram;
mod label_functions;
mod matching;
mod over_time;
mod ranked;
mod result;
mod select;

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::annotations::Annotations;
use super::expr::{Expr, ExprKind, ValueType};
use super::functions::Point;
use super::labels::Labels;
use super::source::{Source, Summary};
use crate::sample::Timestamp;
use grid::{Grid, Steps, Value};

/// How an expression is evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How old the newest sample of a series may be to be its value.
    pub lookback: Duration,
    /// The step of subqueries that name none.
    pub subquery_step: Duration,
    /// What may be spent.
    pub limits: Limits,
}

/// Bounds of one evaluation: what is above them ends it with an error.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Samples read from the source at once, 16 bytes each.
    pub samples_max: usize,
    /// Values computed by one node, 8 bytes each: series times steps.
    pub values_max: usize,
}

/// What Prometheus looks back by default.
pub const LOOKBACK: Duration = Duration::from_secs(300);

/// What Prometheus evaluates subqueries at by default: its `evaluation_interval`.
pub const SUBQUERY_STEP: Duration = Duration::from_secs(60);

/// As many samples as Prometheus takes into memory by default would be 800 MB; a fifth of that is
/// 10,000 series at 10 s over nearly three hours.
const SAMPLES_MAX: usize = 10_000_000;

/// A graph of 1,000 series and 10,000 steps.
const VALUES_MAX: usize = 10_000_000;

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback: LOOKBACK,
            subquery_step: SUBQUERY_STEP,
            limits: Limits { samples_max: SAMPLES_MAX, values_max: VALUES_MAX },
        }
    }
}

/// Why an evaluation ended without an answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// More samples than [`Limits::samples_max`].
    #[error("the query reads more than {0} samples at once; narrow its selectors or its time")]
    TooManySamples(usize),
    /// More values than [`Limits::values_max`].
    #[error("the query computes more than {0} values at once; use a greater step or fewer series")]
    TooManyValues(usize),
    /// The caller did not want to wait any longer.
    #[error("the query was stopped: {0}")]
    Stopped(String),
    /// The source failed.
    #[error("cannot read the series: {0}")]
    Source(String),
    /// The expression has no meaning for these data.
    #[error("{0}")]
    Failed(String),
}

/// The answer of a query.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What it yields.
    pub value: AnswerValue,
    /// What its author should know.
    pub annotations: Annotations,
}

/// What a query yields.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerValue {
    /// A number.
    Scalar(Point),
    /// A text, at the time of evaluation.
    String(Timestamp, String),
    /// A value of each series at one time; in the order of the expression, where it has one.
    Vector(Vec<(Labels, Point)>),
    /// Values of each series, ordered by labels.
    Matrix(Vec<(Labels, Vec<Point>)>),
}

/// Asked now and then: an error ends the evaluation.
pub type Check<'a> = &'a dyn Fn() -> Result<(), EvalError>;

/// Evaluates an expression at one time.
///
/// # Errors
/// See [`EvalError`].
pub fn instant(
    source: &dyn Source,
    expr: &Expr,
    time: Timestamp,
    options: &Options,
    check: Check<'_>,
) -> Result<Answer, EvalError> {
    let steps = Steps { start: time, step: 1, count: 1 };
    let mut evaluator = Evaluator::new(source, steps, options, check);
    let value = match &expr.kind {
        ExprKind::String(text) => AnswerValue::String(time, text.clone()),
        _ if expr.value_type() == ValueType::Range => {
            result::ranges(evaluator.windows(expr, steps, Summary::default())?)
        }
        _ => match evaluator.eval(expr, steps)? {
            Value::Scalar(values) => AnswerValue::Scalar(Point { time, value: values[0] }),
            Value::Vector(grid) => result::vector(grid, time)?,
        },
    };
    Ok(Answer { value, annotations: evaluator.annotations })
}

/// Evaluates an expression from `start` to `end`, both included, in steps. The answer is a
/// matrix.
///
/// # Errors
/// See [`EvalError`]; a range vector or a text cannot be evaluated this way.
pub fn range(
    source: &dyn Source,
    expr: &Expr,
    (start, end): (Timestamp, Timestamp),
    step: Duration,
    options: &Options,
    check: Check<'_>,
) -> Result<Answer, EvalError> {
    let steps = Steps::between(start, end, step)
        .filter(|steps| steps.count <= options.limits.values_max)
        .ok_or(EvalError::TooManyValues(options.limits.values_max))?;
    let kind = expr.value_type();
    if matches!(kind, ValueType::Range | ValueType::String) {
        let message = format!("a range query needs a scalar or an instant vector, not a {kind}");
        return Err(EvalError::Failed(message));
    }
    let mut evaluator = Evaluator::new(source, steps, options, check);
    let value = match evaluator.eval(expr, steps)? {
        Value::Scalar(values) => {
            let points = values.iter().enumerate();
            let point = |(at, value): (usize, &f64)| Point { time: steps.time(at), value: *value };
            AnswerValue::Matrix(vec![(Labels::default(), points.map(point).collect())])
        }
        Value::Vector(grid) => result::matrix(grid, steps)?,
    };
    Ok(Answer { value, annotations: evaluator.annotations })
}

/// One evaluation.
struct Evaluator<'a> {
    source: &'a dyn Source,
    options: &'a Options,
    check: Check<'a>,
    /// The steps of the whole query: what `@ start()` and `@ end()` mean.
    query: Steps,
    annotations: Annotations,
}

impl<'a> Evaluator<'a> {
    fn new(source: &'a dyn Source, query: Steps, options: &'a Options, check: Check<'a>) -> Self {
        Self { source, options, check, query, annotations: Annotations::default() }
    }

    /// An expression of the type scalar or instant vector, at every step.
    fn eval(&mut self, expr: &Expr, steps: Steps) -> Result<Value, EvalError> {
        (self.check)()?;
        match &expr.kind {
            ExprKind::Number(number) => Ok(Value::Scalar(vec![*number; steps.count])),
            ExprKind::Selector(selector) => {
                self.newest(selector, steps, |point| point.value).map(Value::Vector)
            }
            ExprKind::Negate(inner) => Ok(match self.eval(inner, steps)? {
                Value::Scalar(values) => Value::Scalar(values.into_iter().map(|v| -v).collect()),
                Value::Vector(grid) => Value::Vector(grid.mapped(|value| -value)),
            }),
            ExprKind::Binary(binary) => self.binary(binary, steps),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, steps).map(Value::Vector),
            ExprKind::Call(call) => self.call(call, steps),
            ExprKind::String(_) | ExprKind::Range(_) | ExprKind::Subquery(_) => {
                unreachable!("expressions are checked: no value of this type stands here")
            }
        }
    }

    /// An expression of the type instant vector.
    fn vector(&mut self, expr: &Expr, steps: Steps) -> Result<Grid, EvalError> {
        match self.eval(expr, steps)? {
            Value::Vector(grid) => Ok(grid),
            Value::Scalar(_) => unreachable!("expressions are checked: this is a vector"),
        }
    }

    /// An expression of the type scalar.
    fn scalar(&mut self, expr: &Expr, steps: Steps) -> Result<Vec<f64>, EvalError> {
        match self.eval(expr, steps)? {
            Value::Scalar(values) => Ok(values),
            Value::Vector(_) => unreachable!("expressions are checked: this is a scalar"),
        }
    }

    /// An empty grid for as many series; refused where it would be too large.
    fn grid(&self, rows: usize, steps: Steps) -> Result<Grid, EvalError> {
        let max = self.options.limits.values_max;
        if rows.saturating_mul(steps.count) > max {
            return Err(EvalError::TooManyValues(max));
        }
        Ok(Grid::with_capacity(rows, steps.count))
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
