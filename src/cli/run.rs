//! `watchpost run`: the daemon under systemd or on a terminal.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, info, warn};

use super::{bad_config, failed, load, log, runtime};
use crate::app::App;
use crate::config::Config;

pub(super) fn run(path: Option<&Path>, log: &log::Args) -> ExitCode {
    let config = match load(path) {
        Ok(config) => config,
        Err(diagnostics) => return bad_config(&diagnostics),
    };
    if let Err(error) = log.start() {
        return failed(&error);
    }
    crate::process::adopt();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start the runtime: {error}")),
    };
    let code = match runtime.block_on(serve(config, path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    };
    // A blocking thread stuck in a device or a name server must not hold up the end.
    runtime.shutdown_background();
    code
}

async fn serve(config: Config, path: Option<&Path>) -> Result<(), Box<dyn std::error::Error>> {
    let mut signals = Signals::new()?;
    let watching = watching(&config);
    let mut app = App::start(config).await?;
    tell(&[NotifyState::Ready, NotifyState::Status(&watching)]);
    let mut watchdog = Watchdog::new();
    loop {
        tokio::select! {
            biased;
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hangup.recv() => reload(&mut app, path).await,
            // Polling on with nobody to judge would look like watching. A new start may help.
            () = app.broke() => return Err("the engine has ended, which is a bug".into()),
            () = watchdog.due() => watchdog.feed(&app).await,
        }
    }
    tell(&[NotifyState::Stopping]);
    info!("stopping");
    tokio::select! {
        () = app.close() => Ok(()),
        _ = signals.terminate.recv() => Err("stopped by a second signal".into()),
        _ = signals.interrupt.recv() => Err("stopped by a second signal".into()),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Reads the configuration again; a bad one is refused whole, and the one before goes on.
async fn reload(app: &mut App, path: Option<&Path>) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "cannot read the monotonic clock for systemd"),
    }
    let taken = match load(path) {
        Ok(config) => {
            let watching = watching(&config);
            app.reload(config).await.map(|_| watching).map_err(|error| error.to_string())
        }
        Err(diagnostics) => Err(diagnostics.to_string()),
    };
    let status = match taken {
        Ok(watching) => watching,
        Err(mistakes) => {
            app.refused_reload();
            error!("the new configuration is refused, the old one goes on:\n{mistakes}");
            "the new configuration is refused, the old one goes on".into()
        }
    };
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// What `systemctl status` shows.
fn watching(config: &Config) -> String {
    format!("targets: {}, rules: {}", config.targets.len(), config.rules.len())
}

/// Tells systemd, if it listens.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "cannot notify systemd");
    }
}

/// Feeds systemd's watchdog, but only while the task that judges answers: a stuck pipeline is a
/// dead daemon, however alive its timers are.
struct Watchdog(Option<tokio::time::Interval>);

/// An answer from the pipeline takes microseconds.
const ANSWER_MAX: Duration = Duration::from_secs(5);

impl Watchdog {
    fn new() -> Self {
        Self(sd_notify::watchdog_enabled().map(|limit| {
            let mut beat = interval(limit / 3);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beat
        }))
    }

    async fn due(&mut self) {
        match &mut self.0 {
            Some(beat) => {
                beat.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    async fn feed(&self, app: &App) {
        if matches!(timeout(ANSWER_MAX, app.judges()).await, Ok(true)) {
            tell(&[NotifyState::Watchdog]);
        } else {
            error!("the engine does not answer; systemd's watchdog is not fed");
        }
    }
}
