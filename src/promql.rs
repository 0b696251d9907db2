//! PromQL: texts are parsed into checked expressions, which are evaluated over any source of
//! series.
//!
//! Read [`expr`] first. [`mod@parse`] makes expressions of texts; [`functions`] and [`operator`]
//! say what is computed, as pure functions that the streaming plan shares. The meaning is
//! Prometheus 3's: windows exclude their start, names are dropped at the end. Native histograms
//! and experimental syntax are refused by name. Nothing here does I/O or reads a clock.

pub mod aggregate;
pub mod annotations;
mod display;
pub mod eval;
pub mod expr;
pub mod function;
pub mod functions;
pub mod labels;
pub mod memory;
pub mod operator;
pub mod parse;
pub mod selector;
pub mod source;

pub use aggregate::AggregateOp;
pub(crate) use display::write_matcher;
pub use eval::{Answer, AnswerValue, EvalError, Options};
pub use expr::{Expr, ExprKind, Span, ValueType};
pub use function::Function;
pub use labels::Labels;
pub use operator::BinaryOp;
pub use parse::{ParseError, parse};
pub use selector::Selector;
pub use source::Source;
