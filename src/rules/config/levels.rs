//! One plan of whatever form a rule is written in.

use super::condition::{Asked, Compared, Keys, SHORT_KEYS};
use super::{Severity, Written, is_metric_name};
use crate::config::Located;
use crate::config::read::Table;
use crate::rules::plan::{self, LabelMatcher, Level, Pattern, Plan, Selector, Threshold};

const SAYS_ALL: &str = "PromQL says it all: leave out `metric`, or use the short form";

impl Written {
    /// Both forms become one plan.
    pub(super) fn plan(&self, keys: &Keys, table: &mut Table<'_, '_, '_>) -> Option<Plan> {
        // A severity that could not be read has said so.
        if table.has("warning") || table.has("critical") {
            return self.severities(table);
        }
        let asked = match (&self.metric, &keys.when) {
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
                keys.short(table)?
            }
            (None, Some(when)) => keys.long(when, table)?,
        };
        let severity = self.severity;
        if let Some(Compared { selector: own, when, clear }) = asked.compared {
            let selector = own.or_else(|| self.metric.as_ref().map(|m| self.selector(m)))?;
            let levels = vec![Level { severity, when, clear }];
            return Some(Plan::Threshold(Threshold { selector, levels }));
        }
        let (when, clear) = asked.written?;
        Some(Plan::Expression(vec![plan::Asked { severity, when, clear }]))
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
        let both = [
            ("warning", Severity::Warning, &self.warning),
            ("critical", Severity::Critical, &self.critical),
        ];
        if self.is_expression() {
            let levels = both.into_iter().filter_map(|(_, severity, asked)| {
                let (when, clear) = asked.as_ref()?.written.clone()?;
                Some(plan::Asked { severity, when, clear })
            });
            return Some(Plan::Expression(levels.collect())).filter(|_| fine);
        }
        let mut levels: Vec<Level> = Vec::new();
        for (key, severity, asked) in both {
            let Some(Asked { compared, .. }) = asked else { continue };
            let Some(Compared { selector: own, when, clear }) = compared else {
                table.error(key, SAYS_ALL);
                fine = false;
                continue;
            };
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
        let plan = Threshold { selector: selector?, levels };
        (fine && !plan.levels.is_empty()).then_some(Plan::Threshold(plan))
    }

    /// Whether a severity is more than a comparison with numbers of the same series as the other.
    fn is_expression(&self) -> bool {
        let asked = [&self.warning, &self.critical].into_iter().flatten();
        let mut subjects = asked
            .clone()
            .map(|one| one.compared.as_ref().and_then(|compared| compared.selector.as_ref()));
        let first = subjects.next();
        let differ = subjects.any(|other| Some(other) != first) || first == Some(None);
        self.metric.is_none() && asked.clone().all(|one| one.written.is_some()) && differ
    }

    /// What is wrong with what a severity is about; `known` is what the rule is about so far.
    fn wrong_subject(
        &self,
        known: &mut Option<Selector>,
        own: Option<&Selector>,
    ) -> Option<String> {
        match (&self.metric, own) {
            (Some(_), Some(_)) => Some(SAYS_ALL.to_owned()),
            (Some(_), None) => None,
            (None, None) => Some("needs `metric` in the rule, or PromQL".to_owned()),
            (None, Some(own)) => {
                *known = Some(own.clone());
                None
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
