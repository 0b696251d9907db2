//! The series of a row: mostly ids in a row, since a poll makes all of them at once.

use super::{SeriesId, push_tight};

/// See the module. No larger than a list: there are as many of these as there are rows.
#[derive(Debug)]
pub(super) enum SeriesList {
    /// So many ids from one on.
    Run { first: u32, len: u32 },
    /// Any ids.
    Any(Vec<SeriesId>),
}

impl Default for SeriesList {
    fn default() -> Self {
        Self::Run { first: 0, len: 0 }
    }
}

impl SeriesList {
    pub(super) fn push(&mut self, id: SeriesId) {
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

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Run { len, .. } => *len as usize,
            Self::Any(all) => all.len(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = SeriesId> {
        (0..self.len()).map(move |at| match self {
            Self::Run { first, .. } => SeriesId(first + at as u32),
            Self::Any(all) => all[at],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_is_there_in_its_order() {
        for given in [&[][..], &[7], &[7, 8, 9], &[7, 9, 10], &[9, 8], &[0, 1, 5, 6]] {
            let given: Vec<_> = given.iter().map(|id| SeriesId(*id)).collect();
            let mut list = SeriesList::default();
            given.iter().for_each(|id| list.push(*id));
            assert_eq!(list.iter().collect::<Vec<_>>(), given);
            assert_eq!(list.len(), given.len());
        }
        assert_eq!(size_of::<SeriesList>(), size_of::<Vec<SeriesId>>());
    }
}
