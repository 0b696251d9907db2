//! What came of a backtest, for people and as JSON.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::sweep::{Axis, Combination};
use super::{Fired, Judged, Outcome, Step, Tally};
use crate::config::show_duration;
use crate::rules::Severity;
use crate::rules::plan::shown;
use crate::sample::Timestamp;

/// How things stand out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Paint {
    /// Whether by colour.
    pub colour: bool,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn severity(self, severity: Severity, text: &str) -> String {
        match severity {
            Severity::Critical => self.with("1;31", text),
            Severity::Warning => self.with("1;33", text),
            Severity::Info => self.with("1;34", text),
        }
    }
}

/// One set of rules: each alert, then a table by rule.
#[must_use]
pub fn text(outcome: &Outcome, paint: Paint) -> String {
    let mut text = String::new();
    for one in &outcome.fired {
        text += &alert(one, paint);
        text.push('\n');
    }
    if outcome.more > 0 {
        text += &format!("… and {} more that are not listed\n\n", outcome.more);
    }
    text + &by_rule(outcome)
}

fn alert(one: &Fired, paint: Paint) -> String {
    let still = if one.ended.is_some() { "" } else { ", still firing" };
    let value = one.value.map_or_else(String::new, |value| format!(" at {}", shown(value)));
    let flapping = if one.flapping { ", flapping" } else { "" };
    let mut text = format!(
        "{} {}  {}, {}{value}, for {}{still}{flapping}\n",
        paint.severity(one.severity, &one.rule),
        labels(one),
        one.severity.as_str(),
        at(one.at),
        long(one.duration),
    );
    for step in &one.steps {
        text += &format!("  {}  {:<8}  {}", at(step.at), step.to.as_str(), printable(&step.reason));
        if let Some(parent) = &step.held_back_by {
            text += &format!("  (held back by {})", printable(parent));
        }
        if !step.actions.is_empty() {
            text += &paint.with("36", &format!("  → {}", step.actions.join(", ")));
        }
        text.push('\n');
    }
    if one.more_steps > 0 {
        text += &format!("  … and {} more steps\n", one.more_steps);
    }
    text
}

fn labels(one: &Fired) -> String {
    let pairs: Vec<_> =
        one.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", printable(&pairs.join(",")))
}

/// Texts from devices cannot steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn at(time: Timestamp) -> String {
    time.to_string().replace(".000Z", "Z")
}

/// Of longer durations nobody wants the milliseconds.
fn long(duration: Duration) -> String {
    let second = Duration::from_secs(1);
    if duration < second * 10 {
        return show_duration(Duration::from_millis(duration.as_millis() as u64));
    }
    show_duration(Duration::from_secs((duration + second / 2).as_secs()))
}

const COLUMNS: [&str; 7] =
    ["alerts", "still", "firing", "longest", "flapping", "pending only", "messages"];

fn cells(tally: &Tally) -> Vec<String> {
    vec![
        tally.alerts.to_string(),
        tally.still_firing.to_string(),
        long(tally.firing),
        long(tally.longest),
        tally.flapping.to_string(),
        tally.pending_only.to_string(),
        tally.messages.to_string(),
    ]
}

fn by_rule(outcome: &Outcome) -> String {
    let mut rows = vec![head(["rule", "series"])];
    for (name, tally) in &outcome.rules {
        let mut row = vec![name.to_string(), tally.series.to_string()];
        if tally.series > 0 || tally.alerts > 0 {
            row.extend(cells(tally));
        }
        rows.push(row);
    }
    let mut text = table(&rows, 1);
    for name in outcome.blind() {
        text += &format!("rule {name} matched no series: that it is silent says nothing\n");
    }
    text
}

fn head<const N: usize>(first: [&str; N]) -> Vec<String> {
    first.into_iter().chain(COLUMNS).map(str::to_owned).collect()
}

/// Several sets of rules: a row for each combination.
#[must_use]
pub fn sweep(axes: &[Axis], combinations: &[Combination], judged: &Judged) -> String {
    let varied: Vec<&str> =
        axes.iter().filter(|axis| axis.values.len() > 1).map(|axis| &*axis.name).collect();
    let mut rows = vec![varied.iter().copied().chain(COLUMNS).map(str::to_owned).collect()];
    for (combination, outcome) in combinations.iter().zip(&judged.outcomes) {
        let values = combination.iter().filter(|(name, _)| varied.contains(&name.as_str()));
        let mut row: Vec<String> = values.map(|(_, value)| value.clone()).collect();
        row.extend(cells(&outcome.total()));
        rows.push(row);
    }
    let mut text = table(&rows, 0);
    let blind = |name: &&std::sync::Arc<str>| {
        judged.outcomes.iter().all(|outcome| outcome.blind().any(|other| other == *name))
    };
    let first = judged.outcomes.first().into_iter().flat_map(Outcome::blind);
    for name in first.filter(blind) {
        text += &format!("rule {name} matched no series: that it is silent says nothing\n");
    }
    text
}

/// Columns side by side; the first `left` of them begin at the left, the others end at the right.
fn table(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cell = |(column, cell): (usize, &String)| match widths[column] {
            width if column < left => format!("{cell:<width$}"),
            width => format!("{cell:>width$}"),
        };
        let line: Vec<_> = row.iter().enumerate().map(cell).collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// How much there was, and how fast that went.
#[must_use]
pub fn summary(judged: &Judged, seconds: f64) -> String {
    let progress = &judged.progress;
    let span = progress.span.map_or_else(String::new, |(first, last)| {
        format!(", {} to {} ({})", at(first), at(last), long(last.since(first)))
    });
    let speed = match progress.samples as f64 / seconds.max(1e-9) {
        speed if speed < 1e6 => format!("{:.0} thousand", speed / 1e3),
        speed => format!("{:.1} million", speed / 1e6),
    };
    format!(
        "{} of {} series in {}{span}, judged in {seconds:.2} s: {speed} samples a second\n",
        counted(progress.samples, "sample"),
        judged.series,
        counted(progress.batches, "poll"),
    )
}

/// A large number, readable: `8,640,000 samples`.
fn counted(n: u64, what: &str) -> String {
    let digits = n.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    format!("{shown} {what}{}", if n == 1 { "" } else { "s" })
}

/// All of it, for programs. Times are RFC 3339, durations seconds.
#[must_use]
pub fn json(combinations: &[Combination], judged: &Judged, seconds: f64) -> Json {
    let progress = &judged.progress;
    let (first, last) = progress.span.unzip();
    let run = |(combination, outcome): (&Combination, &Outcome)| {
        let set: serde_json::Map<String, Json> =
            combination.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let rules: serde_json::Map<String, Json> = outcome
            .rules
            .iter()
            .map(|(name, tally)| (name.to_string(), tally_json(tally)))
            .collect();
        json!({
            "set": set,
            "total": tally_json(&outcome.total()),
            "rules": rules,
            "alerts": outcome.fired.iter().map(fired_json).collect::<Vec<_>>(),
            "alerts_not_listed": outcome.more,
        })
    };
    json!({
        "first": first.map(|time| time.to_string()),
        "last": last.map(|time| time.to_string()),
        "samples": progress.samples,
        "batches": progress.batches,
        "series": judged.series,
        "seconds": seconds,
        "runs": combinations.iter().zip(&judged.outcomes).map(run).collect::<Vec<_>>(),
    })
}

fn tally_json(tally: &Tally) -> Json {
    json!({
        "series": tally.series,
        "alerts": tally.alerts,
        "still_firing": tally.still_firing,
        "firing_seconds": tally.firing.as_secs_f64(),
        "longest_seconds": tally.longest.as_secs_f64(),
        "flapping": tally.flapping,
        "pending_only": tally.pending_only,
        "messages": tally.messages,
    })
}

fn fired_json(one: &Fired) -> Json {
    json!({
        "rule": &*one.rule,
        "labels": &*one.labels,
        "severity": one.severity.as_str(),
        "since": one.since.to_string(),
        "at": one.at.to_string(),
        "ended": one.ended.map(|ended| ended.to_string()),
        "firing_seconds": one.duration.as_secs_f64(),
        "value": one.value,
        "flapping": one.flapping,
        "steps": one.steps.iter().map(step_json).collect::<Vec<_>>(),
        "steps_not_listed": one.more_steps,
    })
}

fn step_json(step: &Step) -> Json {
    json!({
        "at": step.at.to_string(),
        "from": step.from.as_str(),
        "to": step.to.as_str(),
        "severity": step.severity.as_str(),
        "value": step.value,
        "reason": step.reason,
        "flapping": step.flapping,
        "held_back_by": step.held_back_by,
        "actions": step.actions,
    })
}
