//! An engine on virtual time, driven as the daemon drives it: what rule tests and backtests share.
//!
//! Samples bring the time with them. What is due meanwhile happens at its own time, one thing after
//! the other; of one time samples are judged first, and then timers. Alerts become
//! [series](AlertSeries) where rules ask about them. It reads no clock and does no I/O.

use std::sync::Arc;
use std::time::Duration;

use super::{AlertSeries, Engine, RuleConfig, Saved, Selection, Transition};
use crate::config::Named;
use crate::sample::{Batch, Catalogue, Timestamp};

/// How often the series of alerts that stand are written again: as often as by the daemon.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Course {
    engine: Engine,
    alerts: Option<Alerts>,
    /// Whether it has been told any time: before, rules that go by time alone have none to go by.
    has_begun: bool,
}

/// Alerts as series.
#[derive(Debug)]
struct Alerts {
    series: AlertSeries,
    refresh: Timestamp,
}

impl Course {
    /// Rules that have seen nothing yet.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, rules: Vec<Arc<Named<RuleConfig>>>) -> Self {
        let engine = Engine::new(catalogue, rules);
        Self { engine, alerts: None, has_begun: false }
    }

    /// From a time on, alerts become series, if any rule asks about such.
    pub fn write_alerts(&mut self, catalogue: Arc<Catalogue>, from: Timestamp) {
        let asked = Selection::of_rules(self.engine.rules().map(|rule| &**rule));
        self.alerts = asked.wants_alerts().then(|| Alerts {
            series: AlertSeries::new(catalogue),
            refresh: from + REFRESH_INTERVAL,
        });
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, to be told what the daemon tells it.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Judging begins, with alerts as they were saved.
    pub fn begin(&mut self, saved: Vec<Saved>, now: Timestamp, out: &mut Vec<Transition>) {
        let from = out.len();
        self.has_begun = true;
        self.engine.restore(saved, now, out);
        self.hear(from, out);
    }

    /// Judges a batch, after what was due before.
    pub fn judge(&mut self, batch: &Batch, out: &mut Vec<Transition>) {
        let before = batch.time.shifted(-1);
        if !self.has_begun || self.next_due().is_some_and(|due| due <= before) {
            self.pass(before, out);
        }
        let from = out.len();
        self.engine.apply(batch, out);
        self.hear(from, out);
    }

    /// Lets time pass up to `now`.
    pub fn pass(&mut self, now: Timestamp, out: &mut Vec<Transition>) {
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        while let Some(due) = self.next_due().filter(|due| has_begun && *due < now) {
            self.tick(due, out);
        }
        self.tick(now, out);
    }

    fn next_due(&self) -> Option<Timestamp> {
        let refresh = self.alerts.as_ref().map(|alerts| alerts.refresh);
        self.engine.next_tick().into_iter().chain(refresh).min()
    }

    fn tick(&mut self, now: Timestamp, out: &mut Vec<Transition>) {
        let from = out.len();
        self.engine.tick(now, out);
        self.hear(from, out);
        let Some(alerts) = self.alerts.as_mut().filter(|alerts| alerts.refresh <= now) else {
            return;
        };
        alerts.refresh = now + REFRESH_INTERVAL;
        if let Some(again) = alerts.series.refresh(&self.engine.alerts(), now) {
            self.engine.apply(&again, out);
        }
    }

    /// What changed becomes samples, which are judged. What those change waits for the refresh, as
    /// in the daemon.
    fn hear(&mut self, from: usize, out: &mut Vec<Transition>) {
        let Some(alerts) = self.alerts.as_mut().filter(|_| out.len() > from) else { return };
        for batch in alerts.series.follow(&out[from..]) {
            self.engine.apply(&batch, out);
        }
    }
}
