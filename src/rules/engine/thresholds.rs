//! The front for rules that compare a series with a number: series, their links to rules, and which
//! values hold.
//!
//! A series is matched against the rules once, when it is first seen; from then on a sample finds
//! the rules it concerns by its series' id. Nothing is kept for a rule and a series at rest but
//! that link, so judging a sample that does not matter touches a few cache lines and no heap.

mod linking;
mod question;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use question::Question;
use rustc_hash::FxHashMap;

use super::active::Opening;
use super::alerts::Alerts;
use super::known::Known;
use super::saved::SeriesWords;
use super::verdict::Verdict;
use super::{LOOKBACK, index};
use crate::rules::{Labels, Transition};
use crate::sample::{Batch, Catalogue, STALE, Sample, Series, SeriesId, Timestamp, is_stale};

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
                    lookback: Some(self.lookback(&series)),
                    alert: (link.alert != NO_ALERT).then_some(link.alert),
                });
            }
        }
        found
    }

    /// How long a sample of a series counts.
    fn lookback(&self, series: &Series) -> Duration {
        let target = series.tag("kind").zip(series.tag("target"));
        let own = target.and_then(|(k, t)| self.lookbacks.get(&format!("{k}.{t}")));
        own.copied().unwrap_or(LOOKBACK)
    }

    /// Makes the alert of a rule and a series, of which the last sample was then.
    fn open(&mut self, link: usize, series: SeriesId, last: Timestamp, alerts: &mut Alerts) -> u32 {
        let rule = self.links[link].rule;
        let words = self.catalogue.series(series);
        let target = words.shared_tag("kind").zip(words.shared_tag("target"));
        let target = target.map(|(kind, name)| alerts.targets.place(kind, name));
        let id = alerts.open(Opening {
            rule,
            output: index(link),
            origin: index(series.index()),
            target,
            labels: labels(&words, &self.questions[rule as usize].labels),
            lookback: Some(self.lookback(&words)),
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
