//! What functions compute, as pure functions of numbers: shared by the evaluator and the
//! streaming plan, so that both mean the same.

pub mod aggregation;
pub mod calendar;
pub mod elementwise;
pub mod extrapolation;
pub mod histogram;
pub mod statistics;
pub mod window;

pub use window::Point;
