//! One task a target. The framework owns time: cadence, phase, deadline, backoff, restart.
//!
//! A failed poll is data: it writes `target_up 0` with its reason, and ends the target's other
//! series. A panic is a failed poll too, and the poller is made anew. The supervisor never judges
//! and never keeps a sample: what is read goes to the bus, and where the bus is full, polling waits.

mod counts;
mod grid;
mod status;
mod stop;
mod task;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::task::Poll;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use counts::Counts;
use grid::Grid;
pub use status::{Snapshot, Status};
use stop::{End, Stop};
use task::{Kin, Task};

use crate::config::Target;
use crate::events::Events;
use crate::metrics::{Gauge, Metrics};
use crate::pollers::Shared;
use crate::sample::{Batch, Catalogue};

/// What target tasks need from the daemon.
#[derive(Debug)]
pub struct Env {
    /// Interns series.
    pub catalogue: Arc<Catalogue>,
    /// What pollers share.
    pub shared: Arc<Shared>,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// Where to say that a target came up or went down.
    pub events: Events,
    /// Where batches go. Bounded: a full bus makes polling wait, and loses nothing.
    pub bus: mpsc::Sender<Vec<Batch>>,
    /// When the runtime was started.
    pub started: Instant,
}

/// The targets as they stand, for the API. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<RwLock<Vec<Arc<Status>>>>);

impl Board {
    /// Every target's state, in the order of their ids.
    #[must_use]
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let board = self.0.read().unwrap_or_else(PoisonError::into_inner);
        board.iter().map(|status| status.snapshot()).collect()
    }
}

/// What an [`Supervisor::update`] did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// New or changed targets.
    pub started: usize,
    /// Removed or changed targets.
    pub stopped: usize,
    /// Targets that went on undisturbed.
    pub kept: usize,
    /// Those that are no longer watched at all.
    pub removed: Vec<Arc<Target>>,
}

/// Runs the targets.
#[derive(Debug)]
pub struct Supervisor {
    env: Arc<Env>,
    board: Board,
    /// In the order of their ids.
    running: Vec<Running>,
    /// By kind; they leave the page of metrics with the last target of it.
    counts: BTreeMap<&'static str, Weak<Counts>>,
    targets: Gauge,
}

/// What tells a target from all others: its kind and its name.
fn id(target: &Target) -> (&'static str, &str) {
    (target.kind.name(), &target.name)
}

#[derive(Debug)]
struct Running {
    stop: Stop,
    task: JoinHandle<()>,
}

impl Running {
    fn target(&self) -> &Arc<Target> {
        self.stop.status().target()
    }
}

impl Supervisor {
    /// Runs nothing yet.
    #[must_use]
    pub fn new(env: Env) -> Self {
        let targets = env.metrics.gauge("watchpost_targets", "Targets being polled.", &[]);
        Self {
            env: Arc::new(env),
            board: Board::default(),
            running: Vec::new(),
            counts: BTreeMap::new(),
            targets,
        }
    }

    /// The targets as they stand.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Starts and stops until exactly these run. One that did not change keeps its task, its
    /// connection and its counters; one that did is stopped before its successor starts, since
    /// they may want the same port.
    pub async fn update(&mut self, targets: &[Arc<Target>]) -> Changes {
        let mut wanted: BTreeMap<_, _> = targets.iter().map(|t| (id(t), t)).collect();
        let mut changes = Changes::default();
        let has_gone = |running: &mut Running| {
            !wanted.get(&id(running.target())).is_some_and(|target| *target == running.target())
        };
        let stopped: Vec<_> = self.running.extract_if(.., has_gone).collect();
        wanted.retain(|wanted, _| {
            self.running.binary_search_by(|running| id(running.target()).cmp(wanted)).is_err()
        });
        changes.kept = self.running.len();
        let mut stopping = Vec::new();
        for running in stopped {
            if !wanted.contains_key(&id(running.target())) {
                changes.removed.push(running.target().clone());
            }
            changes.stopped += 1;
            running.stop.remove();
            stopping.push(running.task);
        }
        for task in stopping {
            // A panic of it was reported where it happened.
            drop(task.await);
        }
        changes.started = wanted.len();
        let intervals = targets.iter().map(|target| target.interval);
        let grid = Arc::new(Grid::new(self.env.started, intervals));
        self.running.reserve_exact(wanted.len());
        let mut kin: BTreeMap<&'static str, Arc<Kin>> = BTreeMap::new();
        for ((kind, _), target) in wanted {
            let kin = kin.entry(kind).or_insert_with(|| {
                let (env, counts) = (self.env.clone(), self.counts(kind));
                Arc::new(Kin { env, counts, grid: grid.clone() })
            });
            self.start(target.clone(), kin.clone());
        }
        self.running.sort_unstable_by(|a, b| id(a.target()).cmp(&id(b.target())));
        self.rewrite_board();
        changes
    }

    fn start(&mut self, target: Arc<Target>, kin: Arc<Kin>) {
        let cadence = target.kind.any().cadence();
        let status = Arc::new(Status::new(target));
        let task = Task::new(kin, status.clone(), cadence);
        #[expect(
            clippy::disallowed_methods,
            reason = "`Running` has it; a set would take as much again"
        )]
        let task = tokio::spawn(life(task));
        self.running.push(Running { stop: Stop::new(status), task });
    }

    fn counts(&mut self, kind: &'static str) -> Arc<Counts> {
        let known = self.counts.get(kind).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let counts = Arc::new(Counts::new(&self.env.metrics, kind));
            self.counts.insert(kind, Arc::downgrade(&counts));
            counts
        })
    }

    fn rewrite_board(&mut self) {
        let mut board = self.board.0.write().unwrap_or_else(PoisonError::into_inner);
        *board = self.running.iter().map(|running| running.stop.status().clone()).collect();
        self.targets.set(self.running.len() as f64);
    }

    /// Stops all targets and drops this end of the bus, so that what reads it sees the end.
    pub async fn close(self) {
        let ending: Vec<_> = self.running.into_iter().map(|running| running.task).collect();
        for task in ending {
            drop(task.await);
        }
    }
}

/// A target's life, until it is stopped. There are as many of these as there are targets, hence
/// what is large and seldom is boxed.
#[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice")]
fn life(mut task: Task) -> impl Future<Output = ()> {
    async move {
        let end = {
            let status = task.status().clone();
            let mut run = pin!(task.run(Task::poller));
            // By hand: `select!` takes half as much again as what it selects from.
            poll_fn(|cx| match status.word.poll(cx) {
                Poll::Pending => run.as_mut().poll(cx).map(|()| End::Removed),
                told => told,
            })
            .await
        };
        if end == End::Removed {
            Box::pin(task.retire()).await;
        }
    }
}

#[cfg(test)]
mod tests;
