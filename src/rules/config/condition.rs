//! What must hold: the keys of a condition, as a rule itself or one of its severities has them.

use std::ops::Range;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::config::Located;
use crate::config::read::{Context, FromTable, FromToml, Node, Table, wrong_type};
use crate::promql::Span;
use crate::rules::expression::{self, Parsed};
use crate::rules::plan::{Condition, Selector, Written, shown};

crate::config! {
    /// One condition: of the short form, or in PromQL.
    pub(super) struct Keys {
        /// Holds above this.
        above: Option<Located<f64>>,
        /// Holds below this.
        below: Option<Located<f64>>,
        /// Holds below the first and above the second of two numbers.
        outside: Option<Located<Vec<f64>>>,
        /// Holds at this value.
        equals: Option<Located<f64>>,
        /// Holds at any other value.
        not_equals: Option<Located<f64>>,
        /// Hysteresis for `below`: what fired clears only above this.
        clear_above: Option<Located<f64>>,
        /// Hysteresis for `above`: what fired clears only below this.
        clear_below: Option<Located<f64>>,
        /// The long form, in PromQL: holds where it yields a sample.
        pub(super) when: Option<Located<String>>,
        /// The long form's hysteresis: what fired clears only where this yields a sample.
        pub(super) clear: Option<Located<String>>,
    }
}

/// The keys of the short form.
pub(super) const SHORT_KEYS: [&str; 8] =
    ["match", "above", "below", "outside", "equals", "not_equals", "clear_above", "clear_below"];

/// A condition, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    /// The comparison with numbers it is, if it is no more.
    pub(super) compared: Option<Compared>,
    /// The long form: `when` and `clear` as they are written.
    pub(super) written: Option<(Written, Option<Written>)>,
}

/// A comparison with numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Compared {
    /// What the long form is about; `None`: the rule's `metric`.
    pub(super) selector: Option<Selector>,
    pub(super) when: Condition,
    pub(super) clear: Option<Condition>,
}

/// A severity's condition: PromQL alone, or a table of [`Keys`].
impl FromToml for Asked {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        match node.get_ref() {
            DeValue::String(_) => {
                let when = Located::<String>::from_toml(node, cx)?;
                Some(Self::of(parse(&when, cx)?, None))
            }
            DeValue::Table(_) => {
                let mut table = Table::new(node, "", cx)?;
                let keys = Keys::from_table(&mut table);
                let asked = keys.and_then(|keys| match &keys.when {
                    Some(when) => keys.long(when, &mut table),
                    None => keys.short(&mut table),
                });
                table.finish();
                asked
            }
            _ => {
                wrong_type(node, "a condition, such as { above = 70 } or PromQL", cx);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string" }, <Keys as FromToml>::schema()] })
    }
}

impl Keys {
    /// The short form's condition.
    pub(super) fn short(&self, table: &mut Table<'_, '_, '_>) -> Option<Asked> {
        if self.clear.is_some() {
            table.error(
                "clear",
                "belongs to `when`; the short form has clear_above and clear_below",
            );
            return None;
        }
        let when = self.condition(table)?;
        let clear = self.short_clear(when, table)?;
        let compared = Some(Compared { selector: None, when, clear });
        Some(Asked { compared, written: None })
    }

    /// The long form's.
    pub(super) fn long(
        &self,
        when: &Located<String>,
        table: &mut Table<'_, '_, '_>,
    ) -> Option<Asked> {
        let mut mixed = false;
        for key in SHORT_KEYS {
            if !table.has(key) {
                continue;
            }
            table.error(key, format!("`{key}` belongs to the short form, not to `when`"));
            mixed = true;
        }
        let when = parse(when, table.cx);
        let clear = self.clear.as_ref().map(|clear| parse(clear, table.cx));
        let (when, clear) = match (when, clear) {
            (Some(when), None) => (when, None),
            (Some(when), Some(Some(clear))) => (when, Some(clear)),
            _ => return None,
        };
        let asked = Asked::of(when, clear);
        if let Some(Compared { when, clear: Some(clear), .. }) = &asked.compared
            && let Some(value) = when.overlap(*clear)
        {
            let message = format!("at {} both `when` and `clear` would hold", shown(value));
            table.error("clear", message);
            return None;
        }
        (!mixed).then_some(asked)
    }

    /// The one condition there must be.
    fn condition(&self, table: &mut Table<'_, '_, '_>) -> Option<Condition> {
        const KEYS: &str = "above, below, outside, equals, not_equals";
        let mut found: Vec<(&str, usize, Condition)> = Vec::new();
        for (key, value, condition) in [
            ("above", &self.above, Condition::Above as fn(f64) -> Condition),
            ("below", &self.below, Condition::Below),
            ("equals", &self.equals, Condition::Equals),
            ("not_equals", &self.not_equals, Condition::NotEquals),
        ] {
            found.extend(value.iter().map(|v| (key, v.place.span.start, condition(v.value))));
        }
        if let Some(outside) = &self.outside {
            let start = outside.place.span.start;
            match outside.value[..] {
                [a, b] if a <= b => found.push(("outside", start, Condition::Outside(a, b))),
                [a, b] => {
                    let swapped = format!("[{}, {}]", shown(b), shown(a));
                    let message = format!("the first number must be the lower one: {swapped}");
                    table.error("outside", message);
                    return None;
                }
                _ => {
                    table.error("outside", "is two numbers: `outside = [low, high]`");
                    return None;
                }
            }
        }
        found.sort_by_key(|(_, start, _)| *start);
        match found[..] {
            [(_, _, condition)] => Some(condition),
            [] => {
                let message = match table.name() {
                    "" => "there is no condition".to_owned(),
                    name => format!("[{name}] has a metric but no condition"),
                };
                table.cx.error_with_help(table.span(), message, format!("one of {KEYS}"));
                None
            }
            [(first, ..), (second, ..), ..] => {
                let message = format!("a rule has one condition, and `{first}` is there already");
                table.error(second, message);
                None
            }
        }
    }

    /// `Some(None)` where there is no hysteresis, `None` where it is wrong.
    fn short_clear(
        &self,
        when: Condition,
        table: &mut Table<'_, '_, '_>,
    ) -> Option<Option<Condition>> {
        let (key, value, condition) = match (&self.clear_above, &self.clear_below) {
            (None, None) => return Some(None),
            (Some(_), Some(_)) => {
                table.error(
                    "clear_below",
                    "a rule clears on one side: `clear_above` is there already",
                );
                return None;
            }
            (Some(above), None) => ("clear_above", above.value, Condition::Above(above.value)),
            (None, Some(below)) => ("clear_below", below.value, Condition::Below(below.value)),
        };
        let wrong = match (when, condition) {
            (Condition::Above(a), Condition::Below(_)) if value > a => {
                Some(format!("must not be above the threshold, {}", shown(a)))
            }
            (Condition::Below(a), Condition::Above(_)) if value < a => {
                Some(format!("must not be below the threshold, {}", shown(a)))
            }
            (Condition::Above(_), Condition::Below(_))
            | (Condition::Below(_), Condition::Above(_)) => None,
            (Condition::Above(_), _) => {
                Some("what is `above` clears below: use `clear_below`".into())
            }
            (Condition::Below(_), _) => {
                Some("what is `below` clears above: use `clear_above`".into())
            }
            _ => Some("goes with `above` or `below` only".into()),
        };
        match wrong {
            Some(message) => {
                table.error(key, message);
                None
            }
            None => Some(Some(condition)),
        }
    }
}

impl Asked {
    /// The long form's: comparisons with numbers where both are, and of the same series.
    fn of(when: Parsed, clear: Option<Parsed>) -> Self {
        let compared = match (when.threshold, clear.as_ref().map(|clear| &clear.threshold)) {
            (Some((selector, when)), None) => {
                Some(Compared { selector: Some(selector), when, clear: None })
            }
            (Some((selector, when)), Some(Some((other, until)))) if selector == *other => {
                Some(Compared { selector: Some(selector), when, clear: Some(*until) })
            }
            _ => None,
        };
        let written = Some((when.written, clear.map(|clear| clear.written)));
        Self { compared, written }
    }
}

fn parse(text: &Located<String>, cx: &mut Context<'_>) -> Option<Parsed> {
    expression::parse(&text.value)
        .map_err(|error| {
            let source = cx.diagnostics.text(cx.file);
            let span = part_of(source, &text.place.span, &text.value, error.span);
            cx.error(span, error.message);
        })
        .ok()
}

/// Where in a string as it is written a part of its value is; all of the string where escapes hide
/// that.
fn part_of(source: &str, whole: &Range<usize>, value: &str, part: Option<Span>) -> Range<usize> {
    let within = source.get(whole.clone()).unwrap_or_default();
    match (part, within.find(value)) {
        (Some(part), Some(at)) => whole.start + at + part.start..whole.start + at + part.end,
        _ => whole.clone(),
    }
}
