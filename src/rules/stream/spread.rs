//! Variances of terms that come and go.
//!
//! Terms count from one of the first of them: so those that lie close together far from zero keep
//! their digits, and those that are all equal have no variance at all.

use super::sum::{Exact, product};

/// Sums of what lies between the terms and an origin, and of its squares.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spread {
    origin: f64,
    /// How many terms are finite, and how many are not.
    finite: u32,
    others: u32,
    sum: Exact,
    squares: Exact,
    /// The most that the squares have been.
    most: f64,
}

/// How small what is left of the squares may be, without the mean's, beside the most they have been
/// before all is made anew: then half of the digits of both sums have gone. It comes to this where
/// terms have moved from their origin a million times as far as they lie apart, or a term has left
/// that was a million times as far away.
const TIGHT: f64 = 1.0 / (1u64 << 40) as f64;

impl Spread {
    #[inline]
    pub(super) fn add(&mut self, term: f64) {
        if !term.is_finite() {
            self.others += 1;
            return;
        }
        if self.finite == 0 {
            self.origin = term;
        }
        self.finite += 1;
        let (distance, rest) = difference(term, self.origin);
        self.sum.add(distance, rest);
        let (square, square_rest) = product(distance, distance);
        self.squares.add(square, square_rest + 2.0 * distance * rest);
        self.most = self.most.max(self.squares.rounded());
    }

    #[inline]
    pub(super) fn remove(&mut self, term: f64) {
        if !term.is_finite() {
            self.others -= 1;
            return;
        }
        self.finite -= 1;
        let (distance, rest) = difference(term, self.origin);
        self.sum.add(-distance, -rest);
        let (square, square_rest) = product(distance, distance);
        self.squares.add(-square, -(square_rest + 2.0 * distance * rest));
        if self.finite == 0 {
            // What rounding may have left of those that were there goes.
            *self = Self { others: self.others, ..Self::default() };
        }
    }

    /// Whether nothing has overflowed, and the terms are not much nearer to each other than they
    /// are to the origin, or others were. If not, all must be made anew from the terms.
    #[inline]
    pub(super) fn is_sound(&self) -> bool {
        let (sum, squares) = (self.sum.rounded(), self.squares.rounded());
        let count = f64::from(self.finite);
        squares * count - sum * sum >= self.most * count * TIGHT
    }

    /// The variance; `None` where terms are too large for their squares.
    #[inline]
    pub(super) fn variance(&self) -> Option<f64> {
        if self.others > 0 {
            return Some(f64::NAN);
        }
        // (count * squares - sum²) / count², all digits kept until the difference is taken.
        let count = f64::from(self.finite);
        let all = Exact::default().minus_product(-count, self.squares);
        let variance = all.minus_square(self.sum).value() / (count * count);
        (!variance.is_nan()).then(|| variance.max(0.0))
    }
}

/// A difference and what its rounding left out (Knuth TAOCP 4.2.2).
#[inline]
fn difference(a: f64, b: f64) -> (f64, f64) {
    let difference = a - b;
    let part = difference - a;
    (difference, (a - (difference - part)) - (b + part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(terms: &[f64]) -> Spread {
        let mut spread = Spread::default();
        terms.iter().for_each(|term| spread.add(*term));
        spread
    }

    #[test]
    fn terms_close_together_far_from_zero_keep_their_digits() {
        let spread = of(&[1e15 + 4.0, 1e15 + 7.0, 1e15 + 13.0, 1e15 + 16.0]);
        assert_eq!(spread.variance(), Some(22.5));
        assert_eq!(of(&[1e9 + 0.1; 7]).variance(), Some(0.0));
        assert_eq!(of(&[0.1, 1e9, 0.3]).variance().map(f64::sqrt), Some(471_404_520.696_750_8));
    }

    #[test]
    fn an_origin_that_terms_have_left_behind_is_told() {
        let mut spread = of(&[0.1, 1e9 + 0.1, 1e9 + 0.1]);
        assert!(spread.is_sound());
        spread.remove(0.1);
        assert!(!spread.is_sound());
        assert!(of(&[1e9 + 0.1; 2]).is_sound());
    }

    #[test]
    fn a_term_that_took_the_digits_of_others_with_it_is_told() {
        let mut spread = of(&[1.0, 1e25, 3.0]);
        assert!(spread.is_sound());
        spread.remove(1e25);
        assert!(!spread.is_sound());
    }

    #[test]
    fn what_has_left_does_not_show() {
        let mut spread = of(&[1e9, 5.0, f64::INFINITY]);
        assert!(spread.variance().unwrap().is_nan());
        [1e9, 5.0, f64::INFINITY].into_iter().for_each(|term| spread.remove(term));
        [2.0, 4.0].into_iter().for_each(|term| spread.add(term));
        assert_eq!(spread.variance(), Some(1.0));
    }

    #[test]
    fn squares_that_overflow_are_told() {
        let spread = of(&[1e200, -1e200]);
        assert!(!spread.is_sound());
        assert_eq!(spread.variance(), None);
    }
}
