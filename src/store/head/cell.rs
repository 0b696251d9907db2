//! A cell in as few bytes as it takes: most of what is measured is a small number, or one with few
//! decimals, for which a double has room to spare.

/// Bytes of a double.
const DOUBLE: u8 = 8;

/// What decimals are counted in: clocks give nanoseconds, sensors less.
const BILLION: f64 = 1e9;

/// How a cell is written, in four bits: 0 to 8 are the first bytes of the double, of which the rest
/// is zero; 9 to 15 a whole number of billionths, in one to seven bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form(u8);

impl Form {
    /// The form of which [`Form::code`] gave `code`.
    pub(super) fn of(code: u8) -> Self {
        debug_assert!(code < 16, "four bits");
        Self(code)
    }

    pub(super) fn code(self) -> u8 {
        self.0
    }

    /// How many bytes a cell of this form takes.
    pub(super) fn len(self) -> usize {
        usize::from(if self.0 > DOUBLE { self.0 - DOUBLE } else { self.0 })
    }

    /// The cell that `bytes` hold.
    pub(super) fn read(self, bytes: &[u8]) -> f64 {
        let mut word = [0; 8];
        if self.0 > DOUBLE {
            word[..bytes.len()].copy_from_slice(bytes);
            let zigzag = u64::from_le_bytes(word);
            ((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)) as f64 / BILLION
        } else {
            word[..bytes.len()].copy_from_slice(bytes);
            f64::from_bits(u64::from_be_bytes(word))
        }
    }
}

/// Appends a cell, and returns how.
pub(super) fn write(value: f64, out: &mut Vec<u8>) -> Form {
    let double = value.to_bits();
    let len = 8 - (double.trailing_zeros() / 8) as usize;
    // Not rounded by `f64::round`, which is a call; what is wrong by one is not taken below.
    let billionths = (value * BILLION + 0.5_f64.copysign(value)) as i64;
    let zigzag = ((billionths << 1) ^ (billionths >> 63)) as u64;
    let short = (8 - (zigzag.leading_zeros() / 8) as usize).max(1);
    if short < len && (billionths as f64 / BILLION).to_bits() == double {
        out.extend_from_slice(&zigzag.to_le_bytes()[..short]);
        Form(DOUBLE + short as u8)
    } else {
        out.extend_from_slice(&double.to_be_bytes()[..len]);
        Form(len as u8)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::STALE;

    fn written(value: f64) -> usize {
        let mut out = vec![7];
        let form = write(value, &mut out);
        assert_eq!(form.len(), out.len() - 1);
        assert_eq!(Form::of(form.code()).read(&out[1..]).to_bits(), value.to_bits(), "{value}");
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
