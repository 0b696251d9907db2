//! All alerts that are not at rest, and the timers that move them.
//!
//! An alert is named by its rule and an output of the front that judges the rule; what an output
//! stands for is the front's to know. Fronts hand in verdicts, each with its time; an alert that is
//! at rest again is let go, and the front is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::active::Active;
use super::index;
use super::verdict::Verdict;
use crate::config::Named;
use crate::rules::config::OnMissing;
use crate::rules::{Alert, Labels, RuleConfig, Transition};
use crate::sample::Timestamp;

/// The alerts there are.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    pub(super) rules: Vec<Rule>,
    slots: Vec<Option<Active>>,
    /// Places in `slots` that are free.
    free: Vec<u32>,
    /// At most one entry an alert, at or before the time it is due: a verdict that moves the time
    /// need not touch it.
    timers: BTreeSet<(Timestamp, u32)>,
    /// Outputs whose alerts were let go by time and not by a verdict: their fronts must forget them.
    pub(super) released: Vec<u32>,
}

/// A rule as its alerts need it.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) hold: Duration,
    pub(super) keep: Duration,
    pub(super) on_missing: OnMissing,
    /// What holds, as in `> 35`.
    pub(super) when: String,
    /// What ends it, as in `< 32`.
    pub(super) end: String,
    pub(super) config: Arc<Named<RuleConfig>>,
}

impl Rule {
    pub(super) fn new(config: Arc<Named<RuleConfig>>) -> Self {
        let RuleConfig { plan, hold, keep_firing_for, on_missing, .. } = &config.value;
        Self {
            hold: *hold,
            keep: *keep_firing_for,
            on_missing: *on_missing,
            when: plan.when.to_string(),
            end: plan.end_shown(),
            config,
        }
    }
}

impl Alerts {
    /// A new alert, at rest, to be judged or [settled](Alerts::settle) next. Data counts for `lookback` from `last` on; `None`: its front says when
    /// data goes missing.
    pub(super) fn open(
        &mut self,
        rule: u32,
        output: u32,
        labels: Arc<Labels>,
        lookback: Option<Duration>,
        last: Timestamp,
    ) -> u32 {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            index(self.slots.len() - 1)
        });
        self.slots[id as usize] = Some(Active::new(rule, output, labels, lookback, last));
        id
    }

    /// What a front found of an alert's output; says whether the alert is still there. What was due
    /// before happens before.
    pub(super) fn judge(
        &mut self,
        id: u32,
        at: Timestamp,
        verdict: Verdict,
        out: &mut Vec<Transition>,
    ) -> bool {
        let Some(alert) = &mut self.slots[id as usize] else { return false };
        let rule = &self.rules[alert.rule as usize];
        alert.pass(rule, at.shifted(-1), out);
        alert.judge(rule, at, verdict, out);
        self.settle(id)
    }

    pub(super) fn tick(&mut self, now: Timestamp, out: &mut Vec<Transition>) {
        while let Some(&(time, id)) = self.timers.first()
            && time <= now
        {
            self.timers.pop_first();
            let Some(alert) = &mut self.slots[id as usize] else { continue };
            alert.armed = None;
            let output = alert.output;
            alert.pass(&self.rules[alert.rule as usize], now, out);
            if !self.settle(id) {
                self.released.push(output);
            }
        }
    }

    pub(super) fn next_tick(&self) -> Option<Timestamp> {
        self.timers.first().map(|(time, _)| *time)
    }

    pub(super) fn clock_stepped(&mut self, nanos: i64) {
        for alert in self.slots.iter_mut().flatten() {
            alert.shift(nanos);
        }
        self.timers = self.timers.iter().map(|(time, id)| (time.shifted(nanos), *id)).collect();
    }

    /// Rules get other places; alerts of those that have none end, with the reason why.
    pub(super) fn move_rules(
        &mut self,
        moved: &[Result<u32, &str>],
        now: Timestamp,
        out: &mut Vec<Transition>,
    ) {
        for id in 0..self.slots.len() {
            let Some(alert) = &mut self.slots[id] else { continue };
            match moved[alert.rule as usize] {
                Ok(place) => alert.rule = place,
                // Its rule's old place is what `end` looks at: rules are replaced only afterwards.
                Err(reason) => self.end(index(id), now, reason, out),
            }
        }
    }

    /// Ends an alert for a reason that is not its data.
    pub(super) fn end(&mut self, id: u32, now: Timestamp, reason: &str, out: &mut Vec<Transition>) {
        let Some(alert) = &mut self.slots[id as usize] else { return };
        alert.drop_rule(&self.rules[alert.rule as usize], now, reason, out);
        self.released.push(alert.output);
        self.release(id);
    }

    pub(super) fn has(&self, id: u32) -> bool {
        self.slots.get(id as usize).is_some_and(Option::is_some)
    }

    pub(super) fn set_output(&mut self, id: u32, output: u32) {
        if let Some(Some(alert)) = self.slots.get_mut(id as usize) {
            alert.output = output;
        }
    }

    pub(super) fn shown(&self) -> Vec<Alert> {
        let active = self.slots.iter().flatten();
        active.filter_map(|alert| alert.shown(&self.rules[alert.rule as usize])).collect()
    }

    /// After an alert may have moved: it is let go at rest, or its timer set. Says whether it is
    /// still there.
    pub(super) fn settle(&mut self, id: u32) -> bool {
        let Some(alert) = &mut self.slots[id as usize] else { return false };
        let rule = &self.rules[alert.rule as usize];
        if alert.is_at_rest() && rule.on_missing != OnMissing::Fire {
            self.release(id);
            return false;
        }
        // An entry that is early wakes for nothing once, and is then set right.
        let due = alert.due(rule);
        if let Some(due) = due.filter(|due| alert.armed.is_none_or(|armed| *due < armed)) {
            if let Some(armed) = alert.armed.replace(due) {
                self.timers.remove(&(armed, id));
            }
            self.timers.insert((due, id));
        }
        true
    }

    fn release(&mut self, id: u32) {
        let Some(alert) = self.slots[id as usize].take() else { return };
        if let Some(armed) = alert.armed {
            self.timers.remove(&(armed, id));
        }
        self.free.push(id);
    }

    /// How many timers are set, and how many places for alerts there are.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.timers.len(), self.slots.len())
    }
}
