//! An explanation as a terminal shows it. Its texts may come from devices, so none of them can
//! steer the terminal.

use serde_json::Value as Json;

use crate::cli::printable;
use crate::rules::explain::ago;
use crate::rules::plan::shown;

/// Parts of an expression longer than this have their values on lines below.
const EXPR_COLUMNS_MAX: usize = 56;

/// How states and what is less important stand out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    pub(super) const fn new(color: bool) -> Self {
        Self(color)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn state(self, state: &str) -> String {
        let code = match state {
            "firing" => "1;31",
            "pending" => "1;33",
            "unknown" => "1;35",
            _ => "1;32",
        };
        self.with(code, state)
    }

    fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    fn faint(self, text: &str) -> String {
        self.with("2", text)
    }
}

/// The answer for people.
pub(super) fn text(answer: &Json, paint: Paint) -> String {
    let mut text = format!("{} at {}\n", paint.strong(&word(&answer["rule"])), word(&answer["at"]));
    let hold = answer["for_seconds"].as_f64().filter(|seconds| *seconds > 0.0);
    let hold = hold.map_or_else(String::new, |seconds| format!(", for {}", duration(seconds)));
    text += &format!("  {}{hold}\n", word(&answer["asks"]));
    if let Some(outcome) = answer["outcome"].as_str() {
        text += &format!("  {}\n", printable(outcome));
    }
    list(&answer["alerts"]).iter().for_each(|one| text += &alert(one, paint));
    if let Some(more @ 1..) = answer["more"].as_u64() {
        text += &format!("\nand {more} more; name labels to see them\n");
    }
    for one in list(&answer["expressions"]) {
        let of = format!("{} {}", word(&one["severity"]), word(&one["what"]));
        text += &format!("\n{}\n{}", paint.strong(&of), parts(one, paint));
    }
    let journal = list(&answer["journal"]);
    if !journal.is_empty() {
        text += &format!("\n{}\n", paint.strong("before"));
    }
    journal.iter().for_each(|one| text += &happened(one, paint));
    for note in list(&answer["notes"]) {
        text += &format!("\nnote: {}\n", word(note));
    }
    text
}

fn alert(alert: &Json, paint: Paint) -> String {
    let state = paint.state(&word(&alert["state"]));
    let mut text = format!("\n{state} {}\n", labels(&alert["labels"]));
    text += &format!("  {}\n", word(&alert["outcome"]));
    if alert["seen"].is_object() {
        let seen = &alert["seen"];
        let value = seen["value"].as_f64().map_or_else(|| "stale".to_owned(), shown);
        text += &format!("  seen      {value}, {} before\n", seconds(&seen["age_seconds"]));
    }
    for one in list(&alert["conditions"]) {
        let is = |value: &Json| match value.as_bool() {
            Some(true) => "holds",
            Some(false) => "does not hold",
            None => "cannot be told",
        };
        text += &format!(
            "  {:8}  {} {}; ends at {}, which {}\n",
            word(&one["severity"]),
            word(&one["when"]),
            is(&one["holds"]),
            word(&one["clear"]),
            is(&one["clears"]),
        );
    }
    for timer in list(&alert["timers"]) {
        text += &format!("  timer     {} at {}\n", word(&timer["what"]), word(&timer["at"]));
    }
    if let Some(parents) = alert["held_back_by"].as_str() {
        text += &format!("  parent    nobody is told because of {}\n", printable(parents));
    }
    text
}

fn happened(one: &Json, paint: Paint) -> String {
    let missed = if one["near_miss"] == true { " (near miss)" } else { "" };
    let (at, state) = (word(&one["at"]), word(&one["to"]));
    // Padded before it is painted, for colours have no width.
    let state = paint.state(&state) + &" ".repeat(8_usize.saturating_sub(state.len()));
    let labels = paint.faint(&labels(&one["labels"]));
    format!("  {at}  {state}  {}{missed}  {labels}\n", word(&one["reason"]))
}

/// A tree of parts: each with what it yields beside it.
fn parts(root: &Json, paint: Paint) -> String {
    let mut lines = Vec::new();
    collect(root, 1, &mut lines);
    let with_values = lines.iter().filter(|(_, values)| !values.is_empty());
    let fitting = with_values.map(|(left, _)| left.chars().count());
    let width = fitting.filter(|width| *width <= EXPR_COLUMNS_MAX).max().unwrap_or(0) + 2;
    let mut text = String::new();
    for (left, values) in lines {
        let mut values = values.into_iter();
        let long = left.chars().count() + 2 > width;
        let first = if long { None } else { values.next() };
        text += &match first {
            Some(first) => format!("{left:width$}{}\n", first.show(paint)),
            None => format!("{left}\n"),
        };
        let gap = " ".repeat(width);
        values.for_each(|value| text += &format!("{gap}{}\n", value.show(paint)));
    }
    text
}

/// A value and what is said of it.
struct Line {
    value: String,
    said: String,
}

impl Line {
    fn show(&self, paint: Paint) -> String {
        if self.said.is_empty() {
            return self.value.clone();
        }
        format!("{}  {}", self.value, paint.faint(&self.said))
    }
}

fn collect(part: &Json, depth: usize, lines: &mut Vec<(String, Vec<Line>)>) {
    let indent = "  ".repeat(depth);
    let mut values: Vec<Line> = list(&part["values"]).iter().map(element).collect();
    let plain = |value: &str| Line { value: value.to_owned(), said: String::new() };
    if let Some(why) = part["failed"].as_str() {
        values.push(plain(&format!("not known: {}", printable(why))));
    }
    match (values.is_empty(), part["more"].as_u64().unwrap_or_default()) {
        (true, 0) => values.push(plain("nothing")),
        (true, others) => {
            values.push(plain(&format!("nothing with these labels; {others} with others")));
        }
        (false, 0) => {}
        (false, more) => values.push(plain(&format!("and {more} more"))),
    }
    lines.push((format!("{indent}{}", word(&part["expr"])), values));
    list(&part["parts"]).iter().for_each(|child| collect(child, depth + 1, lines));
    if let Some(more @ 1..) = part["parts_more"].as_u64() {
        lines.push((format!("{indent}  … and {more} more parts"), Vec::new()));
    }
}

fn element(one: &Json) -> Line {
    let value = one["value"].as_f64().map_or_else(|| word(&one["value"]), shown);
    let before = one["age_seconds"].is_number().then(|| seconds(&one["age_seconds"]) + " before");
    let mut said: Vec<String> = Vec::new();
    let value = match (one["samples"].as_u64(), before) {
        (Some(1), Some(before)) => {
            said.push(before);
            format!("1 sample, {value}")
        }
        (Some(samples), Some(before)) => {
            said.push(before);
            format!("{samples} samples, the last {value}")
        }
        (_, Some(before)) if one["counts"] == false => {
            said.push(before);
            format!("no data; it was {value}")
        }
        (_, before) => {
            said.extend(before);
            value
        }
    };
    if one["labels"].as_object().is_some_and(|labels| !labels.is_empty()) {
        said.push(labels(&one["labels"]));
    }
    Line { value, said: said.join("  ") }
}

fn list(value: &Json) -> &[Json] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Json) -> String {
    printable(value.as_str().unwrap_or_default())
}

fn seconds(value: &Json) -> String {
    ago(value.as_f64().unwrap_or_default())
}

fn duration(seconds: f64) -> String {
    let duration = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    crate::config::show_duration(duration)
}

fn labels(labels: &Json) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
    printable(&format!("{{{}}}", pairs.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_stand_beside_what_they_yield_and_nothing_steers_the_terminal() {
        let number = json!({ "expr": "80", "values": [{ "labels": {}, "value": 80.0,
            "counts": true, "age_seconds": null, "samples": null }], "parts": [] });
        let gone = json!({ "labels": { "t": "a\u{1b}[2J" }, "value": 71.25, "counts": false,
            "age_seconds": 840.4, "samples": null });
        let there = json!({ "labels": { "t": "b" }, "value": "+Inf", "counts": true,
            "age_seconds": 2.04, "samples": null });
        let series = json!({ "expr": "x_y", "values": [there, gone], "more": 3, "parts": [] });
        let root = json!({ "expr": "x_y > 80", "values": [], "parts": [series, number],
            "parts_more": 2 });
        let answer = json!({ "rule": "r", "at": "T", "asks": "x_y > 80", "for_seconds": 90.0,
            "expressions": [root] });
        let shown = text(&answer, Paint::new(false));
        let tree = "  x_y > 80  nothing\n    x_y     +Inf  2.0s before  {t=\"b\"}\n            no data; it was \
                    71.25  14m before  {t=\"a";
        assert!(shown.contains(tree), "{shown}");
        assert!(shown.contains("            and 3 more\n    80      80\n"), "{shown}");
        assert!(shown.contains("… and 2 more parts") && shown.contains("for 1m30s"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
        assert!(text(&answer, Paint::new(true)).contains("\u{1b}[1mr\u{1b}[0m"));
    }
}
