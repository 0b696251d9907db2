//! The task of a sink: gathers by size or age, writes, and tries again until it works.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};

use super::{Outcome, Pace, Rejected, Sink, SinkEnv};
use crate::backoff::Backoff;
use crate::journal::{Group, Journal, Reader, Start};
use crate::metrics::{Counter, Gauge, Metrics};

/// The first pause after a failed write: a server that restarts is back within seconds.
const BACKOFF_MILLISECONDS_MIN: u64 = 500;

/// The longest pause of our own choosing: a database that is back is used within half a minute.
const BACKOFF_MILLISECONDS_MAX: u64 = 30_000;

/// The longest pause a server may ask for. Beyond this it is taken for a mistake.
const RETRY_AFTER_SECONDS_MAX: u64 = 600;

/// Gathers, writes and tries again, for one sink.
pub(super) struct Worker {
    sink: Arc<str>,
    pace: Pace,
    journal: Journal,
    /// Since when there is something that is not written.
    behind_since: Option<Instant>,
    backoff: Backoff,
    /// The failure last logged; `None` while writing works.
    failing: Option<String>,
    counted: Counted,
}

struct Counted {
    points: Counter,
    batches: Counter,
    retries: Counter,
    rejected_lines: Counter,
    up: Gauge,
    lag_seconds: Gauge,
}

/// A group that did not fit into one write, and how far into it the writes have come: whole
/// batches, and samples of the batch after them.
struct Begun {
    group: Group,
    batch: usize,
    sample: usize,
}

impl Counted {
    fn new(sink: &str, metrics: &Metrics) -> Self {
        let labels = [("sink", sink)];
        let counter = |name, help| metrics.counter(name, help, &labels);
        Self {
            points: counter("watchpost_sink_written_points_total", "Samples written."),
            batches: counter("watchpost_sink_batches_total", "Batches of samples written."),
            retries: counter(
                "watchpost_sink_retries_total",
                "Writes that failed and were repeated.",
            ),
            rejected_lines: counter(
                "watchpost_sink_rejected_lines_total",
                "Lines the server refused for good; they are in quarantine.",
            ),
            up: metrics.gauge(
                "watchpost_sink_up",
                "Whether the last write worked, 1 or 0.",
                &labels,
            ),
            lag_seconds: metrics.gauge(
                "watchpost_sink_lag_seconds",
                "For how long there have been samples that are not written.",
                &labels,
            ),
        }
    }
}

impl Worker {
    pub(super) fn new(sink: &Arc<str>, pace: Pace, env: &SinkEnv) -> Self {
        Self {
            sink: sink.clone(),
            pace,
            journal: env.journal.clone(),
            behind_since: None,
            backoff: Backoff::new(
                Duration::from_millis(BACKOFF_MILLISECONDS_MIN),
                Duration::from_millis(BACKOFF_MILLISECONDS_MAX),
            ),
            failing: None,
            counted: Counted::new(sink, &env.metrics),
        }
    }

    /// Runs until its reader is ended and has read all. A sink that panics is made anew.
    pub(super) fn run<S: Sink>(
        mut self,
        mut make: impl FnMut() -> S + Send,
    ) -> impl Future<Output = ()> + Send {
        // Before the task has its first turn: from here on nothing is missed.
        let mut reader = self.reader();
        async move {
            loop {
                let mut sink = make();
                let work = AssertUnwindSafe(self.work(&mut sink, &mut reader));
                if work.catch_unwind().await.is_ok() {
                    return;
                }
                let delay = self.backoff.next_delay();
                self.counted.up.set(0.0);
                tracing::error!(sink = %self.sink, "writing panicked, a defect of watchpost");
                tokio::time::sleep(delay).await;
                reader = self.reader();
            }
        }
    }

    fn reader(&self) -> Reader {
        let mut reader = self.journal.reader(&self.sink, Start::Oldest);
        reader.set_catch_up(self.pace.catch_up);
        reader
    }

    async fn work<S: Sink>(&mut self, sink: &mut S, reader: &mut Reader) {
        let mut begun = None;
        while begun.is_some() || self.gathered(reader).await {
            begun = self.fill(sink, reader, begun).await;
            let outcome = self.write(sink, reader).await;
            if begun.is_some() {
                reader.commit_but_last();
            } else {
                reader.commit();
            }
            self.counted.points.add(outcome.points);
            self.counted.batches.inc();
            self.counted.rejected_lines.add(outcome.rejected_lines);
        }
    }

    /// Waits for enough samples, or old enough ones; `false` when there will be no more.
    async fn gathered(&mut self, reader: &Reader) -> bool {
        loop {
            let waiting = reader.waiting();
            if waiting.is_behind {
                self.behind_since.get_or_insert_with(Instant::now);
            } else {
                self.behind_since = waiting.since;
            }
            self.show_lag();
            if waiting.samples == 0 {
                if waiting.is_ended {
                    return false;
                }
                reader.changed().await;
                continue;
            }
            let due = waiting.since.map(|since| since + self.pace.age);
            match due {
                Some(due)
                    if !waiting.is_behind
                        && !waiting.is_ended
                        && waiting.samples < self.pace.points as u64
                        && due > Instant::now() =>
                {
                    tokio::select! {
                        () = reader.changed() => {}
                        () = sleep_until(due) => {}
                    }
                }
                _ => return true,
            }
        }
    }

    /// Fills the sink; returns the group of which something did not fit.
    async fn fill<S: Sink>(
        &mut self,
        sink: &mut S,
        reader: &mut Reader,
        mut begun: Option<Begun>,
    ) -> Option<Begun> {
        loop {
            let next = match begun.take() {
                Some(begun) => Some(begun),
                None => {
                    let group = reader.take().await;
                    group.map(|group| Begun { group, batch: 0, sample: 0 })
                }
            };
            let mut here = next?;
            while let Some(batch) = here.group.batches.get(here.batch) {
                here.sample = sink.fill(batch, here.sample);
                if here.sample < batch.samples.len() {
                    return Some(here);
                }
                here.batch += 1;
                here.sample = 0;
            }
        }
    }

    /// Shows for how long there has been something to write.
    fn show_lag(&self) {
        let lag = self.behind_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        self.counted.lag_seconds.set(lag);
    }

    /// Writes until it works.
    async fn write<S: Sink>(&mut self, sink: &mut S, reader: &Reader) -> Outcome {
        loop {
            let (message, retry_after) = match sink.write().await {
                Ok(outcome) => {
                    self.worked(reader);
                    return outcome;
                }
                Err(Rejected::Temporary { message, retry_after }) => (message, retry_after),
                Err(Rejected::Permanent(message)) => (message, None),
            };
            let asked =
                retry_after.unwrap_or_default().min(Duration::from_secs(RETRY_AFTER_SECONDS_MAX));
            let delay = self.backoff.next_delay().max(asked);
            self.failed(message);
            self.pause(delay, reader).await;
        }
    }

    fn worked(&mut self, reader: &Reader) {
        self.counted.up.set(1.0);
        self.backoff.reset();
        if self.failing.take().is_some() {
            let waiting = reader.waiting().samples;
            tracing::info!(sink = %self.sink, waiting, "writing works again");
        }
    }

    fn failed(&mut self, message: String) {
        self.counted.up.set(0.0);
        self.counted.retries.inc();
        if self.failing.as_deref() != Some(&message) {
            tracing::warn!(sink = %self.sink, error = message, "cannot write, keeping the samples");
            self.failing = Some(message);
        }
    }

    /// Waits before another try; a reader that is ended in the meantime is worth one at once.
    async fn pause(&mut self, delay: Duration, reader: &Reader) {
        let until = Instant::now() + delay;
        let was_ended = reader.waiting().is_ended;
        loop {
            self.show_lag();
            tokio::select! {
                () = sleep_until(until) => return,
                () = reader.changed() => {
                    if reader.waiting().is_ended && !was_ended {
                        return;
                    }
                }
            }
        }
    }
}
