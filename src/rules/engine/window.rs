//! `at_least = "3 of 5"`: what held in the last samples.
//!
//! Only samples count. A gap neither holds nor fails, so what was judged before it counts on, until
//! the data is missing for good.

use serde::{Deserialize, Serialize};

use crate::rules::{AtLeast, Severity};

/// The last samples, a bit each, the newest lowest; by severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    holds: [u64; Severity::ALL.len()],
    stays: [u64; Severity::ALL.len()],
}

impl Window {
    /// Takes a sample's verdict; returns that of the last samples together.
    pub(super) fn push(
        &mut self,
        of: AtLeast,
        holds: Option<Severity>,
        stays: Option<Severity>,
    ) -> (Option<Severity>, Option<Severity>) {
        let kept = u64::MAX >> (u64::BITS - u32::from(of.of));
        let mut worst = [None, None];
        for (place, severity) in Severity::ALL.iter().copied().enumerate() {
            let bits = [(&mut self.holds[place], holds), (&mut self.stays[place], stays)];
            for ((bits, found), worst) in bits.into_iter().zip(&mut worst) {
                *bits = (*bits << 1 | u64::from(found >= Some(severity))) & kept;
                if bits.count_ones() >= u32::from(of.least) {
                    *worst = Some(severity);
                }
            }
        }
        (worst[0], worst[1])
    }

    /// In how many of the last samples anything held.
    pub(super) fn held(&self) -> u32 {
        self.holds[0].count_ones()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holds[0] == 0
    }
}
