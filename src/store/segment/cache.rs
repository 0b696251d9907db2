//! The directories of segments that queries read last, within a bound.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Opened;

/// The most memory directories take; also how many files stay open. What is over is read again
/// when it is needed, which takes less than a millisecond.
const CACHE_BYTES_MAX: usize = 8 << 20;

/// The most files that stay open.
const CACHE_FILES_MAX: usize = 128;

/// See the module. A segment is known by a number of its own: paths are used again.
#[derive(Debug, Default)]
pub(in crate::store) struct Cache {
    all: Mutex<VecDeque<(u64, Arc<Opened>)>>,
    last_id: AtomicU64,
}

impl Cache {
    pub(super) fn new_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn get(&self, id: u64) -> Option<Arc<Opened>> {
        let mut all = self.lock();
        let at = all.iter().position(|(known, _)| *known == id)?;
        let found = all.remove(at)?;
        let opened = found.1.clone();
        all.push_front(found);
        Some(opened)
    }

    pub(super) fn put(&self, id: u64, opened: &Arc<Opened>) {
        let mut all = self.lock();
        all.retain(|(known, _)| *known != id);
        all.push_front((id, opened.clone()));
        let mut bytes = 0;
        let kept = all.iter().take(CACHE_FILES_MAX).take_while(|(_, opened)| {
            bytes += opened.directory.bytes();
            bytes <= CACHE_BYTES_MAX
        });
        let kept = kept.count().max(1);
        all.truncate(kept);
    }

    /// Lets go of a segment that is to go.
    pub(super) fn forget(&self, id: u64) {
        self.lock().retain(|(known, _)| *known != id);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<Opened>)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
