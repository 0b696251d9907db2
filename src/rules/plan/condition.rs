//! Which values hold: comparisons with numbers, and what of two of them follows from the other.

use std::fmt;

use crate::promql::expr::{Binary, Cardinality, Matching};
use crate::promql::operator::{Comparison, SetOp};
use crate::promql::{BinaryOp, Expr, ExprKind, Span};

/// Which values hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition {
    /// `> a`
    Above(f64),
    /// `>= a`
    AtLeast(f64),
    /// `< a`
    Below(f64),
    /// `<= a`
    AtMost(f64),
    /// `== a`
    Equals(f64),
    /// `!= a`
    NotEquals(f64),
    /// `< a or > b`
    Outside(f64, f64),
}

impl Condition {
    /// Whether a value holds. What is not a number holds only for `!=`, as in PromQL.
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::Above(a) => value > a,
            Self::AtLeast(a) => value >= a,
            Self::Below(a) => value < a,
            Self::AtMost(a) => value <= a,
            Self::Equals(a) => value == a,
            Self::NotEquals(a) => value != a,
            Self::Outside(a, b) => value < a || value > b,
        }
    }

    /// A value for which both hold, if there is one.
    #[must_use]
    pub fn overlap(self, other: Self) -> Option<f64> {
        self.telling_values(other).find(|value| self.holds(*value) && other.holds(*value))
    }

    /// Values that tell two conditions apart. Both are unions of intervals that end at their
    /// thresholds: what is true at a threshold, next to one and between two is true everywhere.
    fn telling_values(self, other: Self) -> impl Iterator<Item = f64> {
        let mut near: Vec<f64> = [self, other].into_iter().flat_map(Self::thresholds).collect();
        near.sort_by(f64::total_cmp);
        let between: Vec<f64> = near.windows(2).map(|pair| pair[0].midpoint(pair[1])).collect();
        near.into_iter().flat_map(|a| [a, a.next_down(), a.next_up()]).chain(between)
    }

    fn thresholds(self) -> impl Iterator<Item = f64> {
        let (a, b) = match self {
            Self::Above(a)
            | Self::AtLeast(a)
            | Self::Below(a)
            | Self::AtMost(a)
            | Self::Equals(a)
            | Self::NotEquals(a) => (a, None),
            Self::Outside(a, b) => (a, Some(b)),
        };
        std::iter::once(a).chain(b)
    }

    /// Whether the other holds wherever this does.
    #[must_use]
    pub fn implies(self, other: Self) -> bool {
        self.telling_values(other).all(|value| !self.holds(value) || other.holds(value))
    }

    /// What holds where either does, for two that look the same way.
    #[must_use]
    pub fn either(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Above(a), Self::Above(b)) => Some(Self::Above(a.min(b))),
            (Self::AtLeast(a), Self::AtLeast(b)) => Some(Self::AtLeast(a.min(b))),
            (Self::Below(a), Self::Below(b)) => Some(Self::Below(a.max(b))),
            (Self::AtMost(a), Self::AtMost(b)) => Some(Self::AtMost(a.max(b))),
            (Self::Outside(a, b), Self::Outside(c, d)) => Some(Self::Outside(a.max(c), b.min(d))),
            (one, same) if one == same => Some(one),
            _ => None,
        }
    }

    /// What holds where this does not, for messages.
    pub(super) fn negated(self) -> Option<Self> {
        Some(match self {
            Self::Above(a) => Self::AtMost(a),
            Self::AtLeast(a) => Self::Below(a),
            Self::Below(a) => Self::AtLeast(a),
            Self::AtMost(a) => Self::Above(a),
            Self::Equals(a) => Self::NotEquals(a),
            Self::NotEquals(a) => Self::Equals(a),
            Self::Outside(..) => return None,
        })
    }

    /// The comparison of an operator and a number.
    #[must_use]
    pub const fn of(op: Comparison, number: f64) -> Self {
        match op {
            Comparison::Greater => Self::Above(number),
            Comparison::GreaterOrEqual => Self::AtLeast(number),
            Comparison::Less => Self::Below(number),
            Comparison::LessOrEqual => Self::AtMost(number),
            Comparison::Equal => Self::Equals(number),
            Comparison::NotEqual => Self::NotEquals(number),
        }
    }

    /// How much a value lacks to hold, not above zero where it does; `None` where nearness means
    /// nothing.
    #[must_use]
    pub fn shortfall(self, value: f64) -> Option<f64> {
        match self {
            Self::Above(a) | Self::AtLeast(a) => Some(a - value),
            Self::Below(a) | Self::AtMost(a) => Some(value - a),
            Self::Outside(a, b) => Some((value - a).min(b - value)),
            Self::Equals(_) | Self::NotEquals(_) => None,
        }
    }

    /// The same question of a vector.
    #[must_use]
    pub fn expr(self, subject: &Expr) -> Expr {
        let node = |kind| Expr { kind, span: Span::default() };
        let binary = |op, left, right, matching| {
            node(ExprKind::Binary(Box::new(Binary {
                op,
                returns_bool: false,
                left,
                right,
                matching,
            })))
        };
        let compared = |op, number| {
            let number = node(ExprKind::Number(number));
            binary(BinaryOp::Comparison(op), subject.clone(), number, Matching::default())
        };
        match self {
            Self::Above(a) => compared(Comparison::Greater, a),
            Self::AtLeast(a) => compared(Comparison::GreaterOrEqual, a),
            Self::Below(a) => compared(Comparison::Less, a),
            Self::AtMost(a) => compared(Comparison::LessOrEqual, a),
            Self::Equals(a) => compared(Comparison::Equal, a),
            Self::NotEquals(a) => compared(Comparison::NotEqual, a),
            Self::Outside(a, b) => {
                let cardinality = Cardinality::ManyToMany;
                let matching = Matching { cardinality, ..Matching::default() };
                let (low, high) = (compared(Comparison::Less, a), compared(Comparison::Greater, b));
                binary(BinaryOp::Set(SetOp::Or), low, high, matching)
            }
        }
    }

    pub(super) fn promql(self, subject: &str) -> String {
        match self {
            Self::Outside(a, b) => {
                format!("{subject} < {} or {subject} > {}", shown(a), shown(b))
            }
            one => format!("{subject} {one}"),
        }
    }
}

/// As in `31.4 > 30`, without the left side.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Above(a) => write!(f, "> {}", shown(a)),
            Self::AtLeast(a) => write!(f, ">= {}", shown(a)),
            Self::Below(a) => write!(f, "< {}", shown(a)),
            Self::AtMost(a) => write!(f, "<= {}", shown(a)),
            Self::Equals(a) => write!(f, "== {}", shown(a)),
            Self::NotEquals(a) => write!(f, "!= {}", shown(a)),
            Self::Outside(a, b) => write!(f, "outside {} to {}", shown(a), shown(b)),
        }
    }
}

/// More digits than these say nothing to a person.
const DIGITS_SHOWN: usize = 6;

/// A number for people: at most six digits that count.
#[must_use]
pub fn shown(value: f64) -> String {
    let rounded = format!("{value:.*e}", DIGITS_SHOWN - 1).parse().unwrap_or(value);
    let size = f64::abs(rounded);
    if size != 0.0 && size.is_finite() && !(1e-5..1e15).contains(&size) {
        format!("{rounded:e}")
    } else {
        rounded.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_shown_short() {
        for (value, text) in [
            (31.4, "31.4"),
            (0.1 + 0.2, "0.3"),
            (1.0, "1"),
            (86_399.123_4, "86399.1"),
            (1_234_567.0, "1234570"),
            (0.0, "0"),
            (1e21, "1e21"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(shown(value), text);
        }
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let number = (-4i32..=4).prop_map(f64::from);
        (0..7, number.clone(), number).prop_map(|(kind, a, b)| match kind {
            0 => Condition::Above(a),
            1 => Condition::AtLeast(a),
            2 => Condition::Below(a),
            3 => Condition::AtMost(a),
            4 => Condition::Equals(a),
            5 => Condition::NotEquals(a),
            _ => Condition::Outside(a.min(b), a.max(b)),
        })
    }

    proptest! {
        #[test]
        fn an_overlap_is_found_where_there_is_one(a in condition(), b in condition()) {
            let grid = (-80..=80).map(|n| f64::from(n) / 16.0);
            let really = grid.into_iter().any(|value| a.holds(value) && b.holds(value));
            match a.overlap(b) {
                Some(value) => prop_assert!(a.holds(value) && b.holds(value)),
                None => prop_assert!(!really),
            }
        }

        #[test]
        fn what_implies_another_never_holds_without_it(a in condition(), b in condition()) {
            let mut grid = (-80..=80).map(|n| f64::from(n) / 16.0);
            prop_assert_eq!(a.implies(b), grid.all(|value| !a.holds(value) || b.holds(value)));
        }
    }
}
