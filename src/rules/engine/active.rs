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

mod saved;
mod telling;

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
use crate::config::show_duration;
use crate::rules::config::OnMissing;
use crate::rules::explain::Timer;
use crate::rules::plan::shown;
use crate::rules::{Labels, Severity, State, Transition};
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

/// What time alone brings, the first of two at one time first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// The last verdict counts no more.
    Expiry,
    /// What happened of late counts no more.
    Forget,
    /// A severity has held for `for`.
    Held,
    /// `keep_firing_for` is over.
    Cleared,
    /// `settle` is over.
    Settled,
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
            (holds, stays) = self.now.window.push(of, holds, stays);
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

    /// Whatever is due by `now` happens, each at its own time.
    pub(super) fn pass(&mut self, cx: Around<'_>, now: Timestamp, out: &mut Vec<Transition>) {
        while let Some((at, due)) = self.next_due(&cx.rules[self.rule as usize])
            && at <= now
        {
            let rule = &cx.rules[self.rule as usize];
            match due {
                Due::Expiry => self.miss(cx, at, self.last, out),
                Due::Forget => self.forget(cx, at, out),
                Due::Cleared => self.end(cx, at, true, out),
                Due::Settled => self.settled(cx, at, out),
                Due::Held => {
                    let reached = self.now.climb.reached(rule.hold, at);
                    match (self.now.phase, reached) {
                        (Phase::Pending, Some(severity)) => self.fire(cx, severity, at, out),
                        (_, reached) => self.weigh(cx, at, None, reached, out),
                    }
                }
            }
        }
    }

    /// When time alone moves it next.
    pub(super) fn due(&self, rule: &Rule) -> Option<Timestamp> {
        self.next_due(rule).map(|(at, _)| at)
    }

    fn next_due(&self, rule: &Rule) -> Option<(Timestamp, Due)> {
        self.all_due(rule).min_by_key(|(at, _)| *at)
    }

    /// What time alone will do to it, the next first.
    pub(super) fn timers(&self, rule: &Rule) -> Vec<Timer> {
        let mut all: Vec<_> = self.all_due(rule).collect();
        all.sort_by_key(|(at, _)| *at);
        let named = all.into_iter().map(|(at, due)| {
            let what = match due {
                Due::Expiry => "has no data any more",
                Due::Forget => "is forgotten",
                Due::Held if self.now.phase == Phase::Pending => "fires",
                Due::Held => "gets worse",
                Due::Cleared => "clears",
                Due::Settled => "is told",
            };
            Timer { what, at: at.to_string() }
        });
        named.collect()
    }

    fn all_due(&self, rule: &Rule) -> impl Iterator<Item = (Timestamp, Due)> + use<> {
        let Standing { phase, climb, severity, telling, missing, .. } = &self.now;
        let at_rest = *phase == Phase::Watching;
        let expiry = self.lookback.filter(|_| missing.is_none()).map(|time| self.last + time);
        let forget = (at_rest && missing.is_some() && !self.is_at_rest())
            .then(|| self.last + self.lookback.unwrap_or(LOOKBACK));
        let (mut held, mut cleared, mut settled) = (None, None, None);
        if !self.asleep {
            match phase {
                Phase::Pending => held = climb.next(None, rule.hold),
                Phase::Firing => held = climb.next(Some(*severity), rule.hold),
                Phase::Clearing { until, .. } => cleared = Some(*until),
                Phase::Watching | Phase::Unknown { .. } => {}
            }
            settled = telling.held_until().filter(|_| phase.state() == State::Firing);
        }
        [
            (expiry, Due::Expiry),
            (forget, Due::Forget),
            (held, Due::Held),
            (cleared, Due::Cleared),
            (settled, Due::Settled),
        ]
        .into_iter()
        .filter_map(|(at, due)| Some((at?, due)))
    }

    /// The rule is gone or has changed, or the target is.
    pub(super) fn drop_rule(
        &mut self,
        cx: Around<'_>,
        at: Timestamp,
        reason: &str,
        out: &mut Vec<Transition>,
    ) {
        let flapping = std::mem::take(&mut self.now.flaps).flapping;
        if flapping && self.state() == State::Inactive {
            reason.clone_into(&mut self.now.reason);
            return self.calmed(cx, at, out);
        }
        self.turn(cx, Phase::Watching, self.now.severity, at, reason.to_owned(), out);
    }

    /// What happened of late counts no more.
    fn forget(&mut self, cx: Around<'_>, at: Timestamp, out: &mut Vec<Transition>) {
        self.now.window = Window::default();
        let flapping = std::mem::take(&mut self.now.flaps).flapping;
        if flapping {
            self.now.reason = "no longer flapping: there is no data any more".to_owned();
            self.calmed(cx, at, out);
        }
    }

    fn begin(
        &mut self,
        cx: Around<'_>,
        severity: Severity,
        at: Timestamp,
        out: &mut Vec<Transition>,
    ) {
        let rule = &cx.rules[self.rule as usize];
        self.now.since = at;
        self.now.held = self.now.missing.is_none();
        let reason = match self.now.missing {
            None => self.compared(&rule.words(severity).when),
            Some(since) => self.missing(cx, since),
        };
        let next = if rule.hold.is_zero() { Phase::Firing } else { Phase::Pending };
        self.turn(cx, next, severity, at, reason, out);
    }

    fn fire(
        &mut self,
        cx: Around<'_>,
        severity: Severity,
        at: Timestamp,
        out: &mut Vec<Transition>,
    ) {
        let rule = &cx.rules[self.rule as usize];
        let reason = match self.now.missing {
            None => self.held_for(rule, severity),
            Some(since) => format!("{}, for {}", self.missing(cx, since), show_duration(rule.hold)),
        };
        self.turn(cx, Phase::Firing, severity, at, reason, out);
    }

    fn clear(&mut self, cx: Around<'_>, at: Timestamp, out: &mut Vec<Transition>) {
        let keep = cx.rules[self.rule as usize].keep;
        if keep.is_zero() {
            return self.end(cx, at, false, out);
        }
        let next = Phase::Clearing { until: at + keep, at_value: self.now.value };
        let reason = self.back();
        self.turn(cx, next, self.now.severity, at, reason, out);
    }

    /// What was clearing holds again.
    fn resume(&mut self) {
        self.now.phase = Phase::Firing;
        self.dirty = true;
    }

    fn end(&mut self, cx: Around<'_>, at: Timestamp, kept: bool, out: &mut Vec<Transition>) {
        let rule = &cx.rules[self.rule as usize];
        let value = match self.now.phase {
            Phase::Clearing { at_value, .. } => at_value,
            _ => self.now.value,
        };
        let words = rule.words(rule.mildest());
        let mut reason = match (self.now.phase, value) {
            (Phase::Pending | Phase::Unknown { fired: false }, Some(value)) => {
                format!("{} is no longer {}", shown(value), words.when)
            }
            (Phase::Pending | Phase::Unknown { fired: false }, None) => {
                format!("no longer {}", words.when)
            }
            (_, Some(value)) if self.now.held => {
                format!("cleared at {} ({})", shown(value), words.end)
            }
            (_, None) if self.now.held => format!("cleared ({})", words.end),
            _ => self.back(),
        };
        if kept {
            reason += &format!(", kept firing for {}", show_duration(rule.keep));
        }
        self.turn(cx, Phase::Watching, self.now.severity, at, reason, out);
    }

    /// `31.4 > 30`, or what holds where there is no value.
    fn compared(&self, condition: &str) -> String {
        let value = self.now.value.map(|value| format!("{} {condition}", shown(value)));
        value.unwrap_or_else(|| condition.to_owned())
    }

    /// `held for 30s at 31.4 (> 30)`
    fn held_for(&self, rule: &Rule, severity: Severity) -> String {
        let when = &rule.words(severity).when;
        if rule.hold.is_zero() {
            return self.compared(when);
        }
        let at = self.now.value.map_or_else(String::new, |v| format!(" at {}", shown(v)));
        format!("held for {}{at} ({when})", show_duration(rule.hold))
    }

    fn back(&self) -> String {
        let at = self.now.value.map_or_else(String::new, |v| format!(" at {}", shown(v)));
        format!("data is back{at}")
    }

    fn missing(&self, cx: Around<'_>, since: Timestamp) -> String {
        let down = if cx.targets.is_down(self.target) { "target down, " } else { "" };
        format!("{down}data missing since {since}")
    }
}
