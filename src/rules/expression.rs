//! Reads `when` and `clear`: any PromQL, and what of it is no more than `selector comparison number`,
//! either way round.

use super::plan::{Condition, LabelMatcher, Pattern, Selector, Written};
use crate::promql::{self, BinaryOp, Expr, ExprKind, ParseError, ValueType, selector};

/// An expression, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parsed {
    pub(super) written: Written,
    /// The comparison it is, if it is no more than that.
    pub(super) threshold: Option<(Selector, Condition)>,
}

/// Reads an expression.
///
/// # Errors
/// What is wrong with it: it is not PromQL, or nothing a rule could be judged by.
pub(super) fn parse(text: &str) -> Result<Parsed, ParseError> {
    let expr = promql::parse(text)?;
    match expr.value_type() {
        ValueType::Vector => {}
        ValueType::Scalar => {
            let message = "a rule needs a selector to judge; this is a number";
            return Err(ParseError::new(message, None));
        }
        other => {
            let message =
                format!("a rule holds where an instant vector has elements; this is a {other}");
            return Err(ParseError::new(message, None));
        }
    }
    let threshold = threshold(&expr);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Parsed { written: Written { text, expr }, threshold })
}

fn threshold(expr: &Expr) -> Option<(Selector, Condition)> {
    let ExprKind::Binary(binary) = &expr.kind else { return None };
    let BinaryOp::Comparison(op) = binary.op else { return None };
    let (vector, number, op) = match (&binary.left.kind, &binary.right.kind) {
        _ if binary.returns_bool => return None,
        (ExprKind::Selector(vector), ExprKind::Number(number)) => (vector, *number, op),
        (ExprKind::Number(number), ExprKind::Selector(vector)) => (vector, *number, op.mirrored()),
        _ => return None,
    };
    if !number.is_finite() {
        return None;
    }
    Some((lower_selector(vector)?, Condition::of(op, number)))
}

fn lower_selector(vector: &selector::Selector) -> Option<Selector> {
    if vector.offset != 0 || vector.at.is_some() {
        return None;
    }
    let metric = vector.name.clone()?;
    let lower = |matcher: &selector::Matcher| LabelMatcher {
        label: matcher.label.clone(),
        pattern: Pattern::Promql(matcher.pattern.clone()),
    };
    Some(Selector { metric, matchers: vector.matchers.iter().map(lower).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Option<String>, String> {
        let parsed = parse(text).map_err(|error| error.message)?;
        Ok(parsed.threshold.map(|(selector, condition)| format!("{selector} {condition}")))
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
            assert_eq!(shown(text), Ok(Some(meaning.to_owned())), "{text}");
        }
    }

    #[test]
    fn everything_else_that_is_promql_is_an_expression() {
        for text in [
            "rate(x[5m]) > 1",
            "sum by (a) (x) > 1",
            "a / b > 1",
            "a > 1 and b > 1",
            "a > b",
            "a > bool 1",
            "a offset 5m > 1",
            "a @ 5 > 1",
            "a",
            "{a=\"b\"} > 1",
            "max_over_time(a[5m:1m]) > 1",
            "a > Inf",
            "absent(a)",
        ] {
            assert_eq!(shown(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_no_rule_can_be_judged_by_is_refused() {
        for (text, part) in [
            ("1", "needs a selector"),
            ("1 > 2", "not PromQL"),
            ("time()", "needs a selector"),
            ("x[5m]", "range vector"),
            ("\"text\"", "string"),
            ("a >", "not PromQL"),
            ("a{ > 1", "not PromQL"),
            ("", "empty"),
        ] {
            let message = shown(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
