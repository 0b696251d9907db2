//! `watchpost test`: rule tests on virtual time, with the engine that runs live.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use super::EXIT_CONFIG;
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

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to who typed it")]
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
                if args.json { print_json(&report) } else { print_text(&report) }
            }
            Err(diagnostics) => {
                bad = true;
                eprintln!("{diagnostics}");
            }
        }
    }
    if !args.json {
        println!("{passed} passed, {failed} failed");
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

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print_json(report: &FileReport) {
    println!("{}", serde_json::json!(report));
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print_text(report: &FileReport) {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let paint = |text: &str, code: u8| {
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let total = report.passed + report.failed;
    let verdict = if report.failed == 0 { paint("ok", 32) } else { paint("FAILED", 31) };
    println!("{} {verdict} {} of {total}", report.path.display(), report.passed);
    for failure in &report.failures {
        println!("  line {}: {failure}", failure.line);
    }
}
