//! Why alerts are as they are, and why there are none: what was seen, what it was compared with,
//! which timers run, what holds it back, and what happened before.
//!
//! The [engine](super::Engine::explain) answers from what it has in memory. [`complete`] adds what
//! the samples that are kept say: what each part of the rule's expressions yields, how near a series
//! came, and how the rule stood at a time that is past. Neither changes anything.

mod again;
mod nearest;
mod parts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use nearest::Nearest;
use parts::Anatomy;
pub use parts::{Element, Part};
use serde::Serialize;

use super::RuleConfig;
use super::plan::shown;
use crate::config::{Named, show_duration};
use crate::promql::eval::Check;
use crate::promql::{ExprKind, Source, ValueType};

use super::{Alert, Labels, Notify, Severity, State, Transition};
use crate::sample::Timestamp;

/// Series explained in one answer; how many there are besides is said.
pub const EXPLAINED_MAX: usize = 100;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The rule.
    pub rule: String,
    /// Labels that must be so.
    pub labels: Labels,
    /// At which time; `None`: now.
    pub at: Option<Timestamp>,
}

/// The answer for one rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The rule.
    pub rule: String,
    /// When this was so, RFC 3339.
    pub at: String,
    /// What the rule asks, as PromQL.
    pub asks: String,
    /// `for`, in seconds.
    pub for_seconds: f64,
    /// The series it is about that fit, in no order; those that are active first.
    pub alerts: Vec<Explained>,
    /// How many more there are.
    pub more: usize,
    /// What each expression of the rule yields, and each part of it.
    pub expressions: Vec<Asked>,
    /// What happened to its alerts, the newest last, as far as it is remembered.
    pub journal: Vec<Happened>,
    /// In a word where there is no series.
    pub outcome: Option<String>,
    /// What of this answer could not be found out, and why.
    pub notes: Vec<String>,
}

/// An expression of a rule, taken apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    /// The severity it is of.
    pub severity: Severity,
    /// `when` or `clear`.
    pub what: &'static str,
    /// What it and its parts yield.
    #[serde(flatten)]
    pub part: Part,
}

/// One series of a rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    /// The alert's labels.
    pub labels: Labels,
    /// What was seen.
    pub seen: Option<Seen>,
    /// How near it came in the hour before, where it did not fire.
    pub nearest: Option<Nearest>,
    /// What it was compared with, from the mildest severity on.
    pub conditions: Vec<Compared>,
    /// The state.
    pub state: State,
    /// How bad it is, unless it is inactive.
    pub severity: Option<Severity>,
    /// Since when the rule has held, RFC 3339.
    pub since: Option<String>,
    /// What time alone will bring.
    pub timers: Vec<Timer>,
    /// What it depends on that keeps people from hearing of it.
    pub held_back_by: Option<String>,
    /// Whether it flaps.
    pub flapping: bool,
    /// All of it in a sentence.
    pub outcome: String,
}

/// The last sample of a series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    /// The series, as PromQL has it.
    pub series: String,
    /// Its value; none where it is stale.
    pub value: Option<f64>,
    /// When, RFC 3339.
    pub at: String,
    /// How long ago.
    pub age_seconds: f64,
}

/// A condition and the value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The severity it is of.
    pub severity: Severity,
    /// `when`, as in `> 35`.
    pub when: String,
    /// Whether it holds.
    pub holds: Option<bool>,
    /// What ends it, as in `< 32`.
    pub clear: String,
    /// Whether that holds.
    pub clears: Option<bool>,
}

/// Something that will happen unless something else does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timer {
    /// What: `fires`, `gets worse`, `clears`, `is told`, `has no data any more`, `is forgotten`.
    pub what: &'static str,
    /// When, RFC 3339.
    pub at: String,
}

impl Timer {
    /// What the end of the lookback is called.
    pub(super) const EXPIRY: &'static str = "has no data any more";
}

/// A transition, as it is remembered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Happened {
    /// When, RFC 3339.
    pub at: String,
    /// The alert's labels.
    pub labels: Labels,
    /// From which state.
    pub from: State,
    /// To which.
    pub to: State,
    /// How bad.
    pub severity: Severity,
    /// The value that decided.
    pub value: Option<f64>,
    /// Why.
    pub reason: String,
    /// Who heard of it.
    pub told: Notify,
    /// Whether it was about to fire and did not.
    pub near_miss: bool,
}

impl Happened {
    pub(super) fn new(one: &Transition, near_miss: bool) -> Self {
        let Transition { alert, from, at, notify, .. } = one;
        let Alert { labels, state, severity, value, reason, .. } = alert;
        Self {
            at: at.to_string(),
            labels: (**labels).clone(),
            from: *from,
            to: *state,
            severity: *severity,
            value: *value,
            reason: reason.clone(),
            told: *notify,
            near_miss,
        }
    }
}

/// What an answer is completed from.
pub struct Context<'a> {
    /// The samples that are kept.
    pub source: &'a dyn Source,
    /// The rules there are.
    pub rules: &'a [Arc<Named<RuleConfig>>],
    /// The targets, by their [ids](crate::config::Target::id), and how often each is polled.
    pub targets: &'a [(String, Duration)],
    /// Asked now and then whether to go on; what is not found out by then is said.
    pub check: Check<'a>,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

/// Adds to the engine's answer what the samples that are kept say of its time.
pub fn complete(answer: &mut Explanation, question: &Question, now: Timestamp, cx: &Context<'_>) {
    let Some(rule) = cx.rules.iter().find(|rule| *rule.name == *question.rule) else { return };
    let rule = &rule.value;
    let at = question.at.unwrap_or(now);
    if question.at.is_some() {
        match again::judge(cx, question, at) {
            Ok(Some(judged)) => merge(answer, judged),
            Ok(None) => {}
            Err(error) => answer.notes.push(format!("that time cannot be judged again: {error}")),
        }
    }
    let of_series = question.labels.iter().filter(|(name, _)| !rule.labels.contains_key(*name));
    let labels = of_series.map(|(name, value)| (name.clone(), value.clone())).collect();
    let anatomy = Anatomy { source: cx.source, check: cx.check, labels: &labels, now: at };
    let asked = rule.plan.expressions().into_iter();
    answer.expressions = asked
        .map(|(severity, what, expr)| Asked { severity, what, part: anatomy.of(&expr) })
        .collect();
    came_near(answer, question, rule, at, cx);
    if answer.alerts.is_empty()
        && let Some(why) = no_data(&answer.expressions)
    {
        answer.outcome = Some(format!("did not fire because {why}"));
    }
}

/// What is remembered is what happened; the rest is as the rule, as it is now, would have judged.
fn merge(answer: &mut Explanation, judged: Explanation) {
    let judged_more = judged.more;
    let mut judged: BTreeMap<Labels, Explained> =
        judged.alerts.into_iter().map(|one| (one.labels.clone(), one)).collect();
    for one in &mut answer.alerts {
        let Some(judged) = judged.remove(&one.labels) else { continue };
        (one.seen, one.conditions) = (judged.seen, judged.conditions);
        if one.state == judged.state {
            one.timers = judged.timers;
            one.outcome = if one.state == State::Inactive {
                format!("{}; {}", judged.outcome, one.outcome)
            } else {
                judged.outcome
            };
        }
    }
    answer.alerts.extend(judged.into_values());
    answer.alerts.sort_by_key(|one| one.state == State::Inactive);
    answer.more += judged_more + answer.alerts.len().saturating_sub(EXPLAINED_MAX);
    answer.alerts.truncate(EXPLAINED_MAX);
    if !answer.alerts.is_empty() {
        answer.outcome = None;
    }
}

/// How near what did not fire came to it.
fn came_near(
    answer: &mut Explanation,
    question: &Question,
    rule: &RuleConfig,
    at: Timestamp,
    cx: &Context<'_>,
) {
    let Some((mut subject, condition)) = rule.plan.mildest_comparison() else { return };
    if let (ExprKind::Selector(selector), Some(_)) = (&mut subject.kind, rule.plan.threshold()) {
        again::narrow(selector, question, rule);
    }
    let found = match nearest::nearest(cx.source, &subject, condition, at, cx.check) {
        Ok(found) => found,
        Err(error) => {
            return answer.notes.push(format!("how near it came cannot be told: {error}"));
        }
    };
    let with_own = found.into_iter().map(|(mut labels, nearest)| {
        labels.extend(rule.labels.clone());
        (labels, nearest)
    });
    let mut found: BTreeMap<Labels, Nearest> = with_own.collect();
    for one in answer.alerts.iter_mut().filter(|one| one.state == State::Inactive) {
        let Some(nearest) = found.remove(&one.labels) else { continue };
        let seen = one.seen.as_ref().and_then(|seen| seen.value);
        if seen != Some(nearest.value) {
            let (value, ago) = (shown(nearest.value), ago(nearest.seconds_before));
            let words = if nearest.held { "it was" } else { "the nearest was" };
            one.outcome += &format!("; in the hour before {words} {value}, {ago} before");
        }
        one.nearest = Some(nearest);
    }
}

fn no_data(asked: &[Asked]) -> Option<String> {
    let when = asked.iter().filter(|one| one.what == "when");
    let (Part { expr, yields, .. }, age) = when.flat_map(|one| one.part.without_data()).next()?;
    Some(match age {
        Some(age) => format!("there is no data: the last sample of {expr} was {} before", ago(age)),
        None if *yields == ValueType::Range.as_str() => {
            format!("there is no data: {expr} has no samples")
        }
        None => format!("there is no data: {expr} has no sample in the hour before"),
    })
}

/// A time span for people: tenths of a second below ten, whole seconds below a day, then minutes.
#[must_use]
pub fn ago(seconds: f64) -> String {
    const DAY: f64 = 86_400.0;
    let to = match seconds.abs() {
        short if short < 9.95 => return format!("{seconds:.1}s"),
        middle if middle < DAY => 1.0,
        _ => 60.0,
    };
    let rounded = Duration::from_secs_f64((seconds.abs() / to).round() * to);
    let sign = if seconds < 0.0 { "-" } else { "" };
    format!("{sign}{}", show_duration(rounded))
}
