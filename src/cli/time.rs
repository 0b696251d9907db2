//! Times as they are typed.

use crate::config::parse_duration;
use crate::sample::Timestamp;

/// `now`, `-5m`, `2026-01-31T12:00:00Z`, a date with time in the local zone, or seconds since the
/// epoch.
pub(super) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if text == "now" {
        return Ok(now);
    }
    if let Some(ago) = text.strip_prefix('-').filter(|ago| ago.parse::<f64>().is_err()) {
        return Ok(now - parse_duration(ago)?);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok(Timestamp::from_nanos((seconds * 1e9) as i64));
    }
    let wrong =
        |_| format!("`{text}` is not a time; write it as -1h, now, or 2026-01-31T12:00:00Z");
    let time = text.parse::<jiff::Timestamp>().or_else(|_| {
        let local: jiff::civil::DateTime = text.parse()?;
        Ok(local.to_zoned(jiff::tz::TimeZone::system())?.timestamp())
    });
    let time: jiff::Timestamp = time.map_err(|error: jiff::Error| wrong(error))?;
    i64::try_from(time.as_nanosecond())
        .map(Timestamp::from_nanos)
        .map_err(|_| format!("`{text}` is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    #[test]
    fn times_are_given_as_people_think_of_them() {
        for (text, seconds) in [
            ("now", 1_000_000),
            ("-1h30m", 994_600),
            ("1970-01-02T00:00:00Z", 86_400),
            ("1970-01-02T01:00:00+01:00", 86_400),
            ("86400", 86_400),
            ("-5", -5),
        ] {
            assert_eq!(parse(text, NOW), Ok(Timestamp::from_secs(seconds)), "{text}");
        }
        for wrong in ["yesterday", "-5 minutes", "1970-13-01T00:00:00Z", ""] {
            assert!(parse(wrong, NOW).is_err(), "{wrong}");
        }
        assert!(parse("2026-01-31 12:00", NOW).is_ok(), "a local time");
    }
}
