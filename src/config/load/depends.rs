//! What rules depend on: names are found, circles are refused, and what would fail in silence is
//! warned of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Draft, Tables};
use crate::config::diagnostic::nearest;
use crate::config::{Diagnostics, Place, Target, show_duration};
use crate::rules::RuleConfig;
use crate::rules::depends::Parent;

/// What depends on what: rules as `rule.NAME`, targets by their ids; each with where it says so.
type Edges = BTreeMap<String, Vec<(String, Place)>>;

impl Draft<'_> {
    /// Finds what every rule depends on among the rules and targets there are.
    pub(super) fn find_parents(&mut self, targets: &[String]) {
        let rules: Vec<String> = self.rules.keys().cloned().collect();
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        for parent in parents(&mut self.rules) {
            match parent.value.resolve(&rules, targets) {
                Ok(found) => parent.value = found,
                Err(message) => {
                    let ids = targets.iter().map(String::as_str);
                    let names = ids.clone().filter_map(|id| Some(id.split_once('.')?.1));
                    let known = ids.chain(names).chain(rules.iter().copied());
                    let guess = nearest(&parent.value.to_string(), known)
                        .filter(|_| message.starts_with("there is no"))
                        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                    self.diagnostics.error(&parent.place, format!("{message}{guess}"));
                }
            }
        }
        check_circles(&self.rules, &mut self.diagnostics);
    }

    /// A file of rules alone knows no targets: what is no rule may be one.
    pub(super) fn guess_parents(&mut self) {
        let rules: Vec<String> = self.rules.keys().cloned().collect();
        for parent in parents(&mut self.rules) {
            if let Parent::Target { kind: None, name } = &parent.value
                && rules.contains(name)
            {
                parent.value = Parent::Rule(name.clone());
            }
        }
        check_circles(&self.rules, &mut self.diagnostics);
    }

    /// What would be told too early, or not at all.
    pub(super) fn warn_of_parents(&mut self, targets: &[Arc<Target>]) {
        for rule in self.rules.values().filter_map(|(_, rule)| rule.as_ref()) {
            for parent in rule.depends_on.iter().flat_map(|on| &on.parents) {
                let id = parent.value.to_string();
                let Some(target) = targets.iter().find(|target| target.id() == id) else {
                    continue;
                };
                let slowest = target.interval + target.timeout;
                if rule.settle < slowest && !rule.settle.is_zero() {
                    let (settle, slowest) = (show_duration(rule.settle), show_duration(slowest));
                    self.diagnostics.warn(&parent.place, format!(
                        "`settle` is {settle}, but {id} may take {slowest} (interval and timeout) to \
                         be found down"
                    ));
                }
            }
        }
    }
}

fn parents(
    rules: &mut Tables<RuleConfig>,
) -> impl Iterator<Item = &mut crate::config::Located<Parent>> {
    let rules = rules.values_mut().filter_map(|(_, rule)| rule.as_mut());
    rules.filter_map(|rule| rule.depends_on.as_mut()).flat_map(|on| &mut on.parents)
}

/// Two alerts that each wait for the other to be told would both be told to nobody.
fn check_circles(rules: &Tables<RuleConfig>, diagnostics: &mut Diagnostics) {
    let mut edges = Edges::new();
    for (name, (_, rule)) in rules {
        let Some(rule) = rule else { continue };
        for parent in rule.depends_on.iter().flat_map(|on| &on.parents) {
            let to = match &parent.value {
                Parent::Rule(name) => format!("rule.{name}"),
                target @ Parent::Target { .. } => target.to_string(),
            };
            // Who tells that one certain target is down stands for that target.
            let own = told_of(rule, &to);
            let from = [Some(format!("rule.{name}")), own];
            for from in from.into_iter().flatten() {
                edges.entry(from).or_default().push((to.clone(), parent.place.clone()));
            }
        }
    }
    let mut done = BTreeSet::new();
    for start in edges.keys() {
        let mut trail = vec![start.clone()];
        walk(&edges, &mut trail, &mut done, diagnostics);
    }
}

fn walk(
    edges: &Edges,
    trail: &mut Vec<String>,
    done: &mut BTreeSet<String>,
    diagnostics: &mut Diagnostics,
) {
    let Some(here) = trail.last().cloned() else { return };
    if done.contains(&here) {
        return;
    }
    for (next, place) in edges.get(&here).into_iter().flatten() {
        if let Some(at) = trail.iter().position(|seen| seen == next) {
            let circle = [&trail[at..], std::slice::from_ref(next)].concat();
            let message = format!("depends on itself in the end: {}", circle.join(" → "));
            diagnostics.error(place, message);
        } else {
            trail.push(next.clone());
            walk(edges, trail, done, diagnostics);
            trail.pop();
        }
    }
    done.insert(here);
}

/// The target a rule tells of, if it is about the `target_up` of a certain one; its kind is taken
/// from the rule, else from what it is compared with.
fn told_of(rule: &RuleConfig, beside: &str) -> Option<String> {
    if !rule.tells_of_targets() {
        return None;
    }
    let exact = |label: &str| {
        let selector = &rule.plan.threshold()?.selector;
        let mut matchers = selector.matchers.iter();
        matchers.find(|matcher| matcher.label == label)?.pattern.exact().map(str::to_owned)
    };
    let name = exact("target")?;
    Some(match exact("kind").or_else(|| Some(beside.split_once('.')?.0.to_owned())) {
        Some(kind) if kind != "rule" => format!("{kind}.{name}"),
        _ => name,
    })
}
