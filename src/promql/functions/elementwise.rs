//! Functions of one value, and of one value and a few parameters.

use std::f64::consts::PI;

use super::calendar;
use crate::promql::Function;

/// The function of one value this is, if it is one that needs nothing else.
#[must_use]
pub fn unary(function: Function) -> Option<fn(f64) -> f64> {
    Some(match function {
        Function::Abs => f64::abs,
        Function::Acos => f64::acos,
        Function::Acosh => f64::acosh,
        Function::Asin => f64::asin,
        Function::Asinh => f64::asinh,
        Function::Atan => f64::atan,
        Function::Atanh => f64::atanh,
        Function::Ceil => f64::ceil,
        Function::Cos => f64::cos,
        Function::Cosh => f64::cosh,
        Function::Deg => |value| value * 180.0 / PI,
        Function::Exp => f64::exp,
        Function::Floor => f64::floor,
        Function::Ln => f64::ln,
        Function::Log10 => f64::log10,
        Function::Log2 => f64::log2,
        Function::Rad => |value| value * PI / 180.0,
        Function::Sgn => sgn,
        Function::Sin => f64::sin,
        Function::Sinh => f64::sinh,
        Function::Sqrt => f64::sqrt,
        Function::Tan => f64::tan,
        Function::Tanh => f64::tanh,
        other => return calendar::of_seconds(other),
    })
}

/// The sign; 0 and NaN are their own.
fn sgn(value: f64) -> f64 {
    if value == 0.0 || value.is_nan() { value } else { value.signum() }
}

/// To the nearest multiple of `to`; halves go up.
#[must_use]
pub fn round(value: f64, to: f64) -> f64 {
    // By the inverse, so that multiples of 0.1 come out as they are written.
    let inverse = 1.0 / to;
    (value * inverse + 0.5).floor() / inverse
}

/// Kept between two limits; NaN where one of them is, and nothing at all where they cross.
#[must_use]
pub fn clamp(value: f64, min: f64, max: f64) -> Option<f64> {
    (min <= max || min.is_nan() || max.is_nan()).then(|| clamp_max(clamp_min(value, min), max))
}

/// At least `min`; NaN where either is.
#[must_use]
pub fn clamp_min(value: f64, min: f64) -> f64 {
    if value.is_nan() || min.is_nan() { f64::NAN } else { value.max(min) }
}

/// At most `max`; NaN where either is.
#[must_use]
pub fn clamp_max(value: f64, max: f64) -> f64 {
    if value.is_nan() || max.is_nan() { f64::NAN } else { value.min(max) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_up() {
        for (value, to, rounded) in [
            (2.5, 1.0, 3.0),
            (-2.5, 1.0, -2.0),
            (0.34, 0.1, 0.3),
            (0.35, 0.1, 0.4),
            (17.0, 5.0, 15.0),
        ] {
            assert_eq!(round(value, to), rounded, "{value}");
        }
    }

    #[test]
    fn limits_that_cross_yield_nothing() {
        assert_eq!(clamp(5.0, 0.0, 3.0), Some(3.0));
        assert_eq!(clamp(5.0, 3.0, 0.0), None);
        assert!(clamp(5.0, f64::NAN, 0.0).unwrap().is_nan());
        assert!(clamp_min(f64::NAN, 0.0).is_nan());
    }

    #[test]
    fn the_sign_of_nothing_is_itself() {
        assert_eq!(sgn(-3.0), -1.0);
        assert!(sgn(-0.0).is_sign_negative());
        assert!(sgn(f64::NAN).is_nan());
    }
}
