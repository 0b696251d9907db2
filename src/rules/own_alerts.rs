//! A rule about alerts must not be about its own: it would keep itself firing.
//!
//! A selector that may mean `ALERTS` or `ALERTS_FOR_STATE` leaves out those of the rule it stands
//! in. One that asks for nothing else is a mistake.

use super::plan::{LabelMatcher, Plan};
use super::series::{ALERTS, is_of_alerts};
use crate::promql::labels::NAME;
use crate::promql::selector::{Matcher, Pattern, Selector};
use crate::promql::{Expr, ExprKind};
use crate::rules::plan;

/// The label that names the rule of an alert.
const ALERTNAME: &str = "alertname";

/// The names of the series that alerts are written as.
fn series() -> [String; 2] {
    [ALERTS.to_owned(), format!("{ALERTS}_FOR_STATE")]
}

/// Makes every expression of a rule leave out the rule's own alerts. (A comparison with a number
/// leaves them out where series are linked to rules.)
///
/// # Errors
/// A selector is about nothing else: what it says.
pub(super) fn leave_out(plan: &mut Plan, rule: &str) -> Result<(), String> {
    match plan {
        Plan::Threshold(one) => {
            let itself = plan::Pattern::Promql(Pattern::Equal(rule.to_owned()));
            let own =
                |matcher: &LabelMatcher| matcher.label == ALERTNAME && matcher.pattern == itself;
            let selector = &one.selector;
            if is_of_alerts(&selector.metric) && selector.matchers.iter().any(own) {
                return Err(selector.to_string());
            }
            Ok(())
        }
        Plan::Expression(levels) => {
            let written =
                levels.iter_mut().flat_map(|one| one.clear.iter_mut().chain([&mut one.when]));
            written.into_iter().try_for_each(|one| walk(&mut one.expr, rule))
        }
    }
}

fn walk(expr: &mut Expr, rule: &str) -> Result<(), String> {
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => Ok(()),
        ExprKind::Selector(selector) => exclude(selector, rule),
        ExprKind::Range(range) => exclude(&mut range.selector, rule),
        ExprKind::Subquery(subquery) => walk(&mut subquery.expr, rule),
        ExprKind::Negate(inner) => walk(inner, rule),
        ExprKind::Binary(binary) => {
            walk(&mut binary.left, rule)?;
            walk(&mut binary.right, rule)
        }
        ExprKind::Aggregate(aggregate) => {
            aggregate.parameter.iter_mut().try_for_each(|one| walk(one, rule))?;
            walk(&mut aggregate.expr, rule)
        }
        ExprKind::Call(call) => call.arguments.iter_mut().try_for_each(|one| walk(one, rule)),
    }
}

fn exclude(selector: &mut Selector, rule: &str) -> Result<(), String> {
    let named = |name: &String| {
        selector.name.as_ref().is_none_or(|own| own == name)
            && selector
                .matchers
                .iter()
                .filter(|matcher| matcher.label == NAME)
                .all(|matcher| matcher.pattern.matches(name))
    };
    if !series().iter().any(named) {
        return Ok(());
    }
    let about_names = || selector.matchers.iter().filter(|one| one.label == ALERTNAME);
    if about_names().any(|one| matches!(&one.pattern, Pattern::Equal(name) if name == rule)) {
        return Err(selector.to_string());
    }
    // What names another rule, or excludes this one, needs no more words.
    if about_names().all(|one| one.pattern.matches(rule)) {
        let pattern = Pattern::NotEqual(rule.to_owned());
        selector.matchers.push(Matcher { label: ALERTNAME.to_owned(), pattern });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::Loader;

    fn read(rule: &str) -> Result<String, String> {
        let text = format!("[rule.mine]\n{rule}\n");
        let loader = Loader { env: &|_| None };
        let read = loader.load_text(std::path::Path::new("t.toml"), &text);
        let plan = |config: crate::config::Config| {
            let expressions = config.rules[0].value.plan.expressions();
            expressions
                .into_iter()
                .map(|(.., expr)| expr.to_string())
                .collect::<Vec<_>>()
                .join("; ")
        };
        read.map(plan).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn a_rule_about_alerts_leaves_out_its_own() {
        for (rule, asks) in [
            ("when = 'count(ALERTS) > 3'", "count (ALERTS{alertname!=\"mine\"}) > 3"),
            (
                "when = 'sum(rate(ALERTS_FOR_STATE[5m])) > 3'\nclear = 'sum(ALERTS) < 1'",
                "sum (rate(ALERTS_FOR_STATE{alertname!=\"mine\"}[5m])) > 3; \
                 sum (ALERTS{alertname!=\"mine\"}) < 1",
            ),
            (
                "when = 'count({alertstate=\"firing\"}) > 3'",
                "count ({alertstate=\"firing\",alertname!=\"mine\"}) > 3",
            ),
            (
                "when = 'count(ALERTS{alertname=~\"m.*\"}) > 3'",
                "count (ALERTS{alertname=~\"m.*\",alertname!=\"mine\"}) > 3",
            ),
            // These are not about its own as they are.
            ("when = 'absent(ALERTS{alertname=\"other\"})'", "absent(ALERTS{alertname=\"other\"})"),
            ("when = 'count(x{a=\"b\"}) > 3'", "count (x{a=\"b\"}) > 3"),
        ] {
            assert_eq!(read(rule).as_deref(), Ok(asks), "{rule}");
        }
    }

    #[test]
    fn a_rule_about_its_own_alerts_alone_is_refused() {
        for rule in [
            "when = 'absent(ALERTS{alertname=\"mine\"})'",
            "when = 'ALERTS{alertname=\"mine\"} > 0'",
            "when = 'count(ALERTS) > 3'\nclear = 'max_over_time(ALERTS{alertname=\"mine\"}[5m:]) > 1'",
        ] {
            let wrong = read(rule).unwrap_err();
            assert!(wrong.contains("is about the rule's own alerts"), "{wrong}");
        }
    }
}
