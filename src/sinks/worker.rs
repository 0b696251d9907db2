//! The task of a sink: gathers by size or age, writes, and tries again until it works.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};

use super::queue::{Cursor, Epoch, Queue};
use super::{Outcome, Pace, Rejected, Sink};
use crate::backoff::Backoff;
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
    queue: Arc<Queue>,
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
        }
    }
}

impl Worker {
    pub(super) fn new(sink: &Arc<str>, pace: Pace, queue: Arc<Queue>, metrics: &Metrics) -> Self {
        Self {
            sink: sink.clone(),
            pace,
            queue,
            backoff: Backoff::new(
                Duration::from_millis(BACKOFF_MILLISECONDS_MIN),
                Duration::from_millis(BACKOFF_MILLISECONDS_MAX),
            ),
            failing: None,
            counted: Counted::new(sink, metrics),
        }
    }

    /// Runs until the queue is closed and empty. A sink that panics is made anew.
    pub(super) async fn run<S: Sink>(mut self, mut make: impl FnMut() -> S + Send) {
        loop {
            let mut sink = make();
            if AssertUnwindSafe(self.work(&mut sink)).catch_unwind().await.is_ok() {
                return;
            }
            let delay = self.backoff.next_delay();
            self.counted.up.set(0.0);
            tracing::error!(sink = %self.sink, "writing panicked, a defect of watchpost");
            tokio::time::sleep(delay).await;
        }
    }

    async fn work<S: Sink>(&mut self, sink: &mut S) {
        while self.gathered().await {
            let (epoch, start) = self.queue.begin();
            let (whole, done) = self.fill(sink, epoch, start);
            let outcome = self.write(sink).await;
            self.queue.commit(epoch, whole, done);
            self.counted.points.add(outcome.points);
            self.counted.batches.inc();
            self.counted.rejected_lines.add(outcome.rejected_lines);
        }
    }

    /// Waits for enough samples, or old enough ones; `false` when there will be no more.
    async fn gathered(&self) -> bool {
        loop {
            let waiting = self.queue.waiting();
            let due = waiting.oldest.map(|oldest| oldest + self.pace.age);
            match due {
                None if waiting.is_closed => return false,
                None => self.queue.changed().await,
                Some(due) => {
                    if waiting.is_closed
                        || waiting.points >= self.pace.points
                        || due <= Instant::now()
                    {
                        return true;
                    }
                    tokio::select! {
                        () = self.queue.changed() => {}
                        () = sleep_until(due) => {}
                    }
                }
            }
        }
    }

    /// Fills the sink from the front of the queue; returns what will be done once it is written.
    fn fill<S: Sink>(&self, sink: &mut S, epoch: Epoch, mut at: Cursor) -> (usize, Cursor) {
        let mut whole = 0;
        while let Some(batches) = self.queue.take(epoch) {
            while let Some(batch) = batches.get(at.batch) {
                at.sample = sink.fill(batch, at.sample);
                if at.sample < batch.samples.len() {
                    return (whole, at);
                }
                at = Cursor { batch: at.batch + 1, sample: 0 };
            }
            whole += 1;
            at = Cursor::default();
        }
        (whole, at)
    }

    /// Writes until it works.
    async fn write<S: Sink>(&mut self, sink: &mut S) -> Outcome {
        loop {
            let (message, retry_after) = match sink.write().await {
                Ok(outcome) => {
                    self.worked();
                    return outcome;
                }
                Err(Rejected::Temporary { message, retry_after }) => (message, retry_after),
                Err(Rejected::Permanent(message)) => (message, None),
            };
            let asked =
                retry_after.unwrap_or_default().min(Duration::from_secs(RETRY_AFTER_SECONDS_MAX));
            let delay = self.backoff.next_delay().max(asked);
            self.failed(message);
            self.pause(delay).await;
        }
    }

    fn worked(&mut self) {
        self.counted.up.set(1.0);
        self.backoff.reset();
        if self.failing.take().is_some() {
            let waiting = self.queue.points();
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

    /// Waits before another try; a queue that is closed in the meantime is worth one at once.
    async fn pause(&self, delay: Duration) {
        let until = Instant::now() + delay;
        let was_closed = self.queue.waiting().is_closed;
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                () = self.queue.changed() => {
                    if self.queue.waiting().is_closed && !was_closed {
                        return;
                    }
                }
            }
        }
    }
}
