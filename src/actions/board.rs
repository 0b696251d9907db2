//! How actions are doing, for those who look: it changes nothing.

use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;

use super::line::{LastTry, LineState};
use super::outbox::Kept;

/// How an action is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ActionStatus {
    /// Its table's name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: &'static str,
    /// Notices that wait.
    pub waiting: usize,
    /// Notices under way.
    pub running: usize,
    /// Notices delivered since the start.
    pub delivered: u64,
    /// Tries that failed and were to be repeated, since the start.
    pub failed: u64,
    /// Notices given up on, since the start.
    pub gave_up: u64,
    /// The last try that ended.
    pub last: Option<LastTry>,
    /// The last try that did not work.
    pub last_error: Option<LastTry>,
}

/// Where it is shown how all actions are doing.
#[derive(Debug, Clone, Default)]
pub struct ActionBoard(Arc<RwLock<Vec<Shown>>>);

/// An action's kind, and what it has whatever its configuration.
type Shown = (&'static str, Arc<LineState>);

impl ActionBoard {
    /// These are there from now on.
    pub(super) fn show(&self, mut lines: Vec<Shown>) {
        lines.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = lines;
    }

    /// All notices that are not delivered yet.
    pub(super) fn undone(&self) -> Vec<Kept> {
        let lines = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let of_line = |(_, state): &Shown| {
            let action = state.name.clone();
            let undone = state.queue().undone();
            let kept = move |(notice, implied)| Kept { action: action.clone(), implied, notice };
            undone.into_iter().map(kept)
        };
        lines.iter().flat_map(of_line).collect()
    }

    /// How all actions are doing, by name.
    #[must_use]
    pub fn status(&self) -> Vec<ActionStatus> {
        let lines = self.0.read().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|(kind, state)| status(kind, state)).collect()
    }
}

fn status(kind: &'static str, state: &LineState) -> ActionStatus {
    let (waiting, running) = {
        let queue = state.queue();
        (queue.waiting(), queue.running())
    };
    let health = state.health();
    ActionStatus {
        name: state.name.clone(),
        kind,
        waiting,
        running,
        delivered: state.meters.ok.get(),
        failed: state.meters.failed.get(),
        gave_up: state.meters.gave_up.get(),
        last: health.last.clone(),
        last_error: health.last_error.clone(),
    }
}
