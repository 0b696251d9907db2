//! One plan of whatever form a rule is written in.

use super::condition::{Asked, Keys, SHORT_KEYS};
use super::{Severity, Written, is_metric_name};
use crate::config::Located;
use crate::config::read::Table;
use crate::rules::plan::{LabelMatcher, Level, Pattern, Plan, Selector};

impl Written {
    /// Both forms become one plan.
    pub(super) fn plan(&self, keys: &Keys, table: &mut Table<'_, '_, '_>) -> Option<Plan> {
        // A severity that could not be read has said so.
        if table.has("warning") || table.has("critical") {
            return self.severities(table);
        }
        let (selector, asked) = match (&self.metric, &keys.when) {
            (Some(_), Some(when)) => {
                let message = "`when` says it all: leave out `metric`, or use the short form";
                table.cx.error(when.place.span.clone(), message);
                return None;
            }
            (None, None) => {
                let message =
                    format!("[{}] needs `metric` with a condition, or `when`", table.name());
                table.cx.error(table.span(), message);
                return None;
            }
            (Some(metric), None) => {
                if keys.clear.is_none() {
                    check_metric(metric, table)?;
                }
                (Some(self.selector(metric)), keys.short(table)?)
            }
            (None, Some(when)) => (None, keys.long(when, table)?),
        };
        let Asked { selector: own, when, clear } = asked;
        let level = Level { severity: self.severity, when, clear };
        Some(Plan { selector: own.or(selector)?, levels: vec![level] })
    }

    /// `warning` and `critical` in one rule.
    fn severities(&self, table: &mut Table<'_, '_, '_>) -> Option<Plan> {
        let mut fine = true;
        for key in SHORT_KEYS.into_iter().skip(1).chain(["when", "clear"]) {
            if table.has(key) {
                let message = format!("`{key}` goes into `warning` or `critical` here");
                table.error(key, message);
                fine = false;
            }
        }
        if table.has("severity") {
            table.error("severity", "the keys `warning` and `critical` say how bad it is");
            fine = false;
        }
        let mut selector = match &self.metric {
            Some(metric) => {
                check_metric(metric, table)?;
                Some(self.selector(metric))
            }
            None if table.has("match") => {
                table.error("match", "`match` belongs to the short form, and there is no `metric`");
                return None;
            }
            None => None,
        };
        let mut levels: Vec<Level> = Vec::new();
        for (key, severity, asked) in [
            ("warning", Severity::Warning, &self.warning),
            ("critical", Severity::Critical, &self.critical),
        ] {
            let Some(Asked { selector: own, when, clear }) = asked else { continue };
            let wrong = self.wrong_subject(&mut selector, own.as_ref()).or_else(|| {
                let milder = levels.iter().find(|milder| !when.implies(milder.when))?;
                let Level { severity, when: mild, .. } = milder;
                let severity = severity.as_str();
                Some(format!("where this holds, `{severity}` (`{mild}`) must hold as well"))
            });
            if let Some(message) = wrong {
                table.error(key, message);
                fine = false;
            }
            levels.push(Level { severity, when: *when, clear: *clear });
        }
        Some(Plan { selector: selector?, levels }).filter(|plan| fine && !plan.levels.is_empty())
    }

    /// What is wrong with what a severity is about; `known` is what the rule is about so far.
    fn wrong_subject(
        &self,
        known: &mut Option<Selector>,
        own: Option<&Selector>,
    ) -> Option<String> {
        match (&self.metric, own) {
            (Some(_), Some(_)) => {
                Some("PromQL says it all: leave out `metric`, or use the short form".to_owned())
            }
            (Some(_), None) => None,
            (None, None) => Some("needs `metric` in the rule, or PromQL".to_owned()),
            (None, Some(own)) => {
                let known = known.get_or_insert_with(|| own.clone());
                (own != known)
                    .then(|| format!("for now it must be about the same series, `{known}`"))
            }
        }
    }

    fn selector(&self, metric: &Located<String>) -> Selector {
        let matchers = self.r#match.iter().map(|(label, glob)| LabelMatcher {
            label: label.clone(),
            pattern: Pattern::Glob(glob.clone()),
        });
        Selector { metric: metric.value.clone(), matchers: matchers.collect() }
    }
}

fn check_metric(metric: &Located<String>, table: &mut Table<'_, '_, '_>) -> Option<()> {
    if is_metric_name(&metric.value) {
        return Some(());
    }
    let message = format!(
        "`{}` is not the name of a series; it is `measurement_field`, and labels go into `match`",
        metric.value
    );
    table.error("metric", message);
    None
}
