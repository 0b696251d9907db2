//! Refuses what is too large, before the parser recurses into it and after.

use super::tokens::{Token, tokens};
use super::{Expr, ParseError};
use crate::promql::operator::BinaryOp;

/// Longest expression in bytes. The parser is quadratic in chains of operators.
const EXPRESSION_BYTES_MAX: usize = 16 * 1024;

/// Deepest nesting of brackets; the parser recurses, and real rules stay below ten.
const BRACKETS_MAX: usize = 64;

/// Most operators and signs: a chain of them nests the tree, and everything that reads a tree
/// recurses. Real rules stay below fifty.
const OPERATORS_MAX: usize = 250;

/// The longest duration that is a number of seconds: 2^63 ns, as in Prometheus.
const SECONDS_MAX: f64 = 9_223_372_036.0;

/// Deepest tree: what fits the stack of a runtime's thread in every build.
const DEPTH_MAX: usize = OPERATORS_MAX + BRACKETS_MAX;

/// The tokens of a text that is not too large.
pub(super) fn checked_tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(ParseError::new(format!("longer than {EXPRESSION_BYTES_MAX} bytes"), None));
    }
    let tokens = tokens(text);
    if tokens.is_empty() {
        return Err(ParseError::new("the expression is empty", None));
    }
    let (mut depth, mut braces, mut operators) = (0_usize, 0_usize, 0);
    let mut is_duration = false;
    for token in &tokens {
        let too_long = |text: &str| text.parse().is_ok_and(|n: f64| n.is_nan() || n > SECONDS_MAX);
        // The parser panics where a number of seconds is no duration.
        if is_duration && token.text.split(':').any(too_long) {
            return Err(ParseError::new("duration out of range", token.span));
        }
        is_duration = match token.text {
            "-" | "+" => is_duration,
            // A colon is a part of the word before it.
            text => text == "[" || text.ends_with(':') || token.is("offset"),
        };
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        match token.text {
            "{" => braces += 1,
            "}" => braces = braces.saturating_sub(1),
            // In braces an operator belongs to a matcher.
            _ if braces > 0 => {}
            _ => operators += usize::from(BinaryOp::ALL.iter().any(|op| token.is(op.as_str()))),
        }
        if depth > BRACKETS_MAX {
            let message = format!("nested more than {BRACKETS_MAX} deep");
            return Err(ParseError::new(message, token.span));
        }
        if operators > OPERATORS_MAX {
            return Err(ParseError::new(
                format!("more than {OPERATORS_MAX} operators"),
                token.span,
            ));
        }
    }
    Ok(tokens)
}

/// Refuses a tree too deep to be evaluated.
pub(super) fn check_depth(expr: &Expr) -> Result<(), ParseError> {
    let mut level = vec![expr];
    for _ in 0..DEPTH_MAX {
        level = level.into_iter().flat_map(Expr::children).collect();
        if level.is_empty() {
            return Ok(());
        }
    }
    Err(ParseError::new(format!("nested more than {DEPTH_MAX} deep"), None))
}
