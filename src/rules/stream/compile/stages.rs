//! What is done to each value alone, and the numbers it is done with.

use super::{Compiler, Staged};
use crate::promql::expr::{Binary, Call};
use crate::promql::functions::elementwise;
use crate::promql::{BinaryOp, Expr, ExprKind, Function, Labels, ValueType};
use crate::rules::stream::histogram::Question;
use crate::rules::stream::node::Port;
use crate::rules::stream::operator::Operator;
use crate::rules::stream::scalar::{ScalarOf, VectorOf};
use crate::rules::stream::stage::{Map, Operand, Stage, With};
use crate::rules::stream::why_tick::{literal, why_tick};

/// What an expression is stages upon: itself, if it is an operator's.
pub(super) fn base_of(mut expr: &Expr) -> &Expr {
    while let Some(inner) = inner_of(expr) {
        expr = inner;
    }
    expr
}

/// What a stage is applied to; `None`: it is an operator's.
pub(super) fn inner_of(expr: &Expr) -> Option<&Expr> {
    if expr.value_type() != ValueType::Vector || why_tick(expr).is_some() {
        return None;
    }
    match &expr.kind {
        ExprKind::Negate(inner) => Some(inner),
        ExprKind::Binary(binary) => match (binary.left.value_type(), binary.right.value_type()) {
            (ValueType::Scalar, _) => Some(&binary.right),
            (_, ValueType::Scalar) => Some(&binary.left),
            _ => None,
        },
        ExprKind::Call(call) if is_stage(call) => call.arguments.first(),
        _ => None,
    }
}

fn is_stage(call: &Call) -> bool {
    let [first, ..] = &call.arguments[..] else { return false };
    match call.function {
        Function::Clamp | Function::ClampMin | Function::ClampMax | Function::Round => true,
        Function::Sort | Function::SortDesc => true,
        Function::SortByLabel | Function::SortByLabelDesc => true,
        Function::Timestamp => !matches!(first.kind, ExprKind::Selector(_)),
        other => elementwise::unary(other).is_some(),
    }
}

impl<'a> Compiler<'a> {
    pub(super) fn binary(&mut self, expr: &'a Expr, binary: &'a Binary) -> Staged {
        let on_left = match (binary.left.value_type(), binary.right.value_type()) {
            (ValueType::Scalar, _) => true,
            (_, ValueType::Scalar) => false,
            _ => return Staged { base: self.join(expr, binary), stages: Vec::new() },
        };
        let (vector, number) =
            if on_left { (&binary.right, &binary.left) } else { (&binary.left, &binary.right) };
        let mut staged = self.staged(vector);
        let operand = self.operand(number);
        let returns_bool = binary.returns_bool;
        staged.stages.extend(match binary.op {
            BinaryOp::Arithmetic(op) => Some(Stage::Arithmetic { op, operand, on_left }),
            BinaryOp::Comparison(op) => {
                Some(Stage::Comparison { op, operand, on_left, returns_bool })
            }
            // Checked: set operators take vectors.
            BinaryOp::Set(_) => None,
        });
        staged
    }

    pub(super) fn call(&mut self, expr: &'a Expr, call: &'a Call) -> Staged {
        let base = |base| Staged { base, stages: Vec::new() };
        let arguments = &call.arguments[..];
        match (call.function, arguments) {
            (Function::Timestamp, [Expr { kind: ExprKind::Selector(selector), .. }]) => {
                base(self.instant(expr, selector, true))
            }
            (Function::Timestamp, [inner]) => self.then(inner, Stage::EvaluationTime),
            (Function::Absent | Function::AbsentOverTime, [inner]) => {
                base(self.absent(expr, inner))
            }
            (Function::Vector, [number]) => {
                let operand = self.operand(number);
                base(self.vector_of(operand))
            }
            (Function::HistogramQuantile, [phi, buckets]) => {
                base(self.histogram(expr, buckets, &[phi], |[phi, ..]| Question::Quantile(phi)))
            }
            (Function::HistogramFraction, [lower, upper, buckets]) => {
                base(self.histogram(expr, buckets, &[lower, upper], |[lower, upper]| {
                    Question::Fraction(lower, upper)
                }))
            }
            (Function::LabelReplace | Function::LabelJoin, [inner, ..]) => {
                base(self.relabel(expr, inner, call))
            }
            (
                Function::Sort
                | Function::SortDesc
                | Function::SortByLabel
                | Function::SortByLabelDesc,
                [inner, ..],
            ) => self.staged(inner),
            (Function::Round, [inner]) => {
                let one = Box::new([Operand::Number(1.0)]);
                self.then(inner, Stage::With(With::Round, one))
            }
            (Function::Round, [inner, numbers @ ..]) => self.with(With::Round, inner, numbers),
            (Function::Clamp, [inner, numbers @ ..]) => self.with(With::Clamp, inner, numbers),
            (Function::ClampMin, [inner, numbers @ ..]) => {
                self.with(With::ClampMin, inner, numbers)
            }
            (Function::ClampMax, [inner, numbers @ ..]) => {
                self.with(With::ClampMax, inner, numbers)
            }
            (function, []) => {
                // A calendar function of now.
                let mut staged = base(self.vector_of(Operand::Time));
                staged.stages.extend(mapped(function));
                staged
            }
            (function, [inner]) if elementwise::unary(function).is_some() => {
                let mut staged = self.staged(inner);
                staged.stages.extend(mapped(function));
                staged
            }
            _ => base(self.window(expr, call)),
        }
    }

    pub(super) fn with(&mut self, function: With, inner: &'a Expr, numbers: &'a [Expr]) -> Staged {
        let mut staged = self.staged(inner);
        let operands = numbers.iter().map(|number| self.operand(number)).collect();
        staged.stages.push(Stage::With(function, operands));
        staged
    }

    pub(super) fn vector_of(&mut self, operand: Operand) -> u32 {
        let mut reads = Vec::new();
        operand.nodes(&mut reads);
        let drifts = operand.drifts();
        let node = self.push(Operator::VectorOf(VectorOf::new(operand)), &[]);
        self.plan.nodes[node as usize].drifts = drifts;
        reads.iter().for_each(|read| self.edge(*read, node, Port::Parameter));
        self.plan.fixed.push((node, Labels::default()));
        node
    }

    /// What an expression of type scalar stands for.
    pub(super) fn operand(&mut self, expr: &'a Expr) -> Operand {
        if let Some(number) = literal(expr) {
            return Operand::Number(number);
        }
        match &expr.kind {
            ExprKind::Negate(inner) => Operand::Negated(Box::new(self.operand(inner))),
            ExprKind::Binary(binary) => {
                let pair = Box::new([self.operand(&binary.left), self.operand(&binary.right)]);
                match binary.op {
                    BinaryOp::Arithmetic(op) => Operand::Arithmetic(op, pair),
                    BinaryOp::Comparison(op) => Operand::Comparison(op, pair),
                    // Checked: set operators take vectors.
                    BinaryOp::Set(_) => Operand::Number(f64::NAN),
                }
            }
            ExprKind::Call(call) => match (call.function, &call.arguments[..]) {
                (Function::Time, _) => Operand::Time,
                (Function::MinOf, [a, b]) => {
                    Operand::Least(Box::new([self.operand(a), self.operand(b)]))
                }
                (Function::MaxOf, [a, b]) => {
                    Operand::Greatest(Box::new([self.operand(a), self.operand(b)]))
                }
                (Function::Scalar, [vector]) => Operand::Node(self.scalar_of(expr, vector)),
                _ => Operand::Number(f64::NAN),
            },
            _ => Operand::Number(f64::NAN),
        }
    }

    pub(super) fn scalar_of(&mut self, expr: &'a Expr, vector: &'a Expr) -> u32 {
        self.once(expr, |this| {
            let input = this.node(vector);
            let scalar = Operator::ScalarOf(ScalarOf::new(input));
            let node = this.push(scalar, &[(input, Port::Left)]);
            this.plan.fixed.push((node, Labels::default()));
            node
        })
    }
}

pub(super) fn negated() -> Stage {
    let name = "-";
    Stage::Map(Map { name, function: |value| -value })
}

fn mapped(function: Function) -> Option<Stage> {
    let name = function.as_str();
    elementwise::unary(function).map(|function| Stage::Map(Map { name, function }))
}
