//! A cell in as few bytes as it takes: most of what is measured is a small number, or one with few
//! decimals, for which a double has room to spare.

/// Bytes of a double.
const DOUBLE: u8 = 8;

/// What decimals are counted in: clocks give nanoseconds, sensors less.
const BILLION: f64 = 1e9;

/// How a cell is written, in four bits: 0 to 8 are the highest bytes of the double, of which the rest
/// is zero; 9 to 14 a whole number of billionths, in one to six bytes; and then there is [`SAME`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form(u8);

/// As the cell before: of one echo the least, the mean and the longest time are the same. No bytes.
pub(super) const SAME: Form = Form(SAME_CODE);

const SAME_CODE: u8 = 15;

/// The most bytes of a whole number of billionths.
const SHORT_MAX: u8 = 6;

impl Form {
    /// The form of which [`Form::code`] gave `code`.
    pub(super) const fn of(code: u8) -> Self {
        debug_assert!(code < 16, "four bits");
        Self(code)
    }

    pub(super) fn code(self) -> u8 {
        self.0
    }

    /// How many bytes a cell of this form takes.
    pub(super) const fn len(self) -> usize {
        (match self.0 {
            SAME_CODE => 0,
            short if short > DOUBLE => short - DOUBLE,
            double => double,
        }) as usize
    }

    /// The cell whose bytes `bytes` begins with; not of [`SAME`].
    pub(super) fn read(self, bytes: &[u8]) -> f64 {
        let len = self.len();
        if len == 0 {
            return 0.0;
        }
        let word = match bytes.first_chunk() {
            Some(word) => u64::from_le_bytes(*word),
            None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        let over = 64 - 8 * len as u32;
        let word = word << over;
        if self.0 <= DOUBLE {
            return f64::from_bits(word);
        }
        let zigzag = word >> over;
        ((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)) as f64 / BILLION
    }
}

/// The form of a cell, and the bytes of it.
pub(super) fn shorten(value: f64) -> (Form, [u8; 8]) {
    let double = value.to_bits();
    let over = double.trailing_zeros() / 8 * 8;
    let len = DOUBLE - (over / 8) as u8;
    // Not rounded by `f64::round`, which is a call; what is wrong by one is not taken below.
    let billionths = (value * BILLION + 0.5_f64.copysign(value)) as i64;
    let zigzag = ((billionths << 1) ^ (billionths >> 63)) as u64;
    let short = DOUBLE - (zigzag.leading_zeros() / 8) as u8;
    if 0 < short
        && short <= SHORT_MAX
        && short < len
        && (billionths as f64 / BILLION).to_bits() == double
    {
        (Form(DOUBLE + short), zigzag.to_le_bytes())
    } else {
        (Form(len), double.checked_shr(over).unwrap_or_default().to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::STALE;

    fn written(value: f64) -> usize {
        let (form, bytes) = shorten(value);
        for more in [0, 9] {
            let bytes = [&bytes[..form.len()], &vec![7; more]].concat();
            assert_eq!(Form::of(form.code()).read(&bytes).to_bits(), value.to_bits(), "{value}");
        }
        form.len()
    }

    #[test]
    fn what_is_usual_is_short() {
        assert_eq!(written(0.0), 0);
        assert_eq!(written(1.0), 2);
        assert_eq!(written(-0.0), 1);
        assert_eq!(written(64.0), 2);
        assert_eq!(written(0.000_034_567), 3);
        assert_eq!(written(-0.012), 4);
        assert_eq!(written(21.3), 5);
        assert_eq!(written(1_234_567.0), 4);
        assert_eq!(written(std::f64::consts::PI), 8);
        assert_eq!(written(STALE), 8);
    }

    proptest! {
        #[test]
        fn every_double_comes_back(value in any::<f64>(), bits in any::<u64>()) {
            written(value);
            written(f64::from_bits(bits));
        }

        #[test]
        fn every_decimal_comes_back(digits in any::<i32>(), places in 0..12) {
            prop_assert!(written(f64::from(digits) / 10_f64.powi(places)) <= 8);
        }
    }
}
