//! Where the log goes and what it looks like.

use std::fmt::Result;
use std::io::IsTerminal;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{self, Format, Full, Writer};
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::COMMON;

/// What log lines look like.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Look {
    Auto,
    Text,
    Json,
    Journal,
}

/// How to log.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What log lines look like; auto means journal under systemd, else text
    #[arg(long, global = true, help_heading = COMMON, value_enum, default_value = "auto")]
    #[arg(value_name = "FORMAT")]
    log_format: Look,
    /// What is logged: error, warn, info, debug, trace, or directives such as watchpost=debug
    /// [default: $WATCHPOST_LOG, else info]
    #[arg(long, global = true, help_heading = COMMON, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Args {
    /// Starts logging, to standard error.
    pub(super) fn start(&self) -> std::result::Result<(), String> {
        let level = self.log_level.clone().or_else(|| std::env::var("WATCHPOST_LOG").ok());
        let level = level.as_deref().unwrap_or("info");
        let filter: Targets =
            level.parse().map_err(|error| format!("--log-level {level}: {error}"))?;
        let registry = tracing_subscriber::registry().with(filter);
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
        // Set by systemd where standard error is the journal.
        let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
        let started = match self.log_format {
            Look::Json => registry.with(lines.json().flatten_event(true)).try_init(),
            Look::Journal => {
                registry.with(lines.with_ansi(false).event_format(journal())).try_init()
            }
            Look::Auto if under_systemd => {
                registry.with(lines.with_ansi(false).event_format(journal())).try_init()
            }
            Look::Auto | Look::Text => registry.with(lines.with_target(false)).try_init(),
        };
        started.map_err(|error| format!("cannot start logging: {error}"))
    }
}

/// Lines for the journal: without a time, which the journal has itself, and with everything else,
/// because `journalctl` shows nothing but the line.
fn journal() -> Prioritised {
    Prioritised(format::format().without_time().with_level(false).with_target(false))
}

/// Each line with its priority in front, as in sd-daemon(3).
struct Prioritised(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Prioritised
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> Result {
        // Syslog's severities, RFC 5424 §6.2.1.
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        text.lines().try_for_each(|line| writeln!(out, "<{priority}>{line}"))
    }
}
