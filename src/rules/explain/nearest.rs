//! How near a series came to firing of late: the value in the hour before that was the nearest to
//! what its rule compares it with.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::parts::{LIMITS, last_samples, words};
use crate::promql::eval::{self, Check};
use crate::promql::{AnswerValue, EvalError, Expr, ExprKind, Options, Source};
use crate::rules::Labels;
use crate::rules::plan::Condition;
use crate::sample::Timestamp;

/// How far back is looked.
const NEAREST_WITHIN: Duration = Duration::from_secs(3_600);

/// How often a computed value is looked at meanwhile; of a series every sample is.
const STEP: Duration = Duration::from_secs(15);

/// The nearest value there was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Nearest {
    /// The value.
    pub value: f64,
    /// When, RFC 3339.
    pub at: String,
    /// How long before the time asked about.
    pub seconds_before: f64,
    /// Whether it was one for which the rule holds.
    pub held: bool,
}

/// The nearest value of each element of a vector before a time; none where nearness means nothing.
pub(super) fn nearest(
    source: &dyn Source,
    subject: &Expr,
    condition: Condition,
    now: Timestamp,
    check: Check<'_>,
) -> Result<BTreeMap<Labels, Nearest>, EvalError> {
    if condition.shortfall(0.0).is_none() {
        return Ok(BTreeMap::new());
    }
    let options = Options { limits: LIMITS, ..Options::default() };
    let answer = match &subject.kind {
        ExprKind::Selector(selector) => {
            let samples = last_samples(selector, NEAREST_WITHIN);
            eval::instant(source, &samples, now, &options, check)?
        }
        _ => {
            let begin = now.shifted(-i64::try_from(NEAREST_WITHIN.as_nanos()).unwrap_or(i64::MAX));
            eval::range(source, subject, (begin, now), STEP, &options, check)?
        }
    };
    let AnswerValue::Matrix(all) = answer.value else { return Ok(BTreeMap::new()) };
    let found = all.iter().filter_map(|(labels, points)| {
        let short = |value: f64| condition.shortfall(value).unwrap_or(f64::INFINITY);
        let numbers = points.iter().filter(|point| !point.value.is_nan());
        let one = numbers.min_by(|a, b| short(a.value).total_cmp(&short(b.value)))?;
        let nearest = Nearest {
            value: one.value,
            at: one.time.to_string(),
            seconds_before: now.since(one.time).as_secs_f64(),
            held: condition.holds(one.value),
        };
        Some((words(labels), nearest))
    });
    Ok(found.collect())
}
