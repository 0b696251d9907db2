//! How a rule stood in the past: it is judged once more, by the engine that judges live, over the
//! samples that are kept.
//!
//! It begins long enough before the time asked about for its windows and its `for`, and an hour
//! more; what had begun before that is seen to begin there. It does nothing and tells nobody.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use super::parts::LIMITS;
use super::{Context, Explanation, Question};
use crate::config::Named;
use crate::promql::functions::Point;
use crate::promql::selector::{Matcher, Pattern};
use crate::promql::source::{SeriesSet, Summary, Window};
use crate::promql::{self, EvalError, Expr, Selector};
use crate::rules::depends::Parent;
use crate::rules::plan::Plan;
use crate::rules::{Course, RuleConfig};
use crate::sample::{Batch, Catalogue, Sample, SeriesId, TARGET_UP, Timestamp, split_name};

/// How much longer than it must it looks back, so that what had been so for a while is seen as that.
const RUN_UP: Duration = Duration::from_secs(3_600);

/// Batches judged between two looks at the time.
const BATCHES_AT_ONCE: usize = 1_024;

type Rules = Vec<Arc<Named<RuleConfig>>>;

/// What the engine would have said at a time; `None`: there is no such rule.
pub(super) fn judge(
    cx: &Context<'_>,
    question: &Question,
    at: Timestamp,
) -> Result<Option<Explanation>, EvalError> {
    let rules = with_parents(cx.rules, &question.rule);
    let Some(rule) = rules.first() else { return Ok(None) };
    let (hold, keep) = (rule.value.hold, rule.value.keep_firing_for);
    let catalogue = Arc::new(Catalogue::default());
    let mut course = Course::new(catalogue.clone(), rules.clone());
    for (target, interval) in cx.targets {
        course.engine_mut().polled_every(target, *interval);
    }
    let reach = course.engine().reach().unwrap_or_default() + hold + keep + RUN_UP;
    let after = at.shifted(-i64::try_from(reach.as_nanos()).unwrap_or(i64::MAX));
    let window = Window { after, until: at, summary: Summary::default() };
    let samples = Samples::read(cx, &selectors(&rules, question), window, &catalogue)?;
    let mut out = Vec::new();
    for (place, batch) in samples.batches().enumerate() {
        if place % BATCHES_AT_ONCE == 0 {
            (cx.check)()?;
        }
        course.judge(&batch, &mut out);
        out.clear();
    }
    course.pass(at, &mut out);
    Ok(course.engine().explain(&Question { at: None, ..question.clone() }, at))
}

/// The samples that are kept.
#[derive(Debug, Default)]
struct Samples {
    /// Each with its time and the number of its target, in this order.
    all: Vec<(Timestamp, usize, Sample)>,
    /// Those series that say whether a target answers.
    verdicts: FxHashSet<SeriesId>,
}

impl Samples {
    /// Reads all that is meant; a series that two selectors mean is read once.
    fn read(
        cx: &Context<'_>,
        selectors: &[Selector],
        window: Window,
        catalogue: &Catalogue,
    ) -> Result<Self, EvalError> {
        let (mut read, mut targets) = (FxHashSet::default(), FxHashMap::default());
        let mut samples = Self::default();
        for selector in selectors {
            (cx.check)()?;
            let mut found = SeriesSet::new(LIMITS.samples_max - samples.all.len());
            cx.source.select(selector, window, &mut found)?;
            for (labels, points) in found.iter() {
                let series = intern(catalogue, labels);
                if !read.insert(series) {
                    continue;
                }
                if labels.name() == Some(TARGET_UP) {
                    samples.verdicts.insert(series);
                }
                let (name, next) = (labels.get("target").unwrap_or_default(), targets.len());
                let target = *targets.entry(name.to_owned()).or_insert(next);
                let sample = |one: &Point| (one.time, target, Sample { series, value: one.value });
                samples.all.extend(points.iter().map(sample));
            }
        }
        samples.all.sort_unstable_by_key(|(time, target, sample)| (*time, *target, sample.series));
        Ok(samples)
    }

    /// As batches in the order of time: what one target said at one time is one.
    fn batches(&self) -> impl Iterator<Item = Batch> {
        let nobody: Arc<str> = "".into();
        let polls = self.all.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1));
        polls.map(move |poll| {
            let samples = poll.iter().map(|(.., sample)| *sample).collect();
            let mut batch = Batch { target: nobody.clone(), time: poll[0].0, samples };
            batch.put_verdict_first(|series| self.verdicts.contains(&series));
            batch
        })
    }
}

fn intern(catalogue: &Catalogue, labels: &promql::Labels) -> SeriesId {
    let (measurement, field) = split_name(labels.name().unwrap_or_default());
    let tags: Vec<_> = labels.iter().filter(|(name, _)| *name != promql::labels::NAME).collect();
    catalogue.intern(measurement, field, &tags)
}

/// The rule, and those it depends on, and so on.
fn with_parents(all: &[Arc<Named<RuleConfig>>], name: &str) -> Rules {
    let find = |name: &str| all.iter().find(|rule| *rule.name == *name).cloned();
    let mut found: Rules = find(name).into_iter().collect();
    let mut next = 0;
    while let Some(rule) = found.get(next).cloned() {
        next += 1;
        for parent in rule.value.depends_on.iter().flat_map(|on| &on.parents) {
            if let Parent::Rule(name) = &parent.value
                && !found.iter().any(|one| *one.name == **name)
            {
                found.extend(find(name));
            }
        }
    }
    found
}

/// What rules look at, whenever that is.
fn selectors(rules: &Rules, question: &Question) -> Vec<Selector> {
    let mut found = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        match &rule.value.plan {
            Plan::Threshold(threshold) => {
                let mut selector = threshold.selector.promql();
                // Each series is judged by itself, so those not asked about need not be read.
                if place == 0 {
                    narrow(&mut selector, question, &rule.value);
                }
                found.push(selector);
            }
            Plan::Expression(levels) => {
                for level in levels {
                    walk(&level.when.expr, &mut found);
                    level.clear.iter().for_each(|clear| walk(&clear.expr, &mut found));
                }
            }
        }
        let parents = rule.value.depends_on.iter().flat_map(|on| &on.parents);
        for parent in parents {
            if let Parent::Target { name, .. } = &parent.value {
                let target = Pattern::Equal(name.clone());
                let matchers = vec![Matcher { label: "target".to_owned(), pattern: target }];
                let name = Some(TARGET_UP.to_owned());
                found.push(Selector { name, matchers, offset: 0, at: None });
            }
        }
    }
    found
}

/// Only series with the labels asked for, which the rule does not give its alerts itself.
pub(super) fn narrow(selector: &mut Selector, question: &Question, rule: &RuleConfig) {
    let of_series = question.labels.iter().filter(|(name, _)| !rule.labels.contains_key(*name));
    selector.matchers.extend(of_series.map(|(name, value)| Matcher {
        label: name.clone(),
        pattern: Pattern::Equal(value.clone()),
    }));
}

fn walk(expr: &Expr, found: &mut Vec<Selector>) {
    if let Some(selector) = expr.as_selector() {
        let plain = Selector { offset: 0, at: None, ..selector.clone() };
        if !found.contains(&plain) {
            found.push(plain);
        }
    }
    expr.children().into_iter().for_each(|child| walk(child, found));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::labels::NAME;
    use crate::promql::memory::MemorySource;

    #[test]
    fn what_a_target_said_is_a_batch_that_begins_with_whether_it_answers() {
        let mut source = MemorySource::default();
        for target in ["a", "b"] {
            for name in ["rack_celsius", TARGET_UP] {
                let labels = promql::Labels::new([(NAME, name), ("target", target)]);
                source.insert(&labels, Point { time: Timestamp::from_secs(1), value: 1.0 });
            }
        }
        let cx = Context { source: &source, rules: &[], targets: &[], check: &|| Ok(()) };
        let until = Timestamp::from_secs(2);
        let window = Window { after: Timestamp::MIN, until, summary: Summary::default() };
        let named = |name: &str| Selector { name: Some(name.to_owned()), ..Selector::all() };
        let selectors = [named("rack_celsius"), named(TARGET_UP)];
        let catalogue = Catalogue::default();
        let samples = Samples::read(&cx, &selectors, window, &catalogue).unwrap();
        let names = |batch: Batch| -> Vec<String> {
            batch.samples.iter().map(|one| catalogue.series(one.series).name()).collect()
        };
        let batches: Vec<_> = samples.batches().map(names).collect();
        assert_eq!(batches, [[TARGET_UP, "rack_celsius"]; 2]);
    }
}
