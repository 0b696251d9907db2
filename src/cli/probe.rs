//! `watchpost probe NAME`: one poll, and what it read.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{bad_config, failed, load, print, printable, runtime};
use crate::config::{Target, show_duration};
use crate::pollers::{Cadence, PollError, Reason, Shared};
use crate::rules::plan::shown;
use crate::sample::{Batch, Catalogue, Clock, Readings, TargetTags, Written};

/// Which target, and how to print.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The target: its name, or its table where several kinds share a name, as in icmp.gateway
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How long a target that speaks when it likes is listened to.
const LISTEN_MAX: Duration = Duration::from_secs(10);

pub(super) fn run(path: Option<&Path>, args: &Args) -> ExitCode {
    let config = match load(path) {
        Ok(config) => config,
        Err(diagnostics) => return bad_config(&diagnostics),
    };
    let target = match find(&config.targets, &args.name) {
        Ok(target) => target,
        Err(message) => return failed(&message),
    };
    crate::process::adopt();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start the runtime: {error}")),
    };
    let outcome = runtime.block_on(probe(target));
    runtime.shutdown_background();
    print(&if args.json { outcome.json() } else { outcome.text() });
    if outcome.result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn find<'a>(targets: &'a [Arc<Target>], name: &str) -> Result<&'a Arc<Target>, String> {
    let found: Vec<_> = targets.iter().filter(|t| *t.name == *name || t.id() == name).collect();
    match found[..] {
        [target] => Ok(target),
        [] => {
            let names: Vec<_> = targets.iter().map(|t| t.id()).collect();
            Err(format!("there is no target {name}; there are: {}", names.join(", ")))
        }
        _ => {
            let names: Vec<_> = found.iter().map(|t| t.id()).collect();
            Err(format!("{name} may be any of {}; say which", names.join(", ")))
        }
    }
}

struct Outcome {
    target: Arc<Target>,
    catalogue: Arc<Catalogue>,
    result: Result<(), PollError>,
    took: Duration,
    batches: Vec<Batch>,
}

async fn probe(target: &Arc<Target>) -> Outcome {
    let (target, kind) = (target.clone(), target.kind.any());
    let clock = Arc::new(Clock::system());
    let catalogue = Arc::new(Catalogue::default());
    let shared = Arc::new(Shared::new(clock.clone()));
    let tags = TargetTags { target: target.name.clone(), tags: target.tags.clone() };
    let mut readings = Readings::new(catalogue.clone(), clock, tags);
    let mut poller = kind.poller(&target, &shared);
    let limit = match kind.cadence() {
        Cadence::OnBeat => target.timeout,
        Cadence::OnArrival { quiet } => quiet.unwrap_or(LISTEN_MAX).min(LISTEN_MAX),
    };
    let started = Instant::now();
    let poll = async {
        loop {
            poller.poll(&mut readings).await?;
            let batches = readings.finish(Written::News);
            // A connection alone says nothing yet: what is asked for is a reading.
            if !batches.is_empty() || kind.cadence() == Cadence::OnBeat {
                return Ok(batches);
            }
        }
    };
    let overdue = format!("nothing within {}", show_duration(limit));
    let polled = timeout(limit, poll)
        .await
        .unwrap_or_else(|_| Err(PollError::new(Reason::Timeout, overdue)));
    let took = started.elapsed();
    let (result, batches) = match polled {
        Ok(batches) => (Ok(()), batches),
        Err(error) => (Err(error), readings.finish(Written::News)),
    };
    Outcome { target, catalogue, result, took, batches }
}

impl Outcome {
    /// Name with labels, and value, of every reading.
    fn readings(&self) -> Vec<(crate::sample::Series, f64)> {
        let samples = self.batches.iter().flat_map(|batch| &batch.samples);
        samples.map(|s| (self.catalogue.series(s.series), s.value)).collect()
    }

    fn text(&self) -> String {
        let took = show_duration(Duration::from_micros(
            u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
        ));
        let id = self.target.id();
        let mut text = match &self.result {
            Ok(()) => format!("{id} is up, polled in {took}\n"),
            Err(error) => format!("{id} is down after {took}: {}\n", printable(&error.to_string())),
        };
        let own: Vec<&str> = self.target.tags.iter().map(|(name, _)| &**name).collect();
        let label = |series: &crate::sample::Series| {
            let tags = series.row.tags.iter().filter(|(name, _)| !own.contains(&&**name));
            let tags: Vec<_> = tags.map(|(name, value)| format!("{name}={value:?}")).collect();
            if tags.is_empty() {
                series.name()
            } else {
                format!("{}{{{}}}", series.name(), tags.join(","))
            }
        };
        let lines: Vec<_> =
            self.readings().iter().map(|(series, value)| (label(series), shown(*value))).collect();
        let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in lines {
            text += &format!("  {name:width$}  {value}\n");
        }
        text
    }

    fn json(&self) -> String {
        let readings: Vec<_> = self
            .readings()
            .iter()
            .map(|(series, value)| {
                let tags = series.row.tags.iter();
                let labels: serde_json::Map<_, _> =
                    tags.map(|(name, value)| (name.to_string(), (**value).into())).collect();
                json!({ "name": series.name(), "labels": labels, "value": value })
            })
            .collect();
        let error = self.result.as_ref().err();
        format!(
            "{}\n",
            json!({
                "target": self.target.id(),
                "up": self.result.is_ok(),
                "reason": error.map(|e| e.reason.as_str()),
                "context": error.map(|e| &e.context),
                "poll_seconds": self.took.as_secs_f64(),
                "readings": readings,
            })
        )
    }
}
