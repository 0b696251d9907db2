//! A rule as it is written: two forms, each mistake named, and one [`Plan`] of either.

mod condition;
mod levels;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value as Json, json};

use condition::{Asked, Keys};

use super::depends::DependsOn;
use super::plan::Plan;
use super::{Severity, State, own_alerts};
use crate::config::read::{Context, FromTable, FromToml, Node, Table, parsed, table_schema};
use crate::config::{Glob, Located};
use crate::sample::TARGET_UP;
use crate::template::Template;

/// A rule, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleConfig {
    /// What it asks of the data.
    pub plan: Plan,
    /// How many series it may be about, where it is more than a comparison with a number.
    pub max_series: usize,
    /// How long it must hold before it fires: `for`.
    pub hold: Duration,
    /// How long it goes on firing after it has cleared.
    pub keep_firing_for: Duration,
    /// What missing data means.
    pub on_missing: OnMissing,
    /// How many samples of how many must hold; `None`: the last one.
    pub at_least: Option<AtLeast>,
    /// Whether people hear once of an alert that comes and goes, instead of each time.
    pub flap_detection: bool,
    /// Whose fault its alerts may be.
    pub depends_on: Option<DependsOn>,
    /// How long an alert waits for what its parents are at before it is told.
    pub settle: Duration,
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

/// How many of how many samples must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtLeast {
    /// So many …
    pub least: u8,
    /// … of so many; at least as many, at most [`AtLeast::OF_MAX`].
    pub of: u8,
}

impl AtLeast {
    /// Samples of an alert that are remembered: a bit each of one word.
    pub const OF_MAX: u8 = 64;
}

/// As it is written: `3 of 5`.
impl fmt::Display for AtLeast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.least, self.of)
    }
}

impl FromToml for AtLeast {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a string such as \"3 of 5\"", cx, |text| {
            let numbers = text.split_once(" of ").and_then(|(least, of)| {
                Some((least.trim().parse::<u32>().ok()?, of.trim().parse::<u32>().ok()?))
            });
            match numbers {
                None => Err(format!("`{text}` is not such as \"3 of 5\"")),
                Some((0, _)) => Err("at least one sample must hold".to_owned()),
                Some((least, of)) if least > of => {
                    Err(format!("{least} of {of} samples can never hold"))
                }
                Some((least, of)) => match (u8::try_from(least), u8::try_from(of)) {
                    (Ok(least), Ok(of)) if of <= Self::OF_MAX => Ok(Self { least, of }),
                    _ => Err(format!("at most {} samples are remembered", Self::OF_MAX)),
                },
            }
        })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^ *[0-9]+ of +[0-9]+ *$" })
    }
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
        /// What makes it a warning, where a rule has two severities: the keys of a condition, as in
        /// `{ above = 70, clear_below = 65 }`, or PromQL.
        warning: Option<Asked>,
        /// What makes it critical; where this holds, `warning` must hold as well.
        critical: Option<Asked>,
        /// How many series a rule in PromQL may be about; with more it is stopped, and says so.
        max_series: u32 = SERIES_MAX,
        /// How long it must hold before it fires.
        r#for: Duration = Duration::ZERO,
        /// How many of the last samples must hold, as in `3 of 5`; at most of 64.
        at_least: Option<AtLeast>,
        /// How long it goes on firing after it has cleared.
        keep_firing_for: Duration = Duration::ZERO,
        /// What missing data means: keep, fire or clear.
        on_missing: OnMissing = OnMissing::Keep,
        /// Tell people once of an alert that comes and goes, instead of each time.
        flap_detection: bool = true,
        /// Targets and rules whose fault it may be: while one of them is down, nobody is told of
        /// this. Or `{ any = [...] }`: while all of them are.
        depends_on: Option<DependsOn>,
        /// How long at most an alert waits to hear what `depends_on` is at before it is told.
        settle: Duration = SETTLE,
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

/// How long an alert waits for its parents' verdict where nothing is said: a poll of a parent at the
/// default interval, and its timeout.
const SETTLE: Duration = Duration::from_secs(12);

/// Series of a rule where nothing is said: ten times what a large network has of one kind.
const SERIES_MAX: u32 = 100_000;

impl RuleConfig {
    /// Reads `[rule.NAME]`.
    pub(crate) fn read(node: &Node<'_>, name: &str, cx: &mut Context<'_>) -> Option<Self> {
        let shown = format!("rule.{name}");
        let mut table = Table::new(node, &shown, cx)?;
        let read = Written::from_table(&mut table);
        let keys = Keys::from_table(&mut table);
        let mut plan =
            read.as_ref().zip(keys).and_then(|(read, keys)| read.plan(&keys, &mut table));
        if let Some(Err(series)) = plan.as_mut().map(|plan| own_alerts::leave_out(plan, name)) {
            let message =
                format!("`{series}` is about the rule's own alerts, which it cannot ask for");
            table.error(if table.has("metric") { "metric" } else { "when" }, message);
            plan = None;
        }
        table.finish();
        let (written, plan) = (read?, plan?);
        Some(Self {
            plan,
            max_series: written.max_series as usize,
            hold: written.r#for,
            keep_firing_for: written.keep_firing_for,
            on_missing: written.on_missing,
            at_least: written.at_least,
            flap_detection: written.flap_detection,
            depends_on: written.depends_on,
            settle: written.settle,
            labels: written.labels,
            summary: written.summary.map(|located| located.value),
            description: written.description.map(|located| located.value),
            actions: written.actions,
            on_clear: written.on_clear,
        })
    }

    /// A rule of a plan that says nothing else.
    pub(crate) fn of(plan: Plan) -> Self {
        Self {
            plan,
            max_series: SERIES_MAX as usize,
            hold: Duration::ZERO,
            keep_firing_for: Duration::ZERO,
            on_missing: OnMissing::Keep,
            at_least: None,
            flap_detection: true,
            depends_on: None,
            settle: SETTLE,
            labels: BTreeMap::new(),
            summary: None,
            description: None,
            actions: Vec::new(),
            on_clear: None,
        }
    }

    /// The JSON Schema of a rule's table.
    pub(crate) fn schema() -> Json {
        let mut keys = Written::keys();
        keys.extend(Keys::keys());
        table_schema(&keys)
    }

    /// How bad it is at worst.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.plan.severity()
    }

    /// Whether it judges whether targets answer.
    #[must_use]
    pub fn tells_of_targets(&self) -> bool {
        self.plan.threshold().is_some_and(|one| one.selector.metric == TARGET_UP)
    }

    /// Names all it says, the same over restarts: what an alert of it stood for is still what it
    /// stands for.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let names = |names: &[Located<String>]| -> Vec<String> {
            names.iter().map(|name| name.value.clone()).collect()
        };
        let parents = self.depends_on.as_ref().map(|on| {
            (on.any, on.parents.iter().map(|one| one.value.to_string()).collect::<Vec<_>>())
        });
        let texts = [&self.summary, &self.description];
        let said = format!(
            "{} {:?} {:?} {:?} {:?} {:?} {:?} {parents:?} {:?} {:?} {:?} {:?} {:?}",
            self.plan,
            self.plan_said(),
            self.hold,
            self.keep_firing_for,
            self.on_missing,
            self.at_least,
            self.flap_detection,
            self.settle,
            self.labels,
            texts.map(|text| text.as_ref().map(Template::source)),
            names(&self.actions),
            self.on_clear.as_deref().map(names),
        );
        super::notice::hash([said.as_str()])
    }

    fn plan_said(&self) -> String {
        match &self.plan {
            Plan::Threshold(threshold) => {
                format!("{} {:?}", threshold.selector, threshold.levels)
            }
            Plan::Expression(levels) => {
                let texts = levels.iter().map(|level| {
                    let clear = level.clear.as_ref().map(|clear| &clear.text);
                    (level.severity, &level.when.text, clear)
                });
                format!("{:?} {}", texts.collect::<Vec<_>>(), self.max_series)
            }
        }
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
