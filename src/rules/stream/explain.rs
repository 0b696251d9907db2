//! How an expression is judged, for people: `watchpost check --explain-plan`.

use super::compile::loses_names;
use super::why_tick::why_tick;
use crate::promql::expr::{Call, ValueType};
use crate::promql::operator::BinaryOp;
use crate::promql::{AggregateOp, Expr, ExprKind, Function};

/// A line for each operator, the outermost first, those it reads below it.
#[must_use]
pub(in crate::rules) fn explain(expr: &Expr) -> Vec<String> {
    let mut lines = Vec::new();
    if why_tick(expr).is_none() && loses_names(expr) {
        lines.push(format!(
            "{expr}: on a tick, every second or more rarely: a part of it must be, and selects \
             several names"
        ));
    } else {
        walk(expr, 0, &mut lines);
    }
    lines
}

fn walk(expr: &Expr, depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    if let Some(why) = why_tick(expr) {
        let how = "on a tick, every second or more rarely, over samples kept in memory";
        lines.push(format!("{indent}{expr}: {how}: {why}"));
        return;
    }
    if let Some(how) = how(expr) {
        lines.push(format!("{indent}{expr}: {how}"));
    }
    let below = expr
        .children()
        .into_iter()
        .filter(|child| matches!(child.value_type(), ValueType::Vector | ValueType::Scalar));
    below.for_each(|child| walk(child, depth + 1, lines));
}

/// `None` for what needs no word: numbers and texts.
fn how(expr: &Expr) -> Option<&'static str> {
    Some(match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => return None,
        ExprKind::Selector(_) => "the newest sample of each series, as it arrives or expires",
        ExprKind::Range(_) | ExprKind::Subquery(_) => return None,
        ExprKind::Negate(_) => "each value alone",
        ExprKind::Binary(binary) => {
            let drifts = [&binary.left, &binary.right].into_iter().any(is_time);
            match (binary.left.value_type(), binary.right.value_type(), binary.op) {
                (ValueType::Vector, ValueType::Vector, BinaryOp::Set(_)) => {
                    "by match group, as either side changes"
                }
                (ValueType::Vector, ValueType::Vector, _) => {
                    "a join by match group, as either side changes"
                }
                _ if drifts => "each value alone, and again at every whole second",
                _ => "each value alone",
            }
        }
        ExprKind::Aggregate(aggregate) => match aggregate.op {
            AggregateOp::Min | AggregateOp::Max | AggregateOp::Quantile => {
                "by the order of a group's members, which a change moves"
            }
            AggregateOp::Topk | AggregateOp::Bottomk => "the first of a group, in order",
            AggregateOp::CountValues => "counted by value, as members change",
            _ => "by the difference a member's change makes",
        },
        ExprKind::Call(call) => of_call(call),
    })
}

fn of_call(call: &Call) -> &'static str {
    match call.function {
        Function::Rate | Function::Increase | Function::Delta => {
            "a window of each series, as samples arrive and leave; at every thirtieth of its length \
             while an end of it is far from any sample"
        }
        Function::PredictLinear => {
            "a window of each series, as samples arrive and leave, and at every thirtieth of its \
             length"
        }
        Function::Absent | Function::AbsentOverTime => "counted, as series come and go",
        Function::HistogramQuantile | Function::HistogramFraction => {
            "the buckets of a group, as one of them changes"
        }
        Function::LabelReplace | Function::LabelJoin => "labels, once for each series",
        Function::Time => "at every whole second",
        function if function.window_argument().is_some() => {
            "a window of each series, as samples arrive and leave"
        }
        _ => "each value alone",
    }
}

fn is_time(expr: &Expr) -> bool {
    matches!(&expr.kind, ExprKind::Call(call) if call.function == Function::Time)
        || (expr.value_type() == ValueType::Scalar && expr.children().into_iter().any(is_time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    #[test]
    fn every_operator_says_how_it_is_judged() {
        let explained = |text: &str| explain(&parse(text).unwrap());
        let lines = explained("sum by (a) (rate(x[5m])) / y > 0.5");
        assert!(lines[0].contains("> 0.5: each value alone"), "{lines:?}");
        assert!(lines[1].starts_with("  ") && lines[1].contains("a join by match group"));
        assert!(lines[3].contains("a window of each series"), "{lines:?}");
        let lines = explained("max_over_time(x[5m:1m]) > 1");
        assert!(lines[1].contains("on a tick") && lines[1].contains("subquery"), "{lines:?}");
        assert_eq!(lines.len(), 2);
    }
}
