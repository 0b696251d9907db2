//! An expression as canonical PromQL: parsing it yields the same expression.

use std::fmt::{self, Display, Formatter};

use super::AggregateOp;
use super::expr::{
    Aggregate, Binary, Call, Cardinality, Expr, ExprKind, Grouping, MatchLabels, Matching,
    RangeSelector, Subquery,
};
use super::labels::NAME;
use super::operator::{Arithmetic, BinaryOp};
use super::selector::{At, Matcher, Selector};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => write_number(f, *number),
            ExprKind::String(text) => write_quoted(f, text),
            ExprKind::Selector(selector) => write!(f, "{selector}"),
            ExprKind::Range(RangeSelector { selector, range }) => {
                write_series(f, selector)?;
                write!(f, "[{}]", Nanos(*range))?;
                write_times(f, selector.at, selector.offset)
            }
            ExprKind::Subquery(subquery) => write_subquery(f, subquery),
            ExprKind::Negate(inner) => {
                // A chain of signs may be longer than brackets may be deep.
                let is_sign = matches!(inner.kind, ExprKind::Negate(_));
                let bracketed = !is_sign && binds(inner).is_some_and(|p| p < POWER);
                f.write_str("-")?;
                write_bracketed(f, inner, bracketed)
            }
            ExprKind::Binary(binary) => write_binary(f, binary),
            ExprKind::Aggregate(aggregate) => write_aggregate(f, aggregate),
            ExprKind::Call(call) => {
                let Call { function, arguments } = &**call;
                write!(f, "{function}(")?;
                write_list(f, arguments)?;
                f.write_str(")")
            }
        }
    }
}

const POWER: u8 = BinaryOp::Arithmetic(Arithmetic::Power).precedence();

/// How strongly the outermost operator binds, where there is one.
fn binds(expr: &Expr) -> Option<u8> {
    match &expr.kind {
        ExprKind::Binary(binary) => Some(binary.op.precedence()),
        // A sign binds as multiplication does, weaker than `^`.
        ExprKind::Negate(_) => Some(POWER - 1),
        ExprKind::Number(number) if number.is_sign_negative() => Some(POWER - 1),
        _ => None,
    }
}

fn write_bracketed(f: &mut Formatter<'_>, expr: &Expr, bracketed: bool) -> fmt::Result {
    if bracketed { write!(f, "({expr})") } else { write!(f, "{expr}") }
}

fn write_binary(f: &mut Formatter<'_>, binary: &Binary) -> fmt::Result {
    let Binary { op, left, right, .. } = binary;
    let own = op.precedence();
    let to_the_right = own == POWER;
    let left_bracketed = binds(left).is_some_and(|p| p < own || (p == own && to_the_right));
    let right_bracketed = match &right.kind {
        ExprKind::Binary(_) => binds(right).is_some_and(|p| p < own || (p == own && !to_the_right)),
        // So may `a ^ -b ^ -c`, where nothing that follows can take the sign's operand.
        ExprKind::Negate(_) if to_the_right => false,
        // `a * -b * c` would move the bracket.
        _ => binds(right).is_some(),
    };
    write_bracketed(f, left, left_bracketed)?;
    write!(f, " {op} ")?;
    if binary.returns_bool {
        f.write_str("bool ")?;
    }
    write_matching(f, &binary.matching)?;
    write_bracketed(f, right, right_bracketed)
}

fn write_matching(f: &mut Formatter<'_>, matching: &Matching) -> fmt::Result {
    let grouped = match &matching.cardinality {
        Cardinality::ManyToOne(labels) => Some(("group_left", labels)),
        Cardinality::OneToMany(labels) => Some(("group_right", labels)),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    match &matching.on {
        MatchLabels::On(labels) => write!(f, "on ({}) ", Names(labels))?,
        MatchLabels::Ignoring(labels) if labels.is_empty() && grouped.is_none() => {}
        MatchLabels::Ignoring(labels) => write!(f, "ignoring ({}) ", Names(labels))?,
    }
    if let Some((word, labels)) = grouped {
        write!(f, "{word} ({}) ", Names(labels))?;
    }
    for (word, fill) in [("fill_left", matching.fill_left), ("fill_right", matching.fill_right)] {
        if let Some(value) = fill {
            write!(f, "{word} (")?;
            write_number(f, value)?;
            f.write_str(") ")?;
        }
    }
    Ok(())
}

fn write_aggregate(f: &mut Formatter<'_>, aggregate: &Aggregate) -> fmt::Result {
    write!(f, "{} ", aggregate.op)?;
    match &aggregate.grouping {
        Grouping::By(labels) if labels.is_empty() => {}
        Grouping::By(labels) => write!(f, "by ({}) ", Names(labels))?,
        Grouping::Without(labels) => write!(f, "without ({}) ", Names(labels))?,
    }
    f.write_str("(")?;
    if let Some(parameter) = &aggregate.parameter {
        write!(f, "{parameter}, ")?;
    }
    write!(f, "{})", aggregate.expr)
}

fn write_subquery(f: &mut Formatter<'_>, subquery: &Subquery) -> fmt::Result {
    let bracketed = match &subquery.expr.kind {
        ExprKind::Selector(selector) => selector.at.is_some() || selector.offset != 0,
        ExprKind::Call(_) | ExprKind::Aggregate(_) => false,
        _ => true,
    };
    write_bracketed(f, &subquery.expr, bracketed)?;
    write!(f, "[{}:", Nanos(subquery.range))?;
    if let Some(step) = subquery.step {
        write!(f, "{}", Nanos(step))?;
    }
    f.write_str("]")?;
    write_times(f, subquery.at, subquery.offset)
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_series(f, self)?;
        write_times(f, self.at, self.offset)
    }
}

fn write_series(f: &mut Formatter<'_>, selector: &Selector) -> fmt::Result {
    // A name outside the braces excludes another one inside.
    let named_again = selector.matchers.iter().any(|matcher| matcher.label == NAME);
    let plain = selector.name.as_deref().filter(|name| is_plain(name, true) && !named_again);
    f.write_str(plain.unwrap_or_default())?;
    let quoted = selector.name.as_deref().filter(|_| plain.is_none());
    if quoted.is_none() && selector.matchers.is_empty() {
        return Ok(());
    }
    f.write_str("{")?;
    if let Some(name) = quoted {
        write!(f, "{NAME}=")?;
        write_quoted(f, name)?;
    }
    for (at, matcher) in selector.matchers.iter().enumerate() {
        f.write_str(if at > 0 || quoted.is_some() { "," } else { "" })?;
        write!(f, "{matcher}")?;
    }
    f.write_str("}")
}

impl Display for Matcher {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (operator, value) = self.pattern.written();
        write_matcher(f, &self.label, operator, value)
    }
}

/// `label="value"`, with any of the operators.
pub(crate) fn write_matcher(
    f: &mut Formatter<'_>,
    label: &str,
    operator: &str,
    value: &str,
) -> fmt::Result {
    write!(f, "{}{operator}", Name(label))?;
    write_quoted(f, value)
}

fn write_times(f: &mut Formatter<'_>, at: Option<At>, offset: i64) -> fmt::Result {
    match at {
        None => {}
        Some(At::Start) => f.write_str(" @ start()")?,
        Some(At::End) => f.write_str(" @ end()")?,
        Some(At::Time(time)) => {
            let millis = time.as_nanos() / 1_000_000;
            let sign = if millis < 0 { "-" } else { "" };
            let (seconds, rest) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
            write!(f, " @ {sign}{seconds}.{rest:03}")?;
        }
    }
    match offset {
        0 => Ok(()),
        ..0 => write!(f, " offset -{}", Nanos(offset.saturating_neg())),
        _ => write!(f, " offset {}", Nanos(offset)),
    }
}

fn write_list(f: &mut Formatter<'_>, list: &[Expr]) -> fmt::Result {
    for (at, expr) in list.iter().enumerate() {
        write!(f, "{}{expr}", if at == 0 { "" } else { ", " })?;
    }
    Ok(())
}

fn write_number(f: &mut Formatter<'_>, number: f64) -> fmt::Result {
    let size = number.abs();
    if number.is_nan() {
        f.write_str("NaN")
    } else if number.is_infinite() {
        f.write_str(if number > 0.0 { "Inf" } else { "-Inf" })
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        write!(f, "{number:e}")
    } else {
        write!(f, "{number}")
    }
}

/// In double quotes, with the escapes Go and promql-parser agree on.
fn write_quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            other => write!(f, "{other}")?,
        }
    }
    f.write_str("\"")
}

/// Words that mean something else where a metric's name may stand, besides the operators.
const KEYWORDS: [&str; 21] = [
    "anchored",
    "bool",
    "by",
    "end",
    "fill",
    "fill_left",
    "fill_right",
    "group_left",
    "group_right",
    "ignoring",
    "inf",
    "infinity",
    "limit_ratio",
    "nan",
    "offset",
    "on",
    "range",
    "smoothed",
    "start",
    "step",
    "without",
];

/// Whether a name can be written without quotes; a metric's may contain colons.
fn is_plain(name: &str, metric: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (metric && c == ':');
    let lower = name.to_ascii_lowercase();
    let keyword = BinaryOp::parse(&lower).is_some()
        || AggregateOp::parse(&lower).is_some()
        || KEYWORDS.contains(&&*lower);
    name.starts_with(|c: char| fits(c) && !c.is_ascii_digit())
        && name.chars().all(fits)
        && (!metric || !keyword)
}

/// A label's name, quoted where it must be.
struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if is_plain(self.0, false) { f.write_str(self.0) } else { write_quoted(f, self.0) }
    }
}

/// Names of labels with commas between.
struct Names<'a>(&'a [String]);

impl Display for Names<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { ", " }, Name(name))?;
        }
        Ok(())
    }
}

/// A duration: `1h30m`. Below a millisecond there is none in the language.
struct Nanos(i64);

impl Display for Nanos {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0 / 1_000_000;
        for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        if rest > 0 { write!(f, "{rest}ms") } else { Ok(()) }
    }
}
