//! A checked expression: every node's type is known to fit where it stands.
//!
//! [`parse`](super::parse::parse) makes it. The evaluator and the streaming plan both read it.

use std::ops::Range;
use std::time::Duration;

use super::aggregate::AggregateOp;
use super::function::Function;
use super::operator::BinaryOp;
use super::selector::{At, Selector};

/// An expression and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands in the text, brackets around it included.
    pub span: Span,
}

/// What an expression is. Brackets are gone: the tree says what they said.
#[derive(Debug, Clone)]
pub enum ExprKind {
    /// `1.5`
    Number(f64),
    /// `"text"`
    String(String),
    /// `up{job="a"}`: the newest value of each series.
    Selector(Selector),
    /// `up{job="a"}[5m]`: the values of each series over a time.
    Range(RangeSelector),
    /// `rate(x[1m])[1h:5m]`: an expression evaluated over a time.
    Subquery(Box<Subquery>),
    /// `-x`
    Negate(Box<Expr>),
    /// `a + b`
    Binary(Box<Binary>),
    /// `sum by (job) (x)`
    Aggregate(Box<Aggregate>),
    /// `rate(x[5m])`
    Call(Box<Call>),
}

/// `x[5m]`
#[derive(Debug, Clone, PartialEq)]
pub struct RangeSelector {
    /// Which series.
    pub selector: Selector,
    /// How long, in nanoseconds; above zero. The window excludes its start.
    pub range: i64,
}

/// `x[1h:5m]`
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// The expression, an instant vector.
    pub expr: Expr,
    /// How long, in nanoseconds; above zero.
    pub range: i64,
    /// The time between two evaluations, in nanoseconds; `None`: the query's default.
    pub step: Option<i64>,
    /// How far back, in nanoseconds.
    pub offset: i64,
    /// A fixed time instead of the query's.
    pub at: Option<At>,
}

/// `a + b`
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Whether a comparison yields 0 and 1 instead of keeping what holds.
    pub returns_bool: bool,
    /// The left side.
    pub left: Expr,
    /// The right side.
    pub right: Expr,
    /// Which series of two vectors belong together.
    pub matching: Matching,
}

/// Which series of two vectors belong together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matching {
    /// The labels that must be equal.
    pub on: MatchLabels,
    /// How many of one side belong to one of the other.
    pub cardinality: Cardinality,
    /// What stands for a left side without a match; with `group_right`, for a right one.
    pub fill_left: Option<f64>,
    /// What stands for a right side without a match; with `group_right`, for a left one.
    pub fill_right: Option<f64>,
}

/// The labels that must be equal; names sorted, none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatchLabels {
    /// `on (a, b)`: these.
    On(Vec<String>),
    /// `ignoring (a, b)`: all but these and the name.
    Ignoring(Vec<String>),
}

impl Default for MatchLabels {
    fn default() -> Self {
        Self::Ignoring(Vec::new())
    }
}

/// How many series of one side belong to one of the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cardinality {
    /// One to one.
    #[default]
    OneToOne,
    /// `group_left (labels taken from the right)`: many of the left.
    ManyToOne(Vec<String>),
    /// `group_right (labels taken from the left)`: many of the right.
    OneToMany(Vec<String>),
    /// Any to any: the set operators.
    ManyToMany,
}

/// `sum by (job) (x)`
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// What it makes one of.
    pub grouping: Grouping,
    /// `k`, φ or the label of `count_values`, where the operator has one.
    pub parameter: Option<Expr>,
    /// The vector.
    pub expr: Expr,
}

/// The labels that make a group; names sorted, none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// `by (a, b)`: these. Without a modifier: none.
    By(Vec<String>),
    /// `without (a, b)`: all but these and the name.
    Without(Vec<String>),
}

/// `rate(x[5m])`
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function.
    pub function: Function,
    /// Its arguments, of the number and the types it takes.
    pub arguments: Vec<Expr>,
}

/// What an expression yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// A number.
    Scalar,
    /// A value of each series at one time.
    Vector,
    /// Values of each series over a time.
    Range,
    /// A text.
    String,
}

impl ValueType {
    /// As Prometheus calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Range => "range vector",
            Self::String => "string",
        }
    }
}

impl std::fmt::Display for ValueType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Expr {
    /// What it yields.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Selector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
            ExprKind::Range(_) | ExprKind::Subquery(_) => ValueType::Range,
            ExprKind::Negate(inner) => inner.value_type(),
            ExprKind::Binary(binary) => binary.value_type(),
            ExprKind::Call(call) => call.function.signature().returns,
        }
    }

    /// The expressions it is made of, in the order they are written in.
    #[must_use]
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Selector(_)
            | ExprKind::Range(_) => Vec::new(),
            ExprKind::Subquery(subquery) => vec![&subquery.expr],
            ExprKind::Negate(inner) => vec![inner],
            ExprKind::Binary(binary) => vec![&binary.left, &binary.right],
            ExprKind::Aggregate(aggregate) => {
                aggregate.parameter.iter().chain([&aggregate.expr]).collect()
            }
            ExprKind::Call(call) => call.arguments.iter().collect(),
        }
    }

    /// How far before its time it looks, where a sample counts for `lookback`.
    #[must_use]
    pub fn reach(&self, lookback: Duration) -> Duration {
        let (own, offset) = match &self.kind {
            ExprKind::Selector(selector) => (lookback, selector.offset),
            ExprKind::Range(range) => (length(range.range), range.selector.offset),
            ExprKind::Subquery(subquery) => (length(subquery.range), subquery.offset),
            _ => (Duration::ZERO, 0),
        };
        let inner = self.children().into_iter().map(|child| child.reach(lookback)).max();
        own.saturating_add(length(offset)).saturating_add(inner.unwrap_or_default())
    }

    /// The selector, where it is one, with or without a range.
    #[must_use]
    pub fn as_selector(&self) -> Option<&Selector> {
        match &self.kind {
            ExprKind::Selector(selector) => Some(selector),
            ExprKind::Range(range) => Some(&range.selector),
            _ => None,
        }
    }
}

/// What looks ahead does not look back.
fn length(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

impl Binary {
    fn value_type(&self) -> ValueType {
        match (self.left.value_type(), self.right.value_type()) {
            (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
            _ => ValueType::Vector,
        }
    }
}

/// NaN is the same number as NaN here: these are texts, not values.
impl PartialEq for ExprKind {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Selector(a), Self::Selector(b)) => a == b,
            (Self::Range(a), Self::Range(b)) => a == b,
            (Self::Subquery(a), Self::Subquery(b)) => a == b,
            (Self::Negate(a), Self::Negate(b)) => a == b,
            (Self::Binary(a), Self::Binary(b)) => a == b,
            (Self::Aggregate(a), Self::Aggregate(b)) => a == b,
            (Self::Call(a), Self::Call(b)) => a == b,
            _ => false,
        }
    }
}

/// A place in the text, in bytes. All places are equal: an expression is the same wherever it
/// stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Span {
    /// As a range of bytes.
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// From the start of this one to the end of another.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end.max(self.start) }
    }

    /// Line and column of its start, both from 1, as Prometheus counts them.
    #[must_use]
    pub fn line_and_column(self, text: &str) -> (usize, usize) {
        let before = &text.as_bytes()[..self.start.min(text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        (line, column)
    }
}
