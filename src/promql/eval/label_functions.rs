//! Functions that change or read labels and leave values alone.

use std::cmp::Ordering;

use super::grid::{Grid, Key, Steps};
use super::result::merged;
use super::{EvalError, Evaluator};
use crate::promql::Function;
use crate::promql::expr::{Call, Expr, ExprKind};
use crate::promql::labels::{Labels, NAME};
use crate::promql::selector::Anchored;

impl Evaluator<'_> {
    /// `label_replace(v, destination, replacement, source, regex)`
    pub(super) fn label_replace(
        &mut self,
        arguments: &[Expr],
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let [destination, replacement, from, written] = [1, 2, 3, 4].map(|at| text(&arguments[at]));
        check_label(destination)?;
        let regex = Anchored::new(written).map_err(|error| {
            EvalError::Failed(format!("`{written}` is not a regular expression: {error}"))
        })?;
        let mut grid = self.vector(&arguments[0], steps)?;
        for key in &mut grid.keys {
            let value = key.labels.get(from).unwrap_or_default();
            if let Some(found) = regex.regex().captures(value) {
                let mut written = String::new();
                found.expand(replacement, &mut written);
                *key = relabelled(key, destination, &written);
            }
        }
        merged(grid, steps)
    }

    /// `label_join(v, destination, separator, sources…)`
    pub(super) fn label_join(
        &mut self,
        arguments: &[Expr],
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let (destination, separator) = (text(&arguments[1]), text(&arguments[2]));
        check_label(destination)?;
        let sources: Vec<&str> = arguments[3..].iter().map(text).collect();
        for source in &sources {
            check_label(source)?;
        }
        let mut grid = self.vector(&arguments[0], steps)?;
        for key in &mut grid.keys {
            let values: Vec<&str> =
                sources.iter().map(|name| key.labels.get(name).unwrap_or_default()).collect();
            *key = relabelled(key, destination, &values.join(separator));
        }
        merged(grid, steps)
    }

    /// `sort_by_label(v, labels…)`: digits count as numbers. Over several steps there is no order.
    pub(super) fn sort_by_label(&mut self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        let grid = self.vector(&call.arguments[0], steps)?;
        if steps.count != 1 {
            return Ok(grid);
        }
        let names: Vec<&str> = call.arguments[1..].iter().map(text).collect();
        let compare = |a: &Labels, b: &Labels| {
            let by_name = |name: &&str| {
                natural(a.get(name).unwrap_or_default(), b.get(name).unwrap_or_default())
            };
            let first = names.iter().map(by_name).find(|order| order.is_ne());
            first.unwrap_or_else(|| a.cmp(b))
        };
        let mut order: Vec<usize> = (0..grid.rows()).collect();
        order.sort_by(|a, b| {
            let order = compare(&grid.keys[*a].labels, &grid.keys[*b].labels);
            if call.function == Function::SortByLabelDesc { order.reverse() } else { order }
        });
        Ok(grid.ordered(&order))
    }
}

/// With a label set. A name that is set stays, even if it was to be dropped.
fn relabelled(key: &Key, name: &str, value: &str) -> Key {
    let drops_name = key.drops_name && name != NAME;
    Key { labels: key.labels.with(name, value), drops_name }
}

fn text(expr: &Expr) -> &str {
    match &expr.kind {
        ExprKind::String(text) => text,
        _ => unreachable!("expressions are checked: only a literal is of the type string"),
    }
}

fn check_label(name: &str) -> Result<(), EvalError> {
    if name.is_empty() {
        return Err(EvalError::Failed("a label needs a name, not \"\"".to_owned()));
    }
    Ok(())
}

/// The order of texts in which runs of digits are compared as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while let (Some(first), Some(second)) = (a.chars().next(), b.chars().next()) {
        let (digits_a, digits_b) = (digits(a), digits(b));
        let (len_a, len_b, order) = if digits_a.is_empty() || digits_b.is_empty() {
            (first.len_utf8(), second.len_utf8(), first.cmp(&second))
        } else {
            let number = |digits: &str| digits.trim_start_matches('0').len();
            let by_size = number(digits_a).cmp(&number(digits_b));
            let by_digits =
                || digits_a.trim_start_matches('0').cmp(digits_b.trim_start_matches('0'));
            (digits_a.len(), digits_b.len(), by_size.then_with(by_digits))
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (&a[len_a..], &b[len_b..]);
    }
    a.len().cmp(&b.len())
}

fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_compared_as_numbers() {
        for (a, b, order) in [
            ("node-2", "node-10", Ordering::Less),
            ("a", "b", Ordering::Less),
            ("007", "7", Ordering::Equal),
            ("1", "a", Ordering::Less),
            ("a1b2", "a1b10", Ordering::Less),
            ("a", "a1", Ordering::Less),
            ("", "", Ordering::Equal),
        ] {
            assert_eq!(natural(a, b), order, "{a} {b}");
        }
    }
}
