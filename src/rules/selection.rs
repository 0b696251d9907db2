//! Which series rules ask about, so that who reads history need not read the others.

use rustc_hash::FxHashMap;

use super::RuleConfig;
use super::plan::{self, Plan};
use super::series::{ALERTS, is_of_alerts};
use crate::config::Named;
use crate::promql::{self, Expr};
use crate::sample::{Series, TARGET_UP};

/// What rules ask about.
#[derive(Debug, Default)]
pub struct Selection {
    /// By the name of a series: the places of rules, and what each asks.
    by_name: FxHashMap<String, Vec<(usize, Asked)>>,
    /// What may be about any name.
    nameless: Vec<(usize, Asked)>,
    /// Whether targets are judged by what they depend on and by whether they answer.
    with_targets: bool,
}

#[derive(Debug)]
enum Asked {
    Threshold(plan::Selector),
    Expression(promql::Selector),
}

impl Asked {
    fn matches(&self, series: &Series) -> bool {
        match self {
            Self::Threshold(selector) => selector.matches(series),
            Self::Expression(selector) => selector.matches_series(series),
        }
    }
}

impl Selection {
    /// All that these rules ask about, and whether targets answer, which reasons and `depends_on`
    /// go by.
    pub fn of_rules<'a>(rules: impl IntoIterator<Item = &'a Named<RuleConfig>>) -> Self {
        let mut selection = Self::of_expressions_but(rules, |selection, place, threshold| {
            let asked = Asked::Threshold(threshold.selector.clone());
            selection.add(place, Some(threshold.selector.metric.clone()), asked);
        });
        selection.with_targets = true;
        selection
    }

    /// What those of these rules ask about that are more than comparisons with a number: what they
    /// saw before a restart, they must see again.
    pub fn of_expressions<'a>(rules: impl IntoIterator<Item = &'a Named<RuleConfig>>) -> Self {
        Self::of_expressions_but(rules, |_, _, _| ())
    }

    fn of_expressions_but<'a>(
        rules: impl IntoIterator<Item = &'a Named<RuleConfig>>,
        threshold: impl Fn(&mut Self, usize, &plan::Threshold),
    ) -> Self {
        let mut selection = Self::default();
        for (place, rule) in rules.into_iter().enumerate() {
            match &rule.value.plan {
                Plan::Threshold(one) => threshold(&mut selection, place, one),
                Plan::Expression(levels) => {
                    let written =
                        levels.iter().flat_map(|one| std::iter::once(&one.when).chain(&one.clear));
                    written.for_each(|written| selection.add_expression(place, &written.expr));
                }
            }
        }
        selection
    }

    fn add_expression(&mut self, place: usize, expr: &Expr) {
        if let Some(selector) = expr.as_selector() {
            self.add(place, selector.name.clone(), Asked::Expression(selector.clone()));
        }
        expr.children().into_iter().for_each(|child| self.add_expression(place, child));
    }

    fn add(&mut self, place: usize, name: Option<String>, asked: Asked) {
        let list = match name {
            Some(name) => self.by_name.entry(name).or_default(),
            None => &mut self.nameless,
        };
        list.push((place, asked));
    }

    /// The places of the rules that ask about a series, each once.
    #[must_use]
    pub fn rules_about(&self, series: &Series) -> Vec<usize> {
        let named = self.by_name.get(&series.name()).into_iter().flatten();
        let asked = named.chain(&self.nameless).filter(|(_, asked)| asked.matches(series));
        let mut places: Vec<_> = asked.map(|(place, _)| *place).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Whether a series matters to any rule.
    #[must_use]
    pub fn wants(&self, series: &Series) -> bool {
        (self.with_targets && series.is_named(TARGET_UP)) || !self.rules_about(series).is_empty()
    }

    /// Whether a series of this name may matter to any rule.
    #[must_use]
    pub fn wants_name(&self, name: &str) -> bool {
        (self.with_targets && name == TARGET_UP)
            || self.by_name.contains_key(name)
            || self.nameless.iter().any(|(_, asked)| match asked {
                Asked::Expression(selector) => selector.may_be_named(name),
                Asked::Threshold(_) => true,
            })
    }

    /// Whether any rule asks about alerts as series.
    #[must_use]
    pub fn wants_alerts(&self) -> bool {
        self.by_name.keys().any(|name| is_of_alerts(name)) || self.wants_name(ALERTS)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Loader;
    use crate::sample::Catalogue;

    const RULES: &str = "[rule.a]\nmetric = 'm_hot'\nmatch = { target = 'rack-*' }\nabove = 1\n\
         [rule.b]\nwhen = 'rate(m_x{kind=\"k\"}[5m]) / on (target) m_y > 1'\nclear = 'm_z == 0'\n\
         [rule.c]\nwhen = 'count({__name__=~\"n_.*\"}) > 3'\n";

    #[test]
    fn series_are_wanted_for_the_rules_that_ask_about_them() {
        let rules = Loader { env: &|_| None }.load_text(Path::new("t.toml"), RULES).unwrap().rules;
        let all = Selection::of_rules(rules.iter().map(|rule| &**rule));
        let some = Selection::of_expressions(rules.iter().map(|rule| &**rule));
        let catalogue = Catalogue::default();
        for (measurement, field, target, places, by_expression) in [
            ("m", "hot", "rack-1", vec![0], false),
            ("m", "hot", "shelf-1", vec![], false),
            ("m", "x", "t", vec![1], true),
            ("m", "y", "t", vec![1], true),
            ("m", "z", "t", vec![1], true),
            ("n", "q", "t", vec![2], true),
            ("o", "q", "t", vec![], false),
        ] {
            let tags = [("target", target), ("kind", "k")];
            let series = catalogue.series(catalogue.intern(measurement, field, &tags));
            assert_eq!(all.rules_about(&series), places, "{series}");
            assert_eq!(all.wants(&series), !places.is_empty(), "{series}");
            assert_eq!(some.wants(&series), by_expression, "{series}");
            assert!(all.wants_name(&series.name()) || places.is_empty(), "{series}");
        }
        let up = catalogue.series(catalogue.intern("target", "up", &[("target", "t")]));
        assert_eq!((all.wants(&up), some.wants(&up)), (true, false));
        assert!(!all.wants_alerts() && !all.wants_name("other"));
    }
}
