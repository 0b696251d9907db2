//! Where the log goes and what it looks like.

use std::io::IsTerminal;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What log lines look like.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Auto,
    Text,
    Json,
    Journal,
}

/// How to log.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What log lines look like; auto is the journal under systemd, else text
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "FORMAT")]
    log_format: Format,
    /// What is logged: error, warn, info, debug, trace, or directives such as watchpost=debug
    /// [default: $WATCHPOST_LOG, else info]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Args {
    /// Starts logging, to standard error or the journal.
    pub(super) fn start(&self) -> Result<(), String> {
        let level = self.log_level.clone().or_else(|| std::env::var("WATCHPOST_LOG").ok());
        let level = level.as_deref().unwrap_or("info");
        let filter =
            EnvFilter::try_new(level).map_err(|error| format!("--log-level {level}: {error}"))?;
        let registry = tracing_subscriber::registry().with(filter);
        // Set by systemd where standard error is the journal.
        let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
        let started = match self.log_format {
            Format::Journal => {
                let journal = tracing_journald::layer()
                    .map_err(|error| format!("cannot reach the journal: {error}"))?;
                registry.with(journal).try_init()
            }
            Format::Auto if under_systemd && let Ok(journal) = tracing_journald::layer() => {
                registry.with(journal).try_init()
            }
            Format::Json => {
                let json = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
                registry.with(json).try_init()
            }
            Format::Auto | Format::Text => {
                let colour =
                    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                let text =
                    fmt::layer().with_ansi(colour).with_target(false).with_writer(std::io::stderr);
                registry.with(text).try_init()
            }
        };
        started.map_err(|error| format!("cannot start logging: {error}"))
    }
}
