//! What keeps samples, opened in the order in which one stands on the other.

use std::sync::Arc;

use tracing::warn;

use crate::config::Config;
use crate::journal::{self, Journal, Reader};
use crate::metrics::Metrics;
use crate::sample::{Catalogue, Clock};
use crate::sinks::{SinkEnv, Sinks};
use crate::store::Store;

/// The store's name among the journal's readers.
const STORE_READER: &str = "store";

/// The journal and its readers.
pub(super) struct Keepers {
    pub(super) journal: Journal,
    pub(super) store: Arc<Store>,
    /// What the store reads, if it is to remember anything.
    pub(super) from_journal: Option<Reader>,
    pub(super) sinks: Sinks,
}

impl Keepers {
    /// Opens the journal and the store, and brings the store up to where the journal is. Where the
    /// state directory or the store in it cannot be used, samples are kept in memory. A store that
    /// is switched off stays empty, and where no sink reads it either, nothing is in the journal.
    pub(super) fn open(
        config: &Config,
        has_state_dir: bool,
        catalogue: &Arc<Catalogue>,
        clock: &Arc<Clock>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let has_readers = config.store.enabled || !config.sinks.is_empty();
        let journal = Journal::open(
            journal::Env {
                folder: (has_state_dir && has_readers).then(|| config.journal_dir()),
                catalogue: catalogue.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
            },
            config.store.journal_limits(),
        );
        let on_disk = has_state_dir && config.store.enabled;
        let store = on_disk.then(|| open_store(config, catalogue, clock, metrics)).flatten();
        let position = store.as_ref().map(Store::sealed_to);
        // It forgets at the end; what comes from now on is all it ever has.
        let in_memory =
            || Store::in_memory(catalogue.clone(), config.store.limits(), metrics, clock.now());
        let store = store.unwrap_or_else(in_memory);
        let from_journal = if config.store.enabled {
            let position = position.unwrap_or_else(|| journal.end());
            let mut reader = journal.reader_at(STORE_READER, position);
            store.catch_up(&mut reader, clock);
            Some(reader)
        } else {
            // Nothing is kept for one that was there before.
            journal.retain_readers(|name| name == STORE_READER, &[]);
            None
        };
        let env = SinkEnv {
            catalogue: catalogue.clone(),
            metrics: metrics.clone(),
            state_dir: config.state_dir.clone(),
            journal: journal.clone(),
        };
        let sinks = Sinks::start(&config.sinks, env);
        Self { journal, store: Arc::new(store), from_journal, sinks }
    }
}

fn open_store(
    config: &Config,
    catalogue: &Arc<Catalogue>,
    clock: &Arc<Clock>,
    metrics: &Arc<Metrics>,
) -> Option<Store> {
    let (folder, limits) = (config.store_dir(), config.store.limits());
    let shown = folder.display().to_string();
    Store::open(folder, catalogue.clone(), limits, metrics, clock.now())
        .map_err(|error| {
            warn!(path = shown, %error, "cannot open the store; keeping samples in memory alone");
        })
        .ok()
}
