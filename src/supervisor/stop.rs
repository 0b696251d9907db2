//! How a target's task is told that it is to end: a word in what is shared with it anyway, since
//! there are as many of these as there are targets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::Status;

/// Why a task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The target is no longer watched.
    Removed,
    /// The daemon ends; what is not known at the end is not thereby gone.
    Stopping,
}

const RUNS: u8 = 0;
const REMOVED: u8 = 1;
const STOPPING: u8 = 2;

/// What is said to a task, and who is to hear it.
#[derive(Debug, Default)]
pub(super) struct Word {
    said: AtomicU8,
    waker: AtomicWaker,
}

impl Word {
    fn say(&self, end: End) {
        let word = if end == End::Removed { REMOVED } else { STOPPING };
        // The first word counts.
        if self.said.compare_exchange(RUNS, word, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.waker.wake();
        }
    }

    /// Ready when the task is to end.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<End> {
        self.waker.register(cx.waker());
        match self.said.load(Ordering::Acquire) {
            RUNS => Poll::Pending,
            REMOVED => Poll::Ready(End::Removed),
            _ => Poll::Ready(End::Stopping),
        }
    }
}

/// Stops a task: with [`End::Removed`] when told so, else with [`End::Stopping`] when dropped.
#[derive(Debug)]
pub(super) struct Stop(Arc<Status>);

impl Stop {
    pub(super) fn new(status: Arc<Status>) -> Self {
        Self(status)
    }

    pub(super) fn status(&self) -> &Arc<Status> {
        &self.0
    }

    pub(super) fn remove(self) {
        self.0.word.say(End::Removed);
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.word.say(End::Stopping);
    }
}
