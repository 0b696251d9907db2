//! Judging: samples in, transitions out.
//!
//! A series is matched against the rules once, when it is first seen; from then on a sample finds
//! the rules it concerns by its series' id. Nothing is kept for a rule and a series at rest but
//! that link, so judging a sample that does not matter touches a few cache lines and no heap.
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
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use active::{Active, LOOKBACK};
use rustc_hash::FxHashMap;

use super::config::OnMissing;
use super::plan::Condition;
use super::{Alert, Labels, RuleConfig, Transition};
use crate::config::Named;
use crate::sample::{Batch, Catalogue, Sample, Series, SeriesId, Timestamp, is_stale};

/// All rules and the state of all alerts.
#[derive(Debug)]
pub struct Engine {
    catalogue: Arc<Catalogue>,
    rules: Vec<Rule>,
    /// The rules about each name of a series.
    by_metric: FxHashMap<String, Vec<u32>>,
    /// By [`SeriesId`].
    series: Vec<Seen>,
    /// The links of one series lie together.
    links: Vec<Link>,
    alerts: Vec<Option<Active>>,
    /// Places in `alerts` that are free.
    free: Vec<u32>,
    /// At most one entry an alert, at or before the time it is due: a sample that moves the time
    /// need not touch it.
    timers: BTreeSet<(Timestamp, u32)>,
    /// How long the samples of a target, by its id, count, where that is longer than [`LOOKBACK`].
    lookbacks: FxHashMap<String, Duration>,
    evaluations: u64,
    late: u64,
}

/// A rule as the engine needs it.
#[derive(Debug)]
struct Rule {
    when: Condition,
    clear: Option<Condition>,
    hold: Duration,
    keep: Duration,
    on_missing: OnMissing,
    end_shown: String,
    config: Arc<Named<RuleConfig>>,
}

impl Rule {
    fn new(config: Arc<Named<RuleConfig>>) -> Self {
        let RuleConfig { plan, hold, keep_firing_for, on_missing, .. } = &config.value;
        Self {
            when: plan.when,
            clear: plan.clear,
            hold: *hold,
            keep: *keep_firing_for,
            on_missing: *on_missing,
            end_shown: plan.end_shown(),
            config,
        }
    }

    /// Whether what fires is over at this value.
    fn cleared(&self, value: f64) -> bool {
        self.clear.map_or_else(|| !self.when.holds(value), |clear| clear.holds(value))
    }
}

/// A series, as far as rules care.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The time of its last sample or stale mark.
    last: Timestamp,
    /// Where its links begin.
    first: u32,
    /// How many there are; [`UNSEEN`] before its first sample.
    len: u32,
}

const UNSEEN: u32 = u32::MAX;

impl Seen {
    const NEW: Self = Self { last: Timestamp::MIN, first: 0, len: UNSEEN };

    const fn links(self) -> std::ops::Range<usize> {
        self.first as usize..self.first as usize + self.len as usize
    }
}

/// A rule that is about a series, and the alert of the two where there is one.
#[derive(Debug, Clone, Copy)]
struct Link {
    rule: u32,
    alert: u32,
}

const NO_ALERT: u32 = u32::MAX;

impl Engine {
    /// An engine that has seen nothing yet.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, rules: Vec<Arc<Named<RuleConfig>>>) -> Self {
        let mut engine = Self {
            catalogue,
            rules: Vec::new(),
            by_metric: FxHashMap::default(),
            series: Vec::new(),
            links: Vec::new(),
            alerts: Vec::new(),
            free: Vec::new(),
            timers: BTreeSet::new(),
            lookbacks: FxHashMap::default(),
            evaluations: 0,
            late: 0,
        };
        engine.set_rules(rules);
        engine
    }

    /// Judges a batch: each rule a sample concerns is judged once. Transitions are added to `out`;
    /// samples that change nothing allocate nothing.
    pub fn apply(&mut self, batch: &Batch, out: &mut Vec<Transition>) {
        for sample in &batch.samples {
            let at = sample.series.index();
            if self.series.get(at).is_none_or(|seen| seen.len == UNSEEN) {
                self.discover(sample.series, batch.time);
            }
            let seen = &mut self.series[at];
            if batch.time < seen.last {
                self.late += 1;
                continue;
            }
            let last = std::mem::replace(&mut seen.last, batch.time);
            let links = seen.links();
            let stale = is_stale(sample.value);
            self.evaluations += links.len() as u64;
            for at in links {
                let Link { rule, alert } = self.links[at];
                let matters = alert != NO_ALERT
                    || (!stale && self.rules[rule as usize].when.holds(sample.value));
                if matters {
                    self.judge(at, sample, [last, batch.time], out);
                }
            }
        }
    }

    /// Judges what depends on time alone: `for`, `keep_firing_for`, data gone missing.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Transition>) {
        while let Some(&(time, id)) = self.timers.first()
            && time <= now
        {
            self.timers.pop_first();
            let Some(alert) = &mut self.alerts[id as usize] else { continue };
            alert.armed = None;
            let last = self.series[alert.series.index()].last;
            alert.pass(&self.rules[alert.rule as usize], now, last, out);
            self.settle(id);
        }
    }

    /// When [`Engine::tick`] may have something to do next.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        self.timers.first().map(|(time, _)| *time)
    }

    /// The wall clock was stepped by this many nanoseconds: timers keep what is left of them.
    pub fn clock_stepped(&mut self, nanos: i64) {
        for seen in self.series.iter_mut().filter(|seen| seen.last != Timestamp::MIN) {
            seen.last = seen.last.shifted(nanos);
        }
        for alert in self.alerts.iter_mut().flatten() {
            alert.shift(nanos);
            alert.armed = alert.armed.map(|time| time.shifted(nanos));
        }
        self.timers = self.timers.iter().map(|(time, id)| (time.shifted(nanos), *id)).collect();
    }

    /// A target, by its [id](crate::config::Target::id), is polled this often. Where that is
    /// rarely, its samples count for two and a half intervals: the time between two polls is not
    /// missing data. Alerts that are active already keep to what was said before.
    pub fn polled_every(&mut self, target: &str, interval: Duration) {
        let lookback = interval.saturating_mul(5) / 2;
        if lookback > LOOKBACK {
            self.lookbacks.insert(target.to_owned(), lookback);
        } else {
            self.lookbacks.remove(target);
        }
    }

    /// Takes other rules. Rules that did not change keep their alerts and timers; alerts of rules
    /// that are gone or have changed end with a transition.
    pub fn reload(
        &mut self,
        rules: Vec<Arc<Named<RuleConfig>>>,
        now: Timestamp,
        out: &mut Vec<Transition>,
    ) {
        let old = std::mem::take(&mut self.rules);
        let places: FxHashMap<&str, usize> =
            rules.iter().enumerate().map(|(place, rule)| (&*rule.name, place)).collect();
        let kept = |rule: &Rule| {
            let place = places.get(&*rule.config.name).copied();
            place.filter(|place| rules[*place].value == rule.config.value)
        };
        let mut alerts = FxHashMap::default();
        for (id, slot) in self.alerts.iter_mut().enumerate() {
            let Some(alert) = slot else { continue };
            let rule = &old[alert.rule as usize];
            if let Some(place) = kept(rule) {
                alert.rule = index(place);
                alerts.insert((alert.rule, alert.series), index(id));
                continue;
            }
            let is_there = places.contains_key(&*rule.config.name);
            let reason = if is_there { "the rule has changed" } else { "the rule was removed" };
            alert.drop_rule(rule, now, reason, out);
            if let Some(armed) = alert.armed {
                self.timers.remove(&(armed, index(id)));
            }
            *slot = None;
            self.free.push(index(id));
        }
        self.set_rules(rules);
        self.relink(&alerts);
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
        for id in 0..self.series.len() {
            let series = SeriesId::from_index(id);
            if self.series[id].len == UNSEEN {
                continue;
            }
            if !is_gone(&self.catalogue.series(series)) {
                continue;
            }
            for link in self.series[id].links() {
                let Link { alert, .. } = self.links[link];
                if let Some(Some(active)) = self.alerts.get_mut(alert as usize) {
                    let rule = &self.rules[active.rule as usize];
                    active.drop_rule(rule, now, "the target was removed", out);
                    self.release(alert);
                }
            }
            self.series[id] = Seen::NEW;
        }
    }

    /// All alerts that are not inactive.
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        let active = self.alerts.iter().flatten();
        active.filter_map(|alert| alert.shown(&self.rules[alert.rule as usize])).collect()
    }

    /// The rules it judges by.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Named<RuleConfig>>> {
        self.rules.iter().map(|rule| &rule.config)
    }

    /// How many times a rule was judged so far.
    #[must_use]
    pub fn evaluations(&self) -> u64 {
        self.evaluations
    }

    /// How many samples came too late to be judged so far.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    fn set_rules(&mut self, rules: Vec<Arc<Named<RuleConfig>>>) {
        self.rules = rules.into_iter().map(Rule::new).collect();
        self.by_metric.clear();
        for (place, rule) in self.rules.iter().enumerate() {
            let metric = rule.config.value.plan.selector.metric.clone();
            self.by_metric.entry(metric).or_default().push(index(place));
        }
    }

    /// Finds the rules that are about a series, once.
    fn discover(&mut self, series: SeriesId, time: Timestamp) {
        if self.series.len() <= series.index() {
            self.series.resize(series.index() + 1, Seen::NEW);
        }
        self.link(series, &FxHashMap::default());
        let seen = self.series[series.index()];
        for link in seen.links() {
            if self.rules[self.links[link].rule as usize].on_missing == OnMissing::Fire {
                self.series[series.index()].last = time.max(seen.last);
                let id = self.activate(link, series);
                self.settle(id);
            }
        }
    }

    fn link(&mut self, series: SeriesId, alerts: &FxHashMap<(u32, SeriesId), u32>) {
        let words = self.catalogue.series(series);
        let first = index(self.links.len());
        let rules = self.by_metric.get(&words.name()).map_or(&[][..], Vec::as_slice);
        for &rule in rules {
            if self.rules[rule as usize].config.value.plan.selector.matches(&words) {
                let alert = alerts.get(&(rule, series)).copied().unwrap_or(NO_ALERT);
                if let Some(Some(active)) = self.alerts.get_mut(alert as usize) {
                    active.link = index(self.links.len());
                }
                self.links.push(Link { rule, alert });
            }
        }
        let seen = &mut self.series[series.index()];
        (seen.first, seen.len) = (first, index(self.links.len()) - first);
    }

    /// Finds the rules of all series again, and gives them the alerts there are.
    fn relink(&mut self, alerts: &FxHashMap<(u32, SeriesId), u32>) {
        self.links.clear();
        for id in 0..self.series.len() {
            let series = SeriesId::from_index(id);
            if self.series[id].len == UNSEEN {
                continue;
            }
            self.link(series, alerts);
            for link in self.series[id].links() {
                let Link { rule, alert } = self.links[link];
                let watches = self.rules[rule as usize].on_missing == OnMissing::Fire;
                if watches && alert == NO_ALERT {
                    let id = self.activate(link, series);
                    self.settle(id);
                }
            }
        }
    }

    /// A sample, or a stale mark where there is no value, that may move an alert. `last` is the
    /// time of the one before it.
    fn judge(
        &mut self,
        link: usize,
        sample: &Sample,
        times: [Timestamp; 2],
        out: &mut Vec<Transition>,
    ) {
        let [last, time] = times;
        let id = match self.links[link].alert {
            NO_ALERT => self.activate(link, sample.series),
            alert => alert,
        };
        let Some(active) = &mut self.alerts[id as usize] else { return };
        let rule = &self.rules[active.rule as usize];
        active.pass(rule, time.shifted(-1), last, out);
        if is_stale(sample.value) {
            active.miss(rule, time, time, out);
        } else {
            active.sample(rule, time, sample.value, out);
        }
        self.settle(id);
    }

    /// Makes the alert of a rule and a series.
    fn activate(&mut self, link: usize, series: SeriesId) -> u32 {
        let rule = self.links[link].rule;
        let words = self.catalogue.series(series);
        let labels = labels(&words, &self.rules[rule as usize].config.value);
        let mut active = Active::new(rule, series, index(link), Arc::new(labels));
        let target = words.tag("kind").zip(words.tag("target"));
        let lookback = target.and_then(|(k, t)| self.lookbacks.get(&format!("{k}.{t}")));
        active.lookback = lookback.copied().unwrap_or(LOOKBACK);
        let id = self.free.pop().unwrap_or_else(|| {
            self.alerts.push(None);
            index(self.alerts.len() - 1)
        });
        self.alerts[id as usize] = Some(active);
        self.links[link].alert = id;
        id
    }

    /// After an alert may have moved: it is let go at rest, or its timer set.
    fn settle(&mut self, id: u32) {
        let Some(active) = &mut self.alerts[id as usize] else { return };
        let rule = &self.rules[active.rule as usize];
        if active.is_at_rest() && rule.on_missing != OnMissing::Fire {
            return self.release(id);
        }
        let due = active.due(rule, self.series[active.series.index()].last);
        // An entry that is early wakes for nothing once, and is then set right.
        let Some(due) = due.filter(|due| active.armed.is_none_or(|armed| *due < armed)) else {
            return;
        };
        if let Some(armed) = active.armed.replace(due) {
            self.timers.remove(&(armed, id));
        }
        self.timers.insert((due, id));
    }

    fn release(&mut self, id: u32) {
        let Some(active) = self.alerts[id as usize].take() else { return };
        self.links[active.link as usize].alert = NO_ALERT;
        if let Some(armed) = active.armed {
            self.timers.remove(&(armed, id));
        }
        self.free.push(id);
    }
}

/// The series' tags and the rule's own labels, which win.
fn labels(series: &Series, rule: &RuleConfig) -> Labels {
    let tags = series.row.tags.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    tags.chain(rule.labels.clone()).collect()
}

fn index(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than four thousand million series, rules and alerts")
}
