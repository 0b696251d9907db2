//! Sums that keep their precision, means, deviations and quantiles.

/// A sum that carries what rounding loses (Neumaier's variant of Kahan's).
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    /// A sum that starts at a value.
    #[must_use]
    pub const fn starting_at(value: f64) -> Self {
        Self { sum: value, lost: 0.0 }
    }

    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }

    /// The sum.
    #[inline]
    #[must_use]
    pub fn value(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }

    fn scaled(self, factor: f64) -> Self {
        Self { sum: self.sum * factor, lost: self.lost * factor }
    }
}

/// A mean that does not overflow where the sum of its values would.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mean {
    /// The sum, or the mean so far once the sum overflowed.
    state: Sum,
    count: f64,
    incremental: bool,
}

impl Mean {
    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let mut sum = self.state;
            sum.add(value);
            if self.count == 1.0 || !sum.sum.is_infinite() {
                self.state = sum;
                return;
            }
            self.incremental = true;
            self.state = self.state.scaled(1.0 / (self.count - 1.0));
        }
        let mut mean = self.state.scaled((self.count - 1.0) / self.count);
        mean.add(value / self.count);
        self.state = mean;
    }

    /// The mean; NaN of nothing.
    #[must_use]
    pub fn value(self) -> f64 {
        if self.incremental {
            self.state.value()
        } else {
            self.state.sum / self.count + self.state.lost / self.count
        }
    }
}

/// Mean and variance in one pass (Welford's).
#[derive(Debug, Clone, Copy, Default)]
pub struct Moments {
    count: f64,
    mean: Sum,
    squares: Sum,
}

impl Moments {
    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = self.distance(value);
        self.mean.add(delta / self.count);
        self.squares.add(delta * self.distance(value));
    }

    /// How far a value is above the mean. Its parts go one after the other: their sum would lose the
    /// second one again.
    fn distance(self, value: f64) -> f64 {
        (value - self.mean.sum) - self.mean.lost
    }

    /// The population's variance; NaN of nothing.
    #[must_use]
    pub fn variance(self) -> f64 {
        (self.squares.sum + self.squares.lost) / self.count
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut moments = Self::default();
        values.into_iter().for_each(|value| moments.add(value));
        moments
    }
}

/// The φ-quantile of values, which are sorted here: NaN first, linear between two values. Below 0
/// and above 1 it is infinite; NaN of nothing.
#[must_use]
pub fn quantile(phi: f64, values: &mut [f64]) -> f64 {
    values.sort_unstable_by(nan_first);
    quantile_of_sorted(phi, values.len(), |place| values[place])
}

/// The same of so many values that are in order already, by their places.
#[inline]
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank is a place in memory"
)]
pub fn quantile_of_sorted(phi: f64, count: usize, value: impl Fn(usize) -> f64) -> f64 {
    if count == 0 || phi.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&phi) {
        return f64::INFINITY.copysign(phi);
    }
    let rank = phi * (count - 1) as f64;
    let below = rank.floor() as usize;
    let above = (below + 1).min(count - 1);
    let weight = rank - rank.floor();
    value(below) * (1.0 - weight) + value(above) * weight
}

/// The order of numbers with NaN before all of them.
#[must_use]
pub fn nan_first(a: &f64, b: &f64) -> std::cmp::Ordering {
    a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_keeps_what_rounding_loses() {
        let mut sum = Sum::default();
        [1.0, 1e100, 1.0, -1e100].into_iter().for_each(|value| sum.add(value));
        assert_eq!(sum.value(), 2.0);
    }

    #[test]
    fn a_mean_of_huge_values_is_finite() {
        let mut mean = Mean::default();
        [1.5e308, 1.5e308, 1.5e308].into_iter().for_each(|value| mean.add(value));
        assert!((mean.value() / 1.5e308 - 1.0).abs() < 1e-12);
        assert!(Mean::default().value().is_nan());
    }

    #[test]
    fn a_variance_does_not_suffer_from_a_large_mean() {
        for base in [1e9, 1e15] {
            let values = [4.0, 7.0, 13.0, 16.0].map(|value| base + value);
            let moments: Moments = values.into_iter().collect();
            assert_eq!(moments.variance(), 22.5, "{base}");
        }
    }

    #[test]
    fn a_quantile_lies_between_two_values() {
        let quantile_of = |phi| quantile(phi, &mut [3.0, 1.0, 2.0, 4.0]);
        assert_eq!(quantile_of(0.0), 1.0);
        assert_eq!(quantile_of(0.5), 2.5);
        assert_eq!(quantile_of(1.0), 4.0);
        assert_eq!(quantile_of(1.1), f64::INFINITY);
        assert_eq!(quantile_of(-0.1), f64::NEG_INFINITY);
        assert!(quantile_of(f64::NAN).is_nan());
        assert!(quantile(0.5, &mut []).is_nan());
        assert!(quantile(0.0, &mut [1.0, f64::NAN]).is_nan());
    }
}
