//! Binary operators, and what they do to two numbers.

use std::fmt;

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// Makes a number of two.
    Arithmetic(Arithmetic),
    /// Keeps what compares true, or says with `bool` whether it does.
    Comparison(Comparison),
    /// Combines sets of series.
    Set(SetOp),
}

/// An operator that makes a number of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
}

/// An operator that compares two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Comparison {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
}

/// An operator on sets of series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetOp {
    /// The left ones that have a match.
    And,
    /// The left ones, and the right ones without a match.
    Or,
    /// The left ones without a match.
    Unless,
}

impl Arithmetic {
    /// The result. What is undefined is NaN, as in IEEE 754.
    #[inline]
    #[must_use]
    pub fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Modulo => left % right,
            Self::Power => left.powf(right),
            Self::Atan2 => left.atan2(right),
        }
    }
}

impl Comparison {
    /// What holds exactly where this does not, for numbers.
    #[must_use]
    pub const fn negated(self) -> BinaryOp {
        BinaryOp::Comparison(match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Greater => Self::LessOrEqual,
            Self::Less => Self::GreaterOrEqual,
            Self::GreaterOrEqual => Self::Less,
            Self::LessOrEqual => Self::Greater,
        })
    }

    /// The same with its sides exchanged.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        match self {
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            same @ (Self::Equal | Self::NotEqual) => same,
        }
    }

    /// Whether it holds. NaN is only unequal.
    #[inline]
    #[must_use]
    #[expect(clippy::float_cmp, reason = "PromQL compares exactly")]
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::Less => left < right,
            Self::GreaterOrEqual => left >= right,
            Self::LessOrEqual => left <= right,
        }
    }
}

impl BinaryOp {
    /// Every operator.
    pub const ALL: [Self; 16] = [
        Self::Arithmetic(Arithmetic::Add),
        Self::Arithmetic(Arithmetic::Subtract),
        Self::Arithmetic(Arithmetic::Multiply),
        Self::Arithmetic(Arithmetic::Divide),
        Self::Arithmetic(Arithmetic::Modulo),
        Self::Arithmetic(Arithmetic::Power),
        Self::Arithmetic(Arithmetic::Atan2),
        Self::Comparison(Comparison::Equal),
        Self::Comparison(Comparison::NotEqual),
        Self::Comparison(Comparison::Greater),
        Self::Comparison(Comparison::Less),
        Self::Comparison(Comparison::GreaterOrEqual),
        Self::Comparison(Comparison::LessOrEqual),
        Self::Set(SetOp::And),
        Self::Set(SetOp::Or),
        Self::Set(SetOp::Unless),
    ];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Arithmetic(Arithmetic::Add) => "+",
            Self::Arithmetic(Arithmetic::Subtract) => "-",
            Self::Arithmetic(Arithmetic::Multiply) => "*",
            Self::Arithmetic(Arithmetic::Divide) => "/",
            Self::Arithmetic(Arithmetic::Modulo) => "%",
            Self::Arithmetic(Arithmetic::Power) => "^",
            Self::Arithmetic(Arithmetic::Atan2) => "atan2",
            Self::Comparison(Comparison::Equal) => "==",
            Self::Comparison(Comparison::NotEqual) => "!=",
            Self::Comparison(Comparison::Greater) => ">",
            Self::Comparison(Comparison::Less) => "<",
            Self::Comparison(Comparison::GreaterOrEqual) => ">=",
            Self::Comparison(Comparison::LessOrEqual) => "<=",
            Self::Set(SetOp::And) => "and",
            Self::Set(SetOp::Or) => "or",
            Self::Set(SetOp::Unless) => "unless",
        }
    }

    /// The operator of this spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.as_str() == text)
    }

    /// How strongly it binds: the greater, the stronger. Only [`Arithmetic::Power`] binds to the
    /// right (prometheus.io, Querying, Operators).
    #[must_use]
    pub const fn precedence(self) -> u8 {
        match self {
            Self::Set(SetOp::Or) => 1,
            Self::Set(SetOp::And | SetOp::Unless) => 2,
            Self::Comparison(_) => 3,
            Self::Arithmetic(Arithmetic::Add | Arithmetic::Subtract) => 4,
            Self::Arithmetic(Arithmetic::Power) => 6,
            Self::Arithmetic(_) => 5,
        }
    }
}

impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
