//! What is known of a target: its last poll and its counters.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::stop::Word;
use crate::config::Target;
use crate::pollers::{PollError, Reason};
use crate::sample::Timestamp;

/// A target's state, written by its task and read by the API.
#[derive(Debug)]
pub struct Status {
    target: Arc<Target>,
    state: Mutex<State>,
    pub(super) word: Word,
}

/// A copy of a target's state.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The target.
    pub target: Arc<Target>,
    /// Its polls.
    pub state: State,
}

/// What is known of a target's polls.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Whether the last poll succeeded; `None` before the first has ended.
    pub up: Option<bool>,
    /// When the last poll ended.
    pub last_poll: Option<Timestamp>,
    /// How long it took.
    pub last_duration: Duration,
    /// Why it failed, if it did. Boxed: most did not.
    pub last_error: Option<Box<PollError>>,
    /// Since when it has been up, or down.
    pub since: Option<Timestamp>,
    /// Polls so far.
    pub polls: u32,
    /// Failed polls so far, by [`Reason`] in the order of its declaration.
    pub failures: [u32; Reason::ALL.len()],
    /// Readings rejected so far; see [`Readings::rejected`](crate::sample::Readings::rejected).
    pub rejected: u64,
}

impl Status {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self { target, state: Mutex::default(), word: Word::default() }
    }

    /// The target it is of.
    pub(super) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// A copy of the state.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { target: self.target.clone(), state: self.with(|state| state.clone()) }
    }

    /// Reads or changes the state.
    pub(super) fn with<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        what(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
