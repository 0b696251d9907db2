//! `watchpost query`: an expression's values, as a table, a chart, CSV or JSON.
//!
//! The running daemon is asked; where none runs, its store is read beside its back.

mod chart;
mod offline;
mod table;
mod values;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value as Json;

use super::client::{self, AskError};
use super::time;
use super::{failed, print};
use crate::config::parse_duration;
use crate::sample::{Clock, Timestamp};
use values::Values;

/// Steps of a range where no step is given: as many as a wide terminal has dots.
const STEPS: i64 = 240;

/// What to ask, when, and how to show it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    daemon: client::Daemon,
    /// The expression, in PromQL
    expression: String,
    /// When: a time (RFC 3339 or seconds since the epoch), or how long ago, like -5m [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, conflicts_with_all = ["from", "to", "step"])]
    at: Option<String>,
    /// Over time: from when
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Over time: until when [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "from")]
    to: Option<String>,
    /// Over time: in which steps [default: some 240 of them]
    #[arg(long, value_name = "DURATION", requires = "from")]
    step: Option<String>,
    #[command(flatten)]
    form: Form,
}

/// How to show it; by default a chart of values over time on a terminal, and a table otherwise.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(multiple = false)]
struct Form {
    /// Print JSON, as Prometheus' API gives it
    #[arg(long)]
    json: bool,
    /// Print CSV: a line for each value, a column for each label
    #[arg(long)]
    csv: bool,
    /// Print a table
    #[arg(long)]
    table: bool,
    /// Draw a chart of values over time
    #[arg(long, requires = "from")]
    chart: bool,
}

/// What is asked for, with its times.
#[derive(Debug, Clone, PartialEq)]
enum Question {
    At(Timestamp),
    Over { from: Timestamp, to: Timestamp, step: i64 },
}

pub(super) fn run(path: Option<&Path>, args: &Args) -> ExitCode {
    match answer(path, args) {
        Ok((question, json)) => {
            print(&shown(args, &question, &json));
            for name in ["warnings", "infos"] {
                json[name].as_array().into_iter().flatten().for_each(note);
            }
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}

#[expect(clippy::print_stderr, reason = "a command speaks to who typed it")]
fn note(words: &Json) {
    eprintln!("{}", super::printable(words.as_str().unwrap_or_default()));
}

fn answer(path: Option<&Path>, args: &Args) -> Result<(Question, Json), String> {
    let question = question(args, Clock::system().now())?;
    let seconds = |time: Timestamp| time.as_secs_f64().to_string();
    let query = args.expression.as_str();
    let asked = match question {
        Question::At(time) => {
            let parameters = [("query", query), ("time", &seconds(time))];
            args.daemon.ask(path, "/api/v1/query", &parameters)
        }
        Question::Over { from, to, step } => {
            let (from, to) = (seconds(from), seconds(to));
            let step = (step as f64 / 1e9).to_string();
            let parameters = [("query", query), ("start", &from), ("end", &to), ("step", &step)];
            args.daemon.ask(path, "/api/v1/query_range", &parameters)
        }
    };
    let json = match asked {
        Ok(json) => json,
        Err(AskError::Failed(message)) => return Err(message),
        Err(AskError::NotRunning(message)) => offline::ask(path, query, &question)
            .map_err(|error| format!("{message}; and without it: {error}"))?,
    };
    Ok((question, json))
}

fn shown(args: &Args, question: &Question, json: &Json) -> String {
    let form = args.form;
    if form.json {
        return format!("{json}\n");
    }
    let values = Values::of(&json["data"]);
    if form.csv {
        return table::csv(&values);
    }
    let terminal = std::io::stdout().is_terminal();
    match question {
        Question::Over { from, to, step } if form.chart || (terminal && !form.table) => {
            let frame = chart::Frame {
                from: from.as_secs_f64(),
                to: to.as_secs_f64(),
                step: *step as f64 / 1e9,
                size: terminal_size(),
                colours: terminal,
            };
            chart::draw(&args.expression, &values, &frame)
        }
        _ => table::table(&values),
    }
}

/// Columns and lines of the terminal, or of one as it is common.
fn terminal_size() -> (u16, u16) {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or((80, 24), |size| (size.ws_col, size.ws_row))
}

fn question(args: &Args, now: Timestamp) -> Result<Question, String> {
    let Some(from) = &args.from else {
        let at = args.at.as_deref().map(|text| time::parse(text, now)).transpose()?;
        return Ok(Question::At(at.unwrap_or(now)));
    };
    let from = time::parse(from, now)?;
    let to = args.to.as_deref().map(|text| time::parse(text, now)).transpose()?.unwrap_or(now);
    if from >= to {
        return Err("--from must be before --to".to_owned());
    }
    let step = match &args.step {
        Some(text) => i64::try_from(parse_duration(text)?.as_nanos()).unwrap_or(i64::MAX),
        None => step_of(to.as_nanos().saturating_sub(from.as_nanos())),
    };
    if step == 0 {
        return Err("--step must be longer than nothing".to_owned());
    }
    Ok(Question::Over { from, to, step })
}

/// A step for a span, of whole seconds where there are enough of them.
fn step_of(span: i64) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    let step = span / STEPS;
    if step >= SECOND { step / SECOND * SECOND } else { step.max(1_000_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_fit_the_span() {
        for (span, step) in [(3_600, 15), (86_400, 360), (60, 0)] {
            assert_eq!(step_of(span * 1_000_000_000) / 1_000_000_000, step);
        }
        assert_eq!(step_of(60_000_000_000), 250_000_000);
        assert_eq!(step_of(1), 1_000_000);
    }
}
