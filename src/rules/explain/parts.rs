//! An expression taken apart: what it and each part of it yield at a time, over any source of
//! series.
//!
//! Every part is evaluated by itself, by the evaluator that queries use. It says what is there and
//! judges nothing; what it may cost is bounded, and what is left out is counted.

use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::{Serialize, Serializer};

use crate::promql::expr::{RangeSelector, Subquery};
use crate::promql::functions::Point;
use crate::promql::labels::{self, NAME};
use crate::promql::selector::At;
use crate::promql::{AnswerValue, EvalError, Expr, ExprKind, Options, Selector, Source, ValueType};
use crate::promql::{eval, eval::Check, eval::Limits};
use crate::rules::Labels;
use crate::sample::Timestamp;

/// Parts of one expression that are shown: what a screen or two hold. How many there are besides is
/// said.
pub(super) const PARTS_MAX: usize = 64;

/// Elements shown of one part; how many there are besides is said.
pub(super) const VALUES_MAX: usize = 10;

/// How far back the last sample of a series is looked for that has none now.
pub(super) const HISTORY: Duration = Duration::from_secs(3_600);

/// What a part may read and compute: 16 MB each, a tenth of what a query may. A part that needs
/// more says so, and the others are shown.
pub(super) const LIMITS: Limits = Limits { samples_max: 1_000_000, values_max: 1_000_000 };

/// An expression, what it yields, and what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// It, as PromQL.
    pub expr: String,
    /// What it yields: `scalar`, `instant vector` or `range vector`.
    pub yields: &'static str,
    /// Elements that do not contradict the labels asked for.
    pub values: Vec<Element>,
    /// How many there are besides, those that do included.
    pub more: usize,
    /// Why there is no answer.
    pub failed: Option<String>,
    /// What it is made of, in the order of the text.
    pub parts: Vec<Self>,
    /// How many of these are left out.
    pub parts_more: usize,
}

/// One element of what a part yields.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Element {
    /// Its labels, none for a number.
    pub labels: Labels,
    /// Its value; of a range, the last.
    #[serde(serialize_with = "number")]
    pub value: f64,
    /// Whether the value counts: otherwise it is the last there was, and too old, or a stale mark
    /// has ended it.
    pub counts: bool,
    /// When the sample was taken, RFC 3339, where it is a sample.
    pub at: Option<String>,
    /// How long ago.
    pub age_seconds: Option<f64>,
    /// Of a range, how many samples it has.
    pub samples: Option<usize>,
}

/// As Prometheus writes what JSON has no number for.
fn number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else if value.is_nan() {
        serializer.serialize_str("NaN")
    } else {
        serializer.serialize_str(if *value > 0.0 { "+Inf" } else { "-Inf" })
    }
}

impl Part {
    /// Selectors and windows without any value that counts, with the age of the newest sample there
    /// was, in seconds.
    pub(super) fn without_data(&self) -> Vec<(&Self, Option<f64>)> {
        let below = self.parts.iter().flat_map(Self::without_data);
        let is_number = self.yields == ValueType::Scalar.as_str();
        let is_leaf = self.parts.is_empty() && !is_number && self.failed.is_none();
        let own = (is_leaf && self.values.iter().all(|one| !one.counts)).then(|| {
            let ages = self.values.iter().filter_map(|one| one.age_seconds);
            (self, ages.min_by(f64::total_cmp))
        });
        own.into_iter().chain(below).collect()
    }
}

/// Takes expressions apart.
pub(super) struct Anatomy<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) check: Check<'a>,
    /// What elements must not contradict.
    pub(super) labels: &'a Labels,
    /// The time asked about: ages are told from here.
    pub(super) now: Timestamp,
}

impl Anatomy<'_> {
    /// An expression at a time.
    pub(super) fn of(&self, expr: &Expr) -> Part {
        self.part(expr, self.now, &mut { PARTS_MAX })
    }

    fn part(&self, expr: &Expr, time: Timestamp, left: &mut usize) -> Part {
        *left -= 1;
        let found = match &expr.kind {
            ExprKind::Selector(selector) => self.newest(expr, selector, time),
            ExprKind::Range(_) | ExprKind::Subquery(_) => self.range(expr, time),
            _ => self.computed(expr, time),
        };
        let (values, failed) = match found {
            Ok(values) => (values, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let (values, more) = self.shown(values);
        let inner = match &expr.kind {
            ExprKind::Subquery(subquery) => last_step(subquery, time),
            _ => time,
        };
        let children = expr.children().into_iter();
        let (mut parts, mut parts_more) = (Vec::new(), 0);
        for child in children.filter(|child| child.value_type() != ValueType::String) {
            if *left == 0 {
                parts_more += 1;
            } else {
                parts.push(self.part(child, inner, left));
            }
        }
        let yields = expr.value_type().as_str();
        Part { expr: expr.to_string(), yields, values, more, failed, parts, parts_more }
    }

    /// Those that fit, as many as are shown, and how many there are besides.
    fn shown(&self, all: Vec<Element>) -> (Vec<Element>, usize) {
        let total = all.len();
        let fits = |one: &Element| {
            self.labels
                .iter()
                .all(|(name, wanted)| one.labels.get(name).is_none_or(|value| value == wanted))
        };
        let mut shown: Vec<_> = all.into_iter().filter(fits).collect();
        // What counts first; the order is the expression's else.
        shown.sort_by_key(|one| !one.counts);
        shown.truncate(VALUES_MAX);
        let more = total - shown.len();
        (shown, more)
    }

    fn eval(&self, expr: &Expr, time: Timestamp) -> Result<AnswerValue, EvalError> {
        let options = Options { limits: LIMITS, ..Options::default() };
        eval::instant(self.source, expr, time, &options, self.check).map(|answer| answer.value)
    }

    fn computed(&self, expr: &Expr, time: Timestamp) -> Result<Vec<Element>, EvalError> {
        let element = |labels: Labels, value: f64| Element {
            labels,
            value,
            counts: true,
            at: None,
            age_seconds: None,
            samples: None,
        };
        Ok(match self.eval(expr, time)? {
            AnswerValue::Scalar(point) => vec![element(Labels::new(), point.value)],
            AnswerValue::Vector(all) => all
                .into_iter()
                .map(|(labels, point)| element(words(&labels), point.value))
                .collect(),
            AnswerValue::Matrix(_) | AnswerValue::String(..) => Vec::new(),
        })
    }

    fn range(&self, expr: &Expr, time: Timestamp) -> Result<Vec<Element>, EvalError> {
        let AnswerValue::Matrix(all) = self.eval(expr, time)? else { return Ok(Vec::new()) };
        let element = |(labels, points): &(labels::Labels, Vec<Point>)| {
            let last = points.last()?;
            Some(Element { samples: Some(points.len()), ..self.sample(words(labels), *last) })
        };
        Ok(all.iter().filter_map(element).collect())
    }

    /// The newest samples, also those that count no more.
    fn newest(
        &self,
        expr: &Expr,
        selector: &Selector,
        time: Timestamp,
    ) -> Result<Vec<Element>, EvalError> {
        let AnswerValue::Vector(present) = self.eval(expr, time)? else { return Ok(Vec::new()) };
        let present: FxHashMap<_, _> =
            present.into_iter().map(|(labels, point)| (labels, point.value)).collect();
        let history = last_samples(selector, HISTORY);
        let all = match self.eval(&history, time) {
            // Of very many series only those that have a value now.
            Err(EvalError::TooManySamples(_)) => {
                self.eval(&last_samples(selector, eval::LOOKBACK), time)?
            }
            found => found?,
        };
        let AnswerValue::Matrix(all) = all else { return Ok(Vec::new()) };
        let element = |(labels, points): &(labels::Labels, Vec<Point>)| {
            let counts = present.contains_key(labels);
            Some(Element { counts, ..self.sample(words(labels), *points.last()?) })
        };
        Ok(all.iter().filter_map(element).collect())
    }

    fn sample(&self, labels: Labels, Point { time, value }: Point) -> Element {
        Element {
            labels,
            value,
            counts: true,
            at: Some(time.to_string()),
            age_seconds: Some(self.now.since(time).as_secs_f64()),
            samples: None,
        }
    }
}

/// All samples a selector means over a time.
pub(super) fn last_samples(selector: &Selector, reach: Duration) -> Expr {
    let range = i64::try_from(reach.as_nanos()).unwrap_or(i64::MAX);
    let range = RangeSelector { selector: selector.clone(), range };
    Expr { kind: ExprKind::Range(range), span: crate::promql::Span::default() }
}

/// The newest time at which a subquery evaluates what is in it.
fn last_step(subquery: &Subquery, time: Timestamp) -> Timestamp {
    let held = match subquery.at {
        Some(At::Time(time)) => time,
        _ => time,
    };
    let default = i64::try_from(eval::SUBQUERY_STEP.as_nanos()).unwrap_or(i64::MAX);
    let end = held.shifted(subquery.offset.saturating_neg());
    end.shifted(-end.as_nanos().rem_euclid(subquery.step.unwrap_or(default).max(1)))
}

/// Without the metric's name, which the expression has.
pub(super) fn words(labels: &labels::Labels) -> Labels {
    let pairs = labels.iter().filter(|(name, _)| *name != NAME);
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
