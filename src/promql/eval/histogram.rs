//! Quantiles and fractions of classic histograms, put together from their buckets' series.

use super::grid::{Grid, Key, Steps};
use super::groups::{Groups, Wanted};
use super::{EvalError, Evaluator};
use crate::promql::annotations::go_float;
use crate::promql::expr::{Expr, ExprKind, Span};
use crate::promql::functions::histogram::{self, Bucket};

/// The label of a bucket's upper bound.
const LE: &str = "le";

/// Histograms, each with the rows of its buckets.
struct Histograms {
    buckets: Grid,
    all: Vec<(Key, Vec<(f64, usize)>)>,
}

impl Histograms {
    /// The buckets of a histogram at a step; empty where it has none.
    fn at(&self, histogram: usize, step: usize) -> Vec<Bucket> {
        let bucket = |(upper, row): &(f64, usize)| {
            self.buckets.get(*row, step).map(|count| Bucket { upper: *upper, count })
        };
        self.all[histogram].1.iter().filter_map(bucket).collect()
    }
}

impl Evaluator<'_> {
    /// `histogram_quantile(φ, v)`
    pub(super) fn histogram_quantile(
        &mut self,
        arguments: &[Expr],
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let phi = self.quantiles(&arguments[0], steps)?;
        let span = arguments[1].span;
        let histograms = self.histograms(&arguments[1], steps)?;
        let mut grid = self.grid(histograms.all.len(), steps)?;
        self.push_quantiles(&histograms, &phi, span, steps, &mut grid, Key::clone);
        Ok(grid)
    }

    /// `histogram_quantiles(v, label, φ…)`: each φ in a label.
    pub(super) fn histogram_quantiles(
        &mut self,
        arguments: &[Expr],
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let ExprKind::String(label) = &arguments[1].kind else {
            unreachable!("expressions are checked: this is a text")
        };
        let histograms = self.histograms(&arguments[0], steps)?;
        let mut grid = self.grid(histograms.all.len() * (arguments.len() - 2), steps)?;
        for argument in &arguments[2..] {
            let phi = self.quantiles(argument, steps)?;
            let shown = phi.first().map(|phi| open_metrics(*phi)).unwrap_or_default();
            let labelled = |key: &Key| Key { labels: key.labels.with(label, &shown), ..*key };
            self.push_quantiles(&histograms, &phi, arguments[0].span, steps, &mut grid, labelled);
        }
        Ok(grid)
    }

    /// `histogram_fraction(lower, upper, v)`
    pub(super) fn histogram_fraction(
        &mut self,
        arguments: &[Expr],
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let lower = self.scalar(&arguments[0], steps)?;
        let upper = self.scalar(&arguments[1], steps)?;
        let histograms = self.histograms(&arguments[2], steps)?;
        let mut grid = self.grid(histograms.all.len(), steps)?;
        for (at, (key, _)) in histograms.all.iter().enumerate() {
            grid.push(key.clone(), |step| {
                let mut buckets = histograms.at(at, step);
                let present = !buckets.is_empty();
                present.then(|| histogram::fraction(lower[step], upper[step], &mut buckets))
            });
        }
        Ok(grid)
    }

    fn push_quantiles(
        &mut self,
        histograms: &Histograms,
        phi: &[f64],
        span: Span,
        steps: Steps,
        grid: &mut Grid,
        key_of: impl Fn(&Key) -> Key,
    ) {
        for (at, (key, _)) in histograms.all.iter().enumerate() {
            grid.push(key_of(key), |step| {
                let mut buckets = histograms.at(at, step);
                if buckets.is_empty() {
                    return None;
                }
                let found = histogram::quantile(phi[step], &mut buckets);
                if let Some(repair) = found.repaired {
                    let name = key.labels.name().unwrap_or_default();
                    self.annotations.repaired(name, repair, steps.time(step), span);
                }
                Some(found.value)
            });
        }
    }

    fn quantiles(&mut self, argument: &Expr, steps: Steps) -> Result<Vec<f64>, EvalError> {
        let phi = self.scalar(argument, steps)?;
        phi.iter().for_each(|phi| self.annotations.check_quantile(*phi, argument.span));
        Ok(phi)
    }

    /// The histograms a vector is made of: what agrees in all labels but `le`.
    fn histograms(&mut self, vector: &Expr, steps: Steps) -> Result<Histograms, EvalError> {
        let buckets = self.vector(vector, steps)?;
        let without_le = [LE.to_owned()];
        let mut groups = Groups::new(Wanted::Without(&without_le));
        let mut all: Vec<(Key, Vec<(f64, usize)>)> = Vec::new();
        for (row, key) in buckets.keys.iter().enumerate() {
            let le = key.labels.get(LE).unwrap_or_default();
            let Some(upper) = histogram::bound(le) else {
                let name = key.labels.name().unwrap_or_default();
                let message = format!(
                    "bucket label \"le\" is missing or has a malformed value of {le:?} for \
                     metric name {name:?}"
                );
                self.annotations.warn(message, vector.span);
                continue;
            };
            let group = groups.of(&key.labels);
            if group == all.len() {
                let labels = groups.labels(group);
                all.push((Key { labels, drops_name: true }, Vec::new()));
            }
            all[group].1.push((upper, row));
        }
        Ok(Histograms { buckets, all })
    }
}

/// As OpenMetrics writes a number in a label: a whole one with `.0`.
fn open_metrics(value: f64) -> String {
    if value.is_finite() && value.fract() == 0.0 { format!("{value:.1}") } else { go_float(value) }
}
