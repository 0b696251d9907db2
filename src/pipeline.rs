//! From the bus through the engine to everything else: one task, in which all that is judged is
//! judged in order.
//!
//! A batch is judged the moment it arrives, then appended to the journal, which the sinks read;
//! neither sinks nor actions can make it wait. Only a disk that is too slow for the journal can:
//! then polling waits. It reads no clock but the daemon's.

mod sizes;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sizes::Sizes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use crate::actions::Actions;
use crate::config::{Config, Target};
use crate::events::{Event, Events};
use crate::journal::{Journal, NotKept};
use crate::metrics::{Counter, Gauge, Metrics};
use crate::rules::explain::{Explanation, Question};
use crate::rules::{Alert, AlertSeries, Audience, Engine, Notify, Saved, State, Transition};
use crate::sample::{Batch, Clock, Series, Timestamp, until};
use crate::sinks::Sinks;
use crate::state::State as Kept;

/// Polls waiting to be judged. Judging takes microseconds: this many wait only while something is
/// badly wrong, and then polling waits too.
pub const BUS_POLLS_MAX: usize = 1_024;

/// Polls taken from the bus at once, so that other things get their turn under load.
const TAKE_POLLS_MAX: usize = 64;

/// Polls judged together are kept together, up to about so many samples: a group costs the journal
/// and each of its readers some work, however small it is.
const GROUP_SAMPLES: usize = 4_096;

/// Questions to the pipeline waiting for an answer: API clients are few and wait for theirs.
const ASKS_WAITING_MAX: usize = 32;

/// Pushes waiting to be judged; who pushes waits for room, and for the answer.
const PUSHES_WAITING_MAX: usize = 8;

/// How often the system's clock is compared with ours while samples come; also how late a step may
/// be noticed then.
const RESYNC_INTERVAL: Duration = Duration::from_secs(1);

/// How often the series of alerts that stand are written again: well within the lookback, so that
/// one that is lost leaves no gap.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// How often while none come: nothing need wake for what nothing depends on.
const IDLE_RESYNC_INTERVAL: Duration = Duration::from_secs(5);

/// What the journal gets at the end to put itself on disk. What is written and not put there is
/// lost by a power cut only.
const JOURNAL_GRACE: Duration = Duration::from_millis(500);

/// What judges, and where verdicts and samples go.
#[derive(Debug)]
pub struct Pipeline {
    /// Judges.
    pub engine: Engine,
    /// Answer alerts.
    pub actions: Actions,
    /// Keeps samples until all who read it have them.
    pub journal: Journal,
    /// Keep samples elsewhere.
    pub sinks: Sinks,
    /// Alerts as series.
    pub series: AlertSeries,
    /// Keeps alerts over a restart.
    pub state: Kept,
    /// Tells who listens.
    pub events: Events,
    /// The clock.
    pub clock: Arc<Clock>,
}

enum Ask {
    Alerts(oneshot::Sender<Vec<Alert>>),
    Explain(Question, oneshot::Sender<Option<Explanation>>),
    Reload(Arc<Config>, oneshot::Sender<()>),
    Forget(Vec<Arc<Target>>),
}

/// Batches from elsewhere than a poll, whose sender waits until they are judged and handed on.
type Push = (Vec<Batch>, oneshot::Sender<Pushed>);

/// Batches that were judged and handed on.
#[derive(Debug)]
pub struct Pushed {
    journal: Journal,
    end: u64,
}

impl Pushed {
    /// Waits until no crash can take them any more.
    ///
    /// # Errors
    /// The journal cannot be written at the moment.
    pub async fn kept(&self) -> Result<(), NotKept> {
        self.journal.kept(self.end).await
    }
}

/// Asks the pipeline. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    pushes: mpsc::Sender<Push>,
}

impl Handle {
    /// All alerts that are not inactive; `None` when the pipeline has ended. The answer comes
    /// from the task that judges, so that there is one shows that judging goes on.
    pub async fn alerts(&self) -> Option<Vec<Alert>> {
        let (answer, wait) = oneshot::channel();
        self.asks.send(Ask::Alerts(answer)).await.ok()?;
        wait.await.ok()
    }

    /// Why a rule's alerts are as they are; `Some(None)` where there is no such rule, `None` when the
    /// pipeline has ended.
    pub async fn explain(&self, question: Question) -> Option<Option<Explanation>> {
        let (answer, wait) = oneshot::channel();
        self.asks.send(Ask::Explain(question, answer)).await.ok()?;
        wait.await.ok()
    }

    /// Judges batches after the polls that wait, and hands them on as polls are; `None` when the
    /// pipeline has ended before.
    pub async fn push(&self, batches: Vec<Batch>) -> Option<Pushed> {
        let (done, wait) = oneshot::channel();
        self.pushes.send((batches, done)).await.ok()?;
        wait.await.ok()
    }

    /// Done when the pipeline has ended.
    pub async fn ended(&self) {
        self.asks.closed().await;
    }

    /// Takes over rules, actions and sinks of another configuration.
    pub async fn reload(&self, config: Arc<Config>) {
        let (done, wait) = oneshot::channel();
        if self.asks.send(Ask::Reload(config, done)).await.is_ok() {
            // An error means that the daemon ends, and with it the reload.
            drop(wait.await);
        }
    }

    /// Ends the alerts of targets that are no longer watched.
    pub async fn forget(&self, targets: Vec<Arc<Target>>) {
        // An error means that the daemon ends, and with it all alerts.
        drop(self.asks.send(Ask::Forget(targets)).await);
    }
}

/// A handle, and the questions it will ask.
#[must_use]
pub fn handle() -> (Handle, Asks) {
    let (asks, from_asks) = mpsc::channel(ASKS_WAITING_MAX);
    let (pushes, from_pushes) = mpsc::channel(PUSHES_WAITING_MAX);
    (Handle { asks, pushes }, Asks { asks: from_asks, pushes: from_pushes })
}

/// The questions of a [`Handle`].
#[derive(Debug)]
pub struct Asks {
    asks: mpsc::Receiver<Ask>,
    pushes: mpsc::Receiver<Push>,
}

struct Counts {
    samples: Counter,
    evaluations: Counter,
    late: Counter,
    transitions: [Counter; 4],
    bus: Gauge,
    steps: Counter,
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        let to = |state: State| {
            let labels = [("to", state.as_str())];
            metrics.counter("watchpost_transitions_total", "Alerts that changed state.", &labels)
        };
        Self {
            samples: metrics.counter("watchpost_samples_total", "Samples judged.", &[]),
            evaluations: metrics.counter(
                "watchpost_rule_evaluations_total",
                "Times a rule was judged.",
                &[],
            ),
            late: metrics.counter(
                "watchpost_samples_late_total",
                "Samples older than what their rule had judged already: kept, not judged.",
                &[],
            ),
            transitions: [State::Inactive, State::Pending, State::Firing, State::Unknown].map(to),
            bus: metrics.gauge("watchpost_bus_polls", "Polls waiting to be judged.", &[]),
            steps: metrics.counter(
                "watchpost_clock_steps_total",
                "Times the system's clock was stepped.",
                &[],
            ),
        }
    }
}

impl Pipeline {
    /// Takes over the alerts from before, and judges until the bus ends, which it does when every
    /// target has stopped; then gives sinks and actions at most `grace` to empty their queues.
    pub async fn run(
        mut self,
        saved: Vec<Saved>,
        mut bus: mpsc::Receiver<Vec<Batch>>,
        mut asks: Asks,
        metrics: &Metrics,
        grace: Duration,
    ) {
        let counts = Counts::new(metrics);
        let mut sizes = Sizes::new(metrics);
        let mut transitions = Vec::new();
        self.engine.restore(saved, self.clock.now(), &mut transitions);
        self.hear(&mut transitions, &counts);
        let mut waiting = Vec::with_capacity(TAKE_POLLS_MAX);
        let mut synced = Instant::now();
        let mut resync = std::pin::pin!(sleep_until(synced + IDLE_RESYNC_INTERVAL));
        let mut refresh = interval(REFRESH_INTERVAL);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let due = self.engine.next_tick().map(|at| self.instant(at));
            let has_room = self.journal.has_room();
            tokio::select! {
                biased;
                Some(ask) = asks.asks.recv() => {
                    let changes = matches!(ask, Ask::Reload(..) | Ask::Forget(_));
                    self.answer(ask, &mut transitions).await;
                    if changes {
                        sizes.show(&self.engine, metrics);
                    }
                }
                taken = bus.recv_many(&mut waiting, TAKE_POLLS_MAX), if has_room => {
                    if taken == 0 {
                        break;
                    }
                    self.judge(&mut waiting, &mut transitions, &counts);
                    counts.bus.set(bus.len() as f64);
                }
                Some((batches, done)) = asks.pushes.recv(), if has_room => {
                    waiting.push(batches);
                    self.judge(&mut waiting, &mut transitions, &counts);
                    // Who pushed may have gone; it was done all the same.
                    let journal = self.journal.clone();
                    _ = done.send(Pushed { end: journal.end(), journal });
                }
                () = self.journal.room(), if !has_room => {}
                () = until(due) => self.engine.tick(self.clock.now(), &mut transitions),
                () = &mut resync => {}
                _ = refresh.tick() => {
                    let again = self.series.refresh(&self.engine.alerts(), self.clock.now());
                    self.take_in(again.into_iter().collect(), &mut transitions, &counts);
                    sizes.show(&self.engine, metrics);
                }
            }
            if synced.elapsed() >= RESYNC_INTERVAL {
                self.resync(&counts);
                synced = Instant::now();
                resync.as_mut().reset(synced + IDLE_RESYNC_INTERVAL);
            }
            self.hear(&mut transitions, &counts);
        }
        tokio::join!(self.sinks.close(grace), self.actions.close(grace), self.state.close(grace));
        // Last, for it keeps how far the sinks have come.
        self.journal.close(JOURNAL_GRACE).await;
    }

    fn judge(
        &mut self,
        waiting: &mut Vec<Vec<Batch>>,
        transitions: &mut Vec<Transition>,
        counts: &Counts,
    ) {
        let (evaluations, late) = (self.engine.evaluations(), self.engine.late());
        self.engine.observe(self.clock.now());
        let (mut group, mut samples) = (Vec::with_capacity(waiting.len()), 0);
        for batches in waiting.drain(..) {
            samples += batches.iter().map(|batch| batch.samples.len()).sum::<usize>();
            group.extend(batches);
            if samples >= GROUP_SAMPLES {
                self.take_in(std::mem::take(&mut group), transitions, counts);
                samples = 0;
            }
        }
        self.take_in(group, transitions, counts);
        counts.evaluations.add(self.engine.evaluations() - evaluations);
        counts.late.add(self.engine.late() - late);
    }

    /// Judges batches, and hands them on to be kept.
    fn take_in(&mut self, batches: Vec<Batch>, transitions: &mut Vec<Transition>, counts: &Counts) {
        if batches.is_empty() {
            return;
        }
        for batch in &batches {
            self.engine.apply(batch, transitions);
            counts.samples.add(batch.samples.len() as u64);
        }
        self.journal.append(&Arc::new(batches));
    }

    /// What changed is told and kept, and becomes samples. These are judged as well; of what they
    /// change the series wait for the next refresh, so that rules about each other's alerts cannot
    /// keep one another busy.
    fn hear(&mut self, transitions: &mut Vec<Transition>, counts: &Counts) {
        if transitions.is_empty() {
            return;
        }
        let told = self.series.follow(transitions);
        self.deliver(transitions, counts);
        self.take_in(told, transitions, counts);
        self.deliver(transitions, counts);
        self.state.keep(self.engine.unsaved());
    }

    fn instant(&self, at: Timestamp) -> Instant {
        Instant::now() + at.since(self.clock.now())
    }

    fn resync(&mut self, counts: &Counts) {
        if let Some(nanos) = self.clock.resync() {
            warn!(seconds = nanos as f64 / 1e9, "the system's clock was stepped; timers go on");
            counts.steps.inc();
            self.engine.clock_stepped(nanos);
        }
    }

    async fn answer(&mut self, ask: Ask, transitions: &mut Vec<Transition>) {
        match ask {
            // Who asked may have gone; then nobody misses the answer.
            Ask::Alerts(answer) => drop(answer.send(self.engine.alerts())),
            Ask::Explain(question, answer) => {
                let explained = self.engine.explain(&question, self.clock.now());
                drop(answer.send(explained));
            }
            Ask::Reload(config, done) => {
                self.sinks.update(&config.sinks).await;
                self.actions.update(&config.actions);
                self.engine.reload(config.rules.clone(), self.clock.now(), transitions);
                config.targets.iter().for_each(|t| self.engine.polled_every(&t.id(), t.interval));
                _ = done.send(());
            }
            Ask::Forget(targets) => {
                let gone: HashSet<_> =
                    targets.iter().map(|target| (&*target.name, target.kind.name())).collect();
                let is_gone = |series: &Series| {
                    let target = series.tag("target").zip(series.tag("kind"));
                    target.is_some_and(|target| gone.contains(&target))
                };
                self.engine.forget(is_gone, self.clock.now(), transitions);
            }
        }
    }

    /// Tells people and programs what has changed.
    fn deliver(&self, transitions: &mut Vec<Transition>, counts: &Counts) {
        for transition in transitions.drain(..) {
            let Transition { alert, from, notify, .. } = &transition;
            let Alert { rule, state: to, reason, .. } = alert;
            if to != from {
                counts.transitions[*to as usize].inc();
            }
            if *notify == Notify::Nobody {
                tracing::debug!(rule = %rule.name, %from, %to, "{reason}");
                continue;
            }
            let notice = Arc::new(transition.notice());
            info!(rule = %rule.name, %from, %to, summary = notice.summary, "{reason}");
            let (names, implied) = match rule.value.audience(*to) {
                Audience::Named(names) => (names, false),
                Audience::ThoseWhoTellPeople(names) => (names, true),
            };
            for name in names {
                self.actions.send(&name.value, &notice, *notify, implied);
            }
            self.events.publish(Event::Alert(notice));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_the_pipeline_is_seen_and_answers_no_more() {
        let (handle, asks) = handle();
        drop(asks);
        handle.ended().await;
        assert!(handle.alerts().await.is_none());
        assert!(handle.push(Vec::new()).await.is_none());
    }
}
