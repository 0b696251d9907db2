//! The aggregation operators.

use std::fmt;

/// An aggregation operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `count`
    Count,
    /// `group`: 1 for every group.
    Group,
    /// `stddev`: the population's standard deviation.
    Stddev,
    /// `stdvar`: its square.
    Stdvar,
    /// `quantile(φ, …)`
    Quantile,
    /// `topk(k, …)`: the k greatest, with all their labels.
    Topk,
    /// `bottomk(k, …)`: the k least.
    Bottomk,
    /// `limitk(k, …)`: any k.
    Limitk,
    /// `count_values("label", …)`: how often each value occurs.
    CountValues,
}

impl AggregateOp {
    /// Every operator.
    pub const ALL: [Self; 13] = [
        Self::Sum,
        Self::Avg,
        Self::Min,
        Self::Max,
        Self::Count,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::Quantile,
        Self::Topk,
        Self::Bottomk,
        Self::Limitk,
        Self::CountValues,
    ];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Quantile => "quantile",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::Limitk => "limitk",
            Self::CountValues => "count_values",
        }
    }

    /// The operator of this name, which may be in capitals.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.as_str().eq_ignore_ascii_case(text))
    }

    /// Whether it keeps series as they are instead of making one of a group.
    #[must_use]
    pub const fn selects(self) -> bool {
        matches!(self, Self::Topk | Self::Bottomk | Self::Limitk)
    }
}

impl fmt::Display for AggregateOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
