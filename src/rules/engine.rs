//! Judging: samples in, transitions out.

use std::sync::Arc;

use super::{Alert, RuleConfig, Transition};
use crate::config::Named;
use crate::sample::{Batch, Catalogue, Timestamp};

/// All rules and the state of all alerts.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// An engine that has seen nothing yet.
    #[must_use]
    pub fn new(_catalogue: Arc<Catalogue>, _rules: Vec<Arc<Named<RuleConfig>>>) -> Self {
        Self {}
    }

    /// Judges a batch: all of it is taken in, then each rule it touches is judged once.
    /// Transitions are added to `out`; steady state allocates nothing.
    pub fn apply(&mut self, _batch: &Batch, _out: &mut Vec<Transition>) {}

    /// Judges what depends on time alone: `for`, `keep_firing_for`, data gone missing.
    pub fn tick(&mut self, _now: Timestamp, _out: &mut Vec<Transition>) {}

    /// When [`Engine::tick`] has something to do next.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        None
    }

    /// The wall clock was stepped by this many nanoseconds: timers keep what is left of them.
    pub fn clock_stepped(&mut self, _nanos: i64) {}

    /// Takes other rules. Rules that did not change keep their alerts and timers; alerts of rules
    /// that are gone end with a transition.
    pub fn reload(
        &mut self,
        _rules: Vec<Arc<Named<RuleConfig>>>,
        _now: Timestamp,
        _out: &mut Vec<Transition>,
    ) {
    }

    /// All alerts that are not inactive.
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        Vec::new()
    }

    /// How many times a rule was judged so far.
    #[must_use]
    pub fn evaluations(&self) -> u64 {
        0
    }
}
