//! Makes verdicts of what streams find, and hands them to the alerts.

use super::{Question, STOPPED};
use crate::promql;
use crate::rules::Transition;
use crate::rules::engine::alerts::Alerts;
use crate::rules::engine::verdict::Verdict;
use crate::rules::stream::network::Judge;
use crate::rules::stream::{NO_MARK, Stopped, Stream};
use crate::sample::Timestamp;

/// Where a stream's findings go.
pub(super) struct Court<'a> {
    pub(super) questions: &'a [Option<Question>],
    pub(super) alerts: &'a mut Alerts,
    pub(super) out: &'a mut Vec<Transition>,
    /// Whether alerts without data end, for there will be no more.
    pub(super) ends: bool,
}

impl Judge for Court<'_> {
    fn judge(&mut self, id: u32, stream: &mut Stream, at: Timestamp) {
        let Some(Some(question)) = self.questions.get(id as usize) else { return };
        while let Some(output) = stream.touched() {
            self.output(question, stream, output, at);
        }
        if let Some(stopped) = stream.stopped() {
            self.stopped(question, stream, stopped, at);
        }
    }
}

impl Court<'_> {
    #[inline]
    pub(super) fn output(
        &mut self,
        question: &Question,
        stream: &mut Stream,
        output: u32,
        at: Timestamp,
    ) {
        let (mut verdict, matters) = question.verdict(stream, output);
        if let Verdict::Missing { since } = &mut verdict
            && *since == Timestamp::MIN
        {
            *since = at;
        }
        let mark = stream.mark(output);
        if mark == NO_MARK && !matters {
            return;
        }
        let alert = question.alert(stream, output, at, self.alerts);
        if self.ends && matches!(verdict, Verdict::Missing { .. }) {
            self.alerts.end(alert, at, "the target was removed", self.out);
            stream.set_mark(output, NO_MARK);
            return;
        }
        if !self.alerts.judge(alert, at, verdict, self.out) {
            stream.set_mark(output, NO_MARK);
        }
    }

    #[cold]
    fn stopped(&mut self, question: &Question, stream: &mut Stream, why: Stopped, at: Timestamp) {
        let (text, most) = match why {
            Stopped::Series { most } => (format!("about more than {most} series"), most),
            Stopped::Memory { most } => (format!("takes more than {} MiB", most >> 20), most),
        };
        let output = stream.output(&promql::Labels::new([(STOPPED, text.as_str())]));
        let severity = question.levels.last().map(|level| level.severity);
        let value = Some(most as f64);
        let verdict = Verdict::Data { value, holds: severity, stays: severity };
        let alert = question.alert(stream, output, at, self.alerts);
        self.alerts.judge(alert, at, verdict, self.out);
    }
}
