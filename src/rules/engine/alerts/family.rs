//! Parents and the alerts that depend on them: who follows when a parent goes down or comes up, and
//! who is named in a parent's message.

use rustc_hash::FxHashSet;

use super::Alerts;
use crate::rules::engine::active::{Active, Around};
use crate::rules::{Notify, State, Transition};
use crate::sample::Timestamp;

/// Most alerts named in one message; how many more there are is said.
const AFFECTED_SHOWN_MAX: usize = 50;

/// A parent that went down, came up, or was found up once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    Rule(u32),
    Target(u32),
}

impl Alerts {
    /// A target was found up or down; or is no longer watched.
    pub(in crate::rules::engine) fn target_found(
        &mut self,
        target: u32,
        up: Option<bool>,
        at: Timestamp,
        out: &mut Vec<Transition>,
    ) {
        // What waits for a parent's verdict may go on when the parent is found up once more.
        if !self.dependants.is_empty() {
            self.before_a_change(Changed::Target(target), at, out);
        }
        let changed = self.targets.found(target, up, at);
        if !self.dependants.is_empty() && (changed || up == Some(true)) {
            self.changed.push(Changed::Target(target));
            self.follow(at, out);
        }
    }

    /// What was due before a parent changes happens while it is as it was.
    fn before_a_change(&mut self, parent: Changed, at: Timestamp, out: &mut Vec<Transition>) {
        for id in self.children(parent) {
            self.step(id, out, |alert, cx, out| alert.pass(cx, at.shifted(-1), out));
        }
    }

    /// Lets what depends on a parent that changed look at it, and what depends on that in turn:
    /// parents are never their own.
    pub(super) fn follow(&mut self, at: Timestamp, out: &mut Vec<Transition>) {
        while let Some(parent) = self.changed.pop() {
            for id in self.children(parent) {
                self.step(id, out, |alert, cx, out| alert.look_at_parents(cx, at, out));
            }
        }
    }

    /// Moves an alert; what depends on it follows later.
    fn step(
        &mut self,
        id: u32,
        out: &mut Vec<Transition>,
        f: impl FnOnce(&mut Active, Around<'_>, &mut Vec<Transition>),
    ) {
        let Some(alert) = &mut self.slots[id as usize] else { return };
        let named = (alert.rule, alert.output);
        let (parent, from) = ((alert.rule, alert.target), out.len());
        f(alert, Around { rules: &self.rules, targets: &self.targets }, out);
        if !self.settle(id) {
            self.released.push(named);
        }
        if out.len() > from {
            self.name_affected(parent, &mut out[from..]);
        }
    }

    fn children(&self, parent: Changed) -> Vec<u32> {
        let depends = |id: &&u32| {
            let alert = self.slots[**id as usize].as_ref();
            alert.is_some_and(|alert| alert.is_active() && self.depends(alert, parent))
        };
        self.dependants.iter().filter(depends).copied().collect()
    }

    fn depends(&self, alert: &Active, parent: Changed) -> bool {
        let parents = self.rules[alert.rule as usize].parents.as_ref();
        parents.is_some_and(|parents| match parent {
            Changed::Rule(rule) => parents.has_rule(rule),
            Changed::Target(target) => parents.has_target(&self.targets, target),
        })
    }

    /// Names the alerts that are held back by the one that fires or has cleared, in what people are
    /// told of it.
    pub(super) fn name_affected(&self, of: (u32, Option<u32>), told: &mut [Transition]) {
        let told = told.iter_mut().filter(|one| {
            let ends = matches!(one.alert.state, State::Firing | State::Inactive);
            ends && one.notify != Notify::Nobody
        });
        let mut names = None;
        for transition in told {
            let names = names.get_or_insert_with(|| self.affected(of));
            transition.affected.clone_from(names);
        }
    }

    /// The alerts that nobody was told of, and that depend on an alert's rule, or on the target it
    /// tells of; and those that depend on these.
    fn affected(&self, (rule, target): (u32, Option<u32>)) -> Vec<String> {
        let (mut found, mut parents) = (FxHashSet::default(), Vec::new());
        let add = |parents: &mut Vec<Changed>, rule: u32, target: Option<u32>| {
            parents.push(Changed::Rule(rule));
            let tells = self.rules[rule as usize].tells_of_targets;
            parents.extend(target.filter(|_| tells).map(Changed::Target));
        };
        add(&mut parents, rule, target);
        while let Some(parent) = parents.pop() {
            for id in self.children(parent) {
                let Some(alert) = &self.slots[id as usize] else { continue };
                let itself = alert.rule == rule && alert.target == target;
                let unheard = alert.state() == State::Pending || alert.is_held();
                if !itself && unheard && found.insert(id) {
                    add(&mut parents, alert.rule, alert.target);
                }
            }
        }
        let mut names: Vec<String> = found.into_iter().filter_map(|id| self.name(id)).collect();
        names.sort_unstable();
        let more = names.len().saturating_sub(AFFECTED_SHOWN_MAX);
        if more > 0 {
            names.truncate(AFFECTED_SHOWN_MAX);
            names.push(format!("{more} more"));
        }
        names
    }

    /// `host-down (target="nas")`: where it is and what kind it is says nothing new.
    fn name(&self, id: u32) -> Option<String> {
        let alert = self.slots[id as usize].as_ref()?;
        let said = |name: &str| !["kind", "site"].contains(&name);
        let labels = alert.labels.iter().filter(|(name, _)| said(name));
        let labels: Vec<_> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
        let rule = &self.rules[alert.rule as usize].config.name;
        Some(format!("{rule} ({})", labels.join(", ")))
    }
}
