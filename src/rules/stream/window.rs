//! Functions of a range: the points of each series inside its window, and what is made of them.

mod accumulator;
mod counter;
mod extreme;
mod line;
mod moments;
mod ordered;
mod tail;

use accumulator::Accumulators;

use super::alarm::{Alarm, NEVER};
use super::node::{Cell, Context, Dirty, Updates, drift_step, next_multiple};
use super::ring::{Placed, Point, Ring};
use super::tight;
use super::wheel::{Timer, Wheel};
use crate::promql;
use crate::sample::{SeriesId, Timestamp, is_stale};

/// A function of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Function {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Deriv,
    PredictLinear(Parameter),
    Avg,
    Min,
    Max,
    Sum,
    Count,
    Last,
    First,
    Present,
    Stddev,
    Stdvar,
    Quantile(Parameter),
    Changes,
    Resets,
    /// One that is computed from all points each time.
    Other(promql::Function),
}

/// A number that is a part of a function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Parameter(pub(super) f64);

/// The window at one time.
struct Span {
    /// The time of evaluation.
    at: Timestamp,
    /// Points of this time and before are outside.
    start: Timestamp,
    end: Timestamp,
}

/// A value, and how long it holds if no point comes.
struct Reading {
    value: Option<f64>,
    /// When it may change because a point leaves or an end of the window comes to be far, in the
    /// time of the window's end.
    until: Timestamp,
    /// Whether it changes all the time.
    drifts: bool,
}

impl Reading {
    const NOTHING: Self = Self { value: None, until: NEVER, drifts: false };

    fn until_leaves(value: f64, at: Timestamp, span: &Span) -> Self {
        let range = span.end.as_nanos() - span.start.as_nanos();
        Self { value: Some(value), until: at.shifted(range), drifts: false }
    }

    fn until_first_leaves(value: f64, ring: &Ring, span: &Span) -> Self {
        ring.first().map_or(Self::NOTHING, |first| Self::until_leaves(value, first.time, span))
    }

    fn until_last_leaves(value: f64, ring: &Ring, span: &Span) -> Self {
        ring.last().map_or(Self::NOTHING, |last| Self::until_leaves(value, last.time, span))
    }

    fn change_at(&mut self, at: Timestamp) {
        self.until = self.until.min(at);
    }
}

/// `rate(x[5m])` and its kin.
#[derive(Debug)]
pub(super) struct Window {
    range: i64,
    offset: i64,
    tracks: Vec<Track>,
    accumulators: Accumulators,
    /// The room rings and accumulators take.
    heap_bytes: usize,
    pub(super) dirty: Dirty,
}

/// One series.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) series: SeriesId,
    /// A point came in among the others: all is to be made anew.
    rebuild: bool,
    alarm: Alarm,
    ring: Ring,
}

impl Window {
    pub(super) fn new(function: Function, range: i64, offset: i64) -> Self {
        let accumulators = Accumulators::new(function);
        let (tracks, dirty) = (Vec::new(), Dirty::default());
        Self { range, offset, tracks, accumulators, heap_bytes: 0, dirty }
    }

    pub(super) fn add(&mut self, series: SeriesId) -> u32 {
        self.adopt(Track { series, rebuild: false, alarm: Alarm::OFF, ring: Ring::default() })
    }

    /// Takes over a series from a plan that is made anew.
    pub(super) fn adopt(&mut self, track: Track) -> u32 {
        self.heap_bytes += track.ring.bytes();
        tight::push(&mut self.tracks, Track { rebuild: true, alarm: Alarm::OFF, ..track });
        self.accumulators.grow();
        self.dirty.grow();
        let slot = self.tracks.len() as u32 - 1;
        self.dirty.mark(slot);
        slot
    }

    /// Gives up the series that still have something.
    pub(super) fn release(&mut self) -> Vec<Track> {
        self.heap_bytes = 0;
        self.accumulators.clear_all();
        let tracks = std::mem::take(&mut self.tracks);
        tracks.into_iter().filter(|track| !track.ring.is_empty()).collect()
    }

    pub(super) fn places(&self, tell: &mut impl FnMut(SeriesId, u32)) {
        (0..).zip(&self.tracks).for_each(|(slot, track)| tell(track.series, slot));
    }

    pub(super) fn dead(&self) -> usize {
        self.tracks.iter().filter(|track| track.ring.is_empty()).count()
    }

    pub(super) fn len(&self) -> usize {
        self.tracks.len()
    }

    /// A sample or a stale mark, which takes back a sample of its time. Whether it could be judged:
    /// what is older than the window is not.
    #[inline]
    pub(super) fn feed(&mut self, slot: u32, point: Point, now: Timestamp) -> bool {
        let track = &mut self.tracks[slot as usize];
        if point.time.shifted(self.offset).shifted(self.range) <= now {
            return false;
        }
        let before = track.ring.bytes();
        let placed = if is_stale(point.value) {
            track.ring.remove(point.time)
        } else {
            Some(track.ring.insert(point))
        };
        track.rebuild |= placed == Some(Placed::Inside);
        self.heap_bytes = self.heap_bytes + track.ring.bytes() - before;
        self.dirty.mark(slot);
        true
    }

    /// The series is gone.
    pub(super) fn end(&mut self, slot: u32) {
        let track = &mut self.tracks[slot as usize];
        self.heap_bytes -= track.ring.bytes() + self.accumulators.heap_bytes(slot);
        track.ring = Ring::default();
        self.accumulators.clear(slot);
        self.dirty.mark(slot);
    }

    #[inline]
    pub(super) fn wake(&mut self, timer: Timer, wheel: &mut Wheel) -> bool {
        let track = self.tracks.get_mut(timer.unit as usize);
        self.dirty.wake(track.map(|track| &mut track.alarm), timer, wheel)
    }

    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        let end = context.at.shifted(-self.offset);
        let span = Span { at: context.at, start: end.shifted(-self.range), end };
        while let Some(slot) = self.dirty.pop() {
            let (track, kept) = (&mut self.tracks[slot as usize], &mut self.accumulators);
            let before = track.ring.bytes() + kept.heap_bytes(slot);
            track.slide(slot, kept, &span);
            let mut due = track.ring.next().map_or(NEVER, |next| next.time.shifted(self.offset));
            let mut cell = Cell::MISSING;
            if track.ring.first().is_some() {
                let reading = kept.read(slot, &track.ring, &span);
                // What changes at this very time does so at the next there is.
                let until = reading.until.shifted(self.offset).max(context.at.shifted(1));
                due = due.min(until);
                if reading.drifts {
                    due = due.min(next_multiple(context.at, drift_step(self.range)));
                }
                cell = reading.value.map_or(cell, Cell::present);
            }
            let after = track.ring.bytes() + kept.heap_bytes(slot);
            self.heap_bytes = self.heap_bytes + after - before;
            track.alarm.set(due, slot, &mut context.timers);
            updates.cells.push((slot, cell));
        }
    }

    pub(super) fn shift(&mut self, nanos: i64) {
        for track in &mut self.tracks {
            track.ring.shift(nanos);
            // What is kept of the points may count from a time of theirs.
            track.rebuild = true;
            track.alarm.shift(nanos);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.tracks.capacity() * size_of::<Track>() + self.accumulators.bytes() + self.heap_bytes
    }
}

impl Track {
    /// Moves the window to where it is now.
    #[inline]
    fn slide(&mut self, slot: u32, kept: &mut Accumulators, span: &Span) {
        if self.rebuild {
            self.reset(slot, kept);
        }
        self.enter(slot, kept, span);
        while let Some(first) = self.ring.first()
            && first.time <= span.start
        {
            kept.leave(slot, &self.ring);
            self.ring.leave();
        }
        if !kept.is_sound(slot, &self.ring) {
            self.reset(slot, kept);
            self.enter(slot, kept, span);
        }
        if self.ring.is_empty() {
            self.ring.release();
            kept.clear(slot);
        }
    }

    #[inline]
    fn enter(&mut self, slot: u32, kept: &mut Accumulators, span: &Span) {
        while let Some(next) = self.ring.next()
            && next.time <= span.end
        {
            kept.enter(slot, &self.ring);
            self.ring.enter();
        }
    }

    #[cold]
    fn reset(&mut self, slot: u32, kept: &mut Accumulators) {
        self.rebuild = false;
        self.ring.reset();
        kept.clear(slot);
    }
}
