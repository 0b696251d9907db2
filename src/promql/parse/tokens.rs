//! Cuts a text into tokens, so that brackets and operators can be counted and found in it.
//!
//! It need not know the grammar: whatever it makes of a wrong text, the parser refuses that.

use crate::promql::expr::Span;

/// A piece of the text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Token<'a> {
    /// As written.
    pub(super) text: &'a str,
    /// Where.
    pub(super) span: Span,
}

impl Token<'_> {
    /// Whether it is this word or sign; keywords may be in capitals.
    pub(super) fn is(&self, text: &str) -> bool {
        self.text.eq_ignore_ascii_case(text)
    }
}

/// Cuts a text into tokens; spaces and comments are left out.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let len = match c {
            _ if c.is_whitespace() => c.len_utf8(),
            '#' => text[at..].find(['\n', '\r']).unwrap_or(text.len() - at),
            '"' | '\'' | '`' => quoted_len(&text[at..], c),
            _ if is_word(c) => word_len(&text[at..]),
            _ => sign_len(&text[at..], c),
        };
        if !c.is_whitespace() && c != '#' {
            let span = Span { start: at, end: at + len };
            all.push(Token { text: &text[span.range()], span });
        }
        at += len;
    }
    all
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | ':' | '.')
}

/// The length of a word or a number; `1e-6` is one.
fn word_len(text: &str) -> usize {
    let number = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let hex = text.starts_with("0x") || text.starts_with("0X");
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let sign = number && !hex && matches!(c, '+' | '-') && matches!(before, 'e' | 'E');
        if !is_word(c) && !sign {
            return at;
        }
        before = c;
    }
    text.len()
}

/// The length of a quoted text with its quotes; to the end where it is not closed.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped && quote != '`';
    }
    text.len()
}

fn sign_len(text: &str, first: char) -> usize {
    let two = ["==", "!=", "=~", "!~", ">=", "<=", "</", ">/", "&&", "||"];
    if two.iter().any(|sign| text.starts_with(sign)) { 2 } else { first.len_utf8() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_the_grammar_cuts_it() {
        for (text, cut) in [
            ("sum by(a)(x{b=~\"c)\"}[5m])", "sum by ( a ) ( x { b =~ \"c)\" } [ 5m ] )"),
            ("a:b>=bool 1e-6-x # c (", "a:b >= bool 1e-6 - x"),
            ("0x1e-6", "0x1e - 6"),
            (r#"'\'' + `\` + "é"#, r#"'\'' + `\` + "é"#),
        ] {
            let words: Vec<_> = tokens(text).into_iter().map(|token| token.text).collect();
            assert_eq!(words.join(" "), cut, "{text}");
        }
    }
}
