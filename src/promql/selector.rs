//! Which series, and from when: matchers, `offset` and `@`.

use regex::Regex;

use super::labels::{Labels, NAME};
use crate::sample::{Series, Timestamp};

/// A selector of series.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    /// The metric's name where exactly one is asked for: what a source's index starts from.
    pub name: Option<String>,
    /// What else the labels must be. May be about `__name__` where `name` is not set.
    pub matchers: Vec<Matcher>,
    /// How far back from the time of evaluation, in nanoseconds; negative: ahead.
    pub offset: i64,
    /// The time to evaluate at instead of the query's.
    pub at: Option<At>,
}

impl Selector {
    /// Every series there is.
    #[must_use]
    pub fn all() -> Self {
        Self { name: None, matchers: Vec::new(), offset: 0, at: None }
    }
}

/// `@`: a time fixed for the whole query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// `@ start()`: the query's first step.
    Start,
    /// `@ end()`: its last.
    End,
    /// `@ 1600000000.5`
    Time(Timestamp),
}

/// What one label must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Matcher {
    /// The label's name.
    pub label: String,
    /// What its value must be.
    pub pattern: Pattern,
}

/// What a label's value must be. An absent label is an empty one.
#[derive(Debug, Clone, PartialEq)]
pub enum Pattern {
    /// `=`
    Equal(String),
    /// `!=`
    NotEqual(String),
    /// `=~`: all of it matches.
    Matches(Anchored),
    /// `!~`: not all of it matches.
    MatchesNot(Anchored),
}

/// A regular expression that must match all of a text; `.` matches line breaks too.
#[derive(Debug, Clone)]
pub struct Anchored {
    written: String,
    regex: Regex,
}

impl Anchored {
    /// Compiles an expression.
    ///
    /// # Errors
    /// The last line of what the compiler says.
    pub fn new(written: &str) -> Result<Self, String> {
        let compile = |inner: &str| Regex::new(&format!("^(?s:{inner})$"));
        compile(written)
            .or_else(|error| compile(&literal_braces(written)).map_err(|_| error))
            .map(|regex| Self { written: written.to_owned(), regex })
            .map_err(|error| {
                let message = error.to_string();
                let last = message.lines().last().unwrap_or_default();
                last.trim_start_matches("error: ").to_owned()
            })
    }

    /// As it was written, without anchors.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The compiled expression, anchored.
    #[must_use]
    pub fn regex(&self) -> &Regex {
        &self.regex
    }
}

/// Go takes a brace that starts no repetition for itself; here it needs a backslash.
fn literal_braces(written: &str) -> String {
    let mut out = String::with_capacity(written.len() + 8);
    let mut escaped = false;
    for (at, c) in written.char_indices() {
        if c == '{' && !escaped && !starts_repetition(&written[at + 1..]) {
            out.push('\\');
        }
        escaped = c == '\\' && !escaped;
        out.push(c);
    }
    out
}

fn starts_repetition(rest: &str) -> bool {
    let inner = rest.split_once('}').map_or("", |(inner, _)| inner);
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

impl PartialEq for Anchored {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Pattern {
    /// As it is written: the operator, and what stands behind it.
    pub(crate) fn written(&self) -> (&'static str, &str) {
        match self {
            Self::Equal(value) => ("=", value),
            Self::NotEqual(value) => ("!=", value),
            Self::Matches(regex) => ("=~", regex.as_str()),
            Self::MatchesNot(regex) => ("!~", regex.as_str()),
        }
    }

    /// Whether a value is meant.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Equal(wanted) => value == wanted,
            Self::NotEqual(other) => value != other,
            Self::Matches(regex) => regex.regex.is_match(value),
            Self::MatchesNot(regex) => !regex.regex.is_match(value),
        }
    }
}

impl Selector {
    /// Whether a series is meant, by the values of its labels; `None`: the label is absent.
    /// The name is asked for as `__name__`.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.name.as_deref().is_none_or(|name| label(NAME) == Some(name))
            && self
                .matchers
                .iter()
                .all(|matcher| matcher.pattern.matches(label(&matcher.label).unwrap_or_default()))
    }

    /// Whether a series is meant.
    #[must_use]
    pub fn matches_series(&self, series: &Series) -> bool {
        let name = series.name();
        self.matches(|label| if label == NAME { Some(&*name) } else { series.tag(label) })
    }

    /// Whether a series of this name may be meant, whatever its labels are.
    #[must_use]
    pub fn may_be_named(&self, name: &str) -> bool {
        let of_name = self.matchers.iter().filter(|matcher| matcher.label == NAME);
        self.name.as_deref().is_none_or(|own| own == name)
            && of_name.into_iter().all(|matcher| matcher.pattern.matches(name))
    }

    /// Whether a series with these labels is meant.
    #[must_use]
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(|name| labels.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_value_must_match() {
        let regex = Anchored::new("a|b.*").unwrap();
        let pattern = Pattern::Matches(regex.clone());
        for (value, matches) in [("a", true), ("ab", false), ("b\nc", true), ("", false)] {
            assert_eq!(pattern.matches(value), matches, "{value}");
            assert_eq!(Pattern::MatchesNot(regex.clone()).matches(value), !matches, "{value}");
        }
    }

    #[test]
    fn a_brace_that_repeats_nothing_is_itself() {
        for (written, value) in [("a{bc}", "a{bc}"), ("a{2}", "aa"), (r"\{x{1,}", "{xx")] {
            let pattern = Pattern::Matches(Anchored::new(written).unwrap());
            assert!(pattern.matches(value), "{written}");
        }
        assert!(Anchored::new("(").unwrap_err().contains("unclosed group"));
    }

    #[test]
    fn an_absent_label_is_an_empty_one() {
        let matcher = |label: &str, pattern| Matcher { label: label.to_owned(), pattern };
        let selector = Selector {
            name: Some("up".to_owned()),
            matchers: vec![
                matcher("a", Pattern::Equal(String::new())),
                matcher("b", Pattern::NotEqual("x".to_owned())),
            ],
            offset: 0,
            at: None,
        };
        assert!(selector.matches_labels(&Labels::new([(NAME, "up"), ("c", "1")])));
        assert!(!selector.matches_labels(&Labels::new([(NAME, "up"), ("a", "1")])));
        assert!(!selector.matches_labels(&Labels::new([(NAME, "down")])));
    }
}
