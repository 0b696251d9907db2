//! Line protocol into samples.

use std::borrow::Cow;

use super::PushError;
use super::gather::{Gather, Refusal, Wrong};
use crate::sample::{Sample, Timestamp};
use crate::wire::line_protocol::{Line, lines};

/// The kind of what is pushed and says no other.
const KIND: &str = "push";

/// Tags a point may be [given](identify).
const TAGS_GIVEN: usize = 3;

/// The unit of timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precision(i64);

impl Precision {
    /// Nanoseconds, where nothing is said.
    pub const NANOSECONDS: Self = Self(1);

    /// As InfluxDB 1 and 2 write them: `ns`, `n`, `us`, `u`, `µ`, `ms`, `s`, `m`, `h`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(Self(match word {
            "" | "ns" | "n" => 1,
            "us" | "u" | "µ" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        }))
    }
}

/// Reads all lines; what is wrong with one costs only that one.
pub(super) fn read(
    body: &[u8],
    precision: Precision,
    bucket: &str,
    gather: &mut Gather<'_>,
) -> Result<(), PushError> {
    // The check of a text that is right is much the faster one.
    let text = str::from_utf8(body).map_or_else(|_| String::from_utf8_lossy(body), Cow::Borrowed);
    for line in lines(&text) {
        gather.point()?;
        let point = match line {
            Ok(line) => point(&line, precision, bucket, gather),
            Err(error) => Err(Refusal::Syntax(format!("unable to parse {error}")).into()),
        };
        gather.settle(point)?;
    }
    Ok(())
}

/// One line: all its numbers, or none.
fn point(
    line: &Line<'_>,
    precision: Precision,
    bucket: &str,
    gather: &mut Gather<'_>,
) -> Result<(), Wrong> {
    let time = time(line, precision, gather)?;
    let numbers = || line.fields.iter().filter_map(|(name, value)| Some((name, value.number()?)));
    (numbers().count()..line.fields.len()).for_each(|_| gather.text());
    if numbers().next().is_none() {
        return Ok(());
    }
    let mut tags: Vec<(&str, &str)> = Vec::with_capacity(line.tags.len() + TAGS_GIVEN);
    tags.extend(line.tags.iter().map(|(key, value)| (&**key, &**value)));
    let target = identify(&mut tags, bucket, gather.site.name.as_deref());
    let row = gather.row(&line.measurement, &tags, target)?;
    let before = gather.samples();
    let taken = numbers().try_for_each(|(name, value)| {
        let series = gather.series(&row, name)?;
        gather.sample(&row, time, Sample { series, value })
    });
    taken.inspect_err(|_| gather.forget_from(before))
}

/// Gives a point the tags it lacks of `target` (its `host`, else `bucket`), `kind` and `site`;
/// returns its target.
pub(crate) fn identify<'a>(
    tags: &mut Vec<(&'a str, &'a str)>,
    bucket: &'a str,
    site: Option<&'a str>,
) -> &'a str {
    let given = |name: &str| tags.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let target = given("target").or_else(|| given("host")).unwrap_or(bucket);
    let all: [_; TAGS_GIVEN] = [("target", Some(target)), ("kind", Some(KIND)), ("site", site)];
    let lacking = all.map(|(name, value)| Some((name, value?)).filter(|_| given(name).is_none()));
    tags.extend(lacking.into_iter().flatten());
    target
}

fn time(line: &Line<'_>, precision: Precision, gather: &Gather<'_>) -> Result<Timestamp, Refusal> {
    let Some(written) = line.timestamp else { return Ok(gather.window.now) };
    let nanos = written
        .checked_mul(precision.0)
        .ok_or_else(|| Refusal::Syntax(format!("unable to parse the timestamp {written}")))?;
    gather.window.check(Timestamp::from_nanos(nanos))
}
