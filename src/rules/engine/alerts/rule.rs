//! A rule as its alerts need it.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::config::Named;
use crate::rules::config::{AtLeast, OnMissing};
use crate::rules::engine::parents::Parents;
use crate::rules::{RuleConfig, Severity};

/// A rule, its words, and how many of its alerts fire.
#[derive(Debug)]
pub(in crate::rules::engine) struct Rule {
    pub(in crate::rules::engine) hold: Duration,
    pub(in crate::rules::engine) keep: Duration,
    pub(in crate::rules::engine) on_missing: OnMissing,
    pub(in crate::rules::engine) at_least: Option<AtLeast>,
    pub(in crate::rules::engine) flap_detection: bool,
    pub(in crate::rules::engine) parents: Option<Parents>,
    /// Whether it judges `target_up`, and so tells that a target is down.
    pub(in crate::rules::engine) tells_of_targets: bool,
    /// How many of its alerts fire, or did before their data went missing.
    pub(in crate::rules::engine) fired: u32,
    pub(in crate::rules::engine) config: Arc<Named<RuleConfig>>,
    /// What one sample must be for the mildest severity, as in `> 35`.
    pub(in crate::rules::engine) mildest_when: String,
    /// From the mildest severity on.
    words: Vec<(Severity, Words)>,
}

/// What a severity's conditions are called in reasons.
#[derive(Debug)]
pub(in crate::rules::engine) struct Words {
    /// What holds, as in `> 35`.
    pub(in crate::rules::engine) when: String,
    /// What ends it, as in `< 32`.
    pub(in crate::rules::engine) end: String,
}

impl Rule {
    /// `places` are those of all rules by name.
    pub(in crate::rules::engine) fn new(
        config: Arc<Named<RuleConfig>>,
        places: &FxHashMap<&str, u32>,
    ) -> Self {
        let rule = &config.value;
        let samples = |least: u8, of: u8| format!(" in {least} of {of} samples");
        let (held, ended) = rule.at_least.map_or_else(Default::default, |AtLeast { least, of }| {
            (samples(least, of), samples(of - least + 1, of))
        });
        let words = rule.plan.words();
        let mildest_when = words.first().map_or_else(String::new, |(_, when, _)| when.clone());
        let words = words.into_iter().map(|(severity, when, end)| {
            (severity, Words { when: when + &held, end: end + &ended })
        });
        let parents = rule.depends_on.as_ref();
        Self {
            hold: rule.hold,
            keep: rule.keep_firing_for,
            on_missing: rule.on_missing,
            at_least: rule.at_least,
            flap_detection: rule.flap_detection,
            parents: parents.map(|parents| Parents::new(parents, rule.settle, places)),
            tells_of_targets: rule.tells_of_targets(),
            fired: 0,
            mildest_when,
            words: words.collect(),
            config,
        }
    }

    /// What a severity's conditions are called.
    pub(in crate::rules::engine) fn words(&self, severity: Severity) -> &Words {
        let found = self.words.iter().find(|(one, _)| *one >= severity);
        &found.or(self.words.last()).expect("a rule has at least one severity").1
    }

    pub(in crate::rules::engine) fn mildest(&self) -> Severity {
        self.words.first().map_or(Severity::Warning, |(severity, _)| *severity)
    }

    /// How long at most its alerts wait for what their parents are at.
    pub(in crate::rules::engine) fn settle(&self) -> Duration {
        self.parents.as_ref().map_or(Duration::ZERO, |parents| parents.settle)
    }

    pub(in crate::rules::engine) fn parents_shown(&self) -> String {
        self.parents.as_ref().map_or_else(String::new, Parents::shown)
    }
}
