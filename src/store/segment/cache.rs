//! The directories of segments that queries read last, within a bound.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Opened;

/// The most memory directories take; also how many files stay open. What is over is read again
/// when it is needed, which takes less than a millisecond.
const CACHE_BYTES_MAX: usize = 8 << 20;

/// The most files that stay open.
const CACHE_FILES_MAX: usize = 128;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::store) struct Cache(Mutex<VecDeque<(PathBuf, Arc<Opened>)>>);

impl Cache {
    pub(super) fn get(&self, path: &Path) -> Option<Arc<Opened>> {
        let mut all = self.lock();
        let at = all.iter().position(|(known, _)| known == path)?;
        let found = all.remove(at)?;
        let opened = found.1.clone();
        all.push_front(found);
        Some(opened)
    }

    pub(super) fn put(&self, path: &Path, opened: &Arc<Opened>) {
        let mut all = self.lock();
        all.retain(|(known, _)| known != path);
        all.push_front((path.to_owned(), opened.clone()));
        let mut bytes = 0;
        let kept = all.iter().take(CACHE_FILES_MAX).take_while(|(_, opened)| {
            bytes += opened.directory.bytes();
            bytes <= CACHE_BYTES_MAX
        });
        let kept = kept.count().max(1);
        all.truncate(kept);
    }

    /// Lets go of a file that is to go.
    pub(in crate::store) fn forget(&self, path: &Path) {
        self.lock().retain(|(known, _)| known != path);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(PathBuf, Arc<Opened>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
