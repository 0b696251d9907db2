//! `watchpost notify`: shows a daemon's alerts on the desktop of the user who runs it.

use std::path::PathBuf;
use std::process::ExitCode;

use url::Url;

use super::{failed, log, runtime};
use crate::config::Secret;
use crate::notify::{self, Settings};
use crate::rules::Severity;
use crate::tls::Tls;

/// Variable with the daemon's address.
const URL_VARIABLE: &str = "WATCHPOST_URL";

/// Where the daemon listens if nobody says otherwise.
const URL_DEFAULT: &str = "http://127.0.0.1:9465";

/// Variable with the daemon's token; an argument would show it to everybody on the machine.
const TOKEN_VARIABLE: &str = "WATCHPOST_TOKEN";

/// Which daemon, and what of it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The daemon's address [default: $WATCHPOST_URL, else http://127.0.0.1:9465]
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// The file with the daemon's token [default: the token in $WATCHPOST_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A PEM file of authorities to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Show only alerts at least this severe: info, warning or critical
    #[arg(long, default_value = "info", value_parser = severity, value_name = "SEVERITY")]
    min_severity: Severity,
}

fn severity(word: &str) -> Result<Severity, String> {
    word.parse()
}

pub(super) fn run(args: Args, log: &log::Args) -> ExitCode {
    let done = log.start().and_then(|()| {
        let settings = settings(args)?;
        let runtime = runtime().map_err(|error| format!("cannot start the runtime: {error}"))?;
        runtime.block_on(notify::run(settings)).map_err(|error| error.to_string())
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => failed(&message),
    }
}

fn settings(args: Args) -> Result<Settings, String> {
    let token = match args.token_file {
        Some(file) => Some(
            std::fs::read_to_string(&file)
                .map_err(|error| format!("cannot read {}: {error}", file.display()))?,
        ),
        None => std::env::var(TOKEN_VARIABLE).ok(),
    };
    let url = match args.url {
        Some(url) => url,
        None => {
            let text = std::env::var(URL_VARIABLE).unwrap_or_else(|_| URL_DEFAULT.into());
            text.parse().map_err(|error| format!("${URL_VARIABLE} is not a URL: {error}"))?
        }
    };
    Ok(Settings {
        url,
        token: token.map(|token| Secret::new(token.trim_end())),
        tls: Tls { ca: args.ca, ..Tls::default() },
        min_severity: args.min_severity,
    })
}
