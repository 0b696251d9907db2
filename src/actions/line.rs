//! What an action has whatever its configuration: what waits for it, how it is doing, its numbers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Notice;
use super::queue::{Next, Queue, Untried};
use crate::metrics::{Counter, Gauge, Metrics};

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastTry {
    /// When it ended, RFC 3339.
    pub at: String,
    /// Of which rule.
    pub rule: Arc<str>,
    /// Of which alert.
    pub fingerprint: String,
    /// Whether it worked.
    pub ok: bool,
    /// What came of it, or why it did not work.
    pub outcome: String,
}

/// What an action has, whichever its configuration: what waits, and how it is doing.
#[derive(Debug)]
pub(super) struct LineState {
    pub(super) name: Arc<str>,
    pub(super) queue: Mutex<Queue>,
    /// Something was pushed, or ended under an older configuration.
    pub(super) wake: Notify,
    /// It is gone from the configuration: nothing is tried again.
    pub(super) removed: CancellationToken,
    pub(super) health: Mutex<Health>,
    pub(super) meters: Meters,
    /// What is not delivered has changed.
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) state: HealthState,
    pub(super) dropping: bool,
    pub(super) last: Option<LastTry>,
    pub(super) last_error: Option<LastTry>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HealthState {
    #[default]
    Working,
    Failing,
    GivingUp,
}

impl LineState {
    pub(super) fn new(name: Arc<str>, metrics: &Metrics, changed: Arc<Notify>) -> Self {
        let meters = Meters::new(&name, metrics);
        Self {
            queue: Mutex::new(Queue::new(meters.untried.clone())),
            name,
            wake: Notify::new(),
            removed: CancellationToken::new(),
            health: Mutex::default(),
            meters,
            changed,
        }
    }

    /// Has what is not delivered kept as it now stands.
    pub(super) fn keep(&self) {
        self.changed.notify_one();
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, notice: Arc<Notice>, implied: bool) {
        let mut queue = self.queue();
        let before = self.meters.untried.dropped.get();
        queue.push(notice, implied);
        self.meters.depth.set(queue.waiting() as f64);
        let (dropped, waiting) = (self.meters.untried.dropped.get() > before, queue.waiting());
        drop(queue);
        let was_dropping = std::mem::replace(&mut self.health().dropping, dropped);
        if dropped && !was_dropping {
            warn!(action = %self.name, waiting, "the queue is full; dropping what is missed least");
        }
        self.wake.notify_one();
        self.keep();
    }

    pub(super) fn next(&self, concurrency: usize, tells_people: bool) -> Next {
        let mut queue = self.queue();
        let next = queue.next(Instant::now(), concurrency, tells_people);
        self.meters.depth.set(queue.waiting() as f64);
        self.meters.running.set(queue.running() as f64);
        next
    }

    pub(super) fn is_idle(&self) -> bool {
        let queue = self.queue();
        queue.waiting() == 0 && queue.running() == 0
    }
}

/// The numbers of one action.
#[derive(Debug)]
pub(super) struct Meters {
    pub(super) ok: Counter,
    pub(super) failed: Counter,
    pub(super) gave_up: Counter,
    pub(super) untried: Untried,
    pub(super) retries: Counter,
    pub(super) depth: Gauge,
    pub(super) running: Gauge,
    pub(super) seconds: Gauge,
}

impl Meters {
    pub(super) fn new(name: &str, metrics: &Metrics) -> Self {
        let result = |result| {
            let labels = [("action", name), ("result", result)];
            let help = "Notices delivered (ok), tries to be repeated (failed), notices given up \
                        on, and notices not tried: superseded, withheld or dropped.";
            metrics.counter("watchpost_action_results_total", help, &labels)
        };
        let labels = [("action", name)];
        Self {
            ok: result("ok"),
            failed: result("failed"),
            gave_up: result("gave_up"),
            untried: Untried {
                superseded: result("superseded"),
                withheld: result("withheld"),
                dropped: result("dropped"),
            },
            retries: metrics.counter(
                "watchpost_action_retries_total",
                "Tries after the first of a notice.",
                &labels,
            ),
            depth: metrics.gauge("watchpost_action_waiting", "Notices that wait.", &labels),
            running: metrics.gauge("watchpost_action_running", "Notices under way.", &labels),
            seconds: metrics.gauge(
                "watchpost_action_last_seconds",
                "How long the last try took.",
                &labels,
            ),
        }
    }
}
