//! A set of small numbers, a bit each: of series, or of rows of the catalogue.

use crate::sample::grow_tight;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ids(Vec<u64>);

impl Ids {
    pub(super) fn has(&self, id: usize) -> bool {
        self.0.get(id / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    /// Adds a number; whether it is new.
    pub(super) fn add(&mut self, id: usize) -> bool {
        let is_new = !self.has(id);
        grow_tight(&mut self.0, id / 64 + 1, 0);
        self.0[id / 64] |= 1 << (id % 64);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_and_nothing_else() {
        let mut ids = Ids::default();
        let added = [0, 63, 64, 1_000, 63];
        assert_eq!(added.map(|id| ids.add(id)), [true, true, true, true, false]);
        let there: Vec<_> = (0..2_000).filter(|id| ids.has(*id)).collect();
        assert_eq!(there, [0, 63, 64, 1_000]);
    }
}
