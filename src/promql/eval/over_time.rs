//! Functions of a window of samples, at every step of every series.

use rustc_hash::FxHashMap;

use super::grid::{Grid, Key, Steps};
use super::select::{Slide, Windows};
use super::{EvalError, Evaluator};
use crate::promql::Function;
use crate::promql::expr::{Call, Expr};
use crate::promql::functions::{Point, window};
use crate::promql::labels::Labels;
use crate::promql::source::Summary;
use crate::sample::Timestamp;

/// The endings of names of counters; what has another may be no counter.
const COUNTER_ENDINGS: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

impl Evaluator<'_> {
    /// A call of a function that takes a range vector.
    pub(super) fn over_time(
        &mut self,
        call: &Call,
        range: &Expr,
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let function = call.function;
        let summary = match function {
            Function::MinOverTime | Function::TsOfMinOverTime => Summary::Min,
            Function::MaxOverTime | Function::TsOfMaxOverTime => Summary::Max,
            Function::SumOverTime => Summary::Sum,
            Function::AvgOverTime | Function::CountOverTime if self.is_summed_up(range, steps) => {
                return self.of_sums(function, range, steps);
            }
            _ => Summary::default(),
        };
        let windows = self.windows(range, steps, summary)?;
        if function == Function::AbsentOverTime {
            return self.absent_over_time(range, &windows, steps);
        }
        if matches!(function, Function::Rate | Function::Increase) {
            self.doubt_counters(&windows, range, steps);
        }
        let mut numbers = Vec::new();
        for argument in &call.arguments {
            if !std::ptr::eq(argument, range) {
                numbers.push(self.scalar(argument, steps)?);
            }
        }
        let number = |at: usize, step: usize| numbers[at][step];
        let mut scratch = Vec::new();
        match function {
            Function::QuantileOverTime => {
                let phi = &call.arguments[0];
                for value in &numbers[0] {
                    self.annotations.check_quantile(*value, phi.span);
                }
                self.windowed(&windows, steps, function, |window, _, step| {
                    window::quantile_over_time(number(0, step), window, &mut scratch)
                })
            }
            Function::PredictLinear => {
                self.windowed(&windows, steps, function, |window, _, step| {
                    window::predict_linear(window, steps.time(step), number(0, step))
                })
            }
            Function::DoubleExponentialSmoothing => {
                for (values, what) in numbers.iter().zip(["smoothing", "trend"]) {
                    check_factor(values, what)?;
                }
                self.windowed(&windows, steps, function, |window, _, step| {
                    let (level, trend) = (number(0, step), number(1, step));
                    window::double_exponential_smoothing(window, level, trend)
                })
            }
            _ => self.windowed(&windows, steps, function, |window, (start, end), _| {
                window::apply(function, window, start, end)
            }),
        }
    }

    /// The mean or the count of windows of which there are no more than sums and counts.
    fn of_sums(
        &mut self,
        function: Function,
        range: &Expr,
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let mut sum_of = |summary| {
            let windows = self.windows(range, steps, summary)?;
            self.windowed(&windows, steps, Function::SumOverTime, |window, (start, end), _| {
                window::apply(Function::SumOverTime, window, start, end)
            })
        };
        let counts = sum_of(Summary::Count)?;
        if function == Function::CountOverTime {
            return Ok(counts);
        }
        let sums = sum_of(Summary::Sum)?;
        let rows = counts.keys.iter().map(|key| &key.labels).zip(0..);
        let rows: FxHashMap<&Labels, usize> = rows.collect();
        let mut means = self.grid(sums.rows(), steps)?;
        for (row, key) in sums.keys.iter().enumerate() {
            let Some(of_key) = rows.get(&key.labels) else { continue };
            let mean = |step| Some(sums.get(row, step)? / counts.get(*of_key, step)?);
            means.push(key.clone(), mean);
        }
        Ok(means)
    }

    fn windowed(
        &self,
        windows: &Windows,
        steps: Steps,
        function: Function,
        mut value: impl FnMut(&[Point], (Timestamp, Timestamp), usize) -> Option<f64>,
    ) -> Result<Grid, EvalError> {
        // These yield a sample as it was, not another quantity.
        let keeps_name = matches!(function, Function::LastOverTime | Function::FirstOverTime);
        let mut grid = self.grid(windows.keys.len(), steps)?;
        for (row, key) in windows.keys.iter().enumerate() {
            if row % 1024 == 1023 {
                (self.check)()?;
            }
            let points = windows.points(row);
            let mut slide = Slide::default();
            let drops_name = key.drops_name || !keeps_name;
            grid.push(Key { labels: key.labels.clone(), drops_name }, |step| {
                let bounds = windows.bounds(step);
                value(slide.window(points, bounds), bounds, step)
            });
        }
        Ok(grid)
    }

    /// 1 at every step at which no series has a sample in its window.
    fn absent_over_time(
        &self,
        range: &Expr,
        windows: &Windows,
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let mut present = vec![false; steps.count];
        for row in 0..windows.keys.len() {
            let mut slide = Slide::default();
            for (step, present) in present.iter_mut().enumerate() {
                *present |= !slide.window(windows.points(row), windows.bounds(step)).is_empty();
            }
        }
        let mut grid = self.grid(1, steps)?;
        let key = Key { labels: absent_labels(range), drops_name: false };
        grid.push(key, |step| (!present[step]).then_some(1.0));
        Ok(grid)
    }

    fn doubt_counters(&mut self, windows: &Windows, range: &Expr, steps: Steps) {
        let mut doubted = None;
        for (row, key) in windows.keys.iter().enumerate() {
            let Some(name) = key.labels.name().filter(|name| doubted != Some(*name)) else {
                continue;
            };
            if COUNTER_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
                continue;
            }
            let mut slide = Slide::default();
            let points = windows.points(row);
            let looked_at = |step| slide.window(points, windows.bounds(step)).len() > 1;
            if (0..steps.count).any(looked_at) {
                let message = format!(
                    "metric might not be a counter, name does not end in \
                     _total/_sum/_count/_bucket: {name:?}"
                );
                self.annotations.info(message, range.span);
                doubted = Some(name);
            }
        }
    }
}

fn check_factor(values: &[f64], what: &str) -> Result<(), EvalError> {
    match values.iter().find(|value| !(**value > 0.0 && **value < 1.0)) {
        None => Ok(()),
        Some(wrong) => Err(EvalError::Failed(format!(
            "the {what} factor must be between 0 and 1, both excluded, not {wrong}"
        ))),
    }
}

/// The labels that what is absent would surely have: those its selector wants equal, once each.
pub(super) fn absent_labels(expr: &Expr) -> Labels {
    use crate::promql::selector::Pattern;
    let matchers = expr.as_selector().map(|selector| &*selector.matchers).unwrap_or_default();
    let sure = matchers.iter().filter_map(|matcher| {
        let once = matchers.iter().filter(|other| other.label == matcher.label).count() == 1;
        match &matcher.pattern {
            Pattern::Equal(value) if once => Some((&*matcher.label, &**value)),
            _ => None,
        }
    });
    Labels::new(sure.filter(|(name, _)| *name != crate::promql::labels::NAME))
}
