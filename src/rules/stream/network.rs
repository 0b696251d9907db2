//! All streams: which series concern which of their leaves, and the timers of all.
//!
//! **Time.** A batch moves the time of all streams forward to its own, never back. A batch that is
//! late for the time others have reached is judged at that time, and so is a sample late for its
//! own series: what still looks at its time is made anew, and what does not is counted. Once it
//! [is told what time it is](Network::observe), samples of the future wait for their time and move
//! nobody's.

mod routes;

use std::sync::Arc;
use std::time::Duration;

use routes::{Route, Routes, UNPLACED};
use rustc_hash::FxHashMap;

use super::ring::Point;
use super::wheel::{Timer, Wheel};
use super::{Cause, Stopped, Stream};
use crate::promql::{Expr, Labels};
use crate::rules::engine::LOOKBACK;
use crate::sample::{Batch, Catalogue, SeriesId, Timestamp};

/// All streams.
#[derive(Debug)]
pub(in crate::rules) struct Network {
    catalogue: Arc<Catalogue>,
    /// By the id that timers and routes know them by.
    streams: Vec<Option<Stream>>,
    wheel: Wheel,
    routes: Routes,
    /// Streams to settle.
    woken: Vec<u32>,
    /// Streams that have never been settled.
    fresh: Vec<u32>,
    now: Timestamp,
    /// What time it is, where it has been told.
    clock: Option<Timestamp>,
    lookbacks: FxHashMap<String, Duration>,
    /// Most series of one stream.
    max_series: FxHashMap<u32, usize>,
    /// Samples that no rule about them could look at any more.
    pub(in crate::rules) late: u64,
    pub(in crate::rules) evaluations: u64,
}

/// Hears of a stream that was settled at a time: what it touched is to be looked at.
pub(in crate::rules) trait Judge {
    fn judge(&mut self, id: u32, stream: &mut Stream, at: Timestamp);
}

impl<F: FnMut(u32, &mut Stream, Timestamp)> Judge for F {
    fn judge(&mut self, id: u32, stream: &mut Stream, at: Timestamp) {
        self(id, stream, at);
    }
}

impl Network {
    pub(in crate::rules) fn new(catalogue: Arc<Catalogue>) -> Self {
        Self {
            catalogue,
            streams: Vec::new(),
            wheel: Wheel::default(),
            routes: Routes::default(),
            woken: Vec::new(),
            fresh: Vec::new(),
            now: Timestamp::MIN,
            clock: None,
            lookbacks: FxHashMap::default(),
            max_series: FxHashMap::default(),
            late: 0,
            evaluations: 0,
        }
    }

    /// Compiles expressions; [`Network::relink`] must follow. The id they are known by from here on.
    pub(in crate::rules) fn insert(&mut self, roots: Vec<Expr>, max_series: usize) -> u32 {
        let free = self.streams.iter().position(Option::is_none);
        let place = free.unwrap_or(self.streams.len());
        if free.is_none() {
            self.streams.push(None);
        }
        let id = place as u32;
        self.streams[place] = Some(Stream::new(id, roots));
        self.max_series.insert(id, max_series);
        self.fresh.push(id);
        id
    }

    /// Lets go of a stream; [`Network::relink`] must follow.
    pub(in crate::rules) fn remove(&mut self, id: u32) {
        self.streams[id as usize] = None;
        self.max_series.remove(&id);
        self.fresh.retain(|fresh| *fresh != id);
        self.woken.retain(|woken| *woken != id);
        self.wheel.forget(id);
        self.routes.remove(id);
    }

    /// Finds the leaves of all known series again, after streams have come or gone.
    pub(in crate::rules) fn relink(&mut self) {
        self.routes.relink(&self.catalogue, &self.streams);
    }

    /// A stream.
    pub(in crate::rules) fn get(&self, id: u32) -> Option<&Stream> {
        self.streams.get(id as usize)?.as_ref()
    }

    /// A stream.
    pub(in crate::rules) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.get_mut(id as usize)?.as_mut()
    }

    /// What time it is: from now on, samples of later times wait for theirs.
    pub(in crate::rules) fn observe(&mut self, clock: Timestamp) {
        self.clock = Some(clock);
    }

    /// Whether there is no stream.
    pub(in crate::rules) fn is_idle(&self) -> bool {
        self.routes.is_idle() && self.fresh.is_empty() && self.wheel.first().is_none()
    }

    /// Feeds a batch, then settles each stream it touched once. What was due before happens
    /// before.
    pub(in crate::rules) fn apply(&mut self, batch: &Batch, judge: &mut impl Judge) {
        let at = self.clock.map_or(batch.time, |clock| batch.time.min(clock)).max(self.now);
        self.advance(at.shifted(-1), judge);
        self.now = at;
        for sample in &batch.samples {
            let point = Point { time: batch.time, value: sample.value };
            for route in self.routes.of(sample.series, &self.catalogue, &self.streams) {
                self.feed(route, sample.series, point);
            }
        }
        self.woken.append(&mut self.fresh);
        self.settle(Cause::Data, judge);
    }

    #[inline]
    fn feed(&mut self, route: usize, series: SeriesId, point: Point) {
        let Route { stream: id, leaf, slot } = self.routes.get(route);
        let slot = if slot == UNPLACED {
            match self.place(route, series) {
                Some(slot) => slot,
                None => return,
            }
        } else {
            slot
        };
        let Some(Some(stream)) = self.streams.get_mut(id as usize) else { return };
        if !stream.feed(leaf, slot, point, self.now) {
            self.late += 1;
        }
        rouse(&mut self.woken, id, stream);
    }

    /// Gives a series its place in a stream; `None` where the stream has stopped.
    #[cold]
    fn place(&mut self, route: usize, series: SeriesId) -> Option<u32> {
        let Route { stream: id, leaf, .. } = self.routes.get(route);
        let lookback = self.lookback(series);
        let stream = self.streams[id as usize].as_mut()?;
        let most = self.max_series.get(&id).copied().unwrap_or(usize::MAX);
        if stream.is_stopped() {
            return None;
        }
        if !stream.has_room(most) {
            // It has just stopped: that is to be heard of.
            rouse(&mut self.woken, id, stream);
            return None;
        }
        let labels = Labels::of_series(&self.catalogue.series(series));
        let slot = stream.add(leaf, series, &labels, lookback);
        self.routes.set_slot(route, slot);
        Some(slot)
    }

    fn lookback(&self, series: SeriesId) -> i64 {
        let words = self.catalogue.series(series);
        let target = words.tag("kind").zip(words.tag("target"));
        let known = target
            .filter(|_| !self.lookbacks.is_empty())
            .and_then(|(kind, target)| self.lookbacks.get(&format!("{kind}.{target}")));
        known.copied().unwrap_or(LOOKBACK).as_nanos() as i64
    }

    /// A target is polled this often; see [`Engine::polled_every`](super::super::Engine).
    pub(in crate::rules) fn polled_every(&mut self, target: &str, interval: Duration) {
        let lookback = interval.saturating_mul(5) / 2;
        if lookback > LOOKBACK {
            self.lookbacks.insert(target.to_owned(), lookback);
        } else {
            self.lookbacks.remove(target);
        }
    }

    /// Settles what is due until a time, each at its own time.
    pub(in crate::rules) fn advance(&mut self, limit: Timestamp, judge: &mut impl Judge) {
        while let Some(first) = self.wheel.first()
            && first <= limit
        {
            let at = first.max(self.now);
            self.now = at;
            while let Some(timer) = self.wheel.pop(at) {
                self.wake(timer);
            }
            self.settle(Cause::Time, judge);
        }
    }

    /// Settles what is due by a time, and what has never been settled.
    pub(in crate::rules) fn tick(&mut self, now: Timestamp, judge: &mut impl Judge) {
        self.advance(now, judge);
        self.now = self.now.max(now);
        self.woken.append(&mut self.fresh);
        self.settle(Cause::Time, judge);
    }

    /// Goes to a time and settles there alone, not at all times in between.
    #[cfg(test)]
    pub(super) fn jump(&mut self, at: Timestamp, judge: &mut impl Judge) {
        while let Some(timer) = self.wheel.pop(at) {
            self.wake(timer);
        }
        self.now = self.now.max(at);
        self.settle(Cause::Time, judge);
    }

    /// Makes all leaves anew at the time there is.
    #[cfg(test)]
    pub(super) fn refresh(&mut self, judge: &mut impl Judge) {
        for (id, stream) in self.streams.iter_mut().enumerate() {
            let Some(stream) = stream else { continue };
            stream.nodes.iter_mut().for_each(|node| {
                if node.drifts || node.operator.series() > 0 {
                    node.operator.dirty().mark_all();
                }
            });
            self.woken.push(id as u32);
        }
        self.settle(Cause::Time, judge);
    }

    /// Stops the streams that take more memory than this.
    pub(in crate::rules) fn stop_above(&mut self, most: usize) {
        for (id, stream) in self.streams.iter_mut().enumerate() {
            let Some(stream) = stream else { continue };
            if !stream.is_stopped() && stream.bytes() > most {
                stream.stop(Stopped::Memory { most });
                self.woken.push(id as u32);
            }
        }
    }

    /// When [`Network::tick`] may have something to do next.
    pub(in crate::rules) fn next_tick(&self) -> Option<Timestamp> {
        if self.fresh.is_empty() { self.wheel.first() } else { Some(self.now) }
    }

    fn wake(&mut self, timer: Timer) {
        let Some(Some(stream)) = self.streams.get_mut(timer.stream as usize) else { return };
        if stream.wake(timer, &mut self.wheel) {
            rouse(&mut self.woken, timer.stream, stream);
        }
    }

    fn settle(&mut self, cause: Cause, judge: &mut impl Judge) {
        let mut crowded = false;
        for place in 0..self.woken.len() {
            let id = self.woken[place];
            let Some(Some(stream)) = self.streams.get_mut(id as usize) else { continue };
            stream.is_woken = false;
            stream.settle(self.now, cause, &mut self.wheel);
            self.evaluations += 1;
            judge.judge(id, stream, self.now);
            crowded |= stream.is_crowded();
        }
        self.woken.clear();
        if crowded {
            self.compact(judge);
        }
    }

    /// Makes streams anew that are mostly about series long gone.
    #[cold]
    fn compact(&mut self, judge: &mut impl Judge) {
        for id in 0..self.streams.len() {
            let Some(stream) = &mut self.streams[id] else { continue };
            if !stream.is_crowded() {
                continue;
            }
            let catalogue = &self.catalogue;
            let labels = |series| Labels::of_series(&catalogue.series(series));
            let places = stream.compact(labels);
            stream.settle(self.now, Cause::Time, &mut self.wheel);
            stream.forget_touched();
            judge.judge(id as u32, stream, self.now);
            self.routes.place(id as u32, &places);
        }
    }

    /// Series are gone: what streams know of them ends now.
    pub(in crate::rules) fn forget(
        &mut self,
        series: impl Iterator<Item = SeriesId>,
        now: Timestamp,
        judge: &mut impl Judge,
    ) {
        self.advance(now, judge);
        self.now = self.now.max(now);
        for series in series {
            for route in self.routes.forget(series) {
                let Some(Some(stream)) = self.streams.get_mut(route.stream as usize) else {
                    continue;
                };
                stream.end(route.leaf, route.slot);
                rouse(&mut self.woken, route.stream, stream);
            }
        }
        self.settle(Cause::Time, judge);
    }

    /// All times move by a step of the clock.
    pub(in crate::rules) fn clock_stepped(&mut self, nanos: i64) {
        self.wheel.shift(nanos);
        self.streams.iter_mut().flatten().for_each(|stream| stream.shift(nanos));
        if self.now != Timestamp::MIN {
            self.now = self.now.shifted(nanos);
        }
        self.clock = self.clock.map(|clock| clock.shifted(nanos));
    }
}

/// A stream is to be settled.
#[inline]
fn rouse(woken: &mut Vec<u32>, id: u32, stream: &mut Stream) {
    if !std::mem::replace(&mut stream.is_woken, true) {
        woken.push(id);
    }
}
