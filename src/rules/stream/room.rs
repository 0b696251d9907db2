//! How much a stream may be about: what is above that stops it, and series long gone are let go.

use rustc_hash::FxHashMap;

use super::Stream;
use super::operator::Operator;
use crate::promql::Labels;
use crate::sample::SeriesId;

/// Why a stream judges no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Stopped {
    /// It would be about more series than it may.
    Series {
        /// How many it may.
        most: usize,
    },
    /// It takes more memory than it may.
    Memory {
        /// How many bytes it may.
        most: usize,
    },
}

/// Above this many series the dead ones among them are looked for whenever they have doubled.
const CROWD_SERIES_MIN: usize = 1_024;

impl Stream {
    /// Why it judges no more.
    pub(in crate::rules) fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Judges no more: all it knew is let go, its outputs are missing.
    pub(super) fn stop(&mut self, why: Stopped) {
        self.stopped = Some(why);
        self.outputs.detach();
        self.lay_out();
        self.outputs.sweep();
        self.settled_series = 0;
    }

    /// Whether it may be about one series more; if not, it stops.
    pub(super) fn has_room(&mut self, most: usize) -> bool {
        let series = self.series();
        if series < most {
            return true;
        }
        // The dead are not counted, but it takes time to count them.
        if series - self.dead() < most {
            return true;
        }
        self.stop(Stopped::Series { most });
        false
    }

    fn dead(&self) -> usize {
        self.nodes.iter().map(|node| node.operator.dead()).sum()
    }

    /// Whether most of its series may be long gone.
    pub(super) fn is_crowded(&self) -> bool {
        self.slots() > CROWD_SERIES_MIN.max(2 * self.settled_series)
    }

    fn slots(&self) -> usize {
        self.nodes.iter().map(|node| node.operator.slots()).sum()
    }

    /// Makes all nodes anew, for the series alone of which there is still something. Where each is
    /// fed now, by leaf. What it touches says nothing new but of outputs that have no series left.
    pub(super) fn compact(
        &mut self,
        labels: impl Fn(SeriesId) -> Labels,
    ) -> FxHashMap<(u32, SeriesId), u32> {
        let mut places = FxHashMap::default();
        if self.dead() < self.slots() / 2 {
            // They are alive: look again when they have doubled.
            self.settled_series = self.slots();
            for (leaf, known) in self.leaves.iter().enumerate() {
                let operator = &self.nodes[known.node as usize].operator;
                operator.places(|series, slot| {
                    places.insert((leaf as u32, series), slot);
                });
            }
            return places;
        }
        let mut old = std::mem::take(&mut self.nodes);
        self.outputs.detach();
        self.lay_out();
        for leaf in 0..self.leaves.len() as u32 {
            let node = self.leaves[leaf as usize].node;
            let kept = old[node as usize].operator.release();
            for (series, kept) in kept {
                let operator = &mut self.nodes[node as usize].operator;
                let makes_own = matches!(operator, Operator::Tick(_));
                let Some(slot) = operator.adopt(kept) else { continue };
                if !makes_own {
                    self.born(node, &labels(series));
                }
                places.insert((leaf, series), slot);
            }
        }
        self.settled_series = self.slots();
        places
    }

    /// After it was made anew: outputs say what they have said before.
    pub(super) fn forget_touched(&mut self) {
        while self.outputs.touched.pop().is_some() {}
        self.outputs.sweep();
    }
}
