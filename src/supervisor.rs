//! One task a target. The framework owns time: cadence, phase, deadline, backoff, restart.
//!
//! A failed poll is data: it writes `target_up 0` with its reason, and ends the target's other
//! series. A panic is a failed poll too, and the poller is made anew. The supervisor never judges
//! and never keeps a sample: what is read goes to the bus, and where the bus is full, polling waits.

mod status;
mod task;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub use status::{Snapshot, Status};

use crate::config::Target;
use crate::events::Events;
use crate::metrics::{Gauge, Metrics};
use crate::pollers::{Kind, Shared, Visitor};
use crate::sample::{Batch, Catalogue};

/// What target tasks need from the daemon.
#[derive(Debug, Clone)]
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
}

/// The targets as they stand, for the API. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<RwLock<BTreeMap<String, Arc<Status>>>>);

impl Board {
    /// Every target's state, by its id.
    #[must_use]
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let board = self.0.read().unwrap_or_else(PoisonError::into_inner);
        board.values().map(|status| status.snapshot()).collect()
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
    env: Env,
    board: Board,
    running: BTreeMap<String, Running>,
    tasks: JoinSet<()>,
    /// The daemon ends: what is not known at the end is not thereby gone.
    closing: CancellationToken,
    targets: Gauge,
}

#[derive(Debug)]
struct Running {
    target: Arc<Target>,
    stop: CancellationToken,
    task: AbortHandle,
}

impl Supervisor {
    /// Runs nothing yet.
    #[must_use]
    pub fn new(env: Env) -> Self {
        let targets = env.metrics.gauge("watchpost_targets", "Targets being polled.", &[]);
        Self {
            env,
            board: Board::default(),
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            closing: CancellationToken::new(),
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
        let mut wanted: BTreeMap<_, _> = targets.iter().map(|t| (t.id(), t)).collect();
        let mut changes = Changes::default();
        let mut stopping = HashSet::new();
        self.running.retain(|id, running| {
            let keep = wanted.get(id).is_some_and(|target| **target == running.target);
            if keep {
                wanted.remove(id);
                changes.kept += 1;
            } else {
                if !wanted.contains_key(id) {
                    changes.removed.push(running.target.clone());
                }
                running.stop.cancel();
                changes.stopped += 1;
                // One that has ended by itself, which only a bug can do, is not waited for.
                if !running.task.is_finished() {
                    stopping.insert(running.task.id());
                }
            }
            keep
        });
        while !stopping.is_empty() {
            match self.tasks.join_next_with_id().await {
                Some(Ok((task, ()))) => _ = stopping.remove(&task),
                Some(Err(panic)) => _ = stopping.remove(&panic.id()),
                None => break,
            }
        }
        changes.started = wanted.len();
        for (id, target) in wanted {
            self.start(id, target.clone());
        }
        self.rewrite_board();
        changes
    }

    fn start(&mut self, id: String, target: Arc<Target>) {
        let status = Arc::new(Status::new(target.clone()));
        let mut board = self.board.0.write().unwrap_or_else(PoisonError::into_inner);
        board.insert(id.clone(), status.clone());
        drop(board);
        let stop = self.closing.child_token();
        let spawn = Spawn { supervisor: self, target: &target, status, stop: &stop };
        let task = target.kind.visit(spawn);
        self.running.insert(id, Running { target, stop, task });
    }

    fn rewrite_board(&mut self) {
        let mut board = self.board.0.write().unwrap_or_else(PoisonError::into_inner);
        board.retain(|id, _| self.running.contains_key(id));
        self.targets.set(self.running.len() as f64);
    }

    /// Stops all targets and drops this end of the bus, so that what reads it sees the end.
    pub async fn close(mut self) {
        self.closing.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts the task of a target of any kind.
struct Spawn<'a> {
    supervisor: &'a mut Supervisor,
    target: &'a Arc<Target>,
    status: Arc<Status>,
    stop: &'a CancellationToken,
}

impl Visitor for Spawn<'_> {
    type Output = AbortHandle;
    fn visit<K: Kind>(self, kind: &K) -> AbortHandle {
        let env = self.supervisor.env.clone();
        let target = self.target.clone();
        let cadence = kind.cadence(target.interval, target.timeout);
        let (kind, shared) = (kind.clone(), env.shared.clone());
        let made_of = target.clone();
        let make = move || kind.poller(&made_of, &shared);
        let mut task = task::Task::new(env, target, self.status, cadence);
        let (stop, closing) = (self.stop.clone(), self.supervisor.closing.clone());
        self.supervisor.tasks.spawn(async move {
            // Not `run_until_cancelled`: it would hold the task's large future twice.
            tokio::select! {
                () = stop.cancelled() => {}
                () = task.run(&make) => {}
            }
            if !closing.is_cancelled() {
                task.retire().await;
            }
        })
    }
}

#[cfg(test)]
mod tests;
