//! From a text to a checked expression.
//!
//! The grammar is promql-parser's. Around it: what could overflow its stack is refused before,
//! what it leaves unchecked is checked after, and every error and node knows its place in the
//! text, which the parser does not say. What is PromQL but not supported is refused by name.

mod guard;
mod lower;
mod refuse;
mod tokens;

#[cfg(test)]
mod tests;

use std::fmt;

use super::expr::{Expr, Span};
use lower::Lowering;

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct ParseError {
    /// What is wrong, for a person.
    pub message: String,
    /// The part of the text that is wrong; `None`: all of it.
    pub span: Option<Span>,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ParseError {
    /// An error about a part of the text.
    pub(crate) fn new(message: impl Into<String>, span: impl Into<Option<Span>>) -> Self {
        Self { message: message.into(), span: span.into() }
    }
}

/// Reads and checks an expression.
///
/// # Errors
/// What is wrong with it: its size, its syntax, its types, or that it needs what is not supported.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let tokens = guard::checked_tokens(text)?;
    let parsed = promql_parser::parser::parse(text)
        .map_err(|message| refuse::syntax_error(text, &tokens, &message))?;
    let expr = Lowering::new(text, &tokens).expr(&parsed)?;
    guard::check_depth(&expr)?;
    Ok(expr)
}
