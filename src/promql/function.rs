//! The functions there are, and what they take.
//!
//! What they compute is in [`functions`](super::functions).

use super::expr::ValueType::{self, Range, Scalar, String, Vector};

/// What a function takes and yields.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    /// The types of its arguments.
    pub arguments: &'static [ValueType],
    /// How many of them may be left out, from the end.
    pub optional: usize,
    /// Whether the last may be given any number of times.
    pub repeats: bool,
    /// What it yields.
    pub returns: ValueType,
}

impl Signature {
    /// The type of the argument at a place, counted from 0.
    #[must_use]
    pub fn argument(&self, at: usize) -> Option<ValueType> {
        let last = self.arguments.last().filter(|_| self.repeats);
        self.arguments.get(at).or(last).copied()
    }

    /// How many arguments it takes at least, and at most where that is bounded.
    #[must_use]
    pub fn count(&self) -> (usize, Option<usize>) {
        let most = (!self.repeats).then_some(self.arguments.len());
        (self.arguments.len() - self.optional, most)
    }
}

macro_rules! functions {
    ($( $variant:ident $name:literal ($($argument:ident),*) $([$($how:tt)*])? -> $returns:ident; )*) => {
        /// A function of PromQL.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Function { $( #[doc = concat!("`", $name, "`")] $variant, )* }

        impl Function {
            /// Every function.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )*];

            /// As it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// The function of this name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name { $( $name => Some(Self::$variant), )* _ => None }
            }

            /// What it takes and yields.
            #[must_use]
            pub const fn signature(self) -> Signature {
                match self { $(
                    Self::$variant => Signature {
                        arguments: &[$($argument),*],
                        optional: functions!(@optional $([$($how)*])?),
                        repeats: functions!(@repeats $([$($how)*])?),
                        returns: $returns,
                    },
                )* }
            }
        }
    };
    (@optional) => { 0 };
    (@optional [optional]) => { 1 };
    (@optional [repeats]) => { 0 };
    (@optional [optional repeats]) => { 1 };
    (@repeats) => { false };
    (@repeats [optional]) => { false };
    (@repeats [repeats]) => { true };
    (@repeats [optional repeats]) => { true };
}

functions! {
    Abs "abs" (Vector) -> Vector;
    Absent "absent" (Vector) -> Vector;
    AbsentOverTime "absent_over_time" (Range) -> Vector;
    Acos "acos" (Vector) -> Vector;
    Acosh "acosh" (Vector) -> Vector;
    Asin "asin" (Vector) -> Vector;
    Asinh "asinh" (Vector) -> Vector;
    Atan "atan" (Vector) -> Vector;
    Atanh "atanh" (Vector) -> Vector;
    AvgOverTime "avg_over_time" (Range) -> Vector;
    Ceil "ceil" (Vector) -> Vector;
    Changes "changes" (Range) -> Vector;
    Clamp "clamp" (Vector, Scalar, Scalar) -> Vector;
    ClampMax "clamp_max" (Vector, Scalar) -> Vector;
    ClampMin "clamp_min" (Vector, Scalar) -> Vector;
    Cos "cos" (Vector) -> Vector;
    Cosh "cosh" (Vector) -> Vector;
    CountOverTime "count_over_time" (Range) -> Vector;
    DayOfMonth "day_of_month" (Vector) [optional] -> Vector;
    DayOfWeek "day_of_week" (Vector) [optional] -> Vector;
    DayOfYear "day_of_year" (Vector) [optional] -> Vector;
    DaysInMonth "days_in_month" (Vector) [optional] -> Vector;
    Deg "deg" (Vector) -> Vector;
    Delta "delta" (Range) -> Vector;
    Deriv "deriv" (Range) -> Vector;
    DoubleExponentialSmoothing "double_exponential_smoothing" (Range, Scalar, Scalar) -> Vector;
    Exp "exp" (Vector) -> Vector;
    FirstOverTime "first_over_time" (Range) -> Vector;
    Floor "floor" (Vector) -> Vector;
    HistogramFraction "histogram_fraction" (Scalar, Scalar, Vector) -> Vector;
    HistogramQuantile "histogram_quantile" (Scalar, Vector) -> Vector;
    HistogramQuantiles "histogram_quantiles" (Vector, String, Scalar) [repeats] -> Vector;
    Hour "hour" (Vector) [optional] -> Vector;
    Idelta "idelta" (Range) -> Vector;
    Increase "increase" (Range) -> Vector;
    Irate "irate" (Range) -> Vector;
    LabelJoin "label_join" (Vector, String, String, String) [optional repeats] -> Vector;
    LabelReplace "label_replace" (Vector, String, String, String, String) -> Vector;
    LastOverTime "last_over_time" (Range) -> Vector;
    Ln "ln" (Vector) -> Vector;
    Log10 "log10" (Vector) -> Vector;
    Log2 "log2" (Vector) -> Vector;
    MadOverTime "mad_over_time" (Range) -> Vector;
    MaxOf "max_of" (Scalar, Scalar) -> Scalar;
    MaxOverTime "max_over_time" (Range) -> Vector;
    MinOf "min_of" (Scalar, Scalar) -> Scalar;
    MinOverTime "min_over_time" (Range) -> Vector;
    Minute "minute" (Vector) [optional] -> Vector;
    Month "month" (Vector) [optional] -> Vector;
    Pi "pi" () -> Scalar;
    PredictLinear "predict_linear" (Range, Scalar) -> Vector;
    PresentOverTime "present_over_time" (Range) -> Vector;
    QuantileOverTime "quantile_over_time" (Scalar, Range) -> Vector;
    Rad "rad" (Vector) -> Vector;
    Rate "rate" (Range) -> Vector;
    Resets "resets" (Range) -> Vector;
    Round "round" (Vector, Scalar) [optional] -> Vector;
    Scalar "scalar" (Vector) -> Scalar;
    Sgn "sgn" (Vector) -> Vector;
    Sin "sin" (Vector) -> Vector;
    Sinh "sinh" (Vector) -> Vector;
    Sort "sort" (Vector) -> Vector;
    SortByLabel "sort_by_label" (Vector, String) [optional repeats] -> Vector;
    SortByLabelDesc "sort_by_label_desc" (Vector, String) [optional repeats] -> Vector;
    SortDesc "sort_desc" (Vector) -> Vector;
    Sqrt "sqrt" (Vector) -> Vector;
    StddevOverTime "stddev_over_time" (Range) -> Vector;
    StdvarOverTime "stdvar_over_time" (Range) -> Vector;
    SumOverTime "sum_over_time" (Range) -> Vector;
    Tan "tan" (Vector) -> Vector;
    Tanh "tanh" (Vector) -> Vector;
    Time "time" () -> Scalar;
    Timestamp "timestamp" (Vector) -> Vector;
    TsOfFirstOverTime "ts_of_first_over_time" (Range) -> Vector;
    TsOfLastOverTime "ts_of_last_over_time" (Range) -> Vector;
    TsOfMaxOverTime "ts_of_max_over_time" (Range) -> Vector;
    TsOfMinOverTime "ts_of_min_over_time" (Range) -> Vector;
    Vector "vector" (Scalar) -> Vector;
    Year "year" (Vector) [optional] -> Vector;
}

impl Function {
    /// The place of its range argument, for those that look at a window of samples.
    #[must_use]
    pub fn window_argument(self) -> Option<usize> {
        self.signature().arguments.iter().position(|argument| *argument == Range)
    }
}

impl std::fmt::Display for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
