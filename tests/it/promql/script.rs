//! Runs one file of promqltest: loads series, evaluates, compares.

use std::collections::BTreeMap;

use watchpost::promql::functions::Point;
use watchpost::promql::labels::NAME;
use watchpost::promql::{AnswerValue, Expr, Labels, parse};
use watchpost::sample::{Timestamp, is_stale};

use super::notation::{Value, number, series};

/// What is put to the test: keeps series, and answers expressions.
pub(crate) trait Place {
    /// Forgets all series.
    async fn clear(&mut self);

    /// Adds samples to series, those of each in the order of time.
    async fn load(&mut self, series: Vec<Series>);

    /// What an expression yields, or why it does not.
    async fn ask(&mut self, text: &str, times: Times) -> Result<Said, String>;
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) value: AnswerValue,
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

/// Labels and samples.
pub(crate) type Series = (Labels, Vec<Point>);

/// When an expression is evaluated, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Times {
    Instant(f64),
    /// Start, end and step.
    Range(f64, f64, f64),
}

/// What became of the evaluations of a file.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(super) passed: usize,
    /// With the line and what was wrong.
    pub(super) failed: Vec<String>,
    /// By reason.
    pub(super) skipped: BTreeMap<&'static str, usize>,
}

/// An evaluation: its first line and what is expected below it.
struct Eval<'a> {
    line: usize,
    command: &'a str,
    expected: Vec<&'a str>,
}

struct Loaded<P> {
    place: P,
    /// The labels of series with native histograms, which are not loaded.
    histograms: Vec<Labels>,
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(&'static str),
}

const NATIVE: &str = "native histogram";
const EXPERIMENTAL: &str = "experimental syntax";

/// Runs a file's text, on a place that is empty.
pub(crate) async fn run(text: &str, place: impl Place) -> Tally {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| Some(line.trim()).filter(|line| !line.starts_with('#')).unwrap_or(""))
        .collect();
    let mut tally = Tally::default();
    let mut loaded = Loaded { place, histograms: Vec::new() };
    let mut at = 0;
    while at < lines.len() {
        let command = lines[at];
        let block = lines[at + 1..].iter().take_while(|line| !line.is_empty());
        let block: Vec<&str> = block.copied().collect();
        let line = at + 1;
        if command == "clear" {
            loaded.place.clear().await;
            loaded.histograms.clear();
            at += 1;
        } else if let Some(load) = command.strip_prefix("load") {
            at += 1 + block.len();
            loaded.load(load, &block).await;
        } else if command.starts_with("eval") {
            at += 1 + block.len();
            match (Eval { line, command, expected: block }).run(&mut loaded).await {
                Outcome::Passed => tally.passed += 1,
                Outcome::Failed(why) => tally.failed.push(format!("{line}: {command}\n    {why}")),
                Outcome::Skipped(reason) => *tally.skipped.entry(reason).or_default() += 1,
            }
        } else {
            assert!(command.is_empty(), "line {line}: what is `{command}`?");
            at += 1;
        }
    }
    tally
}

impl<P: Place> Loaded<P> {
    async fn load(&mut self, command: &str, lines: &[&str]) {
        let (converted, step) = match command.strip_prefix("_with_nhcb") {
            Some(step) => (true, step),
            None => (false, command),
        };
        let step = seconds(step.trim());
        let mut all = Vec::new();
        for line in lines {
            let (labels, values) = series(line);
            if converted && let Some(base) = labels.name().and_then(|n| n.strip_suffix("_bucket")) {
                self.histograms.push(labels.with("le", "").with(NAME, base));
            }
            if values.contains(&Value::Histogram) {
                self.histograms.push(labels.clone());
            }
            let point = |(at, value): (usize, Value)| match value {
                Value::Number(value) => Some(Point { time: time(step * at as f64), value }),
                Value::Histogram | Value::Missing => None,
            };
            all.push((labels, values.into_iter().enumerate().filter_map(point).collect()));
        }
        self.place.load(all).await;
    }

    /// Whether an expression selects native histograms.
    fn needs_histograms(&self, expr: &Expr) -> bool {
        expr.as_selector().is_some_and(|selector| {
            self.histograms.iter().any(|labels| selector.matches_labels(labels))
        }) || expr.children().into_iter().any(|child| self.needs_histograms(child))
    }
}

impl Eval<'_> {
    async fn run<P: Place>(&self, loaded: &mut Loaded<P>) -> Outcome {
        let (head, rest) = self.command.split_once(char::is_whitespace).unwrap();
        let (times, text) = self.times(rest);
        let fails = head == "eval_fail" || self.expects("fail").is_some();
        if self.expected.iter().any(|line| line.contains("{{")) {
            return Outcome::Skipped(NATIVE);
        }
        let expr = match parse(text) {
            Ok(expr) => expr,
            Err(error) if error.message.contains("native histograms") => {
                return Outcome::Skipped(NATIVE);
            }
            Err(error) if error.message.contains("experimental") => {
                return Outcome::Skipped(EXPERIMENTAL);
            }
            Err(error) => return self.failure(fails, &error.to_string()),
        };
        if loaded.needs_histograms(&expr) {
            return Outcome::Skipped(NATIVE);
        }
        let answer = match loaded.place.ask(text, times).await {
            Ok(_) if fails => return Outcome::Failed("did not fail".to_owned()),
            Err(error) => return self.failure(fails, &error),
            Ok(answer) => answer,
        };
        let mut compared = self
            .compare_annotations(&answer)
            .and_then(|()| self.compare(head, times, &answer.value));
        if compared.is_ok() {
            compared = same_as_range(&mut loaded.place, text, times, &answer.value).await;
        }
        compared.map_or_else(Outcome::Failed, |()| Outcome::Passed)
    }

    /// The times asked for, and the expression.
    fn times<'c>(&self, rest: &'c str) -> (Times, &'c str) {
        let mut words = rest.split_ascii_whitespace();
        let kind = words.next();
        let skip = if kind == Some("instant") { 3 } else { 7 };
        let numbers: Vec<f64> = match kind {
            Some("instant") => words.skip(1).take(1).map(seconds).collect(),
            _ => words.skip(1).step_by(2).take(3).map(seconds).collect(),
        };
        let mut text = rest;
        for _ in 0..skip {
            text = text.trim_start();
            text = &text[text.find(char::is_whitespace).unwrap_or(text.len())..];
        }
        let times = match *numbers {
            [at] => Times::Instant(at),
            [start, end, step] => Times::Range(start, end, step),
            _ => panic!("line {}: {}", self.line, self.command),
        };
        (times, text.trim())
    }

    /// What follows `expect WORD`, where that is said.
    fn expects(&self, word: &str) -> Option<&str> {
        self.expected.iter().find_map(|line| {
            let rest = line.strip_prefix("expect")?.trim_start().strip_prefix(word)?;
            (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim())
        })
    }

    fn failure(&self, wanted: bool, message: &str) -> Outcome {
        if !wanted {
            return Outcome::Failed(message.to_owned());
        }
        let expected = self.expects("fail").unwrap_or_default();
        match said(expected, &[message.to_owned()]) {
            true => Outcome::Passed,
            false => Outcome::Failed(format!("failed with: {message}")),
        }
    }

    fn compare_annotations(&self, answer: &Said) -> Result<(), String> {
        let Said { warnings, infos, .. } = answer;
        for (word, none, all) in [("warn", "no_warn", warnings), ("info", "no_info", infos)] {
            let missing = self.expects(word).is_some_and(|wanted| !said(wanted, all));
            if missing || (self.expects(none).is_some() && !all.is_empty()) {
                return Err(format!("{word}: {all:?}"));
            }
        }
        Ok(())
    }

    fn compare(&self, head: &str, times: Times, found: &AnswerValue) -> Result<(), String> {
        let ordered = head == "eval_ordered" || self.expects("ordered").is_some();
        let lines = self.expected.iter().filter(|line| !line.starts_with("expect "));
        if let Some(wanted) = self.expects("string") {
            let wanted = wanted.trim_matches(['"', '`']);
            let same = matches!(found, AnswerValue::String(_, text) if text == wanted);
            return if same { Ok(()) } else { Err(format!("{found:?}")) };
        }
        if let AnswerValue::Scalar(point) = found {
            let wanted = lines.map(|line| number(line)).next();
            let same = wanted.is_some_and(|wanted| close(wanted, point.value));
            return if same { Ok(()) } else { Err(format!("{}", point.value)) };
        }
        let (start, step) = match (self.expects("range vector"), times) {
            (Some(range), _) => match self.times(&format!("range {range} x")).0 {
                Times::Range(start, _, step) => (start, step),
                Times::Instant(_) => panic!("line {}", self.line),
            },
            (None, Times::Instant(at)) => (at, 1.0),
            (None, Times::Range(start, _, step)) => (start, step),
        };
        let wanted: Vec<_> = lines.map(|line| wanted_series(line, start, step)).collect();
        compare_series(wanted, series_of(found), ordered)
    }
}

/// An instant query and the middle step of a range query around it say the same.
async fn same_as_range(
    place: &mut impl Place,
    text: &str,
    times: Times,
    found: &AnswerValue,
) -> Result<(), String> {
    let (Times::Instant(at), AnswerValue::Vector(_)) = (times, found) else { return Ok(()) };
    // What the ends of the query mean is another thing then.
    if text.contains("start()") || text.contains("end()") {
        return Ok(());
    }
    // A step away the series may have no meaning together: that is another question.
    let Ok(answer) = place.ask(text, Times::Range(at - 60.0, at + 60.0, 60.0)).await else {
        return Ok(());
    };
    let middle = series_of(&answer.value).into_iter().filter_map(|(labels, points)| {
        let point = points.into_iter().find(|point| point.time == time(at))?;
        Some((labels, vec![point]))
    });
    compare_series(middle.collect(), series_of(found), false)
        .map_err(|error| format!("as a range query: {error}"))
}

fn series_of(value: &AnswerValue) -> Vec<Series> {
    match value {
        AnswerValue::Vector(samples) => {
            samples.iter().map(|(labels, point)| (labels.clone(), vec![*point])).collect()
        }
        AnswerValue::Matrix(series) => series.clone(),
        AnswerValue::Scalar(point) => vec![(Labels::default(), vec![*point])],
        AnswerValue::String(..) => Vec::new(),
    }
}

fn wanted_series(line: &str, start: f64, step: f64) -> Series {
    let (labels, values) = series(line);
    let points = values.into_iter().enumerate().filter_map(|(at, value)| match value {
        Value::Number(value) => Some(Point { time: time(start + step * at as f64), value }),
        Value::Missing => None,
        Value::Histogram => panic!("{line}: filtered before"),
    });
    (labels, points.collect())
}

fn compare_series(
    mut wanted: Vec<Series>,
    mut found: Vec<Series>,
    ordered: bool,
) -> Result<(), String> {
    wanted.retain(|(_, points)| !points.is_empty());
    if !ordered {
        wanted.sort_by(|(a, _), (b, _)| a.cmp(b));
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    let same_point = |(a, b): (&Point, &Point)| a.time == b.time && close(a.value, b.value);
    if let Some((labels, _)) = found.iter().find(|(_, points)| points.is_empty()) {
        return Err(format!("found {labels} without values"));
    }
    let same = wanted.len() == found.len()
        && wanted.iter().zip(&found).all(|((a, points), (b, others))| {
            a == b && points.len() == others.len() && points.iter().zip(others).all(same_point)
        });
    let shown = |all: &[Series]| {
        let one = |(labels, points): &Series| {
            let points: Vec<_> = points
                .iter()
                .map(|point| format!("{}@{}", point.value, point.time.as_secs_f64()))
                .collect();
            format!("\n      {labels} {}", points.join(" "))
        };
        all.iter().map(one).collect::<String>()
    };
    if same { Ok(()) } else { Err(format!("wanted{}\n    found{}", shown(&wanted), shown(&found))) }
}

fn close(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan() && is_stale(a) == is_stale(b);
    }
    a == b || (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(f64::MIN_POSITIVE)
}

/// Whether something was said: `msg: TEXT`, `regex: TEXT`, or anything at all.
fn said(wanted: &str, all: &[String]) -> bool {
    if let Some(message) = wanted.strip_prefix("msg:") {
        all.iter().any(|said| said == message.trim())
    } else if let Some(pattern) = wanted.strip_prefix("regex:") {
        let pattern = regex::Regex::new(pattern.trim()).unwrap();
        all.iter().any(|said| pattern.is_match(said))
    } else {
        !all.is_empty()
    }
}

/// A time, to the millisecond.
pub(crate) fn time(seconds: f64) -> Timestamp {
    Timestamp::from_nanos((seconds * 1000.0).round() as i64 * 1_000_000)
}

/// `1h30m`, `5m`, `10.5`, `-1m`.
fn seconds(text: &str) -> f64 {
    if let Ok(number) = text.parse() {
        return number;
    }
    if let Some(positive) = text.strip_prefix('-') {
        return -seconds(positive);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
        let unit =
            rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| n + digits);
        total += rest[..digits].parse::<f64>().unwrap()
            * match &rest[digits..unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                "w" => 604_800.0,
                "y" => 31_536_000.0,
                other => panic!("`{other}` is no unit of time"),
            };
        rest = &rest[unit..];
    }
    total
}
