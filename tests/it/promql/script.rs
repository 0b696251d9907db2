//! Runs one file of promqltest: loads series, evaluates, compares.

use std::collections::BTreeMap;
use std::time::Duration;

use watchpost::promql::eval::{self, Options};
use watchpost::promql::functions::Point;
use watchpost::promql::labels::NAME;
use watchpost::promql::memory::MemorySource;
use watchpost::promql::{Answer, AnswerValue, Expr, Labels, parse};
use watchpost::sample::{Timestamp, is_stale};

use super::notation::{Value, number, series};

/// What became of the evaluations of a file.
#[derive(Debug, Default)]
pub(super) struct Tally {
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

#[derive(Default)]
struct Loaded {
    source: MemorySource,
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

/// Runs a file's text.
pub(super) fn run(text: &str) -> Tally {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| Some(line.trim()).filter(|line| !line.starts_with('#')).unwrap_or(""))
        .collect();
    let mut tally = Tally::default();
    let mut loaded = Loaded::default();
    let mut at = 0;
    while at < lines.len() {
        let command = lines[at];
        let block = lines[at + 1..].iter().take_while(|line| !line.is_empty());
        let block: Vec<&str> = block.copied().collect();
        let line = at + 1;
        if command == "clear" {
            loaded = Loaded::default();
            at += 1;
        } else if let Some(load) = command.strip_prefix("load") {
            at += 1 + block.len();
            loaded.load(load, &block);
        } else if command.starts_with("eval") {
            at += 1 + block.len();
            match (Eval { line, command, expected: block }).run(&loaded) {
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

impl Loaded {
    fn load(&mut self, command: &str, lines: &[&str]) {
        let (converted, step) = match command.strip_prefix("_with_nhcb") {
            Some(step) => (true, step),
            None => (false, command),
        };
        let step = seconds(step.trim());
        for line in lines {
            let (labels, values) = series(line);
            if converted && let Some(base) = labels.name().and_then(|n| n.strip_suffix("_bucket")) {
                self.histograms.push(labels.with("le", "").with(NAME, base));
            }
            for (at, value) in values.iter().enumerate() {
                let time = time(step * at as f64);
                match value {
                    Value::Number(value) => {
                        self.source.insert(&labels, Point { time, value: *value });
                    }
                    Value::Histogram if !self.histograms.contains(&labels) => {
                        self.histograms.push(labels.clone());
                    }
                    Value::Histogram | Value::Missing => {}
                }
            }
        }
    }

    /// Whether an expression selects native histograms.
    fn needs_histograms(&self, expr: &Expr) -> bool {
        expr.as_selector().is_some_and(|selector| {
            self.histograms.iter().any(|labels| selector.matches_labels(labels))
        }) || expr.children().into_iter().any(|child| self.needs_histograms(child))
    }
}

impl Eval<'_> {
    fn run(&self, loaded: &Loaded) -> Outcome {
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
        let answer = match evaluate(loaded, &expr, times) {
            Ok(_) if fails => return Outcome::Failed("did not fail".to_owned()),
            Err(error) => return self.failure(fails, &error),
            Ok(answer) => answer,
        };
        let compared = self
            .compare_annotations(&answer, text)
            .and_then(|()| self.compare(head, times, &answer.value))
            .and_then(|()| same_as_range(loaded, &expr, text, times, &answer.value));
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

    fn compare_annotations(&self, answer: &Answer, text: &str) -> Result<(), String> {
        let warnings = answer.annotations.warnings(text);
        let infos = answer.annotations.infos(text);
        for (word, none, all) in [("warn", "no_warn", &warnings), ("info", "no_info", &infos)] {
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

/// When an expression is evaluated, in seconds.
#[derive(Clone, Copy)]
enum Times {
    Instant(f64),
    Range(f64, f64, f64),
}

fn evaluate(loaded: &Loaded, expr: &Expr, times: Times) -> Result<Answer, String> {
    let options = Options::default();
    let go_on: eval::Check<'_> = &|| Ok(());
    match times {
        Times::Instant(at) => eval::instant(&loaded.source, expr, time(at), &options, go_on),
        Times::Range(start, end, step) => {
            let (between, step) = ((time(start), time(end)), Duration::from_secs_f64(step));
            eval::range(&loaded.source, expr, between, step, &options, go_on)
        }
    }
    .map_err(|error| error.to_string())
}

/// An instant query and the middle step of a range query around it say the same.
fn same_as_range(
    loaded: &Loaded,
    expr: &Expr,
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
    let Ok(answer) = evaluate(loaded, expr, Times::Range(at - 60.0, at + 60.0, 60.0)) else {
        return Ok(());
    };
    let middle = series_of(&answer.value).into_iter().filter_map(|(labels, points)| {
        let point = points.into_iter().find(|point| point.time == time(at))?;
        Some((labels, vec![point]))
    });
    compare_series(middle.collect(), series_of(found), false)
        .map_err(|error| format!("as a range query: {error}"))
}

type Series = (Labels, Vec<Point>);

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

fn time(seconds: f64) -> Timestamp {
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
