//! The unit, judged by systemd's own tools.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::text;

/// The exposure the unit may have at most, times ten.
const EXPOSURE_MAX_TENTHS: u32 = 20;

fn unit() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/watchpost.service"))
}

/// Runs systemd-analyze; `None` if it is not installed, which is told.
fn analyze(arguments: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: cannot start systemd-analyze: {error}");
            None
        }
    }
}

fn everything(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[test]
fn the_unit_exposes_at_most_what_is_allowed() {
    let threshold = format!("--threshold={EXPOSURE_MAX_TENTHS}");
    let unit = unit().to_str().unwrap();
    let arguments = ["security", "--offline=yes", "--no-pager", &threshold, unit];
    let Some(output) = analyze(&arguments) else { return };
    let said = everything(&output);
    let score = said.lines().find(|line| line.contains("Overall exposure level"));
    eprintln!("{}", score.unwrap_or("no score"));
    assert!(output.status.success() && score.is_some(), "{said}");
}

#[test]
fn the_unit_has_no_mistakes() {
    // The program is not where a package would put it: the test's own takes its place.
    let text = text(unit()).replace("/usr/bin/watchpost", env!("CARGO_BIN_EXE_watchpost"));
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("watchpost.service");
    std::fs::write(&copy, text).unwrap();
    let arguments = ["verify", "--man=no", copy.to_str().unwrap()];
    let Some(output) = analyze(&arguments) else { return };
    let said = everything(&output);
    let own: Vec<_> = said.lines().filter(|line| line.contains("watchpost")).collect();
    assert!(output.status.success() && own.is_empty(), "{said}");
}
