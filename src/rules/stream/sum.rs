//! Sums that terms leave again without a trace: what was added and taken away does not show.
//!
//! A sum is kept in two doubles (Dekker 1971, Knuth TAOCP 4.2.2), so that a window of small values
//! after large ones is as exact as if the large ones had never been. What is not finite is counted
//! apart, since an infinity that is subtracted leaves a NaN behind.

/// A sum of finite terms.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Exact {
    high: f64,
    low: f64,
}

impl Exact {
    /// Adds a finite term, and what was left out when that was rounded.
    #[inline]
    pub(super) fn add(&mut self, term: f64, rest: f64) {
        let sum = self.high + term;
        let part = sum - self.high;
        self.low += (self.high - (sum - part)) + (term - part) + rest;
        self.high = sum + self.low;
        self.low -= self.high - sum;
    }

    /// Adds the product of two, with all its digits.
    #[inline]
    pub(super) fn add_product(&mut self, a: f64, b: f64) {
        let (product, rest) = product(a, b);
        self.add(product, rest);
    }

    /// This minus a number times another sum, with all digits: the terms of a variance.
    #[inline]
    pub(super) fn minus_product(mut self, factor: f64, other: Self) -> Self {
        let (product, rest) = product(-factor, other.high);
        self.add(product, rest - factor * other.low);
        self
    }

    /// This minus the square of another sum, as [`Exact::minus_product`].
    #[inline]
    pub(super) fn minus_square(mut self, other: Self) -> Self {
        let (square, rest) = product(other.high, other.high);
        self.add(-square, -(rest + 2.0 * other.high * other.low));
        self
    }

    /// The sum as a double.
    #[inline]
    pub(super) fn value(self) -> f64 {
        self.high + self.low
    }

    /// The sum, as near as costs nothing.
    #[inline]
    pub(super) fn rounded(self) -> f64 {
        self.high
    }
}

/// A sum of any terms.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    finite: Exact,
    nan: u32,
    infinite: [u32; 2],
}

impl Sum {
    #[inline]
    pub(super) fn add(&mut self, term: f64) {
        if term.is_finite() { self.finite.add(term, 0.0) } else { self.count(term, 1) }
    }

    #[inline]
    pub(super) fn remove(&mut self, term: f64) {
        if term.is_finite() { self.finite.add(-term, 0.0) } else { self.count(term, u32::MAX) }
    }

    /// The sum as a double.
    #[inline]
    pub(super) fn value(&self) -> f64 {
        match (self.nan, self.infinite) {
            (0, [0, 0]) => self.finite.value(),
            (0, [_, 0]) => f64::INFINITY,
            (0, [0, _]) => f64::NEG_INFINITY,
            _ => f64::NAN,
        }
    }

    /// Whether the finite terms have stayed within what a double can hold. If not, the sum must be
    /// made anew from its terms.
    #[inline]
    pub(super) fn is_sound(&self) -> bool {
        self.finite.high.is_finite() && self.finite.low.is_finite()
    }

    #[cold]
    fn count(&mut self, term: f64, by: u32) {
        let counter =
            if term.is_nan() { &mut self.nan } else { &mut self.infinite[usize::from(term < 0.0)] };
        *counter = counter.wrapping_add(by);
    }
}

/// A product and what its rounding left out (Dekker's, since the baseline has no fused operation).
#[inline]
pub(super) fn product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    let rest = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low);
    (product, rest)
}

#[inline]
fn split(a: f64) -> (f64, f64) {
    const SPLITTER: f64 = 134_217_729.0; // 2^27 + 1
    let scaled = SPLITTER * a;
    let high = scaled - (scaled - a);
    (high, a - high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_left_does_not_show() {
        let mut sum = Sum::default();
        for term in [0.1, 1e18, 0.2, f64::INFINITY, 1e-9] {
            sum.add(term);
        }
        assert_eq!(sum.value(), f64::INFINITY);
        sum.remove(f64::INFINITY);
        sum.remove(1e18);
        assert!((sum.value() - (0.1 + 0.2 + 1e-9)).abs() < 1e-12);
        sum.add(f64::NAN);
        assert!(sum.value().is_nan() && sum.is_sound());
    }

    #[test]
    fn products_keep_their_digits() {
        let mut sum = Exact::default();
        sum.add_product(1e9 + 1.0, 1e9 + 1.0);
        sum.add_product(-1e9, 1e9);
        assert_eq!(sum.value(), 2e9 + 1.0);
    }

    #[test]
    fn what_overflows_is_told() {
        let mut sum = Sum::default();
        sum.add(f64::MAX);
        sum.add(f64::MAX);
        sum.remove(f64::MAX);
        assert!(!sum.is_sound());
    }
}
