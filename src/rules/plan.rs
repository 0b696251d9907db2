//! What a rule asks of the data, whichever form it is written in: which series, and which values.
//!
//! The short form and `when` both become a [`Plan`]. It judges nothing over time: `for` and its
//! kin are the engine's.

mod condition;
mod selector;

use std::fmt;

pub use condition::{Condition, shown};
pub use selector::{LabelMatcher, Pattern, Selector};

use super::Severity;
use super::stream::explain::explain;
use crate::promql::operator::Comparison;
use crate::promql::{BinaryOp, Expr, ExprKind};

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

    /// All it asks, as PromQL: the severity, `when` or `clear`, and the expression.
    #[must_use]
    pub fn expressions(&self) -> Vec<(Severity, &'static str, Expr)> {
        let mut all = Vec::new();
        match self {
            Self::Threshold(Threshold { selector, levels }) => {
                let subject = selector.expr();
                for level in levels {
                    all.push((level.severity, "when", level.when.expr(&subject)));
                    let clear = level.clear.map(|clear| clear.expr(&subject));
                    all.extend(clear.map(|clear| (level.severity, "clear", clear)));
                }
            }
            Self::Expression(levels) => {
                for level in levels {
                    all.push((level.severity, "when", level.when.expr.clone()));
                    let clear = level.clear.as_ref().map(|clear| clear.expr.clone());
                    all.extend(clear.map(|clear| (level.severity, "clear", clear)));
                }
            }
        }
        all
    }

    /// What the mildest severity compares in the end with a number, and how.
    #[must_use]
    pub fn mildest_comparison(&self) -> Option<(Expr, Condition)> {
        match self {
            Self::Threshold(Threshold { selector, levels }) => {
                Some((selector.expr(), levels.first()?.when))
            }
            Self::Expression(levels) => {
                let (subject, op, number) = levels.first()?.when.comparison()?;
                Some((subject.clone(), Condition::of(op, number)))
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
        match (&self.clear, self.when.comparison()) {
            (Some(clear), _) => clear.shown(),
            (None, Some((_, op, number))) => format!("{} {}", op.negated(), shown(number)),
            (None, None) => format!("not `{}`", self.when.text),
        }
    }
}

impl Written {
    /// What is compared with a number in the end, and how.
    #[must_use]
    pub fn comparison(&self) -> Option<(&Expr, Comparison, f64)> {
        let ExprKind::Binary(binary) = &self.expr.kind else { return None };
        let BinaryOp::Comparison(op) = binary.op else { return None };
        match (&binary.left.kind, &binary.right.kind) {
            _ if binary.returns_bool => None,
            (_, ExprKind::Number(number)) => Some((&binary.left, op, *number)),
            (ExprKind::Number(number), _) => Some((&binary.right, op.mirrored(), *number)),
            _ => None,
        }
    }

    /// As it stands behind a value: `> 35`, or ``by `a and b` ``.
    fn shown(&self) -> String {
        match self.comparison() {
            Some((_, op, number)) => format!("{} {}", BinaryOp::Comparison(op), shown(number)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Glob;
    use crate::promql::selector;

    #[test]
    fn a_plan_reads_as_promql() {
        let glob = |text: &str| Glob(globset::Glob::new(text).unwrap().compile_matcher());
        let matcher = |label: &str, pattern| LabelMatcher { label: label.into(), pattern };
        let other = selector::Pattern::NotEqual("a\"b".into());
        let plan = Threshold {
            selector: Selector {
                metric: "serial_t".into(),
                matchers: vec![
                    matcher("target", Pattern::Glob(glob("rack-*"))),
                    matcher("site", Pattern::Glob(glob("hq"))),
                    matcher("x", Pattern::Promql(other)),
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
}
