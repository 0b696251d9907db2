//! Tags made of a topic's levels and of what a payload says: `"{1}"`, `"{/id}"`, `"probe-{#2}"`.
//!
//! It refuses to make half a tag: where one of its places is missing from a payload, or empty, the
//! whole tag is left out, as an empty one is.

use serde_json::{Value as Json, json};

use super::{At, Format, Payload};
use crate::config::read::{Context, FromToml, Node, parsed};
use crate::wire::value::Value;

/// A tag's text with `{…}` in it: a number is a level of the topic, from 0; `#` and a number are a
/// column, from 1; all else is a JSON pointer, a key, or the name of a column or group. There is no
/// way to write a `{` or a `}` that means itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagText {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Level(usize),
    Place(At),
}

impl std::str::FromStr for TagText {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (inner, after) = after
                .split_once('}')
                .ok_or_else(|| format!("`{text}` has a `{{` without its `}}`"))?;
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            parts.push(part(inner).ok_or_else(|| {
                format!(
                    "`{{{inner}}}` is neither a level such as {{1}} nor a place such as {{/id}}"
                )
            })?);
            rest = after;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        Ok(Self { parts })
    }
}

/// What stands between braces.
fn part(inner: &str) -> Option<Part> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match inner.strip_prefix('#') {
        _ if inner.trim().is_empty() || inner.contains('{') => None,
        _ if is_number(inner) => inner.parse().ok().map(Part::Level),
        Some(column) if is_number(column) => {
            column.parse().ok().map(|column| Part::Place(At::Column(column)))
        }
        _ => Some(Part::Place(At::Name(inner.to_owned()))),
    }
}

impl FromToml for TagText {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a text such as \"{1}\" or \"{/id}\"", cx, str::parse)
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

impl TagText {
    /// The highest level it asks for.
    #[must_use]
    pub fn last_level(&self) -> Option<usize> {
        let level = |part: &Part| match part {
            Part::Level(level) => Some(*level),
            Part::Text(_) | Part::Place(_) => None,
        };
        self.parts.iter().filter_map(level).max()
    }

    /// The places it asks for, in their order.
    pub fn places(&self) -> impl Iterator<Item = &At> {
        self.parts.iter().filter_map(|part| match part {
            Part::Place(at) => Some(at),
            Part::Text(_) | Part::Level(_) => None,
        })
    }

    /// With the levels of a topic put in; a level the topic does not have is empty.
    #[must_use]
    pub fn at_topic(&self, topic: &str) -> Self {
        let part = |part: &Part| match part {
            Part::Level(level) => {
                Part::Text(topic.split('/').nth(*level).unwrap_or_default().to_owned())
            }
            part => part.clone(),
        };
        Self { parts: self.parts.iter().map(part).collect() }
    }

    /// Writes it with what was found at its places, which are the next of `found`; false, and
    /// nothing written, where one of them is empty.
    pub(super) fn fill<'f>(
        &self,
        found: &mut impl Iterator<Item = &'f String>,
        out: &mut String,
    ) -> bool {
        let mut is_whole = true;
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Level(_) => {}
                Part::Place(_) => {
                    let text = found.next().map_or("", String::as_str);
                    is_whole &= !text.is_empty();
                    out.push_str(text);
                }
            }
        }
        if !is_whole {
            out.clear();
        }
        is_whole
    }
}

/// Whole numbers of this many digits and more are written with an exponent, as are those as far
/// below one.
const PLAIN_MAX: f64 = 1e16;

/// A value as a tag's: numbers as short as they can be, `true` and `false`.
pub(super) fn set_text(text: &mut String, value: Value<'_>) {
    use std::fmt::Write as _;
    text.clear();
    let written = match value {
        Value::Text(value) => text.write_str(value),
        Value::Bool(value) => write!(text, "{value}"),
        Value::Unsigned(value) => write!(text, "{value}"),
        Value::Signed(value) => write!(text, "{value}"),
        Value::Number(0.0) => text.write_char('0'),
        Value::Number(value) if (1.0 / PLAIN_MAX..PLAIN_MAX).contains(&value.abs()) => {
            write!(text, "{value}")
        }
        Value::Number(value) => write!(text, "{value:e}"),
    };
    written.expect("a text takes what is written into it");
}

impl Payload {
    /// Whether a tag's places are some the format has.
    ///
    /// # Errors
    /// What is wrong with the first that is wrong.
    pub fn check_tag(&self, tag: &TagText) -> Result<(), String> {
        for at in tag.places() {
            if matches!(self.format.value, Format::Number | Format::Text | Format::Influx) {
                let place = match at {
                    At::Name(name) => name.clone(),
                    At::Column(column) => format!("#{column}"),
                };
                return Err(format!(
                    "the format `{}` has no place `{{{place}}}`; `json`, `csv`, `key_value`, `regex` and `nmea` have places",
                    self.format.value.as_str()
                ));
            }
            self.check_place(at)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str, topic: &str, found: &[&str]) -> String {
        let found: Vec<_> = found.iter().map(|text| (*text).to_owned()).collect();
        let mut out = String::new();
        let text: TagText = text.parse().unwrap();
        let is_whole = text.at_topic(topic).fill(&mut found.iter(), &mut out);
        assert!(is_whole || out.is_empty());
        out
    }

    #[test]
    fn levels_and_places_are_put_in() {
        assert_eq!(filled("{1}-{0}{9}!", "a/b", &[]), "b-a!");
        assert_eq!(filled("{1}/{/id}", "a/b", &["7"]), "b/7");
        assert_eq!(filled("{x}{#2}", "", &["1", "2"]), "12");
        assert_eq!(filled("probe-{/id}", "", &[""]), "", "half a tag is none");
        let text: TagText = "{1}{/1}{#3}{a b}{#x}".parse().unwrap();
        assert_eq!(text.last_level(), Some(1));
        let name = |name: &str| At::Name(name.to_owned());
        let places: Vec<_> = text.places().cloned().collect();
        assert_eq!(places, [name("/1"), At::Column(3), name("a b"), name("#x")]);
    }

    #[test]
    fn braces_that_hold_nothing_are_told() {
        for (wrong, message) in [
            ("a{", "`a{` has a `{` without its `}`"),
            ("{}", "`{}` is neither a level such as {1} nor a place such as {/id}"),
            ("{{1}}", "`{{1}` is neither a level such as {1} nor a place such as {/id}"),
            (
                "{99999999999999999999}",
                "`{99999999999999999999}` is neither a level such as {1} nor a place such as {/id}",
            ),
        ] {
            assert_eq!(wrong.parse::<TagText>(), Err(message.to_owned()));
        }
    }

    #[test]
    fn values_are_written_shortly_and_exactly() {
        for (value, text) in [
            (Value::Number(7.0), "7"),
            (Value::Number(-0.0), "0"),
            (Value::Number(21.5), "21.5"),
            (Value::Number(1e300), "1e300"),
            (Value::Number(1e-300), "1e-300"),
            (Value::Unsigned(u64::MAX), "18446744073709551615"),
            (Value::Signed(i64::MIN), "-9223372036854775808"),
            (Value::Bool(true), "true"),
            (Value::Text(" a "), " a "),
        ] {
            let mut out = "before".to_owned();
            set_text(&mut out, value);
            assert_eq!(out, text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_tag_or_an_error(text in "[a{}#/1 é]{0,16}", topic in "[a/]{0,6}") {
            if let Ok(tag) = text.parse::<TagText>() {
                let found = vec!["x".to_owned(); tag.places().count()];
                prop_assert!(tag.at_topic(&topic).fill(&mut found.iter(), &mut String::new()));
            }
        }

        #[test]
        fn a_number_is_short_and_reads_back(value in proptest::num::f64::NORMAL) {
            let mut text = String::new();
            set_text(&mut text, Value::Number(value));
            prop_assert!(text.len() <= 40, "{text}");
            prop_assert_eq!(text.parse(), Ok(value));
        }
    }
}
