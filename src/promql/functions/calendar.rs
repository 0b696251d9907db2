//! What day and hour it is at a number of seconds since the epoch, in UTC.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::promql::Function;

/// The calendar function this is, from seconds since the epoch; `None`: it is not one.
#[must_use]
pub fn of_seconds(function: Function) -> Option<fn(f64) -> f64> {
    Some(match function {
        Function::Minute => |seconds| at(seconds, |time| i16::from(time.minute())),
        Function::Hour => |seconds| at(seconds, |time| i16::from(time.hour())),
        Function::DayOfWeek => {
            |seconds| at(seconds, |time| i16::from(time.weekday().to_sunday_zero_offset()))
        }
        Function::DayOfMonth => |seconds| at(seconds, |time| i16::from(time.day())),
        Function::DayOfYear => |seconds| at(seconds, DateTime::day_of_year),
        Function::DaysInMonth => |seconds| at(seconds, |time| i16::from(time.days_in_month())),
        Function::Month => |seconds| at(seconds, |time| i16::from(time.month())),
        Function::Year => |seconds| at(seconds, DateTime::year),
        _ => return None,
    })
}

/// NaN for what is no time of the years -9999 to 9999.
fn at(seconds: f64, field: impl Fn(DateTime) -> i16) -> f64 {
    if !seconds.is_finite() {
        return f64::NAN;
    }
    #[expect(clippy::cast_possible_truncation, reason = "what is too large saturates, and is NaN")]
    let whole = seconds as i64;
    jiff::Timestamp::from_second(whole)
        .map_or(f64::NAN, |time| f64::from(field(TimeZone::UTC.to_datetime(time))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_place_in_the_calendar() {
        // 2024-02-29T23:59:58Z, a Thursday.
        let leap = 1_709_251_198.0;
        for (function, value) in [
            (Function::Year, 2024.0),
            (Function::Month, 2.0),
            (Function::DayOfMonth, 29.0),
            (Function::DayOfWeek, 4.0),
            (Function::DayOfYear, 60.0),
            (Function::DaysInMonth, 29.0),
            (Function::Hour, 23.0),
            (Function::Minute, 59.0),
        ] {
            assert_eq!(of_seconds(function).unwrap()(leap), value, "{function}");
        }
        assert!(of_seconds(Function::Year).unwrap()(f64::INFINITY).is_nan());
        assert!(of_seconds(Function::Year).unwrap()(1e30).is_nan());
        assert!(of_seconds(Function::Rate).is_none());
    }
}
