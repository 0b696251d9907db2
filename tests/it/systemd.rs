//! The unit, judged by systemd's own tools.

use std::path::Path;
use std::process::{Command, Output};

mod booted;

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

/// What systemd says of a unit besides that it is fine.
fn mistakes(name: &str, arguments: &[&str]) -> Option<String> {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name);
    // The program is not where a package would put it: the test's own takes its place.
    let text = std::fs::read_to_string(unit).unwrap();
    let text = text.replace("/usr/bin/watchpost", env!("CARGO_BIN_EXE_watchpost"));
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join(name);
    std::fs::write(&copy, text).unwrap();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]).args(arguments).arg(&copy);
    // Where a user's manager would keep its sockets; nobody is logged in where tests run.
    match command.env("XDG_RUNTIME_DIR", folder.path()).output() {
        Ok(output) => {
            let said = everything(&output);
            let own: String = said.lines().filter(|line| line.contains("watchpost")).collect();
            assert!(output.status.success() || !own.is_empty(), "{said}");
            Some(own)
        }
        Err(error) => {
            eprintln!("skipped: cannot start systemd-analyze: {error}");
            None
        }
    }
}

#[test]
fn the_unit_has_no_mistakes() {
    let Some(mistakes) = mistakes("watchpost.service", &[]) else { return };
    assert_eq!(mistakes, "");
}

#[test]
fn the_users_unit_has_no_mistakes() {
    let Some(mistakes) = mistakes("watchpost-notify.service", &["--user"]) else { return };
    assert_eq!(mistakes, "");
}
