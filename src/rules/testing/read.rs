//! Reads a file of rule tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::notation;
use crate::config::diagnostic::nearest;
use crate::config::read::{Context, FromTable, FromToml, Node, Table, parsed};
use crate::config::{Diagnostics, Loader, Located, Named, Place, parse_duration};
use crate::promql::selector::Pattern::Equal;
use crate::rules::expression;
use crate::rules::plan::Pattern;
use crate::rules::{RuleConfig, Severity, State};

/// A file of tests, and the rules it tests.
pub(super) struct TestFile {
    pub(super) rules: Vec<Arc<Named<RuleConfig>>>,
    pub(super) cases: Vec<Case>,
    pub(super) acts: Vec<String>,
    /// Knows the lines of places in the file.
    pub(super) diagnostics: Diagnostics,
}

/// One test.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) interval: Duration,
    /// When the daemon is killed and starts again.
    pub(super) restarts: Vec<Moment>,
    pub(super) series: Vec<Series>,
    pub(super) expect: Vec<Located<Expected>>,
    pub(super) actions: Option<Vec<Located<ExpectedAction>>>,
}

/// A series and its values.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) values: Vec<Option<f64>>,
}

crate::config! {
    /// A file of tests.
    struct Written {
        /// The files of rules, relative to this one.
        rules: Vec<Located<PathBuf>>,
        /// From one sample to the next.
        interval: Duration = Duration::from_secs(10),
        /// Actions that change the world instead of telling people.
        acts: Vec<String>,
        /// The tests.
        test: Vec<Located<WrittenCase>>,
    }
}

crate::config! {
    /// One test.
    struct WrittenCase {
        /// What it shows.
        name: String,
        /// From one sample to the next.
        interval: Option<Duration>,
        /// When watchpost is killed and starts again: after the samples of that time.
        restarts: Vec<Moment>,
        /// Values by series.
        series: BTreeMap<String, Located<Values>>,
        /// What the alerts are to be.
        expect: Vec<Located<Expected>>,
        /// All that is to be sent; not looked at where it is not written.
        actions: Option<Vec<Located<ExpectedAction>>>,
    }
}

crate::config! {
    /// What an alert is to be at a time.
    pub(super) struct Expected {
        /// When, from the start.
        pub(super) at: Moment,
        /// The rule.
        pub(super) alert: Located<String>,
        /// Labels the alert has, among others.
        pub(super) labels: BTreeMap<String, String>,
        /// Its state; inactive: there is none.
        pub(super) state: State,
        /// How bad it is.
        pub(super) severity: Option<Severity>,
        /// Whether it flaps.
        pub(super) flapping: Option<bool>,
        /// Whether nobody is told of it for what it depends on.
        pub(super) held_back: Option<bool>,
        /// The last value judged.
        pub(super) value: Option<f64>,
        /// A part of its reason.
        pub(super) reason: Option<String>,
        /// Its summary.
        pub(super) summary: Option<String>,
        /// Its description.
        pub(super) description: Option<String>,
        /// How many such alerts there are; at least one where it is not written.
        pub(super) count: Option<u32>,
    }
}

crate::config! {
    /// What an action is to be told.
    pub(super) struct ExpectedAction {
        /// When, from the start; any time where it is not written.
        pub(super) at: Option<Moment>,
        /// The action.
        pub(super) action: String,
        /// The rule.
        pub(super) alert: Located<String>,
        /// What it is told: firing or inactive.
        pub(super) state: State,
        /// Labels of the alert, among others.
        pub(super) labels: BTreeMap<String, String>,
        /// How bad it is.
        pub(super) severity: Option<Severity>,
        /// How many alerts it names that are held back by it.
        pub(super) affected: Option<u32>,
    }
}

/// A time from the start; unlike other durations it may be nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) Duration);

impl FromToml for Moment {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a time such as \"30s\"", cx, |text| parse_duration(text).map(Self))
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// The values of a series, read.
#[derive(Debug, Clone, PartialEq)]
struct Values(Vec<Option<f64>>);

impl FromToml for Values {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "values such as \"1x5 0x10\"", cx, |text| notation::parse(text).map(Self))
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// Reads a file and the rules it names.
pub(super) fn read(path: &Path) -> Result<TestFile, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
        diagnostics.error_without_place(format!("cannot read {}: {error}", path.display()));
        String::new()
    });
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let file = diagnostics.add_source(path.to_owned(), text.clone());
    let (root, errors) = DeTable::parse_recoverable(&text);
    for error in &errors {
        let place = Place { file, span: error.span().unwrap_or(0..0) };
        diagnostics.error(&place, error.message().replace('\n', "; "));
    }
    let node = Spanned::new(root.span(), DeValue::Table(root.into_inner()));
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let mut cx = Context { diagnostics: &mut diagnostics, file, folder, env: &|_| None };
    let written = Table::new(&node, "", &mut cx).and_then(|mut table| {
        let written = Written::from_table(&mut table);
        table.finish();
        written
    });
    let Some(written) = written.filter(|_| diagnostics.is_empty()) else { return Err(diagnostics) };
    let rules = rules_of(path, &written, &mut diagnostics)?;
    let interval = written.interval;
    let cases: Vec<_> = written
        .test
        .into_iter()
        .map(|case| resolve(case, interval, &rules, &mut diagnostics))
        .collect();
    if diagnostics.is_empty() {
        Ok(TestFile { rules, cases, acts: written.acts, diagnostics })
    } else {
        Err(diagnostics)
    }
}

/// The rules of the files it names, or of the file it is named after.
fn rules_of(
    path: &Path,
    written: &Written,
    diagnostics: &mut Diagnostics,
) -> Result<Vec<Arc<Named<RuleConfig>>>, Diagnostics> {
    let loader = Loader { env: &|_| None };
    let folder = path.parent().unwrap_or(Path::new(""));
    if written.rules.is_empty() {
        let name = path.to_string_lossy();
        return loader.load_rules(Path::new(&name.replace(".test.toml", ".toml")));
    }
    let mut rules: Vec<Arc<Named<RuleConfig>>> = Vec::new();
    for file in &written.rules {
        for rule in loader.load_rules(&folder.join(&file.value))? {
            if rules.iter().any(|known| known.name == rule.name) {
                let message = format!("`{}` is in two of the files", rule.name);
                diagnostics.error(&file.place, message);
            } else {
                rules.push(rule);
            }
        }
    }
    Ok(rules)
}

fn resolve(
    case: Located<WrittenCase>,
    interval: Duration,
    rules: &[Arc<Named<RuleConfig>>],
    diagnostics: &mut Diagnostics,
) -> Case {
    let Located { value: case, place } = case;
    let mut series = Vec::new();
    for (key, values) in case.series {
        match series_of(&key) {
            Ok((name, tags)) => series.push(Series { name, tags, values: values.value.0 }),
            Err(message) => diagnostics.error(&values.place, message),
        }
    }
    let expected = case.expect.iter().map(|one| &one.value.alert);
    let told = case.actions.iter().flatten().map(|one| &one.value.alert);
    for alert in expected.chain(told) {
        if rules.iter().any(|rule| *rule.name == alert.value) {
            continue;
        }
        let known = rules.iter().map(|rule| &*rule.name);
        let guess = nearest(&alert.value, known)
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        diagnostics.error(&alert.place, format!("there is no [rule.{}]{guess}", alert.value));
    }
    Case {
        name: case.name,
        place,
        interval: case.interval.unwrap_or(interval),
        restarts: case.restarts,
        series,
        expect: case.expect,
        actions: case.actions,
    }
}

/// `target_up{target="gateway"}`: a name, and labels by equality.
fn series_of(text: &str) -> Result<(String, BTreeMap<String, String>), String> {
    let (selector, _) = expression::parse(&format!("{text} == 0"))
        .ok()
        .and_then(|parsed| parsed.threshold)
        .ok_or_else(|| format!("`{text}` is not a series; write name{{label=\"value\"}}"))?;
    let mut tags = BTreeMap::new();
    for matcher in selector.matchers {
        match matcher.pattern {
            Pattern::Promql(Equal(value)) => drop(tags.insert(matcher.label, value)),
            _ => return Err(format!("`{text}` is not one series: its labels need `=`")),
        }
    }
    Ok((selector.metric, tags))
}
