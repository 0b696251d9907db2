//! Selectors: the newest sample of each series, as long as it counts.

use super::alarm::{Alarm, NEVER};
use super::node::{Cell, Context, Dirty, Updates};
use super::ring::{Point, Ring};
use super::tight;
use super::wheel::{Timer, Wheel};
use crate::sample::{STALE, SeriesId, Timestamp, is_stale};

/// `x`, `x offset 5m`, `timestamp(x)`.
#[derive(Debug)]
pub(super) struct Instant {
    offset: i64,
    /// Whether the time of a sample is its value: `timestamp(x)`.
    of_times: bool,
    tracks: Vec<Track>,
    pub(super) dirty: Dirty,
}

/// One series.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) series: SeriesId,
    /// How long a sample counts, in nanoseconds.
    lookback: i64,
    last: Point,
    /// Samples whose time has not come: of the future, or held back by an offset.
    ahead: Option<Box<Ring>>,
    alarm: Alarm,
}

const NOTHING: Point = Point { time: Timestamp::MIN, value: STALE };

impl Instant {
    pub(super) fn new(offset: i64, of_times: bool) -> Self {
        Self { offset, of_times, tracks: Vec::new(), dirty: Dirty::default() }
    }

    pub(super) fn add(&mut self, series: SeriesId, lookback: i64) -> u32 {
        self.adopt(Track { series, lookback, last: NOTHING, ahead: None, alarm: Alarm::OFF })
    }

    /// Takes over a series from a plan that is made anew.
    pub(super) fn adopt(&mut self, track: Track) -> u32 {
        tight::push(&mut self.tracks, Track { alarm: Alarm::OFF, ..track });
        self.dirty.grow();
        let slot = self.tracks.len() as u32 - 1;
        self.dirty.mark(slot);
        slot
    }

    /// Gives up the series that still have something.
    pub(super) fn release(&mut self) -> Vec<Track> {
        let tracks = std::mem::take(&mut self.tracks);
        tracks.into_iter().filter(|track| !track.is_dead()).collect()
    }

    pub(super) fn places(&self, tell: &mut impl FnMut(SeriesId, u32)) {
        (0..).zip(&self.tracks).for_each(|(slot, track)| tell(track.series, slot));
    }

    pub(super) fn dead(&self) -> usize {
        self.tracks.iter().filter(|track| track.is_dead()).count()
    }

    pub(super) fn len(&self) -> usize {
        self.tracks.len()
    }

    /// A sample or a stale mark. One older than the newest changes nothing that could be asked for.
    #[inline]
    pub(super) fn feed(&mut self, slot: u32, point: Point, now: Timestamp) {
        let track = &mut self.tracks[slot as usize];
        if self.offset == 0 && point.time <= now && track.ahead.is_none() {
            if point.time >= track.last.time {
                track.last = point;
            }
        } else if point.time >= track.last.time {
            track.ahead.get_or_insert_default().insert(point);
        }
        self.dirty.mark(slot);
    }

    /// The series is gone.
    pub(super) fn end(&mut self, slot: u32) {
        let track = &mut self.tracks[slot as usize];
        (track.last, track.ahead) = (NOTHING, None);
        self.dirty.mark(slot);
    }

    #[inline]
    pub(super) fn wake(&mut self, timer: Timer, wheel: &mut Wheel) -> bool {
        let track = self.tracks.get_mut(timer.unit as usize);
        self.dirty.wake(track.map(|track| &mut track.alarm), timer, wheel)
    }

    #[inline]
    pub(super) fn settle(&mut self, context: &mut Context<'_>, updates: &mut Updates) {
        while let Some(slot) = self.dirty.pop() {
            let track = &mut self.tracks[slot as usize];
            let mut due = NEVER;
            if track.ahead.is_some() {
                due = track.catch_up(context.at, self.offset);
            }
            let expiry = track.last.time.shifted(self.offset).shifted(track.lookback);
            let cell = if is_stale(track.last.value) || expiry <= context.at {
                // What has expired stays so: nothing is newer.
                track.last.value = STALE;
                Cell::MISSING
            } else {
                due = due.min(expiry);
                let value =
                    if self.of_times { track.last.time.as_secs_f64() } else { track.last.value };
                Cell::present(value)
            };
            track.alarm.set(due, slot, &mut context.timers);
            updates.cells.push((slot, cell));
        }
    }

    pub(super) fn shift(&mut self, nanos: i64) {
        for track in &mut self.tracks {
            if track.last.time != Timestamp::MIN {
                track.last.time = track.last.time.shifted(nanos);
            }
            if let Some(ahead) = &mut track.ahead {
                ahead.shift(nanos);
            }
            track.alarm.shift(nanos);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let ahead = self.tracks.iter().filter_map(|track| track.ahead.as_deref());
        self.tracks.capacity() * size_of::<Track>()
            + ahead.map(|ring| size_of::<Ring>() + ring.bytes()).sum::<usize>()
    }
}

impl Track {
    /// Lets samples in whose time has come; the time of the next.
    #[cold]
    fn catch_up(&mut self, at: Timestamp, offset: i64) -> Timestamp {
        let Some(ahead) = &mut self.ahead else { return NEVER };
        while let Some(point) = ahead.next() {
            if point.time.shifted(offset) > at {
                return point.time.shifted(offset);
            }
            self.last = point;
            ahead.enter();
            ahead.leave();
        }
        self.ahead = None;
        NEVER
    }

    fn is_dead(&self) -> bool {
        is_stale(self.last.value) && self.ahead.is_none()
    }
}
