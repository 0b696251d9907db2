//! Which series a group has, in the order of its columns: mostly ids in a row, since what comes
//! together for the first time is new together.

use std::sync::Arc;

use crate::sample::SeriesId;

/// See the module.
#[derive(Debug, Clone)]
pub(in crate::store) enum Columns {
    /// So many ids from one on.
    Run { first: u32, len: u32 },
    /// Any ids.
    List(Arc<[SeriesId]>),
}

impl Default for Columns {
    fn default() -> Self {
        Self::Run { first: 0, len: 0 }
    }
}

impl From<&[SeriesId]> for Columns {
    fn from(series: &[SeriesId]) -> Self {
        let number = |id: SeriesId| u32::try_from(id.index()).expect("ids have 32 bits");
        let first = series.first().map_or(0, |id| number(*id));
        if series.iter().zip(first..).all(|(id, expected)| number(*id) == expected) {
            Self::Run { first, len: series.len() as u32 }
        } else {
            Self::List(series.into())
        }
    }
}

impl Columns {
    pub(in crate::store) fn len(&self) -> usize {
        match self {
            Self::Run { len, .. } => *len as usize,
            Self::List(all) => all.len(),
        }
    }

    pub(in crate::store) fn get(&self, column: usize) -> Option<SeriesId> {
        match self {
            Self::Run { first, len } if column < *len as usize => {
                Some(SeriesId::from_index(*first as usize + column))
            }
            Self::Run { .. } => None,
            Self::List(all) => all.get(column).copied(),
        }
    }

    pub(in crate::store) fn iter(&self) -> impl ExactSizeIterator<Item = SeriesId> {
        (0..self.len()).map(|column| self.get(column).expect("it is below the length"))
    }

    /// The column of a series, which is looked for from `expected` on.
    pub(in crate::store) fn find(&self, series: SeriesId, expected: usize) -> Option<usize> {
        match self {
            Self::Run { first, len } => {
                let column = series.index().checked_sub(*first as usize)?;
                (column < *len as usize).then_some(column)
            }
            Self::List(all) => {
                let rest = all.get(expected..).unwrap_or_default();
                let found = rest.iter().position(|other| *other == series).map(|at| expected + at);
                found.or_else(|| all.iter().position(|other| *other == series))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_what_was_given_in_a_row_or_not() {
        for given in [&[][..], &[7], &[7, 8, 9], &[9, 8, 7], &[1, 2, 4]] {
            let given: Vec<_> = given.iter().map(|id| SeriesId::from_index(*id)).collect();
            let columns = Columns::from(&given[..]);
            assert_eq!(columns.iter().collect::<Vec<_>>(), given);
            for id in 0..12 {
                let id = SeriesId::from_index(id);
                let column = given.iter().position(|other| *other == id);
                assert!((0..5).all(|expected| columns.find(id, expected) == column));
            }
            assert_eq!(columns.get(given.len()), None);
        }
        assert_eq!(size_of::<Columns>(), 16);
    }
}
