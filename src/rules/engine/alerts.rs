//! All alerts that are not at rest, and the timers that move them.
//!
//! An alert is named by its rule and an output of the front that judges the rule; what an output
//! stands for is the front's to know. Fronts hand in verdicts, each with its time; an alert that is
//! at rest again is let go, and the front is told.

mod family;
mod rule;

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashSet;

pub(super) use rule::Rule;

use super::active::{Active, Around, Opening, Standing};
use super::index;
use super::parents::Targets;
use super::saved::{Saved, Unsaved};
use super::verdict::Verdict;
use crate::rules::config::OnMissing;
use crate::rules::explain::Timer;
use crate::rules::{Alert, Transition};
use crate::sample::Timestamp;

/// The alerts there are.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    pub(super) rules: Vec<Rule>,
    pub(super) targets: Targets,
    slots: Vec<Option<Active>>,
    /// Places in `slots` that are free.
    free: Vec<u32>,
    /// At most one entry an alert, at or before the time it is due: a verdict that moves the time
    /// need not touch it.
    timers: BTreeSet<(Timestamp, u32)>,
    /// Rules and outputs whose alerts were let go by something else than their own verdict: their
    /// fronts must forget them.
    pub(super) released: Vec<(u32, u32)>,
    /// Alerts of rules that depend on something.
    dependants: BTreeSet<u32>,
    /// Parents that have gone down or come up, and are still to be followed.
    changed: Vec<family::Changed>,
    /// Alerts that are not as they were saved.
    dirty: FxHashSet<u32>,
    /// What alerts that are at rest again were saved by.
    gone: Vec<Arc<str>>,
    /// What almost happened, for the journal.
    pub(super) misses: Vec<Transition>,
}

impl Alerts {
    /// Takes other rules, whose alerts have [moved](Alerts::move_rules) to their places.
    pub(super) fn set_rules(&mut self, rules: Vec<Rule>) {
        self.rules = rules;
        self.dependants.clear();
        for (id, alert) in self.slots.iter().enumerate() {
            let Some(alert) = alert else { continue };
            let rule = &mut self.rules[alert.rule as usize];
            rule.fired += u32::from(alert.counted);
            if rule.parents.is_some() {
                self.dependants.insert(index(id));
            }
        }
    }

    /// A new alert, at rest, to be judged or [settled](Alerts::settle) next.
    pub(super) fn open(&mut self, opening: Opening) -> u32 {
        let depends = self.rules[opening.rule as usize].parents.is_some();
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            index(self.slots.len() - 1)
        });
        self.slots[id as usize] = Some(Active::new(opening));
        if depends {
            self.dependants.insert(id);
        }
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
        self.with(id, at, out, |alert, cx, out| {
            alert.pass(cx, at.shifted(-1), out);
            alert.judge(cx, at, verdict, out);
        })
    }

    pub(super) fn tick(&mut self, now: Timestamp, out: &mut Vec<Transition>) {
        while let Some(&(time, id)) = self.timers.first()
            && time <= now
        {
            self.timers.pop_first();
            let Some(alert) = &mut self.slots[id as usize] else { continue };
            alert.armed = None;
            let named = (alert.rule, alert.output);
            // To its own time and no further: what others do meanwhile may matter to it.
            if !self.with(id, time, out, |alert, cx, out| alert.pass(cx, time, out)) {
                self.released.push(named);
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
        self.targets.shift(nanos);
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
            let Some(alert) = &self.slots[id] else { continue };
            // Rules are replaced only afterwards, so that ends are still of the old ones.
            if let Err(reason) = moved[alert.rule as usize] {
                self.end(index(id), now, reason, out);
            }
        }
        for alert in self.slots.iter_mut().flatten() {
            alert.rule = moved[alert.rule as usize].unwrap_or_default();
        }
    }

    /// Ends an alert for a reason that is not its data.
    pub(super) fn end(&mut self, id: u32, now: Timestamp, reason: &str, out: &mut Vec<Transition>) {
        let Some(alert) = &self.slots[id as usize] else { return };
        self.released.push((alert.rule, alert.output));
        if self.with(id, now, out, |alert, cx, out| alert.drop_rule(cx, now, reason, out)) {
            self.release(id);
        }
    }

    pub(super) fn has(&self, id: u32) -> bool {
        self.slots.get(id as usize).is_some_and(Option::is_some)
    }

    /// Whether an alert is the one of a rule and an output.
    pub(super) fn is_of(&self, id: u32, rule: u32, output: u32) -> bool {
        let alert = self.slots.get(id as usize).and_then(Option::as_ref);
        alert.is_some_and(|alert| (alert.rule, alert.output) == (rule, output))
    }

    pub(super) fn set_output(&mut self, id: u32, output: u32) {
        if let Some(Some(alert)) = self.slots.get_mut(id as usize) {
            alert.output = output;
        }
    }

    pub(super) fn shown(&self) -> Vec<Alert> {
        let cx = Around { rules: &self.rules, targets: &self.targets };
        self.slots.iter().flatten().filter(|one| one.is_active()).map(|one| one.shown(cx)).collect()
    }

    /// The alert of an id as it stands, at rest or not.
    pub(super) fn get(&self, id: u32) -> Option<Alert> {
        let cx = Around { rules: &self.rules, targets: &self.targets };
        self.slots.get(id as usize)?.as_ref().map(|alert| alert.shown(cx))
    }

    /// In how many of its last samples an alert's rule held, where that counts.
    pub(super) fn counted(&self, id: u32) -> Option<u32> {
        self.slots.get(id as usize)?.as_ref().map(|alert| alert.standing().samples_held())
    }

    /// What time alone will do to an alert, the next first.
    pub(super) fn timers_of(&self, id: u32) -> Vec<Timer> {
        let alert = self.slots.get(id as usize).and_then(Option::as_ref);
        alert.map_or_else(Vec::new, |alert| alert.timers(&self.rules[alert.rule as usize]))
    }

    /// Gives an alert how it stood before a restart.
    pub(super) fn restore(&mut self, id: u32, key: Arc<str>, standing: Standing, now: Timestamp) {
        let Some(Some(alert)) = self.slots.get_mut(id as usize) else { return };
        alert.key = Some(key);
        alert.restore(standing, now);
        self.settle(id);
    }

    /// What alerts that have changed since they were asked for last are saved as.
    pub(super) fn unsaved(
        &mut self,
        save: impl Fn(&Rule, &Active) -> (Arc<str>, Saved),
    ) -> Vec<Unsaved> {
        let mut unsaved: Vec<_> = self.gone.drain(..).map(|key| (key, None)).collect();
        for id in std::mem::take(&mut self.dirty) {
            let Some(alert) = &mut self.slots[id as usize] else { continue };
            let (key, saved) = save(&self.rules[alert.rule as usize], alert);
            alert.key = Some(key.clone());
            unsaved.push((key, Some(saved)));
        }
        unsaved
    }

    /// What was saved by this key is no more.
    pub(super) fn forget_saved(&mut self, key: Arc<str>) {
        self.gone.push(key);
    }

    /// Moves an alert, and whatever depends on it; says whether it is still there.
    fn with(
        &mut self,
        id: u32,
        at: Timestamp,
        out: &mut Vec<Transition>,
        f: impl FnOnce(&mut Active, Around<'_>, &mut Vec<Transition>),
    ) -> bool {
        let from = out.len();
        let Some(alert) = &mut self.slots[id as usize] else { return false };
        f(alert, Around { rules: &self.rules, targets: &self.targets }, out);
        let parent = (alert.rule, alert.target);
        let stays = self.settle(id);
        if out.len() > from && !self.dependants.is_empty() {
            self.name_affected(parent, &mut out[from..]);
        }
        self.follow(at, out);
        stays
    }

    /// After an alert may have moved: it is let go at rest, or its timer set. Says whether it is
    /// still there.
    pub(super) fn settle(&mut self, id: u32) -> bool {
        let Some(alert) = &mut self.slots[id as usize] else { return false };
        let cx = Around { rules: &self.rules, targets: &self.targets };
        self.misses.extend(alert.take_miss(cx));
        let rule = &mut self.rules[alert.rule as usize];
        let fired = alert.fired().is_some();
        if fired != alert.counted {
            alert.counted = fired;
            let was_down = rule.fired > 0;
            rule.fired = if fired { rule.fired + 1 } else { rule.fired - 1 };
            if was_down != (rule.fired > 0) {
                self.changed.push(family::Changed::Rule(alert.rule));
            }
        }
        if alert.is_at_rest() && rule.on_missing != OnMissing::Fire {
            self.release(id);
            return false;
        }
        if std::mem::take(&mut alert.dirty) {
            self.dirty.insert(id);
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
        self.dependants.remove(&id);
        self.dirty.remove(&id);
        self.gone.extend(alert.key);
        self.free.push(id);
    }

    /// How many timers are set, and how many places for alerts there are.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.timers.len(), self.slots.len())
    }
}
