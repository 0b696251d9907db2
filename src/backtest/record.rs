//! What alerts did, put together from their transitions: one entry from firing to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::Contender;
use crate::rules::{Alert, Labels, Listener, Severity, State, Transition, fingerprint};
use crate::sample::Timestamp;

/// Steps of one alert that are kept one by one: more than a day of changes of severity a minute.
const STEPS_MAX: usize = 2_000;

/// What a set of rules made of the samples.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// By rule: how much there was of everything.
    pub rules: BTreeMap<Arc<str>, Tally>,
    /// Alerts that fired, in the order in which they did.
    pub fired: Vec<Fired>,
    /// How many more fired than are kept one by one.
    pub more: usize,
}

/// What there was of one rule, or of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Series it was about.
    pub series: usize,
    /// Alerts that fired.
    pub alerts: usize,
    /// Times it held, but not for long enough to fire.
    pub pending_only: usize,
    /// How long alerts fired, all together.
    pub firing: Duration,
    /// How long the longest fired.
    pub longest: Duration,
    /// Alerts that fired while they came and went too often to tell people each time.
    pub flapping: usize,
    /// What actions would have been told.
    pub messages: usize,
    /// Alerts that fire at the end.
    pub still_firing: usize,
}

impl Tally {
    /// This one and another one.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        Self {
            series: self.series + other.series,
            alerts: self.alerts + other.alerts,
            pending_only: self.pending_only + other.pending_only,
            firing: self.firing.saturating_add(other.firing),
            longest: self.longest.max(other.longest),
            flapping: self.flapping + other.flapping,
            messages: self.messages + other.messages,
            still_firing: self.still_firing + other.still_firing,
        }
    }
}

impl Outcome {
    /// All rules together.
    #[must_use]
    pub fn total(&self) -> Tally {
        self.rules.values().fold(Tally::default(), Tally::with)
    }

    /// Rules that saw no series at all: that they did not fire says nothing.
    pub fn blind(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.iter().filter(|(_, tally)| tally.series == 0).map(|(name, _)| name)
    }
}

/// An alert that fired.
#[derive(Debug, Clone, PartialEq)]
pub struct Fired {
    /// The rule.
    pub rule: Arc<str>,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// How bad it was at worst.
    pub severity: Severity,
    /// Since when the rule held.
    pub since: Timestamp,
    /// When it fired.
    pub at: Timestamp,
    /// When it ended; `None`: it still fires.
    pub ended: Option<Timestamp>,
    /// How long it fired, up to the end of what was judged.
    pub duration: Duration,
    /// The value that made it fire.
    pub value: Option<f64>,
    /// Whether it flapped.
    pub flapping: bool,
    /// Each step, from when it was pending on.
    pub steps: Vec<Step>,
    /// How many more steps there were than are kept.
    pub more_steps: usize,
}

/// A transition of an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// What it was before.
    pub from: State,
    /// What it was from then on.
    pub to: State,
    /// How bad.
    pub severity: Severity,
    /// The value that decided.
    pub value: Option<f64>,
    /// Why.
    pub reason: String,
    /// Whether it flapped by then.
    pub flapping: bool,
    /// Why nobody was told.
    pub held_back_by: Option<String>,
    /// The actions that would have been told.
    pub actions: Vec<String>,
}

/// An alert that is not at rest.
#[derive(Debug, Default)]
struct Open {
    /// From when it was pending; moved into its entry when it fires.
    steps: Vec<Step>,
    /// Its firing, if it does: where it is in `fired`, where it is kept.
    firing: Option<(Timestamp, Option<usize>)>,
    flapping: bool,
}

/// Takes note of transitions.
#[derive(Debug)]
pub(super) struct Record {
    outcome: Outcome,
    open: FxHashMap<u64, (Arc<str>, Open)>,
    alerts_max: usize,
}

impl Record {
    pub(super) fn new(contender: &Contender, alerts_max: usize) -> Self {
        let rules = contender.reported.iter().map(|name| (name.clone(), Tally::default()));
        let outcome = Outcome { rules: rules.collect(), ..Outcome::default() };
        Self { outcome, open: FxHashMap::default(), alerts_max }
    }

    /// A rule is about one more series.
    pub(super) fn saw(&mut self, rule: &str) {
        if let Some(tally) = self.outcome.rules.get_mut(rule) {
            tally.series += 1;
        }
    }

    pub(super) fn note(&mut self, one: &Transition, like: impl Fn(&str) -> Listener) {
        let Alert { rule, labels, state, flapping, .. } = &one.alert;
        let Self { outcome: Outcome { rules, fired, more }, open: all, alerts_max } = self;
        let Some(tally) = rules.get_mut(&rule.name) else { return };
        let step = Step::of(one, like);
        tally.messages += step.actions.len();
        let key = fingerprint(&rule.name, labels);
        let (_, open) = all.entry(key).or_insert_with(|| (rule.name.clone(), Open::default()));
        if *state == State::Firing && open.firing.is_none() {
            tally.alerts += 1;
            let place = Some(fired.len()).filter(|place| place < alerts_max);
            open.firing = Some((one.at, place));
            match place {
                Some(_) => fired.push(Fired::of(one, std::mem::take(&mut open.steps))),
                None => *more += 1,
            }
        }
        let Some((since, place)) = open.firing else {
            match state {
                State::Inactive => {
                    tally.pending_only += 1;
                    all.remove(&key);
                }
                _ if *alerts_max > 0 => open.steps.push(step),
                _ => {}
            }
            return;
        };
        if *flapping && !std::mem::replace(&mut open.flapping, true) {
            tally.flapping += 1;
        }
        let ended = (*state == State::Inactive).then_some(one.at);
        if let Some(entry) = place.and_then(|place| fired.get_mut(place)) {
            entry.add(step, ended);
        }
        if let Some(ended) = ended {
            tally.end(ended.since(since));
            all.remove(&key);
        }
    }

    /// What there was, up to the end.
    pub(super) fn finish(mut self, end: Timestamp) -> Outcome {
        for (rule, open) in self.open.into_values() {
            let Some((since, place)) = open.firing else { continue };
            let duration = end.since(since);
            if let Some(tally) = self.outcome.rules.get_mut(&rule) {
                tally.end(duration);
                tally.still_firing += 1;
            }
            if let Some(entry) = place.and_then(|place| self.outcome.fired.get_mut(place)) {
                entry.duration = duration;
            }
        }
        self.outcome
    }
}

impl Step {
    fn of(one: &Transition, like: impl Fn(&str) -> Listener) -> Self {
        let alert = &one.alert;
        Self {
            at: one.at,
            from: one.from,
            to: alert.state,
            severity: alert.severity,
            value: alert.value,
            reason: alert.reason.clone(),
            flapping: alert.flapping,
            held_back_by: alert.held_back_by.clone(),
            actions: one.told(like).into_iter().map(str::to_owned).collect(),
        }
    }
}

impl Fired {
    fn of(one: &Transition, steps: Vec<Step>) -> Self {
        let alert = &one.alert;
        Self {
            rule: alert.rule.name.clone(),
            labels: alert.labels.clone(),
            severity: alert.severity,
            since: alert.since,
            at: one.at,
            ended: None,
            duration: Duration::ZERO,
            value: alert.value,
            flapping: false,
            steps,
            more_steps: 0,
        }
    }

    fn add(&mut self, step: Step, ended: Option<Timestamp>) {
        self.severity = self.severity.max(step.severity);
        self.flapping |= step.flapping;
        if let Some(ended) = ended {
            (self.ended, self.duration) = (Some(ended), ended.since(self.at));
        }
        if self.steps.len() < STEPS_MAX {
            self.steps.push(step);
        } else {
            self.more_steps += 1;
        }
    }
}

impl Tally {
    fn end(&mut self, duration: Duration) {
        self.firing = self.firing.saturating_add(duration);
        self.longest = self.longest.max(duration);
    }
}
