//! The output of monitoring plugins: text and performance data.
//!
//! The convention is the Monitoring Plugins Development Guidelines, "Performance data" and "Plugin
//! output for Nagios": `'label'=value[UOM];[warn];[crit];[min];[max]`, parted by spaces, after the
//! first `|` of the first line and after the first `|` of the text below it. What does not follow
//! it is left out and counted; the rest still counts.

use std::borrow::Cow;

/// A plugin's whole output.
#[derive(Debug, Clone, PartialEq)]
pub struct Output<'a> {
    /// The first line up to the `|`: the state in words.
    pub text: &'a str,
    /// The performance data that could be read.
    pub performance: Vec<Performance<'a>>,
    /// How many words of performance data could not.
    pub rejected: usize,
}

/// One value of the performance data, in its base unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Performance<'a> {
    /// What it is of.
    pub label: Cow<'a, str>,
    /// The unit of all values.
    pub unit: Unit<'a>,
    /// The value.
    pub value: f64,
    /// Above this a warning is due; only for ranges that have such an end.
    pub warning: Option<f64>,
    /// Above this it is critical; only for ranges that have such an end.
    pub critical: Option<f64>,
    /// The least the value can be.
    pub min: Option<f64>,
    /// The most the value can be.
    pub max: Option<f64>,
}

/// A base unit, as the end of a series' name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit<'a> {
    /// None written.
    None,
    /// From `s`, `ms`, `us`, `ns`.
    Seconds,
    /// From `B`, `KB`, `MB`, `GB`, `TB`, `PB` and `KiB`…; all of them powers of 1024.
    Bytes,
    /// From `%`, a hundredth of it.
    Ratio,
    /// From `c`, a counter.
    Total,
    /// Any other, as written: the value is not converted.
    Other(&'a str),
}

impl Unit<'_> {
    /// The end of a series' name; other units have none and go into a tag.
    #[must_use]
    pub const fn suffix(&self) -> &'static str {
        match self {
            Self::None | Self::Other(_) => "value",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
            Self::Total => "total",
        }
    }
}

/// Values of one output that are read; what is over counts as rejected. A check of every disk of a
/// large host has some hundred.
pub const PERFORMANCE_MAX: usize = 10_000;

/// Reads a plugin's output.
#[must_use]
pub fn parse(output: &str) -> Output<'_> {
    let (first, below) = output.split_once('\n').unwrap_or((output, ""));
    let (text, first) = first.split_once('|').unwrap_or((first, ""));
    let below = below.split_once('|').map_or("", |(_, data)| data);
    let mut found = Output { text: text.trim(), performance: Vec::new(), rejected: 0 };
    for data in [first, below] {
        let mut rest = data.trim_start();
        while !rest.is_empty() {
            let (word, after) = split_word(rest);
            match performance(word) {
                Some(value) if found.performance.len() < PERFORMANCE_MAX => {
                    found.performance.push(value);
                }
                _ => found.rejected += 1,
            }
            rest = after.trim_start();
        }
    }
    found
}

/// The first word, in which quoted spaces part nothing.
fn split_word(data: &str) -> (&str, &str) {
    let mut quoted = false;
    let end = data.char_indices().find(|(_, c)| {
        quoted ^= *c == '\'';
        !quoted && c.is_whitespace()
    });
    end.map_or((data, ""), |(at, _)| data.split_at(at))
}

fn performance(word: &str) -> Option<Performance<'_>> {
    let (label, rest) = split_label(word)?;
    let mut parts = rest.split(';');
    let (value, uom) = split_number(parts.next()?)?;
    let (unit, factor) = unit(uom);
    let mut range = || parts.next().and_then(range_end);
    let (warning, critical) = (range(), range());
    let mut bound = || parts.next().and_then(number);
    let (min, max) = (bound(), bound());
    let scaled = |value: Option<f64>| value.map(|v| v * factor).filter(|v| v.is_finite());
    Some(Performance {
        label,
        unit,
        value: scaled(Some(value))?,
        warning: scaled(warning),
        critical: scaled(critical),
        min: scaled(min),
        max: scaled(max),
    })
}

/// The label and what follows its `=`; in a quoted label, `''` is one quote.
fn split_label(word: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = word.strip_prefix('\'') else {
        let (label, rest) = word.split_once('=')?;
        return (!label.is_empty()).then_some((Cow::Borrowed(label), rest));
    };
    let bytes = quoted.as_bytes();
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == b'\'')?;
        if bytes.get(at + 1) != Some(&b'\'') {
            break;
        }
        at += 2;
    }
    let label = &quoted[..at];
    let rest = quoted[at + 1..].strip_prefix('=')?;
    let label = if label.contains("''") {
        Cow::Owned(label.replace("''", "'"))
    } else {
        Cow::Borrowed(label)
    };
    (!label.is_empty()).then_some((label, rest))
}

/// A number and the unit after it. `U` stands for a value that could not be determined: no value.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | ',');
    let mut end = text.find(|c| !numeric(c)).unwrap_or(text.len());
    // `1e3` is a number, `1e` would be one of a unit `e`.
    if let Some(exponent) = text[end..].strip_prefix(['e', 'E']) {
        let digits = exponent.trim_start_matches(['-', '+']);
        let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        if length > 0 && exponent.len() - digits.len() <= 1 {
            end = text.len() - digits.len() + length;
        }
    }
    Some((number(&text[..end])?, &text[end..]))
}

/// A finite number. Plugins that heed a locale write a comma for the point.
fn number(text: &str) -> Option<f64> {
    let parsed = if text.contains(',') { text.replace(',', ".").parse() } else { text.parse() };
    parsed.ok().filter(|number: &f64| number.is_finite())
}

/// The upper end of a range (`10`, `5:10`, `~:10`), if being above it is what alerts. `10:` has no
/// end, and `@5:10` alerts inside.
fn range_end(range: &str) -> Option<f64> {
    let range = range.trim();
    if range.starts_with('@') {
        return None;
    }
    number(range.split_once(':').map_or(range, |(_, end)| end))
}

fn unit(uom: &str) -> (Unit<'_>, f64) {
    // The guidelines leave open what a kilobyte is; check_disk, check_swap and the like, which are
    // where they come from, count in 1024.
    let bytes = |power: i32| (Unit::Bytes, 1024f64.powi(power));
    match uom {
        "" => (Unit::None, 1.0),
        "s" => (Unit::Seconds, 1.0),
        "ms" => (Unit::Seconds, 1e-3),
        "us" | "µs" => (Unit::Seconds, 1e-6),
        "ns" => (Unit::Seconds, 1e-9),
        "%" => (Unit::Ratio, 1e-2),
        "c" => (Unit::Total, 1.0),
        "B" => bytes(0),
        "kB" | "KB" | "KiB" => bytes(1),
        "MB" | "MiB" => bytes(2),
        "GB" | "GiB" => bytes(3),
        "TB" | "TiB" => bytes(4),
        "PB" | "PiB" => bytes(5),
        other => (Unit::Other(other), 1.0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(word: &str) -> Option<(String, f64, &'static str)> {
        let output = format!("OK | {word}");
        let parsed = parse(&output);
        assert_eq!(parsed.performance.len() + parsed.rejected, 1, "{word}");
        parsed.performance.first().map(|p| (p.label.to_string(), p.value, p.unit.suffix()))
    }

    #[test]
    fn the_output_of_real_plugins_is_read() {
        let ping = parse(
            "PING OK - Packet loss = 0%, RTA = 0.50 ms|rta=0.500000ms;100.000000;500.000000;0.000000 pl=25%;20;60;0\n",
        );
        assert_eq!(ping.text, "PING OK - Packet loss = 0%, RTA = 0.50 ms");
        let [rta, loss] = &ping.performance[..] else { panic!("{ping:?}") };
        assert_eq!((&*rta.label, rta.unit, rta.value), ("rta", Unit::Seconds, 0.0005));
        assert_eq!((rta.warning, rta.critical, rta.min), (Some(0.1), Some(0.5), Some(0.0)));
        assert_eq!((loss.value, loss.critical, loss.max), (0.25, Some(0.6), None));
        let disk = parse(
            "DISK WARNING - free space: / 100 MB\n| /=2643MB;5948;5958;0;5968\n/boot=68MB;88;93;0;98 \n",
        );
        let [root, boot] = &disk.performance[..] else { panic!("{disk:?}") };
        assert_eq!((root.unit, root.value), (Unit::Bytes, 2643.0 * 1_048_576.0));
        assert_eq!((&*boot.label, boot.max), ("/boot", Some(98.0 * 1_048_576.0)));
    }

    #[test]
    fn labels_may_be_quoted_and_units_are_based() {
        assert_eq!(one("'free mem'=1KB"), Some(("free mem".into(), 1024.0, "bytes")));
        assert_eq!(one("'it''s=a'=1c"), Some(("it's=a".into(), 1.0, "total")));
        assert_eq!(one("t=1,5s"), Some(("t".into(), 1.5, "seconds")));
        assert_eq!(one("t=-1e3"), Some(("t".into(), -1000.0, "value")));
        assert_eq!(one("temp=21.5C;25"), Some(("temp".into(), 21.5, "value")));
        for wrong in ["a", "=1", "''=1", "a=", "a=U", "a=nan", "a=inf", "'a=1", "a=1e999", "'a'1"] {
            assert_eq!(one(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_ranges_whose_end_alerts_have_a_threshold() {
        let critical = |range: &str| {
            let output = format!("| a=1;;{range}");
            parse(&output).performance[0].critical
        };
        assert_eq!(critical("10"), Some(10.0));
        assert_eq!(critical("5:10"), Some(10.0));
        assert_eq!(critical("~:10"), Some(10.0));
        assert_eq!(critical("10:"), None);
        assert_eq!(critical("@5:10"), None);
        assert_eq!(critical(""), None);
    }

    #[test]
    fn values_are_bounded_in_number() {
        let output = format!("OK |{}", " a=1".repeat(PERFORMANCE_MAX + 5));
        let parsed = parse(&output);
        assert_eq!((parsed.performance.len(), parsed.rejected), (PERFORMANCE_MAX, 5));
    }

    proptest! {
        #[test]
        fn any_output_is_read_without_panic_and_gives_finite_values(
            output in prop_oneof![".*", "[a-z]{0,5}\\|([-'=;:@%,.eEU0-9a-zB \n]{0,8}){0,12}"]
        ) {
            for p in parse(&output).performance {
                prop_assert!(!p.label.is_empty());
                for value in [Some(p.value), p.warning, p.critical, p.min, p.max] {
                    prop_assert!(value.is_none_or(f64::is_finite));
                }
            }
        }

        #[test]
        fn what_is_written_by_the_rules_is_read_back(
            label in "[^\r\n|]{1,20}",
            value in -1e12..1e12f64,
        ) {
            let output = format!("OK | '{}'={value};1:2;3;4;5", label.replace('\'', "''"));
            let parsed = parse(&output);
            prop_assert_eq!(parsed.rejected, 0);
            let p = &parsed.performance[0];
            prop_assert_eq!((&*p.label, p.value, p.warning), (&*label, value, Some(2.0)));
            prop_assert_eq!((p.critical, p.min, p.max), (Some(3.0), Some(4.0), Some(5.0)));
        }
    }
}
