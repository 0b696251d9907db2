//! Comma-separated values: a header, then a sample a line.
//!
//! The columns `time` and `value`, and `metric` or `measurement` and `field`, in any order; every
//! other column is a tag, which an empty text is not. A time is RFC 3339 or a number since the
//! epoch, in seconds, milli-, micro- or nanoseconds by its size. A value is a number, `true` or
//! `false`; `stale` ends a series; where it is empty there is no sample.

use super::file::Lines;
use super::{Points, SourceError};
use crate::sample::{STALE, Timestamp, split_name};
use crate::wire::{csv, value::number};

/// Whole numbers below are seconds since the epoch: until the year 5138. Each finer unit follows.
const SECONDS_MAX: f64 = 1e11;

/// Where each column is.
#[derive(Debug)]
struct Header {
    names: Vec<String>,
    time: usize,
    value: usize,
    name: Name,
}

#[derive(Debug, Clone, Copy)]
enum Name {
    /// The whole name.
    Metric(usize),
    /// Measurement and field.
    Parts(usize, usize),
}

pub(super) fn read(from: &mut Lines, points: &mut Points<'_>) -> Result<(), SourceError> {
    let mut text = String::new();
    let mut row = Vec::new();
    from.next(&mut text)?;
    split(&text, &mut row).map_err(|message| from.wrong(message))?;
    let header = Header::new(&row).map_err(|message| from.wrong(&message))?;
    while from.next(&mut text)? {
        if text.trim().is_empty() {
            continue;
        }
        while split(&text, &mut row).is_err_and(is_open) && from.append(&mut text)? {}
        split(&text, &mut row).map_err(|message| from.wrong(message))?;
        if row.len() != header.names.len() {
            let message =
                format!("{} columns, but the header has {}", row.len(), header.names.len());
            return Err(from.wrong(&message));
        }
        take(&header, &row, from, points)?;
    }
    Ok(())
}

fn is_open(message: &str) -> bool {
    message == "a quote is not closed"
}

fn split(text: &str, row: &mut Vec<String>) -> Result<(), &'static str> {
    row.clear();
    let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
    csv::columns(text, b',', |_, column| row.push(column.to_owned()))
}

impl Header {
    fn new(row: &[String]) -> Result<Self, String> {
        let names: Vec<String> = row.iter().map(|name| name.trim().to_owned()).collect();
        let place = |wanted: &str| names.iter().position(|name| name == wanted);
        if let Some(twice) = names.iter().enumerate().find(|(at, name)| place(name) != Some(*at)) {
            return Err(format!("the header has the column `{}` twice", twice.1));
        }
        let needed = |wanted: &str| {
            place(wanted).ok_or_else(|| {
                format!(
                    "the header has no column `{wanted}`; it needs time, value, and metric or \
                     measurement and field"
                )
            })
        };
        let name = match (place("metric"), place("measurement"), place("field")) {
            (Some(metric), None, None) => Name::Metric(metric),
            (Some(_), ..) => {
                return Err("the header has both `metric` and parts of a name".to_owned());
            }
            (None, ..) => Name::Parts(needed("measurement")?, needed("field")?),
        };
        Ok(Self { time: needed("time")?, value: needed("value")?, name, names })
    }

    fn is_tag(&self, place: usize) -> bool {
        let is_name = match self.name {
            Name::Metric(metric) => place == metric,
            Name::Parts(measurement, field) => place == measurement || place == field,
        };
        place != self.time && place != self.value && !is_name
    }
}

fn take(
    header: &Header,
    row: &[String],
    from: &Lines,
    points: &mut Points<'_>,
) -> Result<(), SourceError> {
    let (written, value) = (&row[header.time], row[header.value].trim());
    let time = time(written.trim()).ok_or_else(|| {
        from.wrong(&format!("`{written}` is not a time: neither RFC 3339 nor a number"))
    })?;
    if value.is_empty() || !points.is_in_time(time) {
        return Ok(());
    }
    let value = match value {
        "stale" => STALE,
        value => number(value).ok_or_else(|| {
            from.wrong(&format!("`{value}` is neither a number, true, false nor stale"))
        })?,
    };
    let (measurement, field) = match header.name {
        Name::Metric(metric) => split_name(row[metric].trim()),
        Name::Parts(measurement, field) => (row[measurement].trim(), row[field].trim()),
    };
    if measurement.is_empty() {
        return Err(from.wrong("there is no name"));
    }
    let tags = header.names.iter().zip(row).enumerate();
    let tags = tags.filter(|(place, (_, value))| header.is_tag(*place) && !value.is_empty());
    let tags: Vec<_> = tags.map(|(_, (name, value))| (name.as_str(), value.as_str())).collect();
    if let Some(series) = points.series(measurement, field, &tags)? {
        points.push(time, series, value)?;
    }
    Ok(())
}

fn time(text: &str) -> Option<Timestamp> {
    if let Ok(whole) = text.parse::<i64>() {
        let size = whole.unsigned_abs() as f64;
        let unit = match size {
            _ if size < SECONDS_MAX => 1_000_000_000,
            _ if size < SECONDS_MAX * 1e3 => 1_000_000,
            _ if size < SECONDS_MAX * 1e6 => 1_000,
            _ => 1,
        };
        return whole.checked_mul(unit).map(Timestamp::from_nanos);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        // Of a time of today, a double has no more than microseconds.
        let micros = (seconds.fract() * 1e6).round() as i64;
        let is_near = seconds.abs() < SECONDS_MAX / 20.0;
        let nanos = is_near.then(|| seconds.trunc() as i64 * 1_000_000_000 + micros * 1_000);
        return nanos.map(Timestamp::from_nanos);
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_unit_their_size_tells() {
        for (text, nanos) in [
            ("1700000000", 1_700_000_000_000_000_000),
            ("1700000000.25", 1_700_000_000_250_000_000),
            ("1700000000250", 1_700_000_000_250_000_000),
            ("1700000000250000", 1_700_000_000_250_000_000),
            ("1700000000250000001", 1_700_000_000_250_000_001),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
            ("2023-11-14T23:13:20+01:00", 1_700_000_000_000_000_000),
        ] {
            assert_eq!(time(text), Some(Timestamp::from_nanos(nanos)), "{text}");
        }
        for wrong in ["", "yesterday", "1e300", "nan", "2023-11-14"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_header_says_what_each_column_is() {
        let header = |text: &str| {
            let row: Vec<String> = text.split(',').map(str::to_owned).collect();
            Header::new(&row).map(|header| {
                let names = header.names.iter().enumerate();
                let tags = names.filter(|(place, _)| header.is_tag(*place));
                tags.map(|(_, name)| name.clone()).collect::<Vec<_>>()
            })
        };
        assert_eq!(header("time,metric,value").unwrap(), Vec::<String>::new());
        assert_eq!(header("host, value ,field,rack,time,measurement").unwrap(), ["host", "rack"]);
        for (wrong, message) in [
            ("time,value", "no column `measurement`"),
            ("time,measurement,value", "no column `field`"),
            ("metric,value", "no column `time`"),
            ("time,metric", "no column `value`"),
            ("time,metric,field,value", "both"),
            ("time,metric,value,time", "twice"),
        ] {
            let error = header(wrong).unwrap_err();
            assert!(error.contains(message), "{wrong}: {error}");
        }
    }
}
