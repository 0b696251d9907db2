//! Answers in Prometheus' JSON (prometheus/util/jsonutil): times in seconds, values as texts.

use std::io::{self, Write};

use crate::promql::Labels;
use crate::promql::eval::AnswerValue;
use crate::promql::functions::Point;
use crate::sample::Timestamp;

/// What else an answer says.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

/// Writes `{"status":"success","data":…}` around what `data` writes.
pub(super) fn envelope<W: Write>(
    out: &mut W,
    notes: &Notes,
    data: impl FnOnce(&mut W) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(br#"{"status":"success","data":"#)?;
    data(out)?;
    for (name, list) in [("warnings", &notes.warnings), ("infos", &notes.infos)] {
        if !list.is_empty() {
            write!(out, ",\"{name}\":")?;
            serde_json::to_writer(&mut *out, list)?;
        }
    }
    out.write_all(b"}")
}

/// Writes `{"resultType":…,"result":…}`.
pub(super) fn answer<W: Write>(out: &mut W, value: &AnswerValue) -> io::Result<()> {
    let mut numbers = Numbers::default();
    let kind = match value {
        AnswerValue::Scalar(_) => "scalar",
        AnswerValue::String(..) => "string",
        AnswerValue::Vector(_) => "vector",
        AnswerValue::Matrix(_) => "matrix",
    };
    write!(out, "{{\"resultType\":\"{kind}\",\"result\":")?;
    match value {
        AnswerValue::Scalar(point) => numbers.point(out, *point)?,
        AnswerValue::String(time, text) => {
            out.write_all(b"[")?;
            numbers.time(out, *time)?;
            out.write_all(b",")?;
            serde_json::to_writer(&mut *out, text)?;
            out.write_all(b"]")?;
        }
        AnswerValue::Vector(all) => list(out, all, |out, (labels, point)| {
            out.write_all(b"{\"metric\":")?;
            metric(out, labels)?;
            out.write_all(b",\"value\":")?;
            numbers.point(out, *point)?;
            out.write_all(b"}")
        })?,
        AnswerValue::Matrix(all) => {
            let mut times = Times::default();
            list(out, all, |out, (labels, points)| {
                out.write_all(b"{\"metric\":")?;
                metric(out, labels)?;
                out.write_all(b",\"values\":")?;
                times.next = 0;
                list(out, points, |out, point| {
                    times.begin_point(out, point.time, &mut numbers)?;
                    numbers.value(out, point.value)?;
                    out.write_all(b"\"]")
                })?;
                out.write_all(b"}")
            })?;
        }
    }
    out.write_all(b"}")
}

/// Writes a list.
pub(super) fn list<W: Write, T>(
    out: &mut W,
    items: &[T],
    mut one: impl FnMut(&mut W, &T) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(b"[")?;
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        one(out, item)?;
    }
    out.write_all(b"]")
}

/// Writes labels, the name as `__name__` among them.
pub(super) fn metric<W: Write>(out: &mut W, labels: &Labels) -> io::Result<()> {
    for (at, (name, value)) in labels.iter().enumerate() {
        out.write_all(if at == 0 { b"{" } else { b"," })?;
        serde_json::to_writer(&mut *out, name)?;
        out.write_all(b":")?;
        serde_json::to_writer(&mut *out, value)?;
    }
    out.write_all(if labels.is_empty() { b"{}" } else { b"}" })
}

/// Times remembered as text: as many as a query has steps.
const TIMES_MAX: usize = 11_001;

/// The beginnings of points, up to their values, written once for all series: those of a range
/// query have the same times.
#[derive(Default)]
struct Times {
    text: Vec<u8>,
    /// In order, with where in the text each ends.
    known: Vec<(Timestamp, usize)>,
    /// Where the next time of the series at hand is looked for.
    next: usize,
}

impl Times {
    /// Writes `[time,"`. The times of one series come in their order.
    fn begin_point<W: Write>(
        &mut self,
        out: &mut W,
        time: Timestamp,
        numbers: &mut Numbers,
    ) -> io::Result<()> {
        let later = self.known[self.next..].iter().take_while(|(known, _)| *known < time);
        self.next += later.count();
        let begin = self.next.checked_sub(1).map_or(0, |before| self.known[before].1);
        match self.known.get(self.next) {
            Some((known, end)) if *known == time => {
                self.next += 1;
                out.write_all(&self.text[begin..*end])
            }
            None if self.next < TIMES_MAX => {
                numbers.begin_point(&mut self.text, time)?;
                self.known.push((time, self.text.len()));
                self.next += 1;
                out.write_all(&self.text[begin..])
            }
            _ => numbers.begin_point(out, time),
        }
    }
}

/// Whole numbers up to here are exact, and shorter without a fraction.
const WHOLE_MAX: f64 = (1_u64 << 53) as f64;

/// The digits after the point that [`Numbers::short`] looks for.
const SHORT_DIGITS: usize = 4;

const SHORT_SCALE: f64 = 1e4;

/// Below this, a number of so few digits after the point has at most fifteen in all, of which no
/// two are the same double: it is the shortest there is.
const SHORT_MAX: f64 = 1e11;

/// Writes numbers; keeps the room it takes.
#[derive(Default)]
struct Numbers {
    whole: itoa::Buffer,
    float: ryu::Buffer,
}

impl Numbers {
    fn point<W: Write>(&mut self, out: &mut W, point: Point) -> io::Result<()> {
        self.begin_point(out, point.time)?;
        self.value(out, point.value)?;
        out.write_all(b"\"]")
    }

    fn begin_point<W: Write>(&mut self, out: &mut W, time: Timestamp) -> io::Result<()> {
        out.write_all(b"[")?;
        self.time(out, time)?;
        out.write_all(b",\"")
    }

    /// Seconds, with three digits of a fraction where there is one.
    fn time<W: Write>(&mut self, out: &mut W, time: Timestamp) -> io::Result<()> {
        let millis = time.as_nanos().div_euclid(1_000_000);
        if millis < 0 {
            out.write_all(b"-")?;
        }
        let millis = millis.unsigned_abs();
        out.write_all(self.whole.format(millis / 1_000).as_bytes())?;
        match millis % 1_000 {
            0 => Ok(()),
            rest => write!(out, ".{rest:03}"),
        }
    }

    /// In the fewest digits, and without an exponent from 1e-6 to 1e21.
    fn value<W: Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        if size < SHORT_MAX {
            let scaled = (value * SHORT_SCALE + 0.5_f64.copysign(value)) as i64;
            let is_minus_zero = scaled == 0 && value.is_sign_negative();
            if scaled as f64 / SHORT_SCALE == value && !is_minus_zero {
                return self.short(out, scaled);
            }
        }
        if size <= WHOLE_MAX && value.trunc() == value && (value != 0.0 || value.is_sign_positive())
        {
            return out.write_all(self.whole.format(value as i64).as_bytes());
        }
        if value.is_nan() {
            return out.write_all(b"NaN");
        }
        if value.is_infinite() {
            return out.write_all(if value > 0.0 { b"+Inf" } else { b"-Inf" });
        }
        if (1e-4..WHOLE_MAX).contains(&size) {
            return out.write_all(self.float.format_finite(value).as_bytes());
        }
        if value == 0.0 || (1e-6..1e21).contains(&size) {
            return write!(out, "{value}");
        }
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) =
            exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        write!(out, "{digits}e{sign}{exponent:0>2}")
    }

    /// A number of at most [`SHORT_DIGITS`] digits after the point, given without the point: what
    /// sensors say, in a fifth of the time.
    fn short<W: Write>(&mut self, out: &mut W, scaled: i64) -> io::Result<()> {
        let size = scaled.unsigned_abs();
        let (whole, mut fraction) = (size / SHORT_SCALE as u64, size % SHORT_SCALE as u64);
        if scaled < 0 {
            out.write_all(b"-")?;
        }
        out.write_all(self.whole.format(whole).as_bytes())?;
        if fraction == 0 {
            return Ok(());
        }
        let mut text = [b'.'; 1 + SHORT_DIGITS];
        for digit in text[1..].iter_mut().rev() {
            *digit = b'0' + (fraction % 10) as u8;
            fraction /= 10;
        }
        let zeros = text.iter().rev().take_while(|digit| **digit == b'0').count();
        out.write_all(&text[..text.len() - zeros])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Numbers, &mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut Numbers::default(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_as_prometheus_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.5, "-17.5"),
            (0.1, "0.1"),
            (20.7001, "20.7001"),
            (-0.0001, "-0.0001"),
            (99_999_999_999.123_4, "99999999999.1234"),
            (0.30000000000000004, "0.30000000000000004"),
            (2.00005, "2.00005"),
            (1e-6, "0.000001"),
            (1.5e-5, "0.000015"),
            (1e-7, "1e-07"),
            (9_007_199_254_740_993e3, "9007199254740993000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-2.5e300, "-2.5e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(written(|numbers, out| numbers.value(out, value)), text);
        }
        for (millis, text) in
            [(0, "0"), (1_500, "1.500"), (1_435_781_451_781, "1435781451.781"), (-7, "-0.007")]
        {
            let time = Timestamp::from_nanos(millis * 1_000_000);
            assert_eq!(written(|numbers, out| numbers.time(out, time)), text);
        }
    }

    proptest! {
        #[test]
        fn every_number_reads_back(value in any::<f64>()) {
            let text = written(|numbers, out| numbers.value(out, value));
            let read: f64 = text.parse().unwrap();
            prop_assert!(read.to_bits() == value.to_bits() || value.is_nan(), "{}", text);
        }

        #[test]
        fn a_number_of_few_digits_is_written_in_the_fewest(n in any::<i64>(), digits in 0..7_i32) {
            let value = (n >> 14) as f64 / 10_f64.powi(digits);
            let text = written(|numbers, out| numbers.value(out, value));
            prop_assert_eq!(text, format!("{value}"));
        }
    }

    #[test]
    fn series_with_other_times_have_their_own() {
        let at = |seconds: &i64| Point { time: Timestamp::from_secs(*seconds), value: 1.0 };
        let all = [&[2, 4][..], &[1, 2, 3, 4, 5], &[], &[5, 6], &[4]];
        let series = all.map(|times| (Labels::default(), times.iter().map(at).collect()));
        let mut out = Vec::new();
        answer(&mut out, &AnswerValue::Matrix(series.to_vec())).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        for (series, times) in read["result"].as_array().unwrap().iter().zip(all) {
            let found = series["values"].as_array().unwrap().iter().map(|point| &point[0]);
            assert_eq!(found.collect::<Vec<_>>(), times);
        }
    }

    #[test]
    fn an_answer_is_json_whatever_its_labels_hold() {
        let labels = Labels::new([("a\"b", "c\n\u{1}"), ("__name__", "up")]);
        let point = Point { time: Timestamp::from_secs(5), value: 2.5 };
        let mut out = Vec::new();
        let notes = Notes { warnings: vec!["w\"".into()], infos: Vec::new() };
        let value = AnswerValue::Matrix(vec![
            (labels, vec![point, point]),
            (Labels::default(), Vec::new()),
        ]);
        envelope(&mut out, &notes, |out| answer(out, &value)).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            read,
            serde_json::json!({
                "status": "success",
                "data": { "resultType": "matrix", "result": [
                    {
                        "metric": { "a\"b": "c\n\u{1}", "__name__": "up" },
                        "values": [[5, "2.5"], [5, "2.5"]],
                    },
                    { "metric": {}, "values": [] },
                ] },
                "warnings": ["w\""],
            })
        );
    }
}
