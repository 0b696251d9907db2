//! Names what is PromQL but not supported, and finds the place of the parser's complaints.

use super::ParseError;
use super::tokens::Token;
use crate::promql::expr::Span;

/// Functions that are about native histograms alone.
const NATIVE_HISTOGRAM: [&str; 5] =
    ["histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"];

/// Functions and operators that Prometheus has only behind a feature flag.
const EXPERIMENTAL: [&str; 8] =
    ["end", "info", "integral", "limit_ratio", "range", "start", "start_timestamp", "step"];

/// Signs of other languages, and what PromQL has in their place.
const FOREIGN: [(&str, &str); 3] = [("=", "=="), ("&&", "and"), ("||", "or")];

/// The error for a function or an aggregation the parser knows and this evaluator does not.
pub(super) fn unsupported_name(name: &str, span: Span) -> ParseError {
    let why = if NATIVE_HISTOGRAM.contains(&name) {
        "it is about native histograms, which are not supported"
    } else if EXPERIMENTAL.contains(&name) {
        "it is experimental in Prometheus"
    } else {
        "it is not known"
    };
    ParseError::new(format!("`{name}()` cannot be used: {why}"), span)
}

/// The error for a text the parser refuses, by the name of what it does not know where it can be
/// told, and in the parser's words otherwise.
pub(super) fn syntax_error(text: &str, tokens: &[Token<'_>], message: &str) -> ParseError {
    if let Some(error) = experimental_syntax(tokens).or_else(|| foreign_sign(tokens)) {
        return error;
    }
    // The parser quotes names the way Prometheus does.
    let named = message.split('\'').nth(1).filter(|name| !name.is_empty());
    let place = named.and_then(|name| {
        let whole = tokens.iter().find(|token| token.is(name));
        whole
            .map(|token| token.span)
            .or_else(|| text.find(name).map(|start| Span { start, end: start + name.len() }))
    });
    ParseError::new(format!("not PromQL: {message}"), place.or_else(|| unclosed(tokens)))
}

fn experimental_syntax(tokens: &[Token<'_>]) -> Option<ParseError> {
    let mut brackets = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        let experimental = |what: &str| {
            let message = format!("{what} cannot be used: it is experimental in Prometheus");
            Some(ParseError::new(message, token.span))
        };
        let opens = tokens.get(at + 1).is_some_and(|next| next.is("("));
        match token.text {
            "[" => brackets += 1,
            "]" => brackets = brackets.saturating_sub(1),
            "</" | ">/" => {
                let message = format!(
                    "`{}` cannot be used: it is about native histograms, which are not supported",
                    token.text
                );
                return Some(ParseError::new(message, token.span));
            }
            "+" | "-" | "*" | "/" | "%" | "^" if brackets > 0 => {
                return experimental("arithmetic with durations");
            }
            "(" if at > 0 && tokens[at - 1].is("offset") => {
                return experimental("arithmetic with durations");
            }
            _ if at > 0 && (token.is("anchored") || token.is("smoothed")) => {
                return experimental(&format!("`{}`", token.text));
            }
            _ if opens && brackets > 0 => return experimental(&format!("`{}()`", token.text)),
            _ if at > 0 && opens && tokens[at - 1].is("offset") => {
                return experimental(&format!("`{}()`", token.text));
            }
            _ => {}
        }
    }
    None
}

/// The first sign that is another language's; within braces `=` is PromQL's own.
fn foreign_sign(tokens: &[Token<'_>]) -> Option<ParseError> {
    let mut braces = 0_usize;
    tokens.iter().find_map(|token| {
        match token.text {
            "{" => braces += 1,
            "}" => braces = braces.saturating_sub(1),
            _ => {}
        }
        let (sign, own) = FOREIGN.iter().find(|(sign, _)| braces == 0 && token.is(sign))?;
        let message = format!("not PromQL: write `{own}` instead of `{sign}`");
        Some(ParseError::new(message, token.span))
    })
}

/// The first bracket that is never closed, or closed without having been opened.
fn unclosed(tokens: &[Token<'_>]) -> Option<Span> {
    let mut open: Vec<&Token<'_>> = Vec::new();
    for token in tokens {
        let opener = match token.text {
            "(" | "[" | "{" => {
                open.push(token);
                continue;
            }
            ")" => "(",
            "]" => "[",
            "}" => "{",
            _ => continue,
        };
        if open.pop().is_none_or(|last| last.text != opener) {
            return Some(token.span);
        }
    }
    open.first().map(|token| token.span)
}
