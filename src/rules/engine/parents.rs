//! What alerts depend on: targets and rules, and whether they are down.
//!
//! A target is down while its last `target_up` is 0, a rule while one of its alerts fires. Until
//! that is known, a parent is not down: what nobody watches holds nothing back.
//!
//! An alert about a target's own `target_up` tells that the target is down, so it depends only on
//! the parents named before that target, and on no group it is a member of. Else one rule for all
//! targets that depends on two of them would keep silent when both are down.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::alerts::Rule;
use crate::rules::depends::{DependsOn, Parent};
use crate::sample::{Timestamp, push_tight};

/// Targets, as far as their `target_up` tells.
#[derive(Debug, Default)]
pub(super) struct Targets {
    all: Vec<Target>,
    /// The newest target of each name.
    by_name: FxHashMap<Arc<str>, u32>,
}

#[derive(Debug)]
struct Target {
    kind: Arc<str>,
    name: Arc<str>,
    up: Option<bool>,
    /// When that was found.
    at: Timestamp,
    /// The one of this name before it, of another kind.
    before: Option<u32>,
}

/// What an alert's parents are at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has none.
    None,
    /// These are down.
    Down(String),
    /// Not down; what is known is as of then, where it is known of all of them.
    Up(Option<Timestamp>),
}

/// How a rule's alerts depend on others.
#[derive(Debug)]
pub(super) struct Parents {
    pub(super) settle: Duration,
    any: bool,
    all: Vec<Named>,
}

#[derive(Debug)]
struct Named {
    shown: String,
    parent: Found,
}

#[derive(Debug)]
enum Found {
    Rule(u32),
    Target { kind: Option<String>, name: String },
}

impl Targets {
    /// The place of a target, which is made where there is none.
    pub(super) fn place(&mut self, kind: &Arc<str>, name: &Arc<str>) -> u32 {
        if let Some((known, _)) = self.named(Some(kind), name).next() {
            return known;
        }
        let place = super::index(self.all.len());
        let (kind, name) = (kind.clone(), name.clone());
        let before = self.by_name.insert(name.clone(), place);
        push_tight(&mut self.all, Target { kind, name, up: None, at: Timestamp::MIN, before });
        place
    }

    /// Takes what a target was found at; says whether that is new.
    pub(super) fn found(&mut self, place: u32, up: Option<bool>, at: Timestamp) -> bool {
        let target = &mut self.all[place as usize];
        target.at = at;
        std::mem::replace(&mut target.up, up) != up
    }

    pub(super) fn is_down(&self, place: Option<u32>) -> bool {
        place.is_some_and(|place| self.all[place as usize].up == Some(false))
    }

    pub(super) fn shift(&mut self, nanos: i64) {
        for target in self.all.iter_mut().filter(|target| target.at != Timestamp::MIN) {
            target.at = target.at.shifted(nanos);
        }
    }

    /// The targets of a name, all of them or those of a kind.
    fn named<'a>(
        &'a self,
        kind: Option<&'a str>,
        name: &str,
    ) -> impl Iterator<Item = (u32, &'a Target)> {
        let newest = self.by_name.get(name).copied();
        let places = std::iter::successors(newest, |place| self.all[*place as usize].before);
        places
            .map(|place| (place, &self.all[place as usize]))
            .filter(move |(_, target)| kind.is_none_or(|kind| *target.kind == *kind))
    }
}

impl Parents {
    pub(super) fn new(
        depends_on: &DependsOn,
        settle: Duration,
        places: &FxHashMap<&str, u32>,
    ) -> Self {
        let named = |parent: &Parent| {
            let found = match parent {
                Parent::Rule(name) => Found::Rule(*places.get(&**name)?),
                Parent::Target { kind, name } => {
                    Found::Target { kind: kind.clone(), name: name.clone() }
                }
            };
            Some(Named { shown: parent.to_string(), parent: found })
        };
        let all = depends_on.parents.iter().filter_map(|one| named(&one.value)).collect();
        Self { settle, any: depends_on.any, all }
    }

    /// Their names.
    pub(super) fn shown(&self) -> String {
        self.all.iter().map(|one| &*one.shown).collect::<Vec<_>>().join(", ")
    }

    /// Whether a rule is among them.
    pub(super) fn has_rule(&self, rule: u32) -> bool {
        self.all.iter().any(|one| matches!(one.parent, Found::Rule(place) if place == rule))
    }

    /// Whether a target is among them.
    pub(super) fn has_target(&self, targets: &Targets, place: u32) -> bool {
        let target = &targets.all[place as usize];
        self.all.iter().any(|one| match &one.parent {
            Found::Target { kind, name } => {
                **name == *target.name && kind.as_ref().is_none_or(|kind| **kind == *target.kind)
            }
            Found::Rule(_) => false,
        })
    }

    /// What the parents of an alert are at. `own` is the target whose `target_up` it is about.
    pub(super) fn standing(&self, rules: &[Rule], targets: &Targets, own: Option<u32>) -> Standing {
        let (mut down, mut known) = (Vec::new(), Vec::new());
        for one in &self.all {
            match &one.parent {
                Found::Rule(place) => {
                    let is_down = rules[*place as usize].fired > 0;
                    if is_down { down.push(&*one.shown) } else { known.push(None) }
                }
                Found::Target { kind, name } => {
                    let found: Vec<_> = targets.named(kind.as_deref(), name).collect();
                    if found.iter().any(|(place, _)| own == Some(*place)) {
                        if self.any {
                            return Standing::None;
                        }
                        break;
                    }
                    if found.iter().any(|(_, target)| target.up == Some(false)) {
                        down.push(&*one.shown);
                    } else {
                        let up = |target: &Target| target.up.map(|_| target.at);
                        known.push(found.iter().filter_map(|(_, target)| up(target)).min());
                    }
                }
            }
        }
        let is_down =
            if self.any { known.is_empty() && !down.is_empty() } else { !down.is_empty() };
        if is_down {
            return Standing::Down(down.join(", "));
        }
        match (self.any, known.is_empty()) {
            (_, true) => Standing::None,
            // One of a group that is up is enough.
            (true, _) => Standing::Up(known.into_iter().flatten().max()),
            (false, _) => Standing::Up(
                known
                    .into_iter()
                    .collect::<Option<Vec<_>>>()
                    .and_then(|times| times.into_iter().min()),
            ),
        }
    }
}
