//! Which series a comparison is about.

use std::fmt;

use crate::config::Glob;
use crate::promql::selector::{self, Anchored, Matcher};
use crate::promql::{Expr, ExprKind, Span, write_matcher};
use crate::sample::Series;

/// Which series.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    /// The name, `measurement_field`.
    pub metric: String,
    /// What its labels must be; all of it.
    pub matchers: Vec<LabelMatcher>,
}

/// What one label must be. A label that is absent is empty, as in PromQL.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelMatcher {
    /// The label's name.
    pub label: String,
    /// What it must be.
    pub pattern: Pattern,
}

/// What the value of a label must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Pattern {
    /// As PromQL says it.
    Promql(selector::Pattern),
    /// As the short form does.
    Glob(Glob),
}

impl Selector {
    /// The same series, as a query asks for them.
    #[must_use]
    pub fn promql(&self) -> selector::Selector {
        let matchers = self.matchers.iter().filter_map(LabelMatcher::promql).collect();
        selector::Selector { name: Some(self.metric.clone()), matchers, offset: 0, at: None }
    }

    /// That, as an expression.
    #[must_use]
    pub fn expr(&self) -> Expr {
        Expr { kind: ExprKind::Selector(self.promql()), span: Span::default() }
    }

    /// Whether a series is meant.
    #[must_use]
    pub fn matches(&self, series: &Series) -> bool {
        series.is_named(&self.metric) && self.matchers.iter().all(|matcher| matcher.matches(series))
    }
}

impl LabelMatcher {
    /// As PromQL's; `None` where its expression means nothing there.
    fn promql(&self) -> Option<Matcher> {
        let pattern = match &self.pattern {
            Pattern::Promql(pattern) => pattern.clone(),
            Pattern::Glob(glob) => match literal(glob) {
                Some(value) => selector::Pattern::Equal(value.to_owned()),
                None => selector::Pattern::Matches(Anchored::new(&glob_regex(glob)).ok()?),
            },
        };
        Some(Matcher { label: self.label.clone(), pattern })
    }

    fn matches(&self, series: &Series) -> bool {
        let value = series.tag(&self.label).unwrap_or_default();
        match &self.pattern {
            Pattern::Promql(pattern) => pattern.matches(value),
            Pattern::Glob(glob) => glob.0.is_match(value),
        }
    }
}

impl Pattern {
    /// The value that is meant, if it is one.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Promql(selector::Pattern::Equal(value)) => Some(value),
            Self::Promql(_) => None,
            Self::Glob(glob) => literal(glob),
        }
    }
}

/// As PromQL; a glob as the regular expression it is.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric)?;
        for (i, LabelMatcher { label, pattern }) in self.matchers.iter().enumerate() {
            f.write_str(if i == 0 { "{" } else { "," })?;
            match pattern {
                Pattern::Promql(pattern) => {
                    let (operator, value) = pattern.written();
                    write_matcher(f, label, operator, value)?;
                }
                Pattern::Glob(glob) => match literal(glob) {
                    Some(value) => write_matcher(f, label, "=", value)?,
                    None => write_matcher(f, label, "=~", &glob_regex(glob))?,
                },
            }
        }
        if self.matchers.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

fn literal(glob: &Glob) -> Option<&str> {
    let text = glob.0.glob().glob();
    (!text.contains(['*', '?', '[', '{', '\\'])).then_some(text)
}

/// The regular expression of a glob, as one over characters: globset's is over bytes.
fn glob_regex(glob: &Glob) -> String {
    let text = glob.0.glob().regex();
    let text = text.strip_prefix("(?-u)^").and_then(|t| t.strip_suffix('$')).unwrap_or(text);
    let text = characters(text);
    // Names are full of dashes, and only in a class do they need the backslash globset writes.
    if text.contains('[') { text } else { text.replace("\\-", "-") }
}

/// Makes characters of bytes that are written as `\xc3\xa9`.
fn characters(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'\\', [b'x', high, low, after @ ..])
                if let Ok(byte) = data_encoding::HEXLOWER.decode(&[*high, *low]) =>
            {
                bytes.extend(byte);
                after
            }
            (b'\\', [escaped, after @ ..]) => {
                bytes.extend([b'\\', *escaped]);
                after
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_expressions_over_characters() {
        for (glob, regex, meant, other) in [
            ("küche-*", "küche-.*", "küche-2", "kuche-2"),
            ("{étage,二階}?", "(?:étage|二階).", "二階a", "二a"),
            (r"a\\xc3*", r"a\\xc3.*", r"a\xc3", "aÃ"),
            ("[a-c]-*", r"[a-c]\-.*", "b-1", "d-1"),
        ] {
            let glob = Glob(globset::Glob::new(glob).expect("a glob").compile_matcher());
            let written = glob_regex(&glob);
            let anchored = Anchored::new(&written).expect("an expression");
            for (text, expected) in [(meant, true), (other, false)] {
                assert_eq!(glob.0.is_match(text), expected, "{text}");
                assert_eq!(
                    selector::Pattern::Matches(anchored.clone()).matches(text),
                    expected,
                    "{written} {text}"
                );
            }
            assert_eq!(written, regex);
        }
    }
}
