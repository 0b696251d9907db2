//! `watchpost notify`: shows a daemon's alerts on the desktop of the user who runs it.

use std::path::Path;
use std::process::ExitCode;

use super::{client, failed, log, runtime};
use crate::notify::{self, Settings};
use crate::rules::Severity;

/// Which daemon, and what of it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    daemon: client::Daemon,
    /// Show only alerts at least this severe: info, warning or critical
    #[arg(long, default_value = "info", value_parser = severity, value_name = "SEVERITY")]
    min_severity: Severity,
}

fn severity(word: &str) -> Result<Severity, String> {
    word.parse()
}

pub(super) fn run(config: Option<&Path>, args: &Args, log: &log::Args) -> ExitCode {
    let done = log.start().and_then(|()| {
        let client::Access { url, token, tls } = args.daemon.access(config)?;
        let settings = Settings { url, token, tls, min_severity: args.min_severity };
        let runtime = runtime().map_err(|error| format!("cannot start the runtime: {error}"))?;
        runtime.block_on(notify::run(settings)).map_err(|error| error.to_string())
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => failed(&message),
    }
}
