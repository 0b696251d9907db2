//! The store's task: reads the journal, and has the store work once an hour, a minute after it
//! failed, and when the head or the file that grows is full.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{SealError, Store};
use crate::journal::Reader;
use crate::sample::Clock;

/// From one seal to the next: what a restart reads from the journal at most, and a poll every ten
/// seconds makes blocks of a good length of it.
const SEAL_INTERVAL: Duration = Duration::from_secs(3_600);

/// After a failure; a disk that is full is not full for ever.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// What work under way gets to end at a stop. What it leaves unfinished is done again.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// What is to be done.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// All that is done once an hour.
    All,
    /// Room in the head.
    Longest,
}

impl Store {
    /// Takes in what the journal has and no segment: for the start, before anything else runs.
    pub fn catch_up(&self, reader: &mut Reader, clock: &Clock) {
        while let Some(group) = reader.take_blocking() {
            self.append(&group.batches, clock.now(), group.end);
        }
    }

    /// Takes in what comes through the journal and does what is due, until it is stopped. The work
    /// itself is done on a thread for what blocks; samples that come faster than they can be sealed
    /// wait in the journal.
    pub async fn run(
        self: Arc<Self>,
        mut reader: Reader,
        clock: Arc<Clock>,
        stop: CancellationToken,
    ) {
        let mut work = JoinSet::new();
        let mut due = Instant::now() + SEAL_INTERVAL;
        loop {
            let has_room = self.has_room();
            if work.is_empty()
                && let Some(what) = self.what_is_due(Instant::now() >= due)
            {
                let (store, clock) = (self.clone(), clock.clone());
                work.spawn_blocking(move || {
                    match what {
                        Due::All => store.work(&clock)?,
                        Due::Longest => store.seal_longest(clock.now())?,
                    }
                    Ok::<_, SealError>(what)
                });
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(worked) = work.join_next() => {
                    due = match worked {
                        Ok(Ok(Due::Longest)) => due,
                        Ok(Ok(Due::All)) => Instant::now() + SEAL_INTERVAL,
                        _ => Instant::now() + RETRY_INTERVAL,
                    };
                    match self.folder {
                        Some(_) => reader.commit_up_to(self.sealed_to()),
                        None => reader.commit(),
                    }
                }
                () = sleep_until(due), if work.is_empty() => {}
                Some(group) = reader.next(), if has_room => {
                    self.append(&group.batches, clock.now(), group.end);
                }
            }
        }
        drop(timeout(STOP_GRACE, work.join_next()).await);
    }

    fn what_is_due(&self, is_time: bool) -> Option<Due> {
        if is_time {
            return Some(Due::All);
        }
        // Where sealing fails, a full head does not make trying more often any better.
        if self.is_failing() || !self.is_full() {
            return None;
        }
        let is_all = self.folder.is_none() || self.is_file_full();
        Some(if is_all { Due::All } else { Due::Longest })
    }

    /// Whether there is room for more. Where the disk does not take it there always is: then the
    /// oldest goes.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.is_failing() || !self.is_busy()
    }

    /// Whether the disk does not take what is to be sealed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.counts.failing.get() > 0.0
    }

    /// All that is due: seals, then joins and sums up, then removes what is too old.
    ///
    /// # Errors
    /// What the disk says, which is logged when it begins and when it ends.
    pub fn work(&self, clock: &Clock) -> Result<(), SealError> {
        let started = Instant::now();
        let sealed = self.seal(clock.now());
        self.counts.seal_seconds.set(started.elapsed().as_secs_f64());
        let tidied = sealed.and_then(|()| self.tidy(clock.now()));
        // Room is made even where sealing fails: that may be what it lacks.
        self.expire(clock.now());
        self.note_failure(tidied.as_ref().err());
        tidied
    }
}
