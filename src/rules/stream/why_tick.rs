//! What cannot be followed sample by sample, and why.

use super::window_function;
use crate::promql::expr::Call;
use crate::promql::operator::BinaryOp;
use crate::promql::selector::{Anchored, At, Selector};
use crate::promql::{AggregateOp, Expr, ExprKind, Function};

/// Why an operator, apart from what it is applied to, must be evaluated on a tick; `None`: it can
/// be followed.
pub(super) fn why_tick(expr: &Expr) -> Option<&'static str> {
    match &expr.kind {
        ExprKind::Selector(selector) => fixed_time(selector),
        ExprKind::Range(range) => fixed_time(&range.selector),
        ExprKind::Subquery(_) => Some("a subquery looks back at what the rule did not judge"),
        ExprKind::Binary(binary) => {
            let matching = &binary.matching;
            (matching.fill_left.is_some() || matching.fill_right.is_some())
                .then_some("`fill` makes up elements that have no series")
        }
        ExprKind::Aggregate(aggregate) if aggregate.op == AggregateOp::Limitk => {
            Some("`limitk` chooses by the order of the series")
        }
        ExprKind::Call(call) => of_call(call),
        _ => None,
    }
}

fn fixed_time(selector: &Selector) -> Option<&'static str> {
    // In the query at one time that a rule is, `start()` and `end()` are that time.
    matches!(selector.at, Some(At::Time(_))).then_some("`@` looks at a fixed time")
}

fn of_call(call: &Call) -> Option<&'static str> {
    let texts: Vec<&str> = call
        .arguments
        .iter()
        .filter_map(|argument| match &argument.kind {
            ExprKind::String(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    match call.function {
        Function::HistogramQuantiles => return Some("it makes several elements of one"),
        Function::LabelReplace
            if texts.last().is_some_and(|regex| Anchored::new(regex).is_err()) =>
        {
            return Some("its expression does not compile");
        }
        // With a selector it is one operator, which looks when the selector does.
        Function::Timestamp => {
            return call.arguments.iter().find_map(|argument| match &argument.kind {
                ExprKind::Selector(selector) => fixed_time(selector),
                _ => None,
            });
        }
        Function::Absent => return None,
        _ => {}
    }
    let ranges =
        |argument: &&Expr| matches!(argument.kind, ExprKind::Range(_) | ExprKind::Subquery(_));
    let range = call.arguments.iter().find(ranges)?;
    why_tick(range).or_else(|| {
        let follows =
            call.function == Function::AbsentOverTime || window_function::of(call).is_some();
        (!follows).then_some("its parameters are no fixed numbers, or it depends on every sample")
    })
}

/// The number that an expression of type scalar always is.
pub(super) fn literal(expr: &Expr) -> Option<f64> {
    match &expr.kind {
        ExprKind::Number(number) => Some(*number),
        ExprKind::Negate(inner) => literal(inner).map(|number| -number),
        ExprKind::Binary(binary) => {
            let (left, right) = (literal(&binary.left)?, literal(&binary.right)?);
            match binary.op {
                BinaryOp::Arithmetic(op) => Some(op.apply(left, right)),
                BinaryOp::Comparison(op) => Some(f64::from(u8::from(op.holds(left, right)))),
                BinaryOp::Set(_) => None,
            }
        }
        ExprKind::Call(call) if call.function == Function::Pi => Some(std::f64::consts::PI),
        _ => None,
    }
}
