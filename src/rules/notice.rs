//! What people and programs are told of a transition.

use super::{Alert, Audience, Labels, Notify, RuleConfig, Transition};
use crate::actions::{ActionConfig, Notice};
use crate::sample::Timestamp;
use crate::template::Template;

/// What an action is like, as far as it decides what the action is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Whether it changes the world instead of telling people.
    pub acts: bool,
    /// Whether it gets the end of alerts that only name it for their beginning.
    pub recoveries: bool,
}

impl Listener {
    /// One that is not configured otherwise: who hears of a problem hears of its end, and what
    /// changes the world runs only where it is named.
    #[must_use]
    pub const fn that(acts: bool) -> Self {
        Self { acts, recoveries: !acts }
    }
}

impl From<&ActionConfig> for Listener {
    fn from(action: &ActionConfig) -> Self {
        Self { acts: !action.kind.any().tells_people(), recoveries: action.recoveries }
    }
}

impl Transition {
    /// The actions that are to be told of it, by what each is like.
    pub fn told(&self, like: impl Fn(&str) -> Listener) -> Vec<&str> {
        let (named, implied) = match self.alert.rule.value.audience(self.alert.state) {
            Audience::Named(all) => (all, false),
            Audience::ThoseWhoTellPeople(all) => (all, true),
        };
        let is_told = |name: &&str| {
            let Listener { acts, recoveries } = like(name);
            let is_meant = match self.notify {
                Notify::Nobody => false,
                Notify::All => true,
                Notify::World => acts,
                Notify::People => !acts,
            };
            is_meant && (!implied || recoveries)
        };
        named.iter().map(|name| name.value.as_str()).filter(is_told).collect()
    }

    /// What actions are told. A template that cannot be rendered gives way to a plain text that
    /// says so: an alert is never lost to a misspelt label.
    #[must_use]
    pub fn notice(&self) -> Notice {
        self.alert.told(self.at, &self.affected)
    }
}

impl Alert {
    /// The alert as it stands, with its texts; `at` is when it was asked for.
    #[must_use]
    pub fn notice(&self, at: Timestamp) -> Notice {
        self.told(at, &[])
    }

    fn told(&self, at: Timestamp, affected: &[String]) -> Notice {
        let RuleConfig { summary, description, .. } = &self.rule.value;
        let mut notice = Notice {
            rule: self.rule.name.clone(),
            state: self.state,
            severity: self.severity,
            labels: self.labels.clone(),
            value: self.value,
            reason: self.reason.clone(),
            summary: String::new(),
            description: String::new(),
            flapping: self.flapping,
            affected: affected.to_vec(),
            since: self.since.to_string(),
            at: at.to_string(),
            fingerprint: shown_fingerprint(&self.rule.name, &self.labels),
        };
        let summary = text(summary.as_ref(), "summary", &notice);
        let texts = text(description.as_ref(), "description", &notice);
        notice.summary = summary.unwrap_or_else(|| plain(&notice));
        notice.description = texts.unwrap_or_default();
        let says_so = |text: &Template| text.variables().iter().any(|name| name == "affected");
        if !affected.is_empty() && !description.as_ref().is_some_and(says_so) {
            let gap = if notice.description.is_empty() { "" } else { "\n" };
            notice.description +=
                &format!("{gap}not told because of this: {}", affected.join(", "));
        }
        notice
    }
}

fn text(template: Option<&Template>, key: &str, notice: &Notice) -> Option<String> {
    let rendered = template?.render(notice);
    Some(rendered.unwrap_or_else(|error| format!("{} [its {key}: {error}]", plain(notice))))
}

/// `rack-hot firing: 36 > 35 (target="rack-1")`
fn plain(notice: &Notice) -> String {
    let labels: Vec<_> = notice.labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
    format!("{} {}: {} ({})", notice.rule, notice.state, notice.reason, labels.join(", "))
}

fn shown_fingerprint(rule: &str, labels: &Labels) -> String {
    format!("{:016x}", fingerprint(rule, labels))
}

/// Names an alert by its rule and labels, the same over restarts: FNV-1a, 64 bits, over the rule
/// and each label's name and value in order, each ended by a byte that UTF-8 does not have.
#[must_use]
pub fn fingerprint(rule: &str, labels: &Labels) -> u64 {
    let words = labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    hash(std::iter::once(rule).chain(words))
}

pub(super) fn hash<'a>(words: impl IntoIterator<Item = &'a str>) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    words
        .into_iter()
        .flat_map(|word| word.bytes().chain([0xff]))
        .fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_the_rule_and_every_label() {
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let one = fingerprint("r", &labels(&[("a", "1"), ("b", "2")]));
        assert_eq!(one, fingerprint("r", &labels(&[("b", "2"), ("a", "1")])));
        assert_ne!(one, fingerprint("s", &labels(&[("a", "1"), ("b", "2")])));
        assert_ne!(one, fingerprint("r", &labels(&[("a", "1b"), ("", "2")])));
        // Fixed for ever: alerts keep their names over upgrades.
        assert_eq!(fingerprint("r", &Labels::new()), 0x08db_c907_b57a_ab5e);
    }
}
