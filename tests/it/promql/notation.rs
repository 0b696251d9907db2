//! Series as promqltest writes them: `metric{l="v"} 1 2+3x4 _ _x3 stale NaN {{schema:0}}x2`.

use watchpost::promql::labels::NAME;
use watchpost::promql::selector::Pattern;
use watchpost::promql::{ExprKind, Labels, parse};
use watchpost::sample::STALE;

/// A value at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Missing,
    /// A native histogram, which is not read.
    Histogram,
}

/// Labels and values of a line.
pub(super) fn series(line: &str) -> (Labels, Vec<Value>) {
    let (labels, values) = line.split_at(labels_end(line));
    (read_labels(labels.trim()), read_values(values))
}

/// Where the labels end: at the brace that closes them, or at the first space.
fn labels_end(line: &str) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    let brace = line.find('{');
    let space = line.find([' ', '\t']).unwrap_or(line.len());
    if brace.is_none_or(|brace| brace > space) {
        // `name {labels}` is one series as well.
        let rest = line[space..].trim_start();
        if !rest.starts_with('{') || rest.starts_with("{{") {
            return space;
        }
    }
    for (at, c) in line.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            '}' if !quoted => return at + 1,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    space
}

fn read_labels(text: &str) -> Labels {
    if text.is_empty() || text == "{}" {
        return Labels::default();
    }
    // A label that is asked for makes it an expression whatever the labels are.
    let braced = match text.split_once('{') {
        Some((name, rest)) => format!("{}{{{rest}", name.trim()),
        None => text.to_owned(),
    };
    let asked = match braced.strip_suffix('}') {
        Some(open) if open.trim_end().ends_with(['{', ',']) => format!("{open}any!=\"none\"}}"),
        Some(open) => format!("{open},__any__!=\"\"}}"),
        None => braced,
    };
    let expr = parse(&asked).unwrap_or_else(|error| panic!("{text}: {error}"));
    let ExprKind::Selector(selector) = expr.kind else { panic!("{text} is no series") };
    let mut labels: Vec<(String, String)> =
        selector.name.into_iter().map(|name| (NAME.to_owned(), name)).collect();
    for matcher in selector.matchers {
        if let Pattern::Equal(value) = matcher.pattern {
            labels.push((matcher.label, value));
        }
    }
    Labels::new(labels)
}

fn read_values(text: &str) -> Vec<Value> {
    let mut values = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let len = item_len(rest);
        read_item(&rest[..len], &mut values);
        rest = rest[len..].trim_start();
    }
    values
}

/// The length of an item; spaces in the braces of a histogram belong to it.
fn item_len(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            c if c.is_whitespace() && depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

fn read_item(item: &str, values: &mut Vec<Value>) {
    if item.starts_with("{{") {
        let times = item.rsplit_once("}}x").map_or(0, |(_, times)| times.parse::<usize>().unwrap());
        values.extend(vec![Value::Histogram; times + 1]);
    } else if let Some(times) = item.strip_prefix('_') {
        let times = times.strip_prefix('x').map_or(1, |times| times.parse().unwrap());
        values.extend(vec![Value::Missing; times]);
    } else if let Some(times) = item.strip_prefix("stale") {
        let times = times.strip_prefix('x').map_or(0, |times| times.parse().unwrap());
        values.extend(vec![Value::Number(STALE); times + 1]);
    } else {
        let (value, times) = match item.rsplit_once('x') {
            Some((value, times)) => (value, times.parse().unwrap()),
            None => (item, 0_usize),
        };
        let (start, step) = start_and_step(value);
        values.extend((0..=times).map(|at| Value::Number(start + step * at as f64)));
    }
}

/// `1+2` and `1-2` count on; signs of the number and of its exponent do not.
fn start_and_step(text: &str) -> (f64, f64) {
    let signs = text
        .char_indices()
        .skip(1)
        .filter(|(at, c)| matches!(c, '+' | '-') && !text[..*at].ends_with(['e', 'E']));
    match signs.map(|(at, _)| at).next() {
        Some(at) => (number(&text[..at]), number(&text[at..])),
        None => (number(text), 0.0),
    }
}

/// A number as promqltest writes it.
pub(super) fn number(text: &str) -> f64 {
    match text.trim_start_matches('+').to_ascii_lowercase().strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).unwrap().into(),
        None => text.parse().unwrap_or_else(|_| panic!("`{text}` is no number")),
    }
}

#[test]
fn a_line_is_labels_and_values() {
    use Value::{Histogram, Missing, Number};
    for (line, labels, values) in [
        (r#"m{a="} 1"} 1 2+3x1 -1"#, r#"m{a="} 1"}"#, vec![1.0, 2.0, 5.0, -1.0]),
        ("m 1e-3 +Inf", "m", vec![0.001, f64::INFINITY]),
        ("{} 0x1 5", "{}", vec![0.0, 0.0, 5.0]),
        ("m {} 0-1x2", "m", vec![0.0, -1.0, -2.0]),
    ] {
        let values: Vec<_> = values.into_iter().map(Number).collect();
        assert_eq!(series(line), (series(&format!("{labels} 1")).0, values), "{line}");
        assert_eq!(series(line).0.to_string(), labels, "{line}");
    }
    let values = vec![Missing, Missing, Missing, Histogram, Histogram, Number(1.0), Number(1.0)];
    assert_eq!(series("m _ _x2 {{a:1 b:[1 2]}}x1 1x1").1, values);
}
