//! For tests of pollers: a target read from TOML, polled as the supervisor polls it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Kind, KindConfig, PollError, Poller, Reason, Shared};
use crate::config::{Loader, Target};
use crate::sample::{Catalogue, Clock, Readings, TargetTags, Written, is_stale};

/// Reads a configuration with one target.
pub(crate) fn target(toml: &str) -> Arc<Target> {
    let config = Loader { env: &|_| None }.load_text(Path::new("test.toml"), toml);
    config.unwrap_or_else(|mistakes| panic!("{mistakes}")).targets.remove(0)
}

/// The mistakes of a configuration, as they are shown.
pub(crate) fn mistakes(toml: &str) -> String {
    let config = Loader { env: &|_| None }.load_text(Path::new("test.toml"), toml);
    config.map_or_else(|mistakes| mistakes.to_string(), |_| String::new())
}

/// What pollers share.
pub(crate) fn shared() -> Arc<Shared> {
    Arc::new(Shared::new(Arc::new(Clock::system())))
}

/// A poller with what it writes into.
pub(crate) struct Probe<P> {
    pub(crate) poller: P,
    catalogue: Arc<Catalogue>,
    readings: Readings,
    target: Arc<Target>,
}

impl<P: Poller> Probe<P> {
    /// For the one target of a configuration; `kind` takes the kind it is of.
    pub(crate) fn new<K: Kind<Poller = P>>(
        toml: &str,
        shared: &Arc<Shared>,
        kind: fn(&KindConfig) -> Option<K>,
    ) -> Self {
        let target = target(toml);
        let catalogue = Arc::new(Catalogue::default());
        let tags = TargetTags { target: target.name.clone(), tags: Arc::default() };
        let readings = Readings::new(catalogue.clone(), shared.clock.clone(), tags);
        let poller = kind(&target.kind).expect("a target of this kind").poller(&target, shared);
        Self { poller, catalogue, readings, target }
    }

    /// Polls once within the target's timeout: what came of it, and the readings by name.
    pub(crate) async fn poll(&mut self) -> (Result<(), PollError>, BTreeMap<String, f64>) {
        let poll = self.poller.poll(&mut self.readings);
        let result = match tokio::time::timeout(self.target.timeout, poll).await {
            Ok(result) => result,
            Err(_) => Err(PollError::new(Reason::Timeout, "deadline")),
        };
        let batches = self.readings.finish(Written::Everything);
        let samples = batches.iter().flat_map(|batch| &batch.samples);
        let read = samples
            .filter(|sample| !is_stale(sample.value))
            .map(|sample| (name(&self.catalogue.series(sample.series).to_string()), sample.value))
            .collect();
        (result, read)
    }
}

/// The reason of a poll that must have failed, and its context.
pub(crate) fn failure(result: Result<(), PollError>) -> (Reason, String) {
    let error = result.expect_err("the poll should have failed");
    (error.reason, error.context)
}

/// A series without the braces it has where there are no labels.
fn name(series: &str) -> String {
    series.trim_end_matches("{}").to_owned()
}
