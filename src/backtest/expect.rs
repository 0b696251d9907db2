//! What is expected of a backtest, so that it can fail: `none`, `fired=2`, `disk-full>=1`.

use std::fmt;
use std::str::FromStr;

use super::Outcome;
use crate::config::diagnostic::nearest;

/// What is counted where no rule is named: alerts of all rules.
const ALL: &str = "fired";

/// How many alerts of which rules are expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    written: String,
    /// `None`: all rules together.
    rule: Option<String>,
    op: Op,
    count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// The longer ones first, for they begin like others.
const OPS: [(&str, Op); 7] = [
    (">=", Op::AtLeast),
    ("<=", Op::AtMost),
    ("!=", Op::NotEqual),
    ("==", Op::Equal),
    ("=", Op::Equal),
    (">", Op::Above),
    ("<", Op::Below),
];

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not such as none, {ALL}=2, or NAME>=1 with the name of a rule");
        if text.trim() == "none" {
            return Ok(Self { written: text.into(), rule: None, op: Op::Equal, count: 0 });
        }
        let at = text.find(['=', '!', '<', '>']).ok_or_else(wrong)?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let (sign, op) = OPS.iter().find(|(sign, _)| rest.starts_with(sign)).ok_or_else(wrong)?;
        let count = rest[sign.len()..].trim().parse().map_err(|_| wrong())?;
        if name.is_empty() {
            return Err(wrong());
        }
        let rule = Some(name.to_owned()).filter(|name| name != ALL);
        Ok(Self { written: text.trim().to_owned(), rule, op: *op, count })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Expectation {
    /// Whether the rule it names is one of these.
    ///
    /// # Errors
    /// It is not; which it may mean is said.
    pub fn check<'a>(&self, rules: impl Iterator<Item = &'a str> + Clone) -> Result<(), String> {
        let Some(rule) = &self.rule else { return Ok(()) };
        if rules.clone().any(|known| known == rule) {
            return Ok(());
        }
        let guess = nearest(rule, rules.chain([ALL]))
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Err(format!("`--expect {self}`: there is no rule `{rule}`{guess}"))
    }

    /// How many alerts there were of what it is about.
    #[must_use]
    pub fn seen(&self, outcome: &Outcome) -> usize {
        match &self.rule {
            None => outcome.total().alerts,
            Some(rule) => outcome.rules.get(rule.as_str()).map_or(0, |tally| tally.alerts),
        }
    }

    /// Whether that is what is expected.
    #[must_use]
    pub fn is_met(&self, outcome: &Outcome) -> bool {
        let seen = self.seen(outcome);
        match self.op {
            Op::Equal => seen == self.count,
            Op::NotEqual => seen != self.count,
            Op::AtLeast => seen >= self.count,
            Op::AtMost => seen <= self.count,
            Op::Above => seen > self.count,
            Op::Below => seen < self.count,
        }
    }

    /// What was seen instead, with the rules it was of.
    #[must_use]
    pub fn unmet(&self, outcome: &Outcome) -> String {
        let is_meant = |name: &str| self.rule.as_ref().is_none_or(|rule| rule == name);
        let rules = outcome.rules.iter().filter(|(name, one)| one.alerts > 0 && is_meant(name));
        let of_each: Vec<_> =
            rules.map(|(name, tally)| format!("{name} {}", tally.alerts)).collect();
        let alerts = crate::config::diagnostic::count(self.seen(outcome), "alert");
        let of = if self.rule.is_some() || of_each.is_empty() {
            String::new()
        } else {
            format!(" ({})", of_each.join(", "))
        };
        format!("expected {self}, saw {alerts}{of}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::Tally;

    fn outcome() -> Outcome {
        let tally = |alerts| Tally { alerts, ..Tally::default() };
        let rules = [("disk_full".into(), tally(2)), ("up".into(), tally(0))];
        Outcome { rules: rules.into(), ..Outcome::default() }
    }

    #[test]
    fn expectations_are_met_or_say_what_was_seen() {
        let outcome = outcome();
        for (text, is_met) in [
            ("none", false),
            ("fired=2", true),
            ("fired == 2", true),
            ("fired != 2", false),
            ("disk_full>=1", true),
            ("disk_full > 2", false),
            ("disk_full<=2", true),
            ("up < 1", true),
            ("up=0", true),
        ] {
            let one: Expectation = text.parse().unwrap();
            assert_eq!(one.is_met(&outcome), is_met, "{text}");
            assert_eq!(one.to_string(), text);
        }
        let none: Expectation = "none".parse().unwrap();
        assert_eq!(none.unmet(&outcome), "expected none, saw 2 alerts (disk_full 2)");
        let rule: Expectation = "up=1".parse().unwrap();
        assert_eq!(rule.unmet(&outcome), "expected up=1, saw 0 alerts");
    }

    #[test]
    fn what_is_no_expectation_is_refused() {
        for text in ["", "fired", "fired=", "=2", "fired~2", "fired=-1", "fired=x", "fired=!2"] {
            assert!(text.parse::<Expectation>().is_err(), "{text}");
        }
        let one: Expectation = "disk-full=1".parse().unwrap();
        let error = one.check(["disk_full", "up"].into_iter()).unwrap_err();
        assert!(error.ends_with("no rule `disk-full`; did you mean `disk_full`?"), "{error}");
        assert!(one.check(["disk-full"].into_iter()).is_ok());
    }
}
