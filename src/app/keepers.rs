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
    /// What the store reads.
    pub(super) from_journal: Reader,
    pub(super) sinks: Sinks,
}

impl Keepers {
    /// Opens the journal and the store, and brings the store up to where the journal is. Where the
    /// state directory or the store in it cannot be used, samples are kept in memory.
    pub(super) fn open(
        config: &Config,
        has_state_dir: bool,
        catalogue: &Arc<Catalogue>,
        clock: &Arc<Clock>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let journal = Journal::open(
            journal::Env {
                folder: has_state_dir.then(|| config.journal_dir()),
                catalogue: catalogue.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
            },
            config.store.journal_limits(),
        );
        let on_disk = has_state_dir && config.store.enabled;
        let store = on_disk.then(|| open_store(config, catalogue, clock, metrics)).flatten();
        let (store, mut from_journal) = match store {
            Some(store) => {
                let position = store.sealed_to();
                (store, journal.reader_at(STORE_READER, position))
            }
            // It forgets at the end; what comes from now on is all it ever has.
            None => {
                let (limits, now) = (config.store.limits(), clock.now());
                let store = Store::in_memory(catalogue.clone(), limits, metrics, now);
                (store, journal.reader_at(STORE_READER, journal.end()))
            }
        };
        store.catch_up(&mut from_journal, clock);
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
