//! The command line: what may be typed, and one file for each subcommand.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 78 bad configuration.

mod alerts;
mod backtest;
mod check;
mod client;
mod explain;
mod generate;
mod journal;
mod log;
mod notify;
mod probe;
mod query;
mod run;
mod schema;
mod test;
mod time;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, Diagnostics, Loader};

/// A bad configuration (EX_CONFIG of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// Where the configuration is looked for when none is named.
const DEFAULT_CONFIG: &str = "/etc/watchpost/config.toml";

/// Under which heading help shows the options all commands have.
const COMMON: &str = "Common options";

/// What help says after all commands.
const FIRST_STEPS: &str = "\
`watchpost run` needs no configuration: without one it watches this host, and shows what it sees at \
http://127.0.0.1:9465/. `watchpost check --config FILE` finds what is wrong with a configuration.

Exit codes: 0 done, 1 failed, 2 wrong arguments, 78 wrong configuration.";

/// What help says after the daemon's options.
const RUNNING: &str = "\
Runs in the foreground, logs to standard error, and shows its page at the address in [api], \
http://127.0.0.1:9465/ by default. SIGHUP reads the configuration again, SIGTERM or Ctrl-C ends it.";

/// Watches networks and sensors: polls, judges every sample as it arrives, alerts and acts.
#[derive(Debug, Parser)]
#[command(name = "watchpost", version, max_term_width = 100, after_help = FIRST_STEPS)]
pub struct Cli {
    /// The configuration file [default: /etc/watchpost/config.toml if there is one, else a
    /// built-in configuration that watches this host]
    #[arg(long, short, global = true, help_heading = COMMON, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    log: log::Args,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon; the same as no command
    #[command(after_help = RUNNING)]
    Run,
    /// Check the configuration, and show every mistake with its place
    Check(check::Args),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Poll one target once and print what it says
    Probe(probe::Args),
    /// Evaluate a PromQL expression, and print or draw what it yields
    Query(query::Args),
    /// Print the alerts of a running daemon
    Alerts(alerts::Args),
    /// Ask a running daemon why a rule fires, or why it does not
    Explain(explain::Args),
    /// Run rule tests
    Test(test::Args),
    /// Run rules over history, and show what would have fired
    Backtest(backtest::Args),
    /// Verify the journal, where samples are kept first
    #[command(subcommand)]
    Journal(journal::Command),
    /// Show a daemon's alerts on this desktop
    Notify(notify::Args),
    /// Generate shell completions and manual pages, for packages
    #[command(hide = true, subcommand)]
    Generate(generate::Generate),
}

/// Parses the arguments, does what they say and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let Cli { config, log, command } = cli;
    match command.unwrap_or(Command::Run) {
        Command::Run => run::run(config.as_deref(), &log),
        Command::Check(args) => check::run(config.as_deref(), &args),
        Command::Schema => schema::run(),
        Command::Probe(args) => probe::run(config.as_deref(), &args),
        Command::Query(args) => query::run(config.as_deref(), &args),
        Command::Alerts(args) => alerts::run(config.as_deref(), &args),
        Command::Explain(args) => explain::run(config.as_deref(), &args),
        Command::Test(args) => test::run(&args),
        Command::Backtest(args) => backtest::run(config.as_deref(), &args),
        Command::Journal(command) => journal::run(config.as_deref(), &command),
        Command::Notify(args) => notify::run(config.as_deref(), &args, &log),
        Command::Generate(what) => {
            match generate::run(&what, Cli::command(), &mut std::io::stdout().lock()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            }
        }
    }
}

/// Reads the configuration that was named, or the one there is.
fn load(path: Option<&Path>) -> Result<Config, Diagnostics> {
    load_with_warnings(path).map(|(config, _)| config)
}

/// As [`load`], and what works but is hardly meant.
fn load_with_warnings(path: Option<&Path>) -> Result<(Config, Diagnostics), Diagnostics> {
    let env = |name: &str| std::env::var(name).ok();
    let loader = Loader { env: &env };
    let default = Path::new(DEFAULT_CONFIG);
    match path {
        Some(path) => loader.load_with_warnings(path),
        None if default.exists() => loader.load_with_warnings(default),
        None => loader.load_built_in(),
    }
}

/// Prints what is wrong with the configuration.
#[expect(clippy::print_stderr, reason = "a command speaks to who typed it")]
fn bad_config(diagnostics: &Diagnostics) -> ExitCode {
    eprintln!("{diagnostics}");
    ExitCode::from(EXIT_CONFIG)
}

/// Prints why a command failed.
#[expect(clippy::print_stderr, reason = "a command speaks to who typed it")]
fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("watchpost: {error}");
    ExitCode::FAILURE
}

/// Prints a command's answer. Whoever closed the pipe has seen enough; the exit code still tells.
fn print(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).ok();
}

/// Whether what is printed may have colours: to a terminal, unless `NO_COLOR` is set.
fn wants_color() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// A text from outside as one line that cannot steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A runtime on this thread: waiting is what watchpost does most, and judging takes microseconds.
/// What computes for long goes to tokio's blocking threads.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
