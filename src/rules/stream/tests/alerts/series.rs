//! Series that an expression's selectors mean and that its joins match.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::promql::expr::{Cardinality, Grouping, MatchLabels};
use crate::promql::labels::NAME;
use crate::promql::selector::{Anchored, Pattern, Selector};
use crate::promql::{Expr, ExprKind, Labels};
use crate::sample::{Catalogue, SeriesId};

/// A series.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) labels: Labels,
    /// The bucket of a histogram it is.
    pub(super) le: Option<f64>,
}

/// Bounds of histograms.
const BOUNDS: [&str; 6] = ["0.05", "1", "10", "100", "3600", "+Inf"];

/// The series for all selectors of an expression. All labels that anything is grouped or joined by
/// have one value everywhere, unless a selector asks for another.
pub(super) fn make(expr: &Expr) -> Vec<Made> {
    let (mut selectors, mut names) = (Vec::new(), BTreeSet::new());
    gather(expr, &mut selectors, &mut names);
    let mut made: Vec<Made> = Vec::new();
    for selector in &selectors {
        let name = selector.name.clone().unwrap_or_else(|| {
            let mut of_name = selector.matchers.iter().filter(|matcher| matcher.label == NAME);
            of_name.next().map_or_else(|| "x".to_owned(), |matcher| example(&matcher.pattern))
        });
        let mut labels: BTreeMap<String, String> =
            names.iter().map(|name| (name.clone(), "1".to_owned())).collect();
        labels.insert(NAME.to_owned(), name.clone());
        for matcher in selector.matchers.iter().filter(|matcher| matcher.label != NAME) {
            // Of two about one label the first that all are happy with.
            let known = labels.get(&matcher.label).map_or("", String::as_str);
            let own = selector.matchers.iter().filter(|other| other.label == matcher.label);
            if own.clone().all(|other| other.pattern.matches(known)) {
                continue;
            }
            let examples = own.clone().map(|other| example(&other.pattern));
            let fits = |text: &String| own.clone().all(|other| other.pattern.matches(text));
            if let Some(text) = examples.chain(["1".to_owned()]).find(fits) {
                labels.insert(matcher.label.clone(), text);
            }
        }
        let is_histogram = name.contains("bucket");
        let bounds: &[&str] = if is_histogram { &BOUNDS } else { &["1"] };
        for bound in bounds {
            if is_histogram && !selector.matchers.iter().any(|matcher| matcher.label == "le") {
                labels.insert("le".to_owned(), (*bound).to_owned());
            }
            let of_series = Labels::new(labels.iter().map(|(k, v)| (k.as_str(), v.as_str())));
            if made.iter().all(|known| known.labels != of_series) {
                let le = if is_histogram { labels.get("le") } else { None };
                let le = le.and_then(|le| le.parse().ok());
                made.push(Made { labels: of_series, le });
            }
        }
    }
    made
}

impl Made {
    pub(super) fn intern(&self, catalogue: &Arc<Catalogue>) -> SeriesId {
        let tags: Vec<(&str, &str)> =
            self.labels.iter().filter(|(name, _)| *name != NAME).collect();
        catalogue.intern(self.labels.name().unwrap_or_default(), "", &tags)
    }
}

fn gather<'a>(expr: &'a Expr, selectors: &mut Vec<&'a Selector>, names: &mut BTreeSet<String>) {
    match &expr.kind {
        ExprKind::Selector(selector) => selectors.push(selector),
        ExprKind::Range(range) => selectors.push(&range.selector),
        ExprKind::Aggregate(aggregate) => {
            if let Grouping::By(by) = &aggregate.grouping {
                names.extend(by.iter().filter(|name| *name != "le").cloned());
            }
        }
        ExprKind::Binary(binary) => {
            if let MatchLabels::On(on) = &binary.matching.on {
                names.extend(on.iter().cloned());
            }
            if let Cardinality::ManyToOne(more) | Cardinality::OneToMany(more) =
                &binary.matching.cardinality
            {
                names.extend(more.iter().cloned());
            }
        }
        _ => {}
    }
    expr.children().into_iter().for_each(|child| gather(child, selectors, names));
}

/// A value that a matcher likes.
fn example(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Equal(value) => value.clone(),
        Pattern::NotEqual(value) => format!("{value}x"),
        Pattern::Matches(regex) => of_regex(regex).unwrap_or_else(|| regex.as_str().to_owned()),
        Pattern::MatchesNot(_) => "zz".to_owned(),
    }
}

fn of_regex(regex: &Anchored) -> Option<String> {
    let plain = |text: &str| {
        let mut text = text.to_owned();
        for (part, by) in [
            (".*", ""),
            (".+", "a"),
            ("[0-9]+", "1"),
            ("[0-9]", "1"),
            ("\\d", "1"),
            ("[a-z]", "a"),
            ("..", "00"),
            ("?", ""),
            ("(", ""),
            (")", ""),
            ("^", ""),
            ("$", ""),
            ("\\.", "."),
            ("\\-", "-"),
            ("*", ""),
            ("+", ""),
        ] {
            text = text.replace(part, by);
        }
        text
    };
    let parts = regex.as_str().split('|').flat_map(|part| {
        let bare = part.trim_matches(['(', ')']);
        [part.to_owned(), bare.to_owned(), plain(part), plain(part).replace('.', "0")]
    });
    let whole = regex.as_str();
    let first_of_groups = first_alternatives(whole);
    let more = [plain(&first_of_groups), plain(&first_of_groups).replace('.', "0"), "500".into()];
    parts.chain(more).find(|text| !text.is_empty() && regex.regex().is_match(text))
}

/// The expression with only the first alternative of each group.
fn first_alternatives(regex: &str) -> String {
    let mut out = String::new();
    let (mut depth, mut skips) = (0_usize, None);
    for c in regex.chars() {
        match c {
            '(' => depth += 1,
            ')' => {
                if skips == Some(depth) {
                    skips = None;
                }
                depth = depth.saturating_sub(1);
            }
            '|' if skips.is_none() => skips = Some(depth),
            _ if skips.is_none() => out.push(c),
            _ => {}
        }
    }
    out
}
