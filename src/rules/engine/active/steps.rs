//! The steps from one state to the next, each with its reason.

use super::{Active, Around, Phase};
use crate::config::show_duration;
use crate::rules::{Severity, State, Transition};
use crate::sample::Timestamp;

impl Active {
    /// The rule is gone or has changed, or the target is.
    pub(in crate::rules::engine) fn drop_rule(
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

    pub(super) fn begin(
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

    pub(super) fn fire(
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

    pub(super) fn clear(&mut self, cx: Around<'_>, at: Timestamp, out: &mut Vec<Transition>) {
        let keep = cx.rules[self.rule as usize].keep;
        if keep.is_zero() {
            return self.end(cx, at, false, out);
        }
        let next = Phase::Clearing { until: at + keep, at_value: self.now.value };
        let reason = self.back();
        self.turn(cx, next, self.now.severity, at, reason, out);
    }

    /// What was clearing holds again.
    pub(super) fn resume(&mut self) {
        self.now.phase = Phase::Firing;
        self.dirty = true;
    }

    pub(super) fn end(
        &mut self,
        cx: Around<'_>,
        at: Timestamp,
        kept: bool,
        out: &mut Vec<Transition>,
    ) {
        let rule = &cx.rules[self.rule as usize];
        let value = match self.now.phase {
            Phase::Clearing { at_value, .. } => at_value,
            _ => self.now.value,
        };
        let reason = self.ended(rule, value, kept);
        self.turn(cx, Phase::Watching, self.now.severity, at, reason, out);
    }
}
