//! Prometheus' own suite, and tests in its notation of what it leaves out.

use std::collections::BTreeMap;
use std::path::Path;

use super::script::{self, Tally};

/// Runs every file of a folder and prints what became of it; fails where anything failed.
fn run(folder: &Path) {
    let mut all = Tally::default();
    eprintln!("{:28} {:>6} {:>6}  skipped", "file", "passed", "failed");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {}", folder.display());
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let tally = script::run(&std::fs::read_to_string(&file).unwrap());
        print_row(&name, tally.passed, tally.failed.len(), &tally.skipped);
        all.passed += tally.passed;
        all.failed.extend(tally.failed.iter().map(|failure| format!("{name}:{failure}")));
        for (reason, count) in tally.skipped {
            *all.skipped.entry(reason).or_default() += count;
        }
    }
    print_row("all", all.passed, all.failed.len(), &all.skipped);
    assert!(all.failed.is_empty(), "{}", all.failed.join("\n"));
}

fn print_row(name: &str, passed: usize, failed: usize, skipped: &BTreeMap<&str, usize>) {
    let skipped: Vec<_> =
        skipped.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    eprintln!("{name:28} {passed:>6} {failed:>6}  {}", skipped.join(", "));
}

#[test]
fn prometheus_own_suite_passes() {
    if let Some(folder) = super::conformance() {
        run(&folder.join("promqltest"));
    }
}

#[test]
fn what_that_suite_leaves_out_passes() {
    run(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/promql/cases")));
}
