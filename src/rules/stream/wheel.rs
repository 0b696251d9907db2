//! The one queue of timers: which operator of which rule looks again when.
//!
//! A wheel of buckets of about a second, put in order when their time comes, since almost every
//! timer lies within the next minutes and most samples set one. Entries are never taken back: who
//! sets an earlier one ignores the later when it comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::tight;
use crate::sample::Timestamp;

/// An entry of the wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::rules) struct Timer {
    /// When.
    pub(super) at: Timestamp,
    /// The rule's stream.
    pub(super) stream: u32,
    /// The operator in it.
    pub(super) node: u32,
    /// What of the operator; [`WHOLE`] for all of it.
    pub(super) unit: u32,
}

/// The unit of a timer that is about all of a node.
pub(super) const WHOLE: u32 = u32::MAX;

/// Nanoseconds of a bucket, as a power of two: 1.07 s.
const BUCKET_BITS: u32 = 30;

/// How many buckets lie ahead: nine minutes, more than PromQL's lookback and most windows.
/// What is later waits in a heap.
const BUCKETS: usize = 512;

/// All timers, earliest first.
#[derive(Debug)]
pub(in crate::rules) struct Wheel {
    /// The bucket that is open: everything up to it is in `open` or `near`.
    base: i64,
    /// The entries the bucket held when it was opened, the earliest last.
    open: Vec<u32>,
    /// What was set since that lies in the bucket or before.
    near: BinaryHeap<Reverse<Timer>>,
    /// The first of each bucket's entries, and how many entries are in buckets.
    buckets: Box<[u32]>,
    ahead: usize,
    /// Entries of all buckets, each naming the next of its own, and the first of those not in use.
    /// One store for all takes the room of the timers that are set at a time, not of every
    /// bucket's fullest.
    entries: Vec<Entry>,
    free: u32,
    later: BinaryHeap<Reverse<Timer>>,
}

/// A [`Timer`], which leaves room for the number of the next.
#[derive(Debug)]
struct Entry {
    at: Timestamp,
    stream: u32,
    node: u32,
    unit: u32,
    next: u32,
}

impl Entry {
    fn new(timer: Timer, next: u32) -> Self {
        let Timer { at, stream, node, unit } = timer;
        Self { at, stream, node, unit, next }
    }

    fn timer(&self) -> Timer {
        let Self { at, stream, node, unit, .. } = *self;
        Timer { at, stream, node, unit }
    }
}

/// No entry.
const NONE: u32 = u32::MAX;

impl Default for Wheel {
    fn default() -> Self {
        Self {
            base: i64::MIN >> BUCKET_BITS,
            open: Vec::new(),
            near: BinaryHeap::new(),
            buckets: vec![NONE; BUCKETS].into(),
            ahead: 0,
            entries: Vec::new(),
            free: NONE,
            later: BinaryHeap::new(),
        }
    }
}

impl Wheel {
    /// Sets a timer.
    #[inline]
    pub(super) fn insert(&mut self, timer: Timer) {
        self.place(timer);
        if self.is_closed() {
            self.turn();
        }
    }

    /// When the first is due.
    #[inline]
    pub(super) fn first(&self) -> Option<Timestamp> {
        let near = self.near.peek().map(|near| near.0.at);
        let open = self.first_open();
        if open.is_some() && near.is_some() { open.min(near) } else { open.or(near) }
    }

    #[inline]
    fn first_open(&self) -> Option<Timestamp> {
        self.open.last().map(|place| self.entries[*place as usize].at)
    }

    #[inline]
    fn is_closed(&self) -> bool {
        self.open.is_empty() && self.near.is_empty()
    }

    /// Takes the first where it is due at or before `limit`.
    #[inline]
    pub(super) fn pop(&mut self, limit: Timestamp) -> Option<Timer> {
        let first = self.first()?;
        if first > limit {
            return None;
        }
        let timer = if self.first_open() == Some(first) {
            let place = self.open.pop()?;
            let entry = &mut self.entries[place as usize];
            entry.next = std::mem::replace(&mut self.free, place);
            entry.timer()
        } else {
            self.near.pop()?.0
        };
        if self.is_closed() {
            self.turn();
        }
        Some(timer)
    }

    /// Moves all timers by a step of the clock.
    pub(super) fn shift(&mut self, nanos: i64) {
        self.rebuild(|timer| Some(Timer { at: timer.at.shifted(nanos), ..timer }));
    }

    /// Lets go of the timers of a stream.
    pub(super) fn forget(&mut self, stream: u32) {
        self.rebuild(|timer| (timer.stream != stream).then_some(timer));
    }

    fn rebuild(&mut self, keep: impl Fn(Timer) -> Option<Timer>) {
        let mut old = std::mem::take(self);
        while let Some(timer) = old.pop(Timestamp::from_nanos(i64::MAX)) {
            if let Some(timer) = keep(timer) {
                self.insert(timer);
            }
        }
    }

    #[inline]
    fn place(&mut self, timer: Timer) {
        let bucket = timer.at.as_nanos() >> BUCKET_BITS;
        if bucket <= self.base {
            self.near.push(Reverse(timer));
        } else if bucket < self.base.saturating_add(BUCKETS as i64) {
            self.put(bucket as usize % BUCKETS, timer);
        } else {
            self.later.push(Reverse(timer));
        }
    }

    #[inline]
    fn put(&mut self, bucket: usize, timer: Timer) {
        let entry = Entry::new(timer, self.buckets[bucket]);
        self.ahead += 1;
        if let Some(free) = self.entries.get_mut(self.free as usize) {
            self.buckets[bucket] = std::mem::replace(&mut self.free, free.next);
            *free = entry;
        } else {
            self.buckets[bucket] = self.entries.len() as u32;
            tight::push(&mut self.entries, entry);
        }
    }

    /// Opens the next bucket that holds something.
    #[cold]
    fn turn(&mut self) {
        while self.is_closed() {
            if self.ahead > 0 {
                self.base += 1;
            } else if let Some(Reverse(first)) = self.later.peek() {
                self.base = first.at.as_nanos() >> BUCKET_BITS;
            } else {
                return;
            }
            self.open();
            let horizon = self.base.saturating_add(BUCKETS as i64);
            while let Some(Reverse(first)) = self.later.peek().copied()
                && first.at.as_nanos() >> BUCKET_BITS < horizon
            {
                self.later.pop();
                self.place(first);
            }
        }
    }

    fn open(&mut self) {
        let bucket = &mut self.buckets[self.base as usize % BUCKETS];
        let (mut place, entries) = (std::mem::replace(bucket, NONE), &self.entries);
        while let Some(entry) = entries.get(place as usize) {
            self.open.push(place);
            place = entry.next;
        }
        self.ahead -= self.open.len();
        self.open.sort_unstable_by_key(|place| Reverse(entries[*place as usize].at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn timer(nanos: i64) -> Timer {
        Timer { at: Timestamp::from_nanos(nanos), stream: 0, node: 0, unit: 0 }
    }

    proptest! {
        #[test]
        fn timers_come_in_order_however_far_away(
            times in prop::collection::vec(
                prop_oneof![0..5_000_000_000i64, 0..2_000_000_000_000i64, any::<i64>()], 0..200),
            more in prop::collection::vec(0..3_000_000_000_000i64, 0..50),
        ) {
            let mut wheel = Wheel::default();
            times.iter().for_each(|at| wheel.insert(timer(*at)));
            let mut expected = times;
            expected.sort_unstable();
            let half = expected.len() / 2;
            for at in expected.drain(..half) {
                prop_assert_eq!(wheel.first(), Some(Timestamp::from_nanos(at)));
                prop_assert_eq!(wheel.pop(Timestamp::from_nanos(at.saturating_sub(1))).filter(|_| at > i64::MIN), None);
                prop_assert_eq!(wheel.pop(Timestamp::from_nanos(at)), Some(timer(at)));
            }
            more.iter().for_each(|at| wheel.insert(timer(*at)));
            expected.extend(more);
            expected.sort_unstable();
            for at in expected {
                prop_assert_eq!(wheel.pop(Timestamp::from_nanos(i64::MAX)), Some(timer(at)));
            }
            prop_assert_eq!(wheel.first(), None);
        }
    }

    #[test]
    fn a_step_moves_all_and_a_stream_can_be_forgotten() {
        let mut wheel = Wheel::default();
        for secs in [1, 100, 10_000] {
            wheel.insert(Timer { stream: secs as u32, ..timer(secs * 1_000_000_000) });
        }
        wheel.shift(5_000_000_000);
        assert_eq!(wheel.first(), Some(Timestamp::from_secs(6)));
        wheel.forget(1);
        assert_eq!(wheel.first(), Some(Timestamp::from_secs(105)));
    }
}
