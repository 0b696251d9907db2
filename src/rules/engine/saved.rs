//! What of the alerts survives a restart: plain data, for whoever keeps it.
//!
//! Only what changed is handed out. A restored alert is told again to nobody. One whose rule is no
//! longer what it was ends, as in a reload; people who heard of it hear that.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::active::Standing;
use super::{Engine, index};
use crate::config::{Located, Named};
use crate::rules::plan::{Condition, Level, Plan, Selector, Threshold};
use crate::rules::{Alert, Labels, Notify, RuleConfig, Severity, State, Transition};
use crate::sample::Timestamp;

/// An alert, as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The rule's name.
    rule: String,
    /// What the rule said.
    fingerprint: u64,
    /// What it is of.
    series: SeriesWords,
    labels: Labels,
    /// Who hears of its end, should the rule be gone.
    actions: Vec<String>,
    on_clear: Option<Vec<String>>,
    state: State,
    severity: Severity,
    /// Whether people know that it fires.
    told: bool,
    standing: Standing,
}

/// A series in words; an output of an expression has labels alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SeriesWords {
    pub(super) measurement: String,
    pub(super) field: String,
    pub(super) tags: BTreeMap<String, String>,
}

/// What to keep of an alert from now on, by a key that names it: nothing, once it is at rest.
pub type Unsaved = (Arc<str>, Option<Saved>);

impl Engine {
    /// What has changed since it was asked for last, in order.
    pub fn unsaved(&mut self) -> Vec<Unsaved> {
        let Self { front, streams, .. } = self;
        self.alerts.unsaved(|rule, alert| {
            let config = &rule.config.value;
            let names = |list: &[Located<String>]| -> Vec<String> {
                list.iter().map(|name| name.value.clone()).collect()
            };
            let saved = Saved {
                rule: rule.config.name.to_string(),
                fingerprint: config.fingerprint(),
                series: match streams.labels(alert.rule, alert.origin) {
                    Some(tags) => SeriesWords { tags, ..SeriesWords::default() },
                    None => front.words(alert.origin),
                },
                labels: (*alert.labels).clone(),
                actions: names(&config.actions),
                on_clear: config.on_clear.as_deref().map(names),
                severity: alert.severity(),
                told: alert.is_told(),
                state: alert.state(),
                standing: alert.standing().clone(),
            };
            (saved.key(), saved)
        })
    }

    /// Takes over alerts as they stood before a restart, at `now`. To be called before anything is
    /// judged.
    pub fn restore(&mut self, saved: Vec<Saved>, now: Timestamp, out: &mut Vec<Transition>) {
        let places: BTreeMap<Arc<str>, (u32, u64)> = self
            .rules()
            .enumerate()
            .map(|(place, rule)| (rule.name.clone(), (index(place), rule.value.fingerprint())))
            .collect();
        for one in saved {
            let place = places.get(&*one.rule).copied();
            let kept =
                place.filter(|(_, print)| *print == one.fingerprint).and_then(|(rule, _)| {
                    let Self { front, streams, alerts, .. } = self;
                    let of_stream = streams.adopt(rule, &one.series.tags, now, alerts);
                    of_stream.or_else(|| front.adopt(rule, &one.series, now, alerts))
                });
            match (kept, place) {
                (Some(id), _) => {
                    let key = one.key();
                    self.alerts.restore(id, key, one.standing, now);
                }
                (None, Some((rule, _))) => {
                    let config = self.alerts.rules[rule as usize].config.clone();
                    self.ended(&one, config, "rule reloaded: it has changed", now, out);
                }
                (None, None) => {
                    let config = one.rule_that_was();
                    self.ended(&one, config, "rule reloaded: it was removed", now, out);
                }
            }
        }
        self.streams.resume(now, &mut self.alerts, out);
    }

    /// An alert whose rule is no longer what it was.
    fn ended(
        &mut self,
        saved: &Saved,
        rule: Arc<Named<RuleConfig>>,
        reason: &str,
        now: Timestamp,
        out: &mut Vec<Transition>,
    ) {
        self.alerts.forget_saved(saved.key());
        if saved.state == State::Inactive && !saved.told {
            return;
        }
        let notify = if saved.told { Notify::All } else { Notify::Nobody };
        let alert = Alert {
            rule,
            labels: Arc::new(saved.labels.clone()),
            state: State::Inactive,
            severity: saved.severity,
            since: now,
            value: None,
            reason: reason.to_owned(),
            flapping: false,
            held_back_by: None,
        };
        out.push(Transition { alert, from: saved.state, at: now, notify, affected: Vec::new() });
    }
}

impl Saved {
    /// Names the alert among all that are kept.
    fn key(&self) -> Arc<str> {
        let SeriesWords { measurement, field, tags } = &self.series;
        let tags = tags.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        let words: Vec<&str> = [self.rule.as_str(), measurement.as_str(), field.as_str()]
            .into_iter()
            .chain(tags)
            .collect();
        // A byte that is in no name keeps them apart.
        words.join("\u{1f}").into()
    }

    /// As much of a rule that is gone as its end needs: who hears of it.
    fn rule_that_was(&self) -> Arc<Named<RuleConfig>> {
        let place = crate::config::Place::default();
        let located = |names: &[String]| -> Vec<Located<String>> {
            let one = |name: &String| Located { value: name.clone(), place: place.clone() };
            names.iter().map(one).collect()
        };
        let selector = Selector { metric: self.series.measurement.clone(), matchers: Vec::new() };
        let when = Condition::Above(f64::INFINITY);
        let level = Level { severity: self.severity, when, clear: None };
        let value = RuleConfig {
            actions: located(&self.actions),
            on_clear: self.on_clear.as_deref().map(located),
            ..RuleConfig::of(Plan::Threshold(Threshold { selector, levels: vec![level] }))
        };
        Arc::new(Named { name: self.rule.as_str().into(), value })
    }
}
