//! From a checked expression to operators.
//!
//! What is done to each value alone is put into the node whose values it changes. Parts that are
//! written twice, in `when` and in `clear` for instance, become one node. What no operator can
//! follow sample by sample becomes a [`Tick`](super::tick::Tick) with all that is below it.

mod operators;
mod stages;

use stages::{base_of, inner_of, negated};

use super::alarm::Alarm;
use super::node::{Edge, Node, Port};
use super::operator::Operator;
use super::relabel::{Change, Relabel};
use super::stage::Stage;
use super::why_tick::why_tick;
use crate::promql::selector::Selector;
use crate::promql::{Expr, ExprKind, Labels, ValueType};

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
