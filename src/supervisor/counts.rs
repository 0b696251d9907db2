//! What is counted for all targets of a kind together.

use std::sync::OnceLock;

use crate::metrics::{Counter, Metrics};
use crate::pollers::Reason;

/// The counters of one kind.
#[derive(Debug)]
pub(super) struct Counts {
    kind: &'static str,
    pub(super) polls: Counter,
    pub(super) batches: Counter,
    pub(super) rejected: Counter,
    pub(super) missed: Counter,
    /// Made when first needed: no reason is on the page that never was one.
    failures: [OnceLock<Counter>; Reason::ALL.len()],
}

impl Counts {
    pub(super) fn new(metrics: &Metrics, kind: &'static str) -> Self {
        let counter = |name, help| metrics.counter(name, help, &[("kind", kind)]);
        Self {
            kind,
            polls: counter("watchpost_polls_total", "Polls ended."),
            batches: counter("watchpost_batches_total", "Batches read."),
            rejected: counter(
                "watchpost_readings_rejected_total",
                "Readings left out: not finite, a label too long or a series too many.",
            ),
            missed: counter(
                "watchpost_polls_missed_total",
                "Polls left out because the one before, or the machine, took too long.",
            ),
            failures: Default::default(),
        }
    }

    pub(super) fn failed(&self, reason: Reason, metrics: &Metrics) {
        let labels = [("kind", self.kind), ("reason", reason.as_str())];
        let make = || metrics.counter("watchpost_poll_failures_total", "Failed polls.", &labels);
        self.failures[reason as usize].get_or_init(make).inc();
    }
}
