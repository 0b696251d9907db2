//! What happens, as it happens: the live stream that `/api/events` serves.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::broadcast;

use crate::actions::Notice;

/// Something a person watching would want to see.
#[derive(Debug, Clone)]
pub enum Event {
    /// An alert fired or cleared.
    Alert(Arc<Notice>),
    /// A target came up or went down.
    Target(Arc<TargetEvent>),
}

/// A target came up or went down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetEvent {
    /// The target's name.
    pub target: Arc<str>,
    /// Its kind.
    pub kind: &'static str,
    /// Whether it answers.
    pub up: bool,
    /// Why it does not, as a label: `timeout`, `unreachable`, …
    pub reason: Option<&'static str>,
    /// Why it does not, for a person.
    pub context: Option<String>,
    /// When, RFC 3339.
    pub at: String,
}

/// Where events are published. A reader more than [`EVENTS_WAITING_MAX`] behind loses the oldest
/// and is told how many.
#[derive(Debug, Clone)]
pub struct Events(broadcast::Sender<Event>);

/// Enough for the burst of a whole site going down; an event is a pointer.
const EVENTS_WAITING_MAX: usize = 1_024;

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(EVENTS_WAITING_MAX))
    }
}

impl Events {
    /// Tells everybody who listens; nobody listening is fine.
    pub fn publish(&self, event: Event) {
        // The error only says that nobody listens.
        drop(self.0.send(event));
    }

    /// Listens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
