//! What a front finds of one output at one time, and all that alerts need to know of it.

use crate::rules::Severity;
use crate::sample::Timestamp;

/// What a front found of an output at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// There is data.
    Data {
        /// The value that was judged, where there is one: an expression that yields nothing has
        /// none.
        value: Option<f64>,
        /// The worst severity of which `when` holds.
        holds: Option<Severity>,
        /// The worst severity that would go on, did it fire: `when` holds, or `clear` is there and
        /// does not. Never below `holds`.
        stays: Option<Severity>,
    },
    /// There is no data any more.
    Missing {
        /// Since when.
        since: Timestamp,
    },
}
