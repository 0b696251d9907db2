//! Which series concern which leaves of which streams, found once for each series.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::promql::Selector;
use crate::promql::labels::NAME;
use crate::rules::stream::Stream;
use crate::sample::{Catalogue, SeriesId, grow_tight, push_tight};

/// Where the samples of every series are fed.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Leaves about a name: stream and leaf.
    by_name: FxHashMap<String, Vec<(u32, u32)>>,
    /// Leaves that may be about any name.
    nameless: Vec<(u32, u32)>,
    /// By [`SeriesId`]: where its routes begin and how many there are, [`UNSEEN`] before its first
    /// sample.
    seen: Vec<(u32, u32)>,
    /// The routes of one series lie together.
    routes: Vec<Route>,
}

/// Where a series' samples are fed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) stream: u32,
    pub(super) leaf: u32,
    /// [`UNPLACED`] until the next sample.
    pub(super) slot: u32,
}

const UNSEEN: u32 = u32::MAX;

/// The series has no slot there.
pub(super) const UNPLACED: u32 = u32::MAX;

impl Routes {
    /// Whether no leaf is about anything.
    pub(super) fn is_idle(&self) -> bool {
        self.by_name.is_empty() && self.nameless.is_empty()
    }

    #[inline]
    pub(super) fn get(&self, route: usize) -> Route {
        self.routes[route]
    }

    pub(super) fn set_slot(&mut self, route: usize, slot: u32) {
        self.routes[route].slot = slot;
    }

    /// The routes of a series.
    #[inline]
    pub(super) fn of(
        &mut self,
        series: SeriesId,
        catalogue: &Catalogue,
        streams: &[Option<Stream>],
    ) -> Range<usize> {
        match self.known(series.index()) {
            Some(known) => known,
            // It finds its leaves with the next sample, should there ever be any.
            None if self.is_idle() => 0..0,
            None => self.discover(series, catalogue, streams),
        }
    }

    #[inline]
    fn known(&self, series: usize) -> Option<Range<usize>> {
        let (first, len) = *self.seen.get(series)?;
        (len != UNSEEN).then(|| first as usize..first as usize + len as usize)
    }

    /// Finds the leaves that are about a series, once.
    #[cold]
    fn discover(
        &mut self,
        series: SeriesId,
        catalogue: &Catalogue,
        streams: &[Option<Stream>],
    ) -> Range<usize> {
        grow_tight(&mut self.seen, series.index() + 1, (0, UNSEEN));
        self.link(series, &[], catalogue, streams)
    }

    fn link(
        &mut self,
        series: SeriesId,
        known: &[Route],
        catalogue: &Catalogue,
        streams: &[Option<Stream>],
    ) -> Range<usize> {
        let words = catalogue.series(series);
        let name = words.name();
        let label = |wanted: &str| if wanted == NAME { Some(&*name) } else { words.tag(wanted) };
        let first = self.routes.len();
        let named = self.by_name.get(&*name).map_or(&[][..], Vec::as_slice);
        for &(id, leaf) in named.iter().chain(&self.nameless) {
            let old = known.iter().find(|route| (route.stream, route.leaf) == (id, leaf));
            if let Some(old) = old {
                push_tight(&mut self.routes, *old);
                continue;
            }
            let stream = streams[id as usize].as_ref();
            let selector: Option<&Selector> =
                stream.map(|stream| &stream.leaves()[leaf as usize].selector);
            if selector.is_some_and(|selector| selector.matches(label)) {
                push_tight(&mut self.routes, Route { stream: id, leaf, slot: UNPLACED });
            }
        }
        let len = self.routes.len() - first;
        self.seen[series.index()] = (first as u32, len as u32);
        first..first + len
    }

    /// Finds the leaves of all known series again, after streams have come or gone.
    pub(super) fn relink(&mut self, catalogue: &Catalogue, streams: &[Option<Stream>]) {
        self.by_name.clear();
        self.nameless.clear();
        for (id, stream) in streams.iter().enumerate() {
            let leaves = stream.iter().flat_map(Stream::leaves).enumerate();
            for (leaf, known) in leaves {
                let place = (id as u32, leaf as u32);
                match &known.selector.name {
                    Some(name) => self.by_name.entry(name.clone()).or_default().push(place),
                    None => self.nameless.push(place),
                }
            }
        }
        let old = std::mem::take(&mut self.routes);
        for index in 0..self.seen.len() {
            if let Some(known) = self.known(index) {
                self.link(SeriesId::from_index(index), &old[known], catalogue, streams);
            }
        }
    }

    /// A stream is gone: what comes to have its id is another.
    pub(super) fn remove(&mut self, stream: u32) {
        let gone = self.routes.iter_mut().filter(|route| route.stream == stream);
        gone.for_each(|route| route.leaf = UNSEEN);
    }

    /// A stream was made anew: the slots its series have now, by leaf.
    pub(super) fn place(&mut self, stream: u32, slots: &FxHashMap<(u32, SeriesId), u32>) {
        for index in 0..self.seen.len() {
            let Some(known) = self.known(index) else { continue };
            for route in self.routes[known].iter_mut().filter(|route| route.stream == stream) {
                let slot = slots.get(&(route.leaf, SeriesId::from_index(index))).copied();
                route.slot = slot.unwrap_or(UNPLACED);
            }
        }
    }

    /// A series is gone: where it was fed. Should it come back, its leaves are found again.
    pub(super) fn forget(&mut self, series: SeriesId) -> impl Iterator<Item = Route> + '_ {
        let known = self.known(series.index());
        if let Some((_, len)) = self.seen.get_mut(series.index()) {
            *len = UNSEEN;
        }
        let routes = self.routes[known.unwrap_or_default()].iter_mut();
        routes
            .map(|route| Route { slot: std::mem::replace(&mut route.slot, UNPLACED), ..*route })
            .filter(|route| route.slot != UNPLACED)
    }
}
