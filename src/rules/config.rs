//! A rule as it is written: two forms, each mistake named, and one [`Plan`] of either.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde_json::Value as Json;

use super::plan::{Condition, LabelMatcher, Pattern, Plan, Selector, shown};
use super::{Severity, State, expression};
use crate::config::read::{Context, FromTable, FromToml, Node, Table};
use crate::config::{Glob, Located};
use crate::promql::Span;
use crate::template::Template;

/// A rule, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleConfig {
    /// What it asks of the data.
    pub plan: Plan,
    /// How long it must hold before it fires: `for`.
    pub hold: Duration,
    /// How long it goes on firing after it has cleared.
    pub keep_firing_for: Duration,
    /// What missing data means.
    pub on_missing: OnMissing,
    /// How bad it is.
    pub severity: Severity,
    /// Labels its alerts get besides those of the series; they win over the series' own.
    pub labels: BTreeMap<String, String>,
    /// One line for people.
    pub summary: Option<Template>,
    /// More for people.
    pub description: Option<Template>,
    /// Actions told when it fires.
    pub actions: Vec<Located<String>>,
    /// Actions told when it clears; `None` where it is not written.
    pub on_clear: Option<Vec<Located<String>>>,
}

/// Which actions a transition is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Audience<'a> {
    /// All of these: they are written for it.
    Named(&'a [Located<String>]),
    /// Of these the ones that tell people (webhook, desktop, log): who heard of a problem hears of
    /// its end. What changes the world runs only where it is named.
    ThoseWhoTellPeople(&'a [Located<String>]),
}

crate::choice! {
    /// What it means that the data an alert is judged by goes missing.
    pub enum OnMissing {
        /// Nothing: neither a problem nor a recovery.
        Keep = "keep",
        /// A problem.
        Fire = "fire",
        /// A recovery.
        Clear = "clear",
    }
}

crate::config! {
    /// Turns samples into alerts: either the short form, `metric` with one condition, or `when`.
    struct Written {
        /// The short form: the series' name, `measurement_field`.
        metric: Option<Located<String>>,
        /// The short form: what labels must be, as globs.
        r#match: BTreeMap<String, Glob>,
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
        when: Option<Located<String>>,
        /// The long form's hysteresis: what fired clears only where this yields a sample.
        clear: Option<Located<String>>,
        /// How long it must hold before it fires.
        r#for: Duration = Duration::ZERO,
        /// How long it goes on firing after it has cleared.
        keep_firing_for: Duration = Duration::ZERO,
        /// What missing data means: keep, fire or clear.
        on_missing: OnMissing = OnMissing::Keep,
        /// How bad it is: info, warning or critical.
        severity: Severity = Severity::Warning,
        /// Labels its alerts get besides those of the series.
        labels: BTreeMap<String, String>,
        /// One line for people; a template, as in `{{ labels.target }} does not answer`.
        summary: Option<Located<Template>>,
        /// More for people; a template.
        description: Option<Located<Template>>,
        /// Actions told when it fires; those that tell people are told when it clears, too.
        actions: Vec<Located<String>>,
        /// Actions told when it clears, instead.
        on_clear: Option<Vec<Located<String>>>,
    }
    check(written, table) {
        written.check_labels(table);
        written.check_texts(table);
    }
}

/// The keys of the short form besides `metric`.
const SHORT_KEYS: [&str; 8] =
    ["match", "above", "below", "outside", "equals", "not_equals", "clear_above", "clear_below"];

impl RuleConfig {
    /// Reads `[rule.NAME]`.
    pub(crate) fn read(node: &Node<'_>, shown: &str, cx: &mut Context<'_>) -> Option<Self> {
        let mut table = Table::new(node, shown, cx)?;
        let read = Written::from_table(&mut table);
        let plan = read.as_ref().and_then(|written| written.plan(&mut table));
        table.finish();
        let (written, plan) = (read?, plan?);
        Some(Self {
            plan,
            hold: written.r#for,
            keep_firing_for: written.keep_firing_for,
            on_missing: written.on_missing,
            severity: written.severity,
            labels: written.labels,
            summary: written.summary.map(|located| located.value),
            description: written.description.map(|located| located.value),
            actions: written.actions,
            on_clear: written.on_clear,
        })
    }

    /// The JSON Schema of a rule's table.
    pub(crate) fn schema() -> Json {
        <Written as FromToml>::schema()
    }

    /// Which actions hear that an alert of this rule got into a state.
    #[must_use]
    pub fn audience(&self, state: State) -> Audience<'_> {
        match (state, &self.on_clear) {
            (State::Firing, _) => Audience::Named(&self.actions),
            (State::Inactive, Some(on_clear)) => Audience::Named(on_clear),
            (State::Inactive, None) => Audience::ThoseWhoTellPeople(&self.actions),
            (State::Pending | State::Unknown, _) => Audience::Named(&[]),
        }
    }

    /// The names of the actions it has.
    pub fn action_names(&self) -> impl Iterator<Item = &Located<String>> {
        self.actions.iter().chain(self.on_clear.iter().flatten())
    }
}

impl Written {
    /// Both forms become one plan.
    fn plan(&self, table: &mut Table<'_, '_, '_>) -> Option<Plan> {
        match (&self.metric, &self.when) {
            (Some(_), Some(when)) => {
                let message = "`when` says it all: leave out `metric`, or use the short form";
                table.cx.error(when.place.span.clone(), message);
                None
            }
            (None, None) => {
                let message =
                    format!("[{}] needs `metric` with a condition, or `when`", table.name());
                table.cx.error(table.span(), message);
                None
            }
            (Some(metric), None) => self.short(metric, table),
            (None, Some(when)) => self.long(when, table),
        }
    }

    fn short(&self, metric: &Located<String>, table: &mut Table<'_, '_, '_>) -> Option<Plan> {
        if self.clear.is_some() {
            table.error(
                "clear",
                "belongs to `when`; the short form has clear_above and clear_below",
            );
            return None;
        }
        if !is_metric_name(&metric.value) {
            table.error("metric", format!(
                "`{}` is not the name of a series; it is `measurement_field`, and labels go into `match`",
                metric.value
            ));
            return None;
        }
        let when = self.condition(table)?;
        let matchers = self.r#match.iter().map(|(label, glob)| LabelMatcher {
            label: label.clone(),
            pattern: Pattern::Glob(glob.clone()),
        });
        let selector = Selector { metric: metric.value.clone(), matchers: matchers.collect() };
        let clear = self.short_clear(when, table)?;
        Some(Plan { selector, when, clear })
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
                let message = format!("[{}] has a metric but no condition", table.name());
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

    fn long(&self, when: &Located<String>, table: &mut Table<'_, '_, '_>) -> Option<Plan> {
        let mut mixed = false;
        for key in SHORT_KEYS {
            if !table.has(key) {
                continue;
            }
            table.error(key, format!("`{key}` belongs to the short form, not to `when`"));
            mixed = true;
        }
        let (selector, condition) = parse(when, table)?;
        let clear = match &self.clear {
            None => None,
            Some(clear) => {
                let (other, until) = parse(clear, table)?;
                if other != selector {
                    let message = format!("for now it must be about the same series, `{selector}`");
                    table.error("clear", message);
                    return None;
                }
                if let Some(value) = condition.overlap(until) {
                    let message = format!("at {} both `when` and `clear` would hold", shown(value));
                    table.error("clear", message);
                    return None;
                }
                Some(until)
            }
        };
        (!mixed).then_some(Plan { selector, when: condition, clear })
    }

    fn check_labels(&self, table: &mut Table<'_, '_, '_>) {
        for (name, value) in &self.labels {
            if ["target", "kind", "site", "alertname", "severity"].contains(&name.as_str()) {
                table.error("labels", format!("the label `{name}` is set by watchpost"));
            } else if !is_label_name(name) {
                table.error("labels", format!("`{name}` is not the name of a label"));
            } else if value.is_empty() {
                table.error("labels", format!("the label `{name}` is empty"));
            }
        }
        for name in self.r#match.keys().filter(|name| !is_label_name(name)) {
            table.error("match", format!("`{name}` is not the name of a label"));
        }
    }

    /// The texts are what the summary and the description are made of, not the other way round.
    fn check_texts(&self, table: &mut Table<'_, '_, '_>) {
        for (key, text) in [("summary", &self.summary), ("description", &self.description)] {
            let used = text.iter().flat_map(|text| text.value.variables());
            for name in used.filter(|name| name == "summary" || name == "description") {
                table.error(key, format!("cannot contain `{name}`"));
            }
        }
    }
}

fn parse(text: &Located<String>, table: &mut Table<'_, '_, '_>) -> Option<(Selector, Condition)> {
    expression::parse(&text.value)
        .map_err(|error| {
            let source = table.cx.diagnostics.text(table.cx.file);
            let span = part_of(source, &text.place.span, &text.value, error.span);
            table.cx.error(span, error.message);
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

/// Measurements and fields may have any letters; what can only be an expression is refused.
fn is_metric_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || "{}()[]<>=\"'*".contains(c))
}

fn is_label_name(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(fine) && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests;
