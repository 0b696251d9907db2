//! `watchpost backtest`: rules over history, by the engine that runs live.

mod history;
mod progress;
mod rules;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::Instant;
use url::Url;

use super::{bad_config, failed, load, print, time};
use crate::backtest::expect::Expectation;
use crate::backtest::report::{self, Paint};
use crate::backtest::source::Wanted;
use crate::backtest::sweep::{self, Axis, Combination};
use crate::backtest::{Cadence, Contender, Judged, Others, Plan};
use crate::config::{Config, Diagnostics, parse_duration};
use crate::sample::{Catalogue, Clock, Timestamp};
use progress::Progress;

/// The code of what was typed wrongly, as clap has it.
const EXIT_USAGE: u8 = 2;

/// How far back history is read where nothing is said: as long as the store keeps samples.
const FROM_DEFAULT: Duration = Duration::from_secs(30 * 86_400);

/// Alerts that are listed one by one; more nobody reads, and they take memory.
const ALERTS_MAX: usize = 10_000;

/// Which rules, over what, and how to print.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(super) struct Args {
    /// Files of rules, folders with *.toml in them, or globs [default: the configuration's rules]
    rules: Vec<String>,
    /// Only rules of this name, which may have * and ?; may be given again
    #[arg(long = "rule", value_name = "NAME")]
    only: Vec<String>,
    /// Judge from this time on: -30d, 2026-01-31T12:00:00Z, or seconds since the epoch [default:
    /// -30d; of a file, its beginning]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Judge up to this time [default: to the end]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Set a key of all rules (above=80), or of one (rack-hot.for=2m); several values
    /// (above=70,80,90) are tried in all combinations
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Fail unless so many alerts fired: none, fired=2, or NAME>=1 with a rule's name; may be given
    /// again
    #[arg(long, value_name = "WHAT")]
    expect: Vec<Expectation>,
    /// Read a CSV file, compressed or not, instead of the store; - is standard input
    #[arg(long, value_name = "FILE", group = "source")]
    csv: Option<PathBuf>,
    /// Read a file of line protocol, compressed or not, instead of the store
    #[arg(long, value_name = "FILE", group = "source")]
    lines: Option<PathBuf>,
    /// Read InfluxDB instead of the store: the NAME of [influxdb.NAME], or a URL
    #[arg(long, value_name = "NAME|URL", group = "source")]
    influxdb: Option<String>,
    /// The database, where InfluxDB is given by URL
    #[arg(long, value_name = "NAME", requires = "influxdb")]
    database: Option<String>,
    /// How often targets are polled that the configuration does not know [default: of files and
    /// InfluxDB, as often as their samples come]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    interval: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Nothing is sent: actions are only named. The engine is the daemon's, on the time of the samples; it \
begins at --from as a daemon begins then: what rules look back on is read from before, and nothing is \
pending yet. The store and the journal are read beside a running daemon.

CSV: a header, then a sample a line. Columns time (RFC 3339 or a number since the epoch), value (or \
stale), and metric, or measurement and field; every other column is a tag. Line protocol has \
timestamps in nanoseconds. Lines may be in any order. Points without target, kind and site get them as \
if they were pushed to the daemon.

With --expect, the exit code is 1 where it is not met. A value of --set is TOML, or else a text: \
for=2m, above=80, outside=[1,2], critical.above=90.";

/// Why it was not done.
enum Failure {
    /// What was typed makes no sense.
    Usage(String),
    /// Rules or configuration are wrong.
    Config(Box<Diagnostics>),
    /// It did not work.
    Failed(String),
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Config(Box::new(diagnostics))
    }
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> ExitCode {
    match backtest(config, args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Config(diagnostics)) => bad_config(&diagnostics),
        Err(Failure::Failed(message)) => failed(&message),
        Err(Failure::Usage(message)) => {
            tell(&format!("watchpost: {message}"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command speaks to who typed it")]
fn tell(message: &str) {
    eprintln!("{message}");
}

/// What is asked for, read and checked.
struct Asked {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    now: Timestamp,
    axes: Vec<Axis>,
    combinations: Vec<Combination>,
}

impl Asked {
    fn new(args: &Args) -> Result<Self, Failure> {
        let now = Clock::system().now();
        let read = |text: &Option<String>| {
            text.as_deref().map(|text| time::parse(text, now)).transpose().map_err(Failure::Usage)
        };
        let (mut from, to) = (read(&args.from)?, read(&args.to)?);
        if args.csv.is_none() && args.lines.is_none() {
            from = from.or_else(|| Some(to.unwrap_or(now) - FROM_DEFAULT));
        }
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            return Err(Failure::Usage("--from must be before --to".to_owned()));
        }
        let axes = sweep::axes(&args.set).map_err(Failure::Usage)?;
        let combinations = sweep::combinations(&axes).map_err(Failure::Usage)?;
        if combinations.len() > 1 && !args.expect.is_empty() {
            let message = "--expect is about one set of rules, and --set has several values";
            return Err(Failure::Usage(message.to_owned()));
        }
        Ok(Self { from, to, now, axes, combinations })
    }
}

/// Does it; says whether what is expected was met.
fn backtest(path: Option<&Path>, args: &Args) -> Result<bool, Failure> {
    let asked = Asked::new(args)?;
    let config = configuration(path, args)?;
    let contenders = rules::contenders(path, args, &asked.combinations)?;
    let reported = contenders.first().map(|one| &*one.reported).unwrap_or_default();
    for expected in &args.expect {
        expected.check(reported.iter().map(|name| &**name)).map_err(Failure::Usage)?;
    }
    let started = Instant::now();
    let judged = judge(&asked, args, config.as_ref(), &contenders)?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        let mut json = report::json(&asked.combinations, &judged, seconds);
        json["expected"] = args.expect.iter().map(|one| met(one, &judged)).collect();
        print(&format!("{json:#}\n"));
    } else {
        print(&shown(&asked, &judged, seconds));
    }
    Ok(is_expected(args, &judged))
}

/// The configuration, where anything of it is needed: files of rules can be judged without.
fn configuration(path: Option<&Path>, args: &Args) -> Result<Option<Config>, Failure> {
    let is_url = args.influxdb.as_ref().is_some_and(|name| Url::parse(name).is_ok());
    let is_elsewhere = args.csv.is_some() || args.lines.is_some() || is_url;
    if path.is_none() && !args.rules.is_empty() && is_elsewhere {
        return Ok(None);
    }
    Ok(Some(load(path)?))
}

fn judge(
    asked: &Asked,
    args: &Args,
    config: Option<&Config>,
    contenders: &[Contender],
) -> Result<Judged, Failure> {
    let catalogue = Arc::new(Catalogue::default());
    let targets = config.iter().flat_map(|config| &config.targets);
    let is_store = args.csv.is_none() && args.lines.is_none() && args.influxdb.is_none();
    let others = match args.interval {
        Some(interval) => Others::Every(interval),
        None if is_store => Others::Unknown,
        None => Others::AsSeen,
    };
    let plan = Plan {
        catalogue: catalogue.clone(),
        contenders,
        from: asked.from,
        to: asked.to,
        cadence: Cadence { known: targets.map(|t| (t.id(), t.interval)).collect(), others },
        alerts_max: if contenders.len() > 1 { 0 } else { ALERTS_MAX },
    };
    let (series, names) = (plan.selection(), plan.names());
    let wanted = Wanted {
        from: plan.reads_from(),
        to: asked.to,
        series: &series,
        names: &names,
        catalogue: &catalogue,
        site: config.and_then(|config| config.site.as_deref()),
    };
    let mut watch = Progress::new(config, asked.from, asked.to.unwrap_or(asked.now));
    let store = if is_store { Some(history::store(config, &catalogue, asked.now)?) } else { None };
    let source = history::open(store.as_ref(), args, config, &wanted, asked.now)?;
    let (mut source, end) = (source, asked.to);
    watch.ends(source.end().filter(|_| end.is_none()));
    let judged = plan.run(&mut source, &mut watch);
    watch.clear();
    if source.damaged() > 0 {
        tell(&format!("parts of the store cannot be read and were left out: {}", source.damaged()));
    }
    let judged = judged.map_err(|error| Failure::Failed(error.to_string()))?;
    if judged.progress.samples == 0 {
        tell("there are no samples of what the rules ask about in that time");
    }
    Ok(judged)
}

fn shown(asked: &Asked, judged: &Judged, seconds: f64) -> String {
    let text = match &judged.outcomes[..] {
        [outcome] => report::text(outcome, Paint { colour: colour() }),
        _ => report::sweep(&asked.axes, &asked.combinations, judged),
    };
    text + &report::summary(judged, seconds)
}

fn colour() -> bool {
    use std::io::IsTerminal;
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

fn met(one: &Expectation, judged: &Judged) -> Json {
    let outcome = judged.outcomes.first();
    json!({
        "expected": one.to_string(),
        "seen": outcome.map(|outcome| one.seen(outcome)),
        "met": outcome.is_some_and(|outcome| one.is_met(outcome)),
    })
}

/// Whether all is as expected; what is not is told. Where nothing was judged, nothing is.
fn is_expected(args: &Args, judged: &Judged) -> bool {
    let Some(outcome) = judged.outcomes.first().filter(|_| !args.expect.is_empty()) else {
        return true;
    };
    let unmet: Vec<_> = args.expect.iter().filter(|one| !one.is_met(outcome)).collect();
    unmet.iter().for_each(|one| tell(&format!("watchpost: {}", one.unmet(outcome))));
    if judged.progress.samples == 0 {
        tell("watchpost: nothing was judged, so nothing is as expected");
    }
    unmet.is_empty() && judged.progress.samples > 0
}
