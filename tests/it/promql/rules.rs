//! Rules people use, as far as the language goes: every one is read, and written back the same.

use serde_json::Value;
use watchpost::promql::parse;

#[test]
fn every_rule_in_use_is_read_and_written_back_the_same() {
    let Some(folder) = super::conformance() else { return };
    let text = std::fs::read_to_string(folder.join("alerts.json")).unwrap();
    let rules: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for rule in &rules {
        let text = rule["expr"].as_str().expect("a rule has an expression");
        match parse(text) {
            Err(error) => wrong.push(format!("{text}: {error}")),
            Ok(expr) => {
                let written = expr.to_string();
                if parse(&written).as_ref() != Ok(&expr) {
                    wrong.push(format!("{text}: written as {written}"));
                }
            }
        }
    }
    eprintln!("{} rules read", rules.len() - wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
