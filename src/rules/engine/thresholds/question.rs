//! What a rule asks of a value.

use std::sync::Arc;

use crate::config::Named;
use crate::rules::config::OnMissing;
use crate::rules::engine::verdict::Verdict;
use crate::rules::plan::{Condition, Level, Plan, Selector, Threshold};
use crate::rules::{Labels, RuleConfig};

/// A rule, as far as values and series go.
#[derive(Debug)]
pub(super) struct Question {
    /// Where this does not hold, no severity does.
    pub(super) gate: Condition,
    pub(super) levels: Box<[Level]>,
    /// Whether its series are watched even at rest, for missing data fires.
    pub(super) watches: bool,
    pub(super) selector: Option<Selector>,
    pub(super) labels: Labels,
    pub(super) name: Arc<str>,
}

impl Question {
    pub(super) fn new(rule: &Named<RuleConfig>) -> Self {
        let Named { name, value: rule } = rule;
        let (selector, levels) = match &rule.plan {
            Plan::Threshold(Threshold { selector, levels }) => (Some(selector), &**levels),
            // Another front's: it keeps its place, and is about no series.
            Plan::Expression(_) => (None, &[][..]),
        };
        Self {
            // A worse severity holds only where the mildest does: the configuration sees to that.
            gate: levels.first().map_or(Condition::Above(f64::INFINITY), |level| level.when),
            levels: levels.into(),
            watches: rule.on_missing == OnMissing::Fire,
            selector: selector.cloned(),
            labels: rule.labels.clone(),
            name: name.clone(),
        }
    }

    pub(super) fn verdict(&self, value: f64) -> Verdict {
        let worst = |is: &dyn Fn(&Level) -> bool| {
            self.levels.iter().rev().find(|level| is(level)).map(|level| level.severity)
        };
        let holds = worst(&|level| level.when.holds(value));
        let stays = worst(&|level| level.clear.is_some_and(|clear| !clear.holds(value)));
        Verdict::Data { value: Some(value), holds, stays: holds.max(stays) }
    }
}
