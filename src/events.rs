//! What happens, as it happens: the live stream that `/api/events` serves.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// An event and its place in the order of all.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// From 1, without gaps, since the daemon's start.
    pub number: u64,
    /// What happened.
    pub event: Event,
}

/// Where events are published. A reader more than [`EVENTS_MAX`] behind loses the oldest and is
/// told how many; one that was away may ask for what it missed, as far as it is kept.
#[derive(Debug, Clone)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Tells this daemon's numbers from those of the one before.
    run: u32,
    sender: broadcast::Sender<Numbered>,
    recent: Mutex<VecDeque<Numbered>>,
}

/// Enough for the burst of a whole site going down; an event is a pointer. As many are kept for
/// those who come back.
const EVENTS_MAX: usize = 1_024;

impl Default for Events {
    fn default() -> Self {
        Self(Arc::new(Inner {
            run: fastrand::u32(..),
            sender: broadcast::Sender::new(EVENTS_MAX),
            recent: Mutex::default(),
        }))
    }
}

impl Events {
    /// Tells everybody who listens; nobody listening is fine.
    pub fn publish(&self, event: Event) {
        let mut recent = self.recent();
        let number = recent.back().map_or(0, |last| last.number) + 1;
        let numbered = Numbered { number, event };
        if recent.len() == EVENTS_MAX {
            recent.pop_front();
        }
        recent.push_back(numbered.clone());
        // While no reader can come between. The error only says that nobody listens.
        drop(self.0.sender.send(numbered));
    }

    /// Listens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Numbered> {
        self.0.sender.subscribe()
    }

    /// Listens from after the event of this [`Events::id`] on: what has happened since, as far as
    /// it is kept, and what will. Of another daemon's id all that is kept is news.
    #[must_use]
    pub fn subscribe_after(&self, id: &str) -> (Vec<Numbered>, broadcast::Receiver<Numbered>) {
        let own = id.split_once('-').filter(|(run, _)| *run == format!("{:08x}", self.0.run));
        let seen = own.and_then(|(_, number)| number.parse().ok()).unwrap_or(0);
        let recent = self.recent();
        let missed = recent.iter().filter(|known| known.number > seen).cloned().collect();
        (missed, self.0.sender.subscribe())
    }

    /// How a client names an event when it comes back.
    #[must_use]
    pub fn id(&self, number: u64) -> String {
        format!("{:08x}-{number}", self.0.run)
    }

    /// The [`Events::id`] of what happened last; of nothing yet, where that is so.
    #[must_use]
    pub fn last_id(&self) -> String {
        let last = self.recent().back().map_or(0, |last| last.number);
        self.id(last)
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<Numbered>> {
        self.0.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(n: usize) -> Event {
        Event::Target(Arc::new(TargetEvent {
            target: n.to_string().into(),
            kind: "icmp",
            up: false,
            reason: None,
            context: None,
            at: String::new(),
        }))
    }

    #[test]
    fn who_comes_back_gets_what_was_missed_once_and_no_more_than_is_kept() {
        let events = Events::default();
        for n in 1..=3 {
            events.publish(down(n));
        }
        let missed = |id: &str| {
            events.subscribe_after(id).0.iter().map(|event| event.number).collect::<Vec<_>>()
        };
        assert_eq!(missed(&events.id(1)), [2, 3]);
        assert_eq!(missed(&events.id(3)), [0; 0]);
        for other in ["", "x", "-", "00000000-", &format!("{:08x}-2", !events.0.run)] {
            assert_eq!(missed(other), [1, 2, 3], "{other}");
        }
        let (_, mut receiver) = events.subscribe_after(&events.id(3));
        events.publish(down(4));
        assert_eq!(receiver.try_recv().unwrap().number, 4);
        for n in 5..5 + EVENTS_MAX {
            events.publish(down(n));
        }
        assert_eq!(missed(&events.id(3)).len(), EVENTS_MAX);
    }
}
