//! The operators of expressions that are more than something done to each value.

use super::{Compiler, Leaf};
use crate::promql::expr::{Aggregate, Binary, Call, RangeSelector};
use crate::promql::selector::{Anchored, Pattern, Selector};
use crate::promql::{AggregateOp, BinaryOp, Expr, ExprKind, Function, Labels};
use crate::rules::stream::absent::Absent;
use crate::rules::stream::aggregate::Aggregation;
use crate::rules::stream::count_values::CountValues;
use crate::rules::stream::groups::Key;
use crate::rules::stream::histogram::{Histogram, Question};
use crate::rules::stream::instant::Instant;
use crate::rules::stream::join::Join;
use crate::rules::stream::node::Port;
use crate::rules::stream::operator::Operator;
use crate::rules::stream::ranked::Ranked;
use crate::rules::stream::relabel::{Change, Relabel};
use crate::rules::stream::sets::Sets;
use crate::rules::stream::stage::Operand;
use crate::rules::stream::tick::Tick;
use crate::rules::stream::top::Top;
use crate::rules::stream::window::Window;
use crate::rules::stream::window_function;

impl<'a> Compiler<'a> {
    pub(super) fn join(&mut self, expr: &'a Expr, binary: &'a Binary) -> u32 {
        self.once(expr, |this| {
            let inputs = [this.node(&binary.left), this.node(&binary.right)];
            let operator = match binary.op {
                BinaryOp::Set(op) => {
                    Operator::Sets(Sets::new(op, inputs, Key::from(&binary.matching.on)))
                }
                _ => Operator::Join(Join::new(binary, inputs)),
            };
            this.push(operator, &[(inputs[0], Port::Left), (inputs[1], Port::Right)])
        })
    }

    pub(super) fn aggregate(&mut self, expr: &'a Expr, aggregate: &'a Aggregate) -> u32 {
        self.once(expr, |this| {
            let input = this.node(&aggregate.expr);
            let key = || Key::from(&aggregate.grouping);
            let op = aggregate.op;
            let parameter = match &aggregate.parameter {
                Some(Expr { kind: ExprKind::String(label), .. }) => {
                    let counts = CountValues::new(label.clone(), key());
                    return this.push(Operator::CountValues(counts), &[(input, Port::Left)]);
                }
                Some(parameter) => this.operand(parameter),
                None => Operand::Number(f64::NAN),
            };
            let (mut reads, drifts) = (Vec::new(), parameter.drifts());
            parameter.nodes(&mut reads);
            let operator = match op {
                AggregateOp::Min | AggregateOp::Max | AggregateOp::Quantile => {
                    Operator::Ranked(Ranked::new(op, parameter, key()))
                }
                AggregateOp::Topk | AggregateOp::Bottomk => {
                    let greatest = op == AggregateOp::Topk;
                    Operator::Top(Top::new(greatest, parameter, input, key()))
                }
                _ => Operator::Aggregation(Aggregation::new(op, input, key())),
            };
            let node = this.push(operator, &[(input, Port::Left)]);
            this.plan.nodes[node as usize].drifts = drifts;
            reads.iter().for_each(|read| this.edge(*read, node, Port::Parameter));
            node
        })
    }

    pub(super) fn absent(&mut self, expr: &'a Expr, inner: &'a Expr) -> u32 {
        self.once(expr, |this| {
            let input = match &inner.kind {
                ExprKind::Range(range) => this.ranged(window_function::Function::Present, range),
                _ => this.node(inner),
            };
            let node = this.push(Operator::Absent(Absent::new()), &[(input, Port::Left)]);
            this.plan.fixed.push((node, absent_labels(inner)));
            node
        })
    }

    pub(super) fn histogram(
        &mut self,
        expr: &'a Expr,
        buckets: &'a Expr,
        numbers: &[&'a Expr],
        question: impl FnOnce([Operand; 2]) -> Question,
    ) -> u32 {
        self.once(expr, |this| {
            let input = this.node(buckets);
            let mut operands = numbers.iter().map(|number| this.operand(number));
            let mut next = || operands.next().unwrap_or(Operand::Number(f64::NAN));
            let operands = [next(), next()];
            let mut reads = Vec::new();
            operands.iter().for_each(|operand| operand.nodes(&mut reads));
            let drifts = operands.iter().any(Operand::drifts);
            let histogram = Histogram::new(question(operands), input);
            let node = this.push(Operator::Histogram(histogram), &[(input, Port::Left)]);
            this.plan.nodes[node as usize].drifts = drifts;
            reads.iter().for_each(|read| this.edge(*read, node, Port::Parameter));
            node
        })
    }

    pub(super) fn relabel(&mut self, expr: &'a Expr, inner: &'a Expr, call: &'a Call) -> u32 {
        self.once(expr, |this| {
            let input = this.node(inner);
            let text = |place: usize| match call.arguments.get(place).map(|expr| &expr.kind) {
                Some(ExprKind::String(text)) => text.clone(),
                _ => String::new(),
            };
            let change = if call.function == Function::LabelJoin {
                let from = (3..call.arguments.len()).map(text).collect();
                Change::Join { to: text(1), separator: text(2), from }
            } else {
                match Anchored::new(&text(4)) {
                    Ok(regex) => {
                        let (to, replacement, from) = (text(1), text(2), text(3));
                        Change::Replace { to, replacement, from, regex }
                    }
                    // The evaluator refuses it too, and `why_tick` has asked before.
                    Err(_) => Change::Keep,
                }
            };
            this.push(Operator::Relabel(Relabel::new(change, input)), &[(input, Port::Left)])
        })
    }

    pub(super) fn window(&mut self, expr: &'a Expr, call: &'a Call) -> u32 {
        self.once(expr, |this| {
            let ranges = call.arguments.iter().find_map(|argument| match &argument.kind {
                ExprKind::Range(range) => Some(range),
                _ => None,
            });
            match (ranges, window_function::of(call)) {
                (Some(range), Some(function)) => this.ranged(function, range),
                _ => this.tick(expr),
            }
        })
    }

    pub(super) fn ranged(
        &mut self,
        function: window_function::Function,
        range: &RangeSelector,
    ) -> u32 {
        let window = Window::new(function, range.range, range.selector.offset);
        let node = self.push(Operator::Window(window), &[]);
        self.plan.leaves.push(Leaf { node, selector: range.selector.clone() });
        node
    }

    pub(super) fn instant(&mut self, expr: &'a Expr, selector: &Selector, of_times: bool) -> u32 {
        self.once(expr, |this| {
            let instant = Instant::new(selector.offset, of_times);
            let node = this.push(Operator::Instant(instant), &[]);
            this.plan.leaves.push(Leaf { node, selector: selector.clone() });
            node
        })
    }

    pub(super) fn tick(&mut self, expr: &'a Expr) -> u32 {
        self.once(expr, |this| {
            let tick = Tick::new(expr.clone());
            let selectors = tick.selectors();
            let node = this.push(Operator::Tick(tick), &[]);
            let leaves = selectors.into_iter().map(|selector| Leaf { node, selector });
            this.plan.leaves.extend(leaves);
            node
        })
    }
}

/// The labels that are certain of what is absent (promql/functions.go,
/// createLabelsForAbsentFunction).
fn absent_labels(expr: &Expr) -> Labels {
    let matchers = expr.as_selector().map_or(&[][..], |selector| &selector.matchers);
    let alone = |label: &str| matchers.iter().filter(|matcher| matcher.label == label).count() == 1;
    Labels::new(matchers.iter().filter_map(|matcher| match &matcher.pattern {
        Pattern::Equal(value) if alone(&matcher.label) => {
            Some((matcher.label.as_str(), value.as_str()))
        }
        _ => None,
    }))
}
