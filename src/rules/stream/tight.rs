//! Lists with an entry for each series or output.

/// Adds an entry. Such a list grows by single entries up to what there is to watch, and then stays
/// so for as long as its rule: room for a quarter more stands empty at most, not for as many again.
#[inline]
pub(super) fn push<T>(all: &mut Vec<T>, entry: T) {
    if all.len() == all.capacity() {
        all.reserve_exact(all.len() / 4 + 16);
    }
    all.push(entry);
}
