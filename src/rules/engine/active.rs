//! One alert that is not at rest: its states, and how verdicts, gaps and time move it.
//!
//! - What holds is pending for `for`, then firing. At the moment `for` is over, a verdict of that
//!   very time counts before the clock does.
//! - What fires goes on until `clear` holds (without one: until `when` does not). From then on it
//!   is still firing for `keep_firing_for`; only `when` holding again ends that.
//! - Data goes missing when its front says so, or by the lookback passing without a verdict. What
//!   that means is `on_missing`. With `keep` the alert becomes unknown. When data returns, what was
//!   firing fires on, untold, or clears; what was pending starts again, for a gap proves nothing.
//! - People are told of a problem they have not heard of and of the end of one they have: a
//!   recovery of what never fired is nobody's news.

use std::sync::Arc;
use std::time::Duration;

use super::alerts::Rule;
use super::verdict::Verdict;
use crate::config::show_duration;
use crate::rules::config::OnMissing;
use crate::rules::plan::shown;
use crate::rules::{Alert, Labels, State, Transition};
use crate::sample::Timestamp;

/// An alert that is not at rest.
#[derive(Debug)]
pub(super) struct Active {
    /// The rule, by its place in the engine.
    pub(super) rule: u32,
    /// What its front calls that which is judged.
    pub(super) output: u32,
    /// The time of its entry among the timers; at or before when it is due.
    pub(super) armed: Option<Timestamp>,
    /// How long a verdict counts; `None`: until its front says otherwise.
    lookback: Option<Duration>,
    /// When it was judged last.
    last: Timestamp,
    labels: Arc<Labels>,
    phase: Phase,
    /// Since when the rule has held.
    since: Timestamp,
    /// Whether a value has held since, or missing data alone.
    held: bool,
    /// Since when there has been no data.
    missing: Option<Timestamp>,
    value: Option<f64>,
    reason: String,
    told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// At rest; kept because missing data would move it.
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
    pub(super) fn new(
        rule: u32,
        output: u32,
        labels: Arc<Labels>,
        lookback: Option<Duration>,
        last: Timestamp,
    ) -> Self {
        Self {
            rule,
            output,
            armed: None,
            lookback,
            last,
            labels,
            phase: Phase::Watching,
            since: Timestamp::default(),
            held: false,
            missing: None,
            value: None,
            reason: String::new(),
            told: false,
        }
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.phase == Phase::Watching
    }

    /// What its front found, not before the last time.
    pub(super) fn judge(
        &mut self,
        rule: &Rule,
        at: Timestamp,
        verdict: Verdict,
        out: &mut Vec<Transition>,
    ) {
        self.last = at;
        match verdict {
            Verdict::Missing { since } => self.miss(rule, at, since, out),
            Verdict::Data { value, holds, stays } => {
                self.missing = None;
                self.value = value;
                self.data(rule, at, holds.is_some(), stays.is_some(), out);
            }
        }
    }

    fn data(
        &mut self,
        rule: &Rule,
        at: Timestamp,
        holds: bool,
        stays: bool,
        out: &mut Vec<Transition>,
    ) {
        self.held |= holds;
        match self.phase {
            Phase::Watching if holds => self.begin(rule, at, out),
            Phase::Watching => {}
            Phase::Pending if !holds => self.end(rule, at, false, out),
            Phase::Pending if at >= self.since + rule.hold => self.fire(rule, at, out),
            Phase::Pending => {}
            Phase::Unknown { fired: false } if holds => self.begin(rule, at, out),
            Phase::Unknown { fired: false } => self.end(rule, at, false, out),
            Phase::Firing | Phase::Unknown { fired: true } => {
                // Where only missing data fired it there is no threshold to stay clear of.
                if !stays || !self.held {
                    self.clear(rule, at, out);
                } else if self.phase != Phase::Firing {
                    let reason = self.back();
                    self.turn(rule, Phase::Firing, at, reason, out);
                }
            }
            Phase::Clearing { .. } if holds => self.phase = Phase::Firing,
            Phase::Clearing { until, .. } if at >= until => self.end(rule, at, true, out),
            Phase::Clearing { .. } => {}
        }
    }

    /// There is no data since `since`, which shows at `at`.
    fn miss(&mut self, rule: &Rule, at: Timestamp, since: Timestamp, out: &mut Vec<Transition>) {
        if self.missing.is_some() {
            return;
        }
        self.missing = Some(since);
        let reason = format!("data missing since {since}");
        match (rule.on_missing, self.phase) {
            (OnMissing::Fire, Phase::Watching) => {
                self.value = None;
                self.begin(rule, at, out);
            }
            (OnMissing::Fire, Phase::Clearing { .. }) => self.phase = Phase::Firing,
            (OnMissing::Fire, _) | (_, Phase::Watching) => {}
            (OnMissing::Clear, _) => {
                self.value = None;
                self.turn(rule, Phase::Watching, at, reason, out);
            }
            (OnMissing::Keep, phase) => {
                let fired = phase.state() == State::Firing;
                self.turn(rule, Phase::Unknown { fired }, at, reason, out);
            }
        }
    }

    /// Whatever is due by `now` happens, each at its own time.
    pub(super) fn pass(&mut self, rule: &Rule, now: Timestamp, out: &mut Vec<Transition>) {
        while let Some(due) = self.due(rule).filter(|due| *due <= now) {
            if self.expiry() == Some(due) {
                self.miss(rule, due, self.last, out);
                continue;
            }
            match self.phase {
                Phase::Pending => self.fire(rule, due, out),
                Phase::Clearing { .. } => self.end(rule, due, true, out),
                _ => return,
            }
        }
    }

    /// When time alone moves it next.
    pub(super) fn due(&self, rule: &Rule) -> Option<Timestamp> {
        let timer = match self.phase {
            Phase::Pending => Some(self.since + rule.hold),
            Phase::Clearing { until, .. } => Some(until),
            _ => None,
        };
        timer.into_iter().chain(self.expiry()).min()
    }

    fn expiry(&self) -> Option<Timestamp> {
        self.lookback.filter(|_| self.missing.is_none()).map(|lookback| self.last + lookback)
    }

    /// The rule is gone or has changed.
    pub(super) fn drop_rule(
        &mut self,
        rule: &Rule,
        at: Timestamp,
        reason: &str,
        out: &mut Vec<Transition>,
    ) {
        self.turn(rule, Phase::Watching, at, reason.to_owned(), out);
    }

    /// All its times move by a step of the clock.
    pub(super) fn shift(&mut self, nanos: i64) {
        self.armed = self.armed.map(|time| time.shifted(nanos));
        self.last = self.last.shifted(nanos);
        self.since = self.since.shifted(nanos);
        self.missing = self.missing.map(|time| time.shifted(nanos));
        if let Phase::Clearing { until, .. } = &mut self.phase {
            *until = until.shifted(nanos);
        }
    }

    /// As the API shows it; `None` at rest.
    pub(super) fn shown(&self, rule: &Rule) -> Option<Alert> {
        (!self.is_at_rest()).then(|| Alert {
            rule: rule.config.clone(),
            labels: self.labels.clone(),
            state: self.phase.state(),
            since: self.since,
            value: self.value,
            reason: self.reason.clone(),
        })
    }

    fn begin(&mut self, rule: &Rule, at: Timestamp, out: &mut Vec<Transition>) {
        self.since = at;
        self.held = self.missing.is_none();
        let reason = match self.missing {
            None => self.compared(&rule.when),
            Some(since) => format!("data missing since {since}"),
        };
        let next = if rule.hold.is_zero() { Phase::Firing } else { Phase::Pending };
        self.turn(rule, next, at, reason, out);
    }

    fn fire(&mut self, rule: &Rule, at: Timestamp, out: &mut Vec<Transition>) {
        let held = show_duration(rule.hold);
        let reason = match (self.missing, self.value) {
            (Some(since), _) => format!("data missing since {since}, for {held}"),
            (None, Some(value)) => format!("held for {held} at {} ({})", shown(value), rule.when),
            (None, None) => format!("held for {held} ({})", rule.when),
        };
        self.turn(rule, Phase::Firing, at, reason, out);
    }

    fn clear(&mut self, rule: &Rule, at: Timestamp, out: &mut Vec<Transition>) {
        if rule.keep.is_zero() {
            return self.end(rule, at, false, out);
        }
        let next = Phase::Clearing { until: at + rule.keep, at_value: self.value };
        let reason = self.back();
        self.turn(rule, next, at, reason, out);
    }

    fn end(&mut self, rule: &Rule, at: Timestamp, kept: bool, out: &mut Vec<Transition>) {
        let value = match self.phase {
            Phase::Clearing { at_value, .. } => at_value,
            _ => self.value,
        };
        let mut reason = match (self.phase, value) {
            (Phase::Pending | Phase::Unknown { fired: false }, Some(value)) => {
                format!("{} is no longer {}", shown(value), rule.when)
            }
            (Phase::Pending | Phase::Unknown { fired: false }, None) => {
                format!("no longer {}", rule.when)
            }
            (_, Some(value)) if self.held => format!("cleared at {} ({})", shown(value), rule.end),
            (_, None) if self.held => format!("cleared ({})", rule.end),
            _ => self.back(),
        };
        if kept {
            reason += &format!(", kept firing for {}", show_duration(rule.keep));
        }
        self.turn(rule, Phase::Watching, at, reason, out);
    }

    /// `31.4 > 30`, or what holds where there is no value.
    fn compared(&self, condition: &str) -> String {
        self.value.map_or_else(|| condition.to_owned(), |v| format!("{} {condition}", shown(v)))
    }

    fn back(&self) -> String {
        self.value
            .map_or_else(|| "data is back".to_owned(), |v| format!("data is back at {}", shown(v)))
    }

    /// The one place where states change, and where it is decided whether people are told.
    fn turn(
        &mut self,
        rule: &Rule,
        next: Phase,
        at: Timestamp,
        reason: String,
        out: &mut Vec<Transition>,
    ) {
        let (from, to) = (self.phase.state(), next.state());
        self.phase = next;
        if from == to {
            return;
        }
        let notify = match to {
            State::Firing => !std::mem::replace(&mut self.told, true),
            State::Inactive => std::mem::take(&mut self.told),
            State::Pending | State::Unknown => false,
        };
        self.reason.clone_from(&reason);
        out.push(Transition {
            rule: rule.config.clone(),
            labels: self.labels.clone(),
            from,
            to,
            at,
            since: self.since,
            value: if self.missing.is_some() { None } else { self.value },
            reason,
            notify,
        });
    }
}
