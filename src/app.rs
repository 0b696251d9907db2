//! Configuration in, daemon out: start, reload, drain.
//!
//! Everything stops by closing what feeds it: targets are cancelled, so the bus ends, so the
//! pipeline empties its sinks and actions and returns. No task outlives [`App::close`].

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::actions::Actions;
use crate::api::{Api, Daemon};
use crate::config::Config;
use crate::events::Events;
use crate::ingest::Ingest;
use crate::metrics::{Counter, Gauge, Metrics};
use crate::pipeline::{self, BUS_POLLS_MAX, Handle, Pipeline};
use crate::pollers::Shared;
use crate::rules::{AlertSeries, Engine, Selection};
use crate::sample::{Catalogue, Clock, Timestamp};
use crate::state::State;
use crate::store::Store;
use crate::supervisor::{Board, Changes, Env, Supervisor};

mod keepers;
mod listening;
mod myself;
mod view;

use keepers::Keepers;
use listening::{Bound, Listening};
use view::View;

/// What queues get to empty themselves; with the rest of the shutdown it stays below the five
/// seconds after which systemd would be within its rights to kill.
const DRAIN_GRACE: Duration = Duration::from_secs(4);

/// The longest that rules are shown of what was before the start: what looks back further fills its
/// windows anew, for a start must not take minutes.
const REPLAY_MAX: Duration = Duration::from_secs(6 * 3_600);

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another watchpost has the state directory.
    #[error(
        "{} is in use by another watchpost; stop it, or set another `state_dir`", .0.display()
    )]
    InUse(PathBuf),
    /// The HTTP listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {0} (`listen` in [api]): {1}")]
pub struct ListenError(SocketAddr, #[source] io::Error);

/// The running daemon.
#[derive(Debug)]
pub struct App {
    supervisor: Supervisor,
    pipeline: Handle,
    view: Arc<View>,
    ingest: Arc<Ingest>,
    metrics: Arc<Metrics>,
    listening: Listening,
    tasks: JoinSet<()>,
    /// Ends the API, and the store's task.
    stop: CancellationToken,
    store: Arc<Store>,
    reloads: [Counter; 2],
    kept: Kept,
}

/// What is only kept so that it stays.
#[derive(Debug)]
struct Kept {
    _lock: Option<Flock<std::fs::File>>,
    _gauges: Vec<Gauge>,
}

impl App {
    /// Starts everything; when this returns, targets are being polled and the API answers.
    ///
    /// A state directory that cannot be written is said and survived: watching goes on without it.
    ///
    /// # Errors
    /// Another watchpost on the same state directory, or an address that cannot be listened on.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let started = Instant::now();
        let config = Arc::new(config);
        let lock = lock_state_dir(&config.state_dir)?;
        let bound = Bound::open(config.api.listen)?;
        let metrics = Arc::new(Metrics::default());
        let clock = Arc::new(Clock::system());
        let gauges = about(&metrics, &clock, lock.is_some());
        let catalogue = Arc::new(Catalogue::default());
        let kept = Keepers::open(&config, lock.is_some(), &catalogue, &clock, &metrics);
        let Keepers { journal, store, from_journal, sinks } = kept;
        let shared = Arc::new(Shared::new(clock.clone()));
        let events = Events::default();
        let (bus, from_bus) = mpsc::channel(BUS_POLLS_MAX);
        let (handle, asks) = pipeline::handle();
        let engine = engine(&config, &catalogue, &store, clock.now());
        let folder = lock.is_some().then_some(&*config.state_dir);
        let (state, saved) = State::open(folder, &metrics);
        let actions = actions(&config, folder, &shared, &metrics);
        let action_board = actions.board();
        let series = AlertSeries::new(catalogue.clone());
        let (told, time) = (events.clone(), clock.clone());
        let pipeline =
            Pipeline { engine, actions, journal, sinks, series, state, events: told, clock: time };
        let (known, time) = (catalogue.clone(), clock.clone());
        let ingest = Arc::new(Ingest::new(&config, known, time, handle.clone(), &metrics));
        let mut tasks = JoinSet::new();
        let counted = metrics.clone();
        tasks.spawn(async move {
            pipeline.run(saved, from_bus, asks, &counted, DRAIN_GRACE).await;
        });
        let stop = CancellationToken::new();
        if let Some(reader) = from_journal {
            tasks.spawn(store.clone().run(reader, clock.clone(), stop.clone()));
        }
        let (counted, told) = (metrics.clone(), events.clone());
        let env = Env { catalogue, shared, metrics: counted, events: told, bus, started };
        let site = config.site.clone();
        tasks.spawn(myself::observe(&env, site, handle.clone(), stop.clone()));
        let mut supervisor = Supervisor::new(env);
        supervisor.update(&config.targets).await;
        let view =
            Arc::new(View::new(config.clone(), supervisor.board(), action_board, handle.clone()));
        let api = Api {
            daemon: view.clone(),
            metrics: metrics.clone(),
            events,
            ingest: ingest.clone(),
            history: store.clone(),
            clock,
        };
        let (token, until) = (config.api.token.clone(), stop.child_token());
        let listening = Listening::start(api.server(), bound, token, &mut tasks, until);
        announce(&config, listening.address());
        let (reloads, pipeline) = (reloads(&metrics), handle);
        let kept = Kept { _lock: lock, _gauges: gauges };
        Ok(Self {
            supervisor,
            pipeline,
            view,
            ingest,
            reloads,
            metrics,
            listening,
            tasks,
            stop,
            store,
            kept,
        })
    }

    /// Where the API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// The targets as they stand.
    #[must_use]
    pub fn board(&self) -> Board {
        self.supervisor.board()
    }

    /// What was judged, for as long as it is kept.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The daemon's counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether samples are being judged: asks the task that judges, and waits for its answer.
    pub async fn judges(&self) -> bool {
        self.pipeline.alerts().await.is_some()
    }

    /// Done when nothing is judged any more, which before [`App::close`] only a bug can bring about.
    pub async fn broke(&self) {
        self.pipeline.ended().await;
    }

    /// Takes over another configuration: what did not change goes on undisturbed.
    ///
    /// Rules and actions change before targets, so that no sample of a new target meets old rules.
    ///
    /// # Errors
    /// An address that cannot be listened on: nothing is taken over then.
    pub async fn reload(&mut self, config: Config) -> Result<Changes, ListenError> {
        let config = Arc::new(config);
        let old = self.view.config();
        let prepared = self.listening.prepare(&old.api, &config.api)?;
        if old.state_dir != config.state_dir {
            warn!("state_dir changes only at a restart; the old one goes on");
        }
        if !old.store.starts_like(&config.store) {
            warn!("of [store], the journal's keys and `enabled` change only at a restart");
        }
        let (token, until) = (config.api.token.clone(), self.stop.child_token());
        self.listening.change(prepared, token, &mut self.tasks, until);
        self.store.set_limits(config.store.limits());
        self.pipeline.reload(config.clone()).await;
        let changes = self.supervisor.update(&config.targets).await;
        self.pipeline.forget(changes.removed.clone()).await;
        self.ingest.reconfigure(&config);
        self.view.replace(config);
        self.reloads[0].inc();
        info!(
            started = changes.started,
            stopped = changes.stopped,
            kept = changes.kept,
            "reloaded the configuration"
        );
        Ok(changes)
    }

    /// Counts a configuration that was refused; the one before goes on.
    pub fn refused_reload(&self) {
        self.reloads[1].inc();
    }

    /// Stops polling, judges what was read, empties the queues, and ends: within five seconds.
    pub async fn close(self) {
        let Self { supervisor, mut tasks, stop, kept, .. } = self;
        supervisor.close().await;
        // What the store has not taken in by now is in the journal.
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        drop(kept);
        info!("stopped");
    }
}

fn announce(config: &Config, address: SocketAddr) {
    info!(
        targets = config.targets.len(), rules = config.rules.len(),
        actions = config.actions.len(), sinks = config.sinks.len(),
        api = %address, "started"
    );
}

/// The actions, with what they were not done with before.
fn actions(
    config: &Config,
    folder: Option<&Path>,
    shared: &Arc<Shared>,
    metrics: &Arc<Metrics>,
) -> Actions {
    let mut actions = Actions::start(&config.actions, shared.clone(), metrics.clone());
    if let Some(folder) = folder {
        actions.keep_in(folder);
    }
    actions
}

/// Makes the state directory this process' own, as long as the lock is kept. `None` where it
/// cannot be written.
fn lock_state_dir(path: &Path) -> Result<Option<Flock<std::fs::File>>, StartError> {
    let file = std::fs::create_dir_all(path).and_then(|()| {
        let lock = path.join("lock");
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(lock)
    });
    match file.map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock)) {
        Ok(Ok(lock)) => Ok(Some(lock)),
        Ok(Err((_, nix::errno::Errno::EWOULDBLOCK))) => Err(StartError::InUse(path.to_owned())),
        Ok(Err((_, error))) => {
            warn!(path = %path.display(), %error, "cannot lock the state directory; going on without");
            Ok(None)
        }
        Err(error) => {
            warn!(
                path = %path.display(), %error,
                "cannot write the state directory; going on without keeping state"
            );
            Ok(None)
        }
    }
}

/// Reloads that took the new configuration, and those that refused it.
fn reloads(metrics: &Metrics) -> [Counter; 2] {
    let help = "Reloads of the configuration.";
    ["ok", "refused"].map(|result| {
        metrics.counter("watchpost_config_reloads_total", help, &[("result", result)])
    })
}

/// An engine whose rules see what they would have seen had the daemon not ended.
fn engine(config: &Config, catalogue: &Arc<Catalogue>, store: &Store, now: Timestamp) -> Engine {
    let mut engine = Engine::new(catalogue.clone(), config.rules.clone());
    config.targets.iter().for_each(|t| engine.polled_every(&t.id(), t.interval));
    if let Some(reach) = engine.reach() {
        let from = now - reach.min(REPLAY_MAX);
        let asked = Selection::of_expressions(config.rules.iter().map(|rule| &**rule));
        let batches = store.batches(from, now, |series| asked.wants(series));
        batches.for_each(|batch| engine.replay(&batch));
    }
    engine
}

fn about(metrics: &Metrics, clock: &Clock, has_state_dir: bool) -> Vec<Gauge> {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    let build = metrics.gauge("watchpost_build_info", "Which watchpost this is.", &version);
    build.set(1.0);
    let start = metrics.gauge(
        "watchpost_start_time_seconds",
        "When it was started, in seconds since the epoch.",
        &[],
    );
    start.set(clock.now().as_secs_f64());
    let state = metrics.gauge(
        "watchpost_state_dir_writable",
        "Whether the state directory can be written.",
        &[],
    );
    state.set(f64::from(u8::from(has_state_dir)));
    vec![build, start, state]
}
