//! Quantiles and fractions of classic histograms: counters of what was at most `le`.

/// One counter of a histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// The greatest value counted, the label `le`.
    pub upper: f64,
    /// How many values were at most that.
    pub count: f64,
}

/// Counts that differ by less than this part of them are equal but for rounding.
const TOLERANCE: f64 = 1e-12;

/// A quantile, and what had to be done to the buckets to have one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    /// The quantile; NaN where there is none.
    pub value: f64,
    /// Where a greater bucket counted less than a smaller one, by more than rounding.
    pub repaired: Option<Repair>,
}

/// The counts that were raised to those of smaller buckets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Repair {
    /// The upper bound of the first bucket that was.
    pub from: f64,
    /// Of the last.
    pub to: f64,
    /// By how much at most.
    pub difference: f64,
}

/// The bound of a bucket, from its label `le`.
#[must_use]
pub fn bound(le: &str) -> Option<f64> {
    // Rust would also take `infinity` and the like, which Go takes too.
    le.parse().ok()
}

/// The φ-quantile of a histogram, linear within a bucket. The buckets may come in any order; they
/// are sorted and joined here.
///
/// Below 0 and above 1 it is infinite. It is NaN without a bucket `+Inf`, with that one only, and
/// without observations. In the highest bucket it is that bucket's lower bound; the lowest one is
/// thought to begin at 0 if it ends above that.
#[must_use]
pub fn quantile(phi: f64, buckets: &mut Vec<Bucket>) -> Quantile {
    let plain = |value| Quantile { value, repaired: None };
    if phi.is_nan() {
        return plain(f64::NAN);
    }
    if !(0.0..=1.0).contains(&phi) {
        return plain(f64::INFINITY.copysign(phi));
    }
    if !normalize(buckets) {
        return plain(f64::NAN);
    }
    let repaired = make_monotonic(buckets);
    let [.., below, top] = &**buckets else { return plain(f64::NAN) };
    if top.count == 0.0 {
        return plain(f64::NAN);
    }
    let rank = phi * top.count;
    let finite = &buckets[..buckets.len() - 1];
    let value = match finite.iter().position(|bucket| bucket.count >= rank) {
        None => below.upper,
        Some(0) if finite[0].upper <= 0.0 => finite[0].upper,
        Some(at) => {
            let lower = if at == 0 { Bucket { upper: 0.0, count: 0.0 } } else { finite[at - 1] };
            let part = (rank - lower.count) / (finite[at].count - lower.count);
            lower.upper + (finite[at].upper - lower.upper) * part
        }
    };
    Quantile { value, repaired }
}

/// The part of the observations between two values, linear within a bucket.
#[must_use]
pub fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !normalize(buckets) {
        return f64::NAN;
    }
    make_monotonic(buckets);
    let total = buckets.last().map_or(0.0, |top| top.count);
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, total) - rank_of(lower, buckets, total)) / total
}

/// How many observations were below a value.
fn rank_of(value: f64, buckets: &[Bucket], total: f64) -> f64 {
    let lowest = if buckets[0].upper > 0.0 { 0.0 } else { f64::NEG_INFINITY };
    let mut below = Bucket { upper: lowest, count: 0.0 };
    for bucket in buckets {
        if below.upper >= value {
            return below.count;
        }
        if bucket.upper > value {
            let part = if bucket.upper.is_infinite() || below.upper.is_infinite() {
                // Nothing is known within a bucket without an end.
                if below.upper.is_infinite() { 1.0 } else { 0.0 }
            } else {
                (value - below.upper) / (bucket.upper - below.upper)
            };
            return (below.count + (bucket.count - below.count) * part).min(total);
        }
        below = *bucket;
    }
    total
}

/// Sorts, and joins those of one bound. Whether there is a bucket `+Inf`.
fn normalize(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    buckets.dedup_by(|later, kept| {
        let same = later.upper == kept.upper;
        if same {
            kept.count += later.count;
        }
        same
    });
    buckets.last().is_some_and(|top| top.upper == f64::INFINITY)
}

fn make_monotonic(buckets: &mut [Bucket]) -> Option<Repair> {
    let mut repair: Option<Repair> = None;
    let mut before = buckets.first().map_or(0.0, |bucket| bucket.count);
    for bucket in buckets.iter_mut().skip(1) {
        let difference = before - bucket.count;
        let size = before.abs().max(bucket.count.abs());
        if difference.abs() <= size * TOLERANCE {
            bucket.count = before;
        } else if difference > 0.0 {
            bucket.count = before;
            let known =
                repair.get_or_insert(Repair { from: bucket.upper, to: bucket.upper, difference });
            known.to = bucket.upper;
            known.difference = known.difference.max(difference);
        } else {
            before = bucket.count;
        }
    }
    repair
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(of: &[(f64, f64)]) -> Vec<Bucket> {
        of.iter().map(|(upper, count)| Bucket { upper: *upper, count: *count }).collect()
    }

    #[test]
    fn a_quantile_is_linear_within_its_bucket() {
        let histogram = [(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 25.0)];
        for (phi, value) in [(0.2, 0.5), (0.6, 1.5), (0.9, 2.0), (-1.0, f64::NEG_INFINITY)] {
            assert_eq!(quantile(phi, &mut buckets(&histogram)).value, value, "{phi}");
        }
        let negative = [(-1.0, 10.0), (f64::INFINITY, 10.0)];
        assert_eq!(quantile(0.5, &mut buckets(&negative)).value, -1.0);
    }

    #[test]
    fn what_is_no_histogram_has_no_quantile() {
        let top = f64::INFINITY;
        for of in [&[][..], &[(1.0, 1.0)], &[(top, 1.0)], &[(1.0, 0.0), (top, 0.0)]] {
            assert!(quantile(0.5, &mut buckets(of)).value.is_nan(), "{of:?}");
            assert!(of == [(top, 1.0)] || fraction(0.0, 1.0, &mut buckets(of)).is_nan(), "{of:?}");
        }
    }

    #[test]
    fn a_count_below_a_smaller_buckets_is_raised() {
        let broken = [(1.0, 10.0), (2.0, 8.0), (3.0, 9.0), (f64::INFINITY, 20.0)];
        let found = quantile(0.4, &mut buckets(&broken));
        assert_eq!(found.repaired, Some(Repair { from: 2.0, to: 3.0, difference: 2.0 }));
        assert_eq!(found.value, 0.8);
        let rounding = [(1.0, 10.0), (2.0, 10.0 - 1e-12), (f64::INFINITY, 20.0)];
        assert_eq!(quantile(0.4, &mut buckets(&rounding)).repaired, None);
    }

    #[test]
    fn a_fraction_is_what_lies_between() {
        let histogram = [(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 40.0)];
        for (lower, upper, part) in [
            (0.0, 1.0, 0.25),
            (0.5, 1.5, 0.25),
            (f64::NEG_INFINITY, 2.0, 0.5),
            (2.0, f64::INFINITY, 0.5),
            (1.0, 1.0, 0.0),
        ] {
            assert_eq!(fraction(lower, upper, &mut buckets(&histogram)), part, "{lower} {upper}");
        }
    }
}
