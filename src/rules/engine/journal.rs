//! What happened to alerts of late, in memory: the newest of each rule, and of all of them.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::rules::Transition;
use crate::rules::explain::Question;
use crate::sample::Timestamp;

/// Remembered of one rule: enough to see a week of a sane one.
const OF_A_RULE_MAX: usize = 256;

/// Remembered of all rules, some hundred bytes each; beyond, the rule with the most forgets first.
const OF_ALL_MAX: usize = 16_384;

/// Transitions, by rule.
#[derive(Debug, Default)]
pub(super) struct Journal {
    rules: FxHashMap<Arc<str>, VecDeque<Transition>>,
    len: usize,
}

impl Journal {
    pub(super) fn note(&mut self, happened: &[Transition]) {
        for one in happened {
            let of_rule = self.rules.entry(one.alert.rule.name.clone()).or_default();
            if of_rule.len() == OF_A_RULE_MAX {
                of_rule.pop_front();
                self.len -= 1;
            }
            of_rule.push_back(one.clone());
            self.len += 1;
        }
        while self.len > OF_ALL_MAX {
            let Some(longest) = self.rules.values_mut().max_by_key(|one| one.len()) else { return };
            longest.pop_front();
            self.len -= 1;
        }
    }

    /// What happened to alerts a question is about, up to its time, the newest last.
    pub(super) fn about<'a>(
        &'a self,
        question: &'a Question,
    ) -> impl DoubleEndedIterator<Item = &'a Transition> {
        let until = question.at.unwrap_or(Timestamp::from_nanos(i64::MAX));
        let fits = move |one: &&Transition| {
            let labels = &one.alert.labels;
            one.at <= until
                && question.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
        };
        self.rules.get(question.rule.as_str()).into_iter().flatten().filter(fits)
    }
}
