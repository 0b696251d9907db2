//! Which function of a window a call is.

use super::why_tick::literal;
pub(super) use super::window::Function;
use super::window::Parameter;
use crate::promql::expr::Call;
use crate::promql::{self, Expr};

/// The function; `None` where its parameters are not fixed or it cannot be followed.
pub(super) fn of(call: &Call) -> Option<Function> {
    use promql::Function as F;
    let parameter =
        |place: usize| call.arguments.get(place).and_then(|e: &Expr| literal(e)).map(Parameter);
    Some(match call.function {
        F::Rate => Function::Rate,
        F::Increase => Function::Increase,
        F::Delta => Function::Delta,
        F::Irate => Function::Irate,
        F::Idelta => Function::Idelta,
        F::Deriv => Function::Deriv,
        F::PredictLinear => Function::PredictLinear(parameter(1)?),
        F::AvgOverTime => Function::Avg,
        F::MinOverTime => Function::Min,
        F::MaxOverTime => Function::Max,
        F::SumOverTime => Function::Sum,
        F::CountOverTime => Function::Count,
        F::LastOverTime => Function::Last,
        F::FirstOverTime => Function::First,
        F::PresentOverTime => Function::Present,
        F::StddevOverTime => Function::Stddev,
        F::StdvarOverTime => Function::Stdvar,
        F::QuantileOverTime => Function::Quantile(parameter(0)?),
        F::Changes => Function::Changes,
        F::Resets => Function::Resets,
        other @ (F::MadOverTime
        | F::TsOfFirstOverTime
        | F::TsOfLastOverTime
        | F::TsOfMinOverTime
        | F::TsOfMaxOverTime) => Function::Other(other),
        _ => return None,
    })
}
