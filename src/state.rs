//! What survives a restart besides samples: a small database, `state_dir/state.redb`.
//!
//! For now it keeps the alerts. Nobody who judges waits for it: what changed is put into a mailbox
//! that holds the newest of each alert, and one task writes what is there. What could not be written
//! stays in the mailbox and is tried again. A database that cannot be read is moved aside and begun
//! anew: the alerts begin anew as well, which is told at worst once too often.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::metrics::{Counter, Gauge, Metrics};
use crate::rules::{Saved, Unsaved};

/// Alerts by their keys, as JSON: another version reads what it knows of it.
const ALERTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("alerts");

/// Memory for pages: alerts are few and written rarely.
const CACHE_BYTES: usize = 1 << 20;

/// Between a write that failed and the next: a full disk does not empty at once.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Keeps what survives a restart.
#[derive(Debug)]
pub struct State {
    mailbox: Option<Arc<Mailbox>>,
    writer: JoinSet<()>,
    closing: CancellationToken,
}

/// What is to be written: the newest of each alert, and so as many as there are alerts at most.
#[derive(Debug)]
struct Mailbox {
    waiting: Mutex<BTreeMap<Arc<str>, Option<Saved>>>,
    wake: Notify,
    ok: Counter,
    failed: Counter,
    unsaved: Gauge,
}

impl Mailbox {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Option<Saved>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What could not be written waits again, unless there is newer.
    fn put_back(&self, batch: BTreeMap<Arc<str>, Option<Saved>>) {
        let mut waiting = self.waiting();
        for (key, saved) in batch {
            waiting.entry(key).or_insert(saved);
        }
    }
}

impl State {
    /// Opens the database in a folder, and gives back what it kept. Without a folder, or where the
    /// database can be neither read nor begun anew, nothing is kept.
    #[must_use]
    pub fn open(folder: Option<&Path>, metrics: &Metrics) -> (Self, Vec<Saved>) {
        let nothing =
            || Self { mailbox: None, writer: JoinSet::new(), closing: CancellationToken::new() };
        let Some(folder) = folder else { return (nothing(), Vec::new()) };
        let path = folder.join("state.redb");
        let opened = open(&path).or_else(|error| {
            let aside = path.with_extension("redb.broken");
            error!(path = %path.display(), aside = %aside.display(), %error,
                "cannot read the kept alerts; they are moved aside and begin anew");
            std::fs::rename(&path, &aside)?;
            open(&path)
        });
        let (database, saved) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                error!(path = %path.display(), %error, "cannot keep alerts over a restart");
                return (nothing(), Vec::new());
            }
        };
        let written = |result| {
            let help = "Writes of what survives a restart.";
            metrics.counter("watchpost_state_writes_total", help, &[("result", result)])
        };
        let mailbox = Arc::new(Mailbox {
            waiting: Mutex::default(),
            wake: Notify::new(),
            ok: written("ok"),
            failed: written("failed"),
            unsaved: metrics.gauge(
                "watchpost_state_unsaved",
                "Alerts whose change is not on disk yet.",
                &[],
            ),
        });
        let closing = CancellationToken::new();
        let mut writer = JoinSet::new();
        let kept = Kept { path, database: Some(database) };
        writer.spawn(write_all(mailbox.clone(), kept, closing.clone()));
        (Self { mailbox: Some(mailbox), writer, closing }, saved)
    }

    /// Has it written what changed. Never waits.
    pub fn keep(&self, unsaved: Vec<Unsaved>) {
        let Some(mailbox) = self.mailbox.as_ref().filter(|_| !unsaved.is_empty()) else { return };
        let mut waiting = mailbox.waiting();
        waiting.extend(unsaved);
        mailbox.unsaved.set(waiting.len() as f64);
        drop(waiting);
        mailbox.wake.notify_one();
    }

    /// Writes what is left, for at most `grace`.
    pub async fn close(mut self, grace: Duration) {
        self.closing.cancel();
        let written = async { while self.writer.join_next().await.is_some() {} };
        if timeout(grace, written).await.is_err() {
            warn!("stopped before all alerts were kept");
        }
    }
}

/// Opens or begins the database, and reads all of it.
fn open(path: &PathBuf) -> Result<(Database, Vec<Saved>), Failure> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    let transaction = database.begin_write()?;
    transaction.open_table(ALERTS)?;
    transaction.commit()?;
    let (mut saved, mut strange) = (Vec::new(), 0_usize);
    for entry in database.begin_read()?.open_table(ALERTS)?.iter()? {
        match serde_json::from_slice(entry?.1.value()) {
            Ok(one) => saved.push(one),
            Err(_) => strange += 1,
        }
    }
    if strange > 0 {
        warn!(alerts = strange, "kept by another version and not understood; they begin anew");
    }
    if !saved.is_empty() {
        info!(alerts = saved.len(), "takes over the alerts from before");
    }
    Ok((database, saved))
}

/// The database, closed after a failure: redb refuses to go on with one whose disk has failed.
struct Kept {
    path: PathBuf,
    database: Option<Database>,
}

impl Kept {
    fn write(&mut self, batch: &BTreeMap<Arc<str>, Option<Saved>>) -> Result<(), Failure> {
        let database = match self.database.take() {
            Some(database) => database,
            None => Database::builder().set_cache_size(CACHE_BYTES).create(&self.path)?,
        };
        write(&database, batch)?;
        self.database = Some(database);
        Ok(())
    }
}

/// Writes whatever waits until it is to close and nothing does.
async fn write_all(mailbox: Arc<Mailbox>, mut kept: Kept, closing: CancellationToken) {
    let mut failing = false;
    loop {
        let batch = std::mem::take(&mut *mailbox.waiting());
        if batch.is_empty() {
            if closing.is_cancelled() {
                return;
            }
            tokio::select! {
                () = mailbox.wake.notified() => {}
                () = closing.cancelled() => {}
            }
            continue;
        }
        let written = tokio::task::spawn_blocking(move || {
            let result = kept.write(&batch);
            (kept, batch, result)
        });
        // The task cannot be cancelled and does not panic on what a disk may do.
        let Ok((same, batch, result)) = written.await else { return };
        kept = same;
        match result {
            Ok(()) => {
                mailbox.ok.inc();
                mailbox.unsaved.set(mailbox.waiting().len() as f64);
                if std::mem::replace(&mut failing, false) {
                    info!("alerts are kept again");
                }
            }
            Err(error) => {
                mailbox.failed.inc();
                if !std::mem::replace(&mut failing, true) {
                    error!(%error, "cannot write what survives a restart; tried again");
                }
                mailbox.put_back(batch);
                tokio::select! {
                    () = sleep(RETRY_INTERVAL) => {}
                    () = closing.cancelled() => return,
                }
            }
        }
    }
}

fn write(database: &Database, batch: &BTreeMap<Arc<str>, Option<Saved>>) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(ALERTS)?;
        for (key, saved) in batch {
            match saved {
                Some(saved) => drop(table.insert(&**key, &*serde_json::to_vec(saved)?)?),
                None => drop(table.remove(&**key)?),
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Loader;
    use crate::rules::Engine;
    use crate::sample::{Batch, Catalogue, Sample, Timestamp};

    const RULES: &str = "[rule.r]\nmetric = 'a_b'\nabove = 1\n";

    fn fire(value: f64) -> Engine {
        let config = Loader { env: &|_| None }.load_text(Path::new("t.toml"), RULES).unwrap();
        let catalogue = Arc::new(Catalogue::default());
        let series = catalogue.intern("a", "b", &[("target", "t")]);
        let mut engine = Engine::new(catalogue, config.rules);
        let samples = vec![Sample { series, value }];
        let batch = Batch { target: "t".into(), time: Timestamp::from_secs(9), samples };
        engine.apply(&batch, &mut Vec::new());
        engine
    }

    #[tokio::test]
    async fn what_is_kept_is_there_after_a_restart_and_gone_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::default();
        let (state, saved) = State::open(Some(folder.path()), &metrics);
        assert!(saved.is_empty());
        let mut unsaved = fire(2.0).unsaved();
        let [(key, Some(one))] = &unsaved[..] else { panic!("{unsaved:?}") };
        let (key, one) = (key.clone(), one.clone());
        state.keep(std::mem::take(&mut unsaved));
        state.close(Duration::from_secs(10)).await;
        let (state, saved) = State::open(Some(folder.path()), &metrics);
        assert_eq!(saved, [one]);
        state.keep(vec![(key, None)]);
        state.close(Duration::from_secs(10)).await;
        assert!(State::open(Some(folder.path()), &metrics).1.is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        std::fs::write(&path, "this is no database".repeat(1000)).unwrap();
        let (state, saved) = State::open(Some(folder.path()), &Metrics::default());
        assert!(saved.is_empty() && folder.path().join("state.redb.broken").exists());
        state.keep(fire(2.0).unsaved());
        state.close(Duration::from_secs(10)).await;
        assert_eq!(State::open(Some(folder.path()), &Metrics::default()).1.len(), 1);
    }

    #[tokio::test]
    async fn without_a_folder_that_can_be_written_nothing_is_kept_and_nothing_breaks() {
        let (state, saved) = State::open(Some(Path::new("/proc/nothing")), &Metrics::default());
        assert!(saved.is_empty());
        state.keep(fire(2.0).unsaved());
        state.close(Duration::ZERO).await;
    }
}
