//! From a checked expression to operators.
//!
//! What is done to each value alone is put into the node whose values it changes. Parts that are
//! written twice, in `when` and in `clear` for instance, become one node. What no operator can
//! follow sample by sample becomes a [`Tick`] with all that is below it.

use super::absent::Absent;
use super::aggregate::Aggregation;
use super::alarm::Alarm;
use super::count_values::CountValues;
use super::groups::Key;
use super::histogram::{Histogram, Question};
use super::instant::Instant;
use super::join::Join;
use super::node::{Edge, Node, Operator, Port};
use super::ranked::Ranked;
use super::relabel::{Change, Relabel};
use super::scalar::{ScalarOf, VectorOf};
use super::sets::Sets;
use super::stage::{Map, Operand, Stage, With};
use super::tick::Tick;
use super::top::Top;
use super::why_tick::{literal, why_tick};
use super::window::Window;
use super::window_function;
use crate::promql::expr::{Aggregate, Binary, Call, RangeSelector};
use crate::promql::functions::elementwise;
use crate::promql::selector::{Anchored, Pattern, Selector};
use crate::promql::{AggregateOp, BinaryOp, Expr, ExprKind, Function, Labels, ValueType};

/// A selector, and the node that is fed what it selects.
#[derive(Debug)]
pub(in crate::rules) struct Leaf {
    pub(super) node: u32,
    pub(in crate::rules) selector: Selector,
}

/// A plan: nodes, each after those it reads.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
    pub(super) leaves: Vec<Leaf>,
    /// Slots that are there from the start: node and labels.
    pub(super) fixed: Vec<(u32, Labels)>,
    /// The nodes of the roots, in the order given.
    pub(super) roots: Vec<u32>,
}

/// A node, and what is still to be done to each of its values.
struct Staged {
    base: u32,
    stages: Vec<Stage>,
}

struct Compiler<'a> {
    plan: Plan,
    known: Vec<(&'a Expr, u32)>,
    /// All expressions that become a node's values, each once, with what they are stages upon.
    whole: Vec<(&'a Expr, &'a Expr)>,
}

/// Compiles expressions that yield vectors; a number counts as a vector without labels.
pub(super) fn compile(roots: &[&Expr]) -> Plan {
    let mut compiler = Compiler { plan: Plan::default(), known: Vec::new(), whole: Vec::new() };
    roots.iter().for_each(|root| compiler.note(root));
    for (place, root) in roots.iter().enumerate() {
        let node = if loses_names(root) { compiler.tick(root) } else { compiler.node(root) };
        compiler.plan.nodes[node as usize].roots |= 1 << place;
        compiler.plan.roots.push(node);
    }
    compiler.plan
}

/// Whether a part that must be evaluated on a tick selects series of several names: an evaluation
/// ends by dropping names, and what is told apart by nothing else would be lost in the middle.
pub(super) fn loses_names(expr: &Expr) -> bool {
    let nameless = |expr: &Expr| {
        let mut parts = vec![expr];
        while let Some(part) = parts.pop() {
            if part.as_selector().is_some_and(|selector| selector.name.is_none()) {
                return true;
            }
            parts.extend(part.children());
        }
        false
    };
    if why_tick(expr).is_some() {
        return nameless(expr);
    }
    expr.children().into_iter().any(loses_names)
}

/// What an expression is stages upon: itself, if it is an operator's.
fn base_of(mut expr: &Expr) -> &Expr {
    while let Some(inner) = inner_of(expr) {
        expr = inner;
    }
    expr
}

/// What a stage is applied to; `None`: it is an operator's.
fn inner_of(expr: &Expr) -> Option<&Expr> {
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
    fn note(&mut self, expr: &'a Expr) {
        let mut base = expr;
        while let Some(inner) = inner_of(base) {
            let operands = base.children().into_iter().filter(|child| !std::ptr::eq(*child, inner));
            operands.for_each(|operand| self.note(operand));
            base = inner;
        }
        if expr.value_type() == ValueType::Vector
            && !self.whole.iter().any(|(known, _)| *known == expr)
        {
            self.whole.push((expr, base));
        }
        if why_tick(base).is_none() {
            base.children().into_iter().for_each(|child| self.note(child));
        }
    }

    /// The node whose values are the expression's.
    fn node(&mut self, expr: &'a Expr) -> u32 {
        if let Some((_, node)) = self.known.iter().find(|(known, _)| *known == expr) {
            return *node;
        }
        let Staged { base, stages } = self.staged(expr);
        let own = base_of(expr);
        let shared = self.whole.iter().filter(|(_, other)| *other == own).count() > 1;
        let mut reads = Vec::new();
        stages.iter().flat_map(Stage::operands).for_each(|operand| operand.nodes(&mut reads));
        let node = if stages.is_empty() {
            base
        } else if shared || reads.iter().any(|read| *read > base) {
            let pass = Relabel::new(Change::Keep, base);
            self.push(Operator::Relabel(pass), &[(base, Port::Left)])
        } else {
            base
        };
        reads.iter().for_each(|read| self.edge(*read, node, Port::Parameter));
        let place = &mut self.plan.nodes[node as usize];
        place.drifts |= stages.iter().any(Stage::drifts);
        place.stages.extend(stages);
        self.known.push((expr, node));
        node
    }

    fn staged(&mut self, expr: &'a Expr) -> Staged {
        if expr.value_type() == ValueType::Scalar {
            let operand = self.operand(expr);
            return Staged { base: self.vector_of(operand), stages: Vec::new() };
        }
        if why_tick(expr).is_some() {
            return Staged { base: self.tick(expr), stages: Vec::new() };
        }
        let base = |base| Staged { base, stages: Vec::new() };
        match &expr.kind {
            ExprKind::Selector(selector) => base(self.instant(expr, selector, false)),
            ExprKind::Negate(inner) => self.then(inner, negated()),
            ExprKind::Binary(binary) => self.binary(expr, binary),
            ExprKind::Aggregate(aggregate) => base(self.aggregate(expr, aggregate)),
            ExprKind::Call(call) => self.call(expr, call),
            // Ranges and strings stand only where a function takes them.
            _ => base(self.tick(expr)),
        }
    }

    fn then(&mut self, inner: &'a Expr, stage: Stage) -> Staged {
        let mut staged = self.staged(inner);
        staged.stages.push(stage);
        staged
    }

    fn binary(&mut self, expr: &'a Expr, binary: &'a Binary) -> Staged {
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

    fn join(&mut self, expr: &'a Expr, binary: &'a Binary) -> u32 {
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

    fn aggregate(&mut self, expr: &'a Expr, aggregate: &'a Aggregate) -> u32 {
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

    fn call(&mut self, expr: &'a Expr, call: &'a Call) -> Staged {
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

    fn with(&mut self, function: With, inner: &'a Expr, numbers: &'a [Expr]) -> Staged {
        let mut staged = self.staged(inner);
        let operands = numbers.iter().map(|number| self.operand(number)).collect();
        staged.stages.push(Stage::With(function, operands));
        staged
    }

    fn absent(&mut self, expr: &'a Expr, inner: &'a Expr) -> u32 {
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

    fn histogram(
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

    fn relabel(&mut self, expr: &'a Expr, inner: &'a Expr, call: &'a Call) -> u32 {
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

    fn window(&mut self, expr: &'a Expr, call: &'a Call) -> u32 {
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

    fn ranged(&mut self, function: window_function::Function, range: &RangeSelector) -> u32 {
        let window = Window::new(function, range.range, range.selector.offset);
        let node = self.push(Operator::Window(window), &[]);
        self.plan.leaves.push(Leaf { node, selector: range.selector.clone() });
        node
    }

    fn instant(&mut self, expr: &'a Expr, selector: &Selector, of_times: bool) -> u32 {
        self.once(expr, |this| {
            let instant = Instant::new(selector.offset, of_times);
            let node = this.push(Operator::Instant(instant), &[]);
            this.plan.leaves.push(Leaf { node, selector: selector.clone() });
            node
        })
    }

    fn tick(&mut self, expr: &'a Expr) -> u32 {
        self.once(expr, |this| {
            let tick = Tick::new(expr.clone());
            let selectors = tick.selectors();
            let node = this.push(Operator::Tick(tick), &[]);
            let leaves = selectors.into_iter().map(|selector| Leaf { node, selector });
            this.plan.leaves.extend(leaves);
            node
        })
    }

    fn vector_of(&mut self, operand: Operand) -> u32 {
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
    fn operand(&mut self, expr: &'a Expr) -> Operand {
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

    fn scalar_of(&mut self, expr: &'a Expr, vector: &'a Expr) -> u32 {
        self.once(expr, |this| {
            let input = this.node(vector);
            let scalar = Operator::ScalarOf(ScalarOf::new(input));
            let node = this.push(scalar, &[(input, Port::Left)]);
            this.plan.fixed.push((node, Labels::default()));
            node
        })
    }

    /// The operator of an expression, made where it is met first.
    fn once(&mut self, expr: &'a Expr, make: impl FnOnce(&mut Self) -> u32) -> u32 {
        if let Some((_, node)) = self.known.iter().find(|(known, _)| *known == expr) {
            return *node;
        }
        let node = make(self);
        let is_bare = self.whole.iter().all(|(whole, base)| *base != expr || *whole == expr);
        let is_shared = self.whole.iter().filter(|(_, base)| *base == expr).count() > 1;
        // Stages may come into this node: then it is not the expression's own any more.
        if is_bare || is_shared || expr.value_type() == ValueType::Scalar {
            self.known.push((expr, node));
        }
        node
    }

    fn push(&mut self, operator: Operator, reads: &[(u32, Port)]) -> u32 {
        let node = self.plan.nodes.len() as u32;
        self.plan.nodes.push(Node {
            operator,
            stages: Vec::new(),
            cells: Vec::new(),
            readers: Vec::new(),
            drifts: false,
            alarm: Alarm::OFF,
            roots: 0,
        });
        reads.iter().for_each(|(read, port)| self.edge(*read, node, *port));
        node
    }

    fn edge(&mut self, from: u32, to: u32, port: Port) {
        let edge = Edge { node: to, port };
        let readers = &mut self.plan.nodes[from as usize].readers;
        if !readers.contains(&edge) {
            readers.push(edge);
        }
    }
}

fn negated() -> Stage {
    let name = "-";
    Stage::Map(Map { name, function: |value| -value })
}

fn mapped(function: Function) -> Option<Stage> {
    let name = function.as_str();
    elementwise::unary(function).map(|function| Stage::Map(Map { name, function }))
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
