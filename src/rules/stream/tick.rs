//! What cannot be followed sample by sample: evaluated every few seconds by the evaluator, over
//! samples kept for that.

mod head;

use std::time::Duration;

use head::Head;
pub(super) use head::Kept;
use rustc_hash::FxHashMap;

use super::alarm::Alarm;
use super::node::{Cell, Context, Dirty, Updates, next_second};
use super::ring::Point;
use super::wheel::{Timer, Wheel};
use crate::promql::selector::Selector;
use crate::promql::{Expr, Labels};
use crate::sample::{SeriesId, Timestamp};

/// How often it is evaluated at most.
const PERIOD_MIN: Duration = Duration::from_secs(1);

/// What looks back far is evaluated so many times while it looks back as far: a day every 86 s.
const PERIODS_IN_REACH: u32 = 1_000;

/// For every so many samples kept a second more: an evaluation looks at each of them at least once
/// and must not hold up the samples of others.
const SAMPLES_A_SECOND: usize = 100_000;

/// An expression, evaluated as a whole.
#[derive(Debug)]
pub(super) struct Tick {
    expr: Expr,
    head: Head,
    slots: FxHashMap<Labels, u32>,
    /// By slot: the evaluation it was last part of.
    seen: Vec<u32>,
    round: u32,
    alarm: Alarm,
    pub(super) dirty: Dirty,
}

impl Tick {
    pub(super) fn new(expr: Expr) -> Self {
        let mut dirty = Dirty::default();
        dirty.grow();
        dirty.mark(0);
        let head = Head::new(&expr);
        let (slots, seen) = (FxHashMap::default(), Vec::new());
        Self { expr, head, slots, seen, round: 0, alarm: Alarm::OFF, dirty }
    }

    /// What it must be fed.
    pub(super) fn selectors(&self) -> Vec<Selector> {
        self.head.selectors()
    }

    pub(super) fn add(&mut self, series: SeriesId, labels: &Labels) -> u32 {
        self.head.add(series, labels)
    }

    pub(super) fn feed(&mut self, slot: u32, point: Point, now: Timestamp) -> bool {
        self.head.insert(slot, point, now)
    }

    pub(super) fn end(&mut self, slot: u32) {
        self.head.end(slot);
    }

    pub(super) fn places(&self, tell: &mut impl FnMut(SeriesId, u32)) {
        self.head.places(tell);
    }

    pub(super) fn release(&mut self) -> Vec<Kept> {
        self.head.release()
    }

    pub(super) fn adopt(&mut self, kept: Kept) -> u32 {
        self.head.adopt(kept)
    }

    pub(super) fn len(&self) -> usize {
        self.head.len()
    }

    pub(super) fn dead(&self) -> usize {
        self.head.dead()
    }

    /// The period has passed.
    pub(super) fn wake(&mut self, timer: Timer, wheel: &mut Wheel) -> bool {
        let rings = self.alarm.rings(timer, wheel);
        if rings {
            self.dirty.mark(0);
        }
        rings
    }

    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        while self.dirty.pop().is_some() {
            self.head.trim(context.at);
            self.round = self.round.wrapping_add(1);
            for (labels, value) in self.head.evaluate(&self.expr, context.at) {
                let next = self.seen.len() as u32;
                let slot = *self.slots.entry(labels).or_insert_with_key(|labels| {
                    updates.born.push(labels.clone());
                    self.seen.push(0);
                    next
                });
                self.seen[slot as usize] = self.round;
                updates.cells.push((slot, Cell::present(value)));
            }
            // Whether what is not there was left out or is missing cannot be told from outside.
            let any = self.head.has_data(context.at);
            let gone = if any { Cell::filtered(f64::NAN) } else { Cell::MISSING };
            for (slot, seen) in self.seen.iter().enumerate() {
                if *seen != self.round {
                    updates.cells.push((slot as u32, gone));
                }
            }
            let due = next_second(context.at) + self.period().saturating_sub(PERIOD_MIN);
            self.alarm.set(due, 0, &mut context.timers);
        }
    }

    /// Whole seconds between two evaluations.
    fn period(&self) -> Duration {
        let by_reach = (self.head.reach() / PERIODS_IN_REACH).as_secs();
        let by_samples = (self.head.samples() / SAMPLES_A_SECOND) as u64;
        PERIOD_MIN + Duration::from_secs(by_reach.max(by_samples))
    }

    pub(super) fn shift(&mut self, nanos: i64) {
        self.head.shift(nanos);
        self.alarm.shift(nanos);
    }

    pub(super) fn bytes(&self) -> usize {
        self.head.bytes()
            + self.slots.capacity() * (size_of::<(Labels, u32)>() + 1)
            + self.seen.capacity() * size_of::<u32>()
    }
}
