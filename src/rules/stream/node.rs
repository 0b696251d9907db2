//! Nodes: an operator, what is done to each of its values, and who reads them.
//!
//! A node has a slot for each set of labels it may yield. Changes are collected and settled once:
//! children first, each dirty unit of an operator once, however many of its inputs have moved.

use super::alarm::{Alarm, Timers};
use super::operator::Operator;
use super::stage::Stage;
use super::wheel::{Timer, WHOLE, Wheel};
use crate::promql::Labels;
use crate::sample::Timestamp;

/// What is known of one set of labels at one time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) value: f64,
    pub(super) presence: Presence,
}

/// Whether there is a value, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::rules) enum Presence {
    /// The data behind it is missing.
    Missing,
    /// The data is there, and a comparison or a set operator leaves it out.
    Filtered,
    /// The expression yields it.
    Present,
}

impl Cell {
    pub(super) const MISSING: Self = Self { value: f64::NAN, presence: Presence::Missing };

    #[inline]
    pub(super) const fn present(value: f64) -> Self {
        Self { value, presence: Presence::Present }
    }

    #[inline]
    pub(super) const fn filtered(value: f64) -> Self {
        Self { value, presence: Presence::Filtered }
    }

    #[inline]
    pub(super) fn is_present(self) -> bool {
        self.presence == Presence::Present
    }

    #[inline]
    pub(super) fn is_missing(self) -> bool {
        self.presence == Presence::Missing
    }

    /// Whether two are the same to the last bit.
    #[inline]
    pub(super) fn is_same(self, other: Self) -> bool {
        self.presence == other.presence && self.value.to_bits() == other.value.to_bits()
    }
}

/// Units to settle, each once.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    units: Vec<u32>,
    queued: Vec<bool>,
}

impl Dirty {
    /// There is one unit more.
    pub(super) fn grow(&mut self) {
        self.queued.push(false);
    }

    #[inline]
    pub(super) fn mark(&mut self, unit: u32) {
        if !std::mem::replace(&mut self.queued[unit as usize], true) {
            self.units.push(unit);
        }
    }

    /// A timer comes up, whose unit has this alarm: whether the unit is due, which marks it.
    #[inline]
    pub(super) fn wake(
        &mut self,
        alarm: Option<&mut Alarm>,
        timer: Timer,
        wheel: &mut Wheel,
    ) -> bool {
        // A timer may outlive the unit it was set for: nothing is due there then.
        let rings = alarm.is_some_and(|alarm| alarm.rings(timer, wheel));
        if rings {
            self.mark(timer.unit);
        }
        rings
    }

    pub(super) fn mark_all(&mut self) {
        (0..self.queued.len() as u32).for_each(|unit| self.mark(unit));
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<u32> {
        let unit = self.units.pop()?;
        self.queued[unit as usize] = false;
        Some(unit)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.units.capacity() * size_of::<u32>() + self.queued.capacity()
    }
}

/// What an operator needs to settle.
pub(super) struct Context<'a> {
    /// The time to evaluate at.
    pub(super) at: Timestamp,
    /// The nodes before this one: its inputs are among them.
    pub(super) inputs: &'a [Node],
    pub(super) timers: Timers<'a>,
}

impl Context<'_> {
    #[inline]
    pub(super) fn cell(&self, node: u32, slot: u32) -> Cell {
        self.inputs[node as usize].cells[slot as usize]
    }
}

const SECOND: i64 = 1_000_000_000;

/// What drifts with time alone is looked at again at every whole second.
#[inline]
pub(super) fn next_second(at: Timestamp) -> Timestamp {
    next_multiple(at, SECOND)
}

/// How often a window that drifts is looked at again: a window over five minutes moves by a
/// thirtieth in ten seconds, which no rule about five minutes can wish to hear of ten times. In
/// nanoseconds, whole seconds.
#[inline]
pub(super) fn drift_step(range: i64) -> i64 {
    (range / 30 / SECOND).max(1) * SECOND
}

/// The first multiple of a step after a time.
#[inline]
pub(super) fn next_multiple(at: Timestamp, step: i64) -> Timestamp {
    Timestamp::from_nanos((at.as_nanos().div_euclid(step)).saturating_add(1).saturating_mul(step))
}

/// What settling an operator brought about.
#[derive(Debug, Default)]
pub(super) struct Updates {
    /// New values of slots.
    pub(super) cells: Vec<(u32, Cell)>,
    /// New slots, numbered on from those there are.
    pub(super) born: Vec<Labels>,
}

/// Which node reads this one's values, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) node: u32,
    pub(super) port: Port,
}

/// As what an operator reads an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// The only one, or the left one.
    Left,
    /// The right one.
    Right,
    /// A number all of it depends on.
    Parameter,
}

/// An operator, what is done to each of its values, and who reads them.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) operator: Operator,
    /// Done to each value of the operator, one after the other.
    pub(super) stages: Vec<Stage>,
    /// By slot, after all stages.
    pub(super) cells: Vec<Cell>,
    pub(super) readers: Vec<Edge>,
    /// Whether its values change at every time.
    pub(super) drifts: bool,
    /// Of all its units.
    pub(super) alarm: Alarm,
    /// The roots it is, as bits.
    pub(super) roots: u32,
}

impl Node {
    /// A new value of the operator, through all stages.
    #[inline]
    pub(super) fn staged(&self, mut cell: Cell, at: Timestamp, inputs: &[Self]) -> Cell {
        for stage in &self.stages {
            cell = stage.apply(cell, at, inputs);
        }
        cell
    }

    /// One of its timers has come up; whether there is something to settle.
    #[inline]
    pub(super) fn wake(&mut self, timer: Timer, wheel: &mut Wheel) -> bool {
        if timer.unit != WHOLE {
            return self.operator.wake(timer, wheel);
        }
        let rings = self.alarm.rings(timer, wheel);
        if rings {
            self.operator.dirty().mark_all();
        }
        rings
    }

    pub(super) fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell>() + self.operator.bytes()
    }
}
