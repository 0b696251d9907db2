//! Which rules are about which series: found once a series, and again when rules have changed.

use std::sync::Arc;

use super::{Held, Link, NO_ALERT, Question, Seen, Thresholds, UNASKED, UNSEEN, UP};
use crate::config::Named;
use crate::rules::engine::alerts::Alerts;
use crate::rules::engine::index;
use crate::rules::engine::saved::SeriesWords;
use crate::rules::series::ALERTS;
use crate::rules::{RuleConfig, Transition};
use crate::sample::{Series, SeriesId, TARGET_UP, Timestamp, grow_tight, push_tight};

impl Thresholds {
    pub(in crate::rules::engine) fn set_rules(&mut self, rules: &[Arc<Named<RuleConfig>>]) {
        self.questions = rules.iter().map(|rule| Question::new(rule)).collect();
        self.by_metric.clear();
        for (place, question) in self.questions.iter().enumerate() {
            let metric = question.selector.as_ref().map(|selector| selector.metric.clone());
            if let Some(metric) = metric {
                self.by_metric.entry(metric).or_default().push(index(place));
            }
        }
    }

    /// Finds the rules that are about a series, once, and returns its place. Its data counts from
    /// `since` on.
    pub(super) fn discover(
        &mut self,
        series: SeriesId,
        since: Timestamp,
        alerts: &mut Alerts,
    ) -> u32 {
        grow_tight(&mut self.series, series.index() + 1, UNSEEN);
        self.link(series, Seen::NEW, since, &Held::default(), alerts)
    }

    /// Finds the rules that are about a series, and gives them the alerts there are.
    fn link(
        &mut self,
        series: SeriesId,
        mut seen: Seen,
        since: Timestamp,
        held: &Held,
        alerts: &mut Alerts,
    ) -> u32 {
        let words = self.catalogue.series(series);
        let first = self.links.len();
        // First, so that alerts of this very sample know what the target is at.
        if words.is_named(TARGET_UP)
            && let Some((kind, name)) = words.shared_tag("kind").zip(words.shared_tag("target"))
        {
            self.links.push(Link { rule: alerts.targets.place(kind, name), alert: UP });
        }
        let own = self.links.len();
        let rules = self.by_metric.get(&words.name()).map_or(&[][..], Vec::as_slice);
        for &rule in rules {
            let Question { selector, name, .. } = &self.questions[rule as usize];
            // Of its own alerts a rule that is about alerts would fire for ever.
            let own = &*words.row.measurement == ALERTS && words.tag("alertname") == Some(name);
            if !own && selector.as_ref().is_some_and(|one| one.matches(&words)) {
                self.links.push(Link { rule, alert: NO_ALERT });
            }
        }
        if self.links.len() == first {
            self.series[series.index()] = UNASKED;
            return UNASKED;
        }
        let place = index(self.seen.len());
        (seen.first, seen.len) = (index(first), index(self.links.len() - first));
        push_tight(&mut self.seen, seen);
        self.series[series.index()] = place;
        for link in own..self.links.len() {
            let rule = self.links[link].rule;
            if let Some(known) = held.get(&(rule, series)) {
                self.links[link].alert = *known;
                alerts.set_output(*known, index(link));
            } else if self.questions[rule as usize].watches {
                let id = self.open(link, series, since, alerts);
                alerts.settle(id);
            }
        }
        place
    }

    /// Makes the alert of a rule and a series given in words, unless it is there; `None` where the
    /// rule is not about the series.
    pub(in crate::rules::engine) fn adopt(
        &mut self,
        rule: u32,
        words: &SeriesWords,
        now: Timestamp,
        alerts: &mut Alerts,
    ) -> Option<u32> {
        let tags: Vec<_> = words.tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let series = self.catalogue.intern(&words.measurement, &words.field, &tags);
        let place = match self.series.get(series.index()) {
            Some(place) if *place != UNSEEN => *place,
            _ => self.discover(series, now, alerts),
        };
        let mut links = self.seen.get(place as usize)?.links();
        let link = links.find(|at| {
            let Link { rule: one, alert } = self.links[*at];
            one == rule && alert != UP
        })?;
        match self.links[link].alert {
            NO_ALERT => Some(self.open(link, series, now, alerts)),
            alert => Some(alert),
        }
    }

    /// The alerts there are, once rules have moved.
    pub(in crate::rules::engine) fn held(
        &self,
        alerts: &Alerts,
        moved: &[Result<u32, &str>],
    ) -> Held {
        let mut held = Held::default();
        for (id, seen) in self.asked() {
            for link in self.links[seen.links()].iter().filter(|link| link.alert != UP) {
                if let Ok(rule) = moved[link.rule as usize]
                    && alerts.has(link.alert)
                {
                    held.insert((rule, id), link.alert);
                }
            }
        }
        held
    }

    /// The series that rules are about.
    pub(super) fn asked(&self) -> impl Iterator<Item = (SeriesId, &Seen)> {
        let places = self.series.iter().enumerate();
        places.filter_map(|(id, place)| {
            Some((SeriesId::from_index(id), self.seen.get(*place as usize)?))
        })
    }

    /// Finds the rules of all series again, and gives them the alerts there are. The data of a series
    /// that no rule was about counts from now on.
    pub(in crate::rules::engine) fn relink(
        &mut self,
        held: &Held,
        now: Timestamp,
        alerts: &mut Alerts,
    ) {
        self.links.clear();
        let old = std::mem::take(&mut self.seen);
        for id in 0..self.series.len() {
            let place = self.series[id];
            if place != UNSEEN {
                let seen = old.get(place as usize).copied();
                let since = seen.map_or(now, |seen| seen.last);
                let seen = seen.unwrap_or(Seen::NEW);
                self.link(SeriesId::from_index(id), seen, since, held, alerts);
            }
        }
    }

    /// Forgets series and their targets, and ends their alerts.
    pub(in crate::rules::engine) fn forget(
        &mut self,
        is_gone: impl Fn(&Series) -> bool,
        now: Timestamp,
        alerts: &mut Alerts,
        out: &mut Vec<Transition>,
    ) {
        for id in 0..self.series.len() {
            let place = self.series[id];
            if place == UNSEEN || !is_gone(&self.catalogue.series(SeriesId::from_index(id))) {
                continue;
            }
            let links = self.seen.get(place as usize).map_or(0..0, |seen| seen.links());
            for at in links {
                match self.links[at] {
                    Link { alert: NO_ALERT, .. } => {}
                    Link { alert: UP, rule } => alerts.target_found(rule, None, now, out),
                    Link { alert, .. } => alerts.end(alert, now, "the target was removed", out),
                }
                self.let_go(alerts);
            }
            self.series[id] = UNSEEN;
        }
    }
}
