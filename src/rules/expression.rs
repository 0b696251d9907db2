//! Reads `when` and `clear`: for now `selector comparison number`, either way round.
//!
//! Everything else that is PromQL is refused by name, never half understood.

use super::plan::{Condition, LabelMatcher, Pattern, Selector};
use crate::config::Regex;
use crate::promql::expr::Binary;
use crate::promql::operator::Comparison;
use crate::promql::{self, BinaryOp, Expr, ExprKind, ParseError, Span, selector};

fn unsupported(construct: &str, span: Span) -> ParseError {
    ParseError::new(
        format!(
            "{construct} is PromQL, but not supported yet: for now it is \
             `metric{{label=\"value\"}} > number` or its mirror image"
        ),
        span,
    )
}

/// Reads an expression.
///
/// # Errors
/// What is wrong with it, or that it is more than is supported.
pub(super) fn parse(text: &str) -> Result<(Selector, Condition), ParseError> {
    let expr = promql::parse(text)?;
    match &expr.kind {
        ExprKind::Binary(binary) => comparison(binary),
        ExprKind::Selector(_) => Err(unsupported("a selector without a comparison", expr.span)),
        ExprKind::Number(_) | ExprKind::String(_) => {
            Err(ParseError::new("a rule needs a selector to judge", None))
        }
        _ => Err(unsupported_kind(&expr)),
    }
}

fn comparison(binary: &Binary) -> Result<(Selector, Condition), ParseError> {
    let between = Span { start: binary.left.span.end, end: binary.right.span.start };
    let BinaryOp::Comparison(op) = binary.op else {
        return Err(unsupported(&format!("`{}`", binary.op), between));
    };
    if binary.returns_bool {
        return Err(unsupported("`bool`", between));
    }
    let (vector, number, op) = match (&binary.left.kind, &binary.right.kind) {
        (ExprKind::Selector(vector), _) => (vector, literal(&binary.right)?, op),
        (_, ExprKind::Selector(vector)) => (vector, literal(&binary.left)?, mirrored(op)),
        (left, _) => {
            let literal = matches!(left, ExprKind::Number(_));
            return Err(unsupported_kind(if literal { &binary.right } else { &binary.left }));
        }
    };
    if !number.is_finite() {
        let message = format!("the threshold {number} is not finite");
        return Err(ParseError::new(message, None));
    }
    let condition = match op {
        Comparison::Greater => Condition::Above(number),
        Comparison::GreaterOrEqual => Condition::AtLeast(number),
        Comparison::Less => Condition::Below(number),
        Comparison::LessOrEqual => Condition::AtMost(number),
        Comparison::Equal => Condition::Equals(number),
        Comparison::NotEqual => Condition::NotEquals(number),
    };
    let span = binary.left.span.to(binary.right.span);
    Ok((lower_selector(vector, span)?, condition))
}

fn mirrored(op: Comparison) -> Comparison {
    match op {
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        same => same,
    }
}

fn literal(expr: &Expr) -> Result<f64, ParseError> {
    match &expr.kind {
        ExprKind::Number(number) => Ok(*number),
        ExprKind::Selector(_) => Err(unsupported("a comparison of two series", expr.span)),
        _ => Err(unsupported_kind(expr)),
    }
}

fn lower_selector(vector: &selector::Selector, span: Span) -> Result<Selector, ParseError> {
    if vector.offset != 0 {
        return Err(unsupported("`offset`", span));
    }
    if vector.at.is_some() {
        return Err(unsupported("`@`", span));
    }
    let metric =
        vector.name.clone().ok_or_else(|| unsupported("a selector without a name", span))?;
    let lower = |matcher: &selector::Matcher| {
        let pattern = match &matcher.pattern {
            selector::Pattern::Equal(value) => Pattern::Equal(value.clone()),
            selector::Pattern::NotEqual(value) => Pattern::NotEqual(value.clone()),
            selector::Pattern::Matches(regex) => Pattern::Regex(Regex(regex.regex().clone())),
            selector::Pattern::MatchesNot(regex) => Pattern::NotRegex(Regex(regex.regex().clone())),
        };
        LabelMatcher { label: matcher.label.clone(), pattern }
    };
    Ok(Selector { metric, matchers: vector.matchers.iter().map(lower).collect() })
}

fn unsupported_kind(expr: &Expr) -> ParseError {
    let construct = match &expr.kind {
        ExprKind::Aggregate(aggregate) => format!("`{}`", aggregate.op),
        ExprKind::Call(call) => format!("`{}()`", call.function),
        ExprKind::Binary(binary) => format!("`{}`", binary.op),
        ExprKind::Subquery(_) => "a subquery".to_owned(),
        ExprKind::Range(_) => "a range".to_owned(),
        ExprKind::Negate(_) => "a sign before a selector".to_owned(),
        ExprKind::String(_) => "a string".to_owned(),
        ExprKind::Number(_) => return ParseError::new("a rule needs a selector to judge", None),
        ExprKind::Selector(_) => "this".to_owned(),
    };
    unsupported(&construct, expr.span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        parse(text).map(|(s, c)| format!("{s} {c}")).map_err(|error| error.message)
    }

    #[test]
    fn a_selector_is_compared_with_a_number_either_way_round() {
        for (text, meaning) in [
            (r#"target_up{target="gw"} == 0"#, r#"target_up{target="gw"} == 0"#),
            ("35 < t", "t > 35"),
            ("(t) >= (-2.5)", "t >= -2.5"),
            ("-1 >= t", "t <= -1"),
            (r#"t{a=~"x|y",b!~"z"} != 1e3"#, r#"t{a=~"x|y",b!~"z"} != 1000"#),
            (r#"{__name__="t"} < 1"#, "t < 1"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(meaning), "{text}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (text, part) in [
            ("rate(x[5m]) > 1", "`rate()`"),
            ("sum by (a) (x) > 1", "`sum`"),
            ("a / b > 1", "`/`"),
            ("a > 1 and b > 1", "`and`"),
            ("a > b", "two series"),
            ("a > bool 1", "`bool`"),
            ("a offset 5m > 1", "`offset`"),
            ("a @ 5 > 1", "`@`"),
            ("a", "without a comparison"),
            ("{a=\"b\"} > 1", "without a name"),
            ("max_over_time(a[5m:1m]) > 1", "`max_over_time()`"),
            ("1", "needs a selector"),
            ("1 > 2", "BOOL"),
            ("a > Inf", "not finite"),
            ("a >", "not PromQL"),
            ("a{ > 1", "not PromQL"),
            ("", "empty"),
        ] {
            let message = shown(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
