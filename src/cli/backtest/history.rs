//! Opens the history that was asked for.

use std::sync::Arc;

use url::Url;

use super::super::runtime;
use super::{Args, Failure};
use crate::backtest::source::influxdb::Access;
use crate::backtest::source::{Form, InfluxDb, Source, SourceError, Wanted};
use crate::config::Config;
use crate::sample::{Catalogue, Timestamp};
use crate::sinks::SinkConfig;
use crate::store::Store;

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The store of the configuration, beside a daemon that may be writing it.
pub(super) fn store(
    config: Option<&Config>,
    catalogue: &Arc<Catalogue>,
    now: Timestamp,
) -> Result<Store, Failure> {
    let Some(config) = config else {
        return Err(Failure::Usage("no configuration says where the store is".to_owned()));
    };
    let (folder, journal) = (config.store_dir(), config.journal_dir());
    let journal = Some(journal.as_path()).filter(|journal| journal.exists());
    let store = Store::open_read_only(&folder, journal, catalogue, config.store.limits(), now);
    store.map_err(|error| {
        let folder = folder.display();
        Failure::Failed(format!(
            "cannot read the store {folder}: {error}; other sources are --csv, --lines and \
             --influxdb"
        ))
    })
}

/// The source that was asked for.
pub(super) fn open<'a>(
    store: Option<&'a Store>,
    args: &Args,
    config: Option<&Config>,
    wanted: &Wanted<'a>,
    now: Timestamp,
) -> Result<Source<'a>, Failure> {
    if let Some(store) = store {
        return Ok(Source::store(store, wanted));
    }
    for (path, form) in [(&args.csv, Form::Csv), (&args.lines, Form::Lines)] {
        if let Some(path) = path {
            return Ok(Source::file(path, form, wanted)?);
        }
    }
    let access = access(args, config)?;
    let runtime = runtime().map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(Source::InfluxDb(Box::new(InfluxDb::open(access, runtime, wanted, now)?)))
}

fn access(args: &Args, config: Option<&Config>) -> Result<Access, Failure> {
    let name = args.influxdb.as_deref().unwrap_or_default();
    if let Ok(url) = Url::parse(name) {
        let database = args.database.clone().ok_or_else(|| {
            Failure::Usage("InfluxDB by URL needs the name of a --database".to_owned())
        })?;
        return Ok(Access::of_url(&url, database));
    }
    if args.database.is_some() {
        let message = format!("[influxdb.{name}] says which database; --database goes with a URL");
        return Err(Failure::Usage(message));
    }
    let sinks = config.iter().flat_map(|config| &config.sinks);
    let mut named = sinks.filter_map(|sink| match &sink.value {
        SinkConfig::Influxdb(config) if *sink.name == *format!("influxdb.{name}") => Some(config),
        _ => None,
    });
    let found = named.next().ok_or_else(|| {
        let message = format!("the configuration has no [influxdb.{name}]; a URL goes as well");
        Failure::Usage(message)
    })?;
    Ok(Access::of_sink(found))
}
