//! What is done to each value alone: arithmetic and comparison with a number, functions of one
//! value. Stages need no memory of their own and run in the node whose values they change.

use super::node::{Cell, Node, Presence};
use crate::promql::functions::elementwise;
use crate::promql::operator::{Arithmetic, Comparison};
use crate::sample::Timestamp;

/// A number that an expression of type scalar stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Number(f64),
    /// `time()`
    Time,
    /// `scalar(…)`: the first slot of a node.
    Node(u32),
    Negated(Box<Operand>),
    Arithmetic(Arithmetic, Box<[Operand; 2]>),
    Comparison(Comparison, Box<[Operand; 2]>),
    Least(Box<[Operand; 2]>),
    Greatest(Box<[Operand; 2]>),
}

/// One thing done to each value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stage {
    /// `x + 1`, or with the number on the left `1 - x`.
    Arithmetic { op: Arithmetic, operand: Operand, on_left: bool },
    /// `x > 1`, `1 < x`, `x > bool 1`.
    Comparison { op: Comparison, operand: Operand, on_left: bool, returns_bool: bool },
    /// A function of the value alone.
    Map(Map),
    /// A function of the value and numbers.
    With(With, Box<[Operand]>),
    /// `timestamp(…)` of what is no selector: the time it is evaluated at.
    EvaluationTime,
}

/// A function of a value alone, by its name. Two of one name are equal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Map {
    pub(super) name: &'static str,
    pub(super) function: fn(f64) -> f64,
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// A function of a value and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum With {
    Clamp,
    ClampMin,
    ClampMax,
    Round,
}

impl Operand {
    #[inline]
    pub(super) fn value(&self, at: Timestamp, inputs: &[Node]) -> f64 {
        match self {
            Self::Number(number) => *number,
            _ => self.computed(at, inputs),
        }
    }

    fn computed(&self, at: Timestamp, inputs: &[Node]) -> f64 {
        let both = |pair: &[Self; 2]| [pair[0].value(at, inputs), pair[1].value(at, inputs)];
        match self {
            Self::Number(number) => *number,
            Self::Time => at.as_secs_f64(),
            Self::Node(node) => inputs[*node as usize].cells[0].value,
            Self::Negated(inner) => -inner.value(at, inputs),
            Self::Arithmetic(op, pair) => {
                let [left, right] = both(pair);
                op.apply(left, right)
            }
            Self::Comparison(op, pair) => {
                let [left, right] = both(pair);
                f64::from(u8::from(op.holds(left, right)))
            }
            Self::Least(pair) => {
                let [left, right] = both(pair);
                if left.is_nan() || right.is_nan() { f64::NAN } else { left.min(right) }
            }
            Self::Greatest(pair) => {
                let [left, right] = both(pair);
                if left.is_nan() || right.is_nan() { f64::NAN } else { left.max(right) }
            }
        }
    }

    /// Whether it changes with time alone.
    pub(super) fn drifts(&self) -> bool {
        match self {
            Self::Time => true,
            Self::Number(_) | Self::Node(_) => false,
            Self::Negated(inner) => inner.drifts(),
            Self::Arithmetic(_, pair)
            | Self::Comparison(_, pair)
            | Self::Least(pair)
            | Self::Greatest(pair) => pair.iter().any(Self::drifts),
        }
    }

    /// The nodes it reads.
    pub(super) fn nodes(&self, out: &mut Vec<u32>) {
        match self {
            Self::Node(node) => out.push(*node),
            Self::Number(_) | Self::Time => {}
            Self::Negated(inner) => inner.nodes(out),
            Self::Arithmetic(_, pair)
            | Self::Comparison(_, pair)
            | Self::Least(pair)
            | Self::Greatest(pair) => pair.iter().for_each(|operand| operand.nodes(out)),
        }
    }
}

impl Stage {
    /// What a value becomes.
    #[inline]
    pub(super) fn apply(&self, cell: Cell, at: Timestamp, inputs: &[Node]) -> Cell {
        if cell.is_missing() {
            return cell;
        }
        let value = match self {
            Self::Arithmetic { op, operand, on_left } => {
                let operand = operand.value(at, inputs);
                if *on_left { op.apply(operand, cell.value) } else { op.apply(cell.value, operand) }
            }
            Self::Comparison { op, operand, on_left, returns_bool } => {
                let operand = operand.value(at, inputs);
                let holds = if *on_left {
                    op.holds(operand, cell.value)
                } else {
                    op.holds(cell.value, operand)
                };
                match (returns_bool, holds) {
                    (true, _) => f64::from(u8::from(holds)),
                    (false, true) => cell.value,
                    (false, false) => return Cell::filtered(cell.value),
                }
            }
            Self::Map(map) => (map.function)(cell.value),
            Self::With(function, operands) => return with(*function, operands, cell, at, inputs),
            Self::EvaluationTime => at.as_secs_f64(),
        };
        Cell { value, ..cell }
    }

    /// The numbers it needs.
    pub(super) fn operands(&self) -> &[Operand] {
        match self {
            Self::Arithmetic { operand, .. } | Self::Comparison { operand, .. } => {
                std::slice::from_ref(operand)
            }
            Self::With(_, operands) => operands,
            Self::Map(_) | Self::EvaluationTime => &[],
        }
    }

    /// Whether what it makes of a value changes with time alone.
    pub(super) fn drifts(&self) -> bool {
        *self == Self::EvaluationTime || self.operands().iter().any(Operand::drifts)
    }
}

fn with(function: With, operands: &[Operand], cell: Cell, at: Timestamp, inputs: &[Node]) -> Cell {
    let operand = |place: usize| operands[place].value(at, inputs);
    let value = match function {
        With::Clamp => match elementwise::clamp(cell.value, operand(0), operand(1)) {
            Some(value) => value,
            None => return Cell { presence: Presence::Filtered, ..cell },
        },
        With::ClampMin => elementwise::clamp_min(cell.value, operand(0)),
        With::ClampMax => elementwise::clamp_max(cell.value, operand(0)),
        With::Round => elementwise::round(cell.value, operand(0)),
    };
    Cell { value, ..cell }
}
