//! InfluxDB's line protocol, written, so that every server that speaks it reads the same.
//!
//! Servers differ in what a backslash means: to InfluxDB `\\` is two of them, to VictoriaMetrics
//! one, and before a separator it means an escape to both. And none has a way to write a newline.
//! So what cannot be written the same for all is replaced, and nothing a label holds can end a
//! line or begin another tag:
//!
//! | in a name or a tag | is written |
//! |---|---|
//! | a control character, newlines among them | `_` |
//! | a backslash at the end, or before a separator or another backslash | `/` |
//! | `"` in a field's name, where it would open a string | `'` |
//! | `#` at the start of a measurement, where it would make a comment | `_` |
//! | nothing, where there must be a name | `_`; a field is called `value` |
//!
//! Values are always floats, with no `i` behind them, so that a field never changes its type.

/// Where a text stands, which decides what in it must be escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Measurement,
    Tag,
    Field,
}

/// Appends `measurement,tag=value,…`: what begins every line of a row.
pub fn push_head<'a>(
    out: &mut Vec<u8>,
    measurement: &str,
    tags: impl Iterator<Item = (&'a str, &'a str)>,
) {
    push_text(out, measurement, Part::Measurement);
    for (name, value) in tags {
        out.push(b',');
        push_text(out, name, Part::Tag);
        out.push(b'=');
        push_text(out, value, Part::Tag);
    }
}

/// Appends `field=`.
pub fn push_field(out: &mut Vec<u8>, name: &str) {
    push_text(out, name, Part::Field);
    out.push(b'=');
}

/// Whole numbers up to here are exact, and shorter without a fraction.
const WHOLE_MAX: f64 = (1_u64 << 53) as f64;

/// Appends a value, which must be finite, in the fewest digits that read back as the same number.
#[inline]
pub fn push_value(out: &mut Vec<u8>, value: f64) {
    debug_assert!(value.is_finite(), "line protocol has no {value}");
    if value.abs() <= WHOLE_MAX && value.trunc() == value {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    }
}

/// Appends the timestamp, in nanoseconds, and the end of the line.
#[inline]
pub fn push_end(out: &mut Vec<u8>, nanos: i64) {
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(nanos).as_bytes());
    out.push(b'\n');
}

fn push_text(out: &mut Vec<u8>, text: &str, part: Part) {
    if text.is_empty() {
        let name: &[u8] = if part == Part::Field { b"value" } else { b"_" };
        return out.extend_from_slice(name);
    }
    let mut chars = text.chars().enumerate().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let written = match c {
            c if c.is_control() => '_',
            '\\' if next.is_none_or(|next| matches!(next, ',' | '=' | ' ' | '\\' | '"')) => '/',
            // What follows may turn into a separator's neighbour only by being replaced, and
            // replacements are never separators.
            '"' if part == Part::Field => '\'',
            '#' if part == Part::Measurement && at == 0 => '_',
            other => other,
        };
        if matches!(written, ',' | ' ') || (written == '=' && part != Part::Measurement) {
            out.push(b'\\');
        }
        out.extend_from_slice(written.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::line_protocol::{Field, lines};

    fn encoded(measurement: &str, tags: &[(&str, &str)], field: &str, value: f64) -> String {
        let mut out = Vec::new();
        push_head(&mut out, measurement, tags.iter().copied());
        out.push(b' ');
        push_field(&mut out, field);
        push_value(&mut out, value);
        push_end(&mut out, 1_700_000_000_000_000_001);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_as_the_reference_has_it() {
        assert_eq!(
            encoded("icmp", &[("kind", "icmp"), ("target", "gw")], "rtt_seconds", 0.0125),
            "icmp,kind=icmp,target=gw rtt_seconds=0.0125 1700000000000000001\n"
        );
    }

    #[test]
    fn separators_are_escaped_and_the_rest_is_replaced() {
        let cases = [
            ("a b", r"a\ b", r"a\ b", r"a\ b"),
            ("a,b", r"a\,b", r"a\,b", r"a\,b"),
            ("a=b", "a=b", r"a\=b", r"a\=b"),
            ("a\nb\r\0", "a_b__", "a_b__", "a_b__"),
            ("#a#", "_a#", "#a#", "#a#"),
            ("a\"b", "a\"b", "a\"b", "a'b"),
            (r"a\b", r"a\b", r"a\b", r"a\b"),
            (r"a\", "a/", "a/", "a/"),
            (r"\\a\, b", r"/\a/\,\ b", r"/\a/\,\ b", r"/\a/\,\ b"),
            ("", "_", "_", "value"),
            ("naïve ☂", r"naïve\ ☂", r"naïve\ ☂", r"naïve\ ☂"),
        ];
        for (text, measurement, tag, field) in cases {
            assert_eq!(
                encoded(text, &[(text, text)], text, 1.0),
                format!("{measurement},{tag}={tag} {field}=1 1700000000000000001\n"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn values_are_floats_in_their_shortest_form() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (0.1, "0.1"),
            (1e-7, "1e-7"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1e300, "1e300"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        ] {
            let mut out = Vec::new();
            push_value(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    /// Texts made of what could do harm, and of anything at all.
    fn hostile() -> impl Strategy<Value = String> {
        prop_oneof![r##"[\\,= "#\n\r\tab]{0,12}"##, any::<String>()]
    }

    /// What the table above makes of a text, unescaped.
    fn meant(text: &str, is_field: bool, is_measurement: bool) -> String {
        let chars: Vec<char> = text.chars().collect();
        let one = |(at, c): (usize, &char)| match c {
            c if c.is_control() => '_',
            '\\' => match chars.get(at + 1) {
                None | Some(',' | '=' | ' ' | '\\' | '"') => '/',
                Some(_) => '\\',
            },
            '"' if is_field => '\'',
            '#' if is_measurement && at == 0 => '_',
            c => *c,
        };
        let meant: String = chars.iter().enumerate().map(one).collect();
        let name = if is_field { "value" } else { "_" };
        if meant.is_empty() { name.into() } else { meant }
    }

    proptest! {
        #[test]
        fn every_line_reads_back_as_one_line(
            measurement in hostile(),
            tags in proptest::collection::vec((hostile(), hostile()), 0..4),
            field in hostile(),
            value in any::<f64>().prop_filter("finite", |value| value.is_finite()),
        ) {
            let pairs: Vec<_> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let line = encoded(&measurement, &pairs, &field, value);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let read: Vec<_> = lines(&line).collect();
            prop_assert_eq!(read.len(), 1, "{}", line);
            let point = read[0].as_ref().map_err(|e| TestCaseError::fail(format!("{line}: {e}")))?;
            prop_assert_eq!(&*point.measurement, meant(&measurement, false, true));
            prop_assert_eq!(point.tags.len(), tags.len());
            for ((key, tag), (k, v)) in point.tags.iter().zip(&tags) {
                prop_assert_eq!(&**key, meant(k, false, false));
                prop_assert_eq!(&**tag, meant(v, false, false));
            }
            prop_assert_eq!(&*point.fields[0].0, meant(&field, true, false));
            prop_assert_eq!(&point.fields[0].1, &Field::Float(value));
            prop_assert_eq!(point.timestamp, Some(1_700_000_000_000_000_001));
        }
    }
}
