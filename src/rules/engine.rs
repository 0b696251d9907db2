//! Judging: samples in, transitions out.
//!
//! A *front* turns samples into verdicts: it knows series, and which of their values hold. The
//! [alerts] take verdicts and know no series. An alert is named by its rule and an
//! *output* of the front: for [thresholds] a series.
//!
//! Samples are judged in the time of their batches:
//! - A sample older than the last of its series is late: it changes nothing, and is counted.
//! - Of two with one time the last counts.
//! - A sample from the future is judged at its own time and moves no clock but its series'.
//!   Who lets in foreign timestamps must bound them: until that time, others would be late.
//! - What was due before a sample happens before it, at its own time, whether or not
//!   [`Engine::tick`] was called in between: ticks decide when a transition is heard of, not
//!   whether it is made.

mod active;
mod alerts;
mod climb;
mod explain;
mod flaps;
mod journal;
mod known;
mod parents;
mod saved;
mod streams;
#[cfg(test)]
mod tests;
mod thresholds;
mod verdict;
mod window;

use std::sync::Arc;
use std::time::Duration;

use alerts::{Alerts, Rule};
use rustc_hash::FxHashMap;
use thresholds::Thresholds;

pub use saved::{Saved, Unsaved};
use streams::Streams;
pub use streams::Usage;

use super::plan::Plan;
use super::{Alert, RuleConfig, Transition};
use crate::config::Named;
use crate::sample::{Batch, Catalogue, Series, Timestamp};

/// How long a sample counts where no stale mark ends it: PromQL's lookback.
pub(super) const LOOKBACK: Duration = Duration::from_secs(5 * 60);

/// All rules and the state of all alerts.
#[derive(Debug)]
pub struct Engine {
    front: Thresholds,
    streams: Streams,
    alerts: Alerts,
    journal: journal::Journal,
    catalogue: Arc<Catalogue>,
}

impl Engine {
    /// An engine that has seen nothing yet.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, rules: Vec<Arc<Named<RuleConfig>>>) -> Self {
        let mut engine = Self {
            front: Thresholds::new(catalogue.clone()),
            streams: Streams::new(catalogue.clone()),
            alerts: Alerts::default(),
            journal: journal::Journal::default(),
            catalogue,
        };
        engine.set_rules(rules, &[]);
        engine
    }

    /// Judges a batch: each rule a sample concerns is judged once. Transitions are added to `out`;
    /// samples that change nothing allocate nothing.
    pub fn apply(&mut self, batch: &Batch, out: &mut Vec<Transition>) {
        let from = out.len();
        self.front.apply(batch, &mut self.alerts, out);
        self.streams.apply(batch, &mut self.alerts, out);
        self.let_go();
        self.note(&out[from..]);
    }

    /// How far back the expressions of rules look; `None` where there is none.
    #[must_use]
    pub fn reach(&self) -> Option<Duration> {
        let plans = self.rules().map(|rule| &rule.value.plan);
        let expressions = plans.flat_map(|plan| match plan {
            Plan::Threshold(_) => &[][..],
            Plan::Expression(levels) => levels,
        });
        let written =
            expressions.flat_map(|asked| std::iter::once(&asked.when).chain(&asked.clear));
        written.map(|written| written.expr.reach(LOOKBACK)).max()
    }

    /// Shows windows a batch of before the start, in the order of time: what was judged before is
    /// not judged again. To be called before [`Engine::restore`].
    pub fn replay(&mut self, batch: &Batch) {
        self.streams.replay(batch);
    }

    /// What time it is. From the first time on that it is told, samples of later times wait for
    /// theirs in rules whose expressions look at several series: a device whose clock is ahead must
    /// not move the time of all others.
    pub fn observe(&mut self, now: Timestamp) {
        self.streams.network.observe(now);
    }

    /// Judges what depends on time alone: `for`, `keep_firing_for`, data gone missing.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Transition>) {
        let from = out.len();
        self.streams.tick(now, &mut self.alerts, out);
        self.alerts.tick(now, out);
        self.let_go();
        self.note(&out[from..]);
    }

    /// When [`Engine::tick`] may have something to do next.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        let (alerts, streams) = (self.alerts.next_tick(), self.streams.network.next_tick());
        alerts.into_iter().chain(streams).min()
    }

    /// What rules take that are more than comparisons with a number.
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        self.streams.usage(|rule| self.alerts.rules[rule as usize].config.name.clone())
    }

    fn let_go(&mut self) {
        if !self.alerts.released.is_empty() {
            self.front.let_go(&mut self.alerts);
            self.streams.let_go(&mut self.alerts);
        }
    }

    /// The wall clock was stepped by this many nanoseconds: timers keep what is left of them.
    pub fn clock_stepped(&mut self, nanos: i64) {
        self.front.clock_stepped(nanos);
        self.streams.network.clock_stepped(nanos);
        self.alerts.clock_stepped(nanos);
    }

    /// A target, by its [id](crate::config::Target::id), is polled this often. Where that is
    /// rarely, its samples count for two and a half intervals: the time between two polls is not
    /// missing data. Alerts that are active already keep to what was said before.
    pub fn polled_every(&mut self, target: &str, interval: Duration) {
        self.front.polled_every(target, interval);
        self.streams.network.polled_every(target, interval);
    }

    /// Takes other rules. Rules that did not change keep their alerts and timers; alerts of rules
    /// that are gone or have changed end with a transition.
    pub fn reload(
        &mut self,
        rules: Vec<Arc<Named<RuleConfig>>>,
        now: Timestamp,
        out: &mut Vec<Transition>,
    ) {
        let places: FxHashMap<&str, usize> =
            rules.iter().enumerate().map(|(place, rule)| (&*rule.name, place)).collect();
        let moved: Vec<Result<u32, &str>> = self
            .rules()
            .map(|old| match places.get(&*old.name) {
                Some(place) if rules[*place].value == old.value => Ok(index(*place)),
                Some(_) => Err("rule reloaded: it has changed"),
                None => Err("rule reloaded: it was removed"),
            })
            .collect();
        let from = out.len();
        self.alerts.move_rules(&moved, now, out);
        self.note(&out[from..]);
        let held = self.front.held(&self.alerts, &moved);
        self.alerts.released.clear();
        self.set_rules(rules, &moved);
        self.front.relink(&held, now, &mut self.alerts);
    }

    /// Targets are no longer watched: the alerts of their series end with a transition, and what
    /// was known of these series is forgotten. One pass for all of them: there may be thousands of
    /// either.
    pub fn forget(
        &mut self,
        is_gone: impl Fn(&Series) -> bool,
        now: Timestamp,
        out: &mut Vec<Transition>,
    ) {
        let from = out.len();
        self.front.forget(&is_gone, now, &mut self.alerts, out);
        self.streams.forget(&self.catalogue, is_gone, now, &mut self.alerts, out);
        self.let_go();
        self.note(&out[from..]);
    }

    /// All alerts that are not inactive.
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        self.alerts.shown()
    }

    /// The rules it judges by.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Named<RuleConfig>>> {
        self.alerts.rules.iter().map(|rule| &rule.config)
    }

    /// How many series there are, judged or not.
    #[must_use]
    pub fn series_known(&self) -> usize {
        self.catalogue.len()
    }

    /// How many times a rule was judged so far.
    #[must_use]
    pub fn evaluations(&self) -> u64 {
        self.front.evaluations + self.streams.network.evaluations
    }

    /// How many samples came too late to be judged so far.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.front.late + self.streams.network.late
    }

    /// Remembers what has happened, and what almost did.
    fn note(&mut self, happened: &[Transition]) {
        self.journal.note(happened);
        self.journal.note_misses(self.alerts.misses.drain(..));
    }

    fn set_rules(&mut self, rules: Vec<Arc<Named<RuleConfig>>>, moved: &[Result<u32, &str>]) {
        self.front.set_rules(&rules);
        self.streams.set_rules(&rules, moved);
        let places: FxHashMap<&str, u32> =
            rules.iter().enumerate().map(|(place, rule)| (&*rule.name, index(place))).collect();
        let rules = rules.iter().map(|rule| Rule::new(rule.clone(), &places)).collect();
        self.alerts.set_rules(rules);
    }
}

fn index(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than four thousand million series, rules and alerts")
}
