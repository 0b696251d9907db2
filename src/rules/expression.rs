//! Reads `when` and `clear`: for now `selector comparison number`, either way round.
//!
//! Everything else that is PromQL is refused by name, never half understood.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, BinaryExpr, Expr, VectorSelector};

use super::plan::{Condition, LabelMatcher, Pattern, Selector};
use crate::config::Regex;

/// Longest expression in bytes. The parser is quadratic in chains of operators.
const EXPRESSION_BYTES_MAX: usize = 16 * 1024;

/// Deepest nesting of brackets; the parser recurses, and real rules stay below ten.
const DEPTH_MAX: usize = 64;

/// Most operators: a chain of them nests the tree, which is dropped by recursion.
const OPERATORS_MAX: usize = 1_000;

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpressionError {
    /// What is wrong, for a person.
    pub(super) message: String,
    /// The part of the expression that is, where that is known.
    pub(super) part: Option<String>,
}

impl ExpressionError {
    fn new(message: impl Into<String>, part: Option<&str>) -> Self {
        Self { message: message.into(), part: part.map(str::to_owned) }
    }

    fn unsupported(construct: &str, part: Option<&str>) -> Self {
        Self::new(
            format!(
                "{construct} is PromQL, but not supported yet: for now it is \
                 `metric{{label=\"value\"}} > number` or its mirror image"
            ),
            part,
        )
    }
}

/// Reads an expression.
///
/// # Errors
/// What is wrong with it, or that it is more than is supported.
pub(super) fn parse(text: &str) -> Result<(Selector, Condition), ExpressionError> {
    check_size(text)?;
    let parsed = parser::parse(text)
        .map_err(|message| ExpressionError::new(format!("not PromQL: {message}"), None))?;
    let Expr::Binary(binary) = unwrapped(&parsed) else {
        return Err(match unwrapped(&parsed) {
            Expr::VectorSelector(_) => {
                ExpressionError::unsupported("a selector without a comparison", None)
            }
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {
                ExpressionError::new("a rule needs a selector to judge", None)
            }
            other => unsupported(other),
        });
    };
    comparison(binary)
}

/// Refuses what could overflow the parser's stack, before it is parsed.
fn check_size(text: &str) -> Result<(), ExpressionError> {
    if text.trim().is_empty() {
        return Err(ExpressionError::new("the expression is empty", None));
    }
    if text.len() > EXPRESSION_BYTES_MAX {
        let message = format!("longer than {EXPRESSION_BYTES_MAX} bytes");
        return Err(ExpressionError::new(message, None));
    }
    let (mut depth, mut operators) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'<' | b'>' | b'=' => operators += 1,
            _ => {}
        }
        if depth > DEPTH_MAX {
            let message = format!("nested more than {DEPTH_MAX} deep");
            return Err(ExpressionError::new(message, None));
        }
    }
    // Words may be operators as well: `a and a and …`.
    operators += text.split_ascii_whitespace().count();
    if operators > OPERATORS_MAX {
        let message = format!("more than {OPERATORS_MAX} operators and words");
        return Err(ExpressionError::new(message, None));
    }
    Ok(())
}

fn unwrapped(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(inner) = expr {
        expr = &inner.expr;
    }
    expr
}

fn comparison(binary: &BinaryExpr) -> Result<(Selector, Condition), ExpressionError> {
    let op = binary.op.to_string();
    if !binary.op.is_comparison_operator() {
        return Err(ExpressionError::unsupported(&format!("`{op}`"), Some(&op)));
    }
    if binary.modifier.as_ref().is_some_and(|modifier| modifier.return_bool) {
        return Err(ExpressionError::unsupported("`bool`", Some("bool")));
    }
    let (vector, number, op) = match (unwrapped(&binary.lhs), unwrapped(&binary.rhs)) {
        (Expr::VectorSelector(vector), other) => (vector, literal(other)?, op.as_str()),
        (other, Expr::VectorSelector(vector)) => (vector, literal(other)?, mirrored(&op)),
        (left, right) => {
            let one = if literal(left).is_ok() { right } else { left };
            return Err(match one {
                Expr::NumberLiteral(_) => {
                    ExpressionError::new("a rule needs a selector to judge", None)
                }
                other => unsupported(other),
            });
        }
    };
    if !number.is_finite() {
        return Err(ExpressionError::new(format!("the threshold {number} is not finite"), None));
    }
    let condition = match op {
        ">" => Condition::Above(number),
        ">=" => Condition::AtLeast(number),
        "<" => Condition::Below(number),
        "<=" => Condition::AtMost(number),
        "==" => Condition::Equals(number),
        "!=" => Condition::NotEquals(number),
        other => return Err(ExpressionError::unsupported(&format!("`{other}`"), Some(other))),
    };
    Ok((selector(vector)?, condition))
}

fn mirrored(op: &str) -> &str {
    match op {
        ">" => "<",
        ">=" => "<=",
        "<" => ">",
        "<=" => ">=",
        same => same,
    }
}

fn literal(expr: &Expr) -> Result<f64, ExpressionError> {
    match unwrapped(expr) {
        Expr::NumberLiteral(number) => Ok(number.val),
        Expr::Unary(unary) => literal(&unary.expr).map(|number| -number),
        Expr::VectorSelector(_) => {
            Err(ExpressionError::unsupported("a comparison of two series", None))
        }
        other => Err(unsupported(other)),
    }
}

fn selector(vector: &VectorSelector) -> Result<Selector, ExpressionError> {
    if vector.offset.is_some() {
        return Err(ExpressionError::unsupported("`offset`", Some("offset")));
    }
    if vector.at.is_some() {
        return Err(ExpressionError::unsupported("`@`", Some("@")));
    }
    if !vector.matchers.or_matchers.is_empty() {
        return Err(ExpressionError::unsupported("`or` between matchers", Some(" or ")));
    }
    let mut metric = vector.name.clone();
    let mut matchers = Vec::new();
    for Matcher { op, name, value } in &vector.matchers.matchers {
        if name == "__name__" {
            if !matches!(op, MatchOp::Equal) || metric.as_ref().is_some_and(|m| m != value) {
                let construct = "a name that is not a plain one";
                return Err(ExpressionError::unsupported(construct, Some("__name__")));
            }
            metric = Some(value.clone());
            continue;
        }
        let pattern = match op {
            MatchOp::Equal => Pattern::Equal(value.clone()),
            MatchOp::NotEqual => Pattern::NotEqual(value.clone()),
            MatchOp::Re(regex) => Pattern::Regex(Regex(regex.clone())),
            MatchOp::NotRe(regex) => Pattern::NotRegex(Regex(regex.clone())),
        };
        matchers.push(LabelMatcher { label: name.clone(), pattern });
    }
    let metric =
        metric.ok_or_else(|| ExpressionError::unsupported("a selector without a name", None))?;
    Ok(Selector { metric, matchers })
}

fn unsupported(expr: &Expr) -> ExpressionError {
    let (construct, part) = match expr {
        Expr::Aggregate(aggregate) => (format!("`{}`", aggregate.op), aggregate.op.to_string()),
        Expr::Call(call) => (format!("`{}()`", call.func.name), call.func.name.to_owned()),
        Expr::Binary(binary) => (format!("`{}`", binary.op), binary.op.to_string()),
        Expr::Subquery(_) => ("a subquery".to_owned(), "[".to_owned()),
        Expr::MatrixSelector(_) => ("a range".to_owned(), "[".to_owned()),
        Expr::Unary(_) => ("a sign before a selector".to_owned(), "-".to_owned()),
        Expr::StringLiteral(_) => ("a string".to_owned(), "\"".to_owned()),
        _ => ("this".to_owned(), String::new()),
    };
    ExpressionError::unsupported(&construct, Some(&part).filter(|p| !p.is_empty()).map(|p| &**p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            ("1 > 2", "not PromQL"),
            ("a > Inf", "not finite"),
            ("a >", "not PromQL"),
            ("a{ > 1", "not PromQL"),
            ("", "empty"),
        ] {
            let message = shown(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn what_would_overflow_the_parser_is_refused_before() {
        for text in [
            format!("{}a{} > 1", "(".repeat(10_000), ")".repeat(10_000)),
            format!("{}a{} > 1", "(".repeat(5_000), ")".repeat(5_000)),
            format!("a{} > 1", "+a".repeat(7_000)),
            format!("a{} > 1", " or a".repeat(3_000)),
            format!("{}a > 1", "-".repeat(15_000)),
        ] {
            assert!(parse(&text).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c0-9(){}\\[\\]=<>!~\"', .:@+*/-]{0,60}") {
            drop(parse(&text));
        }
    }
}
