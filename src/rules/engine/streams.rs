//! The front for rules in PromQL that is more than a comparison of a series with a number: what
//! their streams yield becomes verdicts.
//!
//! An output is a set of labels. It has data while the stream says so: what a comparison leaves
//! out is there and does not hold, what has no samples behind it is missing. A rule that may not go
//! on, because it would be about too many series or takes too much memory, says so by an alert of
//! its own, with the label [`STOPPED`].

mod court;
mod question;

use std::sync::Arc;
use std::time::Duration;

use court::Court;
use question::{Level, Question};

use super::alerts::Alerts;
use super::index;
use super::known::Known;
use super::verdict::Verdict;
use crate::config::Named;
use crate::promql;
use crate::rules::config::OnMissing;
use crate::rules::plan::Plan;
use crate::rules::stream::network::Network;
use crate::rules::stream::{NO_MARK, Stream};
use crate::rules::{Labels, RuleConfig, Transition};
use crate::sample::{Batch, Catalogue, STALE, Series, SeriesId, Timestamp};

/// The label of an alert about its own rule: why it judges no more.
pub(super) const STOPPED: &str = "rule_stopped";

/// Most memory of one rule: of a window of a day at 10 s, 1,900 series. What takes more is stopped,
/// not the daemon.
const RULE_BYTES_MAX: usize = 256 << 20;

/// How often the memory of rules is measured.
const CENSUS_INTERVAL: Duration = Duration::from_secs(10);

/// All streams, and what their findings mean.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) network: Network,
    /// By a stream's id.
    questions: Vec<Option<Question>>,
    /// By a rule's place: its stream.
    of_rule: Vec<Option<u32>>,
    next_census: Timestamp,
}

/// What a rule takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// The rule's name.
    pub rule: Arc<str>,
    /// Series it keeps something of.
    pub series: usize,
    /// Bytes of memory.
    pub bytes: usize,
    /// Whether it was stopped.
    pub stopped: bool,
}

impl Streams {
    pub(super) fn new(catalogue: Arc<Catalogue>) -> Self {
        Self {
            network: Network::new(catalogue),
            questions: Vec::new(),
            of_rule: Vec::new(),
            next_census: Timestamp::MIN,
        }
    }

    /// Takes other rules; `moved` says where those it has are now. Rules that stay keep their
    /// streams.
    pub(super) fn set_rules(
        &mut self,
        rules: &[Arc<Named<RuleConfig>>],
        moved: &[Result<u32, &str>],
    ) {
        let mut of_rule: Vec<Option<u32>> = vec![None; rules.len()];
        for (old, stream) in self.of_rule.drain(..).enumerate() {
            let Some(stream) = stream else { continue };
            if let Ok(place) = moved[old] {
                of_rule[place as usize] = Some(stream);
            } else {
                self.network.remove(stream);
                self.questions[stream as usize] = None;
            }
        }
        for (place, rule) in rules.iter().enumerate() {
            let Plan::Expression(levels) = &rule.value.plan else { continue };
            let (mut roots, mut asked) = (Vec::new(), Vec::new());
            for level in levels {
                let mut root = |expr: &promql::Expr| {
                    roots.push(expr.clone());
                    roots.len() - 1
                };
                let when = root(&level.when.expr);
                let clear = level.clear.as_ref().map(|clear| root(&clear.expr));
                asked.push(Level { severity: level.severity, when, clear });
            }
            let stream =
                of_rule[place].unwrap_or_else(|| self.network.insert(roots, rule.value.max_series));
            of_rule[place] = Some(stream);
            if self.questions.len() <= stream as usize {
                self.questions.resize_with(stream as usize + 1, || None);
            }
            self.questions[stream as usize] = Some(Question {
                rule: index(place),
                levels: asked,
                watches: rule.value.on_missing == OnMissing::Fire,
                labels: rule.value.labels.clone(),
            });
        }
        self.of_rule = of_rule;
        self.network.relink();
    }

    pub(super) fn apply(&mut self, batch: &Batch, alerts: &mut Alerts, out: &mut Vec<Transition>) {
        let Self { network, questions, .. } = self;
        network.apply(batch, &mut Court { questions, alerts, out, ends: false });
    }

    /// Shows windows a batch of before the start. Nobody hears what it would have moved then.
    pub(super) fn replay(&mut self, batch: &Batch) {
        self.network.apply(batch, &mut unheard);
    }

    /// Judges every output as it stands by now.
    pub(super) fn resume(
        &mut self,
        now: Timestamp,
        alerts: &mut Alerts,
        out: &mut Vec<Transition>,
    ) {
        if self.network.is_idle() {
            return;
        }
        self.network.tick(now, &mut unheard);
        let Self { network, questions, .. } = self;
        let mut court = Court { questions, alerts, out, ends: false };
        for (id, question) in questions.iter().enumerate() {
            let Some((question, stream)) = question.as_ref().zip(network.get_mut(index(id))) else {
                continue;
            };
            let outputs: Vec<u32> = stream.outputs().collect();
            outputs.into_iter().for_each(|output| court.output(question, stream, output, now));
        }
    }

    pub(super) fn tick(&mut self, now: Timestamp, alerts: &mut Alerts, out: &mut Vec<Transition>) {
        if self.network.is_idle() {
            return;
        }
        if now >= self.next_census {
            self.next_census = now + CENSUS_INTERVAL;
            self.network.stop_above(RULE_BYTES_MAX);
        }
        let Self { network, questions, .. } = self;
        network.tick(now, &mut Court { questions, alerts, out, ends: false });
    }

    /// Series are gone: alerts whose data they were end, and are not missing.
    pub(super) fn forget(
        &mut self,
        catalogue: &Catalogue,
        is_gone: impl Fn(&Series) -> bool,
        now: Timestamp,
        alerts: &mut Alerts,
        out: &mut Vec<Transition>,
    ) {
        if self.network.is_idle() {
            return;
        }
        let all = (0..catalogue.len()).map(SeriesId::from_index);
        let gone = all.filter(|series| is_gone(&catalogue.series(*series)));
        let Self { network, questions, .. } = self;
        network.forget(gone, now, &mut Court { questions, alerts, out, ends: true });
    }

    /// Forgets alerts of its rules that are no longer kept.
    pub(super) fn let_go(&mut self, alerts: &mut Alerts) {
        let mut released = std::mem::take(&mut alerts.released);
        released.retain(|(rule, output)| {
            let Some(Some(stream)) = self.of_rule.get(*rule as usize) else { return true };
            if let Some(stream) = self.network.get_mut(*stream)
                && !alerts.is_of(stream.mark(*output), *rule, *output)
            {
                stream.set_mark(*output, NO_MARK);
            }
            false
        });
        alerts.released = released;
    }

    /// Makes the alert of a rule and an output, unless it is there; `None`: not a rule of streams.
    pub(super) fn adopt(
        &mut self,
        rule: u32,
        labels: &Labels,
        now: Timestamp,
        alerts: &mut Alerts,
    ) -> Option<u32> {
        let id = (*self.of_rule.get(rule as usize)?)?;
        let question = self.questions[id as usize].as_ref()?;
        let stream = self.network.get_mut(id)?;
        let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let output = stream.output(&promql::Labels::new(pairs));
        Some(question.alert(stream, output, now, alerts))
    }

    /// The labels of an output of a rule; `None`: not a rule of streams.
    pub(super) fn labels(&self, rule: u32, output: u32) -> Option<Labels> {
        let stream = self.network.get((*self.of_rule.get(rule as usize)?)?)?;
        Some(words(stream.labels(output)))
    }

    /// The outputs of a rule, as far as it has any.
    pub(super) fn about(&self, rule: u32) -> Vec<Known> {
        let id = self.of_rule.get(rule as usize).copied().flatten();
        let parts = id.and_then(|id| {
            let question = self.questions.get(id as usize)?.as_ref()?;
            Some((question, self.network.get(id)?))
        });
        let Some((question, stream)) = parts else { return Vec::new() };
        let known = |output: u32| {
            let mark = stream.mark(output);
            let value = match question.verdict(stream, output).0 {
                Verdict::Data { value, .. } => value.unwrap_or(f64::NAN),
                Verdict::Missing { .. } => STALE,
            };
            let mut labels = words(stream.labels(output));
            let series = stream.labels(output).to_string();
            labels.extend(question.labels.clone());
            let alert = (mark != NO_MARK).then_some(mark);
            Known { series, labels, value, last: stream.seen(output), lookback: None, alert }
        };
        stream.outputs().map(known).collect()
    }

    /// What rules take.
    pub(super) fn usage(&self, name: impl Fn(u32) -> Arc<str>) -> Vec<Usage> {
        let rules = self.of_rule.iter().enumerate();
        rules
            .filter_map(|(place, id)| {
                let stream = self.network.get((*id)?)?;
                Some(Usage {
                    rule: name(index(place)),
                    series: stream.series(),
                    bytes: stream.bytes(),
                    stopped: stream.stopped().is_some(),
                })
            })
            .collect()
    }
}

fn unheard(_: u32, stream: &mut Stream, _: Timestamp) {
    while stream.touched().is_some() {}
}

fn words(labels: &promql::Labels) -> Labels {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
