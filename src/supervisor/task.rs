//! The life of one target: wait, poll, report, again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, info_span, warn};

use super::counts::Counts;
use super::grid::Grid;
use super::{Env, Status};
use crate::backoff::Backoff;
use crate::config::show_duration;
use crate::events::{Event, TargetEvent};
use crate::pollers::{AnyPoller, Cadence, PollError, Reason};
use crate::sample::{Batch, Readings, TargetTags, Written, until};

/// A target that cannot be reached is tried again after this at the least…
const RETRY_MIN: Duration = Duration::from_millis(500);
/// …and this at the most: half a minute after the cable is back, at the latest, data flows.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Makes a target's poller: at start, and again after a panic.
pub(super) trait Make: Fn(&Task) -> Box<dyn AnyPoller> + Sync {}

impl<M: Fn(&Task) -> Box<dyn AnyPoller> + Sync> Make for M {}

/// What the targets of a kind have in common that were started together.
#[derive(Debug)]
pub(super) struct Kin {
    pub(super) env: Arc<Env>,
    pub(super) counts: Arc<Counts>,
    pub(super) grid: Arc<Grid>,
}

/// One target being polled. There are as many of these as there are targets: it has what one needs
/// that waits.
pub(super) struct Task {
    kin: Arc<Kin>,
    status: Arc<Status>,
    readings: Readings,
    arriving: Option<Box<Arriving>>,
}

/// For targets that speak when they like.
struct Arriving {
    quiet: Option<Duration>,
    /// `target_up` and its like. Apart from the rest, because the readings are lent to the poller
    /// when it is time to say that it is still up.
    about: Readings,
    /// When to say so next.
    beat: Instant,
}

impl Task {
    pub(super) fn new(kin: Arc<Kin>, status: Arc<Status>, cadence: Cadence) -> Self {
        let target = status.target();
        let tags = TargetTags { target: target.name.clone(), tags: target.tags.clone() };
        let (catalogue, clock) = (&kin.env.catalogue, &kin.env.shared.clock);
        let readings = || Readings::new(catalogue.clone(), clock.clone(), tags.clone());
        let arriving = match cadence {
            Cadence::OnBeat => None,
            Cadence::OnArrival { quiet } => {
                let beat = Instant::now();
                Some(Box::new(Arriving { quiet, about: readings(), beat }))
            }
        };
        Self { readings: readings(), arriving, kin, status }
    }

    pub(super) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Makes the target's poller.
    pub(super) fn poller(&self) -> Box<dyn AnyPoller> {
        let target = self.status.target();
        target.kind.any().poller(target, &self.kin.env.shared)
    }

    /// Polls until dropped. No `async fn`, as [`Task::on_beat`] is none: it would hold its arguments
    /// twice, in every one of ten thousand tasks.
    #[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice")]
    pub(super) fn run(&mut self, make: impl Make) -> impl Future<Output = ()> {
        async move {
            if self.arriving.is_none() {
                self.on_beat(make).await;
            } else {
                // Apart, so that the many that are polled on the beat do not pay for its room.
                Box::pin(self.on_arrival(make)).await;
            }
        }
    }

    /// Ends every series of the target: it is no longer watched.
    pub(super) async fn retire(&mut self) {
        self.readings.stale_others();
        let mut batches = self.readings.finish(Written::News);
        if let Some(arriving) = &mut self.arriving {
            arriving.about.stale_others();
            batches.extend(arriving.about.finish(Written::News));
        }
        self.send(batches).await;
    }

    /// Polls on the beat. The phase is random, so that ten thousand targets do not fire at once:
    /// their replies would overflow the socket's buffer and look like loss. A beat that is missed
    /// is left out, not made up for.
    #[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice")]
    fn on_beat(&mut self, make: impl Make) -> impl Future<Output = ()> {
        async move {
            let mut poller = make(self);
            let interval = self.status.target().interval;
            let mut due = Instant::now() + interval.mul_f64(fastrand::f64());
            loop {
                sleep_until(self.kin.grid.at_or_before(due, self.status.target().interval)).await;
                // Boxed: it needs its room only while it is under way.
                if Box::pin(self.poll(&mut *poller)).await == Err(Reason::Bug) {
                    poller = make(self);
                }
                due = self.next_beat(due);
            }
        }
    }

    /// Polls once, and reports it.
    async fn poll(&mut self, poller: &mut dyn AnyPoller) -> Result<(), Reason> {
        let (started, timeout) = (Instant::now(), self.status.target().timeout);
        let poll = AssertUnwindSafe(poller.poll(&mut self.readings)).catch_unwind();
        let result = match timeout_at(started + timeout, poll).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(bug(&*panic)),
            Err(_) => Err(overdue("no answer within", timeout)),
        };
        let batches = self.report_poll(&result, started.elapsed());
        self.send(batches).await;
        result.map_err(|error| error.reason)
    }

    /// The beat after one that was due. Those that have passed meanwhile are counted as missed.
    fn next_beat(&self, due: Instant) -> Instant {
        let (interval, now) = (self.status.target().interval, Instant::now());
        let next = due + interval;
        if next > now {
            return next;
        }
        let missed = (now - next).as_nanos() / interval.as_nanos().max(1) + 1;
        let missed = u32::try_from(missed).unwrap_or(u32::MAX);
        self.kin.counts.missed.add(u64::from(missed));
        next + interval.saturating_mul(missed)
    }

    /// Writes what is known about the target itself beside what was read: a poll is one batch.
    fn report_poll(&mut self, result: &Result<(), PollError>, took: Duration) -> Vec<Batch> {
        self.account(result, took);
        let failures = self.status.with(|state| state.failures);
        describe(&mut self.readings, result.is_ok(), &failures);
        self.readings.push("target", "poll_seconds", took.as_secs_f64());
        let written = if result.is_ok() {
            Written::Everything
        } else {
            self.readings.stale_others();
            Written::News
        };
        self.readings.finish(written)
    }

    /// Waits for what the target says. After a failure the next try waits, longer each time; after
    /// a silence it does not, for the silence was wait enough.
    async fn on_arrival(&mut self, make: impl Make) {
        let mut poller = make(self);
        let quiet = self.arriving.as_ref().and_then(|arriving| arriving.quiet);
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        loop {
            let started = Instant::now();
            let result = self.arrival(&mut *poller, quiet).await;
            self.report_arrival(&result, started.elapsed()).await;
            match result {
                Ok(()) => backoff.reset(),
                Err(_) if quiet.is_some_and(|quiet| started.elapsed() >= quiet) => {}
                Err(error) => {
                    if error.reason == Reason::Bug {
                        poller = make(self);
                    }
                    sleep_until(Instant::now() + backoff.next_delay()).await;
                }
            }
        }
    }

    /// One arrival. Meanwhile, at every interval, a target that is up says so again, so that its
    /// series do not look abandoned; and series that were not renewed in time go stale.
    async fn arrival(
        &mut self,
        poller: &mut dyn AnyPoller,
        quiet: Option<Duration>,
    ) -> Result<(), PollError> {
        let silent = quiet.map(|quiet| Instant::now() + quiet);
        loop {
            let expiry = self.readings.next_expiry();
            {
                let poll = AssertUnwindSafe(poller.poll(&mut self.readings)).catch_unwind();
                tokio::pin!(poll);
                loop {
                    tokio::select! {
                        biased;
                        result = &mut poll => {
                            return result.unwrap_or_else(|panic| Err(bug(&*panic)));
                        }
                        () = until(silent) => {
                            return Err(overdue("nothing heard for", quiet.unwrap_or_default()));
                        }
                        () = until(expiry) => break,
                        () = until(self.arriving.as_ref().map(|arriving| arriving.beat)) => {
                            say_up(&mut self.arriving, &self.status, &self.kin.env).await;
                        }
                    }
                }
            }
            self.readings.expire();
            let batches = self.readings.finish(Written::News);
            self.send(batches).await;
        }
    }

    /// Writes what is known about the target itself apart from what was read: after it, but before
    /// the stale marks of a failure, so that it is known that the target is down when they end what
    /// alerts are judged by.
    async fn report_arrival(&mut self, result: &Result<(), PollError>, took: Duration) {
        let news = self.account(result, took);
        let batches = match result {
            Ok(()) => {
                self.readings.expire();
                let mut batches = self.readings.finish(Written::News);
                if news {
                    batches.extend(self.about(true));
                }
                batches
            }
            Err(_) => {
                let down = self.about(false);
                self.readings.expire();
                self.readings.stale_others();
                let mut batches = self.readings.finish(Written::News);
                // The marks are in the last one.
                let place = batches.len().saturating_sub(1);
                batches.splice(place..place, down);
                batches
            }
        };
        self.send(batches).await;
    }

    /// What a target that speaks when it likes is at.
    fn about(&mut self, up: bool) -> Vec<Batch> {
        let Some(arriving) = &mut self.arriving else { return Vec::new() };
        let failures = self.status.with(|state| state.failures);
        describe(&mut arriving.about, up, &failures);
        arriving.beat = Instant::now() + self.status.target().interval;
        arriving.about.finish(Written::News)
    }

    async fn send(&self, batches: Vec<Batch>) {
        if batches.is_empty() {
            return;
        }
        self.kin.counts.batches.add(batches.len() as u64);
        // Waiting for room is seldom, and large. It cannot fail: the pipeline ends only after
        // every target has.
        if let Err(TrySendError::Full(batches)) = self.kin.env.bus.try_send(batches) {
            drop(Box::pin(self.kin.env.bus.send(batches)).await);
        }
    }

    /// Counts a poll, and tells the world if it changes what the target is; returns whether it
    /// does.
    fn account(&mut self, result: &Result<(), PollError>, took: Duration) -> bool {
        self.kin.counts.polls.inc();
        let now = self.readings.now();
        let rejected = self.readings.rejected();
        let (before, rejected_before) = self.status.with(|state| {
            let before = state.up.replace(result.is_ok());
            if before != state.up {
                state.since = Some(now);
            }
            state.polls += 1;
            state.last_poll = Some(now);
            state.last_duration = took;
            let rejected_before = std::mem::replace(&mut state.rejected, rejected);
            state.last_error = result.as_ref().err().cloned().map(Box::new);
            if let Err(error) = result {
                state.failures[error.reason as usize] += 1;
            }
            (before, rejected_before)
        });
        self.kin.counts.rejected.add(rejected - rejected_before);
        if rejected_before == 0 && rejected > 0 {
            // Once: whether it goes on can be seen by the counter.
            let span = info_span!("target", id = self.status.target().id());
            span.in_scope(|| warn!(rejected, "leaves out readings it cannot take"));
        }
        if let Err(error) = result {
            self.kin.counts.failed(error.reason, &self.kin.env.metrics);
        }
        let news = before != Some(result.is_ok());
        if news {
            self.announce(result, before.is_none());
        }
        news
    }

    fn announce(&self, result: &Result<(), PollError>, first: bool) {
        let span = info_span!("target", id = self.status.target().id());
        match result {
            Ok(()) if first => {}
            Ok(()) => span.in_scope(|| info!("up again")),
            Err(error) => {
                span.in_scope(|| warn!(reason = %error.reason, "down: {}", error.context));
            }
        }
        let event = TargetEvent {
            target: self.status.target().name.clone(),
            kind: self.status.target().kind.name(),
            up: result.is_ok(),
            reason: result.as_ref().err().map(|error| error.reason.as_str()),
            context: result.as_ref().err().map(|error| error.context.clone()),
            at: self.readings.now().to_string(),
        };
        self.kin.env.events.publish(Event::Target(Arc::new(event)));
    }
}

/// Says again that a target is up, if it is.
async fn say_up(arriving: &mut Option<Box<Arriving>>, status: &Status, env: &Env) {
    let Some(arriving) = arriving else { return };
    arriving.beat = Instant::now() + status.target().interval;
    if status.with(|state| state.up) == Some(true) {
        arriving.about.push("target", "up", 1.0);
        // Cannot fail: the pipeline ends only after every target has.
        drop(env.bus.send(arriving.about.finish(Written::News)).await);
    }
}

/// Writes the series every target has.
fn describe(out: &mut Readings, up: bool, failures: &[u32; Reason::ALL.len()]) {
    out.push("target", "up", f64::from(u8::from(up)));
    for (reason, count) in Reason::ALL.iter().zip(failures).filter(|(_, count)| **count > 0) {
        let label = [("reason", reason.as_str())];
        out.push_tagged("target", "failures_total", &label, f64::from(*count));
    }
}

fn overdue(what: &str, limit: Duration) -> PollError {
    PollError::new(Reason::Timeout, format!("{what} {}", show_duration(limit)))
}

fn bug(panic: &(dyn std::any::Any + Send)) -> PollError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    PollError::new(Reason::Bug, format!("the poller panicked: {text}"))
}
