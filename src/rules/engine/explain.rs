//! Answers why: from what is known of each series, its alert, and what is remembered.

use std::collections::BTreeMap;

use super::Engine;
use super::journal::Noted;
use super::known::Known;
use super::window::Window;
use crate::config::show_duration;
use crate::rules::explain::{
    Compared, EXPLAINED_MAX, Explained, Explanation, Question, Seen, Timer, ago,
};
use crate::rules::plan::{Level, shown};
use crate::rules::{Labels, RuleConfig, State, Transition};
use crate::sample::{Timestamp, is_stale};

impl Engine {
    /// Explains a rule's alerts and why there are none; `None` where there is no such rule. Of a
    /// time that is past only what happened is remembered, not what was seen.
    #[must_use]
    pub fn explain(&self, question: &Question, now: Timestamp) -> Option<Explanation> {
        let place = self.rules().position(|rule| *rule.name == *question.rule)?;
        let config = &self.alerts.rules[place].config.value;
        let mut alerts = match question.at {
            Some(_) => self.remembered(question),
            None => self.present(super::index(place), config, question, now),
        };
        alerts.sort_by_key(|one| one.state == State::Inactive);
        let more = alerts.len().saturating_sub(EXPLAINED_MAX);
        alerts.truncate(EXPLAINED_MAX);
        let outcome = alerts.is_empty().then(|| match question.at {
            Some(_) => "nothing is remembered of that time: nothing had happened yet, or it is \
                        forgotten"
                .to_owned(),
            None => match config.plan.threshold() {
                Some(one) => format!("did not fire because there is no series {}", one.selector),
                None => "did not fire because there is no data for it".to_owned(),
            },
        });
        Some(Explanation {
            rule: question.rule.clone(),
            at: question.at.unwrap_or(now).to_string(),
            asks: config.plan.to_string(),
            for_seconds: config.hold.as_secs_f64(),
            alerts,
            more,
            expressions: Vec::new(),
            journal: self.journal.about(question).map(Noted::happened).collect(),
            outcome,
            notes: Vec::new(),
        })
    }

    fn present(
        &self,
        rule: u32,
        config: &RuleConfig,
        question: &Question,
        now: Timestamp,
    ) -> Vec<Explained> {
        let known = self.front.about(rule).into_iter().chain(self.streams.about(rule));
        let fits = |known: &Known| {
            question.labels.iter().all(|(name, value)| known.labels.get(name) == Some(value))
        };
        known.filter(fits).map(|known| self.known(known, config, now)).collect()
    }

    fn known(&self, known: Known, config: &RuleConfig, now: Timestamp) -> Explained {
        let alert = known.alert.and_then(|id| self.alerts.get(id));
        let value = Some(known.value).filter(|value| !is_stale(*value));
        let state = alert.as_ref().map_or(State::Inactive, |alert| alert.state);
        let conditions = match config.plan.threshold() {
            Some(one) => one.levels.iter().map(|level| compared(level, value)).collect(),
            None => Vec::new(),
        };
        let timers = known.alert.map_or_else(Vec::new, |id| self.alerts.timers_of(id));
        let counted = known.alert.and_then(|id| self.alerts.counted(id));
        let outcome = match &alert {
            Some(alert) if state != State::Inactive => {
                let told = match &alert.held_back_by {
                    Some(parents) => format!("; nobody is told because of {parents}"),
                    None if alert.flapping => "; it flaps".to_owned(),
                    None => String::new(),
                };
                // That no data may come any more is no news while it comes.
                let news = timers.iter().find(|timer| timer.what != Timer::EXPIRY);
                let timer = news.or(timers.first()).map_or_else(String::new, |timer| {
                    format!("; it {} at {}", timer.what, timer.at)
                });
                let stands = match state {
                    State::Pending => {
                        let (held, hold) =
                            (ago_since(alert.since, now), show_duration(config.hold));
                        format!("did not fire yet: pending for {held} of {hold}")
                    }
                    other => other.to_string(),
                };
                format!("{stands} because {}{told}{timer}", alert.reason)
            }
            _ => {
                let why =
                    no_data(&known, now).unwrap_or_else(|| not_firing(config, value, counted));
                format!("did not fire because {why}")
            }
        };
        let active = alert.filter(|alert| alert.state != State::Inactive);
        Explained {
            // Of an output without data nothing was seen that had a time.
            seen: (known.lookback.is_some() || value.is_some()).then(|| Seen {
                series: known.series,
                value,
                at: known.last.to_string(),
                age_seconds: now.since(known.last).as_secs_f64(),
            }),
            labels: known.labels,
            nearest: None,
            conditions,
            state,
            severity: active.as_ref().map(|alert| alert.severity),
            since: active.as_ref().map(|alert| alert.since.to_string()),
            timers,
            held_back_by: active.as_ref().and_then(|alert| alert.held_back_by.clone()),
            flapping: active.as_ref().is_some_and(|alert| alert.flapping),
            outcome,
        }
    }

    /// How alerts stood at a time, by what is remembered.
    fn remembered(&self, question: &Question) -> Vec<Explained> {
        let mut last: BTreeMap<&Labels, &Transition> = BTreeMap::new();
        for Noted { transition, .. } in self.journal.about(question) {
            last.insert(&transition.alert.labels, transition);
        }
        let explained = last.into_iter().map(|(labels, one)| {
            let alert = &one.alert;
            let is_active = alert.state != State::Inactive;
            Explained {
                labels: labels.clone(),
                seen: None,
                nearest: None,
                conditions: Vec::new(),
                state: alert.state,
                severity: is_active.then_some(alert.severity),
                since: is_active.then(|| alert.since.to_string()),
                timers: Vec::new(),
                held_back_by: alert.held_back_by.clone(),
                flapping: alert.flapping,
                outcome: format!("{} since {}: {}", alert.state, one.at, alert.reason),
            }
        });
        explained.collect()
    }
}

fn compared(level: &Level, value: Option<f64>) -> Compared {
    let holds = value.map(|value| level.when.holds(value));
    let clears = value.map(|value| {
        level.clear.map_or_else(|| !level.when.holds(value), |clear| clear.holds(value))
    });
    let (when, clear) = (level.when.to_string(), level.end_shown());
    Compared { severity: level.severity, when, holds, clear, clears }
}

/// That there is no data, where there is none.
fn no_data(known: &Known, now: Timestamp) -> Option<String> {
    let Some(lookback) = known.lookback else {
        return is_stale(known.value).then(|| "there is no data for it".to_owned());
    };
    let ago = ago_since(known.last, now);
    if is_stale(known.value) {
        return Some(format!("there is no data: its series ended {ago} before"));
    }
    (now.since(known.last) > lookback).then(|| {
        format!("there is no data: the last sample, {}, was {ago} before", shown(known.value))
    })
}

fn ago_since(since: Timestamp, now: Timestamp) -> String {
    ago(now.since(since).as_secs_f64())
}

fn not_firing(config: &RuleConfig, value: Option<f64>, counted: Option<u32>) -> String {
    let words = config.plan.words();
    let mildest = words.first().map_or("", |(_, when, _)| when.as_str());
    let last = value.map_or_else(|| "none".to_owned(), shown);
    match config.at_least {
        Some(of) => {
            let held = Window::shown(of, counted.unwrap_or(0), mildest);
            format!("{held}; the last is {last}")
        }
        None => format!("{last} is not {mildest}"),
    }
}
