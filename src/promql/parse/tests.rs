use proptest::prelude::*;

use super::*;
use crate::promql::{ExprKind, ValueType};

fn canonical(text: &str) -> String {
    match parse(text) {
        Ok(expr) => expr.to_string(),
        Err(error) => panic!("{text}: {error}"),
    }
}

/// What is wrong, and the part of the text it is about.
fn refused(text: &str) -> (String, &str) {
    let error = parse(text).expect_err(text);
    let part = error.span.map_or(text, |span| &text[span.range()]);
    (error.message, part)
}

#[test]
fn an_expression_is_written_in_one_way() {
    for (text, written) in [
        ("1 + 2 * 3", "1 + 2 * 3"),
        ("(1 + 2) * 3", "(1 + 2) * 3"),
        ("a - (b - c)", "a - (b - c)"),
        ("(a - b) - c", "a - b - c"),
        ("a ^ b ^ c", "a ^ b ^ c"),
        ("(a ^ b) ^ c", "(a ^ b) ^ c"),
        ("-a ^ 2", "-a ^ 2"),
        ("(-a) ^ 2", "(-a) ^ 2"),
        ("-(-a)", "--a"),
        ("a ^ -b ^ -c", "a ^ -b ^ -c"),
        ("a ^ -(b * c)", "a ^ -(b * c)"),
        ("(a ^ -b) ^ c * d", "(a ^ -b) ^ c * d"),
        ("d * a ^ -b * c", "d * a ^ -b * c"),
        ("a * -b", "a * (-b)"),
        ("-(5)", "-5"),
        ("+x", "x"),
        ("a or b and c", "a or b and c"),
        ("(a or b) unless on() c", "(a or b) unless on () c"),
        ("SUM(x) BY (b, a, b)", "sum by (a, b) (x)"),
        ("sum without() (x)", "sum without () (x)"),
        ("topk(5, x)", "topk (5, x)"),
        ("x offset -90s", "x offset -1m30s"),
        ("x[5m] offset 1h @ 3.5", "x[5m] @ 3.500 offset 1h"),
        ("rate(x[1m] @ end())[1h:] @ start()", "rate(x[1m] @ end())[1h:] @ start()"),
        ("(x offset 5m)[1h:5m]", "(x offset 5m)[1h:5m]"),
        ("(a + b)[1h:5m]", "(a + b)[1h:5m]"),
        ("a * ignoring(c) group_left b", "a * ignoring (c) group_left () b"),
        ("a > bool on(x) b", "a > bool on (x) b"),
        ("a + on(x) fill(0) b", "a + on (x) fill_left (0) fill_right (0) b"),
        (r#"{__name__="up",a!="b"}"#, r#"up{a!="b"}"#),
        (r#"{"my.metric", a=~'x\\.y'}"#, r#"{__name__="my.metric",a=~"x\\.y"}"#),
        (
            r#"label_replace(x, "a", "$1", "b", "(.*)")"#,
            r#"label_replace(x, "a", "$1", "b", "(.*)")"#,
        ),
        (r#"{__name__="a",__name__!="b"}"#, r#"{__name__="a",__name__!="b"}"#),
        (r#"{__name__="sum"} or {"by"}"#, r#"{__name__="sum"} or {__name__="by"}"#),
        ("1e30 + NaN - -Inf", "1e30 + NaN - (-Inf)"),
        ("hour()", "hour()"),
    ] {
        assert_eq!(canonical(text), written, "{text}");
        assert_eq!(canonical(written), written, "{text}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, message, part) in [
        ("", "empty", ""),
        ("# nothing", "empty", "# nothing"),
        ("a +", "not PromQL", "a +"),
        ("sum(a", "not PromQL", "("),
        ("a{b=\"c\"} = 0", "write `==` instead of `=`", "="),
        ("a > 1 && b > 2", "write `and` instead of `&&`", "&&"),
        ("a || b", "write `or` instead of `||`", "||"),
        ("rate(x)", "expected type matrix in call to function 'rate', got vector", "rate"),
        ("rate(x[5m], 1)", "expected 1 argument(s) in call to 'rate', got 2", "rate"),
        ("a and 1", "set operator 'and' not allowed", "and"),
        ("1 > 2", "must use BOOL", "1 > 2"),
        ("a + bool b", "bool modifier", "a + bool b"),
        ("x[5m] + 1", "only scalar and instant vector", "x[5m] + 1"),
        ("sum(1)", "expected type vector", "sum(1)"),
        ("a * on(x) group_left(x) b", "label 'x'", "x"),
        ("nope(x)", "unknown function with name 'nope'", "nope"),
        ("{}", "vector selector", "{}"),
        ("x[0s]", "must be greater than 0", "x[0s]"),
        ("limitk(\"a\", x)", "the parameter of `limitk` needs a scalar, not a string", "\"a\""),
        ("a and fill(0) b", "no filling is allowed for `and`", "and"),
        ("ln(0)", "`ln()` needs an instant vector, not a scalar", "0"),
    ] {
        let (found, place) = refused(text);
        assert!(found.contains(message), "{text}: {found}");
        assert_eq!(place, part, "{text}: {found}");
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (text, name, part) in [
        ("histogram_avg(x)", "`histogram_avg()`", "histogram_avg"),
        ("1 + histogram_count(x)", "native histograms", "histogram_count"),
        ("rate(x[5m] anchored)", "`anchored`", "anchored"),
        ("x smoothed", "`smoothed`", "smoothed"),
        ("rate(x[5m + 1m])", "arithmetic with durations", "+"),
        ("rate(x[step()])", "`step()`", "step"),
        ("x offset (1m)", "arithmetic with durations", "("),
        ("info(x)", "`info()`", "info"),
        ("limit_ratio(0.5, x)", "`limit_ratio()`", "limit_ratio"),
        ("x </ 5", "native histograms", "</"),
        (r#"x{a="b" or c="d"}"#, "`or` between matchers", r#"x{a="b" or c="d"}"#),
    ] {
        let (message, place) = refused(text);
        assert!(message.contains(name), "{text}: {message}");
        assert_eq!(place, part, "{text}: {message}");
    }
}

#[test]
fn every_node_knows_its_place() {
    let text =
        "sum by (foo) (rate(foo{a=\"-\"}[5m] offset -5m @ 5)) - -2 * (bar # -\n + on(bar) baz)";
    let expr = parse(text).unwrap();
    let mut places = Vec::new();
    let mut left = vec![&expr];
    while let Some(expr) = left.pop() {
        places.push(&text[expr.span.range()]);
        left.extend(expr.children());
    }
    places.sort_unstable();
    assert_eq!(
        places,
        [
            "(bar # -\n + on(bar) baz)",
            "-2",
            "-2 * (bar # -\n + on(bar) baz)",
            "bar",
            "baz",
            "foo{a=\"-\"}[5m] offset -5m @ 5",
            "rate(foo{a=\"-\"}[5m] offset -5m @ 5)",
            "sum by (foo) (rate(foo{a=\"-\"}[5m] offset -5m @ 5))",
            text,
        ]
    );
    let place = Span { start: text.find("baz").unwrap(), end: text.len() };
    assert_eq!(place.line_and_column(text), (2, 12));
}

#[test]
fn an_expression_knows_what_it_yields() {
    for (text, kind) in [
        ("1 + 2", ValueType::Scalar),
        ("1 + a", ValueType::Vector),
        ("-time()", ValueType::Scalar),
        ("scalar(a)", ValueType::Scalar),
        ("a[5m:]", ValueType::Range),
        ("(\"x\")", ValueType::String),
        ("1 > bool 2", ValueType::Scalar),
    ] {
        assert_eq!(parse(text).unwrap().value_type(), kind, "{text}");
    }
    assert!(matches!(parse("(a[5m])").unwrap().kind, ExprKind::Range(_)));
}

#[test]
fn what_would_overflow_the_stack_is_refused_before() {
    for text in [
        format!("{}a{} > 1", "(".repeat(10_000), ")".repeat(10_000)),
        format!("{}a{} > 1", "(".repeat(5_000), ")".repeat(5_000)),
        format!("a{} > 1", "+a".repeat(7_000)),
        format!("a{} > 1", " or a".repeat(3_000)),
        format!("{}a > 1", "-".repeat(15_000)),
        format!("a{}", "[1m:]".repeat(3_000)),
        format!("{}a{}", "abs(".repeat(65), ")".repeat(65)),
        format!("a{}", "{".repeat(3_000)),
        "a".repeat(17_000),
    ] {
        assert!(parse(&text).is_err());
    }
    assert!(parse(&format!("a{}", " + a".repeat(250))).is_ok());
    assert!(parse(&format!("{}a{}", "abs(".repeat(60), ")".repeat(60))).is_ok());
}

/// Texts that are mostly expressions.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1.5".to_owned()),
        Just("-2".to_owned()),
        Just("a".to_owned()),
        Just(r#"b{x=~"y|z",w!="é\n"}"#.to_owned()),
        Just("a offset 5m".to_owned()),
        Just("time()".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let op = prop::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "atan2",
            "== bool",
            "> bool",
            "and",
            "or",
            "unless",
            "+ on (x) group_left (y)",
            "> ignoring (x)",
        ]);
        let wrap = prop::sample::select(vec![
            ("abs(", ")"),
            ("sum by (x, y) (", ")"),
            ("topk without (z) (2, ", ")"),
            ("-", ""),
            ("(", ")"),
            ("rate((", ")[5m:1m])"),
            ("scalar(", ")"),
            ("vector(", ")"),
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (wrap, inner).prop_map(|((before, after), a)| format!("{before}{a}{after}")),
        ]
    })
}

#[test]
fn a_number_of_seconds_that_is_no_duration_is_refused() {
    for place in ["[#]", "[1h:#]", "[1h: #]", "[#:1m]", " offset #", " offset -#"] {
        for number in ["3036666666666666666660", "1e300", "Inf", "NaN"] {
            let text = format!("x{}", place.replace('#', number));
            assert_eq!(refused(&text).0, "duration out of range", "{text}");
        }
    }
    assert_eq!(canonical("x[300] offset 60"), "x[5m] offset 1m");
}

/// A comment ends at either end of a line (promql/parser/lex.go, lexLineComment): nothing hides in one.
#[test]
fn what_follows_a_comment_is_counted() {
    assert_eq!(canonical("a # b\r + c"), "a + c");
    for end in ["\r", "\n"] {
        let text = format!("#{end}{}a{}", "(".repeat(5_000), ")".repeat(5_000));
        assert_eq!(refused(&text).0, "nested more than 64 deep");
    }
}

#[test]
fn a_chain_longer_than_brackets_may_be_deep_is_read_back_the_same() {
    for text in ["-".repeat(120) + "a", "a ^ -".repeat(120) + "a"] {
        assert_eq!(canonical(&canonical(&text)), canonical(&text));
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-c0-9(){}\\[\\]=<>!~\"', .:@+*/#é-]{0,60}") {
        drop(parse(&text));
    }

    #[test]
    fn what_is_written_out_is_read_back_the_same(text in expression()) {
        if let Ok(expr) = parse(&text) {
            let written = expr.to_string();
            prop_assert_eq!(parse(&written), Ok(expr), "{}", written);
        }
    }
}
