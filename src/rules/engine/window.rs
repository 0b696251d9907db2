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
    /// How many have held at once since their number rose last; 0 once that is over. Not kept over
    /// a restart: it is about what does not happen.
    #[serde(skip)]
    peak: u32,
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

    /// After a sample: how many had held at once before their number fell, where they were half of
    /// what is needed or more and never enough.
    pub(super) fn near_miss(&mut self, of: AtLeast, before: u32) -> Option<u32> {
        let held = self.held();
        if held > before {
            self.peak = held;
        } else if held < before {
            let least = u32::from(of.least);
            let peak = std::mem::take(&mut self.peak);
            return (peak < least && peak > 0 && peak * 2 >= least).then_some(peak);
        }
        None
    }

    /// `2 of the last 5 samples were > 30, and 3 are needed`
    pub(super) fn shown(of: AtLeast, held: u32, when: &str) -> String {
        format!("{held} of the last {} samples were {when}, and {} are needed", of.of, of.least)
    }

    /// In how many of the last samples anything held.
    pub(super) fn held(&self) -> u32 {
        self.holds[0].count_ones()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holds[0] == 0
    }
}
