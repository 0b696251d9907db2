//! What a rule asks of the data, whichever form it is written in: which series, and which values.
//!
//! The short form and `when` both become a [`Plan`]. It judges nothing over time: `for` and its
//! kin are the engine's.

use std::fmt;

use super::Severity;
use super::stream::explain::explain;
use crate::config::{Glob, Regex};
use crate::promql::operator::Comparison;
use crate::promql::{BinaryOp, Expr, ExprKind};
use crate::sample::Series;

/// A rule's question.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// A series is compared with numbers: judged at the least cost.
    Threshold(Threshold),
    /// Anything else that is PromQL, from the mildest severity to the worst; at least one.
    Expression(Vec<Asked>),
}

/// What makes a rule in PromQL hold with a severity.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// How bad it is.
    pub severity: Severity,
    /// The rule holds where this yields a sample.
    pub when: Written,
    /// What holds stays so until this yields a sample; `None`: until `when` does not.
    pub clear: Option<Written>,
}

/// An expression as it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Its text, in one line.
    pub text: String,
    /// What it says.
    pub expr: Expr,
}

/// Which series, which values hold, and which end it.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// The series it is about.
    pub selector: Selector,
    /// From the mildest to the worst; at least one.
    pub levels: Vec<Level>,
}

/// What makes a rule hold with a severity.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// How bad it is.
    pub severity: Severity,
    /// The rule holds where this does.
    pub when: Condition,
    /// What holds stays so until this holds; `None`: until `when` does not.
    pub clear: Option<Condition>,
}

/// Which series.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    /// The name, `measurement_field`.
    pub metric: String,
    /// What its labels must be; all of it.
    pub matchers: Vec<LabelMatcher>,
}

/// What one label must be. A label that is absent is empty, as in PromQL.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelMatcher {
    /// The label's name.
    pub label: String,
    /// What it must be.
    pub pattern: Pattern,
}

/// What the value of a label must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Pattern {
    /// Exactly this.
    Equal(String),
    /// Anything else.
    NotEqual(String),
    /// All of it matches.
    Regex(Regex),
    /// Not all of it matches.
    NotRegex(Regex),
    /// The short form's.
    Glob(Glob),
}

impl Selector {
    /// Whether a series is meant.
    #[must_use]
    pub fn matches(&self, series: &Series) -> bool {
        series.is_named(&self.metric) && self.matchers.iter().all(|matcher| matcher.matches(series))
    }
}

impl LabelMatcher {
    fn matches(&self, series: &Series) -> bool {
        let value = series.tag(&self.label).unwrap_or_default();
        match &self.pattern {
            Pattern::Equal(wanted) => value == wanted,
            Pattern::NotEqual(other) => value != other,
            Pattern::Regex(regex) => regex.0.is_match(value),
            Pattern::NotRegex(regex) => !regex.0.is_match(value),
            Pattern::Glob(glob) => glob.0.is_match(value),
        }
    }
}

/// Which values hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition {
    /// `> a`
    Above(f64),
    /// `>= a`
    AtLeast(f64),
    /// `< a`
    Below(f64),
    /// `<= a`
    AtMost(f64),
    /// `== a`
    Equals(f64),
    /// `!= a`
    NotEquals(f64),
    /// `< a or > b`
    Outside(f64, f64),
}

impl Condition {
    /// Whether a value holds. What is not a number holds only for `!=`, as in PromQL.
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::Above(a) => value > a,
            Self::AtLeast(a) => value >= a,
            Self::Below(a) => value < a,
            Self::AtMost(a) => value <= a,
            Self::Equals(a) => value == a,
            Self::NotEquals(a) => value != a,
            Self::Outside(a, b) => value < a || value > b,
        }
    }

    /// A value for which both hold, if there is one.
    #[must_use]
    pub fn overlap(self, other: Self) -> Option<f64> {
        self.telling_values(other).find(|value| self.holds(*value) && other.holds(*value))
    }

    /// Values that tell two conditions apart. Both are unions of intervals that end at their
    /// thresholds: what is true at a threshold, next to one and between two is true everywhere.
    fn telling_values(self, other: Self) -> impl Iterator<Item = f64> {
        let mut near: Vec<f64> = [self, other].into_iter().flat_map(Self::thresholds).collect();
        near.sort_by(f64::total_cmp);
        let between: Vec<f64> = near.windows(2).map(|pair| pair[0].midpoint(pair[1])).collect();
        near.into_iter().flat_map(|a| [a, a.next_down(), a.next_up()]).chain(between)
    }

    fn thresholds(self) -> impl Iterator<Item = f64> {
        let (a, b) = match self {
            Self::Above(a)
            | Self::AtLeast(a)
            | Self::Below(a)
            | Self::AtMost(a)
            | Self::Equals(a)
            | Self::NotEquals(a) => (a, None),
            Self::Outside(a, b) => (a, Some(b)),
        };
        std::iter::once(a).chain(b)
    }

    /// Whether the other holds wherever this does.
    #[must_use]
    pub fn implies(self, other: Self) -> bool {
        self.telling_values(other).all(|value| !self.holds(value) || other.holds(value))
    }

    /// What holds where either does, for two that look the same way.
    #[must_use]
    pub fn either(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Above(a), Self::Above(b)) => Some(Self::Above(a.min(b))),
            (Self::AtLeast(a), Self::AtLeast(b)) => Some(Self::AtLeast(a.min(b))),
            (Self::Below(a), Self::Below(b)) => Some(Self::Below(a.max(b))),
            (Self::AtMost(a), Self::AtMost(b)) => Some(Self::AtMost(a.max(b))),
            (Self::Outside(a, b), Self::Outside(c, d)) => Some(Self::Outside(a.max(c), b.min(d))),
            (one, same) if one == same => Some(one),
            _ => None,
        }
    }

    /// What holds where this does not, for messages.
    fn negated(self) -> Option<Self> {
        Some(match self {
            Self::Above(a) => Self::AtMost(a),
            Self::AtLeast(a) => Self::Below(a),
            Self::Below(a) => Self::AtLeast(a),
            Self::AtMost(a) => Self::Above(a),
            Self::Equals(a) => Self::NotEquals(a),
            Self::NotEquals(a) => Self::Equals(a),
            Self::Outside(..) => return None,
        })
    }

    fn promql(self, subject: &str) -> String {
        match self {
            Self::Outside(a, b) => {
                format!("{subject} < {} or {subject} > {}", shown(a), shown(b))
            }
            one => format!("{subject} {one}"),
        }
    }
}

/// As in `31.4 > 30`, without the left side.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Above(a) => write!(f, "> {}", shown(a)),
            Self::AtLeast(a) => write!(f, ">= {}", shown(a)),
            Self::Below(a) => write!(f, "< {}", shown(a)),
            Self::AtMost(a) => write!(f, "<= {}", shown(a)),
            Self::Equals(a) => write!(f, "== {}", shown(a)),
            Self::NotEquals(a) => write!(f, "!= {}", shown(a)),
            Self::Outside(a, b) => write!(f, "outside {} to {}", shown(a), shown(b)),
        }
    }
}

impl Level {
    /// What must hold for an alert to end, for messages: `< 32`.
    #[must_use]
    pub fn end_shown(&self) -> String {
        match (self.clear, self.when, self.when.negated()) {
            (Some(clear), ..) => clear.to_string(),
            (None, _, Some(negated)) => negated.to_string(),
            (None, when, None) => format!("not {when}"),
        }
    }
}

impl Plan {
    /// The comparison it is, if it is no more than that.
    #[must_use]
    pub fn threshold(&self) -> Option<&Threshold> {
        match self {
            Self::Threshold(threshold) => Some(threshold),
            Self::Expression(_) => None,
        }
    }

    /// How it is judged, a line for each operator.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        match self {
            Self::Threshold(threshold) => {
                vec![format!("{threshold}: sample by sample, as it arrives")]
            }
            Self::Expression(levels) => {
                let written = levels.iter().flat_map(|one| one.clear.iter().chain([&one.when]));
                let mut all: Vec<&Written> = written.collect();
                all.reverse();
                all.into_iter().flat_map(|one| explain(&one.expr)).collect()
            }
        }
    }

    /// How bad it is at worst.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let worst = match self {
            Self::Threshold(threshold) => threshold.levels.last().map(|level| level.severity),
            Self::Expression(levels) => levels.last().map(|level| level.severity),
        };
        worst.unwrap_or(Severity::Warning)
    }

    /// For messages, from the mildest severity on: what holds, as in `> 35`, and what ends it, as
    /// in `< 32`.
    #[must_use]
    pub fn words(&self) -> Vec<(Severity, String, String)> {
        match self {
            Self::Threshold(threshold) => {
                let levels = threshold.levels.iter();
                levels.map(|one| (one.severity, one.when.to_string(), one.end_shown())).collect()
            }
            Self::Expression(levels) => {
                levels.iter().map(|one| (one.severity, one.when.shown(), one.end_shown())).collect()
            }
        }
    }
}

impl Asked {
    fn end_shown(&self) -> String {
        match (&self.clear, self.when.compared()) {
            (Some(clear), _) => clear.shown(),
            (None, Some((op, number))) => format!("{} {}", op.negated(), shown(number)),
            (None, None) => format!("not `{}`", self.when.text),
        }
    }
}

impl Written {
    /// What a value is compared with in the end, where it is a number.
    fn compared(&self) -> Option<(Comparison, f64)> {
        let ExprKind::Binary(binary) = &self.expr.kind else { return None };
        match (binary.op, &binary.left.kind, &binary.right.kind) {
            _ if binary.returns_bool => None,
            (BinaryOp::Comparison(op), _, ExprKind::Number(number)) => Some((op, *number)),
            (BinaryOp::Comparison(op), ExprKind::Number(number), _) => {
                Some((op.mirrored(), *number))
            }
            _ => None,
        }
    }

    /// As it stands behind a value: `> 35`, or ``by `a and b` ``.
    fn shown(&self) -> String {
        match self.compared() {
            Some((op, number)) => format!("{} {}", BinaryOp::Comparison(op), shown(number)),
            None => format!("by `{}`", self.text),
        }
    }
}

/// As PromQL: where any severity holds.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threshold(threshold) => threshold.fmt(f),
            Self::Expression(levels) => {
                for (place, level) in levels.iter().enumerate() {
                    let text = &level.when.text;
                    match (place, levels.len()) {
                        (_, 1) => f.write_str(text)?,
                        (0, _) => write!(f, "({text})")?,
                        _ => write!(f, " or ({text})")?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// As PromQL: where any severity holds.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.selector.to_string();
        let any =
            self.levels.iter().map(|level| level.when).reduce(|a, b| a.either(b).unwrap_or(a));
        f.write_str(&any.map(|when| when.promql(&subject)).unwrap_or_default())
    }
}

/// As PromQL; a glob as the regular expression it is.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric)?;
        for (i, LabelMatcher { label, pattern }) in self.matchers.iter().enumerate() {
            f.write_str(if i == 0 { "{" } else { "," })?;
            match pattern {
                Pattern::Equal(value) => write!(f, "{label}={value:?}")?,
                Pattern::NotEqual(value) => write!(f, "{label}!={value:?}")?,
                Pattern::Regex(regex) => write!(f, "{label}=~{:?}", unanchored(regex))?,
                Pattern::NotRegex(regex) => write!(f, "{label}!~{:?}", unanchored(regex))?,
                Pattern::Glob(glob) => match literal(glob) {
                    Some(value) => write!(f, "{label}={value:?}")?,
                    None => write!(f, "{label}=~{:?}", glob_regex(glob))?,
                },
            }
        }
        if self.matchers.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

/// PromQL's expressions are anchored, so the anchors are not written.
fn unanchored(regex: &Regex) -> &str {
    let text = regex.0.as_str();
    text.strip_prefix("^(?s:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text)
}

fn literal(glob: &Glob) -> Option<&str> {
    let text = glob.0.glob().glob();
    (!text.contains(['*', '?', '[', '{', '\\'])).then_some(text)
}

fn glob_regex(glob: &Glob) -> String {
    let text = glob.0.glob().regex();
    let text = text.strip_prefix("(?-u)^").and_then(|t| t.strip_suffix('$')).unwrap_or(text);
    // Names are full of dashes, and only in a class do they need the backslash globset writes.
    if text.contains('[') { text.to_owned() } else { text.replace("\\-", "-") }
}

/// More digits than these say nothing to a person.
const DIGITS_SHOWN: usize = 6;

/// A number for people: at most six digits that count.
#[must_use]
pub fn shown(value: f64) -> String {
    let rounded = format!("{value:.*e}", DIGITS_SHOWN - 1).parse().unwrap_or(value);
    let size = f64::abs(rounded);
    if size != 0.0 && size.is_finite() && !(1e-5..1e15).contains(&size) {
        format!("{rounded:e}")
    } else {
        rounded.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_shown_short() {
        for (value, text) in [
            (31.4, "31.4"),
            (0.1 + 0.2, "0.3"),
            (1.0, "1"),
            (86_399.123_4, "86399.1"),
            (1_234_567.0, "1234570"),
            (0.0, "0"),
            (1e21, "1e21"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(shown(value), text);
        }
    }

    #[test]
    fn a_plan_reads_as_promql() {
        let glob = |text: &str| Glob(globset::Glob::new(text).unwrap().compile_matcher());
        let matcher = |label: &str, pattern| LabelMatcher { label: label.into(), pattern };
        let plan = Threshold {
            selector: Selector {
                metric: "serial_t".into(),
                matchers: vec![
                    matcher("target", Pattern::Glob(glob("rack-*"))),
                    matcher("site", Pattern::Glob(glob("hq"))),
                    matcher("x", Pattern::NotEqual("a\"b".into())),
                ],
            },
            levels: vec![Level {
                severity: Severity::Warning,
                when: Condition::Outside(1.0, 2.5),
                clear: None,
            }],
        };
        let selector = r#"serial_t{target=~"rack-.*",site="hq",x!="a\"b"}"#;
        assert_eq!(plan.to_string(), format!("{selector} < 1 or {selector} > 2.5"));
        assert_eq!(plan.levels[0].end_shown(), "not outside 1 to 2.5");
        assert!(promql_parser::parser::parse(&plan.to_string()).is_ok());
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let number = (-4i32..=4).prop_map(f64::from);
        (0..7, number.clone(), number).prop_map(|(kind, a, b)| match kind {
            0 => Condition::Above(a),
            1 => Condition::AtLeast(a),
            2 => Condition::Below(a),
            3 => Condition::AtMost(a),
            4 => Condition::Equals(a),
            5 => Condition::NotEquals(a),
            _ => Condition::Outside(a.min(b), a.max(b)),
        })
    }

    proptest! {
        #[test]
        fn an_overlap_is_found_where_there_is_one(a in condition(), b in condition()) {
            let grid = (-80..=80).map(|n| f64::from(n) / 16.0);
            let really = grid.into_iter().any(|value| a.holds(value) && b.holds(value));
            match a.overlap(b) {
                Some(value) => prop_assert!(a.holds(value) && b.holds(value)),
                None => prop_assert!(!really),
            }
        }

        #[test]
        fn what_implies_another_never_holds_without_it(a in condition(), b in condition()) {
            let mut grid = (-80..=80).map(|n| f64::from(n) / 16.0);
            prop_assert_eq!(a.implies(b), grid.all(|value| !a.holds(value) || b.holds(value)));
        }
    }
}
