//! Opening a store: what files there are, and what is left of unfinished work.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tracing::{info, warn};

use super::head::Head;
use super::seal::parse_name;
use super::segment::{Cache, Segment, Table, Tables, Tier, UNFINISHED};
use super::{Counts, Limits, State, Store, millis};
use crate::journal::read_folder;
use crate::metrics::Metrics;
use crate::sample::{Catalogue, Timestamp};

/// Whether a store is opened by the daemon, or by a tool beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Write,
    Read,
}

impl Store {
    /// Opens the store in a folder, which is made where it is not there. Files that were never
    /// finished or are replaced by others are removed; damaged ones are left out, and said.
    ///
    /// # Errors
    /// A folder that cannot be made or read.
    pub fn open(
        folder: PathBuf,
        catalogue: Arc<Catalogue>,
        limits: Limits,
        metrics: &Metrics,
        now: Timestamp,
    ) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut store = Self::in_memory(catalogue, limits, metrics, now);
        store.load(&folder, Access::Write)?;
        store.folder = Some(folder);
        store.show();
        Ok(store)
    }

    /// Opens a store for reading alone, beside the daemon that writes it: its files, and what of the
    /// journal is not in them. It sees what there is now, and nothing that comes later.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn open_read_only(
        folder: &Path,
        journal: Option<&Path>,
        catalogue: &Arc<Catalogue>,
        limits: Limits,
        now: Timestamp,
    ) -> io::Result<Self> {
        let mut store = Self::in_memory(catalogue.clone(), limits, &Metrics::default(), now);
        store.load(folder, Access::Read)?;
        if let Some(journal) = journal {
            read_folder(journal, catalogue.clone(), store.sealed_to(), |group| {
                store.append(&group.batches, now, group.end);
            })?;
        }
        Ok(store)
    }

    /// A store without files: it has what came in the last hour or two.
    #[must_use]
    pub fn in_memory(
        catalogue: Arc<Catalogue>,
        limits: Limits,
        metrics: &Metrics,
        now: Timestamp,
    ) -> Self {
        let state = State {
            head: Head::new(limits.late.as_millis().try_into().unwrap_or(i64::MAX)),
            frozen: Vec::new(),
            segments: Arc::default(),
            cuts: 0,
            since: millis(now),
            next_number: 1,
            journal: 0,
            limits,
        };
        Self {
            catalogue,
            folder: None,
            state: Mutex::new(state),
            index: RwLock::default(),
            tables: Tables::default(),
            cache: Arc::new(Cache::default()),
            work: Mutex::default(),
            counts: Counts::new(metrics),
        }
    }

    fn load(&mut self, folder: &Path, access: Access) -> io::Result<()> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                remove(&path, access);
                continue;
            }
            let Some((tier, number, _)) = parse_name(&path) else { continue };
            if tier == Tier::Raw {
                let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
                state.next_number = state.next_number.max(number.saturating_add(1));
            }
            match self.open_segment(&path) {
                Ok(segment) => segments.push(segment),
                Err(error) => {
                    let path = path.display();
                    warn!(%path, %error, "cannot read a file of the store; leaving it out");
                    self.counts.damaged.inc();
                }
            }
        }
        segments.sort_by_key(|s| (s.meta.tier, s.meta.number, s.is_joined()));
        let replaced = replaced(&segments);
        segments.retain(|segment| {
            let is_replaced = replaced.contains(&segment.path);
            if is_replaced {
                remove(&segment.path, access);
            }
            !is_replaced
        });
        self.know(&segments);
        let newest = segments.iter().filter(|s| s.meta.tier == Tier::Raw).map(|s| s.meta.span.1);
        let mut state = self.state();
        // What the journal brings back came after the last seal.
        state.since = newest.max().map_or(state.since, |newest| newest.min(state.since));
        state.segments = Arc::new(segments);
        Ok(())
    }

    /// Takes note of the series of segments, and of how far they reach.
    fn know(&self, segments: &[Arc<Segment>]) {
        let mut tables: Vec<&Arc<Table>> = segments.iter().filter_map(|s| s.table()).collect();
        tables.sort_by_key(|table| Arc::as_ptr(table));
        tables.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        tables.iter().for_each(|table| index.add(&table.0, &self.catalogue));
        drop(index);
        let raw = segments.iter().filter(|s| s.meta.tier == Tier::Raw);
        let Some(newest) = raw.clone().map(|s| s.meta.span.1).max() else { return };
        let mut state = self.state();
        let late = i64::try_from(state.limits.late.as_millis()).unwrap_or(i64::MAX);
        for segment in raw.filter(|s| s.meta.span.1 >= newest.saturating_sub(late)) {
            let Ok(opened) = segment.opened() else { continue };
            let directory = &opened.directory;
            for group in directory.groups.iter().filter(|group| !group.is_late) {
                let blocks = &directory.blocks[group.blocks.clone()];
                let Some(last) = blocks.iter().map(|block| block.last).max() else { continue };
                group.series.iter().for_each(|series| state.head.has_until(*series, last));
            }
        }
        info!(segments = segments.len(), series = self.index().len(), "opened the store");
    }
}

/// The files that others stand for: a crash came between making those and removing these.
fn replaced(segments: &[Arc<Segment>]) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for joined in segments.iter().filter(|segment| segment.is_joined()) {
        let Ok(opened) = joined.opened() else { continue };
        let is_replaced = |other: &&Arc<Segment>| {
            other.meta.tier == joined.meta.tier
                && !other.is_joined()
                && opened.directory.replaces.contains(&other.meta.number)
        };
        all.extend(segments.iter().filter(is_replaced).map(|segment| segment.path.clone()));
    }
    all
}

fn remove(path: &Path, access: Access) {
    if access == Access::Write
        && let Err(error) = fs::remove_file(path)
    {
        let path = path.display();
        warn!(%path, %error, "cannot remove an unfinished file of the store");
    }
}
