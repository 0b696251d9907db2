//! `--set key=value`: what is set in which rules, and where there are several values, all
//! combinations of them.

use crate::config::Changes;

/// Combinations tried at most: each has an engine of its own, and nobody reads a longer table.
pub const COMBINATIONS_MAX: usize = 256;

/// A key of rules, and the values it is given in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// As written: `above`, or `rack-hot.above`.
    pub name: String,
    /// The values, as written; at least one.
    pub values: Vec<String>,
}

/// The values of one combination, by axis.
pub type Combination = Vec<(String, String)>;

/// Reads `key=value`, `key=value,value`; the same key twice is one axis.
///
/// # Errors
/// What is not such a text.
pub fn axes(written: &[String]) -> Result<Vec<Axis>, String> {
    let mut axes: Vec<Axis> = Vec::new();
    for one in written {
        let (name, values) = one
            .split_once('=')
            .map(|(name, values)| (name.trim(), split(values)))
            .filter(|(name, values)| !name.is_empty() && values.iter().all(|v| !v.is_empty()))
            .ok_or_else(|| {
                format!("`--set {one}` is not such as above=80, rack-hot.for=2m, or above=70,80,90")
            })?;
        match axes.iter_mut().find(|axis| axis.name == name) {
            Some(axis) => axis.values.extend(values),
            None => axes.push(Axis { name: name.to_owned(), values }),
        }
    }
    Ok(axes)
}

/// All combinations of the values, the last axis changing first; one without values where there is
/// nothing to set.
///
/// # Errors
/// More than [`COMBINATIONS_MAX`].
pub fn combinations(axes: &[Axis]) -> Result<Vec<Combination>, String> {
    let count = axes.iter().map(|axis| axis.values.len()).try_fold(1usize, usize::checked_mul);
    if count.is_none_or(|count| count > COMBINATIONS_MAX) {
        let shown: Vec<_> =
            axes.iter().map(|axis| format!("{} of {}", axis.values.len(), axis.name)).collect();
        return Err(format!(
            "too many combinations: {}; at most {COMBINATIONS_MAX} are tried at once",
            shown.join(" × ")
        ));
    }
    let mut all: Vec<Combination> = vec![Vec::new()];
    for axis in axes {
        let with = |one: &Combination| {
            let values = axis.values.iter();
            let with =
                values.map(|value| [&one[..], &[(axis.name.clone(), value.clone())]].concat());
            with.collect::<Vec<_>>()
        };
        all = all.iter().flat_map(with).collect();
    }
    Ok(all)
}

/// What a combination changes in rules of these names: `RULE.KEY` in that one, any other key in all.
#[must_use]
pub fn changes(combination: &Combination, rules: &[&str]) -> Changes {
    let mut changes = Changes::default();
    for (name, value) in combination {
        let of_rule = |rule: &&&str| {
            name.strip_prefix(**rule).is_some_and(|rest| rest.starts_with('.') && rest.len() > 1)
        };
        // Names may have dots, too: the longest that fits is meant.
        match rules.iter().filter(of_rule).max_by_key(|rule| rule.len()) {
            Some(rule) => changes.set(rule, &name[rule.len() + 1..], value),
            None => rules.iter().for_each(|rule| changes.set(rule, name, value)),
        }
    }
    changes
}

/// Splits at commas that are within neither quotes nor brackets.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut depth, mut quote) = (0usize, None);
    for c in text.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, '[' | '{' | '(') => depth += 1,
            (None, ']' | '}' | ')') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(written: &[&str]) -> Result<Vec<Axis>, String> {
        axes(&written.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn values_are_split_where_they_end() {
        for (written, values) in [
            ("above=80", vec!["80"]),
            ("above=70, 80,90", vec!["70", "80", "90"]),
            ("outside=[1,2],[3,4]", vec!["[1,2]", "[3,4]"]),
            ("summary=\"a, b\"", vec!["\"a, b\""]),
            ("when=sum by (a, b) (x) > 1", vec!["sum by (a, b) (x) > 1"]),
            ("when=x{a=\"1,2\"} == 0", vec!["x{a=\"1,2\"} == 0"]),
        ] {
            assert_eq!(read(&[written]).unwrap()[0].values, values, "{written}");
        }
        for wrong in ["above", "=80", "above=", "above=1,,2"] {
            assert!(read(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_combinations_are_tried_within_bounds() {
        let axes = read(&["above=1,2", "for=1m", "above=3", "r.for=5s,6s"]).unwrap();
        let all = combinations(&axes).unwrap();
        assert_eq!(all.len(), 6);
        let shown: Vec<_> = all[1].iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["above=1", "for=1m", "r.for=6s"]);
        assert_eq!(combinations(&[]).unwrap(), [Vec::new()]);
        let many = (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let axes = read(&[&format!("above={many}"), &format!("for={many}")]).unwrap();
        let error = combinations(&axes).unwrap_err();
        assert!(error.starts_with("too many combinations: 20 of above × 20 of for;"), "{error}");
    }

    #[test]
    fn a_key_is_of_one_rule_or_of_all() {
        let of = |name: &str| {
            let combination = vec![(name.to_owned(), "1".to_owned())];
            format!("{:?}", changes(&combination, &["a", "a.b", "c"]))
        };
        let mut expected = Changes::default();
        expected.set("a.b", "above", "1");
        assert_eq!(of("a.b.above"), format!("{expected:?}"));
        let mut expected = Changes::default();
        ["a", "a.b", "c"].iter().for_each(|rule| expected.set(rule, "critical.above", "1"));
        assert_eq!(of("critical.above"), format!("{expected:?}"));
    }
}
