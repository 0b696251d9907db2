//! The configuration from the outside: every mistake in the corpus has its exact message, the
//! example loads, and no secret is ever shown.
//!
//! Under tests/config/bad, a mistake is a file `<mistake>.toml`, or a folder with a `config.toml`,
//! beside `<mistake>.txt`. `UPDATE_EXPECTED=1` writes the messages as they are now.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use watchpost::config::{Config, Diagnostics, Loader, schema};

const BAD: &str = "tests/config/bad";

/// Fewer would mean that the corpus was not found.
const MISTAKES_MIN: usize = 40;

fn load(path: &Path) -> Result<Config, Diagnostics> {
    Loader { env: &|_| None }.load(path)
}

#[test]
fn every_mistake_has_its_exact_message() {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(BAD).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.retain(|path| path.is_dir() || path.extension().is_some_and(|e| e == "toml"));
    assert!(entries.len() >= MISTAKES_MIN, "only {} mistakes in {BAD}", entries.len());
    let mut differences = String::new();
    for entry in entries {
        let file = if entry.is_dir() { entry.join("config.toml") } else { entry.clone() };
        let found = match load(&file) {
            Ok(_) => "no mistake was found\n".to_owned(),
            Err(diagnostics) => format!("{diagnostics}\n"),
        };
        let expected_path = entry.with_extension("txt");
        if update {
            std::fs::write(&expected_path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if found != expected {
            let shown = entry.display();
            differences += &format!("--- {shown}: expected\n{expected}+++ found\n{found}\n");
        }
        assert!(!found.contains("hunter2"), "{} shows its secret:\n{found}", entry.display());
        assert!(!found.starts_with("no mistake"), "{} is fine", entry.display());
    }
    assert!(differences.is_empty(), "{differences}");
}

/// Every key a schema has, with the path to it.
fn keys(schema: &serde_json::Value, path: &str, found: &mut Vec<(String, String, bool)>) {
    let Some(object) = schema.as_object() else { return };
    if let Some(properties) = object.get("properties").and_then(|p| p.as_object()) {
        for (key, value) in properties {
            let described = value["description"].as_str().is_some_and(|d| !d.trim().is_empty());
            found.push((path.to_owned(), key.clone(), described));
            keys(value, &format!("{path}.{key}"), found);
        }
    }
    for inner in ["additionalProperties", "items"] {
        keys(&schema[inner], path, found);
    }
    for inner in schema["anyOf"].as_array().into_iter().flatten() {
        keys(inner, path, found);
    }
}

#[test]
fn every_key_of_the_schema_is_described_and_in_the_example() {
    let example = std::fs::read_to_string("config.example.toml").unwrap();
    let words: std::collections::BTreeSet<&str> =
        example.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    let mut found = Vec::new();
    keys(&schema(), "", &mut found);
    assert!(found.len() > 100, "{found:?}");
    let missing: Vec<_> = found.iter().filter(|(_, key, _)| !words.contains(&**key)).collect();
    assert!(missing.is_empty(), "keys that are not in config.example.toml: {missing:#?}");
    let silent: Vec<_> = found
        .iter()
        .filter(|(path, _, described)| !described && path.matches('.').count() < 2)
        .collect();
    assert!(silent.is_empty(), "keys without a description: {silent:#?}");
}

#[test]
fn the_example_loads_as_it_stands() {
    let config = load(Path::new("config.example.toml")).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(!config.targets.is_empty());
    assert!(!config.rules.is_empty());
    // What it states as defaults are the defaults.
    let bare = Loader { env: &|_| None }.load_text("t.toml".as_ref(), "[host.this]").unwrap();
    assert_eq!((&config.api, &config.store), (&bare.api, &bare.store));
    let host = |config: &Config| config.targets.iter().find(|t| t.id() == "host.this").cloned();
    assert_eq!(host(&config).map(|t| t.interval), host(&bare).map(|t| t.interval));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_bytes_for_a_configuration_are_told_of_and_never_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        cut in any::<prop::sample::Index>(),
        length in 0usize..60,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        // Once nothing but noise, once the example with some of it in the middle.
        let mut spoilt = std::fs::read("config.example.toml").unwrap();
        let at = cut.index(spoilt.len());
        let end = (at + length).min(spoilt.len());
        spoilt.splice(at..end, bytes.iter().copied().take(8).filter(u8::is_ascii));
        for content in [bytes, spoilt] {
            std::fs::write(&path, content).unwrap();
            if let Err(diagnostics) = load(&path) {
                prop_assert!(!diagnostics.to_string().is_empty());
            }
        }
    }
}

#[test]
fn no_secret_is_in_the_debug_form_of_a_configuration() {
    let text = r#"
        [api]
        token = "hunter2"
        [http.a]
        url = "http://127.0.0.1/"
        username = "u"
        password = "hunter2"
        headers = { X-Key = "hunter2" }
        [snmp.b]
        host = "127.0.0.1"
        community = "hunter2"
        profiles = ["system"]
        [snmp.c]
        host = "127.0.0.1"
        version = "3"
        user = "u"
        auth = "sha256"
        auth_password = "hunter2hunter2"
        privacy = "aes128"
        privacy_password = "hunter2hunter2"
        profiles = ["system"]
        [mqtt.d]
        url = "mqtt://127.0.0.1"
        username = "u"
        password = "hunter2"
        [[mqtt.d.topic]]
        filter = "a"
        format = "number"
        [exec.e]
        command = ["/bin/true"]
        env = { KEY = "hunter2" }
        [action.f]
        webhook = { url = "https://example.org/hunter2", headers = { X-Key = "hunter2" } }
        [influxdb.g]
        url = "http://127.0.0.1:8086"
        org = "o"
        bucket = "b"
        token = "hunter2"
    "#;
    let loader = Loader { env: &|_| None };
    let config =
        loader.load_text("t.toml".as_ref(), text).unwrap_or_else(|wrong| panic!("{wrong}"));
    let shown = format!("{config:?} {config:#?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// Judges two files by the schema on standard input, as an editor would.
const JUDGE: &str = r#"
import json, sys, tomllib, jsonschema
schema = json.load(sys.stdin)
jsonschema.Draft202012Validator.check_schema(schema)
judge = jsonschema.Draft202012Validator(schema)
wrong = [f"{f}: {e.message}" for f in sys.argv[1:] for e in judge.iter_errors(tomllib.load(open(f, "rb")))]
print("\n".join(wrong))
"#;

#[test]
fn the_schema_takes_the_example_and_the_built_in_configuration() {
    let python = |code: &str| {
        let mut command = std::process::Command::new("python3");
        command.args(["-c", code]).stdin(std::process::Stdio::piped());
        command
    };
    let probe = python("import jsonschema, tomllib").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: python3 with jsonschema and tomllib is not installed");
        return;
    }
    let mut child = python(JUDGE)
        .args(["config.example.toml", "src/config/built_in.toml"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, schema().to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "");
}
