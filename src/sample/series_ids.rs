//! Series in an order, in little room: mostly ids in a row, since what comes together for the first
//! time is new together.

use std::ops::Deref;

use super::{SeriesId, push_tight};

/// See the module. Ids that are not in a row are in a list of one's choice: one that grows, or one
/// that is shared.
#[derive(Debug, Clone)]
pub(crate) enum SeriesIds<L> {
    /// So many ids from one on.
    Run { first: u32, len: u32 },
    /// Any ids.
    Any(L),
}

impl<L> Default for SeriesIds<L> {
    fn default() -> Self {
        Self::Run { first: 0, len: 0 }
    }
}

impl<L: for<'a> From<&'a [SeriesId]>> From<&[SeriesId]> for SeriesIds<L> {
    fn from(series: &[SeriesId]) -> Self {
        let first = series.first().map_or(0, |id| id.0);
        if series.iter().zip(first..).all(|(id, expected)| id.0 == expected) {
            Self::Run { first, len: series.len() as u32 }
        } else {
            Self::Any(series.into())
        }
    }
}

impl<L: Deref<Target = [SeriesId]>> SeriesIds<L> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Run { len, .. } => *len as usize,
            Self::Any(all) => all.len(),
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<SeriesId> {
        match self {
            Self::Run { first, len } => (at < *len as usize).then(|| SeriesId(first + at as u32)),
            Self::Any(all) => all.get(at).copied(),
        }
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = SeriesId> {
        (0..self.len()).map(|at| self.get(at).expect("it is below the length"))
    }

    /// The place of a series, which is looked for from `expected` on.
    pub(crate) fn find(&self, series: SeriesId, expected: usize) -> Option<usize> {
        match self {
            Self::Run { first, len } => {
                let at = series.0.checked_sub(*first)?;
                (at < *len).then_some(at as usize)
            }
            Self::Any(all) => {
                let rest = all.get(expected..).unwrap_or_default();
                let found = rest.iter().position(|other| *other == series).map(|at| expected + at);
                found.or_else(|| all.iter().position(|other| *other == series))
            }
        }
    }
}

impl SeriesIds<Vec<SeriesId>> {
    pub(crate) fn push(&mut self, id: SeriesId) {
        match self {
            Self::Run { first, len: len @ 0 } => (*first, *len) = (id.0, 1),
            Self::Run { first, len } if id.0.checked_sub(*first) == Some(*len) => *len += 1,
            Self::Run { .. } => {
                let mut all: Vec<_> = self.iter().collect();
                push_tight(&mut all, id);
                *self = Self::Any(all);
            }
            Self::Any(all) => push_tight(all, id),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const GIVEN: [&[u32]; 8] =
        [&[], &[7], &[7, 8, 9], &[9, 8, 7], &[1, 2, 4], &[7, 9, 10], &[9, 8], &[0, 1, 5, 6]];

    #[test]
    fn ids_are_what_was_given_in_a_row_or_not() {
        for given in GIVEN {
            let given: Vec<_> = given.iter().map(|id| SeriesId(*id)).collect();
            let ids = SeriesIds::<Arc<[SeriesId]>>::from(&given[..]);
            assert_eq!(ids.iter().collect::<Vec<_>>(), given);
            for id in (0..12).map(SeriesId) {
                let at = given.iter().position(|other| *other == id);
                assert!((0..5).all(|expected| ids.find(id, expected) == at));
            }
            assert_eq!((ids.len(), ids.get(given.len())), (given.len(), None));
        }
        assert_eq!(size_of::<SeriesIds<Arc<[SeriesId]>>>(), 16);
    }

    #[test]
    fn what_was_pushed_is_there_in_its_order() {
        for given in GIVEN {
            let given: Vec<_> = given.iter().map(|id| SeriesId(*id)).collect();
            let mut ids = SeriesIds::default();
            given.iter().for_each(|id| ids.push(*id));
            assert_eq!(ids.iter().collect::<Vec<_>>(), given);
            assert_eq!(ids.len(), given.len());
        }
        assert_eq!(size_of::<SeriesIds<Vec<SeriesId>>>(), size_of::<Vec<SeriesId>>());
    }
}
