//! Runs rule tests: series written out, virtual time, and what is expected of the alerts.
//!
//! ```toml
//! # gateway.test.toml tests gateway.toml beside it, or what `rules` names.
//! interval = "10s"                       # from one sample to the next
//! acts = ["fan-on"]                      # actions that change the world instead of telling people
//!
//! [[test]]
//! name = "a silent gateway alerts"
//! series = { 'target_up{target="gateway"}' = "1x5 0x10 _x3 stale" }
//! expect = [
//!     { at = "65s", alert = "gateway-down", state = "pending" },
//!     { at = "70s", alert = "gateway-down", state = "firing", labels = { target = "gateway" }, value = 0 },
//! ]
//! actions = [{ at = "65s", action = "ops", alert = "gateway-down", state = "firing" }]
//! ```
//!
//! Expected of an alert may also be its `severity`, whether it is `flapping` or `held_back` by what it
//! depends on, its `reason` (a part of it), `summary`, `description` and the `count` of such alerts; of
//! an action its `severity` and how many alerts it names as `affected`. `restarts = ["45s"]` kills the
//! daemon and starts it again.
//!
//! Series are in promtool's notation (see [`notation`]). At each time all samples of that time are
//! judged first, then timers, then expectations. It is the engine the daemon runs, and nothing
//! else: no action is done, no file but those named is read.

mod expected;
pub mod notation;
mod read;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use expected::{clock, show_alert, show_transition};
use read::{Case, Expected, Moment, TestFile};
pub use report::{Failure, FileReport, find};

use super::{Alert, Course, Listener, Notify, RuleConfig, Saved, Transition};
use crate::config::{Diagnostics, Located, Named};
use crate::sample::{Batch, Catalogue, Sample, SeriesId, Timestamp};

/// Runs the tests of a file.
///
/// # Errors
/// Every mistake in the file, or in the rules it tests.
pub fn run(path: &Path) -> Result<FileReport, Diagnostics> {
    let TestFile { rules, cases, acts, diagnostics } = read::read(path)?;
    let mut report = FileReport { path: path.to_owned(), passed: 0, failed: 0, failures: vec![] };
    for case in &cases {
        let failures = Run::new(case, &rules, &acts, &diagnostics).run();
        if failures.is_empty() {
            report.passed += 1;
        } else {
            report.failed += 1;
            report.failures.extend(failures);
        }
    }
    Ok(report)
}

/// One test under way.
struct Run<'a> {
    case: &'a Case,
    acts: &'a [String],
    diagnostics: &'a Diagnostics,
    rules: &'a [Arc<Named<RuleConfig>>],
    catalogue: Arc<Catalogue>,
    course: Course,
    /// What survives a restart.
    kept: BTreeMap<Arc<str>, Saved>,
    series: Vec<(String, SeriesId, &'a [Option<f64>])>,
    /// All that has happened.
    history: Vec<Transition>,
    failures: Vec<Failure>,
}

impl<'a> Run<'a> {
    fn new(
        case: &'a Case,
        rules: &'a [Arc<Named<RuleConfig>>],
        acts: &'a [String],
        diagnostics: &'a Diagnostics,
    ) -> Self {
        let catalogue = Arc::new(Catalogue::default());
        let intern = |one: &'a read::Series| {
            let tags: Vec<_> = one.tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            // Rules know the whole name only, so it may be parted anywhere.
            let (measurement, field) = one.name.split_once('_').unwrap_or((&one.name, ""));
            let target = one.tags.get("target").cloned().unwrap_or_default();
            (target, catalogue.intern(measurement, field, &tags), one.values.as_slice())
        };
        let series = case.series.iter().map(intern).collect();
        let course = Course::new(catalogue.clone(), rules.to_vec());
        Self {
            case,
            acts,
            diagnostics,
            rules,
            catalogue,
            course,
            kept: BTreeMap::new(),
            series,
            history: vec![],
            failures: vec![],
        }
    }

    fn run(mut self) -> Vec<Failure> {
        let steps = self.series.iter().map(|(.., values)| values.len()).max().unwrap_or(0);
        let mut expected: Vec<_> = self.case.expect.iter().collect();
        expected.sort_by_key(|one| one.value.at);
        let mut expected = expected.into_iter().peekable();
        for step in 0..steps {
            let now = Timestamp::default() + self.case.interval * u32::try_from(step).unwrap_or(0);
            while let Some(next) = expected.next_if(|next| next.value.time() < now) {
                self.check(next);
            }
            for batch in self.batches(step, now) {
                self.course.judge(&batch, &mut self.history);
            }
            let end = now + self.case.interval;
            let due = |at: &&Moment| (now..end).contains(&(Timestamp::default() + at.0));
            for at in self.case.restarts.iter().filter(due) {
                self.restart(Timestamp::default() + at.0);
            }
        }
        for last in expected {
            self.check(last);
        }
        self.check_actions();
        self.failures
    }

    /// The daemon is killed and starts again.
    fn restart(&mut self, now: Timestamp) {
        self.tick(now);
        for (key, saved) in self.course.engine_mut().unsaved() {
            match saved {
                Some(saved) => drop(self.kept.insert(key, saved)),
                None => drop(self.kept.remove(&key)),
            }
        }
        self.course = Course::new(self.catalogue.clone(), self.rules.to_vec());
        self.course.begin(self.kept.values().cloned().collect(), now, &mut self.history);
    }

    fn tick(&mut self, now: Timestamp) {
        self.course.pass(now, &mut self.history);
    }

    /// What is read at one step, by target.
    fn batches(&self, step: usize, time: Timestamp) -> Vec<Batch> {
        let mut batches: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
        for (target, series, values) in &self.series {
            if let Some(Some(value)) = values.get(step) {
                let sample = Sample { series: *series, value: *value };
                batches.entry(target).or_default().push(sample);
            }
        }
        let batch = |(target, samples): (&str, _)| Batch { target: target.into(), time, samples };
        batches.into_iter().map(batch).collect()
    }

    fn check(&mut self, located: &Located<Expected>) {
        let expected = &located.value;
        self.tick(expected.time());
        let about: Vec<Alert> = self
            .course
            .engine()
            .alerts()
            .into_iter()
            .filter(|alert| {
                alert.rule.name == expected.alert.value.as_str().into()
                    && expected.labels.iter().all(|(k, v)| alert.labels.get(k) == Some(v))
            })
            .collect();
        if !expected.is_met(&about) {
            let found = if about.is_empty() {
                "no alert".to_owned()
            } else {
                about.iter().map(show_alert).collect::<Vec<_>>().join("; ")
            };
            let history = self.history_of(&expected.alert.value);
            self.fail(located.place.clone(), expected.to_string(), found, history);
        }
    }

    /// What the dispatcher would be given, in order, against what is written, if it is.
    fn check_actions(&mut self) {
        let Some(expected) = &self.case.actions else { return };
        let mut sent = Vec::new();
        for transition in self.history.iter().filter(|one| one.notify != Notify::Nobody) {
            let like = |name: &str| Listener::that(self.acts.iter().any(|acts| acts == name));
            for action in transition.told(like) {
                sent.push((action.to_owned(), transition.clone()));
            }
        }
        sent.sort_by_key(|(_, transition)| transition.at);
        let show = |(action, t): &(String, Transition)| {
            format!("{action} at {} ({} {})", clock(t.at), t.alert.rule.name, t.alert.state)
        };
        let mut left: Vec<_> = sent.iter().collect();
        for one in expected {
            match left.iter().position(|(action, t)| one.value.is_met(action, t)) {
                Some(place) => drop(left.remove(place)),
                None => {
                    let found = sent.iter().map(show).collect::<Vec<_>>().join("; ");
                    let found = if found.is_empty() { "nothing sent".into() } else { found };
                    let history = self.history_of(&one.value.alert.value);
                    self.fail(one.place.clone(), one.value.to_string(), found, history);
                    return;
                }
            }
        }
        if let Some(extra) = left.first() {
            let (place, found) = (self.case.place.clone(), show(extra));
            let history = self.history_of(&extra.1.alert.rule.name);
            self.fail(place, "no action but those listed".into(), found, history);
        }
    }

    fn history_of(&self, rule: &str) -> Vec<String> {
        let of_rule = self.history.iter().filter(|one| &*one.alert.rule.name == rule);
        of_rule.map(show_transition).collect()
    }

    fn fail(
        &mut self,
        place: crate::config::Place,
        expected: String,
        found: String,
        history: Vec<String>,
    ) {
        let (line, _) = self.diagnostics.line_column(&place);
        let test = self.case.name.clone();
        self.failures.push(Failure { line, test, expected, found, history });
    }
}
