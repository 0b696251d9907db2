//! Runs actions: each has its queue, its bound on how many run at once, and its retries.
//!
//! A retry waits in the [queue](super::queue), not in a slot, so a receiver that is away holds up
//! nothing but its own notices. What waits when the daemon ends is tried until the grace is over; the
//! rest is in the [outbox](super::outbox), where there is one, and tried again at the next start.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::board::{ActionBoard, ActionStatus};
use super::line::{HealthState, LastTry, LineState};
use super::outbox::{ACT_AGE_MAX, Kept, Outbox};
use super::queue::{Ended, Next, Pending};
use super::{ActionConfig, AnyAction, Notice, Rejected};
use crate::config::{Named, show_duration};
use crate::metrics::Metrics;
use crate::pollers::Shared;
use crate::rules::Notify;

/// The longest a receiver may ask us to wait: one that asks for a year is not obeyed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// What keeping the rest may take at the end.
const KEEP_TIME_MAX: Duration = Duration::from_millis(300);

/// All actions, each with its queue.
#[derive(Debug)]
pub struct Actions {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    lines: HashMap<Arc<str>, Line>,
    board: ActionBoard,
    tasks: JoinSet<()>,
    closing: CancellationToken,
    /// What is not delivered has changed, …
    changed: Arc<tokio::sync::Notify>,
    /// … and is to be kept there.
    outbox: Option<Outbox>,
    keeper: JoinSet<()>,
}

impl Actions {
    /// Makes them all; nothing is connected yet.
    #[must_use]
    pub fn start(
        actions: &[Named<ActionConfig>],
        shared: Arc<Shared>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut started = Self {
            shared,
            metrics,
            lines: HashMap::new(),
            board: ActionBoard::default(),
            tasks: JoinSet::new(),
            closing: CancellationToken::new(),
            changed: Arc::default(),
            outbox: None,
            keeper: JoinSet::new(),
        };
        started.update(actions);
        started
    }

    /// Keeps in a folder what is not delivered from now on, and goes on with what was not before.
    pub fn keep_in(&mut self, folder: &Path) {
        let outbox = Outbox::new(folder);
        let (mut again, mut left) = (0, 0);
        for Kept { action, implied, notice } in outbox.read() {
            let line = self.lines.get(&action);
            match line
                .filter(|line| line.config.kind.any().tells_people() || self.is_fresh(&notice))
            {
                Some(line) => {
                    line.state.push(notice, implied);
                    again += 1;
                }
                None => left += 1,
            }
        }
        if again + left > 0 {
            info!(
                notices = again,
                left_out = left,
                "goes on with notices from before; left out: too old to act on, or of no action"
            );
        }
        self.keeper.spawn(outbox.clone().keep(self.board.clone(), self.changed.clone()));
        self.outbox = Some(outbox);
    }

    fn is_fresh(&self, notice: &Notice) -> bool {
        let at = notice.at.parse::<jiff::Timestamp>().map(|at| at.as_nanosecond());
        let age = at.map(|at| i128::from(self.shared.clock.now().as_nanos()) - at);
        age.is_ok_and(|age| age < ACT_AGE_MAX.as_nanos().cast_signed())
    }

    /// Makes it so that these are there. Unchanged ones go on untouched; changed ones take over
    /// what waits; what waits for one that is gone is dropped and counted.
    pub fn update(&mut self, actions: &[Named<ActionConfig>]) {
        while self.tasks.try_join_next().is_some() {}
        self.lines.retain(|name, line| {
            let stays = actions.iter().any(|action| action.name == *name);
            if !stays {
                line.remove();
            }
            stays
        });
        for Named { name, value: config } in actions {
            let state = match self.lines.get(name) {
                Some(line) if line.config == *config => continue,
                Some(line) => {
                    line.retired.cancel();
                    line.state.clone()
                }
                None => {
                    let changed = self.changed.clone();
                    Arc::new(LineState::new(name.clone(), &self.metrics, changed))
                }
            };
            let retired = CancellationToken::new();
            let line = Line { config: config.clone(), retired, state };
            self.run(&line);
            self.lines.insert(name.clone(), line);
        }
        let shown = self.lines.values().map(|line| (line.config.kind.name(), line.state.clone()));
        self.board.show(shown.collect());
    }

    fn run(&mut self, line: &Line) {
        let (config, kind) = (&line.config, line.config.kind.any());
        let runner = Runner {
            action: kind.action(config.timeout, &self.shared),
            limit: config.timeout + kind.grace(),
            retries: config.retries,
            concurrency: config.concurrency,
            tells_people: kind.tells_people(),
            line: line.state.clone(),
            shared: self.shared.clone(),
        };
        self.tasks.spawn(runner.run(line.retired.clone(), self.closing.clone()));
    }

    /// Queues a notice for an action that its rule names for what happened: in `actions` for an
    /// alert that fires, in `on_clear` for one that clears. Never waits.
    pub fn fire(&self, action: &str, notice: &Arc<Notice>) {
        self.send(action, notice, Notify::All, false);
    }

    /// Queues the end of an alert whose rule names the action in `actions` and has no `on_clear`:
    /// only actions that want recoveries get it. Never waits.
    pub fn recover(&self, action: &str, notice: &Arc<Notice>) {
        self.send(action, notice, Notify::All, true);
    }

    /// As [`Actions::recover`] where it is `implied`, else as [`Actions::fire`], if the action is
    /// one of those that are meant: all, those that tell people, or those that do not.
    pub fn send(&self, action: &str, notice: &Arc<Notice>, to: Notify, implied: bool) {
        // Rules and actions are checked and swapped together, so a name is there.
        let Some(line) = self.lines.get(action) else { return };
        let meant = match to {
            Notify::Nobody => false,
            Notify::All => true,
            Notify::World => !line.config.kind.any().tells_people(),
            Notify::People => line.config.kind.any().tells_people(),
        };
        if meant && (!implied || line.config.recoveries) {
            line.state.push(notice.clone(), implied);
        }
    }

    /// Where it can be seen how all actions are doing, whoever runs them.
    #[must_use]
    pub fn board(&self) -> ActionBoard {
        self.board.clone()
    }

    /// How all actions are doing, by name.
    #[must_use]
    pub fn status(&self) -> Vec<ActionStatus> {
        self.board.status()
    }

    /// Lets what runs and what waits end, for at most `grace`, and stops.
    pub async fn close(mut self, grace: Duration) {
        self.closing.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(grace, all).await.is_err() {
            self.tasks.shutdown().await;
        }
        self.keeper.shutdown().await;
        let is_kept = self.keep_rest().await;
        for line in self.lines.values() {
            let mut queue = line.state.queue();
            let notices = queue.running() + queue.clear();
            let action = &line.state.name;
            if notices > 0 && is_kept {
                info!(%action, notices, "stopped before all was done; goes on at the next start");
            } else if notices > 0 {
                warn!(%action, notices, "stopped before all was done");
            }
        }
    }

    /// Keeps what is left for the next start; whether that could be done.
    async fn keep_rest(&self) -> bool {
        let Some(outbox) = self.outbox.clone() else { return false };
        let undone = self.board.undone();
        let written = tokio::task::spawn_blocking(move || outbox.write(&undone));
        matches!(timeout(KEEP_TIME_MAX, written).await, Ok(Ok(Ok(()))))
    }
}

/// One action: its configuration, and what outlives a change of it.
#[derive(Debug)]
struct Line {
    config: ActionConfig,
    /// Tells the task of this configuration to begin nothing more.
    retired: CancellationToken,
    state: Arc<LineState>,
}

impl Line {
    fn remove(&self) {
        self.state.removed.cancel();
        self.retired.cancel();
        let dropped = self.state.queue().clear();
        self.state.keep();
        if dropped > 0 {
            warn!(action = %self.state.name, notices = dropped, "removed with notices waiting");
        }
    }
}

/// The task of an action under one configuration.
struct Runner {
    action: Arc<dyn AnyAction>,
    /// The longest a try may take.
    limit: Duration,
    retries: u32,
    concurrency: usize,
    tells_people: bool,
    line: Arc<LineState>,
    shared: Arc<Shared>,
}

/// A try that ended.
struct Tried {
    pending: Pending,
    result: Result<String, Rejected>,
    took: Duration,
}

impl Runner {
    /// Tries what waits until it is `retired`, or until nothing is left once it is `closing`.
    async fn run(self, retired: CancellationToken, closing: CancellationToken) {
        let mut tries = JoinSet::new();
        while !retired.is_cancelled() {
            let wake_at = loop {
                match self.line.next(self.concurrency, self.tells_people) {
                    Next::Try(pending) => {
                        if pending.backoff.failures() > 0 {
                            self.line.meters.retries.inc();
                        }
                        tries.spawn(attempt(self.action.clone(), pending, self.limit));
                    }
                    Next::Wait(until) => break until,
                }
            };
            if closing.is_cancelled() && self.line.is_idle() {
                break;
            }
            let retry = async {
                match wake_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // First, so that a task that is retired takes no wake-up from its successor.
                biased;
                () = retired.cancelled() => {}
                Some(tried) = tries.join_next() => self.ended(tried.expect("a try catches panics")),
                () = self.line.wake.notified() => {}
                () = pin!(retry) => {}
                () = closing.cancelled(), if !closing.is_cancelled() => {}
            }
        }
        while let Some(tried) = tries.join_next().await {
            self.ended(tried.expect("a try catches panics"));
        }
    }

    fn ended(&self, tried: Tried) {
        let Tried { mut pending, result, took } = tried;
        let meters = &self.line.meters;
        meters.seconds.set(took.as_secs_f64());
        self.note(&pending.notice, &result);
        let ended = match &result {
            Ok(_) => Ended::Delivered,
            Err(Rejected::Temporary { retry_after, .. })
                if pending.backoff.failures() < self.retries
                    && !self.line.removed.is_cancelled() =>
            {
                let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
                Ended::RetryAt(Instant::now() + pending.backoff.next_delay().max(asked))
            }
            Err(_) => Ended::GivenUp,
        };
        match ended {
            Ended::Delivered => meters.ok.inc(),
            Ended::RetryAt(_) => meters.failed.inc(),
            Ended::GivenUp => meters.gave_up.inc(),
        }
        self.log(&pending, &result, ended);
        let mut queue = self.line.queue();
        queue.ended(pending, ended);
        meters.depth.set(queue.waiting() as f64);
        meters.running.set(queue.running() as f64);
        drop(queue);
        self.line.keep();
        // This task looks into the queue next anyway; one with a newer configuration may wait.
        self.line.wake.notify_one();
    }

    fn note(&self, notice: &Notice, result: &Result<String, Rejected>) {
        let last = LastTry {
            at: self.shared.clock.now().to_string(),
            rule: notice.rule.clone(),
            fingerprint: notice.fingerprint.clone(),
            ok: result.is_ok(),
            outcome: result.as_ref().map_or_else(ToString::to_string, Clone::clone),
        };
        let mut health = self.line.health();
        if !last.ok {
            health.last_error = Some(last.clone());
        }
        health.last = Some(last);
        drop(health);
    }

    /// Says how the action is doing when that changes.
    fn log(&self, pending: &Pending, result: &Result<String, Rejected>, ended: Ended) {
        let mut health = self.line.health();
        let now = match ended {
            Ended::Delivered => HealthState::Working,
            Ended::RetryAt(_) => HealthState::Failing.max(health.state),
            Ended::GivenUp => HealthState::GivingUp,
        };
        let before = std::mem::replace(&mut health.state, now);
        drop(health);
        let (action, rule) = (&self.line.name, &pending.notice.rule);
        match result {
            Ok(outcome) if before == now => debug!(%action, %rule, %outcome, "done"),
            Ok(outcome) => info!(%action, %rule, %outcome, "works again"),
            Err(error) if before == now => debug!(%action, %rule, %error, "failed again"),
            Err(error) if now == HealthState::Failing => {
                warn!(%action, %rule, %error, "failed; will be tried again");
            }
            Err(error) => {
                let tries = u64::from(pending.backoff.failures()) + 1;
                error!(%action, %rule, %error, tries, "given up");
            }
        }
    }
}

/// One try; whatever becomes of the action, it ends in time and with a result.
async fn attempt(action: Arc<dyn AnyAction>, pending: Pending, limit: Duration) -> Tried {
    let started = Instant::now();
    let fired = AssertUnwindSafe(action.fire(&pending.notice)).catch_unwind();
    let result = match timeout(limit, fired).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Rejected::Permanent("a defect: the action panicked".into())),
        Err(_) => Err(Rejected::temporary(format!("not done within {}", show_duration(limit)))),
    };
    Tried { pending, result, took: started.elapsed() }
}

#[cfg(test)]
mod tests;
