//! One alert that is not at rest: its states, and how verdicts, gaps and time move it.
//!
//! - What holds is pending for `for`, then firing. At the moment `for` is over, a verdict of that
//!   very time counts before the clock does. Each severity has a `for` of its own: an alert fires
//!   with the worst that has held for so long, and gets worse once a worse one has.
//! - What fires goes on until `clear` holds (without one: until `when` does not). From then on it
//!   is still firing for `keep_firing_for`; only `when` holding again ends that. Where only the
//!   worse severity clears, the alert becomes milder at once.
//! - Data goes missing when its front says so, or by the lookback passing without a verdict. What
//!   that means is `on_missing`. With `keep` the alert becomes unknown. When data returns, what was
//!   firing fires on, untold, or clears; what was pending starts again, for a gap proves nothing.
//! - After a restart nothing is due but the end of the lookback, until its data has been heard of
//!   again: whether it held meanwhile is for the first sample to say.

mod reasons;
mod saved;
mod steps;
mod telling;
mod time;

use std::sync::Arc;
use std::time::Duration;

pub(super) use saved::Standing;
use serde::{Deserialize, Serialize};

use super::LOOKBACK;
use super::alerts::Rule;
use super::climb::Climb;
use super::parents::Targets;
use super::verdict::Verdict;
use super::window::Window;
use crate::rules::config::OnMissing;
use crate::rules::plan::shown;
use crate::rules::{Labels, Notify, Severity, State, Transition};
use crate::sample::Timestamp;

/// What an alert is moved among.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) rules: &'a [Rule],
    pub(super) targets: &'a Targets,
}

/// What a front says of a new alert.
#[derive(Debug)]
pub(super) struct Opening {
    /// The rule, by its place in the engine.
    pub(super) rule: u32,
    /// What its front calls that which is judged.
    pub(super) output: u32,
    /// What its front knows it by when rules have changed.
    pub(super) origin: u32,
    /// The target its labels name, by its place.
    pub(super) target: Option<u32>,
    pub(super) labels: Labels,
    /// How long a verdict counts; `None`: until its front says otherwise.
    pub(super) lookback: Option<Duration>,
    /// When its data was heard of last.
    pub(super) last: Timestamp,
}

/// An alert that is not at rest.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) rule: u32,
    pub(super) output: u32,
    pub(super) origin: u32,
    /// The time of its entry among the timers; at or before when it is due.
    pub(super) armed: Option<Timestamp>,
    pub(super) target: Option<u32>,
    /// Whether its rule counts it among those that have fired.
    pub(super) counted: bool,
    /// Whether it has changed since it was saved.
    pub(super) dirty: bool,
    /// How many samples of `at_least` had held when there were fewer again; for the journal.
    missed: Option<u32>,
    /// What it is saved by, where it has been.
    pub(super) key: Option<Arc<str>>,
    pub(super) labels: Arc<Labels>,
    lookback: Option<Duration>,
    /// When it was judged last.
    last: Timestamp,
    /// Restored, and not judged since.
    asleep: bool,
    now: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Phase {
    /// At rest; kept because missing data would move it, or for what happened of late.
    Watching,
    Pending,
    Firing,
    /// Cleared at a value, and still firing until then.
    Clearing {
        until: Timestamp,
        at_value: Option<f64>,
    },
    Unknown {
        fired: bool,
    },
}

impl Phase {
    const fn state(self) -> State {
        match self {
            Self::Watching => State::Inactive,
            Self::Pending => State::Pending,
            Self::Firing | Self::Clearing { .. } => State::Firing,
            Self::Unknown { .. } => State::Unknown,
        }
    }
}

impl Active {
    pub(super) fn new(opening: Opening) -> Self {
        let Opening { rule, output, origin, target, labels, lookback, last } = opening;
        Self {
            rule,
            output,
            origin,
            armed: None,
            target,
            counted: false,
            dirty: false,
            missed: None,
            key: None,
            labels: Arc::new(labels),
            lookback,
            last,
            asleep: false,
            now: Standing::default(),
        }
    }

    /// Whether there is nothing to keep it for but missing data.
    pub(super) fn is_at_rest(&self) -> bool {
        let Standing { phase, window, flaps, .. } = &self.now;
        *phase == Phase::Watching && window.is_empty() && flaps.is_quiet()
    }

    pub(super) fn state(&self) -> State {
        self.now.phase.state()
    }

    /// The severity it fires with, or fired with before its data went missing.
    pub(super) fn fired(&self) -> Option<Severity> {
        match self.now.phase {
            Phase::Firing | Phase::Clearing { .. } | Phase::Unknown { fired: true } => {
                Some(self.now.severity)
            }
            Phase::Watching | Phase::Pending | Phase::Unknown { fired: false } => None,
        }
    }

    /// What its front found, not before the last time.
    pub(super) fn judge(
        &mut self,
        cx: Around<'_>,
        at: Timestamp,
        verdict: Verdict,
        out: &mut Vec<Transition>,
    ) {
        self.last = at;
        match verdict {
            Verdict::Missing { since } => self.miss(cx, at, since, out),
            Verdict::Data { value, holds, stays } => {
                self.wake(cx, at);
                self.now.missing = None;
                self.now.value = value;
                self.data(cx, at, holds, stays, out);
                if cx.rules[self.rule as usize].flap_detection {
                    self.now.flaps.sample();
                    self.calm(cx, at, out);
                }
            }
        }
    }

    /// What almost happened at its last sample: too few of its samples held.
    pub(super) fn take_miss(&mut self, cx: Around<'_>) -> Option<Transition> {
        let held = self.missed.take()?;
        let rule = &cx.rules[self.rule as usize];
        let of = rule.at_least?;
        let mut alert = self.shown(cx);
        alert.reason = Window::shown(of, held, &rule.mildest_when);
        let (from, notify) = (alert.state, Notify::Nobody);
        let is_at_rest = from == State::Inactive;
        is_at_rest.then(|| Transition { alert, from, at: self.last, notify, affected: Vec::new() })
    }

    fn data(
        &mut self,
        cx: Around<'_>,
        at: Timestamp,
        mut holds: Option<Severity>,
        mut stays: Option<Severity>,
        out: &mut Vec<Transition>,
    ) {
        let rule = &cx.rules[self.rule as usize];
        if let Some(of) = rule.at_least {
            let before = self.now.window.held();
            (holds, stays) = self.now.window.push(of, holds, stays);
            self.missed = self.now.window.near_miss(of, before);
        }
        self.now.held |= holds.is_some();
        let climb = self.now.climb;
        self.now.climb.update(holds, at);
        self.dirty |= climb != self.now.climb;
        let reached = self.now.climb.reached(rule.hold, at);
        match (self.now.phase, holds) {
            (Phase::Watching | Phase::Unknown { fired: false }, Some(severity)) => {
                self.begin(cx, severity, at, out);
            }
            (Phase::Watching, None) => {}
            (Phase::Pending | Phase::Unknown { fired: false }, None) => {
                self.end(cx, at, false, out);
            }
            (Phase::Pending, Some(severity)) => match reached {
                Some(severity) => self.fire(cx, severity, at, out),
                None => self.now.severity = severity,
            },
            (Phase::Clearing { .. }, Some(_)) => {
                self.resume();
                self.weigh(cx, at, stays, reached, out);
            }
            (Phase::Clearing { until, .. }, None) if at >= until => self.end(cx, at, true, out),
            (Phase::Clearing { .. }, None) => {}
            (Phase::Firing | Phase::Unknown { fired: true }, _) => {
                // Where only missing data fired it there is no threshold to stay clear of.
                if stays.is_none() || !self.now.held {
                    self.clear(cx, at, out);
                    return;
                }
                if self.now.phase != Phase::Firing {
                    let reason = self.back();
                    self.turn(cx, Phase::Firing, self.now.severity, at, reason, out);
                }
                self.weigh(cx, at, stays, reached, out);
            }
        }
    }

    /// What fires gets worse or milder.
    fn weigh(
        &mut self,
        cx: Around<'_>,
        at: Timestamp,
        stays: Option<Severity>,
        reached: Option<Severity>,
        out: &mut Vec<Transition>,
    ) {
        let before = self.now.severity;
        let Some(severity) = stays.min(Some(before)).max(reached) else { return };
        if severity == before {
            return;
        }
        let rule = &cx.rules[self.rule as usize];
        let reason = if severity > before {
            self.held_for(rule, severity)
        } else {
            let at = self.now.value.map_or_else(String::new, |v| format!(" at {}", shown(v)));
            let (end, when) = (&rule.words(before).end, &rule.words(severity).when);
            format!("no longer {}{at} ({end}), still {when}", before.as_str())
        };
        self.turn(cx, Phase::Firing, severity, at, reason, out);
    }

    /// There is no data since `since`, which shows at `at`.
    fn miss(&mut self, cx: Around<'_>, at: Timestamp, since: Timestamp, out: &mut Vec<Transition>) {
        if self.now.missing.is_some() {
            return;
        }
        let rule = &cx.rules[self.rule as usize];
        self.now.missing = Some(since);
        if rule.on_missing != OnMissing::Fire {
            self.now.climb = Climb::default();
        }
        let severity = self.now.severity;
        match (rule.on_missing, self.now.phase) {
            (OnMissing::Fire, Phase::Watching) => {
                self.now.value = None;
                self.now.climb.update(Some(rule.mildest()), at);
                self.begin(cx, rule.mildest(), at, out);
            }
            (OnMissing::Fire, Phase::Clearing { .. }) => self.resume(),
            (OnMissing::Fire, _) | (_, Phase::Watching) => {}
            (OnMissing::Clear, _) => {
                self.now.value = None;
                let reason = self.missing(cx, since);
                self.turn(cx, Phase::Watching, severity, at, reason, out);
            }
            (OnMissing::Keep, phase) => {
                let fired = phase.state() == State::Firing;
                let reason = self.missing(cx, since);
                self.turn(cx, Phase::Unknown { fired }, severity, at, reason, out);
            }
        }
    }
}
