//! The front for rules that compare a series with a number: series, their links to rules, and which
//! values hold.
//!
//! A series is matched against the rules once, when it is first seen; from then on a sample finds
//! the rules it concerns by its series' id. Nothing is kept for a rule and a series at rest but
//! that link, so judging a sample that does not matter touches a few cache lines and no heap.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::active::Opening;
use super::alerts::Alerts;
use super::saved::SeriesWords;
use super::verdict::Verdict;
use super::{LOOKBACK, index};
use crate::config::Named;
use crate::rules::config::OnMissing;
use crate::rules::config::TARGET_UP;
use crate::rules::plan::{Condition, Level, Plan, Selector, Threshold};
use crate::rules::series::ALERTS;
use crate::rules::{Labels, RuleConfig, Transition};
use crate::sample::{
    Batch, Catalogue, STALE, Sample, Series, SeriesId, Timestamp, grow_tight, is_stale, push_tight,
};

/// Series, and the rules each concerns.
#[derive(Debug)]
pub(super) struct Thresholds {
    catalogue: Arc<Catalogue>,
    questions: Vec<Question>,
    /// The rules about each name of a series.
    by_metric: FxHashMap<String, Vec<u32>>,
    /// By [`SeriesId`]: its place in `seen`, or [`UNSEEN`] or [`UNASKED`].
    series: Vec<u32>,
    /// The series that rules are about.
    seen: Vec<Seen>,
    /// The links of one series lie together.
    links: Vec<Link>,
    /// How long the samples of a target, by its id, count, where that is longer than [`LOOKBACK`].
    lookbacks: FxHashMap<String, Duration>,
    pub(super) evaluations: u64,
    pub(super) late: u64,
}

/// What a rule asks of a value.
#[derive(Debug)]
struct Question {
    /// Where this does not hold, no severity does.
    gate: Condition,
    levels: Box<[Level]>,
    /// Whether its series are watched even at rest, for missing data fires.
    watches: bool,
    selector: Option<Selector>,
    labels: Labels,
    name: Arc<str>,
}

impl Question {
    fn new(rule: &Named<RuleConfig>) -> Self {
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

    fn verdict(&self, value: f64) -> Verdict {
        let worst = |is: &dyn Fn(&Level) -> bool| {
            self.levels.iter().rev().find(|level| is(level)).map(|level| level.severity)
        };
        let holds = worst(&|level| level.when.holds(value));
        let stays = worst(&|level| level.clear.is_some_and(|clear| !clear.holds(value)));
        Verdict::Data { value: Some(value), holds, stays: holds.max(stays) }
    }
}

/// The place of a series before its first sample.
const UNSEEN: u32 = u32::MAX;
/// The place of one that no rule is about. Most are such: they cost nothing but this.
const UNASKED: u32 = u32::MAX - 1;

/// A series that rules are about.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The time of its last sample or stale mark; the least of all where rules came to be about it
    /// since.
    last: Timestamp,
    /// Its value, for who asks.
    value: f64,
    /// Where its links begin.
    first: u32,
    /// How many there are.
    len: u32,
}

impl Seen {
    const NEW: Self = Self { last: Timestamp::MIN, value: STALE, first: 0, len: 0 };

    const fn links(self) -> Range<usize> {
        self.first as usize..self.first as usize + self.len as usize
    }
}

/// What is known of a series or of another output, for who asks.
#[derive(Debug)]
pub(super) struct Known {
    /// As PromQL writes it.
    pub(super) series: String,
    /// Of its alert, where there is one or not.
    pub(super) labels: Labels,
    pub(super) last: Timestamp,
    /// The last value, or the stale mark.
    pub(super) value: f64,
    pub(super) alert: Option<u32>,
}

/// A rule that is about a series, and the alert of the two where there is one.
///
/// A `target_up` has one more link, of no rule, whose `rule` is the target's place and whose `alert`
/// is [`UP`]: to a sample it looks like any that may matter, and so costs the others nothing.
#[derive(Debug, Clone, Copy)]
struct Link {
    rule: u32,
    alert: u32,
}

const NO_ALERT: u32 = u32::MAX;
const UP: u32 = u32::MAX - 1;

/// The alerts there are, by rule and series.
pub(super) type Held = FxHashMap<(u32, SeriesId), u32>;

impl Thresholds {
    pub(super) fn new(catalogue: Arc<Catalogue>) -> Self {
        Self {
            catalogue,
            questions: Vec::new(),
            by_metric: FxHashMap::default(),
            series: Vec::new(),
            seen: Vec::new(),
            links: Vec::new(),
            lookbacks: FxHashMap::default(),
            evaluations: 0,
            late: 0,
        }
    }

    pub(super) fn apply(&mut self, batch: &Batch, alerts: &mut Alerts, out: &mut Vec<Transition>) {
        for sample in &batch.samples {
            let place = match self.series.get(sample.series.index()) {
                Some(place) if *place != UNSEEN => *place,
                _ => self.discover(sample.series, batch.time, alerts),
            };
            let Some(seen) = self.seen.get_mut(place as usize) else { continue };
            if batch.time < seen.last {
                self.late += 1;
                continue;
            }
            (seen.last, seen.value) = (batch.time, sample.value);
            let links = seen.links();
            let stale = is_stale(sample.value);
            self.evaluations += links.len() as u64;
            for at in links {
                let Link { rule, alert } = self.links[at];
                let matters = alert != NO_ALERT
                    || (!stale && self.questions[rule as usize].gate.holds(sample.value));
                if matters {
                    self.judge(at, sample, batch.time, alerts, out);
                }
            }
        }
    }

    /// A sample, or a stale mark where there is no value, that may move an alert.
    fn judge(
        &mut self,
        link: usize,
        sample: &Sample,
        time: Timestamp,
        alerts: &mut Alerts,
        out: &mut Vec<Transition>,
    ) {
        let id = match self.links[link].alert {
            UP => {
                self.evaluations -= 1;
                let up = (!is_stale(sample.value)).then_some(sample.value != 0.0);
                alerts.target_found(self.links[link].rule, up, time, out);
                return self.let_go(alerts);
            }
            NO_ALERT => self.open(link, sample.series, time, alerts),
            alert => alert,
        };
        let verdict = if is_stale(sample.value) {
            Verdict::Missing { since: time }
        } else {
            self.questions[self.links[link].rule as usize].verdict(sample.value)
        };
        if !alerts.judge(id, time, verdict, out) {
            self.links[link].alert = NO_ALERT;
        }
        self.let_go(alerts);
    }

    /// Forgets alerts that are no longer kept.
    pub(super) fn let_go(&mut self, alerts: &mut Alerts) {
        alerts.released.retain(|(rule, output)| {
            let own = !self.questions[*rule as usize].levels.is_empty();
            if own {
                self.links[*output as usize].alert = NO_ALERT;
            }
            !own
        });
    }

    pub(super) fn clock_stepped(&mut self, nanos: i64) {
        for seen in self.seen.iter_mut().filter(|seen| seen.last != Timestamp::MIN) {
            seen.last = seen.last.shifted(nanos);
        }
    }

    pub(super) fn polled_every(&mut self, target: &str, interval: Duration) {
        let lookback = interval.saturating_mul(5) / 2;
        if lookback > LOOKBACK {
            self.lookbacks.insert(target.to_owned(), lookback);
        } else {
            self.lookbacks.remove(target);
        }
    }

    pub(super) fn set_rules(&mut self, rules: &[Arc<Named<RuleConfig>>]) {
        self.questions = rules.iter().map(|rule| Question::new(rule)).collect();
        self.by_metric.clear();
        for (place, question) in self.questions.iter().enumerate() {
            let metric = question.selector.as_ref().map(|selector| selector.metric.clone());
            if let Some(metric) = metric {
                self.by_metric.entry(metric).or_default().push(index(place));
            }
        }
    }

    /// Finds the rules that are about a series, once, and returns its place. Its data counts from
    /// `since` on.
    fn discover(&mut self, series: SeriesId, since: Timestamp, alerts: &mut Alerts) -> u32 {
        grow_tight(&mut self.series, series.index() + 1, UNSEEN);
        self.link(series, Seen::NEW, since, &Held::default(), alerts)
    }

    /// Finds the rules that are about a series, and gives them the alerts there are.
    fn link(
        &mut self,
        series: SeriesId,
        mut seen: Seen,
        since: Timestamp,
        held: &Held,
        alerts: &mut Alerts,
    ) -> u32 {
        let words = self.catalogue.series(series);
        let first = self.links.len();
        // First, so that alerts of this very sample know what the target is at.
        if words.is_named(TARGET_UP)
            && let Some((kind, name)) = words.tag("kind").zip(words.tag("target"))
        {
            self.links.push(Link { rule: alerts.targets.place(kind, name), alert: UP });
        }
        let own = self.links.len();
        let rules = self.by_metric.get(&words.name()).map_or(&[][..], Vec::as_slice);
        for &rule in rules {
            let Question { selector, name, .. } = &self.questions[rule as usize];
            // Of its own alerts a rule that is about alerts would fire for ever.
            let own = &*words.row.measurement == ALERTS && words.tag("alertname") == Some(name);
            if !own && selector.as_ref().is_some_and(|one| one.matches(&words)) {
                self.links.push(Link { rule, alert: NO_ALERT });
            }
        }
        if self.links.len() == first {
            self.series[series.index()] = UNASKED;
            return UNASKED;
        }
        let place = index(self.seen.len());
        (seen.first, seen.len) = (index(first), index(self.links.len() - first));
        push_tight(&mut self.seen, seen);
        self.series[series.index()] = place;
        for link in own..self.links.len() {
            let rule = self.links[link].rule;
            if let Some(known) = held.get(&(rule, series)) {
                self.links[link].alert = *known;
                alerts.set_output(*known, index(link));
            } else if self.questions[rule as usize].watches {
                let id = self.open(link, series, since, alerts);
                alerts.settle(id);
            }
        }
        place
    }

    /// Makes the alert of a rule and a series given in words, unless it is there; `None` where the
    /// rule is not about the series.
    pub(super) fn adopt(
        &mut self,
        rule: u32,
        words: &SeriesWords,
        now: Timestamp,
        alerts: &mut Alerts,
    ) -> Option<u32> {
        let tags: Vec<_> = words.tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let series = self.catalogue.intern(&words.measurement, &words.field, &tags);
        let place = match self.series.get(series.index()) {
            Some(place) if *place != UNSEEN => *place,
            _ => self.discover(series, now, alerts),
        };
        let mut links = self.seen.get(place as usize)?.links();
        let link = links.find(|at| {
            let Link { rule: one, alert } = self.links[*at];
            one == rule && alert != UP
        })?;
        match self.links[link].alert {
            NO_ALERT => Some(self.open(link, series, now, alerts)),
            alert => Some(alert),
        }
    }

    /// The series an alert is of, in words.
    pub(super) fn words(&self, origin: u32) -> SeriesWords {
        let series = self.catalogue.series(SeriesId::from_index(origin as usize));
        let tags = series.row.tags.iter();
        SeriesWords {
            measurement: series.row.measurement.to_string(),
            field: series.field.to_string(),
            tags: tags.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        }
    }

    /// What is known of the series a rule is about.
    pub(super) fn about(&self, rule: u32) -> Vec<Known> {
        let mut found = Vec::new();
        for (id, seen) in self.asked().filter(|(_, seen)| seen.last != Timestamp::MIN) {
            let mut links = self.links[seen.links()].iter().filter(|link| link.alert != UP);
            if let Some(link) = links.find(|link| link.rule == rule) {
                let series = self.catalogue.series(id);
                found.push(Known {
                    labels: labels(&series, &self.questions[rule as usize].labels),
                    series: series.to_string(),
                    last: seen.last,
                    value: seen.value,
                    alert: (link.alert != NO_ALERT).then_some(link.alert),
                });
            }
        }
        found
    }

    /// The alerts there are, once rules have moved.
    pub(super) fn held(&self, alerts: &Alerts, moved: &[Result<u32, &str>]) -> Held {
        let mut held = Held::default();
        for (id, seen) in self.asked() {
            for link in self.links[seen.links()].iter().filter(|link| link.alert != UP) {
                if let Ok(rule) = moved[link.rule as usize]
                    && alerts.has(link.alert)
                {
                    held.insert((rule, id), link.alert);
                }
            }
        }
        held
    }

    /// The series that rules are about.
    fn asked(&self) -> impl Iterator<Item = (SeriesId, &Seen)> {
        let places = self.series.iter().enumerate();
        places.filter_map(|(id, place)| {
            Some((SeriesId::from_index(id), self.seen.get(*place as usize)?))
        })
    }

    /// Finds the rules of all series again, and gives them the alerts there are. The data of a series
    /// that no rule was about counts from now on.
    pub(super) fn relink(&mut self, held: &Held, now: Timestamp, alerts: &mut Alerts) {
        self.links.clear();
        let old = std::mem::take(&mut self.seen);
        for id in 0..self.series.len() {
            let place = self.series[id];
            if place != UNSEEN {
                let seen = old.get(place as usize).copied();
                let since = seen.map_or(now, |seen| seen.last);
                let seen = seen.unwrap_or(Seen::NEW);
                self.link(SeriesId::from_index(id), seen, since, held, alerts);
            }
        }
    }

    /// Forgets series and their targets, and ends their alerts.
    pub(super) fn forget(
        &mut self,
        is_gone: impl Fn(&Series) -> bool,
        now: Timestamp,
        alerts: &mut Alerts,
        out: &mut Vec<Transition>,
    ) {
        for id in 0..self.series.len() {
            let place = self.series[id];
            if place == UNSEEN || !is_gone(&self.catalogue.series(SeriesId::from_index(id))) {
                continue;
            }
            let links = self.seen.get(place as usize).map_or(0..0, |seen| seen.links());
            for at in links {
                match self.links[at] {
                    Link { alert: NO_ALERT, .. } => {}
                    Link { alert: UP, rule } => alerts.target_found(rule, None, now, out),
                    Link { alert, .. } => alerts.end(alert, now, "the target was removed", out),
                }
                self.let_go(alerts);
            }
            self.series[id] = UNSEEN;
        }
    }

    /// Makes the alert of a rule and a series, of which the last sample was then.
    fn open(&mut self, link: usize, series: SeriesId, last: Timestamp, alerts: &mut Alerts) -> u32 {
        let rule = self.links[link].rule;
        let words = self.catalogue.series(series);
        let target = words.tag("kind").zip(words.tag("target"));
        let lookback = target.and_then(|(k, t)| self.lookbacks.get(&format!("{k}.{t}")));
        let target = target.map(|(kind, name)| alerts.targets.place(kind, name));
        let id = alerts.open(Opening {
            rule,
            output: index(link),
            origin: index(series.index()),
            target,
            labels: labels(&words, &self.questions[rule as usize].labels),
            lookback: Some(lookback.copied().unwrap_or(LOOKBACK)),
            last,
        });
        self.links[link].alert = id;
        id
    }
}

/// The series' tags and the rule's own labels, which win.
fn labels(series: &Series, own: &Labels) -> Labels {
    let tags = series.row.tags.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    tags.chain(own.iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
}
