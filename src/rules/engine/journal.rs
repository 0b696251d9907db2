//! What happened to alerts of late, and what almost did, in memory: the newest of each rule, and of
//! all of them.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::rules::explain::{Happened, Question};
use crate::rules::{State, Transition};
use crate::sample::Timestamp;

/// Remembered of one rule: enough to see a week of a sane one.
const OF_A_RULE_MAX: usize = 256;

/// Remembered of all rules, some hundred bytes each; beyond, the rule with the most forgets first.
const OF_ALL_MAX: usize = 16_384;

/// Of these at most so many are near misses of `at_least`, so that what nearly happened does not
/// push out what did; beyond, the oldest near miss is forgotten.
const MISSES_OF_A_RULE_MAX: usize = 64;

/// By rule, in the order of time.
#[derive(Debug, Default)]
pub(super) struct Journal {
    rules: FxHashMap<Arc<str>, VecDeque<Noted>>,
    len: usize,
}

/// What happened, or almost did.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) transition: Transition,
    /// Nothing has changed: enough samples of `at_least` held to be noteworthy, and too few to fire.
    too_few: bool,
}

impl Noted {
    pub(super) fn happened(&self) -> Happened {
        let Transition { from, alert, .. } = &self.transition;
        let was_pending = *from == State::Pending && alert.state == State::Inactive;
        Happened::new(&self.transition, self.too_few || was_pending)
    }
}

impl Journal {
    pub(super) fn note(&mut self, happened: &[Transition]) {
        for transition in happened {
            self.push(Noted { transition: transition.clone(), too_few: false });
        }
    }

    /// Notes that too few samples held for an alert to become active.
    pub(super) fn note_misses(&mut self, misses: impl Iterator<Item = Transition>) {
        for transition in misses {
            self.push(Noted { transition, too_few: true });
        }
    }

    fn push(&mut self, noted: Noted) {
        let name = &noted.transition.alert.rule.name;
        let of_rule = self.rules.entry(name.clone()).or_default();
        let misses = || of_rule.iter().enumerate().filter(|(_, one)| one.too_few);
        let goes = if noted.too_few && misses().count() >= MISSES_OF_A_RULE_MAX {
            misses().next().map(|(place, _)| place)
        } else {
            (of_rule.len() >= OF_A_RULE_MAX).then_some(0)
        };
        if goes.is_some_and(|place| of_rule.remove(place).is_some()) {
            self.len -= 1;
        }
        of_rule.push_back(noted);
        self.len += 1;
        while self.len > OF_ALL_MAX {
            let Some(longest) = self.rules.values_mut().max_by_key(|one| one.len()) else { return };
            longest.pop_front();
            self.len -= 1;
        }
    }

    /// What happened to alerts a question is about, up to its time, the newest last.
    pub(super) fn about<'a>(&'a self, question: &'a Question) -> impl Iterator<Item = &'a Noted> {
        let until = question.at.unwrap_or(Timestamp::from_nanos(i64::MAX));
        let fits = move |one: &&Noted| {
            let Transition { alert, at, .. } = &one.transition;
            let labels = &alert.labels;
            *at <= until
                && question.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
        };
        self.rules.get(question.rule.as_str()).into_iter().flatten().filter(fits)
    }
}
