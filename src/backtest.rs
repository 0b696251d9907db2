//! Rules over history: what would have fired, when, for how long, and who would have been told.
//!
//! A [source] gives batches in the order of time; each set of rules has an [engine](Course) of its
//! own, and all of them judge each batch in one pass. It begins as a daemon begins at that time:
//! rules that look back are shown what was before, and nothing is pending yet. No action is done,
//! and nothing but the source is read.

mod cadence;
pub mod expect;
pub mod record;
pub mod report;
pub mod source;
pub mod sweep;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cadence::Ids;
pub use cadence::{Cadence, Others};
use record::Record;
pub use record::{Fired, Outcome, Step, Tally};
use source::SourceError;

use crate::config::Named;
use crate::rules::{Course, Listener, RuleConfig, Selection, Transition};
use crate::sample::{Batch, Catalogue, Series, Timestamp};

/// Batches looked at before judging begins, to see how often targets are polled that nobody knows
/// of: some hundred polls of some hundred targets.
const LOOKAHEAD_BATCHES: usize = 50_000;

/// From one report of progress to the next: a fraction of a second at any speed there is.
const PROGRESS_SAMPLES: u64 = 100_000;

/// A rule as it is loaded.
pub type Rule = Arc<Named<RuleConfig>>;

/// One set of rules to judge by.
#[derive(Debug, Clone, Default)]
pub struct Contender {
    /// What is judged; rules others depend on among them.
    pub rules: Vec<Rule>,
    /// The names of those that are reported.
    pub reported: Vec<Arc<str>>,
}

/// What to judge, and from when to when.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The series of the source and of the rules.
    pub catalogue: Arc<Catalogue>,
    /// The sets of rules; all see the same samples.
    pub contenders: &'a [Contender],
    /// Judging begins here; `None`: with the first sample.
    pub from: Option<Timestamp>,
    /// Judging ends here; `None`: with the last sample.
    pub to: Option<Timestamp>,
    /// How often targets are polled.
    pub cadence: Cadence,
    /// The most alerts of a set of rules that are kept one by one.
    pub alerts_max: usize,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Samples judged.
    pub samples: u64,
    /// Batches judged.
    pub batches: u64,
    /// The time of the first sample, and of the last.
    pub span: Option<(Timestamp, Timestamp)>,
}

/// Looks on.
pub trait Watch {
    /// What actions are like, by name.
    fn like(&self, action: &str) -> Listener;

    /// How far it has come, every now and then.
    fn progress(&mut self, _progress: &Progress) {}

    /// An alert of a set of rules, by its place, has changed.
    fn transition(&mut self, _contender: usize, _transition: &Transition) {}
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// How much there was.
    pub progress: Progress,
    /// Series that were judged by any rule.
    pub series: usize,
    /// What each set of rules made of it.
    pub outcomes: Vec<Outcome>,
}

impl Plan<'_> {
    /// Which series the rules ask about. Alerts that are judged anew are not what they were: of
    /// those, what was recorded is left out.
    pub fn selection(&self) -> impl Fn(&Series) -> bool + use<> {
        let all = || self.contenders.iter().flat_map(|one| &one.rules);
        let asked = Selection::of_rules(all().map(|rule| &**rule));
        let names: Vec<Arc<str>> = all().map(|rule| rule.name.clone()).collect();
        move |series| {
            let is_ours = series.is_of_alerts()
                && series.tag("alertname").is_some_and(|own| names.iter().any(|n| **n == *own));
            !is_ours && asked.wants(series)
        }
    }

    /// Which names of series the rules ask about.
    pub fn names(&self) -> impl Fn(&str) -> bool + use<> {
        let all = self.contenders.iter().flat_map(|one| &one.rules);
        let asked = Selection::of_rules(all.map(|rule| &**rule));
        move |name| asked.wants_name(name)
    }

    /// From when on samples are needed: rules that look back see what was before.
    #[must_use]
    pub fn reads_from(&self) -> Option<Timestamp> {
        let rules = self.contenders.iter().flat_map(|one| &one.rules).cloned().collect();
        let engine = Course::new(self.catalogue.clone(), rules);
        let reach = engine.engine().reach().unwrap_or(Duration::ZERO);
        self.from.map(|from| from - reach)
    }

    /// Judges all a source has.
    ///
    /// # Errors
    /// The source cannot be read to its end.
    pub fn run<S>(&self, source: S, watch: &mut impl Watch) -> Result<Judged, SourceError>
    where
        S: IntoIterator<Item = Result<Batch, SourceError>>,
    {
        let mut source = source.into_iter();
        let mut pass = Pass::new(self);
        let mut ahead = VecDeque::new();
        if self.cadence.is_to_be_seen() {
            for batch in source.by_ref().take(LOOKAHEAD_BATCHES) {
                ahead.push_back(batch?);
            }
            pass.ids.see(&ahead);
        }
        for batch in ahead.into_iter().map(Ok).chain(source) {
            pass.take(&batch?, watch);
        }
        Ok(pass.finish(watch))
    }
}

/// One pass over the samples.
struct Pass<'a> {
    plan: &'a Plan<'a>,
    runs: Vec<Run>,
    ids: Ids,
    /// Which series concern which rules, those of all sets one after the other.
    asked: Selection,
    /// By series: whether it has been met.
    met: Vec<bool>,
    series: usize,
    has_begun: bool,
    progress: Progress,
}

/// One set of rules under way.
struct Run {
    course: Course,
    record: Record,
}

impl<'a> Pass<'a> {
    fn new(plan: &'a Plan<'a>) -> Self {
        let run = |one: &Contender| Run {
            course: Course::new(plan.catalogue.clone(), one.rules.clone()),
            record: Record::new(one, plan.alerts_max),
        };
        let rules = plan.contenders.iter().flat_map(|one| &one.rules);
        Self {
            plan,
            runs: plan.contenders.iter().map(run).collect(),
            ids: Ids::new(&plan.cadence, plan.catalogue.clone()),
            asked: Selection::of_rules(rules.map(|rule| &**rule)),
            met: Vec::new(),
            series: 0,
            has_begun: false,
            progress: Progress::default(),
        }
    }

    fn take(&mut self, batch: &Batch, watch: &mut impl Watch) {
        for sample in &batch.samples {
            if !self.met.get(sample.series.index()).is_some_and(|met| *met) {
                self.meet(sample.series);
            }
        }
        if self.plan.from.is_some_and(|from| batch.time < from) {
            self.runs.iter_mut().for_each(|run| run.course.engine_mut().replay(batch));
            return;
        }
        let Progress { samples, batches, span } = &mut self.progress;
        let reports = *samples / PROGRESS_SAMPLES;
        *samples += batch.samples.len() as u64;
        *batches += 1;
        let first = span.map_or(batch.time, |(first, _)| first);
        *span = Some((first, span.map_or(batch.time, |(_, last)| last.max(batch.time))));
        if *samples / PROGRESS_SAMPLES > reports {
            watch.progress(&self.progress);
        }
        if !self.has_begun {
            self.begin(self.plan.from.unwrap_or(batch.time.shifted(-1)), watch);
        }
        self.each(watch, |course, out| course.judge(batch, out));
    }

    /// What is known by now is what a daemon would have known at its start.
    fn begin(&mut self, from: Timestamp, watch: &mut impl Watch) {
        self.has_begun = true;
        let catalogue = self.plan.catalogue.clone();
        self.each(watch, |course, out| {
            course.write_alerts(catalogue.clone(), from);
            course.begin(Vec::new(), from, out);
        });
    }

    fn finish(mut self, watch: &mut impl Watch) -> Judged {
        let last = self.progress.span.map(|(_, last)| last);
        let end = self.plan.to.or(last).or(self.plan.from).unwrap_or_default();
        if !self.has_begun {
            self.begin(self.plan.from.unwrap_or(end), watch);
        }
        self.each(watch, |course, out| course.pass(end, out));
        watch.progress(&self.progress);
        let outcomes = self.runs.into_iter().map(|run| run.record.finish(end)).collect();
        Judged { progress: self.progress, series: self.series, outcomes }
    }

    fn each(
        &mut self,
        watch: &mut impl Watch,
        mut f: impl FnMut(&mut Course, &mut Vec<Transition>),
    ) {
        let mut out = Vec::new();
        for (place, run) in self.runs.iter_mut().enumerate() {
            f(&mut run.course, &mut out);
            for transition in out.drain(..) {
                watch.transition(place, &transition);
                run.record.note(&transition, |action| watch.like(action));
            }
        }
    }

    /// Takes note of a series when it is first seen.
    #[cold]
    fn meet(&mut self, id: crate::sample::SeriesId) {
        if self.met.len() <= id.index() {
            self.met.resize(id.index() + 1, false);
        }
        self.met[id.index()] = true;
        let series = self.plan.catalogue.series(id);
        let places = self.asked.rules_about(&series);
        self.series += usize::from(!places.is_empty());
        let mut places = places.into_iter().peekable();
        let mut before = 0;
        for (run, contender) in self.runs.iter_mut().zip(self.plan.contenders) {
            let after = before + contender.rules.len();
            while let Some(place) = places.next_if(|place| *place < after) {
                run.record.saw(&contender.rules[place - before].name);
            }
            before = after;
        }
        if let Some((target, interval)) = self.ids.interval(&series) {
            for run in &mut self.runs {
                run.course.engine_mut().polled_every(&target, interval);
            }
        }
    }
}

#[cfg(test)]
mod tests;
