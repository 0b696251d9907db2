//! Random expressions, all operators among them.

use fastrand::Rng;

/// What a generated expression may be compared with: what is computed in another order than the
/// evaluator's is equal but for rounding, which a comparison at the very value would show.
pub(super) struct Grammar<'a> {
    pub(super) rng: &'a mut Rng,
}

const LABELS: [&str; 3] = ["i", "g", "v"];

impl Grammar<'_> {
    fn pick<'b>(&mut self, of: &[&'b str]) -> &'b str {
        of[self.rng.usize(..of.len())]
    }

    /// An instant vector.
    pub(super) fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.selector();
        }
        match self.rng.u32(..20) {
            0 | 1 => self.selector(),
            2..=5 => self.window(),
            6 | 7 => self.with_number(depth),
            8..=10 => self.aggregate(depth),
            11 | 12 => self.join(depth),
            13 | 14 => self.set(depth),
            15 => self.histogram(),
            16 => self.absent(depth),
            17 => self.element_wise(depth),
            18 => self.relabelled(depth),
            _ => self.odd(depth),
        }
    }

    fn offset(&mut self) -> &'static str {
        match self.rng.u32(..14) {
            0 => " offset 20s",
            1 => " offset 7m",
            2 => " offset -15s",
            3 => " @ end()",
            _ => "",
        }
    }

    fn matchers(&mut self) -> String {
        let matcher = ["i=\"1\"", "g=\"x\"", "i=~\"1|2\"", "g!=\"x\"", "v!~\"2.*\"", "v=\"\""];
        match self.rng.u32(..4) {
            0 => format!("{{{}}}", self.pick(&matcher)),
            _ => String::new(),
        }
    }

    fn named(&mut self) -> String {
        if self.rng.u32(..15) == 0 {
            return "{__name__=~\"a|b\",i!=\"3\"}".to_owned();
        }
        format!("{}{}", self.pick(&["a", "b", "c_total", "up"]), self.matchers())
    }

    fn selector(&mut self) -> String {
        format!("{}{}", self.named(), self.offset())
    }

    fn range(&mut self) -> String {
        let range = self.pick(&["30s", "1m", "2m", "5m", "45s", "10m"]);
        format!("{}[{range}]{}", self.named(), self.offset())
    }

    fn window(&mut self) -> String {
        let functions = [
            "rate",
            "increase",
            "delta",
            "irate",
            "idelta",
            "deriv",
            "avg_over_time",
            "min_over_time",
            "max_over_time",
            "sum_over_time",
            "count_over_time",
            "last_over_time",
            "first_over_time",
            "present_over_time",
            "stddev_over_time",
            "stdvar_over_time",
            "changes",
            "resets",
            "mad_over_time",
            "ts_of_max_over_time",
            "ts_of_last_over_time",
        ];
        let range = self.range();
        match self.rng.u32(..24) {
            0 | 1 => format!("predict_linear({range}, {})", self.pick(&["60", "3600", "-10"])),
            2 | 3 => format!("quantile_over_time({}, {range})", self.pick(&["0.5", "0.9", "2"])),
            _ => format!("{}({range})", self.pick(&functions)),
        }
    }

    fn number(&mut self) -> String {
        match self.rng.u32(..12) {
            0 => "time()".to_owned(),
            1 => format!("scalar({})", self.selector()),
            2 => "(2 * 3)".to_owned(),
            3 => "-1.5".to_owned(),
            4 => "scalar(sum(a)) + 1".to_owned(),
            _ => self.pick(&["0", "0.5", "1", "2", "10", "100"]).to_owned(),
        }
    }

    fn with_number(&mut self, depth: u32) -> String {
        let vector = self.vector(depth - 1);
        if self.rng.bool() {
            return self.compared(&vector);
        }
        let number = self.number();
        let op = self.pick(&["+", "-", "*", "/", "%", "^", "atan2"]);
        if self.rng.bool() {
            format!("({vector}) {op} {number}")
        } else {
            format!("({number}) {op} ({vector})")
        }
    }

    fn compared(&mut self, vector: &str) -> String {
        let bool = self.pick(&["", "", "bool "]);
        // No value is ever as near to these as rounding could bring it.
        let number = self.pick(&["0.4142135", "1.7320508", "10.14159", "-0.5772156", "100.3321"]);
        let op = self.pick(&[">", ">=", "<", "<=", "==", "!="]);
        if self.rng.bool() {
            format!("({vector}) {op} {bool}{number}")
        } else {
            format!("{number} {op} {bool}({vector})")
        }
    }

    fn grouping(&mut self) -> String {
        match self.rng.u32(..5) {
            0 => String::new(),
            1 => " by (i)".to_owned(),
            2 => " by (g)".to_owned(),
            3 => " by (g, v)".to_owned(),
            _ => format!(" without ({})", self.pick(&LABELS)),
        }
    }

    fn aggregate(&mut self, depth: u32) -> String {
        let (grouping, vector) = (self.grouping(), self.vector(depth - 1));
        match self.rng.u32(..16) {
            0 => format!("quantile{grouping} ({}, {vector})", self.pick(&["0.5", "0.9"])),
            1 => format!("topk{grouping} (2, {vector})"),
            2 => format!("bottomk{grouping} (1, {vector})"),
            3 => format!("count_values{grouping} (\"n\", {})", self.selector()),
            _ => {
                let op = self.pick(&[
                    "sum", "avg", "count", "group", "min", "max", "stddev", "stdvar", "sum",
                ]);
                format!("{op}{grouping} ({vector})")
            }
        }
    }

    fn join(&mut self, depth: u32) -> String {
        let (left, right) = (self.vector(depth - 1), self.vector(depth - 1));
        let op = self.pick(&["+", "-", "*", "/", "+", "/"]);
        match self.rng.u32(..8) {
            0 => format!("({left}) {op} on (i, g, v) ({right})"),
            1 => format!("({left}) {op} ignoring (v) ({right})"),
            2 => format!("({left}) {op} on (g) group_left () sum by (g) ({right})"),
            3 => format!("sum by (i) ({left}) {op} on (i) group_right () ({right})"),
            4 => format!("({left}) {op} on (i) group_left (w) max by (i, w) (info)"),
            5 => format!("a > {}ignoring (v) b", self.pick(&["", "bool "])),
            _ => format!("({left}) {op} ({right})"),
        }
    }

    fn set(&mut self, depth: u32) -> String {
        let (left, right) = (self.vector(depth - 1), self.vector(depth - 1));
        let op = self.pick(&["and", "or", "unless"]);
        let on = self.pick(&["", "", "on (i)", "on (g)", "ignoring (v)", "on ()"]);
        format!("({left}) {op} {on} ({right})")
    }

    fn histogram(&mut self) -> String {
        let inner = match self.rng.u32(..4) {
            0 => "h_bucket".to_owned(),
            1 => "rate(h_bucket[1m])".to_owned(),
            2 => "sum by (le) (increase(h_bucket[5m]))".to_owned(),
            _ => "sum by (le, g) (h_bucket)".to_owned(),
        };
        match self.rng.u32(..4) {
            0 => format!("histogram_fraction(0.1, 1.5, {inner})"),
            _ => format!("histogram_quantile({}, {inner})", self.pick(&["0.9", "0.5", "1.5"])),
        }
    }

    fn absent(&mut self, depth: u32) -> String {
        match self.rng.u32(..3) {
            0 => format!("absent({})", self.vector(depth - 1)),
            1 => format!("absent({{__name__=\"a\",i=\"{}\"}})", self.rng.u32(1..9)),
            _ => format!("absent_over_time({})", self.range()),
        }
    }

    fn element_wise(&mut self, depth: u32) -> String {
        let vector = self.vector(depth - 1);
        match self.rng.u32(..10) {
            0 => format!("clamp({vector}, 0, {})", self.number()),
            1 => format!("clamp_min({vector}, 1)"),
            2 => format!("clamp_max({vector}, {})", self.number()),
            3 => "hour() >= 0".to_owned(),
            4 => format!("-({vector})"),
            5 => format!("timestamp({vector})"),
            6 => format!("timestamp({})", self.selector()),
            7 => format!("sort_desc({vector})"),
            _ => format!("{}({vector})", self.pick(&["abs", "sqrt", "exp", "ln", "sgn", "deg"])),
        }
    }

    fn relabelled(&mut self, depth: u32) -> String {
        let vector = self.vector(depth - 1);
        match self.rng.u32(..3) {
            0 => format!("label_join({vector}, \"j\", \"-\", \"i\", \"g\")"),
            1 => format!("label_replace({vector}, \"g\", \"z$1\", \"g\", \"(.).*\")"),
            _ => format!("label_replace({vector}, \"k\", \"$1\", \"i\", \"(.*)\")"),
        }
    }

    /// What is evaluated on a tick, and numbers as vectors.
    fn odd(&mut self, depth: u32) -> String {
        match self.rng.u32(..8) {
            0 => format!("max_over_time(({})[2m:10s])", self.vector(depth - 1)),
            1 => "sum_over_time(rate(c_total[1m])[3m:20s])".to_owned(),
            2 => "a @ 1000000300".to_owned(),
            3 => "a + fill (0) b".to_owned(),
            4 => format!("vector({})", self.number()),
            5 => format!("vector({}) > 0.37", self.number()),
            6 => "quantile_over_time(scalar(a{i=\"1\",g=\"x\"}) / 100, b[1m])".to_owned(),
            _ => self.number(),
        }
    }
}
