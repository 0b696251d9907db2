//! Values of a series over time, in promtool's notation.
//!
//! | written | means |
//! |---|---|
//! | `5` | one sample |
//! | `_` | none at this step; `_x3`: none at three steps |
//! | `stale` | the stale mark: from here on there is no value |
//! | `1x4` | 1, and four times more |
//! | `1+2x3` | 1 3 5 7 |
//! | `9-2x3` | 9 7 5 3 |

use crate::sample::STALE;

/// Most steps of one series: a test of a day at one second.
pub const STEPS_MAX: usize = 100_000;

/// Reads a series: a value a step, `None` where there is no sample.
///
/// # Errors
/// The word that is wrong, and what it should be.
pub fn parse(text: &str) -> Result<Vec<Option<f64>>, String> {
    let mut values = Vec::new();
    for word in text.split_whitespace() {
        let wrong =
            || format!("`{word}` is not a value; write 5, 1x4, 1+2x3, 9-2x3, _, _x3 or stale");
        // An `x` ends the number: hexadecimal is not for tests.
        let (what, times) = match word.split_once('x') {
            Some((what, times)) => (what, Some(times.parse::<usize>().map_err(|_| wrong())?)),
            None => (word, None),
        };
        if times.is_some_and(|times| times > STEPS_MAX) {
            return Err(format!("`{word}` is more than {STEPS_MAX} steps"));
        }
        match (what, times) {
            ("_", times) => values.extend(std::iter::repeat_n(None, times.unwrap_or(1))),
            ("stale", None) => values.push(Some(STALE)),
            (number, None) => values.push(Some(finite(number).ok_or_else(wrong)?)),
            (start, Some(times)) => {
                let (start, step) = start_and_step(start).ok_or_else(wrong)?;
                values.extend((0..=times).map(|n| Some(step.mul_add(n as f64, start))));
            }
        }
        if values.len() > STEPS_MAX {
            return Err(format!("the series has more than {STEPS_MAX} steps"));
        }
    }
    if values.is_empty() { Err("the series has no values".into()) } else { Ok(values) }
}

/// `1+2` is 1 and 2, `1-2` is 1 and -2, `1` is 1 and 0; `1e-3+2` has its sign in the exponent.
fn start_and_step(text: &str) -> Option<(f64, f64)> {
    if let Some(number) = finite(text) {
        return Some((number, 0.0));
    }
    let signs = text.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-'));
    let mut parts = signs.filter_map(|(at, _)| Some((finite(&text[..at])?, finite(&text[at..])?)));
    parts.next()
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::is_stale;

    #[test]
    fn a_series_is_written_as_for_promtool() {
        let parsed = |text| parse(text).unwrap();
        assert_eq!(parsed("1x2 0x1"), [1.0, 1.0, 1.0, 0.0, 0.0].map(Some));
        assert_eq!(parsed("1+2x3"), [1.0, 3.0, 5.0, 7.0].map(Some));
        assert_eq!(parsed("9-2x1 -1-1x1"), [9.0, 7.0, -1.0, -2.0].map(Some));
        assert_eq!(parsed("1e-1+1e-1x1"), [0.1, 0.2].map(Some));
        assert_eq!(parsed("5 _ _x2 5"), [Some(5.0), None, None, None, Some(5.0)]);
        assert!(is_stale(parsed("stale")[0].unwrap()));
        for wrong in ["", "a", "1x", "1x-1", "nan", "inf", "1+x3", "1x999999999", "stalex2"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_no_series_is_endless(text in "[0-9x+_e. -]{0,30}") {
            prop_assert!(parse(&text).map_or(0, |values| values.len()) <= STEPS_MAX);
        }
    }
}
