//! The operators, of which each is a file, behind one face.

use super::absent::Absent;
use super::aggregate::Aggregation;
use super::count_values::CountValues;
use super::histogram::Histogram;
use super::instant::Instant;
use super::join::Join;
use super::node::{Cell, Context, Dirty, Port, Updates};
use super::ranked::Ranked;
use super::relabel::Relabel;
use super::scalar::{ScalarOf, VectorOf};
use super::sets::Sets;
use super::tick::Tick;
use super::top::Top;
use super::wheel::{Timer, Wheel};
use super::window::Window;
use crate::promql::Labels;
use crate::sample::SeriesId;

/// What a leaf keeps of a series.
#[derive(Debug)]
pub(super) enum Kept {
    Instant(super::instant::Track),
    Window(super::window::Track),
    Tick(super::tick::Kept),
}

/// One of them.
#[derive(Debug)]
pub(super) enum Operator {
    Instant(Instant),
    Window(Window),
    Tick(Tick),
    Aggregation(Aggregation),
    Ranked(Ranked),
    Top(Top),
    CountValues(CountValues),
    Join(Join),
    Sets(Sets),
    Histogram(Histogram),
    Absent(Absent),
    ScalarOf(ScalarOf),
    VectorOf(VectorOf),
    Relabel(Relabel),
}

macro_rules! each {
    ($self:ident, $operator:ident => $do:expr) => {
        match $self {
            Operator::Instant($operator) => $do,
            Operator::Window($operator) => $do,
            Operator::Tick($operator) => $do,
            Operator::Aggregation($operator) => $do,
            Operator::Ranked($operator) => $do,
            Operator::Top($operator) => $do,
            Operator::CountValues($operator) => $do,
            Operator::Join($operator) => $do,
            Operator::Sets($operator) => $do,
            Operator::Histogram($operator) => $do,
            Operator::Absent($operator) => $do,
            Operator::ScalarOf($operator) => $do,
            Operator::VectorOf($operator) => $do,
            Operator::Relabel($operator) => $do,
        }
    };
}

impl Operator {
    /// An input has a slot more, of these labels. The labels of own slots that come of it are added
    /// to `born`, in order.
    pub(super) fn attach(&mut self, port: Port, labels: &Labels, born: &mut Vec<Labels>) {
        match self {
            Self::Instant(_) | Self::Window(_) | Self::Tick(_) | Self::VectorOf(_) => {}
            Self::Absent(_) => {}
            Self::Aggregation(operator) => operator.attach(labels, born),
            Self::Ranked(operator) => operator.attach(labels, born),
            Self::Top(operator) => operator.attach(labels, born),
            Self::CountValues(operator) => operator.attach(labels),
            Self::Join(operator) => operator.attach(port, labels, born),
            Self::Sets(operator) => operator.attach(port, labels, born),
            Self::Histogram(operator) => operator.attach(labels, born),
            Self::ScalarOf(_) => {}
            Self::Relabel(operator) => operator.attach(labels, born),
        }
    }

    /// A slot of an input has a new value, or was looked at anew.
    #[inline]
    pub(super) fn changed(&mut self, port: Port, slot: u32, old: Cell, new: Cell) {
        if port == Port::Parameter {
            self.dirty().mark_all();
            return;
        }
        match self {
            Self::Instant(_) | Self::Window(_) | Self::Tick(_) | Self::VectorOf(_) => {}
            Self::Aggregation(operator) => operator.changed(slot, old, new),
            Self::Ranked(operator) => operator.changed(slot, old, new),
            Self::Top(operator) => operator.changed(slot, old, new),
            Self::CountValues(operator) => operator.changed(slot, old, new),
            Self::Join(operator) => operator.changed(port, slot, old, new),
            Self::Sets(operator) => operator.changed(port, slot, old, new),
            Self::Histogram(operator) => operator.changed(slot),
            Self::Absent(operator) => operator.changed(old, new),
            Self::ScalarOf(operator) => operator.changed(slot, old, new),
            Self::Relabel(operator) => operator.changed(slot),
        }
    }

    pub(super) fn dirty(&mut self) -> &mut Dirty {
        each!(self, operator => &mut operator.dirty)
    }

    pub(super) fn is_settled(&self) -> bool {
        each!(self, operator => operator.dirty.is_empty())
    }

    /// Makes the values of all dirty units anew.
    #[inline]
    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        each!(self, operator => operator.settle(context, updates));
    }

    /// A timer of a unit has come up; whether there is something to settle.
    #[inline]
    pub(super) fn wake(&mut self, timer: Timer, wheel: &mut Wheel) -> bool {
        match self {
            Self::Instant(operator) => operator.wake(timer, wheel),
            Self::Window(operator) => operator.wake(timer, wheel),
            Self::Tick(operator) => operator.wake(timer, wheel),
            _ => false,
        }
    }

    /// Moves the times it keeps by a step of the clock.
    pub(super) fn shift(&mut self, nanos: i64) {
        match self {
            Self::Instant(operator) => operator.shift(nanos),
            Self::Window(operator) => operator.shift(nanos),
            Self::Tick(operator) => operator.shift(nanos),
            _ => {}
        }
    }

    /// How many series it keeps something of.
    pub(super) fn series(&self) -> usize {
        match self {
            Self::Instant(operator) => operator.len(),
            Self::Window(operator) => operator.len(),
            Self::Tick(operator) => operator.len(),
            _ => 0,
        }
    }

    /// How many slots it has that no input brings.
    pub(super) fn slots(&self) -> usize {
        match self {
            Self::CountValues(operator) => operator.len(),
            other => other.series(),
        }
    }

    /// The series it keeps something of, and their slots.
    pub(super) fn places(&self, mut tell: impl FnMut(SeriesId, u32)) {
        match self {
            Self::Instant(operator) => operator.places(&mut tell),
            Self::Window(operator) => operator.places(&mut tell),
            Self::Tick(operator) => operator.places(&mut tell),
            _ => {}
        }
    }

    /// Gives up what it keeps of the series that still have something.
    pub(super) fn release(&mut self) -> Vec<(SeriesId, Kept)> {
        match self {
            Self::Instant(operator) => {
                let kept = operator.release().into_iter();
                kept.map(|track| (track.series, Kept::Instant(track))).collect()
            }
            Self::Window(operator) => {
                let kept = operator.release().into_iter();
                kept.map(|track| (track.series, Kept::Window(track))).collect()
            }
            Self::Tick(operator) => {
                let kept = operator.release().into_iter();
                kept.map(|kept| (kept.series, Kept::Tick(kept))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Takes over what another of its kind kept of a series; its slot here.
    pub(super) fn adopt(&mut self, kept: Kept) -> Option<u32> {
        match (self, kept) {
            (Self::Instant(operator), Kept::Instant(track)) => Some(operator.adopt(track)),
            (Self::Window(operator), Kept::Window(track)) => Some(operator.adopt(track)),
            (Self::Tick(operator), Kept::Tick(kept)) => Some(operator.adopt(kept)),
            _ => None,
        }
    }

    /// How many slots of its own, not of its inputs, have come to nothing.
    pub(super) fn dead(&self) -> usize {
        match self {
            Self::Instant(operator) => operator.dead(),
            Self::Window(operator) => operator.dead(),
            Self::Tick(operator) => operator.dead(),
            Self::CountValues(operator) => operator.dead(),
            _ => 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let own = each!(self, operator => operator.bytes());
        own + each!(self, operator => operator.dirty.bytes())
    }
}
