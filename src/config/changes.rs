//! Keys of rules that are set on the command line, as if they were written in the file.
//!
//! They stand behind the end of each file's text, so that what is wrong with one is shown where it
//! is written, like any other mistake; its place is then called `--set`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostics, FileId, Place};

/// Which keys of which rules have other values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// `key = value` in TOML, each once.
    lines: Vec<String>,
    /// Rules, and places in `lines`; the last counts.
    all: Vec<(String, usize)>,
}

impl Changes {
    /// Sets a key of a rule. The value is TOML, or else a text: `80`, `2m`, `"a, b"`, `[1, 2]`.
    /// A key of a table within is written with a dot: `critical.above`.
    pub fn set(&mut self, rule: &str, key: &str, value: &str) {
        let value = value.trim();
        let line = match DeValue::parse(value) {
            Ok(_) => format!("{key} = {value}"),
            Err(_) => format!("{key} = {}", toml::Value::String(value.to_owned())),
        };
        let place = self.lines.iter().position(|known| *known == line).unwrap_or_else(|| {
            self.lines.push(line);
            self.lines.len() - 1
        });
        self.all.push((rule.to_owned(), place));
    }

    /// The text of a file with these behind it.
    pub(super) fn behind(&self, text: &str) -> String {
        format!("{text}\n{}", self.lines.join("\n"))
    }

    /// Each line where it stands [behind](Self::behind) so many bytes.
    pub(super) fn places(&self, bytes: usize) -> Vec<String> {
        let mut at = bytes + 1;
        let place = |line: &String| {
            let placed = " ".repeat(at) + line;
            at += line.len() + 1;
            placed
        };
        self.lines.iter().map(place).collect()
    }

    /// Puts the values into the rules of a file.
    pub(super) fn apply<'p>(
        &self,
        root: &mut DeTable<'p>,
        places: &'p [String],
        file: FileId,
        diagnostics: &mut Diagnostics,
    ) {
        let Some(DeValue::Table(rules)) = root.get_mut("rule").map(Spanned::get_mut) else {
            return;
        };
        for (rule, line) in &self.all {
            let Some(DeValue::Table(rule)) = rules.get_mut(rule.as_str()).map(Spanned::get_mut)
            else {
                continue;
            };
            let (read, errors) = DeTable::parse_recoverable(&places[*line]);
            for error in &errors {
                let place = Place { file, span: error.span().unwrap_or(0..0) };
                diagnostics.error(&place, error.message().replace('\n', "; "));
            }
            merge(rule, read.into_inner());
        }
    }
}

/// Puts what one table says over what another one says.
fn merge<'p>(under: &mut DeTable<'p>, over: DeTable<'p>) {
    for (key, value) in over {
        match (under.get_mut(&**key.get_ref()).map(Spanned::get_mut), value) {
            (Some(DeValue::Table(inner)), value) if value.get_ref().is_table() => {
                if let DeValue::Table(more) = value.into_inner() {
                    merge(inner, more);
                }
            }
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::Loader;
    use crate::rules::Severity;

    const RULES: &str = "[rule.hot]\nmetric = 'a_b'\nabove = 5\nclear_below = 4\nfor = '1m'\n\
         [rule.two]\nmetric = 'a_b'\nwarning = { above = 1 }\ncritical = { above = 3 }\n";

    fn load(changes: &[(&str, &str, &str)]) -> Result<String, String> {
        let mut all = Changes::default();
        changes.iter().for_each(|(rule, key, value)| all.set(rule, key, value));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        std::fs::write(&path, RULES).unwrap();
        let loader = Loader { env: &|_| None };
        let rules = loader.load_rule_files(std::slice::from_ref(&path), &all);
        let rules =
            rules.map_err(|wrong| wrong.to_string().replace(path.to_str().unwrap(), "R"))?;
        let shown = |rule: &crate::config::Named<crate::rules::RuleConfig>| {
            format!("{} {} {:?}", rule.name, rule.value.plan, rule.value.hold)
        };
        Ok(rules.iter().map(|rule| shown(rule)).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn what_is_set_stands_instead_of_what_is_written() {
        assert_eq!(load(&[]).unwrap(), "hot a_b > 5 60s; two a_b > 1 0ns");
        let set = [("hot", "above", "80"), ("hot", "for", "2m"), ("two", "warning.above", "0.5")];
        assert_eq!(load(&set).unwrap(), "hot a_b > 80 120s; two a_b > 0.5 0ns");
        let twice = [("hot", "for", "5s"), ("hot", "for", "7s")];
        assert!(load(&twice).unwrap().starts_with("hot a_b > 5 7s"));
        assert_eq!(load(&[("nope", "above", "80")]).unwrap(), load(&[]).unwrap());
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_is_set() {
        for (rule, key, value, message) in [
            ("hot", "above", "3", "R:4:15: must not be above the threshold, 3\n"),
            (
                "hot",
                "clear_below",
                "6",
                "--set:1:15: must not be above the threshold, 5\n 1 | clear_below = 6\n   |         \
                 \u{20}     ^\n",
            ),
            (
                "hot",
                "above",
                "x",
                "--set:1:9: expected a number, found a string\n 1 | above = \"x\"",
            ),
            (
                "hot",
                "abov",
                "3",
                "--set:1:1: unknown key `abov` in [rule.hot]; did you mean `above`?",
            ),
            ("hot", "for", "soon", "--set:1:7: "),
            ("hot", "a b", "1", "--set:1:"),
        ] {
            let error = load(&[(rule, key, value)]).unwrap_err();
            assert!(error.starts_with(message), "{key} = {value}: {error}");
        }
        let error = load(&[("two", "when", "a_b >< 1")]).unwrap_err();
        assert!(error.contains("--set:1:"), "{error}");
    }

    #[test]
    fn configurations_are_changed_too() {
        let mut changes = Changes::default();
        changes.set("r", "severity", "critical");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, "[rule.r]\nmetric = 'a_b'\nabove = 5\n").unwrap();
        let loader = Loader { env: &|_| None };
        let changed = loader.load_changed(Some(Path::new(&path)), &changes).unwrap();
        assert_eq!(changed.rules[0].value.plan.severity(), Severity::Critical);
        assert_eq!(changed.rules[0].value.hold, Duration::ZERO);
    }
}
