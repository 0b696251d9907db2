//! `watchpost test`: rule tests on virtual time, with the engine that runs live.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{EXIT_CONFIG, print};
use crate::rules::testing::{FileReport, find, run as run_file};

/// Which tests, and how to print.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files of tests, or folders with *.test.toml in them
    #[arg(default_value = "rules")]
    files: Vec<PathBuf>,
    /// Print JSON, a line for each file
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stderr, reason = "a command speaks to who typed it")]
pub(super) fn run(args: &Args) -> ExitCode {
    let files = find(&args.files);
    if files.is_empty() {
        eprintln!("watchpost: there are no *.test.toml in {}", shown(&args.files));
        return ExitCode::FAILURE;
    }
    let (mut bad, mut passed, mut failed) = (false, 0, 0);
    for file in &files {
        match run_file(file) {
            Ok(report) => {
                passed += report.passed;
                failed += report.failed;
                print(&if args.json { json(&report) } else { text(&report) });
            }
            Err(diagnostics) => {
                bad = true;
                eprintln!("{diagnostics}");
            }
        }
    }
    if !args.json {
        print(&format!("{passed} passed, {failed} failed\n"));
    }
    match (bad, failed) {
        (true, _) => ExitCode::from(EXIT_CONFIG),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::FAILURE,
    }
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn json(report: &FileReport) -> String {
    format!("{}\n", serde_json::json!(report))
}

fn text(report: &FileReport) -> String {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let paint = |text: &str, code: u8| {
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let total = report.passed + report.failed;
    let verdict = if report.failed == 0 { paint("ok", 32) } else { paint("FAILED", 31) };
    let mut text = format!("{} {verdict} {} of {total}\n", report.path.display(), report.passed);
    for failure in &report.failures {
        text += &format!("  line {}: {failure}\n", failure.line);
    }
    text
}
