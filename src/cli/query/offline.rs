//! What the daemon would answer, where none runs: its store is read, and nothing is written.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;

use super::super::load;
use super::Question;
use crate::api;
use crate::promql::{self, Options, eval};
use crate::sample::{Catalogue, Clock};
use crate::store::Store;

/// Evaluates the question over the store of the configuration.
pub(super) fn ask(path: Option<&Path>, query: &str, question: &Question) -> Result<Json, String> {
    let config = load(path).map_err(|_| "the configuration cannot be read".to_owned())?;
    let (folder, journal) = (config.store_dir(), config.journal_dir());
    let expr = promql::parse(query).map_err(|wrong| wrong.to_string())?;
    let catalogue = Arc::<Catalogue>::default();
    let journal = Some(journal.as_path()).filter(|journal| journal.exists());
    let now = Clock::system().now();
    let store = Store::open_read_only(&folder, journal, &catalogue, config.store.limits(), now)
        .map_err(|error| format!("cannot read the store {}: {error}", folder.display()))?;
    let (options, go_on) = (Options::default(), || Ok(()));
    let answer = match *question {
        Question::At(time) => eval::instant(&store, &expr, time, &options, &go_on),
        Question::Over { from, to, step } => {
            let step = std::time::Duration::from_nanos(step.unsigned_abs());
            eval::range(&store, &expr, (from, to), step, &options, &go_on)
        }
    };
    let answer = answer.map_err(|error| error.to_string())?;
    serde_json::from_slice(&api::whole(&answer, query)).map_err(|error| error.to_string())
}
