//! When the store works: once an hour, when the head is full, and a minute after it failed.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{SealError, Store};
use crate::sample::Clock;

/// From one seal to the next: what a restart reads from the journal, and what a poll a second or a
/// poll ten seconds makes of it are blocks of a good length.
const SEAL_INTERVAL: Duration = Duration::from_secs(3_600);

/// After a failure; a disk that is full is not full for ever.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// Seals, joins and expires until it is stopped; tells `sealed_to` how far in the journal all is
/// sealed. The work itself is done on a thread for what blocks.
pub async fn run(
    store: Arc<Store>,
    clock: Arc<Clock>,
    sealed_to: impl Fn(u64),
    stop: CancellationToken,
) {
    let mut pause = SEAL_INTERVAL;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
            // A full head that cannot be sealed does not make trying more often any better.
            () = store.full.notified(), if pause == SEAL_INTERVAL => {}
        }
        let (working, clock) = (store.clone(), clock.clone());
        let worked = spawn_blocking(move || working.work(&clock)).await;
        pause = match worked {
            Ok(Ok(())) => SEAL_INTERVAL,
            Ok(Err(_)) => RETRY_INTERVAL,
            Err(error) => {
                tracing::error!(%error, "the store's work ended by itself; trying again");
                RETRY_INTERVAL
            }
        };
        sealed_to(store.sealed_to());
    }
}

impl Store {
    /// All that is due: seals, then tidies up, then removes what is too old.
    ///
    /// # Errors
    /// What the disk says, which is logged when it begins and when it ends.
    pub fn work(&self, clock: &Clock) -> Result<(), SealError> {
        let started = Instant::now();
        let worked = self.seal(clock.now());
        self.counts.seal_seconds.set(started.elapsed().as_secs_f64());
        // Room is made even where sealing fails: that may be what it lacks.
        let tidied = worked.and_then(|()| self.tidy(clock.now()));
        self.expire(clock.now());
        self.note_failure(tidied.as_ref().err());
        self.sealed.notify_waiters();
        tidied
    }
}
