//! Binary operators: their modifiers, and what they may stand between.

use promql_parser::parser as p;

use super::{Lowering, described, sorted};
use crate::promql::expr::{
    Binary, Cardinality, Expr, ExprKind, MatchLabels, Matching, Span, ValueType,
};
use crate::promql::operator::BinaryOp;
use crate::promql::parse::ParseError;

impl Lowering<'_> {
    pub(super) fn binary(&mut self, binary: &p::BinaryExpr) -> Result<Expr, ParseError> {
        let left = self.expr(&binary.lhs)?;
        let name = binary.op.to_string();
        let place = self.take_until(&name);
        let Some(op) = BinaryOp::parse(&name) else {
            return Err(ParseError::new(format!("`{name}` is not an operator here"), place));
        };
        self.skip_modifiers();
        let right = self.expr(&binary.rhs)?;
        let (returns_bool, matching) = modifier(op, binary.modifier.as_ref(), place)?;
        let span = left.span.to(right.span);
        let binary = Binary { op, returns_bool, left, right, matching };
        check(&binary, place)?;
        Ok(Expr { kind: ExprKind::Binary(Box::new(binary)), span })
    }

    /// `bool`, `on (…)`, `ignoring (…)`, `group_left (…)`, `fill (…)` …, as many as are next.
    fn skip_modifiers(&mut self) {
        const WITH_LABELS: [&str; 4] = ["on", "ignoring", "group_left", "group_right"];
        const WITH_VALUE: [&str; 3] = ["fill", "fill_left", "fill_right"];
        loop {
            if self.next_is("bool") {
                self.next += 1;
            } else if WITH_LABELS.iter().chain(&WITH_VALUE).any(|word| self.next_is(word)) {
                self.next += 1;
                if self.next_is("(") {
                    self.take_until(")");
                }
            } else {
                return;
            }
        }
    }
}

fn modifier(
    op: BinaryOp,
    modifier: Option<&p::BinModifier>,
    place: Span,
) -> Result<(bool, Matching), ParseError> {
    let mut matching = Matching::default();
    let mut returns_bool = false;
    if let Some(modifier) = modifier {
        returns_bool = modifier.return_bool;
        matching.fill_left = modifier.fill_values.lhs;
        matching.fill_right = modifier.fill_values.rhs;
        matching.on = match &modifier.matching {
            None => MatchLabels::default(),
            Some(p::LabelModifier::Include(labels)) => MatchLabels::On(sorted(labels)),
            Some(p::LabelModifier::Exclude(labels)) => MatchLabels::Ignoring(sorted(labels)),
        };
        matching.cardinality = match &modifier.card {
            p::VectorMatchCardinality::ManyToOne(l) => Cardinality::ManyToOne(sorted(l)),
            p::VectorMatchCardinality::OneToMany(l) => Cardinality::OneToMany(sorted(l)),
            _ => Cardinality::OneToOne,
        };
    }
    if let BinaryOp::Set(_) = op {
        if matching.cardinality != Cardinality::OneToOne {
            return Err(ParseError::new(format!("no grouping is allowed for `{op}`"), place));
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            return Err(ParseError::new(format!("no filling is allowed for `{op}`"), place));
        }
        matching.cardinality = Cardinality::ManyToMany;
    }
    Ok((returns_bool, matching))
}

fn check(binary: &Binary, place: Span) -> Result<(), ParseError> {
    let Binary { op, left, right, matching, .. } = binary;
    let mut vectors = 0;
    for side in [left, right] {
        match side.value_type() {
            ValueType::Vector => vectors += 1,
            ValueType::Scalar => {}
            other => {
                let message = format!("`{op}` cannot take {}", described(other));
                return Err(ParseError::new(message, side.span));
            }
        }
    }
    let comparison = matches!(op, BinaryOp::Comparison(_));
    let message = if binary.returns_bool && !comparison {
        "`bool` belongs to comparisons only".to_owned()
    } else if comparison && vectors == 0 && !binary.returns_bool {
        format!("two scalars can only be compared with `{op} bool`")
    } else if matches!(op, BinaryOp::Set(_)) && vectors < 2 {
        format!("`{op}` needs two vectors")
    } else if vectors < 2 && *matching != Matching::default() {
        "series can only be matched between two vectors".to_owned()
    } else if let Some(label) = matched_and_taken(matching) {
        format!("the label `{label}` cannot be both in `on` and in the group's list")
    } else {
        return Ok(());
    };
    Err(ParseError::new(message, place))
}

/// A label that is both matched on and taken from the other side.
fn matched_and_taken(matching: &Matching) -> Option<&str> {
    let (MatchLabels::On(on), Cardinality::ManyToOne(taken) | Cardinality::OneToMany(taken)) =
        (&matching.on, &matching.cardinality)
    else {
        return None;
    };
    on.iter().find(|label| taken.contains(label)).map(String::as_str)
}
