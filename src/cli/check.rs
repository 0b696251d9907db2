//! `watchpost check`: reads the configuration and tells every mistake there is, at once.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::{EXIT_CONFIG, load_with_warnings, print, wants_color};
use crate::config::diagnostic::{Diagnostic, count};
use crate::config::{Config, Diagnostics};

/// What `check` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Exit codes: 0 if a daemon can run by it, warnings or not; 78 if not.")]
pub(super) struct Args {
    /// Print mistakes and warnings as JSON
    #[arg(long)]
    json: bool,
    /// Print how each rule is judged: as samples arrive, by timers, or on a tick, and why
    #[arg(long)]
    explain_plan: bool,
}

/// Checks the configuration: exit code 0, or 78 with every mistake.
pub(super) fn run(path: Option<&Path>, args: &Args) -> ExitCode {
    let result = load_with_warnings(path);
    let fine = result.is_ok();
    let text = if args.json {
        format!("{:#}\n", json(&result))
    } else {
        let paint = if wants_color() { Paint::COLOR } else { Paint::PLAIN };
        shown(&result, &paint)
    };
    print(&text);
    if let (true, Ok((config, _))) = (args.explain_plan && !args.json, &result) {
        print(&plans(config));
    }
    if fine { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONFIG) }
}

/// How mistakes and warnings stand out.
struct Paint {
    error: &'static str,
    warning: &'static str,
    end: &'static str,
}

impl Paint {
    const PLAIN: Self = Self { error: "", warning: "", end: "" };
    const COLOR: Self = Self { error: "\x1b[1;31m", warning: "\x1b[1;33m", end: "\x1b[0m" };
}

fn shown(result: &Result<(Config, Diagnostics), Diagnostics>, paint: &Paint) -> String {
    let (Ok((_, diagnostics)) | Err(diagnostics)) = result;
    let Paint { error, warning, end } = paint;
    let mut text = String::new();
    for one in diagnostics.errors() {
        text += &format!("{error}error:{end} {}", diagnostics.show(one));
    }
    for one in diagnostics.warnings() {
        text += &format!("{warning}warning:{end} {}", diagnostics.show(one));
    }
    text += &match result {
        Ok((config, _)) => format!("fine: {}\n", summary(config)),
        Err(wrong) => format!("{} in the configuration\n", count(wrong.len(), "mistake")),
    };
    text
}

fn plans(config: &Config) -> String {
    let mut text = String::new();
    for rule in &config.rules {
        text += &format!("\n[rule.{}]\n", rule.name);
        rule.value.plan.explain().iter().for_each(|line| text += &format!("  {line}\n"));
    }
    text
}

fn summary(config: &Config) -> String {
    [
        count(config.targets.len(), "target"),
        count(config.rules.len(), "rule"),
        count(config.actions.len(), "action"),
        count(config.sinks.len(), "sink"),
    ]
    .join(", ")
}

fn json(result: &Result<(Config, Diagnostics), Diagnostics>) -> Json {
    let (Ok((_, diagnostics)) | Err(diagnostics)) = result;
    let one = |one: &&Diagnostic| {
        let place = one.place.as_ref().map(|place| {
            let (line, column) = diagnostics.line_column(place);
            (diagnostics.path(place.file).display().to_string(), line, column)
        });
        let (file, line, column) = match place {
            Some((file, line, column)) => (Some(file), Some(line), Some(column)),
            None => (None, None, None),
        };
        json!({ "file": file, "line": line, "column": column, "message": one.message,
                "help": one.help })
    };
    let all = |some: Vec<&Diagnostic>| some.iter().map(one).collect::<Vec<_>>();
    let mut json = json!({
        "ok": result.is_ok(),
        "errors": all(diagnostics.errors()),
        "warnings": all(diagnostics.warnings()),
    });
    if let Ok((config, _)) = result {
        json["targets"] = config.targets.len().into();
        json["rules"] = config.rules.len().into();
        json["actions"] = config.actions.len().into();
        json["sinks"] = config.sinks.len().into();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Loader;

    fn load(text: &str) -> Result<(Config, Diagnostics), Diagnostics> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        Loader { env: &|_| None }.load_with_warnings(&path)
    }

    #[test]
    fn a_fine_configuration_is_summed_up_with_its_warnings() {
        let result = load("[host.this]\n[action.log]\nlog = {}\n");
        let text = shown(&result, &Paint::PLAIN);
        assert!(text.ends_with("fine: 1 target, 0 rules, 1 action, 0 sinks\n"), "{text}");
        assert!(text.starts_with("warning: "), "{text}");
        let json = json(&result);
        assert_eq!((&json["ok"], &json["targets"]), (&true.into(), &1.into()));
        assert_eq!(json["warnings"][0]["line"], 2);
    }

    #[test]
    fn the_plan_of_each_rule_can_be_asked_for() {
        let rules = "[rule.a]\nwhen = 'x_y > 1'\n[rule.b]\nwhen = 'rate(x_y[5m]) > 1'\n\
                     [rule.c]\nwhen = 'x_y + fill (0) x_z > 1'\n";
        let text = plans(&load(rules).unwrap().0);
        assert!(text.contains("[rule.a]\n  x_y > 1: sample by sample"), "{text}");
        assert!(text.contains("rate(x_y[5m]): a window of each series"), "{text}");
        let why =
            "x_z: on a tick, every second or more rarely, over samples kept in memory: `fill`";
        assert!(text.contains(why), "{text}");
    }

    #[test]
    fn mistakes_are_told_with_their_place_and_in_color_only_if_asked() {
        let result = load("nope = 1\n");
        let text = shown(&result, &Paint::PLAIN);
        assert!(text.contains(":1:1: unknown key `nope`"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("no targets"), "{text}");
        assert!(shown(&result, &Paint::COLOR).contains('\u{1b}'));
        let json = json(&result);
        assert_eq!((&json["ok"], &json["errors"][0]["column"]), (&false.into(), &1.into()));
    }
}
