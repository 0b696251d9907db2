//! What waits for one action, in which order: a state machine without tasks, clock or I/O.
//!
//! Order is kept for each alert: of one alert only one notice is under way, and one that waits for
//! its retry holds back the later ones of that alert, but nothing else. Of one alert at most
//! [`NOTICES_PER_ALERT_MAX`] wait: older ones are superseded. At [`NOTICES_WAITING_MAX`] an alert
//! that began and ended unheard goes first, else the one that has waited longest.
//!
//! The end of a problem that nobody was told of is withheld, whatever the reason nobody was told.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Notice;
use crate::backoff::Backoff;
use crate::metrics::Counter;
use crate::rules::State;

/// Notices of one alert that wait: the newest problem and its end. What happened before, while the
/// receiver was away, would only bury it.
pub(super) const NOTICES_PER_ALERT_MAX: usize = 2;

/// Notices that wait for one action: a large site going down at once. A notice weighs about a
/// kilobyte and is shared between the actions it waits for.
pub(super) const NOTICES_WAITING_MAX: usize = 4_096;

/// Alerts of which is remembered whether their beginning was told. Beyond, new ones are not
/// remembered, and their end is told in any case.
const ALERTS_REMEMBERED_MAX: usize = 65_536;

/// Between a failed try and the next: at first this long at least, so as not to hammer, …
pub(super) const RETRY_MIN: Duration = Duration::from_secs(1);

/// … later at most this long, so that the news is not much older than the outage was long.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(60);

/// A notice that waits or is under way.
#[derive(Debug)]
pub(super) struct Pending {
    /// What happened.
    pub(super) notice: Arc<Notice>,
    /// Its rule did not ask for it by name: it is the end of an alert whose beginning it asked for.
    pub(super) implied: bool,
    /// Counts the tries that failed, and spaces the next ones.
    pub(super) backoff: Backoff,
}

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Done.
    Delivered,
    /// Failed, and to be tried again then.
    RetryAt(Instant),
    /// Failed, and not to be tried again.
    GivenUp,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Try this now, and say with [`Queue::ended`] what came of it.
    Try(Pending),
    /// Nothing until something is pushed or ends, or until then.
    Wait(Option<Instant>),
}

/// Counts notices that were not even tried, by the reason.
#[derive(Debug, Clone, Default)]
pub(super) struct Untried {
    /// Newer notices of the same alert came.
    pub(super) superseded: Counter,
    /// The end of a problem nobody was told of.
    pub(super) withheld: Counter,
    /// No room.
    pub(super) dropped: Counter,
}

/// The notices of one action.
#[derive(Debug)]
pub(super) struct Queue {
    /// By fingerprint; those with something waiting or under way.
    alerts: HashMap<String, Alert>,
    /// Alerts that can be tried now, longest waiting first.
    ready: VecDeque<String>,
    /// Alerts that wait for a retry; the number tells apart those of one moment.
    retries: BTreeMap<(Instant, u64), String>,
    next_number: u64,
    waiting: usize,
    running: usize,
    /// Alerts whose beginning was tried or dropped, and whether it was ever told.
    told: HashMap<String, bool>,
    untried: Untried,
}

#[derive(Debug)]
struct Alert {
    waiting: VecDeque<Pending>,
    phase: Phase,
    /// What is under way, and whether it is implied.
    running: Option<(Arc<Notice>, bool)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Ready,
    Running,
    Retry(Instant, u64),
}

impl Queue {
    pub(super) fn new(untried: Untried) -> Self {
        Self {
            alerts: HashMap::new(),
            ready: VecDeque::new(),
            retries: BTreeMap::new(),
            next_number: 0,
            waiting: 0,
            running: 0,
            told: HashMap::new(),
            untried,
        }
    }

    /// Notices that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Notices under way.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// All that is not delivered yet, each with whether it is implied; of one alert in order, under
    /// way first.
    pub(super) fn undone(&self) -> Vec<(Arc<Notice>, bool)> {
        let mut alerts: Vec<_> = self.alerts.iter().collect();
        alerts.sort_unstable_by_key(|(key, _)| *key);
        let of_alert = |(_, alert): (&String, &Alert)| {
            let waiting = alert.waiting.iter().map(|p| (p.notice.clone(), p.implied));
            alert.running.clone().into_iter().chain(waiting).collect::<Vec<_>>()
        };
        alerts.into_iter().flat_map(of_alert).collect()
    }

    /// Adds a notice behind those of its alert.
    pub(super) fn push(&mut self, notice: Arc<Notice>, implied: bool) {
        if self.waiting >= NOTICES_WAITING_MAX {
            self.make_room();
        }
        let key = notice.fingerprint.clone();
        let pending = Pending { notice, implied, backoff: Backoff::new(RETRY_MIN, RETRY_MAX) };
        self.waiting += 1;
        match self.alerts.get_mut(&key) {
            Some(alert) => {
                alert.waiting.push_back(pending);
                self.supersede(&key);
            }
            None => {
                let waiting = VecDeque::from([pending]);
                let alert = Alert { waiting, phase: Phase::Ready, running: None };
                self.ready.push_back(key.clone());
                self.alerts.insert(key, alert);
            }
        }
    }

    /// What to do at `now`. Actions that change the world (not `tells_people`) do what a rule asks
    /// for by name even if the beginning was never told: closing a valve is right in any case.
    pub(super) fn next(&mut self, now: Instant, concurrency: usize, tells_people: bool) -> Next {
        while let Some(due) = self.retries.first_entry().filter(|first| first.key().0 <= now) {
            let key = due.remove();
            self.set_phase(&key, Phase::Ready);
            self.ready.push_back(key);
        }
        if self.running >= concurrency {
            return Next::Wait(None);
        }
        while let Some(key) = self.ready.pop_front() {
            let alert = self.alerts.get_mut(&key).expect("every ready alert has an entry");
            let Some(pending) = alert.waiting.pop_front() else {
                self.alerts.remove(&key);
                continue;
            };
            self.waiting -= 1;
            let unheard = self.told.get(&key) == Some(&false);
            if pending.is_end() && unheard && (pending.implied || tells_people) {
                self.told.remove(&key);
                self.untried.withheld.inc();
                self.ready.push_front(key);
                continue;
            }
            alert.phase = Phase::Running;
            alert.running = Some((pending.notice.clone(), pending.implied));
            self.running += 1;
            if !pending.is_end() {
                self.remember(key);
            }
            return Next::Try(pending);
        }
        Next::Wait(self.retries.first_key_value().map(|((at, _), _)| *at))
    }

    /// Takes back what [`Queue::next`] gave out.
    pub(super) fn ended(&mut self, pending: Pending, ended: Ended) {
        self.running -= 1;
        let key = pending.notice.fingerprint.clone();
        if let Some(alert) = self.alerts.get_mut(&key) {
            alert.running = None;
        }
        match ended {
            Ended::RetryAt(at) => return self.retry(&key, pending, at),
            _ if pending.is_end() => drop(self.told.remove(&key)),
            Ended::Delivered => {
                if let Some(told) = self.told.get_mut(&key) {
                    *told = true;
                }
            }
            Ended::GivenUp => {}
        }
        self.release(key);
    }

    /// Forgets all that waits, and says how much that was.
    pub(super) fn clear(&mut self) -> usize {
        let dropped = self.waiting;
        self.untried.dropped.add(dropped as u64);
        self.alerts.retain(|_, alert| {
            alert.waiting.clear();
            alert.phase == Phase::Running
        });
        self.ready.clear();
        self.retries.clear();
        self.waiting = 0;
        dropped
    }

    fn retry(&mut self, key: &str, pending: Pending, at: Instant) {
        let notice = pending.notice.clone();
        let alert = self.alerts.get_mut(key).expect("an alert under way has an entry");
        alert.waiting.push_front(pending);
        self.waiting += 1;
        self.supersede(key);
        let first = self.alerts.get(key).and_then(|alert| alert.waiting.front());
        if first.is_some_and(|first| Arc::ptr_eq(&first.notice, &notice)) {
            let number = self.next_number;
            self.next_number += 1;
            self.set_phase(key, Phase::Retry(at, number));
            self.retries.insert((at, number), key.to_owned());
        } else {
            self.release(key.to_owned());
        }
    }

    /// Lets an alert that is neither under way nor waiting for a retry take its turn, if it has
    /// anything to try.
    fn release(&mut self, key: String) {
        if self.alerts.get(&key).is_some_and(|alert| alert.waiting.is_empty()) {
            self.alerts.remove(&key);
        } else {
            self.set_phase(&key, Phase::Ready);
            self.ready.push_back(key);
        }
    }

    fn set_phase(&mut self, key: &str, phase: Phase) {
        self.alerts.get_mut(key).expect("an alert in the queue has an entry").phase = phase;
    }

    /// Notes that an alert began: until it is told, its end is withheld.
    fn remember(&mut self, key: String) {
        if self.told.len() < ALERTS_REMEMBERED_MAX {
            self.told.entry(key).or_insert(false);
        }
    }

    /// Drops the oldest of an alert's notices that are too many.
    fn supersede(&mut self, key: &str) {
        let alert = self.alerts.get_mut(key).expect("an alert in the queue has an entry");
        if alert.waiting.len() <= NOTICES_PER_ALERT_MAX {
            return;
        }
        let oldest = alert.waiting.pop_front().expect("more than the most is not nothing");
        self.waiting -= 1;
        self.untried.superseded.inc();
        let retrying = match alert.phase {
            Phase::Retry(at, number) => Some((at, number)),
            Phase::Ready | Phase::Running => None,
        };
        if !oldest.is_end() {
            self.remember(key.to_owned());
        }
        if let Some(key) = retrying.and_then(|retry| self.retries.remove(&retry)) {
            self.release(key);
        }
    }

    /// Drops what is missed least.
    fn make_room(&mut self) {
        let began_and_ended = |key: &&String| {
            let waiting = &self.alerts[*key].waiting;
            waiting.len() == 2 && !waiting[0].is_end() && waiting[1].is_end()
        };
        let mut candidates = self.ready.iter().chain(self.retries.values());
        let victim = candidates.clone().find(began_and_ended).or_else(|| candidates.next());
        let Some(key) = victim.cloned() else { return };
        let alert = self.alerts.remove(&key).expect("an alert in the queue has an entry");
        match alert.phase {
            Phase::Retry(at, number) => drop(self.retries.remove(&(at, number))),
            Phase::Ready | Phase::Running => self.ready.retain(|ready| *ready != key),
        }
        self.waiting -= alert.waiting.len();
        self.untried.dropped.add(alert.waiting.len() as u64);
        if alert.waiting.back().is_some_and(Pending::is_end) {
            self.told.remove(&key);
        } else {
            self.remember(key);
        }
    }
}

impl Pending {
    /// Whether it tells the end of something, not its beginning.
    fn is_end(&self) -> bool {
        self.notice.state == State::Inactive
    }
}

#[cfg(test)]
mod tests;
